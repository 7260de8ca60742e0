"""Ball ∩ box around each row, in the units of the rows."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.threats._base import Region
from skrobust.threats._geometry import Norm

__all__ = ["BallRegion"]


class BallRegion(Region):
    """The places ``z = x + scale * u`` with ``norm(u) <= radius`` and ``z`` in its box.

    Every point that a method returns is settled: it lies inside ball and box in the arithmetic
    of ``x`` itself, not only in that of real numbers.

    Attributes
    ----------
    x : Tensor of shape (n, ...)
        The rows.
    radius : Tensor of shape (n,)
        In steps of ``scale``.
    scale : Tensor that broadcasts against ``x``
        Units of ``x`` in one step.
    box : pair of Tensor
        Lower and upper end of the box alone (bounds, frozen features, directions).
    low, high : Tensor of shape (n, ...)
        The smallest box around the region: ``low <= z <= high`` for each of its points.
    """

    def __init__(self, norm: Norm, x: Tensor, radius: Tensor, scale: Tensor, box, limits=None):
        self.norm, self.x, self.radius, self.scale, self.box = norm, x, radius, scale, box
        if limits is None:
            limits = reachable(x, per_row(radius, x), scale, box)
        self.low, self.high = limits

    def project(self, z: Tensor) -> Tensor:
        z = torch.where(z == z, z, self.x)  # NaN is not equal to itself
        if self.norm.is_box:
            return torch.clamp(z, self.low, self.high)
        return self._place(self.norm.project(self._steps(z), *self._ball_and_box))

    def steepest(self, gradient: Tensor) -> Tensor:
        return self._place(self.norm.steepest(self._slope(gradient), *self._ball_and_box))

    def step(self, z: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        if isinstance(size, Tensor) and size.ndim:
            size = per_row(size, z)
        if self.norm.is_box:
            return self.project(z + size * self.scale * gradient.sign())
        blocked = ((gradient > 0) & (z >= self.high)) | ((gradient < 0) & (z <= self.low))
        slope = self._slope(gradient.masked_fill(blocked, 0.0))
        return self.project(z + size * self.scale * self.norm.direction(slope).view_as(z))

    def sample(self, generator: torch.Generator) -> Tensor:
        if self.norm.is_box:
            share = torch.rand(
                self.x.shape, dtype=self.x.dtype, device=self.x.device, generator=generator
            )
            return self.project(self.low + share * (self.high - self.low))
        return self._place(self.norm.sample(*self._ball_and_box, generator))

    def distance(self, z: Tensor) -> Tensor:
        low, high = self.box
        broken = torch.isnan(z) & ~torch.isnan(self.x)
        if low is not None:
            broken = broken | (z < low) | (z > high)
        length = self._length(z)
        return torch.where(broken.flatten(1).any(dim=1), torch.inf, length)

    def settle(self, z: Tensor) -> Tensor:
        z = torch.clamp(torch.where(z == z, z, self.x), self.low, self.high)
        if self.norm.is_box:
            return z
        for _ in range(4):
            length = self._length(z)
            over = torch.nonzero(length > self._wide(self.radius)).flatten()
            if len(over) == 0:
                return z
            share = self._wide(self.radius[over]) / length[over]
            share = share * (1 - 4 * torch.finfo(z.dtype).eps)
            z = z.index_copy(0, over, _towards(self.x[over], z[over], share))
        return z.index_copy(0, over, self.x[over])

    def take(self, rows: Tensor) -> BallRegion:
        box = tuple(None if side is None else side[rows] for side in self.box)
        limits = self.low[rows], self.high[rows]
        return BallRegion(self.norm, self.x[rows], self.radius[rows], self.scale, box, limits)

    def _wide(self, values: Tensor) -> Tensor:
        """Lengths are measured in double precision where the device has it."""
        return values if values.device.type == "mps" else values.double()

    def _length(self, z: Tensor) -> Tensor:
        u = (self._wide(z) - self._wide(self.x)) / self._wide(self.scale)
        return self.norm.length(torch.nan_to_num(u, nan=0.0).flatten(1))

    def _steps(self, z: Tensor) -> Tensor:
        """Displacement in steps, flat; entries that are missing have not moved."""
        return torch.nan_to_num((z - self.x) / self.scale, nan=0.0).flatten(1)

    def _slope(self, gradient: Tensor) -> Tensor:
        """Gradient with respect to steps, flat."""
        return torch.nan_to_num(gradient * self.scale, nan=0.0).flatten(1)

    def _place(self, u: Tensor) -> Tensor:
        return self.settle(self.x + self.scale * u.view_as(self.x))

    @cached_property
    def _ball_and_box(self) -> tuple[Tensor, Tensor, Tensor]:
        radius = self.radius * (1 - 4 * torch.finfo(self.x.dtype).eps)  # room for rounding
        return radius, self._steps(self.low), self._steps(self.high)


def reachable(x: Tensor, radius: Tensor, scale: Tensor, box) -> tuple[Tensor, Tensor]:
    """The smallest box around ball ∩ box: no coordinate goes further than ``radius`` steps.

    ``x + radius * scale`` is rounded, and half a unit in the last place of a large ``x`` may be
    much in steps; ends that rounding pushed out go back by one unit.
    """
    reach = radius * scale
    if x.dtype != torch.float64:  # so that the budget holds when it is measured in float64 too
        reach = reach * (1 - torch.finfo(x.dtype).eps)
    reach = torch.where(reach / scale > radius, torch.nextafter(reach, 0 * reach), reach)
    low, high = x - reach, x + reach
    low = torch.where(x - low > reach, torch.nextafter(low, x), low)
    high = torch.where(high - x > reach, torch.nextafter(high, x), high)
    if box[0] is not None:
        low, high = torch.maximum(low, box[0]), torch.minimum(high, box[1])
    return low, high


def _towards(x: Tensor, z: Tensor, share: Tensor) -> Tensor:
    """``x + share * (z - x)``, rounded towards ``x``."""
    wanted = (z - x) * per_row(share, z).to(z.dtype)
    moved = x + wanted
    return torch.where((moved - x).abs() > wanted.abs(), torch.nextafter(moved, x), moved)
