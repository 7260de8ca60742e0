"""Floating-point numbers in a row: the last one on which a rising function stays below a limit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["before", "last_below"]


def before(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The largest number of ``dtype`` below each value, as float64."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype)
    down = np.nextafter(narrow, np.array(-np.inf, dtype=dtype))
    return np.where(narrow < values, narrow, down).astype(np.float64)


def last_below(
    fn: Callable[[np.ndarray], np.ndarray], limits: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """The largest ``v`` of ``dtype`` with ``fn(v) <= limit``, for each limit (any shape).

    ``fn`` maps arrays of that shape entry by entry and never falls. The answer is exact: 64
    rounds of bisection run over the numbers that the type has, not over the real line. Minus
    infinity where no number passes, infinity where all of them do.

    >>> last_below(np.float32, np.array([0.5]), np.float64)  # rounding is part of fn
    array([0.50000003])
    """
    dtype, limits = np.dtype(dtype), np.asarray(limits, dtype=np.float64)
    whole = np.dtype(f"i{dtype.itemsize}")
    largest = np.full(limits.shape, np.finfo(dtype).max, dtype=dtype)
    low, high = _rank(-largest, whole), _rank(largest, whole)
    none, every = ~_passes(fn, -largest, limits), _passes(fn, largest, limits)
    for _ in range(8 * dtype.itemsize):
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        below = _passes(fn, _number(middle, dtype), limits)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found = _number(low, dtype).astype(np.float64)
    return np.where(none, -np.inf, np.where(every, np.inf, found))


def _passes(fn, values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(fn(values), dtype=np.float64) <= limits


def _rank(values: np.ndarray, whole: np.dtype) -> np.ndarray:
    """Integers in the order of the floats."""
    bits = values.view(whole)
    return np.where(bits >= 0, bits, np.iinfo(whole).min - bits)


def _number(rank: np.ndarray, dtype: np.dtype) -> np.ndarray:
    bits = np.where(rank >= 0, rank, np.iinfo(rank.dtype).min - rank)
    return np.ascontiguousarray(bits).view(dtype)
