"""Ball and box with rules: whole numbers, levels, one-hot groups, smooth movements, repairs.

Such a set is not convex. Attacks walk through a convex region around it, and every point that they
ask for is first turned into the row it stands for (:meth:`RuledRegion.realize`); gradients pass
through as if nothing had happened (straight-through, Bengio et al. 2013, arXiv 1308.3432). So every
attack works with every rule, and knows of none.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.threats._base import Region
from skrobust.threats._groups import Leaps
from skrobust.threats._region import BallRegion
from skrobust.threats._rules import Rules
from skrobust.threats._waves import Band

__all__ = ["RuledRegion", "TorchRules", "check_rows"]

ROUNDED_FROM = (0.5, 0.6, 0.7, 0.8, 0.9, 0.97)  # shares of a step from which it is taken
PULLS = (1.0, 0.6, 0.3, 0.1)  # shares of the way that fits tried where a repair broke something


class TorchRules(NamedTuple):
    """The rules as tensors, the same for all rows."""

    rules: Rules
    whole: Tensor | None
    levels: dict[int, Tensor]
    leaps: Leaps | None
    band: Band | None
    exempt: Tensor  # columns that ball and box don't hold: leaps, derived ones

    @classmethod
    def of(cls, rules: Rules, x: Tensor, free: np.ndarray) -> TorchRules:
        """For rows like ``x``; ``free`` (shape of a row) tells which entries can move at all."""
        make = lambda values: torch.as_tensor(values, device=x.device)
        whole = None if rules.whole is None else make(rules.whole)
        levels = {place: make(v).to(x.dtype) for place, v in rules.levels.items()}
        exempt = np.zeros(x.shape[1:], dtype=bool)
        exempt[rules.leaps] = True
        exempt[rules.derived] = True
        leaps = Leaps.of(rules, x, free) if rules.leaps else None
        band = None if rules.band is None else Band.of(rules.band, x, free)
        return cls(rules, whole, levels, leaps, band, make(exempt))


class RuledRegion(Region):
    """The rows of ball and box that obey the rules, and the convex region around them.

    The methods of :class:`Region` speak of the convex region: points between whole numbers, between
    two categories. :meth:`realize` turns any such point into the row that it stands for.
    """

    ruled = True

    def __init__(self, ball: BallRegion, rules: TorchRules):
        self.ball, self.rules = ball, rules
        self.x, self.radius, self.scale = ball.x, ball.radius, ball.scale
        self.low, self.high = ball.low, ball.high
        if rules.rules.derived:
            self.low, self.high = self._with_derived(*ball.bounds)
        if rules.leaps is not None:
            self.low, self.high = rules.leaps.limits(self.x, self.radius, self.low, self.high)

    @property
    def exact_steepest(self) -> bool:
        """Whether ``realize(steepest(gradient))`` is the exact worst case of an affine function of
        the realized row (a repair that is not affine makes any function of the row so too)."""
        rules = self.rules
        separable = self.ball.norm.is_box or (rules.whole is None and not rules.levels)
        if rules.rules.repair is not None:
            derived = rules.rules.derived
            low, high = self.ball.bounds
            free = torch.isinf(low[:, derived]).all() & torch.isinf(high[:, derived]).all()
            separable = separable and bool(derived) and bool(free)
        return separable and rules.band is None

    def project(self, z: Tensor) -> Tensor:
        return self._with_leaps(self.ball.project(z), z)

    def steepest(self, gradient: Tensor) -> Tensor:
        z = self.ball.steepest(gradient)
        if self.rules.leaps is None:
            return z
        return self.rules.leaps.steepest(z, gradient, self.x, self._awake)

    def step(self, z: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        moved = self.ball.step(z, gradient, size)
        if self.rules.leaps is None:
            return moved
        share = torch.as_tensor(size, dtype=z.dtype, device=z.device) / self.radius
        share, gradient = torch.where(self._awake, share, 0.0), torch.nan_to_num(gradient)
        return self._with_leaps(moved, self.rules.leaps.climb(z, gradient, share))

    def sample(self, generator: torch.Generator) -> Tensor:
        z = self.ball.sample(generator)
        if self.rules.leaps is None:
            return z
        share = torch.rand(z.shape, dtype=z.dtype, device=z.device, generator=generator)
        return self._with_leaps(z, torch.lerp(self.low, self.high, share))

    def settle(self, z: Tensor) -> Tensor:
        return self._with_leaps(self.ball.settle(z), z)

    def distance(self, z: Tensor) -> Tensor:
        """Steps that the row moved; infinity where a rule is broken."""
        rules = self.rules
        moved = self.ball.distance(self._counted(z))
        broken = ~self._on_steps(z) | self._outside(z)
        if rules.leaps is not None:
            broken |= rules.leaps.broken(z, self.x)
        if rules.band is not None:
            broken |= rules.band.broken(z, self.x)
        if rules.rules.repair is not None:
            broken |= ~self._same(rules.rules.repair(z), z)
        there = (z != self.x) & ~(z.isnan() & self.x.isnan())
        broken &= there.flatten(1).any(dim=1)  # the row itself is what it is
        return torch.where(broken, torch.inf, moved)

    def realize(self, z: Tensor) -> Tensor:
        """The row that each point of the convex region stands for; gradients pass through."""
        rules = self.rules
        z = torch.where(z.isnan(), self.x, z)
        if rules.band is not None:
            way, limits = z.detach() - self.x, (self.low - self.x, self.high - self.x)
            there = self.x + rules.band.nearest(way, *limits)
            return self._fitted(_Through.apply(rules.band(z, self.x), there))
        z = _Through.apply(z, self._rounded(z.detach()))
        if rules.rules.repair is None:
            return z
        return self._repaired(z)

    def leaps(self, position: int) -> bool:
        return position in self.rules.rules.leaps

    def take(self, rows: Tensor) -> RuledRegion:
        return RuledRegion(self.ball.take(rows), self.rules)

    # Whole numbers and levels ----------------------------------------------------------------

    def _rounded(self, z: Tensor) -> Tensor:
        rules = self.rules
        if rules.whole is not None or rules.levels:
            z = self._stepped(z)
        if rules.leaps is not None:
            z = rules.leaps.settled(z, self.x, self._awake)
        return z

    def _stepped(self, z: Tensor) -> Tensor:
        """Each ruled entry on one of the two steps beside it; the further one as often as the
        ball allows, the nearest cases first."""
        inner, outer, share = self._neighbours(z)
        at = lambda start: torch.where(share >= start, outer, inner)
        there = at(ROUNDED_FROM[0])
        if self.ball.norm.is_box:
            return there
        left = self.ball.distance(self._counted(there)) > self.radius
        for start in (*ROUNDED_FROM[1:], torch.inf):
            if not bool(left.any()):
                break
            there = torch.where(per_row(left, z), at(start), there)
            left = self.ball.distance(self._counted(there)) > self.radius
        return torch.where(per_row(left, z), self.x, there)

    def _neighbours(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step towards the row, the one away from it (within the limits), and how far ``z`` is
        from the first to the second. Entries without a rule: ``z`` itself."""
        inner, outer = z.clone(), z.clone()
        if self.rules.whole is not None:
            mask = self.rules.whole
            up = z >= self.x
            towards = torch.where(up, z.floor(), z.ceil())
            away = torch.where(up, z.ceil(), z.floor())
            away = torch.clamp(away, self.low.ceil(), self.high.floor())
            inner, outer = torch.where(mask, towards, inner), torch.where(mask, away, outer)
        for place, levels in self.rules.levels.items():
            inner[:, place], outer[:, place] = self._levels_beside(z, place, levels)
        width = outer - inner
        share = torch.where(width != 0, (z - inner) / torch.where(width != 0, width, 1.0), 0.0)
        missing = self.x.isnan()
        return torch.where(missing, self.x, inner), torch.where(missing, self.x, outer), share

    def _levels_beside(self, z: Tensor, place: int, levels: Tensor) -> tuple[Tensor, Tensor]:
        x, here = self.x[:, place].contiguous(), z[:, place].contiguous()
        below = levels[(torch.searchsorted(levels, here, right=True) - 1).clamp(min=0)]
        above = levels[torch.searchsorted(levels, here).clamp(max=len(levels) - 1)]
        up = here >= x
        inner, outer = torch.where(up, below, above), torch.where(up, above, below)
        # never back past the row itself, which may stand between levels that were learned
        inner = torch.where(up, torch.maximum(inner, x), torch.minimum(inner, x))
        inner = torch.where(here == x, x, inner)
        fits = (outer >= self.low[:, place]) & (outer <= self.high[:, place]) & (here != x)
        return inner, torch.where(fits, outer, inner)

    def _on_steps(self, z: Tensor) -> Tensor:
        fine = torch.ones_like(z, dtype=torch.bool)
        if self.rules.whole is not None:
            fine &= ~self.rules.whole | (z == z.round())
        for place, levels in self.rules.levels.items():
            fine[:, place] &= torch.isin(z[:, place], levels)
        return (fine | (z == self.x) | z.isnan()).flatten(1).all(dim=1)

    # Repairs ---------------------------------------------------------------------------------

    def _repaired(self, z: Tensor) -> Tensor:
        """The rows after the user's repair; where that breaks a limit, part of the way, or none."""
        written = self.written(z)
        fine = self._allowed(written.detach())
        if bool(fine.all()):
            return written
        with torch.no_grad():
            share = self._room(written)
        result = torch.where(per_row(fine, z), written, self.x)
        for pull in PULLS:
            trial = self.x + per_row(pull * share, z) * (z - self.x).nan_to_num()
            trial = self.written(_Through.apply(trial, self._rounded(trial.detach())))
            now = ~fine & self._allowed(trial.detach())
            result = torch.where(per_row(now, z), trial, result)
            fine = fine | now
            if bool(fine.all()):
                break
        return result

    def written(self, z: Tensor) -> Tensor:
        """The user's repair of moved rows."""
        written = self.rules.rules.repair(z)
        if not isinstance(written, Tensor) or written.shape != z.shape:
            given = tuple(getattr(written, "shape", ())) or type(written).__name__
            raise ValueError(
                f"repair(z) returned {given}; it must return a tensor of the shape of the rows, "
                f"{tuple(z.shape)}."
            )
        written = torch.where(self.x.isnan(), self.x, written.to(z.dtype))
        # what a row is before anything moves is no business of the repair, but its slope is
        still = per_row(self._still(z), z)
        return _Through.apply(written, torch.where(still, self.x, written.detach()))

    def _allowed(self, z: Tensor) -> Tensor:
        moved = self.ball.distance(self._counted(z)) <= self.radius
        fine = moved & self._on_steps(z) & ~self._outside(z)
        if self.rules.leaps is not None:
            fine &= ~self.rules.leaps.broken(z, self.x)
        return fine

    def _room(self, z: Tensor) -> Tensor:
        """The share of the way to ``z`` (n,) that stays in ball and box."""
        length = self.ball.length(self._counted(z))
        share = torch.where(length > 0, self.radius / length, 1.0).clamp(max=1)
        return torch.minimum(share.to(z.dtype), self._until_wall(z)) * (1 - 1e-6)

    def _until_wall(self, z: Tensor) -> Tensor:
        """The share of the way to ``z`` until the first bound is met."""
        way = (z - self.x).nan_to_num()
        low, high = self.ball.bounds
        wall = torch.where(way > 0, high, low) - self.x
        share = torch.where(way != 0, wall / torch.where(way != 0, way, 1.0), torch.inf)
        return share.nan_to_num(nan=torch.inf).flatten(1).amin(dim=1).clamp(0, 1)

    def _outside(self, z: Tensor) -> Tensor:
        """Rows with a derived column outside its bounds; other columns are the ball's."""
        low, high = self.ball.bounds
        wrong = self.rules.exempt & ((z < low) | (z > high))
        return wrong.flatten(1).any(dim=1)

    def _same(self, a: Tensor, b: Tensor) -> Tensor:
        size = torch.maximum(torch.maximum(a.abs(), b.abs()), self.x.abs()).nan_to_num()
        near = (a - b).abs().nan_to_num() <= 1e3 * torch.finfo(a.dtype).eps * size.clamp(min=1e-30)
        return near.flatten(1).all(dim=1)

    # Smooth movements ------------------------------------------------------------------------

    def _fitted(self, z: Tensor) -> Tensor:
        """``z`` pulled towards the row, channel by channel, until it fits in ball and box."""
        way = z - self.x
        wall = torch.where(way > 0, self.high, self.low) - self.x
        share = torch.where(way != 0, wall / torch.where(way != 0, way, 1.0), torch.inf)
        share = share.amin(dim=-1, keepdim=True).clamp(0, 1)
        slack = 1 - 8 * torch.finfo(z.dtype).eps
        z = self.x + slack * share * way
        over = (self.ball.length(z) / self.radius).to(z.dtype)
        share = torch.where(over > 1, slack / over, 1.0)
        z = torch.where(per_row(over > 1, z), self.x + per_row(share, z) * (z - self.x), z)
        return _Through.apply(z, self.ball.settle(z.detach()))  # the last bit

    # -----------------------------------------------------------------------------------------

    def _with_derived(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The limits of the ball; those of derived columns are their bounds."""
        derived = torch.zeros_like(self.rules.exempt)
        derived[self.rules.rules.derived] = True
        derived = derived & per_row(self.radius > 0, self.x)
        return torch.where(derived, low, self.low), torch.where(derived, high, self.high)

    @cached_property
    def _awake(self) -> Tensor:
        return self.radius > 0

    def _with_leaps(self, z: Tensor, other: Tensor) -> Tensor:
        if self.rules.leaps is None:
            return z
        other = torch.clamp(torch.where(other.isnan(), self.x, other), self.low, self.high)
        return torch.where(self.rules.leaps.mask, other, z)

    def _counted(self, z: Tensor) -> Tensor:
        """``z`` without what the ball doesn't hold."""
        return torch.where(self.rules.exempt, self.x, z)

    def _still(self, z: Tensor) -> Tensor:
        """Rows of which nothing moved but what a repair writes."""
        moved = (z != self.x) & ~(z.isnan() & self.x.isnan())
        derived = self.rules.rules.derived
        if derived:
            moved = moved.clone()
            moved[:, derived] = False
        return ~moved.flatten(1).any(dim=1)


class _Through(torch.autograd.Function):
    """The value of another tensor, with the gradient of this one."""

    @staticmethod
    def forward(ctx, z: Tensor, there: Tensor) -> Tensor:
        return there.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient, None


def check_rows(region: RuledRegion) -> None:
    """Raise for rows that do not obey the rules themselves."""
    rules, x = region.rules, region.x
    if rules.whole is not None:
        _complain(rules.whole & (x != x.round()), x, "integer", "a whole number")
    if rules.leaps is not None and len(rules.leaps.index):
        ones = x[:, rules.leaps.index].masked_fill(~rules.leaps.valid, 0.0)
        fine = ((ones == 0) | (ones == 1)).all(dim=-1) & (ones.sum(dim=-1) <= 1)
        fine |= ones.isnan().any(dim=-1)  # missing, and staying so
        wrong = torch.zeros_like(x, dtype=torch.bool)
        for group in range(len(rules.leaps.index)):
            places = rules.leaps.index[group][rules.leaps.valid[group]]
            wrong[:, places] = ~fine[:, group, None]
        _complain(wrong, x, "groups", "0 or 1, with a single 1 in its group")
    if rules.rules.repair is not None and len(x):
        there = rules.rules.repair(x)
        if not isinstance(there, Tensor) or there.shape != x.shape:
            region.written(x)  # says so
        far = (there - x).abs() > 1e-6 * torch.maximum(x.abs(), there.abs()) + 1e-12
        _complain(far, x, "repair", "what the repair computes for the row as it is")


def _complain(wrong: Tensor, x: Tensor, option: str, allowed: str) -> None:
    wrong = wrong & ~x.isnan()
    if not bool(wrong.any()):
        return
    where = tuple(torch.nonzero(wrong)[0].tolist())
    n_rows = int(wrong.flatten(1).any(dim=1).sum())
    raise ValueError(
        f"Row {where[0]} does not obey {option}= of the threat: column {where[1]} is "
        f"{x[where].item():g}, it must be {allowed} ({n_rows} of {len(x)} rows). Rules speak of "
        "the units of X; correct the rows, or the threat."
    )
