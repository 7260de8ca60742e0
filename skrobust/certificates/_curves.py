"""Proofs as curves and reports ask for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skrobust._torch import to_numpy
from skrobust.certificates._certify import settings_of
from skrobust.certificates._proof import Proof
from skrobust.certificates._smoothed import BaseSmoothed
from skrobust.metrics._certified import Proven, largest_loss, proven_by
from skrobust.threats import Threat

__all__ = ["along"]


@proven_by
def along(
    estimator: Any, X: Any, y: np.ndarray, radii: np.ndarray, threat: Threat, method: str, loss: Any
) -> Proven:
    """What is proven of each row at each radius, in ascending order.

    ``loss`` None: of a classifier, rows that are right and stay so; otherwise the largest loss of
    a regressor's outputs.
    """
    smoothed = isinstance(estimator, BaseSmoothed)
    settings = settings_of(estimator.confidence if smoothed else 0.999, None, 0)
    proof = Proof(estimator, X, y, threat=threat, method=method, settings=settings)
    doubt, name = 1 - (proof.prover.confidence or 1.0), proof.prover.name
    if loss is None:
        values, radius = _kept(proof, radii)
        return Proven(np.array(values, dtype=np.float64), radius, None, doubt, name)
    bounds = [proof.outputs(float(radius)) for radius in radii]
    values = np.array([largest_loss(loss, low, high, proof.y) for low, high in bounds])
    center = np.asarray(proof.prediction, dtype=np.float64).reshape(len(proof.X), -1)
    varies = [np.maximum(high - center, center - low).max(axis=1) for low, high in bounds]
    return Proven(values, None, np.array(varies), doubt, name)


def _kept(proof: Proof, radii: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Which rows stay right at each radius, and up to which one; a row that is lost stays lost."""
    held, values, farthest = proof.right.copy(), [], np.zeros(len(proof.right))
    known = proof.prover.largest(proof.X, proof.codes)
    if known is not None:
        farthest = np.where(held, to_numpy(known), 0.0)
        # at radius 0 nothing moves: what is right is right
        return [held & ((farthest >= radius) | (radius == 0)) for radius in radii], farthest
    for radius in radii:
        rows = torch.as_tensor(np.flatnonzero(held))
        if radius > 0 and len(rows):
            held = held.copy()
            held[rows] = to_numpy(proof.margin(float(radius), rows) > 0)
        farthest = np.where(held, radius, farthest)
        values.append(held)
    return values, farthest
