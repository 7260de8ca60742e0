"""Auto-PGD: projected ascent whose step adapts to each row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.attacks._base import Attack, Best, Objective, Survivors, beginning
from skrobust.attacks._limits import COUNT, COUNT_OR_NONE, FLAG, SHARE
from skrobust.threats import Region

__all__ = ["APGD", "checkpoints"]


class APGD(Attack):
    """Projected gradient ascent with momentum and a step that halves where progress stops.

    At a few checkpoints each row looks back: when too few of its steps went up, or neither best
    value nor step changed since the last checkpoint, its step is halved and it goes on from its
    best point. The step begins at twice the radius, so there is nothing to tune but the budget.
    After Croce & Hein (2020, arXiv 2003.01690); for l1 the ascent direction is sparse as in
    Croce & Hein (2021, arXiv 2103.01208). What is climbed is the objective itself (a margin,
    which knows no saturation), and the first move is to the exact worst case of the objective's
    linearisation, so that affine models are solved in one step. Every second restart goes part of
    the way to that worst case (Frank-Wolfe) instead of taking projected steps: it finds other
    optima, above all for l1.

    Parameters
    ----------
    n_steps : int
        Steps of one restart; each costs a forward and a backward pass.
    n_restarts : int
        Restarts per row (and per target). The first begins at the ``start`` handed to
        ``maximize``, all others at random points.
    rho : float
        Share of steps that must go up between two checkpoints.
    momentum : float
        Weight of the new step; the rest goes to the previous displacement.
    targeted : bool
        Climb the pieces of the objective (logit differences to each other class) one by one, the
        largest first, rather than the value.
    n_targets : int, optional
        How many pieces; None: at most 9.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import APGD
    >>> bowl = lambda z: -(z - torch.tensor([1.0, 0.25])).square().sum(dim=1)
    >>> APGD(n_steps=40).maximize(bowl, torch.zeros(1, 2), LpBall("linf"), 0.5).z.round(decimals=2)
    tensor([[0.5000, 0.2500]])
    """

    limits = {
        "n_steps": COUNT,
        "n_restarts": COUNT,
        "rho": SHARE,
        "momentum": SHARE,
        "targeted": FLAG,
        "n_targets": COUNT_OR_NONE,
    }
    max_targets = 9
    side_by_side = 128  # few rows climb several pieces in one batch, of about so many points
    check_every = 4  # steps between two looks at which rows are finished

    def __init__(
        self,
        n_steps: int = 100,
        n_restarts: int = 1,
        rho: float = 0.75,
        momentum: float = 0.75,
        targeted: bool = False,
        n_targets: int | None = None,
    ):
        self.n_steps = n_steps
        self.n_restarts = n_restarts
        self.rho = rho
        self.momentum = momentum
        self.targeted = targeted
        self.n_targets = n_targets

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        live = Survivors(fn, region, best)
        targets = self._targets(live, best.z) if self.targeted and fn.pieces else None
        n_runs = self.n_restarts * (1 if targets is None else targets.shape[1])
        done = 0
        while done < n_runs:
            (targets, start) = live.prune(targets, start)
            if not len(live):
                break
            runs = range(done, min(n_runs, done + n_copies(live, self.side_by_side)))
            self._run(live, start, targets, runs, generator)
            done = runs.stop
        live.close()

    def _run(
        self,
        live: Survivors,
        start: Tensor | None,
        targets: Tensor | None,
        runs: range,
        generator: torch.Generator,
    ) -> None:
        """Some ascents of each row, in one batch; run ``r`` climbs piece ``r % n_targets``."""
        n_targets = 1 if targets is None else targets.shape[1]
        runners = copies(live, len(runs))
        run = torch.tensor(runs, device=live.best.value.device).repeat(len(live))
        restart = run // n_targets
        piece = None
        if targets is not None:
            rows = torch.arange(len(live), device=run.device).repeat_interleave(len(runs))
            piece = targets[rows, run % n_targets]
        if start is not None:
            start = start.repeat_interleave(len(runs), dim=0)
            start = torch.where(per_row(restart == 0, start), start, runners.region.x)
        best, z = runners.best, beginning(runners.region, start, generator)
        self.climb(runners, z, piece, restart % 2 == 1)
        runners.close()
        keep_best(live.best, best)

    def _targets(self, live: Survivors, z: Tensor) -> Tensor:
        """The most promising pieces of each row (n, n_targets), the largest first."""
        return live.fn.ranked_pieces(z)[:, : self.n_targets or self.max_targets]

    def climb(
        self,
        live: Survivors,
        z: Tensor,
        piece: Tensor | None = None,
        strides: Tensor | None = None,
        check_every: int = check_every,
    ) -> _Run:
        """One ascent of the value, or of each row's ``piece``; the state of the rows that stay.

        ``strides`` (n,) names the rows that go part of the way to the linearisation's worst case.
        """
        value, climbed, gradient = live.fn.gradient(z, piece)
        live.best.update(z, value)
        run = _Run.begin(z, climbed, gradient, 2 * live.region.radius)
        marks, since = checkpoints(self.n_steps), 0
        for k in range(1, self.n_steps + 1):
            if k == 1:
                z = live.region.steepest(run.gradient)
            else:
                z = self._move(live.region, run, _ahead(live.region, run, strides))
            value, climbed, gradient = live.fn.gradient(z, piece)
            live.best.update(z, value)
            run = run.moved(z, climbed, gradient)
            since += 1
            if k in marks:
                run, since = run.look_back(self.rho * since), 0
            if k % check_every == 0:
                *state, piece, strides = live.prune(*run, piece, strides)
                run = _Run(*state)
                if not len(live):
                    break
        return run

    def _move(self, region: Region, run: _Run, ahead: Tensor) -> Tensor:
        pull = self.momentum * (ahead - run.z) + (1 - self.momentum) * (run.z - run.before)
        return region.project(run.z + pull)


def n_copies(live: Survivors, most: int) -> int:
    """How often each row may stand in a batch of about ``most`` points."""
    return max(1, most // max(1, len(live))) if live.fn.divisible else 1


def copies(live: Survivors, n: int) -> Survivors:
    """Each row ``n`` times, one after the other, with best points of their own."""
    if n == 1:
        best = Best(live.best.z, live.best.value, live.best.goal)
        return Survivors(live.fn, live.region, best)
    rows = torch.arange(len(live), device=live.best.value.device).repeat_interleave(n)
    return Survivors(live.fn.take(rows), live.region.take(rows), live.best.take(rows))


def keep_best(best: Best, found: Best) -> None:
    """Hand what the copies of each row found to the rows themselves."""
    top = found.value.view(len(best), -1).argmax(dim=1)
    rows = torch.arange(len(best), device=top.device) * (len(found) // len(best)) + top
    best.update(found.z[rows], found.value[rows])


def _ahead(region: Region, run: _Run, strides: Tensor | None) -> Tensor:
    """Where the next step of each row would lead, without momentum."""
    if strides is None or not strides.any():
        return _slide(region, run)
    if strides.all():
        return _stride(region, run)
    return torch.where(per_row(strides, run.z), _stride(region, run), _slide(region, run))


def _slide(region: Region, run: _Run) -> Tensor:
    """A projected step along the direction of steepest ascent."""
    return region.step(run.z, run.gradient, run.step)


def _stride(region: Region, run: _Run) -> Tensor:
    """Part of the way to the worst case of the linearisation (Frank and Wolfe)."""
    share = run.step / (2 * region.radius)
    share = torch.where(region.radius > 0, share, torch.zeros_like(share))
    return run.z + per_row(share, run.z) * (region.steepest(run.gradient) - run.z)


class _Run(NamedTuple):
    """State of one ascent, per row: where it is, where its best point was, how it went."""

    z: Tensor
    before: Tensor
    climbed: Tensor
    gradient: Tensor
    top_z: Tensor
    top: Tensor
    top_gradient: Tensor
    step: Tensor
    n_up: Tensor  # steps that went up since the last checkpoint
    old_top: Tensor  # best value at the last checkpoint
    halved: Tensor  # whether the step was halved there

    @classmethod
    def begin(cls, z: Tensor, climbed: Tensor, gradient: Tensor, step: Tensor) -> _Run:
        top = torch.where(climbed.isnan(), -torch.inf, climbed)
        none = torch.zeros_like(climbed, dtype=torch.bool)
        n_up = torch.zeros_like(climbed)
        return cls(z, z, climbed, gradient, z, top, gradient, step, n_up, top, none)

    def moved(self, z: Tensor, climbed: Tensor, gradient: Tensor) -> _Run:
        better = climbed > self.top
        wide = per_row(better, z)
        return self._replace(
            z=z,
            before=self.z,
            climbed=climbed,
            gradient=gradient,
            top_z=torch.where(wide, z, self.top_z),
            top=torch.where(better, climbed, self.top),
            top_gradient=torch.where(wide, gradient, self.top_gradient),
            n_up=self.n_up + (climbed > self.climbed),
        )

    def look_back(self, enough: float) -> _Run:
        """Halve the step of rows that stopped rising, and send them back to their best point."""
        stuck = ~self.halved & (self.top <= self.old_top)
        halve = (self.n_up < enough) | stuck
        wide = per_row(halve, self.z)
        return self._replace(
            z=torch.where(wide, self.top_z, self.z),
            before=torch.where(wide, self.top_z, self.before),
            climbed=torch.where(halve, self.top, self.climbed),
            gradient=torch.where(wide, self.top_gradient, self.gradient),
            step=torch.where(halve, self.step / 2, self.step),
            n_up=torch.zeros_like(self.n_up),
            old_top=self.top,
            halved=halve,
        )


def checkpoints(n_steps: int) -> set[int]:
    """Steps after which a run looks back: 0.22, 0.41, 0.57, ... of all steps.

    >>> sorted(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    marks, before, here = set(), 0.0, 0.22
    while here <= 1:
        marks.add(max(1, int(n_steps * here + 1e-9)))  # 0.57 is 0.56999... in floats
        before, here = here, here + max(here - before - 0.03, 0.06)
    return marks
