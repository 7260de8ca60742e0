"""Tests of differences for rows that count differently, for few of them, too."""

from __future__ import annotations

import numpy as np
from scipy import stats

from skrobust.inspection import _exact_tests as exact
from skrobust.metrics._intervals import clopper_pearson, effective_size, normal_interval

__all__ = ["interval_of", "paired", "paired_interval", "unpaired"]

MANY = 500  # rows of equal weight, from which on a normal law stands for permutations
MOST_EXACT = 12  # differences, of which all signs are tried


def unpaired(a, b, weight_a, weight_b, random: np.random.RandomState) -> float:
    """Two-sided p of "both groups have the same weighted mean".

    ``|mean_a - mean_b| / sqrt(V_a + V_b)``, with ``V = sum w^2 (x - pooled mean)^2 / (sum w)^2`` (the
    linearised variance of a ratio, Saerndal, Swensson & Wretman 1992), against the same figure of rows
    dealt to the groups at random, each with its weight. This is exact where the rows of both groups
    are alike, and right for many rows wherever the weighted means are equal, although values and weights
    may differ in all else (studentized permutation test, Janssen 1997; Chung & Romano 2013). Equal
    weights: the test without weights.

    >>> ill, well = np.ones(8, bool), np.arange(8) < 3
    >>> round(unpaired(ill, well, np.ones(8), np.ones(8), np.random.RandomState(0)), 4)
    0.0256
    """
    (a, weight_a), (b, weight_b) = _counting(a, weight_a), _counting(b, weight_b)
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    x, w = np.concatenate([a, b]), np.concatenate([weight_a, weight_b])
    if _equal(w):
        return exact.unpaired(a, b, random)
    square = np.square(w * (x - np.average(x, weights=w)))
    sums = np.array([w, w * x, square])
    seen = _apart(sums[:, : len(a)].sum(axis=1), sums)
    if min(map(effective_size, (weight_a, weight_b))) >= MANY:
        return float(2 * stats.norm.sf(seen))
    drawn = [
        _apart(sums[:, random.random_sample((n, len(x))).argsort(axis=1)[:, : len(a)]].sum(axis=2), sums)
        for n in exact.chunks(len(x))
    ]  # fmt: skip
    return exact.share_as_far(np.concatenate(drawn), seen)


def _apart(part: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The studentized difference of the means of a part (3, ...) and of the rest."""
    rest = sums.sum(axis=1).reshape(-1, *[1] * (part.ndim - 1)) - part
    gap = np.abs(part[1] / part[0] - rest[1] / rest[0])
    variance = part[2] / part[0] ** 2 + rest[2] / rest[0] ** 2
    return np.where(variance > 0, gap / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)


def paired(a, b, weight, random: np.random.RandomState) -> float:
    """Two-sided p of "the same rows fare the same twice": ``|sum w (b - a)|`` against random signs.

    Given the weights this is exact for any number of rows, for every difference may as well have
    been the other way round; with equal weights and booleans it is McNemar's exact test.

    >>> a, b = np.array([1, 1, 1, 1, 1, 0], bool), np.zeros(6, bool)
    >>> round(paired(a, b, np.full(6, 2.0), None), 4)
    0.0625
    """
    a, b, weight = a[weight > 0], b[weight > 0], weight[weight > 0]
    if len(a) == 0 or _equal(weight):
        return exact.paired(a, b, random)
    gap = weight * (b.astype(np.float64) - a)
    gap = gap[gap != 0]
    if len(gap) == 0:
        return 1.0
    if len(gap) <= MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2 ** len(gap))[:, None] >> np.arange(len(gap))) & 1)
        return float((np.abs(signs @ gap) >= abs(gap.sum()) * (1 - 1e-12)).mean())
    drawn = [random.choice([-1.0, 1.0], size=(n, len(gap))) @ gap for n in exact.chunks(len(gap))]
    return exact.share_as_far(np.abs(np.concatenate(drawn)), abs(gap.sum()))


def interval_of(values: np.ndarray, weight: np.ndarray, confidence: float) -> tuple[float, float]:
    """Of a weighted mean: Clopper and Pearson's of a share with the effective number of rows
    ``(sum w)^2 / sum w^2`` (Kish 1965; Korn & Graubard 1998), the normal one of numbers."""
    values, weight = _counting(values, weight)
    if len(values) == 0:
        return float("nan"), float("nan")
    if values.dtype == bool:
        share = float(np.average(values, weights=weight))
        return clopper_pearson(share, effective_size(weight), confidence)
    return normal_interval(values, weight, confidence)


def paired_interval(a, b, weight: np.ndarray, confidence: float) -> tuple[float, float]:
    """Of the weighted mean of ``b - a``: as without weights, with effective numbers of rows."""
    a, b, weight = a[weight > 0], b[weight > 0], weight[weight > 0]
    if len(a) == 0 or _equal(weight):
        return exact.paired_interval(a, b, confidence)
    if a.dtype != bool:
        return normal_interval(b - a, weight, confidence)
    differ, doubt = a != b, 1 - confidence
    share = float(np.average(differ, weights=weight))
    few, many = clopper_pearson(share, effective_size(weight), 1 - 0.2 * doubt)
    up = (0.0, 1.0)
    if differ.any():
        gained = float(np.average(b[differ], weights=weight[differ]))
        up = clopper_pearson(gained, effective_size(weight[differ]), 1 - 0.8 * doubt)
    low, high = (2 * end - 1 for end in up)
    return low * (few if low > 0 else many), high * (many if high > 0 else few)


def _counting(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that count at all."""
    return values[weight > 0], weight[weight > 0]


def _equal(weight: np.ndarray) -> bool:
    return bool(np.ptp(weight) <= 1e-12 * weight.max())
