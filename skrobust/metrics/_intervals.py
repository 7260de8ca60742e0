"""Figures to read beside a robust score: how sure it is, and what no model at all would score."""

from __future__ import annotations

import numpy as np
from scipy import stats

__all__ = [
    "clopper_pearson",
    "effective_size",
    "majority_share",
    "normal_high",
    "normal_interval",
    "proven_low",
    "sandwich",
    "tolerance",
]


def effective_size(weight: np.ndarray) -> float:
    """Number of equally weighted rows that tell as much, ``(sum w)^2 / sum w^2``.

    >>> effective_size(np.ones(5))
    5.0
    >>> effective_size(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    weight = np.asarray(weight, dtype=np.float64)
    return float(weight.sum() ** 2 / np.square(weight).sum())


def clopper_pearson(share: float, n_rows: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a probability of which ``n_rows`` independent rows showed ``share``.

    Its coverage is at least ``confidence`` whatever the probability (Clopper & Pearson 1934);
    for weighted rows take :func:`effective_size` of the weights.

    >>> low, high = clopper_pearson(0.5, 10)
    >>> round(low, 4), round(high, 4)
    (0.1871, 0.8129)
    >>> clopper_pearson(1.0, 10)[1]
    1.0
    """
    tail = (1 - confidence) / 2
    hits = share * n_rows
    misses = n_rows - hits
    tiny = 1e-9 * n_rows  # shares come from sums of weights
    low = 0.0 if hits <= tiny else stats.beta.ppf(tail, hits, misses + 1)
    high = 1.0 if misses <= tiny else stats.beta.ppf(1 - tail, hits + 1, misses)
    return float(low), float(high)


def proven_low(share: float, n_rows: float, confidence: float = 0.95, doubt: float = 0.0) -> float:
    """What share of such rows at least, with one-sided ``confidence``, nothing can break.

    ``share`` of ``n_rows`` rows was proven. A statistical proof is wrong with probability up to
    ``doubt``, so that ``P(proven) <= P(cannot be broken) + doubt``: that much is taken off.

    >>> round(proven_low(0.9, 1000), 3)
    0.883
    >>> round(proven_low(0.9, 1000, doubt=0.001), 3)
    0.882
    """
    low, _ = clopper_pearson(share, n_rows, 2 * confidence - 1)
    return max(0.0, low - doubt)


def sandwich(
    certified: float, attacked: float, n_rows: float, confidence: float = 0.95, doubt: float = 0.0
) -> tuple[float, float]:
    """Interval of the share of all such rows that nothing within the radius can break.

    From the lower Clopper-Pearson limit of what was proven to the upper one of what withstood the
    attack. Whatever lies between the two shares is not known; the interval does not pretend it is.

    >>> low, high = sandwich(0.85, 0.9, 1000)
    >>> round(low, 4), round(high, 4)
    (0.8263, 0.9179)
    """
    low = proven_low(certified, n_rows, (1 + confidence) / 2, doubt)
    return low, clopper_pearson(attacked, n_rows, confidence)[1]


def tolerance(values: np.ndarray, share: float = 0.9, confidence: float = 0.95) -> float:
    """What at least ``share`` of the population does not exceed, with ``confidence``.

    An order statistic of ``values``, whatever their distribution (Wilks 1941); infinity where there
    are too few rows to say so.

    >>> tolerance(np.arange(1, 101), 0.9)
    96.0
    >>> tolerance(np.arange(20), 0.9)
    inf
    """
    values = np.sort(np.asarray(values, dtype=np.float64))
    rank = int(stats.binom.ppf(confidence, len(values), share)) + 1
    return float(values[rank - 1]) if rank <= len(values) else float("inf")


def normal_interval(
    values: np.ndarray, weight: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of ``values``, by the normal approximation.

    >>> low, high = normal_interval(np.array([0.0, 1.0] * 50), np.ones(100))
    >>> round(low, 2), round(high, 2)
    (0.4, 0.6)
    """
    center = np.average(values, weights=weight)
    n_rows = effective_size(weight)
    if n_rows <= 1 or not np.isfinite(center):
        return -np.inf, np.inf
    variance = np.average((values - center) ** 2, weights=weight) / (n_rows - 1)
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance)
    return float(center - half), float(center + half)


def normal_high(values: np.ndarray, weight: np.ndarray, confidence: float = 0.95) -> float:
    """What the mean of the population does not exceed, with one-sided ``confidence``.

    >>> round(normal_high(np.array([0.0, 1.0] * 50), np.ones(100)), 3)
    0.583
    """
    return normal_interval(values, weight, 2 * confidence - 1)[1]


def majority_share(y: np.ndarray, weight: np.ndarray) -> float:
    """Weighted share of the most frequent label: what a model that ignores X would score.

    >>> majority_share(np.array(["a", "b", "b"]), np.ones(3))
    0.6666666666666666
    """
    _, number = np.unique(y, return_inverse=True)
    return float(np.bincount(number.reshape(-1), weights=weight).max() / np.sum(weight))
