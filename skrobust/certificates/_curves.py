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
    if loss is not None:
        values = [largest_loss(loss, *proof.outputs(float(radius)), proof.y) for radius in radii]
        radius = None
    else:
        values, radius = _kept(proof, radii)
    doubt = 1 - (proof.prover.confidence or 1.0)
    return Proven(np.array(values, dtype=np.float64), radius, doubt, proof.prover.name)


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
