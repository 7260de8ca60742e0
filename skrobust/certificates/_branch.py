"""Branch and bound: the region of a row is cut into boxes until each is proven, or a row is found."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrobust._torch import margins
from skrobust.bounds import Crown, Room, least_margin, pairs
from skrobust.certificates._base import Settings
from skrobust.certificates._networks import CrownProver
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.threats import Region, Threat

__all__ = ["BranchProver"]

SECONDS = 60.0  # of all rows, where the user says nothing
SHARE = 0.3  # of the seconds left that one call may take
BATCH = 512  # boxes that are cut at once
MOST_COLUMNS = 64


class _Boxes(NamedTuple):
    """Parts of regions that are not proven yet."""

    row: Tensor  # (n_boxes,)
    low: Tensor  # (n_boxes, d)
    high: Tensor
    bound: Tensor  # (n_boxes,) lower bounds of the margin
    slope: Tensor  # (n_boxes, d) the linear function below the worst logit difference

    def pick(self, index: Tensor) -> _Boxes:
        return _Boxes(*(field[index] for field in self))

    def join(self, other: _Boxes) -> _Boxes:
        return _Boxes(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


class BranchProver(CrownProver):
    """CROWN on smaller and smaller boxes: closes the gap for small networks on few columns.

    The box with the worst bound is halved along the column that its linear lower bound depends on
    most (Bunel et al. 2020, 1909.06588, with CROWN as the bound). A row is settled when all of its
    boxes are proven, or when the model changes its mind at the worst place of one: then the answer
    is exact either way. Rows that are not settled in time keep their bound.
    """

    name = "branch"
    precision = 1e-2

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        super().__init__(estimator, threat, rows, settings)
        if rows.values.ndim != 2 or rows.values.shape[1] > MOST_COLUMNS:
            raise UnsupportedEstimatorError(
                f"method='branch' cuts the columns of tables, at most {MOST_COLUMNS} of them; X has "
                f"rows of shape {rows.values.shape[1:]}. Use method='crown'."
            )
        self._left = settings.time_budget or SECONDS
        self._last: tuple[Tensor, ...] | None = None

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        began = time.monotonic()
        bound = super().margin(X, label, radius)
        settled = bound > 0
        if not settled.all() and self._left > 0:
            rows = torch.nonzero(~settled)[:, 0]
            with torch.no_grad():
                region = self.threat.region(X[rows], radius[rows])
                found, done = self._branch(region, label[rows], began + SHARE * self._left)
            # adding to the bound of the whole what rounding took from it
            bound[rows] = torch.maximum(bound[rows], found - self._rounding(region))
            settled[rows] = done
        self._left -= time.monotonic() - began
        self._last = (X, label, radius, settled)
        return bound

    def exact_rows(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        given = (X, label, radius)
        if self._last is None or not all(map(torch.equal, self._last[:3], given)):
            self.margin(*given)
        return self._last[3]

    def _branch(self, region: Region, label: Tensor, until: float) -> tuple[Tensor, Tensor]:
        """Lower bounds (n,) of the margin, and which rows are settled."""
        room = Room(region)
        proven = torch.full((len(label),), torch.inf, dtype=torch.float64)
        lost = margins(self.graph.forward(region.x), label) <= 0
        rows = torch.nonzero(~lost)[:, 0]
        boxes = self._bounded(room, label, rows, room.low[rows], room.high[rows])
        whole = torch.full_like(proven, -torch.inf).index_copy(0, rows, boxes.bound)
        lost |= self._is_lost(region, label, boxes)
        while time.monotonic() < until:
            boxes = boxes.pick(torch.nonzero(~lost[boxes.row])[:, 0])
            if not len(boxes.row):
                break
            # the rows nearest to a proof first, all boxes of a row together
            whole_row = torch.full_like(proven, torch.inf)
            whole_row = whole_row.scatter_reduce(0, boxes.row, boxes.bound, "amin")
            order = whole_row[boxes.row].argsort(descending=True, stable=True)
            halves = self._bounded(room, label, *_halved(boxes.pick(order[:BATCH])))
            good = halves.bound > 0
            proven = proven.scatter_reduce(0, halves.row[good], halves.bound[good], "amin")
            halves = halves.pick(torch.nonzero(~good)[:, 0])
            lost |= self._is_lost(region, label, halves)
            boxes = boxes.pick(order[BATCH:]).join(halves)
        waiting = torch.zeros_like(lost).index_fill(0, boxes.row, True) & ~lost
        bound = proven.scatter_reduce(0, boxes.row, boxes.bound, "amin")
        return torch.where(lost, whole.clamp(max=0), bound), ~waiting

    def _bounded(self, room: Room, label: Tensor, rows: Tensor, low, high) -> _Boxes:
        part = room.part(rows, low, high)
        heads = pairs(label[rows], self.graph.output.size, part.x)
        bounds, slopes = Crown(self.bounder.width).with_slopes(self.graph, part, heads)
        bound = least_margin(bounds, label[rows])
        worst = bounds.scatter(1, label[rows][:, None], torch.inf).argmin(dim=1)
        slope = slopes.expand(len(rows), -1, -1)[torch.arange(len(rows)), worst]
        return _Boxes(rows, low, high, torch.where(_is_empty(part), torch.inf, bound), slope)

    def _is_lost(self, region: Region, label: Tensor, boxes: _Boxes) -> Tensor:
        """Rows (n,) whose label changes at the lowest place of some box."""
        corner = torch.where(boxes.slope > 0, boxes.low, boxes.high)
        places = region.take(boxes.row)
        z = places.realize(places.project(corner))
        broken = margins(self.graph.forward(z), label[boxes.row]) <= 0
        return torch.zeros(len(label), dtype=torch.bool).index_fill(0, boxes.row[broken], True)


def _is_empty(part: Room) -> Tensor:
    """Boxes (n,) that lie outside of the ball altogether."""
    ball = getattr(part.region, "ball", part.region)
    if not hasattr(ball, "length"):
        return torch.zeros(len(part.x), dtype=torch.bool)
    near = torch.minimum(torch.maximum(part.x, part.low), part.high)
    exempt = getattr(getattr(part.region, "rules", None), "exempt", None)
    near = near if exempt is None else torch.where(exempt, part.x, near)
    return ball.length(near) > ball.radius * (1 + 1e-9)


def _halved(boxes: _Boxes) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and limits of the two halves of each box."""
    width = (boxes.high - boxes.low).nan_to_num(nan=0.0)
    column = (boxes.slope.abs() * width + 1e-9 * width).argmax(dim=1, keepdim=True)
    middle = (boxes.low.gather(1, column) + boxes.high.gather(1, column)) / 2
    low, high = boxes.low.scatter(1, column, middle), boxes.high.scatter(1, column, middle)
    return (
        torch.cat([boxes.row, boxes.row]),
        torch.cat([boxes.low, low]),
        torch.cat([high, boxes.high]),
    )
