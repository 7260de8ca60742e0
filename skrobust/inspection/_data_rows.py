"""Rows that occur twice, and rows whose label is in doubt."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["contradictions", "doubtful_labels", "duplicates", "in_steps", "near_pairs"]

N_NEIGHBORS = 10
MANY_AGAINST = 0.8  # of the neighbours


def in_steps(values: np.ndarray, categories: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Columns in standard deviations of ``like``; other categories are far apart, as are gaps."""
    center = np.nanmean(np.where(np.isfinite(like), like, np.nan), axis=0)
    spread = np.nanstd(like, axis=0)
    constant = ~(spread > 1e-12 * np.maximum(np.abs(center), 1e-300))
    scaled = (values - np.nan_to_num(center)) / np.where(constant | categories, 1.0, spread)
    return np.where(np.isnan(scaled), 1e6, scaled)


def duplicates(values: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Number of an equal row (n,), -1 for none: an earlier one, or one of ``others``.

    >>> duplicates(np.array([[1.0], [2.0], [1.0]]))
    array([-1, -1,  0])
    """
    pool = values if others is None else others
    places: dict[bytes, int] = {}
    found = np.full(len(values), -1)
    keys = [row.tobytes() for row in np.ascontiguousarray(values + 0.0)]  # -0 is 0
    if others is not None:
        for number, row in enumerate(np.ascontiguousarray(pool + 0.0)):
            places.setdefault(row.tobytes(), number)
    for number, key in enumerate(keys):
        found[number] = places.get(key, -1)
        if others is None:
            places.setdefault(key, number)
    return found


def near_pairs(steps: np.ndarray, others: np.ndarray | None, near: float) -> np.ndarray:
    """Number of a row within ``near`` steps in every column (n,), -1 for none.

    Of ``others``; for None, of an earlier row.
    """
    tree = cKDTree(steps if others is None else others)
    if others is None:
        found = np.full(len(steps), -1)
        pairs = tree.query_pairs(near, p=np.inf, output_type="ndarray")
        found[pairs.max(axis=1)] = pairs.min(axis=1)
        return found
    distance, place = tree.query(steps, p=np.inf, distance_upper_bound=near * (1 + 1e-9))
    return np.where(np.isfinite(distance), place, -1)


def contradictions(equal: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows with an earlier equal row of another label."""
    return (equal >= 0) & (y != y[np.maximum(equal, 0)])


def doubtful_labels(
    values: np.ndarray, steps: np.ndarray, codes: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose label two judges doubt, what the first judge says instead).

    The first is a forest that has not seen the row (cross-validation): it is at least as sure of
    another class as it is on average of the rows of that class (confident learning, Northcutt et al.
    2021). The second: most of the nearest rows have another label.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    smallest = np.bincount(codes).min()
    folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=random.randint(2**31 - 1))
    forest = RandomForestClassifier(
        60, min_samples_leaf=2, random_state=random.randint(2**31 - 1)
    )  # of small leaves: sure of itself only where many trees agree
    proba = cross_val_predict(forest, values, codes, cv=folds, method="predict_proba")
    usual = np.array([proba[codes == k, k].mean() for k in range(proba.shape[1])])
    sure = np.where(proba >= usual, proba, -1.0)
    says = sure.argmax(axis=1)
    first = (sure.max(axis=1) >= 0) & (says != codes)
    k = min(N_NEIGHBORS, len(codes) - 1)
    _, near = cKDTree(steps).query(steps, k + 1)
    against = (codes[near[:, 1:]] != codes[:, None]).mean(axis=1)
    return first & (against >= MANY_AGAINST), says
