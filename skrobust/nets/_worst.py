"""Worst cases of linear and additive models over the regions of rows, as functions of the weights.

What is asked is always ``max over z in the region of direction . f(z)``, for directions in the space
of the outputs: ``e_k - e_y`` is the margin lost to class k, ``+e_k`` and ``-e_k`` are the ends of an
output. The answers are convex in the weights, and differentiable almost everywhere.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skrobust.nets._lines import LineSum
from skrobust.nets._worst_lines import LinedRows, PricedLines
from skrobust.nets._worst_steps import PricedRows, SteppedRows
from skrobust.threats import Region

__all__ = [
    "LinearRows",
    "PricedRows",
    "SteppedRows",
    "WorstRows",
    "distinct",
    "is_box",
    "stepped_rows",
]


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


def stepped_rows(module, region: Region) -> WorstRows:
    """The rows of a region as an additive module sees them.

    Rules are not looked at but through the box around them: whole numbers and categories then move
    in more ways than they can, and the loss is an upper bound.
    """
    low, high = (
        torch.where(torch.isnan(region.x), region.x, end) for end in (region.low, region.high)
    )
    boxes, balls = (LinedRows, PricedLines) if is_lines(module) else (SteppedRows, PricedRows)
    if is_box(region):
        return boxes(module, low, region.x, high)
    order = getattr(region, "ball", region).norm.order
    return balls(module, low, region.x, high, region, order)


def is_lines(module) -> bool:
    return isinstance(module, LineSum)


def is_box(region: Region) -> bool:
    """Whether columns move each by itself."""
    norm = getattr(getattr(region, "ball", region), "norm", None)
    return norm is None or norm.is_box


def distinct(x: np.ndarray, y: np.ndarray, weight: np.ndarray):
    """Rows that differ, in one order whatever the order given, with their targets and weights."""
    known = np.where(np.isnan(x), np.inf, x)  # rows are finite or missing; NaN differs from itself
    both = np.column_stack([known, y.reshape(len(y), -1).astype(np.float64)])
    _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return x[first], y[first], np.bincount(which.ravel(), weight)
