"""A race of the pieces: all of them a few steps, the best one some more."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.attacks._apgd import APGD, copies, keep_best, n_copies
from skrobust.attacks._base import Attack, Best, Objective, Survivors, beginning
from skrobust.threats import Region

__all__ = ["Race"]


class Race(Attack):
    """Climb every piece of the objective a few steps, then the one that got furthest for longer.

    A row of ten classes can be lost to nine of them. Climbing each to the end, as targeted attacks
    do, spends eight ninths of the time on classes that never come close. Yet which class comes
    closest is settled after very few steps of :class:`APGD`; where it was seen otherwise, the
    second did. So ``n_heat`` steps are spent on each, ``n_steps`` on the winner.

    Parameters
    ----------
    n_heat : int
        Steps of each piece; each costs a forward and a backward pass.
    n_steps : int
        Further steps of the piece that got furthest.
    n_targets : int
        How many pieces take part, the largest at the start first; an objective without pieces is
        climbed itself.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Objective
    >>> from skrobust.attacks._race import Race
    >>> gaps = lambda z: torch.stack([z[:, 0], 3 * z[:, 1] - 1], dim=1)
    >>> fn = Objective(None, pieces=gaps)
    >>> Race().maximize(fn, torch.zeros(1, 2), LpBall("linf"), 1.0).value.round(decimals=3)
    tensor([2.])
    """

    def __init__(self, n_heat: int = 3, n_steps: int = 20, n_targets: int = 9):
        self.n_heat = n_heat
        self.n_steps = n_steps
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
        z = beginning(region, start, generator)
        if fn.pieces is None:
            APGD(self.n_heat + self.n_steps).climb(live, z)
        else:
            pieces = fn.ranked_pieces(best.z)[:, : self.n_targets]
            first = self._heats(live, z, pieces)
            if len(live):
                APGD(self.n_steps).climb(live, first.z, first.piece)
        live.close()

    def _heats(self, live: Survivors, z: Tensor, pieces: Tensor) -> _First:
        """Run all pieces; the first of each row that is still alive then."""
        nowhere = torch.full_like(live.best.value, -torch.inf)
        first, ran = _First(nowhere, z, pieces[:, 0]), 0
        while ran < pieces.shape[1] and len(live):
            width = n_copies(live, APGD.side_by_side)
            first = self._heat(live, z, pieces[:, ran : ran + width], first)
            z, pieces, *state = live.prune(z, pieces, *first)
            first, ran = _First(*state), ran + width
        return first

    def _heat(self, live: Survivors, z: Tensor, pieces: Tensor, first: _First) -> _First:
        """Some pieces of every row, in one batch."""
        n_rows, width = pieces.shape
        rows = torch.arange(n_rows, device=z.device)
        runners, z = copies(live, width), z.repeat_interleave(width, dim=0)
        run = APGD(self.n_heat).climb(runners, z, pieces.flatten(), check_every=self.n_heat + 1)
        keep_best(live.best, runners.best)
        top = rows * width + run.top.view(n_rows, width).argmax(dim=1)
        here = _First(run.top[top], run.top_z[top], pieces.flatten()[top])
        ahead = here.value > first.value
        return _First(
            torch.where(ahead, here.value, first.value),
            torch.where(per_row(ahead, here.z), here.z, first.z),
            torch.where(ahead, here.piece, first.piece),
        )


class _First(NamedTuple):
    """The piece of each row that got furthest so far: its value, where, and its number."""

    value: Tensor
    z: Tensor
    piece: Tensor
