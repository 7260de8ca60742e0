"""Cells: the pieces of each column's axis between which a forest does not tell numbers apart."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skrobust.trees._floats import before

__all__ = ["Cells"]


class Cells:
    """The axis of each column cut into cells, ``(end of the one before, own end]``.

    Cells are numbered from 0; the last one has no end, and one more number stands for missing.
    Their borders are exact in the type of the rows: ``first`` and ``last`` are the smallest and
    the largest number that lie in a cell.

    Parameters
    ----------
    ends : list of arrays
        For each column the sorted ends of its cells but the last one.
    dtype : float type of the rows
    allowed : list of boolean arrays, optional
        Cells that the model can take a number of (an encoder may refuse unknown categories).
    """

    def __init__(self, ends: list[np.ndarray], dtype, allowed: list[np.ndarray] | None = None):
        self.ends, self.dtype = ends, np.dtype(dtype)
        self.counts = np.array([len(end) + 1 for end in ends], dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        flat = [np.concatenate([end, [np.inf]]) for end in ends]
        self.last = np.concatenate(flat) if flat else np.empty(0)
        self.first = self._firsts()
        self.allowed = np.concatenate(allowed) if allowed else np.ones(len(self.last), dtype=bool)

    def __len__(self) -> int:
        return len(self.ends)

    def _firsts(self) -> np.ndarray:
        """The number after the end of the cell before."""
        with np.errstate(over="ignore"):
            after = np.nextafter(self.last.astype(self.dtype), self.dtype.type(np.inf))
        first = np.empty_like(self.last)
        first[1:] = after[:-1]
        first[self.starts[:-1]] = -np.inf
        return first

    def narrowed(self, types: list) -> Cells:
        """The same cells for columns of narrower types: borders are numbers that those have."""
        part = Cells(self.ends, self.dtype)
        part.last, part.first = self.last.copy(), self.first.copy()
        for column, dtype in enumerate(types):
            where = slice(self.starts[column], self.starts[column + 1])
            part.first[where] = -_round_down(-self.first[where], dtype)
            part.last[where] = _round_down(self.last[where], dtype)
        part.allowed = self.allowed & (part.first <= part.last)
        return part

    def of(self, X: np.ndarray) -> np.ndarray:
        """Cell numbers of rows (n, n_features)."""
        found = np.empty(X.shape, dtype=np.int32)
        for column, end in enumerate(self.ends):
            values = X[:, column]
            found[:, column] = np.searchsorted(end, values, side="left")
            found[np.isnan(values), column] = len(end) + 1
        return found

    def is_missing(self, cells: np.ndarray) -> np.ndarray:
        return cells == self.counts

    @cached_property
    def next_allowed(self) -> np.ndarray:
        """For each cell (flat) the nearest allowed one at or above it; a large number if none."""
        return self._nearest(1)

    @cached_property
    def previous_allowed(self) -> np.ndarray:
        """The nearest allowed cell at or below; -1 if none."""
        return self._nearest(-1)

    def _nearest(self, way: int) -> np.ndarray:
        found = np.empty(len(self.last), dtype=np.int64)
        for start, count in zip(self.starts[:-1], self.counts, strict=True):
            where = slice(start, start + count)
            own = np.where(self.allowed[where], np.arange(count), 2**30 if way > 0 else -1)
            if way > 0:
                found[where] = np.minimum.accumulate(own[::-1])[::-1]
            else:
                found[where] = np.maximum.accumulate(own)
        return found


def _round_down(values: np.ndarray, dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype).astype(np.float64)
    return np.where(narrow > values, before(values, dtype), narrow)
