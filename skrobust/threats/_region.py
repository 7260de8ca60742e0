"""Ball ∩ box around each row, in the units of the rows."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.threats._base import Region
from skrobust.threats._geometry import Norm, wide

__all__ = ["BallRegion", "Room"]


class Room(NamedTuple):
    """What a threat allows each feature, the same for all rows.

    Tensors that broadcast against the rows, in their dtype. ``low`` and ``high`` are bounds, in
    the units of the rows; ``down`` and ``up`` are 1 where a feature may fall or grow and 0 where
    it may not. None means no such limit.
    """

    scale: Tensor
    low: Tensor | None = None
    high: Tensor | None = None
    down: Tensor | None = None
    up: Tensor | None = None


class BallRegion(Region):
    """The places ``z = x + scale * u`` with ``norm(u) <= radius`` that leave each wall alone.

    Every point that a method returns is settled: it lies inside ball and box in the arithmetic
    of ``x`` itself, not only in that of real numbers, and :meth:`settle` gives it back unchanged.

    Attributes
    ----------
    x : Tensor of shape (n, ...)
        The rows.
    radius : Tensor of shape (n,)
        In steps of the scale.
    scale : Tensor that broadcasts against ``x``
        Units of ``x`` in one step.
    low, high : Tensor of shape (n, ...)
        The smallest box around the region, in the units of ``x``: ``low <= z <= high`` for each
        of its points, met with equality by some. Bounds by intervals start from it.
    """

    def __init__(self, norm: Norm, x: Tensor, radius: Tensor, room: Room, limits=None):
        self.norm, self.x, self.radius, self.room = norm, x, radius, room
        self.scale = room.scale
        self.low, self.high = limits or _limits(x, radius, room)

    def project(self, z: Tensor) -> Tensor:
        z = _without_nan(z, self.x)
        if self.norm.is_box:
            return torch.clamp(z, self.low, self.high)
        return self._place(self.norm.project(self._steps(z), *self._ball_and_box))

    def steepest(self, gradient: Tensor) -> Tensor:
        if self.norm.is_box:
            low = torch.where(gradient < 0, self.low, self.x)
            return torch.where(gradient > 0, self.high, low)
        return self._place(self.norm.steepest(self._slope(gradient), *self._ball_and_box))

    def step(self, z: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        if isinstance(size, Tensor) and size.ndim:
            size = per_row(size, z)
        if self.norm.is_box:  # clamp keeps missing values, whose limits are NaN; sign(NaN) is 0
            moved = torch.addcmul(z, gradient.sign(), size * self.scale)
            return torch.clamp(moved, self.low, self.high)
        blocked = ((gradient > 0) & (z >= self.high)) | ((gradient < 0) & (z <= self.low))
        slope = self._slope(gradient.masked_fill(blocked, 0.0))
        return self.project(z + size * self.scale * self.norm.direction(slope).view_as(z))

    def sample(self, generator: torch.Generator) -> Tensor:
        if self.norm.is_box:
            share = torch.rand(
                self.x.shape, dtype=self.x.dtype, device=self.x.device, generator=generator
            )
            return torch.clamp(torch.lerp(self.low, self.high, share), self.low, self.high)
        return self._place(self.norm.sample(*self._ball_and_box, generator))

    def distance(self, z: Tensor) -> Tensor:
        room, x = self.room, self.x
        broken = torch.isnan(z) != torch.isnan(x)
        if room.low is not None:
            broken = broken | (z < torch.minimum(room.low, x)) | (z > torch.maximum(room.high, x))
        if room.down is not None:
            broken = broken | ((z < x) & (room.down == 0)) | ((z > x) & (room.up == 0))
        return torch.where(broken.flatten(1).any(dim=1), torch.inf, self.length(z))

    def settle(self, z: Tensor) -> Tensor:
        z = torch.clamp(_without_nan(z, self.x), self.low, self.high)
        if self.norm.is_box:
            return z
        for _ in range(4):
            length, radius = self.length(z), wide(self.radius)
            over = torch.nonzero(length > radius).flatten()
            if len(over) == 0:
                return z
            share = radius[over] / length[over] * (1 - 4 * torch.finfo(z.dtype).eps)
            z = z.index_copy(0, over, _towards(self.x[over], z[over], share))
        over = torch.nonzero(self.length(z) > wide(self.radius)).flatten()
        return z.index_copy(0, over, self.x[over])

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The walls of each row, in units of ``x``; a row outside widens them to itself."""
        low, high = self.room.low, self.room.high
        if low is None or high is None:
            none = torch.full_like(self.x, torch.inf)
            return -none, none
        return torch.minimum(low, self.x), torch.maximum(high, self.x)

    def holds(self, x: Tensor) -> bool:
        """Whether rows ``x`` lie within the walls."""
        low, high = self.room.low, self.room.high
        return low is None or not bool(((x < low) | (x > high)).any())

    def around(self, x: Tensor) -> BallRegion:
        """The same ball and walls around other rows, of the same type and shape: of one radius."""
        limits = _box(x, self._reach_of_one, self.room)
        return BallRegion(self.norm, x, self.radius[:1].expand(len(x)), self.room, limits)

    def take(self, rows: Tensor) -> BallRegion:
        limits = self.low[rows], self.high[rows]
        return BallRegion(self.norm, self.x[rows], self.radius[rows], self.room, limits)

    def length(self, z: Tensor) -> Tensor:
        """How far each row moved, in steps, measured in double precision where there is one."""
        u = (wide(z) - wide(self.x)) / wide(self.scale)
        return self.norm.length(torch.nan_to_num(u, nan=0.0).flatten(1))

    def _steps(self, z: Tensor) -> Tensor:
        """Displacement in steps, flat; missing entries have not moved."""
        return torch.nan_to_num((z - self.x) / self.scale, nan=0.0).flatten(1)

    def _slope(self, gradient: Tensor) -> Tensor:
        """Gradient with respect to steps, flat."""
        return torch.nan_to_num(gradient * self.scale, nan=0.0).flatten(1)

    def _place(self, u: Tensor) -> Tensor:
        return self.settle(self.x + self.scale * u.view_as(self.x))

    @cached_property
    def _reach_of_one(self) -> Tensor:
        return _reach(self.x, per_row(self.radius[:1], self.x), self.room)

    @cached_property
    def _ball_and_box(self) -> tuple[Tensor, Tensor, Tensor]:
        radius = self.radius * (1 - 4 * torch.finfo(self.x.dtype).eps)  # room for rounding
        return radius, self._steps(self.low), self._steps(self.high)


def _limits(x: Tensor, radius: Tensor, room: Room) -> tuple[Tensor, Tensor]:
    """The smallest box around ball ∩ box: no coordinate goes further than ``radius`` steps."""
    if radius.stride(0) == 0:  # the same for all rows: let it broadcast
        radius = radius[:1]
    return _box(x, _reach(x, per_row(radius, x), room), room)


def _reach(x: Tensor, radius: Tensor, room: Room) -> Tensor:
    """``radius`` steps in the units of ``x``, rounded down."""
    reach = radius * room.scale
    if x.dtype != torch.float64:  # so that the budget holds when it is measured in float64 too
        reach = reach * (1 - torch.finfo(x.dtype).eps)
    return torch.where(reach / room.scale > radius, torch.nextafter(reach, 0 * reach), reach)


def _box(x: Tensor, reach: Tensor, room: Room) -> tuple[Tensor, Tensor]:
    """``reach`` to both sides, as far as walls and frozen features allow."""
    low = _end(x, reach if room.down is None else reach * room.down, -1)
    high = _end(x, reach if room.up is None else reach * room.up, 1)
    if room.low is not None:  # never past the row itself: bounds that were learned widen
        low = torch.maximum(low, torch.minimum(room.low, x))
        high = torch.minimum(high, torch.maximum(room.high, x))
    return low, high


def _end(x: Tensor, reach: Tensor, way: int) -> Tensor:
    """``x + way * reach``, moved back by one unit in the last place where rounding passed it.

    Half a unit in the last place of a large ``x`` may be many percent of a small reach.
    """
    end = torch.add(x, reach, alpha=way)
    gone = end - x if way > 0 else x - end
    return torch.where(gone > reach, torch.nextafter(end, x), end)


def _without_nan(z: Tensor, x: Tensor) -> Tensor:
    """``z`` with ``x`` in place of NaN. On a CPU a sum tells ten times faster whether any is."""
    if z.device.type == "cpu" and not torch.isnan(z.sum()):
        return z
    return torch.where(torch.isnan(z), x, z)


def _towards(x: Tensor, z: Tensor, share: Tensor) -> Tensor:
    """``x + share * (z - x)``, rounded towards ``x``."""
    wanted = (z - x) * per_row(share, z).to(z.dtype)
    moved = x + wanted
    return torch.where((moved - x).abs() > wanted.abs(), torch.nextafter(moved, x), moved)
