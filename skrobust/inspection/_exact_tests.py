"""Tests of differences that hold for few rows: exact ones of shares, by permutation of numbers."""

from __future__ import annotations

import numpy as np
from scipy import stats

from skrobust.metrics._intervals import clopper_pearson, normal_interval

__all__ = [
    "chunks",
    "holm",
    "interval_of",
    "paired",
    "paired_interval",
    "share_as_far",
    "unpaired",
]

N_DRAWS = 9999  # permutations


def holm(p: np.ndarray) -> np.ndarray:
    """Values of several tests, raised so that the smallest of true hypotheses errs no more often
    than one test alone would (Holm 1979). NaN, a test that was not made, counts for nothing.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).round(3)
    array([0.03, 0.06, 0.06,  nan])
    """
    p = np.asarray(p, dtype=np.float64)
    found, made = np.full(len(p), np.nan), np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    raised = p[order] * (len(order) - np.arange(len(order)))
    found[order] = np.minimum(1.0, np.maximum.accumulate(raised)) if len(order) else raised
    return found


def unpaired(a: np.ndarray, b: np.ndarray, random: np.random.RandomState) -> float:
    """Two-sided p of "both groups have the same share" (Fisher's exact test of booleans) or "come
    of the same distribution" (permutations of numbers, by the difference of their means).

    >>> round(unpaired(np.ones(8, bool), np.arange(8) < 3, np.random.RandomState(0)), 4)
    0.0256
    """
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    if a.dtype == bool:
        table = [[part.sum(), (~part).sum()] for part in (a, b)]
        return float(stats.fisher_exact(table).pvalue)
    both, gap = np.concatenate([a, b]), abs(a.mean() - b.mean())
    drawn = np.concatenate([_parts(both, len(a), n, random) for n in chunks(len(both))])
    rest = (both.sum() - len(a) * drawn) / len(b)
    return share_as_far(np.abs(drawn - rest), gap)


def paired(a: np.ndarray, b: np.ndarray, random: np.random.RandomState) -> float:
    """Two-sided p of "the same rows fare the same twice": the exact test of McNemar of booleans (of the
    rows that differ, half go each way), random signs of the differences of numbers.

    >>> round(paired(np.array([1, 1, 1, 1, 1, 0], bool), np.zeros(6, bool), None), 4)
    0.0625
    """
    if len(a) == 0:
        return float("nan")
    if a.dtype == bool:
        lost, gained = int((a & ~b).sum()), int((~a & b).sum())
        return float(stats.binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    gap = np.asarray(b - a, dtype=np.float64)
    drawn = [random.choice([-1.0, 1.0], size=(n, len(gap))) @ gap for n in chunks(len(gap))]
    return share_as_far(np.abs(np.concatenate(drawn)) / len(gap), abs(gap.mean()))


def chunks(n_rows: int) -> list[int]:
    """How many permutations at a time, so that few millions of numbers are held at once."""
    size = max(1, 2**22 // n_rows)
    return [min(size, N_DRAWS - low) for low in range(0, N_DRAWS, size)]


def _parts(
    values: np.ndarray, size: int, n_draws: int, random: np.random.RandomState
) -> np.ndarray:
    """Means of parts drawn at random, without replacement."""
    order = random.random_sample((n_draws, len(values))).argsort(axis=1)[:, :size]
    return values[order].mean(axis=1)


def share_as_far(drawn: np.ndarray, gap: float) -> float:
    """The outcome itself is one of the permutations: p is never 0, and never too small."""
    return float((1 + (drawn >= gap * (1 - 1e-12)).sum()) / (1 + len(drawn)))


def interval_of(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Of a mean: Clopper and Pearson's of a share, the normal one of numbers."""
    if len(values) == 0:
        return float("nan"), float("nan")
    if values.dtype == bool:
        return clopper_pearson(values.mean(), len(values), confidence)
    return normal_interval(values, np.ones(len(values)), confidence)


def paired_interval(a: np.ndarray, b: np.ndarray, confidence: float) -> tuple[float, float]:
    """Of the mean of ``b - a``. Of shares: the share of rows that differ, times how much more of them go
    one way than the other; each with a Clopper-Pearson interval of a part of the doubt (a fifth and the
    rest), so that it covers at least as often as it says, and leaves out 0 nearly when McNemar does.

    >>> low, high = paired_interval(np.ones(20, bool), np.arange(20) < 15, 0.95)
    >>> round(low, 2), round(high, 2)
    (-0.56, 0.05)
    """
    if len(a) == 0:
        return float("nan"), float("nan")
    if a.dtype != bool:
        return normal_interval(b - a, np.ones(len(a)), confidence)
    differ, doubt = a != b, 1 - confidence
    few, many = clopper_pearson(differ.mean(), len(a), 1 - 0.2 * doubt)
    up = (0.0, 1.0)
    if differ.any():
        up = clopper_pearson(b[differ].mean(), int(differ.sum()), 1 - 0.8 * doubt)
    low, high = (2 * end - 1 for end in up)
    return low * (few if low > 0 else many), high * (many if high > 0 else few)
