"""Sums of piecewise linear functions of single columns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["ColumnSum", "LineSum", "place_knots"]


class ColumnSum(nn.Module):
    """``bias`` plus one function of each column, told by ``values`` at places between ``edges``.

    Attributes
    ----------
    edges : Tensor of shape (d, n_edges)
        Sorted, filled up with infinity.
    values : Tensor of shape (n_outputs, d, n_edges + extra)
        The last one is that of missing values.
    bias : Tensor of shape (n_outputs,)
    """

    extra: int  # values beyond one for each edge

    def __init__(self, n_features: int, n_outputs: int, n_edges: int = 1):
        super().__init__()
        self.n_features, self.n_outputs = n_features, n_outputs
        self._allot(n_edges)

    def _allot(self, n_edges: int) -> None:
        shape = (self.n_features, n_edges)
        self.register_buffer("edges", torch.full(shape, torch.inf, dtype=torch.float64))
        values = torch.zeros(self.n_outputs, shape[0], n_edges + self.extra, dtype=torch.float64)
        self.values = nn.Parameter(values)
        self.bias = nn.Parameter(torch.zeros(self.n_outputs, dtype=torch.float64))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        found = state_dict.get(prefix + "edges")
        if found is not None and found.shape != self.edges.shape:
            device = self.edges.device
            self._allot(found.shape[1])
            self.to(device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def set_edges(self, edges: list[np.ndarray]) -> None:
        """Forget all values; cut the columns at these numbers."""
        device = self.edges.device
        self._allot(max([1, *map(len, edges)]))
        for column, own in enumerate(edges):
            self.edges[column, : len(own)] = torch.as_tensor(own)
        self.to(device)

    @property
    def n_values(self) -> int:
        """Numbers of a column in ``values``, that of missing values included."""
        return self.values.shape[2]


class LineSum(ColumnSum):
    """``bias + sum_j f_j(x_j)``, each ``f_j`` linear between knots and constant beyond them.

    ``values`` are those at the knots (``edges``); the last one is that of missing values. A function
    is a weighted sum of hats, and so linear in its values.
    """

    extra = 1

    @property
    def n_knots(self) -> Tensor:
        """Knots of each column (d,), one at least."""
        return torch.isfinite(self.edges).sum(dim=1).clamp(min=1)

    def locate(self, x: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Left knot, right knot and share of the way between them, of numbers (u,) of columns."""
        edges, count = self.edges[column], self.n_knots[column]
        after = torch.searchsorted(edges, x.detach().to(edges.dtype)[:, None].contiguous())[:, 0]
        left = torch.minimum((after - 1).clamp(min=0), count - 1)
        right = torch.minimum(after, count - 1)
        low, high = (edges.gather(1, at[:, None])[:, 0] for at in (left, right))
        inside = right > left
        share = (x - low) / torch.where(inside, high - low, 1.0)
        missing = torch.isnan(x)
        share = torch.where(inside & ~missing, share, 0.0)
        left, right = (torch.where(missing, self.n_values - 1, at) for at in (left, right))
        return left, right, share

    def forward(self, x: Tensor) -> Tensor:
        columns = torch.arange(self.n_features, device=x.device).repeat(len(x))
        left, right, share = self.locate(x.reshape(-1), columns)
        table, starts = self.values.flatten(1).T, columns * self.n_values
        low, high = table[left + starts], table[right + starts]
        found = low + (high - low) * share[:, None].to(low)
        return found.view(len(x), self.n_features, -1).sum(dim=1) + self.bias


def place_knots(low, high, x, weight, n_knots: int, categorical) -> list[np.ndarray]:
    """Knots of each column: at quantiles of where movements begin and end, the outermost included.

    All are (n, d). Columns of codes have a knot at each.
    """
    knots = []
    for column in range(x.shape[1]):
        kept = ~np.isnan(x[:, column])
        own = x[kept, column]
        if column in categorical:
            knots.append(np.unique(own))
            continue
        ends = np.concatenate([low[kept, column], high[kept, column]])
        knots.append(_quantiles(ends, np.tile(weight[kept], 2), n_knots))
    return knots


def _quantiles(ends: np.ndarray, weight: np.ndarray, n: int) -> np.ndarray:
    values, which = np.unique(ends, return_inverse=True)
    if len(values) <= n:
        return values
    share = np.cumsum(np.bincount(which.ravel(), weight))
    wanted = np.linspace(0, 1, n) * share[-1]
    return values[np.unique(np.searchsorted(share, wanted - 1e-12).clip(max=len(values) - 1))]
