"""Search through values alone: for models that have no gradient, or a misleading one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.attacks._base import Attack, Best, Objective, Survivors
from skrobust.attacks._limits import BUDGET, COUNT_OR_NONE
from skrobust.threats import Region

__all__ = ["Search"]


class Search(Attack):
    """Random search on values, for scores and for hard decisions alike.

    Each round proposes several points per row and evaluates them in one call (predicting with a
    forest costs mostly the call). The best proposal is accepted when it is no worse than where
    the row stands: ties let rows drift over the plateaus of trees and hard labels. Proposals are

    * flips: a random part of the features (one, a few, all; a patch of pixels in images) goes to
      random extremes of the region, or part of the way there, as in the Square attack
      (Andriushchenko et al. 2020, arXiv 1912.00049);
    * draws: a random point of the region, or a point on the way to it, and, as long as no slope is
      known, random corners;
    * learned moves: every value seen corrects an estimate of the slope (Kaczmarz steps), and the
      exact worst case of that slope, or a step along it, is tried. On smooth scores this comes
      close to an attack with gradients; on plateaus the slope stays 0 and costs nothing.

    Parameters
    ----------
    n_queries : int
        Values per row. Rows that are finished ask for no more.
    n_candidates : int, optional
        Proposals per row and call. None: 4 to 16, the fewer the more rows there are.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Search
    >>> stairs = lambda z: (10 * z).floor().sum(dim=1)
    >>> Search().maximize(stairs, torch.zeros(2, 3), LpBall("linf"), 0.55).value
    tensor([15., 15.])
    """

    limits = {"n_queries": BUDGET, "n_candidates": COUNT_OR_NONE}
    needs_gradient = False
    rows_per_call = 2048

    def __init__(self, n_queries: int = 1000, n_candidates: int | None = None):
        self.n_queries = n_queries
        self.n_candidates = n_candidates

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        if self.n_queries < 1:
            return
        live = Survivors(fn, region, best)
        spread = _spread(region, generator)
        at = _Place(best.z, best.value, torch.zeros_like(best.z))
        n_left, scan = self.n_queries, self._scan(spread, generator)
        while n_left > 0 and len(live):
            n_candidates = min(n_left, self._n_candidates(live))
            if len(scan):
                proposals = _single_moves(live.region, scan[:n_candidates])
                scan = scan[n_candidates:]
            else:
                share = n_left / self.n_queries
                proposals = _propose(live.region, at, spread, n_candidates, share, generator)
            n_left -= len(proposals)
            at = self._round(live, at, proposals, spread, generator)
            at = _Place(*live.prune(*at))
        live.close()

    def _scan(self, spread: Tensor, generator: torch.Generator) -> Tensor:
        """Features to move alone, numbered 1, ..., d with the sign of the move, in random order.

        Rows of tables begin with them, for at most half of the queries.
        """
        if spread.ndim != 2:
            return torch.empty(0, dtype=torch.long)
        free = torch.nonzero(spread[0] > 0).flatten() + 1
        ways = torch.cat([free, -free])
        order = torch.randperm(len(ways), generator=generator, device=ways.device)
        return ways[order][: self.n_queries // 2]

    def _n_candidates(self, live: Survivors) -> int:
        if not live.fn.divisible:
            return 1
        return self.n_candidates or min(16, max(4, self.rows_per_call // len(live)))

    def _round(
        self, live: Survivors, at: _Place, proposals: Tensor, spread: Tensor, generator
    ) -> _Place:
        """Evaluate proposals (c, n, ...), learn from all of them, go to the best of each row."""
        n_candidates, n_rows = proposals.shape[:2]
        if n_candidates == 1:
            values = live.fn(proposals[0])[None]
        else:
            rows = torch.arange(n_rows, device=proposals.device).repeat(n_candidates)
            values = live.fn.take(rows)(proposals.flatten(0, 1)).view(n_candidates, n_rows)
        values = torch.where(values.isnan(), -torch.inf, values)
        winner = _argmax(values, generator)
        value = values.gather(0, winner[None])[0]
        z = proposals[winner, torch.arange(n_rows, device=winner.device)]
        live.best.update(z, value)
        slope = _learn(at, proposals, values, spread)
        accept = value >= at.value
        z = torch.where(per_row(accept, z), z, at.z)
        return _Place(z, torch.where(accept, value, at.value), slope)


class _Place(NamedTuple):
    """Where each row stands, its value there, and the slope learned so far (per spread)."""

    z: Tensor
    value: Tensor
    slope: Tensor


def _single_moves(region: Region, ways: Tensor) -> Tensor:
    """Each row as far as it can go along one feature, (len(ways), n, d)."""
    n_rows, n_features = region.x.shape
    one = torch.nn.functional.one_hot(ways.abs() - 1, n_features) * ways.sign()[:, None]
    rows = torch.arange(n_rows, device=ways.device).repeat(len(ways))
    gradient = one.to(region.x.dtype).repeat_interleave(n_rows, dim=0)
    return region.take(rows).steepest(gradient).view(len(ways), n_rows, n_features)


def _propose(
    region: Region, at: _Place, spread: Tensor, n_candidates: int, share: float, generator
) -> Tensor:
    """Proposals (n_candidates, n, ...) of one round; ``share`` of the budget is left."""
    kinds = ["flip", "draw", "flip", "learned" if (at.slope != 0).any() else "corner"]
    first = int(torch.randint(4, (1,), generator=generator, device=spread.device))
    drawn = [kinds[(first + k) % 4] for k in range(n_candidates)]
    found = []
    for kind in sorted(set(drawn)):
        n_moves = drawn.count(kind)
        rows = torch.arange(len(at.z), device=at.z.device).repeat(n_moves)
        moves = _Moves(region.take(rows), at.z[rows], spread, share, generator)
        z = moves.learned(at.slope[rows]) if kind == "learned" else getattr(moves, kind)()
        found.append(z.view(n_moves, *at.z.shape))
    return torch.cat(found)


class _Moves:
    """One proposal for each row of ``z``; rows are repeated where several are wanted."""

    def __init__(self, region: Region, z: Tensor, spread: Tensor, share: float, generator):
        self.region, self.x, self.z = region, region.x, z
        self.spread, self.share, self.generator = spread, share, generator

    def flip(self) -> Tensor:
        """Some features go to a random extreme of the region, or part of the way."""
        x = self.x
        chosen = self._some_features()
        signs = torch.where(self._random(*self._sign_shape()) < 0.5, -1.0, 1.0).to(x.dtype)
        extreme = self.region.steepest(self._random(*x.shape) * chosen * signs)
        afresh = per_row(self._random(len(x)) < 0.25, x)  # a flip of the row itself
        rest = torch.where(afresh, x, self.z)
        return self.region.project(torch.where(chosen, x + self._way() * (extreme - x), rest))

    def corner(self) -> Tensor:
        """All features at a random extreme."""
        return self.region.steepest(self._random(*self.x.shape) - 0.5)

    def draw(self) -> Tensor:
        """A random point, or one between here and there."""
        there = self.region.sample(self.generator)
        return self.region.project(self.z + self._way() * (there - self.z))

    def learned(self, slope: Tensor) -> Tensor:
        """The worst case of the slope learned so far, or a step along it."""
        gradient = torch.where(self.spread > 0, slope / self.spread, 0.0)
        size = self.region.radius * 10 ** (-2 * self._random(len(slope)))
        far = per_row(self._random(len(slope)) < 0.5, slope)
        steepest = self.region.steepest(gradient)
        return torch.where(far, steepest, self.region.step(self.z, gradient, size))

    def _way(self) -> Tensor:
        """How far to go: half of the rows all the way, the others part of it."""
        return per_row(self._random(len(self.x)), self.x).mul(2).clamp(max=1)

    def _some_features(self) -> Tensor:
        """Mask (n, ...) of the features to flip: a random part, contiguous in images and series."""
        x = self.x
        n_features = x[0].numel()
        largest = max(1.0, n_features * max(self.share, 0.05))
        count = (self._random(len(x)) * math.log(largest)).exp()  # log-uniform, 1 to largest
        if x.ndim > 2:
            return self._patch(count / n_features).expand_as(x) & (self.spread > 0)
        key = self._random(*x.shape).masked_fill(self.spread.expand_as(x) <= 0, torch.inf)
        rank = key.argsort(dim=1).argsort(dim=1)
        return (rank < count.round()[:, None]) & (self.spread > 0)

    def _patch(self, part: Tensor) -> Tensor:
        """One window per row over all axes but the first feature axis (channels)."""
        x = self.x
        axes = x.shape[2:]
        mask = torch.ones(len(x), *[1] * (x.ndim - 1), dtype=torch.bool, device=x.device)
        for axis, length in enumerate(axes):
            width = (part ** (1 / len(axes)) * length).round().clamp(1, length)
            low = (self._random(len(x)) * (length - width + 1)).floor()
            place = torch.arange(length, device=x.device)
            inside = (place >= low[:, None]) & (place < (low + width)[:, None])
            shape = [len(x)] + [1] * (x.ndim - 1)
            shape[axis + 2] = length
            mask = mask & inside.view(shape)
        return mask

    def _sign_shape(self) -> tuple[int, ...]:
        """One sign per feature in tables, one per channel in images and series."""
        return tuple(self.x.shape) if self.x.ndim <= 2 else (*self.x.shape[:2], 1, 1)[: self.x.ndim]

    def _random(self, *shape: int) -> Tensor:
        x = self.x
        return torch.rand(shape, dtype=x.dtype, device=x.device, generator=self.generator)


def _spread(region: Region, generator: torch.Generator) -> Tensor:
    """How far each feature moves in a random point (1, ...): the unit in which slopes are learned."""
    total = torch.zeros_like(region.x[:1])
    for _ in range(4):
        moved = torch.nan_to_num(region.sample(generator) - region.x, nan=0.0)
        total = total + moved.abs().mean(dim=0, keepdim=True)
    return total / 4


def _learn(at: _Place, proposals: Tensor, values: Tensor, spread: Tensor) -> Tensor:
    """Correct the slope by each value seen, so that it explains that value (Kaczmarz)."""
    slope = at.slope.flatten(1)
    unit = torch.where(spread > 0, spread, 1.0)
    for z, value in zip(proposals, values, strict=True):
        move = torch.nan_to_num((z - at.z) / unit, nan=0.0).flatten(1)
        miss = value - at.value - (slope * move).sum(dim=1)
        length = move.square().sum(dim=1)
        gain = torch.where((length > 0) & miss.isfinite(), miss / length, 0.0)
        slope = slope + gain[:, None] * move
    return slope.view_as(at.slope)


def _argmax(values: Tensor, generator: torch.Generator) -> Tensor:
    """Index of the largest of each column, ties broken at random."""
    largest = values == values.amax(dim=0)
    key = torch.rand(values.shape, device=values.device, generator=generator)
    return (key * largest).argmax(dim=0)
