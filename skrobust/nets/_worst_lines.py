"""Worst cases of sums of piecewise linear functions, in boxes exactly, in balls by a price of the way."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from skrobust.nets._choices import Choices, Runs, Sums, most
from skrobust.nets._worst_steps import leaping

__all__ = ["LinedRows", "PricedLines"]


class LinedRows:
    """Rows of a sum of lines in boxes: exact.

    A piecewise linear function is least over an interval at one of its ends or at a knot within.
    """

    def __init__(self, module, low: Tensor, x: Tensor, high: Tensor):
        self.module, self.low, self.x, self.high = module, low, x, high

    @cached_property
    def _starts(self) -> Tensor:
        return torch.arange(self.x.shape[1], device=self.x.device) * self.module.n_values

    @cached_property
    def _home(self) -> _Spots:
        return _Spots(self.module, *_distinct(self._starts, self.x))

    @cached_property
    def _box(self) -> _Intervals:
        return _Intervals(self.module, self._starts, self.low, self.high)

    def _table(self, directions: Tensor) -> Tensor:
        return self.module.values.flatten(1).T @ directions.T

    def here(self, directions: Tensor) -> Tensor:
        values = self._home.values(self._table(directions))
        return directions @ self.module.bias + self._home.sums(values)

    def most(self, directions: Tensor) -> Tensor:
        return directions @ self.module.bias - self._box.least(-self._table(directions))

    def places(self, directions: Tensor) -> Tensor:
        """Places (n, d, n_directions) at which ``direction . f`` is largest."""
        with torch.no_grad():
            z = self._box.places(-self._table(directions))
        x = self.x[:, :, None]
        return torch.where(torch.isnan(x), x, z)


class _Intervals:
    """The different intervals of columns that entries of rows move in."""

    def __init__(self, module, starts: Tensor, low: Tensor, high: Tensor):
        self.edges = torch.nn.functional.pad(module.edges, (0, 1), value=torch.nan).flatten()
        column, ends, which = _distinct(starts, low, high)
        self._low, self._high = (_Spots(module, column, end[:, None], which) for end in ends.T)
        self.sums = Sums(which.flatten(), *which.shape, len(column))
        first, last = _inside(module, column // module.n_values, ends)
        self.has_knot = first <= last
        kept = self.has_knot
        self.runs = Runs((first + column)[kept], (last + column)[kept])

    def least(self, table: Tensor) -> Tensor:
        """Sum over columns of the least value of each interval, (n_numbers, c) -> (n_rows, c)."""
        with torch.no_grad():
            spots = self._least(table.detach())
        return self.sums(_between(table, *spots))

    def places(self, table: Tensor) -> Tensor:
        """Where it is (n, d, c): at a knot, or at an end of the interval."""
        left, right, share = self._least(table)
        z = self.edges[left]
        for spots in (self._low, self._high):
            own = zip((left, right, share), spots.expand(table.shape[1]), strict=True)
            at_end = torch.stack([one == other for one, other in own]).all(dim=0)
            z = torch.where(at_end, spots.x[:, None], z)
        return z[self._low.which]

    def _least(self, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Left knot, right knot and share (n_numbers, c) of the least place of each interval."""
        spots = [end.expand(table.shape[1]) for end in (self._low, self._high)]
        low, high = (_between(table, *spot) for spot in spots)
        left, right, share = (
            torch.where(high < low, other, one) for one, other in zip(*spots, strict=True)
        )
        if bool(self.has_knot.any()):
            at = torch.nonzero(self.has_knot).flatten()
            knots = self.runs.places(table)
            better = table.gather(0, knots) < torch.minimum(low, high)[at]
            left[at] = torch.where(better, knots, left[at])
            right[at] = torch.where(better, knots, right[at])
            share[at] = torch.where(better, 0.0, share[at])
        return left, right, share


class _Spots:
    """Numbers of some columns as places between two knots; missing ones are places of their own."""

    def __init__(self, module, column: Tensor, x: Tensor, which: Tensor):
        self.x, self.which = x[:, 0], which
        self.left, self.right, self.share = module.locate(self.x, column // module.n_values)
        self.left, self.right = self.left + column, self.right + column
        self.sums = Sums(which.flatten(), *which.shape, len(column))

    def expand(self, n: int) -> tuple[Tensor, ...]:
        return tuple(s[:, None].expand(-1, n) for s in (self.left, self.right, self.share))

    def values(self, table: Tensor) -> Tensor:
        return _between(table, *self.expand(table.shape[1]))


def _between(table: Tensor, left: Tensor, right: Tensor, share: Tensor) -> Tensor:
    """Values of a table (n_numbers, c) between its entries ``left`` and ``right``."""
    return torch.lerp(table.gather(0, left), table.gather(0, right), share)


def _distinct(starts: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Different entries of columns: where the column starts, the numbers (u, n_parts), and which.

    Rows have equal entries mostly, and what is known of one holds for all of its equals.
    """
    columns, numbers, which, n_seen = [], [], [], 0
    for start, *own in zip(starts, *(part.T for part in parts), strict=True):
        seen = torch.stack([part.nan_to_num(nan=torch.inf) for part in own], dim=1)
        found, index = torch.unique(seen, dim=0, return_inverse=True)
        columns.append(start.expand(len(found)))
        numbers.append(torch.where(torch.isinf(found), torch.nan, found))
        which.append(index + n_seen)
        n_seen += len(found)
    return torch.cat(columns), torch.cat(numbers), torch.stack(which, dim=1)


def _inside(module, column: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """First and last knot strictly between the ends; none where the first is after the last."""
    edges = module.edges[column]
    first = torch.searchsorted(edges, ends[:, :1].contiguous(), right=True)[:, 0]
    last = torch.searchsorted(edges, ends[:, 1:].contiguous())[:, 0] - 1
    missing = torch.isnan(ends[:, 0])
    return torch.where(missing, 0, first), torch.where(missing, -1, last)


class PricedLines(LinedRows):
    """Rows of a sum of lines in l1 and l2 balls: an upper bound, by a price of the way.

    As :class:`~skrobust.nets._worst_steps.PricedRows`, with places between knots: along a piece
    the worth of moving by m is ``gain + slope m - t m ** p``, largest at an end for p = 1 and for
    p = 2 at ``slope / (2 t)`` or the end nearest to it.
    """

    def __init__(self, module, low: Tensor, x: Tensor, high: Tensor, region, order: float):
        super().__init__(module, low, x, high)
        ball, self.prices, self.order = getattr(region, "ball", region), {}, order
        radius = ball.radius[:, None, None].clamp(min=torch.finfo(x.dtype).tiny)
        near, *parts = _pieces(module, low, x, high)
        step = ball.scale.expand_as(x)[:, :, None] * radius
        still = leaping(region)[:, None]
        for at in (4, 5):  # the way to the near end, and along the piece
            parts[at] = torch.where(still, 0.0, (parts[at] / step).nan_to_num(nan=0.0))
        self.choices = Choices(near, *parts)

    def price_of(self, number: int) -> Tensor:
        """The prices of each row (n,) for a direction of that number; made where there are none."""
        if number not in self.prices:
            start = torch.full((self.choices.n_rows,), 0.5)
            self.prices[number] = torch.nn.Parameter(start.to(self.module.values))
        return self.prices[number]

    def most(self, directions: Tensor) -> Tensor:
        table = self._table(directions)
        found = []
        for number, worth in enumerate(table.unbind(dim=1)):
            price = self.price_of(number).abs()
            gain, way, _ = self.at_price(worth, price)
            found.append(gain + price * (1 - way))
        return torch.stack(found, dim=1) + directions @ self.module.bias

    def at_price(
        self, worth: Tensor, price: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is gained (n,) and spent (n,) at a price, and where: places z (n, d).

        ``offset`` (n,) is where the table of a row begins in ``worth``.
        """
        with torch.no_grad():
            left, right, share, way, moved = self._best(worth.detach(), price.detach(), offset)
        take = lambda at: worth.index_select(0, at.flatten()).view_as(at)
        gain = torch.lerp(take(left), take(right), share).sum(dim=1)
        return gain, way.sum(dim=1), self.x + moved

    def _best(self, worth: Tensor, price: Tensor, offset: Tensor | None) -> list[Tensor]:
        def judge(row: Tensor, left, right, share, span, way, run, start, length):
            price_ = price[row]
            if offset is not None:
                left, right = left + offset[row], right + offset[row]
            low, step = worth[left], worth[right] - worth[left]
            rise = step * span
            if self.order == 1:
                part = (rise > price_ * run).to(rise)
            else:
                best = rise / (2 * price_ * run.square()).clamp(min=1e-300) - way / run
                part = torch.where(run > 0, best.nan_to_num(nan=0.0), (rise > 0).to(rise))
                part = part.clamp(0, 1)
            cost = (way + part * run) ** self.order
            gains = low + step * share + rise * part - price_ * cost
            return gains, (left, right, share + span * part, cost, start + part * length)

        return self.choices.best(judge)


def _pieces(module, low: Tensor, x: Tensor, high: Tensor) -> list[Tensor]:
    """The pieces (n, d, w) that each entry can reach, cut at the entry itself, from its near end.

    Which of them there are; left and right knot; share of the way between them at the near end, and
    how much of it the piece is long; the way to it and along it; and both with their sign.
    """
    count = module.n_knots[:, None]
    columns = torch.arange(x.shape[1], device=x.device)[:, None]
    seen = lambda z: torch.searchsorted(module.edges, z.nan_to_num(nan=0.0).T.contiguous()).T
    first, home, last = (seen(z)[:, :, None] for z in (low, x, high))
    slot = torch.arange(most((last - first).flatten()) + 2, device=x.device)
    falls = slot <= home - first
    piece = torch.where(falls, first + slot, first + slot - 1)
    near, piece = piece <= last, torch.minimum(piece, last)
    below = torch.nn.functional.pad(module.edges, (1, 0), value=-torch.inf)[columns, piece]
    above = torch.nn.functional.pad(module.edges, (0, 1), value=torch.inf)[columns, piece]
    x_, low_, high_ = x[:, :, None], low[:, :, None], high[:, :, None]
    start = torch.where(falls, torch.minimum(x_, above), torch.maximum(x_, below))
    end = torch.where(falls, torch.maximum(low_, below), torch.minimum(high_, above))
    left = torch.minimum((piece - 1).clamp(min=0), count - 1)
    right = torch.minimum(piece, count - 1)
    width = torch.where(right > left, above - below, torch.inf)
    share = ((start - below) / width).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    span = ((end - start) / width).nan_to_num(nan=0.0)
    missing = torch.isnan(x_)
    alone = torch.where(missing, slot == 0, near)
    left, right = (torch.where(missing, module.n_values - 1, at) for at in (left, right))
    starts = columns * module.n_values
    zero = lambda part: torch.where(missing, 0.0, part)
    run = zero(end - start)
    moved = zero(start - x_)
    parts = [left + starts, right + starts, zero(share), zero(span), moved.abs(), run.abs(), moved]
    return [alone, *parts, run]
