"""Proofs as curves and reports ask for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skrobust._torch import to_tensor
from skrobust.certificates._base import Settings
from skrobust.certificates._by_noise import ByNoise
from skrobust.metrics._certified import Proof, largest_loss, proven_by
from skrobust.metrics._rows import Rows
from skrobust.threats import Threat

__all__ = ["proof"]


@proven_by
def proof(
    estimator: Any, X: Any, y: np.ndarray, radii: np.ndarray, threat: Threat, method: str, loss: Any
) -> Proof:
    """What is proven of each row at each radius.

    ``loss`` None: of a classifier, rows that are right and stay so; otherwise the largest loss of
    a regressor's outputs.
    """
    rows = Rows(X, threat.categories)
    prover = ByNoise(
        estimator, threat, rows, Settings(confidence=getattr(estimator, "confidence", 0.999))
    )
    x = to_tensor(rows.values, dtype=torch.float64)
    doubt = 1 - (prover.confidence or 1.0)
    if loss is not None:
        bounds = [prover.outputs(x, torch.full((len(x),), float(r))) for r in radii]
        worst = [largest_loss(loss, *(b.numpy() for b in bound), y) for bound in bounds]
        return Proof(np.array(worst), None, doubt, prover.name)
    predicted = estimator.predict(rows.given)
    codes = torch.as_tensor(np.searchsorted(estimator.classes_, predicted))
    radius = prover.largest(x, codes).numpy()
    right = predicted == y
    # at radius 0 nothing moves: what is right is right
    values = [right & ((radius >= r) if r else True) for r in radii]
    return Proof(np.array(values, dtype=float), radius, doubt, prover.name)
