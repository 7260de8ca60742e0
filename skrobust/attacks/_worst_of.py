"""Several attacks one after the other, each on the rows that withstood those before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skrobust.attacks._base import Attack, Best, Objective, Survivors
from skrobust.exceptions import invalid
from skrobust.threats import Region

__all__ = ["WorstOf"]


class WorstOf(Attack):
    """A cascade: each attack sees the unfinished rows only and goes on from their best points.

    Put cheap attacks first. Per row, what is returned is the best over all of them; an objective
    without a goal (a regression loss) keeps every row to the end.

    Parameters
    ----------
    attacks : sequence of Attack

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import PGD, Noise, WorstOf
    >>> attack = WorstOf([Noise(n_draws=5), PGD(n_steps=3)])
    >>> moved = attack.maximize(lambda z: z.sum(dim=1), torch.zeros(1, 2), LpBall("linf"), 0.5)
    >>> moved.value.round(decimals=3)
    tensor([1.])
    """

    def __init__(self, attacks: Sequence[Attack]):
        self.attacks = attacks

    def checked(self) -> WorstOf:
        """The cascade itself; an error if one of its members is no attack or has impossible options."""
        given = self.attacks
        if not isinstance(given, Sequence) or not all(isinstance(one, Attack) for one in given):
            raise invalid("attacks", given, "a sequence of attack objects", error=TypeError)
        for attack in given:
            attack.checked()
        return self

    @property
    def needs_gradient(self) -> bool:
        return any(attack.needs_gradient for attack in self.attacks)

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        live = Survivors(fn, region, best)
        for attack in self.attacks:
            (start,) = live.prune(start)
            if not len(live):
                break
            attack.search(live.fn, live.region, live.best, start, generator)
            start = live.best.z
        live.close()
