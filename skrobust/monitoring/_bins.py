"""Values as ordered codes, so that a pool of all values ever seen is a short row of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Bins", "Coder", "counted"]

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
        place = np.searchsorted(self.edges, values, side="left")  # NaN and infinity come last
        if self.is_category and len(self.edges):
            near = self.edges[np.minimum(place, len(self.edges) - 1)]
            place = np.where(near == values, place, len(self.edges))
        return place


@dataclass(frozen=True)
class Coder:
    """The bins of all streams at once: a table of even cells tells nearly where a value lies.

    Of a value in cell c, ``table[c]`` edges lie in the cells before, and no more than ``steps`` in its
    own; the same arithmetic tells the cells of edges and values, so that no rounding errs. Streams
    whose edges crowd (and there may be any number of them) are searched one by one.
    """

    bins: list[Bins]
    low: np.ndarray
    scale: np.ndarray
    table: np.ndarray  # (n_streams, CELLS + 1)
    edges: np.ndarray  # (n_streams, most edges + 1), infinity after the last
    steps: int
    searched: np.ndarray  # streams that the table does not serve

    CELLS = 1024
    CROWD = 3  # edges in one cell

    @classmethod
    def of(cls, bins: list[Bins]) -> Coder:
        edges = np.full((len(bins), max(len(b.edges) for b in bins) + 1), np.inf)
        for k, b in enumerate(bins):
            edges[k, : len(b.edges)] = b.edges
        low = np.array([b.edges[0] if len(b.edges) else 0.0 for b in bins])
        high = np.array([b.edges[-1] if len(b.edges) else 0.0 for b in bins])
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scale = cls.CELLS / (high - low)
        even = np.isfinite(scale) & (scale > 0)
        scale[~even] = 1.0
        cell = np.where(np.isfinite(edges), _cell(edges.T, low, scale).T, cls.CELLS + 1)
        inside = np.array([np.bincount(row, minlength=cls.CELLS + 2)[:-1] for row in cell])
        searched = inside.max(axis=1) > cls.CROWD
        searched |= ~even & (np.array([len(b.edges) for b in bins]) > 1)
        steps = int(inside[~searched].max(initial=0))
        table = (np.cumsum(inside, axis=1) - inside).astype(np.int16)
        return cls(bins, low, scale, table, edges, steps, searched)

    def codes(self, values: np.ndarray, seen: np.ndarray, places: Any = slice(None)) -> np.ndarray:
        """Codes (n, n_streams) of streams ``places``; -1 where a stream has nothing for a row."""
        numbers = np.arange(len(self.bins))[places]
        missing = np.isnan(values)
        missing = missing if missing.any() else None
        known = values if missing is None else np.where(missing, np.inf, values)
        cell = _cell(known, self.low[places], self.scale[places])
        codes = self.table.ravel().take(cell + numbers * self.table.shape[1]).astype(np.int64)
        first, edges = numbers * self.edges.shape[1], self.edges.ravel()
        for _ in range(self.steps):
            codes += known > edges.take(codes + first)
        for j, k in enumerate(numbers):
            if self.searched[k] or self.bins[k].is_category:
                codes[:, j] = self.bins[k]._places(np.ascontiguousarray(known[:, j]))
        if missing is not None:
            codes += missing
        if not seen.all():
            codes[~seen] = -1
        return codes


def _cell(values: np.ndarray, low: np.ndarray, scale: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        place = (values - low) * scale
    return np.clip(place, 0, Coder.CELLS, out=place).astype(np.intp)


def counted(bins: list[Bins], codes: np.ndarray) -> np.ndarray:
    """How often each code occurs, (n_streams, largest number of codes)."""
    width = max(b.n_codes for b in bins)
    pools = np.zeros((len(bins), width), dtype=np.int64)
    row, column = np.nonzero(codes >= 0)
    np.add.at(pools, (column, codes[row, column]), 1)
    return pools
