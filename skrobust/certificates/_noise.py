"""What counts of noisy answers prove: binomial limits, ranks of order statistics, lengths.

A model is asked at ``x + std * e`` with ``e`` standard normal. If an event has probability p there,
then at ``z + std * e`` it has a probability between ``Phi(Phi^-1(p) - l)`` and
``Phi(Phi^-1(p) + l)``, where ``l = ||(z - x) / std||_2`` is the *length* of the move (the lemma of
Neyman & Pearson; Cohen et al. 2019, arXiv 1902.02918). Everything here is that, and the binomial
distribution of counts. Doubts are probabilities of being wrong: ``1 - confidence``.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

__all__ = [
    "deciding_share",
    "lower_rank",
    "lower_share",
    "median_shares",
    "ranks_within",
    "shifted",
    "tied",
    "upper_rank",
    "upper_share",
]


def lower_share(count: np.ndarray, n: int, doubt: float) -> np.ndarray:
    """One-sided lower Clopper-Pearson limit of the probability behind ``count`` of ``n``.

    >>> round(float(lower_share(np.array(1000), 1000, 0.001)), 4)
    0.9931
    >>> float(lower_share(np.array(0), 10, 0.05))
    0.0
    """
    count = np.asarray(count, dtype=np.float64)
    limit = stats.beta.ppf(doubt, np.maximum(count, 1), n - count + 1)
    return np.where(count > 0, limit, 0.0)


def upper_share(count: np.ndarray, n: int, doubt: float) -> np.ndarray:
    """One-sided upper Clopper-Pearson limit.

    >>> float(upper_share(np.array(10), 10, 0.05))
    1.0
    """
    return 1.0 - lower_share(n - np.asarray(count), n, doubt)


def deciding_share(n: int, doubt: float) -> float:
    """The probability with which a class wins more than half of ``n`` votes but for ``doubt``.

    A vote is a sample too: at a place where a class has probability .501, a hundred votes elect
    another one every second time.

    >>> round(deciding_share(1000, 0.001), 4)
    0.5492
    >>> share = deciding_share(100, 0.01)
    >>> round(float(stats.binom.sf(50, 100, share)), 4)
    0.99
    """
    majority = n // 2 + 1
    return float(stats.beta.ppf(1 - doubt, majority, n - majority + 1))


def shifted(share: np.ndarray, length: np.ndarray | float) -> np.ndarray:
    """``Phi(Phi^-1(share) + length)``: the most a probability can become ``length`` away.

    With a negative length the least.

    >>> float(shifted(np.array(0.5), 0.0))
    0.5
    """
    with np.errstate(invalid="ignore"):  # a sure event stays sure, however far
        moved = ndtr(ndtri(share) + length)
    return np.where((share <= 0) | (share >= 1), share, moved)


def tied(first: np.ndarray, second: np.ndarray, doubt: float) -> np.ndarray:
    """Whether counts of the two most frequent classes do not tell which one leads.

    Two-sided binomial test of one half (Hung & Fithian 2019 show that it holds although the two
    classes were chosen by the same counts).

    >>> tied(np.array([90, 55]), np.array([10, 45]), 0.001)
    array([False,  True])
    """
    value = 2 * stats.binom.sf(first - 1, first + second, 0.5)
    return np.minimum(value, 1.0) > doubt


def median_shares(rank: int, n: int, doubt: float) -> tuple[float, float]:
    """Between which quantiles the ``rank``-th smallest of ``n`` answers lies, but for ``doubt``
    on each side.

    >>> low, high = median_shares(50, 99, 0.01)
    >>> round(low, 3), round(high, 3)
    (0.385, 0.615)
    """
    low, high = stats.beta.ppf([doubt, 1 - doubt], rank, n - rank + 1)
    return float(low), float(high)


def lower_rank(share: np.ndarray, n: int, doubt: float) -> np.ndarray:
    """Largest k so that the k-th smallest of ``n`` answers is at most the quantile ``share``, but
    for ``doubt``; 0 where there is none.

    >>> int(lower_rank(np.array(0.5), 100, 0.05))
    42
    """
    return stats.binom.ppf(doubt, n, share).clip(min=0).astype(np.int64)


def upper_rank(share: np.ndarray, n: int, doubt: float) -> np.ndarray:
    """Smallest k so that the k-th smallest is at least the quantile; ``n + 1`` if there is none.

    >>> int(upper_rank(np.array(0.5), 100, 0.05))
    59
    """
    return stats.binom.ppf(1 - doubt, n, share).clip(min=0).astype(np.int64) + 1


def ranks_within(
    shares: tuple[float, float], length: np.ndarray, n: int, doubt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks, among ``n`` answers here, that enclose quantiles ``shares`` anywhere ``length`` away."""
    low, high = (np.asarray(share) for share in shares)
    return (
        lower_rank(shifted(low, -length), n, doubt),
        upper_rank(shifted(high, length), n, doubt),
    )
