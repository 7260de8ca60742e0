"""Which rows are worth a long search."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.attacks._base import Attack, Best, Objective
from skrobust.attacks._search import Search
from skrobust.threats import Region

__all__ = ["Close", "Doubt", "close_rows"]


class Close(Attack):
    """An attack on those rows alone that are close to their goal.

    A row that gained 3 of the 4 it needs after some dozen steps is not won by a thousand more:
    longer runs add percents to what short ones gained. So a long attack is kept for rows that lack
    little, compared with what they have gained since they left ``x``. Rows that gained nothing at
    all say nothing, and are attacked too.

    Parameters
    ----------
    attack : Attack
        The long one.
    share : float
        How much a row may lack, as a share of what it has gained. inf: any row.
    """

    def __init__(self, attack: Attack, share: float = 0.15):
        self.attack = attack
        self.share = share

    @property
    def needs_gradient(self) -> bool:
        return self.attack.needs_gradient

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        rows = close_rows(fn, region, best, self.share)
        _search_some(self.attack, rows, fn, region, best, generator)


class Doubt(Attack):
    """A search by values alone, that goes on where values find what gradients did not.

    Each row gets a quarter of the queries. The rest goes to rows that gained by them, or that are
    close to their goal, or that gained nothing before: gradients of these may have misled.

    Parameters
    ----------
    n_queries : int
        Values per row.
    share : float
        What counts as close, as for :class:`Close`.
    """

    needs_gradient = False
    enough = 0.01  # a gain by values, compared with all that was gained, that raises doubts

    def __init__(self, n_queries: int = 100, share: float = 0.15):
        self.n_queries = n_queries
        self.share = share

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        n_first, before = self.n_queries // 4, best.value
        if fn.goal is None:
            n_first = self.n_queries
        Search(n_first).search(fn, region, best, start, generator)
        if n_first == self.n_queries:
            return
        found = best.value - before
        doubtful = found > self.enough * (before - _value_at_x(fn, region))
        rows = doubtful | close_rows(fn, region, best, self.share)
        _search_some(Search(self.n_queries - n_first), rows, fn, region, best, generator)


def close_rows(fn: Objective, region: Region, best: Best, share: float) -> Tensor:
    """Mask (n,) of rows that lack at most ``share`` of what they gained, or gained nothing."""
    if fn.goal is None:
        return torch.ones_like(best.value, dtype=torch.bool)
    gained, lacking = best.value - _value_at_x(fn, region), fn.goal - best.value
    open_ = best.value <= fn.goal
    return open_ & (~(lacking > share * gained) | ~(gained > 0))


def _value_at_x(fn: Objective, region: Region) -> Tensor:
    return fn(region.x) if fn.at_x is None else fn.at_x


def _search_some(
    attack: Attack,
    chosen: Tensor,
    fn: Objective,
    region: Region,
    best: Best,
    generator: torch.Generator,
) -> None:
    """Search the chosen rows, from the best points seen."""
    if not fn.divisible:
        chosen = chosen | chosen.any()
    rows = torch.nonzero(chosen).flatten()
    if len(rows) == len(best):
        attack.search(fn, region, best, best.z, generator)
    elif len(rows):
        part = best.take(rows)
        attack.search(fn.take(rows), region.take(rows), part, part.z, generator)
        best.put(rows, part)
