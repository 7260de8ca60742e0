"""Values as ordered codes, so that a pool of all values ever seen is a short row of counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Bins", "coded", "counted"]

# Finer at both ends: there the rows are that an attack or a broken sensor makes.
LEVELS = np.unique(
    np.concatenate([np.linspace(0, 1, 33), [0.005, 0.01, 0.02, 0.98, 0.99, 0.995]])
)  # fmt: skip
FEW = 40


@dataclass(frozen=True)
class Bins:
    """How the values of one stream become codes.

    Numbers: the bin between two edges; what lies beyond the last edge has bins of its own.
    Categories: the place among the known ones, one code for all others. Missing values come last.
    """

    edges: np.ndarray
    is_category: bool

    @classmethod
    def of(cls, values: np.ndarray, is_category: bool) -> Bins:
        """Edges at quantiles of ``values``; where they are few, at the values themselves."""
        known = np.unique(values[np.isfinite(values)])
        if is_category or len(known) <= FEW:
            return cls(known[:1000], is_category)
        return cls(np.unique(np.quantile(values[np.isfinite(values)], LEVELS)), False)

    @property
    def n_codes(self) -> int:
        return len(self.edges) + 2

    def codes(self, values: np.ndarray) -> np.ndarray:
        """
        >>> Bins(np.array([0.0, 1.0]), False).codes(np.array([-1, 0.5, 7, np.nan])).tolist()
        [0, 1, 2, 3]
        >>> Bins(np.array([0.0, 1.0]), True).codes(np.array([1.0, 5.0, np.nan])).tolist()
        [1, 2, 3]
        """
        return self._places(values) + np.isnan(values)

    def _places(self, values: np.ndarray) -> np.ndarray:
        """The same, but missing values lie beyond the last edge."""
        place = np.searchsorted(self.edges, values, side="left")  # NaN comes last
        if self.is_category and len(self.edges):
            near = self.edges[np.minimum(place, len(self.edges) - 1)]
            place = np.where(near == values, place, len(self.edges))
        return place


def coded(bins: list[Bins], values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Codes (n, n_streams); -1 where a stream has nothing for a row."""
    codes = np.empty(values.shape, dtype=np.int64)
    for k, (b, column) in enumerate(zip(bins, np.ascontiguousarray(values.T), strict=True)):
        codes[:, k] = b._places(column)
    codes += np.isnan(values)
    codes[~seen] = -1
    return codes


def counted(bins: list[Bins], codes: np.ndarray) -> np.ndarray:
    """How often each code occurs, (n_streams, largest number of codes)."""
    width = max(b.n_codes for b in bins)
    pools = np.zeros((len(bins), width), dtype=np.int64)
    row, column = np.nonzero(codes >= 0)
    np.add.at(pools, (column, codes[row, column]), 1)
    return pools
