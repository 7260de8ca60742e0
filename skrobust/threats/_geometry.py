"""All norm arithmetic: one record per norm, on displacements counted in steps.

Everything here speaks of displacements ``u`` (n, d) measured in steps of the threat's scale, a
radius (n,) and a box ``lo <= u <= hi`` with ``lo <= 0 <= hi``: *ball and box that contain 0*.
Because the box contains 0, the signs of a projection are those of the point projected, so that
each exact answer is found on magnitudes ``|u|`` and caps (how far each coordinate may go in its
direction). No loop runs over rows; sorts and a few Newton rounds are the most that rows pay.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["L1", "L2", "LINF", "Norm", "find_norm", "wide"]


def _caps(signs: Tensor, radius: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    """How far each coordinate may go in the direction of ``signs``; never more than the radius."""
    caps = torch.where(signs > 0, hi, -lo)
    caps = torch.where(signs == 0, torch.zeros_like(caps), caps)
    return torch.minimum(caps.clamp(min=0), radius[:, None])


class Norm(ABC):
    """One norm: lengths, and the exact answers on ball ∩ box.

    Attributes
    ----------
    name : str
        The name users write.
    is_box : bool
        Whether the ball is a box itself, so that ball ∩ box is nothing but limits.
    """

    name: str
    order: float
    dual: str
    is_box = False

    def length(self, u: Tensor) -> Tensor:
        """Norm of each row, (n, d) -> (n,)."""
        return torch.linalg.vector_norm(u, self.order, dim=1) if u.shape[1] else u.sum(dim=1)

    def dual_length(self, gradient: Tensor) -> Tensor:
        """Dual norm of each row: the largest ``gradient . u`` over the unit ball."""
        return find_norm(self.dual).length(gradient)

    def stretched(self, stretch: Tensor) -> Tensor:
        """Largest euclidean length of ``stretch * u`` over the unit ball, (n, d) -> (n,)."""
        if stretch.shape[1] == 0:
            return stretch.sum(dim=1)
        return stretch.abs().amax(dim=1)  # at the end of an axis

    def project(self, u: Tensor, radius: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        """Nearest point (euclidean, in steps) of ball ∩ box, exact; only rows outside pay."""
        clipped = torch.minimum(torch.maximum(u, lo), hi)
        outside = torch.nonzero(self.length(clipped) > radius).flatten()
        if len(outside) == 0:
            return clipped
        every = len(outside) == len(u)
        if not every:
            lo, hi = lo.expand_as(u)[outside], hi.expand_as(u)[outside]
            u, radius = u[outside], radius[outside]
        moved = u.sign() * self._shrink(u.abs(), _caps(u, radius, lo, hi), radius)
        return moved if every else clipped.index_copy(0, outside, moved)

    def steepest(self, gradient: Tensor, radius: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        """Point of ball ∩ box with the largest ``gradient . u``, exact.

        Coordinates whose gradient is 0 stay where they are.
        """
        if gradient.numel() == 0:
            return torch.zeros_like(gradient)
        caps = _caps(gradient, radius, lo, hi)
        return gradient.sign() * self._stretch(gradient.abs(), caps, radius)

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Ascent direction of length 1 (0 where the whole gradient is 0)."""

    def sample(self, radius: Tensor, lo: Tensor, hi: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the ball of the coordinates that can move, folded and clipped to the box.

        Coordinates that can move in one direction only are folded to that side.
        """
        u = self._uniform((lo < hi).to(lo.dtype), generator) * radius[:, None]
        u = torch.where(hi <= 0, -u.abs(), torch.where(lo >= 0, u.abs(), u))
        return torch.minimum(torch.maximum(u, lo), hi)

    @abstractmethod
    def _shrink(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        """Magnitudes of the projection of rows that lie outside."""

    @abstractmethod
    def _stretch(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        """Magnitudes of the steepest point."""

    @abstractmethod
    def _uniform(self, free: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the unit ball of the free coordinates (``free`` is 0 or 1)."""


class _Linf(Norm):
    """The largest coordinate: a box."""

    name, order, dual, is_box = "linf", torch.inf, "l1", True

    def stretched(self, stretch: Tensor) -> Tensor:
        return L2.length(stretch)  # in the corners

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def _shrink(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        return torch.minimum(size, caps)

    def _stretch(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        return caps

    def _uniform(self, free: Tensor, generator: torch.Generator) -> Tensor:
        return (2 * _rand(free, generator) - 1) * free


class _L2(Norm):
    """Euclidean length."""

    name, order, dual = "l2", 2, "l2"

    def direction(self, gradient: Tensor) -> Tensor:
        gradient = _by_largest(gradient)
        tiny = torch.finfo(gradient.dtype).tiny
        return gradient / self.length(gradient).clamp(min=tiny)[:, None]

    def _shrink(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        return self._stretch(size, caps, radius)  # both scale the point until a cap stops it

    def _stretch(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        """``min(t size, caps)`` with t such that the length is the radius (or all caps hold).

        In ``s = t^2`` the squared length is concave and piecewise linear, so Newton's steps from
        below never pass the answer; each turns coordinates from free to capped, and the one that
        turns none is exact. Sorting the caps would do too, at five times the price.
        """
        tiny = torch.finfo(size.dtype).tiny
        size = _by_largest(size)
        slopes = size.square()
        walls = (caps / torch.where(radius > 0, radius, 1.0)[:, None]).square()
        s = 1 / slopes.sum(dim=1, keepdim=True).clamp(min=tiny)
        free = slopes * s < walls
        while True:
            on = free.to(size.dtype)
            rest = (1 - (walls * (1 - on)).sum(dim=1, keepdim=True)).clamp(min=0)
            s = torch.maximum(s, rest / (slopes * on).sum(dim=1, keepdim=True).clamp(min=tiny))
            was, free = free, slopes * s < walls
            if torch.equal(was, free):
                return torch.minimum(s.sqrt() * size * radius[:, None], caps)

    def _uniform(self, free: Tensor, generator: torch.Generator) -> Tensor:
        u = torch.randn(free.shape, dtype=free.dtype, device=free.device, generator=generator)
        u = self.direction(u * free)
        room = _rand(free[:, :1], generator)
        return u * room ** (1 / free.sum(dim=1, keepdim=True).clamp(min=1))


class _L1(Norm):
    """Sum of absolute values: a budget that is spent coordinate by coordinate."""

    name, order, dual = "l1", 1, "linf"
    spread = 0.05  # share of the coordinates that one ascent step moves

    def direction(self, gradient: Tensor) -> Tensor:
        """The step is spread over the steepest twentieth of the coordinates (at least one).

        Moving only the steepest coordinate, as the norm itself would, is too slow; moving all of
        them is undone by the projection. After SLIDE (Tramer & Boneh 2019) and the attacks of
        Croce & Hein (2021, "Mind the box").
        """
        if gradient.numel() == 0:
            return torch.zeros_like(gradient)
        size = gradient.abs()
        n_top = max(1, int(self.spread * gradient.shape[1]))
        top, where = size.topk(n_top, dim=1)
        chosen = (top > 0).to(gradient.dtype)
        chosen = chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.zeros_like(gradient).scatter(1, where, chosen) * gradient.sign()

    def _shrink(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        """``clip(size - t, 0, caps)`` with t such that the sum is the radius.

        The sum falls with t, linear between the breakpoints where a coordinate leaves its cap
        (``size - cap``) or reaches 0 (``size``).
        """
        narrow = size.dtype
        size, caps, radius = (
            wide(size),
            wide(caps),
            wide(radius),
        )  # far points: t cancels most of size
        kept, kept_caps = self._contenders(size, caps, radius)
        stops, order = torch.cat([(kept - kept_caps).clamp(min=0), kept], dim=1).sort(dim=1)
        ones = torch.ones_like(kept)
        slope = torch.cat([ones, -ones], dim=1).gather(1, order).cumsum(dim=1)
        fallen = torch.nn.functional.pad((slope[:, :-1] * stops.diff(dim=1)).cumsum(1), (1, 0))
        sums = torch.minimum(kept, kept_caps).sum(dim=1, keepdim=True) - fallen
        piece = ((sums > radius[:, None]).sum(dim=1, keepdim=True) - 1).clamp(min=0)
        excess = sums.gather(1, piece) - radius[:, None]
        t = stops.gather(1, piece) + excess / slope.gather(1, piece).clamp(min=1)
        u = torch.minimum((size - t).clamp(min=0), caps)
        # t was rounded at the size of the point, far outside the ball: spend the rest exactly
        between = ((u > 0) & (u < caps)).to(u.dtype)
        excess = u.sum(dim=1, keepdim=True) - radius[:, None]
        excess = excess / between.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.minimum((u - excess * between).clamp(min=0), caps).to(narrow)

    @staticmethod
    def _contenders(size: Tensor, caps: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates of wide rows that may end above 0: sorting fewer is faster.

        Whatever t is, ``radius >= sum over any set of (min(size, cap) - t)``; a few rounds of
        this lower bound on t (Michelot 1986) drop most coordinates.
        """
        if size.shape[1] <= 128:
            return size, caps
        most, t = torch.minimum(size, caps), torch.zeros_like(radius)[:, None]
        for _ in range(4):
            on = (size > t).to(size.dtype)
            n_on = on.sum(dim=1, keepdim=True).clamp(min=1)
            t = torch.maximum(t, ((most * on).sum(dim=1, keepdim=True) - radius[:, None]) / n_on)
        # a little fewer than t allows would be an error, a few more are none
        n_kept = max(1, int((size >= t * (1 - 1e-3)).sum(dim=1).max()))
        if 4 * n_kept > size.shape[1]:
            return size, caps
        kept, where = size.topk(n_kept, dim=1)
        return kept, caps.gather(1, where)

    def _stretch(self, size: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
        """Greedy: the steepest coordinate takes what it can, the next one what is left."""
        order = size.argsort(dim=1, descending=True)
        wanted = caps.gather(1, order)
        left = radius[:, None] - (wanted.cumsum(dim=1) - wanted)
        taken = torch.minimum(wanted, left.clamp(min=0))
        return torch.zeros_like(size).scatter(1, order, taken)

    def _uniform(self, free: Tensor, generator: torch.Generator) -> Tensor:
        # d + 1 exponentials divided by their sum, the last one left out: uniform in the simplex
        u = -torch.log1p(-_rand(free, generator)) * free
        rest = -torch.log1p(-_rand(free[:, :1], generator))
        signs = _rand(free, generator).sub(0.5).sign()
        total = u.sum(dim=1, keepdim=True) + rest
        return signs * u / total.clamp(min=torch.finfo(free.dtype).tiny)


def wide(values: Tensor) -> Tensor:
    """Values in double precision, where the device has it."""
    return values if values.device.type == "mps" else values.double()


def _rand(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def _by_largest(values: Tensor) -> Tensor:
    """Rows divided by their largest magnitude, so that squares neither vanish nor overflow."""
    if values.shape[1] == 0:
        return values
    largest = values.abs().amax(dim=1, keepdim=True)
    return values / torch.where(largest > 0, largest, torch.ones_like(largest))


LINF, L2, L1 = _Linf(), _L2(), _L1()
_BY_NAME = {"linf": LINF, "l2": L2, "l1": L1}
_BY_ORDER = {float(norm.order): norm for norm in _BY_NAME.values()}


def find_norm(norm) -> Norm | None:
    """The record of a norm given as ``"linf"``, ``"l2"``, ``"l1"``, ``inf``, 2 or 1, else None."""
    if isinstance(norm, str):
        return _BY_NAME.get(norm)
    if isinstance(norm, bool) or not isinstance(norm, numbers.Real):
        return None
    return _BY_ORDER.get(float(norm))
