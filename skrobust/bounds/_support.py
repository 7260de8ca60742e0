"""How far linear functions can rise in the region of each row."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from skrobust.bounds._graph import finite
from skrobust.threats import Region

__all__ = ["Room"]

FEW = 16  # functions per row
OUTWARD = 1 + 1e-12


class Room:
    """A region, asked for linear functions: ``rise(g) = max over z of <g, z - x>``.

    Exact for ball and box (the point of the region that is steepest), and for rules whose steepest
    valid row is known; an upper bound for other rules. Rounded outward by a relative 1e-12.

    Attributes
    ----------
    low, high : Tensor of shape (n, ...)
        The smallest box around all places.
    exact : bool
    is_box : bool
        Whether nothing but the box limits.
    """

    def __init__(self, region: Region):
        self.region, self.x = region, region.x
        rules = getattr(getattr(region, "rules", None), "rules", None)
        repaired = rules is not None and rules.repair is not None
        self.exact = region.exact_steepest and not repaired
        ball = getattr(region, "ball", region)
        norm = getattr(ball, "norm", None)
        coarse = rules is not None and bool(rules.leaps or rules.levels)
        self.is_box = norm is not None and norm.is_box and not coarse
        self._is_part = False
        self._derived = rules.derived if rules is not None else []
        self._walls(*_limits(region, rules))

    def _walls(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high
        self._down = finite((low - self.x).nan_to_num(nan=0.0)).flatten(1)
        self._up = finite((high - self.x).nan_to_num(nan=0.0)).flatten(1)

    def part(self, rows: Tensor, low: Tensor, high: Tensor) -> Room:
        """Parts of the regions of some rows: what of them lies in a smaller box.

        Of many functions at once only the box is asked, which small boxes cost little.
        """
        part = copy.copy(self)
        part._is_part = True
        part.region, part.x, part.exact = self.region.take(rows), self.x[rows], False
        part._walls(low, high)
        return part

    def rise(self, weight: Tensor) -> Tensor:
        """The largest ``<w, z - x>`` (n, m) of ``weight`` (n or 1, m, ...)."""
        flat = weight.flatten(2)
        rise = self._in_box(flat)
        if not self.is_box and not (self._is_part and flat.shape[1] > FEW):
            rise = torch.minimum(rise, self._in_ball(flat))
        return rise * OUTWARD

    def level(self, weight: Tensor) -> Tensor:
        """``<w, x>`` (n, m); missing entries must weigh nothing."""
        flat, x = weight.flatten(2), self.x.flatten(1).to(weight.dtype)
        if bool(x.isnan().any()):
            missing = x.isnan()
            touched = ((flat != 0) & missing[:, None]).any(dim=2)
            found = _products(flat, x.nan_to_num(nan=0.0))
            return torch.where(touched, torch.nan, found)
        return _products(flat, x)

    def _in_box(self, flat: Tensor) -> Tensor:
        return _products(flat.clamp(min=0), self._up) + _products(flat.clamp(max=0), self._down)

    def _in_ball(self, flat: Tensor) -> Tensor:
        n, (m, d) = len(self.x), flat.shape[1:]
        room = max(1, 2**22 // max(1, m * d))
        parts = []
        for start in range(0, n, room):
            rows = torch.arange(start, min(n, start + room), device=flat.device)
            part = flat.expand(n, m, d)[rows]
            parts.append(self._steepest(part, rows.repeat_interleave(m)).view(len(rows), m))
        return torch.cat(parts)

    def _steepest(self, flat: Tensor, rows: Tensor) -> Tensor:
        region = self.region.take(rows)
        gradient = flat.reshape(-1, *self.x.shape[1:])
        z = region.steepest(gradient)
        if region.ruled and self.exact:
            z = region.realize(z)
        moved = (z - region.x).nan_to_num()
        if self._derived:
            moved[:, self._derived] = 0
            free = torch.zeros_like(gradient)
            free[:, self._derived] = gradient[:, self._derived]
            free = free.flatten(1)
            extra = (free.clamp(min=0) * self._up[rows]).sum(1)
            extra = extra + (free.clamp(max=0) * self._down[rows]).sum(1)
            return (gradient * moved).flatten(1).sum(1) + extra
        return (gradient * moved).flatten(1).sum(1)


def _products(flat: Tensor, values: Tensor) -> Tensor:
    """``<w, v>`` (n, m) of w (n or 1, m, d) and v (n, d)."""
    values = values.to(flat.dtype)
    if len(flat) == 1:
        return values @ flat[0].T
    return (flat @ values[:, :, None])[:, :, 0]


def _limits(region: Region, rules) -> tuple[Tensor, Tensor]:
    """The box around the valid rows: whole numbers stop at whole numbers."""
    low, high = region.low, region.high
    if rules is not None and rules.whole is not None and rules.band is None:
        whole = region.rules.whole
        slack = 1e-9
        low = torch.where(whole, (low - slack).ceil(), low)
        high = torch.where(whole, (high + slack).floor(), high)
    return low, high
