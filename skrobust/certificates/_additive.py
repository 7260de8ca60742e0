"""Additive models: each column finds its worst by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skrobust.bridge import Lines, lines_of
from skrobust.bridge._lines import Dual, against
from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._trees import TreeProver
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.metrics._view import torch_view
from skrobust.nets._worst import is_box
from skrobust.threats import Region, Threat
from skrobust.trees import Forest, as_sum

__all__ = ["AdditiveProver"]

SLACK = 1e-11
ULPS = 8 * torch.finfo(torch.float64).eps


class AdditiveProver(Prover):
    """Sums of functions of single columns: exact in boxes, nearly so in l1 and l2 balls.

    ``module="additive"`` of steps and of lines, boosted stumps, and any other trees that ask for one
    column each. In a box (linf, with any scales, bounds, frozen and one-way columns) the worst
    margin is the sum of each column's worst, exactly. In l1 and l2 balls the columns share a
    budget; the best price of it gives a lower bound (weak duality), which is off by no more than
    what one column can give. ``exact`` says of which rows the answer is settled all the same. Rules
    (whole numbers, categories, bands) make the set of places smaller than what is proven: of steps
    categories are gone through one by one, of lines they move within the box around them.
    """

    name = "additive"

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        view = torch_view(estimator, rows) if rows.values.ndim == 2 else None
        lines = None if view is None else lines_of(view.module, rows.values.shape[1])
        if lines is not None:
            self._inner: Prover = _Lines(lines, threat, rows)
        else:
            self._inner = _Steps(estimator, threat, rows, settings)
        self.exact = self._inner.exact

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        return self._inner.outputs(X, radius)

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        return self._inner.margin(X, label, radius)

    def gaps(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        return self._inner.gaps(X, label, radius)

    def exact_rows(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        return self._inner.exact_rows(X, label, radius)


class _Steps(TreeProver):
    """Trees of one column each."""

    name = "additive"

    @classmethod
    def _suited(cls, forest: Forest, estimator: Any) -> Forest:
        found = as_sum(forest)
        if found is None:
            raise UnsupportedEstimatorError(
                f"The trees of {type(estimator).__name__} ask for several columns each: it is no sum "
                "of functions of single columns."
            )
        return found


class _Lines(Prover):
    """Sums of piecewise linear functions, in raw columns."""

    name = "additive"

    def __init__(self, lines: Lines, threat: Threat, rows: Rows):
        self.lines, self.threat = lines, threat
        some = torch.as_tensor(rows.values[:1].astype("float64"))
        self.exact = is_box(threat.region(some, 1.0)) and not threat.ruled
        self.slack = _rounding(lines)

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        region, k = self.threat.region(X, radius), self.lines.module.n_outputs
        units = torch.eye(k, dtype=torch.float64)
        aims = torch.cat([units, -units]).expand(len(X), -1, -1)
        found = self._most(region, aims, None).bound.view(len(X), 2 * k)
        return -found[:, k:] - self.slack, found[:, :k] + self.slack

    def _most(self, region: Region, aims: Tensor, goal: float | None) -> Dual:
        """Of every direction of every row, one after the other."""
        rows = torch.arange(len(aims)).repeat_interleave(aims.shape[1])
        return self.lines.worst(region.take(rows), aims.flatten(0, 1), goal)

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        return self._against(X, label, radius)[0]

    def exact_rows(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        if self.exact or self.threat.ruled or self.lines.module.n_outputs < 2:
            return torch.full((len(X),), self.exact)
        margin, reached = self._against(X, label, radius)
        return (margin > 0) | (reached >= 0)

    def _against(self, X: Tensor, label: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Lower bounds (n,) of the margin, and the largest ``f_k - f_label`` that was reached."""
        aims = against(label, self.lines.module.n_outputs)
        found = self._most(self.threat.region(X, radius), aims, -self.slack)
        bound, reached = (part.view(aims.shape[:2]).amax(dim=1) for part in found[:2])
        return -bound - self.slack, reached


def _rounding(lines: Lines) -> float:
    """What rounding may cost: of the sums, and of rows that are cut off next to steep pieces."""
    module = lines.module
    size = module.values.abs().amax(dim=2).sum(dim=1) + module.bias.abs()
    edges = module.edges.nan_to_num(posinf=torch.nan)
    width = (edges[:, 1:] - edges[:, :-1]).nan_to_num(nan=torch.inf)
    steep = module.values[:, :, 1:-1] - module.values[:, :, :-2]
    steep = (steep.abs() / width).amax(dim=2) if width.shape[1] else torch.zeros_like(edges.T[:1])
    wide = edges.abs().nan_to_num(nan=0.0).amax(dim=1)
    return float((SLACK * size + ULPS * (steep * wide).sum(dim=1)).amax()) * 2
