"""Which decisions of a classifier cannot be excluded."""

from __future__ import annotations

import numpy as np
import torch

from skrobust._torch import to_numpy
from skrobust.certificates._proof import Proof

__all__ = ["open_classes"]


def open_classes(proof: Proof, limits: np.ndarray) -> np.ndarray:
    """Classes (n, n_classes) that a row may be moved to, as far as is proven.

    Class k of row i is excluded when ``max_j f_j(z) - f_k(z) > 0`` is proven for every z within
    ``limits[i, k]``. The class predicted now is always open.

    Parameters
    ----------
    proof : Proof
        Of a classifier.
    limits : ndarray of shape (n, n_classes)
        The radius that is asked about, for each class; 0: excluded, unless predicted.
    """
    codes = to_numpy(proof.codes)
    own = np.zeros(limits.shape, dtype=bool)
    own[np.arange(len(codes)), codes] = True
    left = (limits > 0) & ~own
    while left.any():
        # what is proven at a radius holds at smaller ones: the largest of each row first
        index = np.flatnonzero(left.any(axis=1))
        radius = np.where(left, limits, 0.0)[index].max(axis=1)
        found = _open(proof, index, radius)
        asked = left[index] & (limits[index] == radius[:, None])
        own[index] |= found & asked
        left[index] &= found & ~asked
    return own


def _open(proof: Proof, index: np.ndarray, radius: np.ndarray) -> np.ndarray:
    rows, radius = torch.as_tensor(index), torch.as_tensor(radius)
    held = proof.margin(radius, rows) > 0
    found = np.zeros((len(index), len(proof.classes)), dtype=bool)
    weak = torch.nonzero(~held)[:, 0]
    if len(weak) and found.shape[1] == 2:
        found[to_numpy(weak)] = True
    elif len(weak):
        part = rows[weak]
        gaps = proof.prover.gaps(proof.X[part], proof.codes[part], radius[weak])
        found[to_numpy(weak)] = to_numpy(gaps) <= 0
    return found
