"""Worst cases of linear and additive models over the regions of rows, as functions of the weights.

What is asked is always ``max over z in the region of direction . f(z)``, for directions in the space
of the outputs: ``e_k - e_y`` is the margin lost to class k, ``+e_k`` and ``-e_k`` are the ends of an
output. The answers are convex in the weights, and differentiable almost everywhere.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skrobust.threats import Region

__all__ = ["LinearRows", "PricedRows", "SteppedRows", "WorstRows", "distinct", "stepped_rows"]


class WorstRows(Protocol):
    """Some rows and where they may go, as seen by one module."""

    def most(self, directions: Tensor) -> Tensor:
        """``max over z of direction . f(z)`` (n, n_directions), or an upper bound of it."""

    def here(self, directions: Tensor) -> Tensor:
        """``direction . f(x)`` (n, n_directions)."""


class LinearRows:
    """Rows of a linear model: the steepest point of each region is its worst, for any threat.

    Parameters
    ----------
    layer : nn.Linear
        Applied to ``(x - mean) / spread``.
    """

    def __init__(self, layer: torch.nn.Linear, mean: Tensor, spread: Tensor, region: Region):
        self.layer, self.mean, self.spread, self.region = layer, mean, spread, region

    def most(self, directions: Tensor) -> Tensor:
        slopes = directions @ self.layer.weight / self.spread
        columns = []
        for slope in slopes:
            with torch.no_grad():
                way = slope.detach().expand_as(self.region.x)
                z = self.region.realize(self.region.steepest(way)) - self.mean
            columns.append(z @ slope)
        return torch.stack(columns, dim=1) + directions @ self.layer.bias

    def here(self, directions: Tensor) -> Tensor:
        slopes = directions @ self.layer.weight / self.spread
        return (self.region.x - self.mean) @ slopes.T + directions @ self.layer.bias


class _Sum(torch.autograd.Function):
    """``matrix @ values`` for a sparse matrix that is no variable; its transpose is at hand."""

    @staticmethod
    def forward(ctx, values: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ values

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return ctx.transpose @ gradient, None, None


class _Stretches:
    """Runs of bins, one per row and column, of which few are different.

    ``least`` finds the smallest entry of each run in a table, by doubling: runs of 1, 2, 4, ... bins
    are known from halves, and two of those cover any run.
    """

    def __init__(self, first: Tensor, last: Tensor, n_numbers: int):
        n_rows, n_columns = first.shape
        keys, which = torch.unique(first * n_numbers + last, return_inverse=True)
        self.first, last = keys // n_numbers, keys % n_numbers
        self.level = torch.log2((last - self.first + 1).double()).floor().long()
        self.second = last - 2**self.level + 1
        self.at = [torch.nonzero(self.level == k).flatten() for k in range(_most(self.level) + 1)]
        row = torch.arange(n_rows, device=first.device).repeat_interleave(n_columns)
        self.matrix = _ones(row, which.flatten(), (n_rows, len(keys)))
        order = torch.argsort(which.flatten(), stable=True)
        self.transpose = _ones(which.flatten()[order], row[order], (len(keys), n_rows))

    def least(self, table: Tensor) -> Tensor:
        """Sum over columns of the least entry of each run, (n_numbers, c) -> (n_rows, c)."""
        with torch.no_grad():
            places = self._places(table.detach())
        return _Sum.apply(table.gather(0, places), self.matrix, self.transpose)

    def _places(self, table: Tensor) -> Tensor:
        """Where the least entry of each different run stands."""
        value = table
        place = torch.arange(len(table), device=table.device)[:, None].expand_as(table)
        found = torch.empty(len(self.first), table.shape[1], dtype=torch.long, device=table.device)
        for level, at in enumerate(self.at):
            one, other = self.first[at], self.second[at]
            found[at] = torch.where(value[other] < value[one], place[other], place[one])
            half = 2**level
            if level + 1 < len(self.at):  # runs of twice the length; those that pass the end are
                lower = value[half:] < value[:-half]  # not asked for
                place = torch.where(lower, place[half:], place[:-half])
                value = torch.where(lower, value[half:], value[:-half])
        return found


def _most(values: Tensor) -> int:
    return int(values.amax()) if len(values) else 0


def _ones(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix of ones; ``rows`` never fall."""
    ends = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    ones = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.nn.functional.pad(ends, (1, 0)), columns, ones, shape, check_invariants=False
        )


class SteppedRows:
    """Rows of an additive model in boxes: exact."""

    def __init__(self, module, low: Tensor, x: Tensor, high: Tensor):
        self.module = module
        starts = torch.arange(x.shape[1], device=x.device) * module.n_bins
        n_numbers = x.shape[1] * module.n_bins
        first, home, last = (module.bins(rows) + starts for rows in (low, x, high))
        self._box = _Stretches(first, last, n_numbers)
        self._home = _Stretches(home, home, n_numbers)

    def _table(self, directions: Tensor) -> Tensor:
        return self.module.values.flatten(1).T @ directions.T

    def most(self, directions: Tensor) -> Tensor:
        return directions @ self.module.bias - self._box.least(-self._table(directions))

    def here(self, directions: Tensor) -> Tensor:
        return directions @ self.module.bias + self._home.least(self._table(directions))


class PricedRows(SteppedRows):
    """Rows of an additive model in l1 and l2 balls: an upper bound, by a price of the way.

    Columns share the budget of a row: ``sum_j way_j <= radius ** p`` with ``way_j`` the movement in
    steps to the power p. For any price ``t >= 0``

        max f  <=  t * radius ** p + sum_j max over bins of v_j[bin] - t * way_j(bin)

    (weak duality). Prices are variables of the fit like the weights, and the bound is convex in both
    together.
    """

    def __init__(self, module, low: Tensor, x: Tensor, high: Tensor, region, order: float):
        super().__init__(module, low, x, high)
        ball, self.prices = getattr(region, "ball", region), {}
        first, last = module.bins(low), module.bins(high)
        width = _most((last - first).flatten()) + 1
        bins = first[:, :, None] + torch.arange(width, device=x.device)
        inside = bins <= last[:, :, None]
        bins = torch.minimum(bins, last[:, :, None])
        way = _way(module.edges, x, bins) / ball.scale.expand_as(x)[:, :, None]
        radius = ball.radius[:, None, None].clamp(min=torch.finfo(way.dtype).tiny)
        way = (way / radius) ** order  # budget 1
        way = torch.where(_leaping(region)[:, None], 0.0, way)
        self.near = inside & (way <= 1)
        self.way = torch.where(self.near, way, 0.0)
        self.places = bins + torch.arange(x.shape[1], device=x.device)[:, None] * module.n_bins

    def price_of(self, number: int) -> Tensor:
        """The prices of each row (n,) for a direction of that number; made where there are none."""
        if number not in self.prices:
            start = torch.full((len(self.way),), 0.5, dtype=torch.float64, device=self.way.device)
            self.prices[number] = torch.nn.Parameter(start)
        return self.prices[number]

    def most(self, directions: Tensor) -> Tensor:
        table = self._table(directions)
        found = []
        for number in range(len(directions)):
            price = self.price_of(number).abs()
            gains = table[:, number][self.places] - price[:, None, None] * self.way
            gains = torch.where(self.near, gains, -torch.inf)
            found.append(gains.amax(dim=2).sum(dim=1) + price)
        return torch.stack(found, dim=1) + directions @ self.module.bias


def _way(edges: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    """How far each entry of ``x`` (n, d) is from bins (n, d, w); 0 for missing values."""
    below = torch.nn.functional.pad(edges, (1, 1), value=-torch.inf)
    above = torch.nn.functional.pad(edges, (0, 2), value=torch.inf)
    columns = torch.arange(x.shape[1], device=x.device)[:, None]
    low, high = below[columns, bins], above[columns, bins]
    way = torch.maximum(low - x[:, :, None], x[:, :, None] - high).clamp(min=0)
    return torch.where(torch.isnan(x)[:, :, None], 0.0, way)


def _leaping(region) -> Tensor:
    """Columns that change without any distance (categories), a mask (d,)."""
    leaps = [region.leaps(column) for column in range(region.x.shape[1])]
    return torch.tensor(leaps, dtype=torch.bool, device=region.x.device)


def stepped_rows(module, region: Region) -> SteppedRows:
    """The rows of a region as an additive module sees them.

    Rules are not looked at but through the box around them: whole numbers and categories then move
    in more ways than they can, and the loss is an upper bound.
    """
    low, high = (
        torch.where(torch.isnan(region.x), region.x, end) for end in (region.low, region.high)
    )
    norm = getattr(getattr(region, "ball", region), "norm", None)
    if norm is None or norm.is_box:
        return SteppedRows(module, low, region.x, high)
    return PricedRows(module, low, region.x, high, region, norm.order)


def distinct(x: np.ndarray, y: np.ndarray, weight: np.ndarray):
    """Rows that differ, in one order whatever the order given, with their targets and weights."""
    known = np.where(np.isnan(x), np.inf, x)  # rows are finite or missing; NaN differs from itself
    both = np.column_stack([known, y.reshape(len(y), -1).astype(np.float64)])
    _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return x[first], y[first], np.bincount(which.ravel(), weight)
