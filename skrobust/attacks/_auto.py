"""The attack that evaluation uses when nobody chose one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skrobust.attacks._apgd import APGD
from skrobust.attacks._base import Attack, Best, Objective, Survivors
from skrobust.attacks._exact import solve_affine
from skrobust.attacks._limits import BUDGET, COUNT, FLAG, LENGTH
from skrobust.attacks._pgd import PGD
from skrobust.attacks._race import Race
from skrobust.attacks._screen import Close, Doubt
from skrobust.attacks._search import Search
from skrobust.attacks._worst_of import WorstOf
from skrobust.threats import Region

__all__ = ["Auto"]


class Auto(Attack):
    """Exact where the model is affine, a cascade where it has gradients, a search where not.

    1. A model without gradients is searched through its values (:class:`Search`).
    2. A model found to be affine is solved exactly (:class:`Exact`).
    3. Any other passes a cascade in which each member sees the rows that withstood the ones
       before it: one large step from the row; a :class:`Race` of all pieces (margins to each other
       class), in which the one that gets furthest goes on; restarts, and then long climbs, for rows
       that came close to their goal; and a search without gradients, which
       goes on where it finds what gradients did not. Without a goal (a loss rather than a margin)
       every row is climbed to the end.

    The cascade resembles AutoAttack (Croce & Hein 2020, arXiv 2003.01690) but has other members,
    works with any number of classes, bounds and units, and is not comparable with it number by
    number.

    Parameters
    ----------
    n_steps : int
        Steps of the restarts that rows which came close get; half as many again without a goal.
    n_restarts : int
        How many; half as many without a goal.
    n_targets : int
        How many pieces are climbed one by one.
    n_queries : int
        Values per row that the search may ask for where there is a gradient.
    n_queries_black_box : int
        The same where there is none.
    search_first : bool
        Whether the search comes first, with the queries of a black box: for models with gradients
        that say little (steps, whole numbers). Then the same seed never finds less than the search
        alone.
    close : float
        How much a row may lack to get restarts, as a share of what it gained since it left ``x``; a
        fifth of it for long climbs. Rows that lack more are hardly ever won. inf: any row.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Auto
    >>> wave = lambda z: torch.sin(9 * z).sum(dim=1)
    >>> Auto().maximize(wave, torch.zeros(1, 2), LpBall("linf"), 1.0).value.round(decimals=3)
    tensor([2.])
    """

    limits = {
        "n_steps": COUNT,
        "n_restarts": COUNT,
        "n_targets": COUNT,
        "n_queries": BUDGET,
        "n_queries_black_box": BUDGET,
        "search_first": FLAG,
        "close": LENGTH,
    }
    needs_gradient = False
    n_probed = 64  # rows that tell whether a model can be affine at all

    def __init__(
        self,
        n_steps: int = 10,
        n_restarts: int = 8,
        n_targets: int = 9,
        n_queries: int = 100,
        n_queries_black_box: int = 1000,
        search_first: bool = False,
        close: float = 0.15,
    ):
        self.n_steps = n_steps
        self.n_restarts = n_restarts
        self.n_targets = n_targets
        self.n_queries = n_queries
        self.n_queries_black_box = n_queries_black_box
        self.search_first = search_first
        self.close = close

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        if fn.model is not None:
            member = fn.model.searcher(self.n_queries_black_box)
            if region.ruled:  # a reader of models knows nothing of rules
                member = WorstOf([member, Search(n_queries=self.n_queries_black_box)])
        elif not fn.differentiable:
            member = Search(n_queries=self.n_queries_black_box)
        else:
            seen = best.take(torch.arange(len(best), device=best.value.device))
            solved = self._solved(fn, region, seen, _twin(generator))
            if self.search_first and not solved:  # of the very rows that a search alone would see
                Search(self.n_queries_black_box).search(fn, region, best, start, generator)
            best.update(seen.z, seen.value)
            if solved:
                return
            member = self._cascade(fn)
        live = Survivors(fn, region, best)
        (start,) = live.prune(start)
        if len(live):
            member.search(live.fn, live.region, live.best, start, generator)
        live.close()

    def _cascade(self, fn: Objective) -> WorstOf:
        first = PGD(n_steps=1, random_start=False)
        if fn.goal is None:
            return WorstOf([first, *self._to_the_end(), *self._last()])
        whole = APGD(self.n_steps, self.n_restarts)
        long = APGD(100, n_restarts=4, targeted=True, n_targets=1)
        if self.close == math.inf:
            long = APGD(self.n_steps, self.n_restarts // 4, targeted=True, n_targets=self.n_targets)
        close = [Close(whole, self.close), Close(long, self.close / 5)]
        return WorstOf([first, Race(n_targets=self.n_targets), *close, *self._last()])

    def _to_the_end(self) -> list[Attack]:
        """Nothing to break: every row counts, and its last digits."""
        short = APGD(n_steps=10, targeted=True, n_targets=min(3, self.n_targets))
        whole = APGD(3 * self.n_steps // 2, max(1, self.n_restarts // 2))
        each = APGD(
            self.n_steps, max(1, self.n_restarts // 8), targeted=True, n_targets=self.n_targets
        )
        return [short, whole, each, APGD(3 * self.n_steps)]

    def _last(self) -> list[Attack]:
        return [] if self.search_first else [Doubt(self.n_queries, self.close)]

    def _solved(
        self, fn: Objective, region: Region, best: Best, generator: torch.Generator
    ) -> bool:
        """Whether the objective is affine; then its exact worst case is in ``best``.

        A few rows are asked first. Rows whose gradients are all 0 do not count as affine here:
        that is also what a model looks like whose graph is cut.
        """
        probe = region.sample(generator)
        if fn.divisible and len(probe) > self.n_probed:
            few = torch.arange(self.n_probed, device=probe.device)
            part = best.take(few)
            affine, flat = solve_affine(fn.take(few), region.take(few), part, probe[few])
            best.put(few, part)
            if not affine or flat.any():
                return False
        affine, flat = solve_affine(fn, region, best, probe)
        return affine and not flat.any()


def _twin(generator: torch.Generator) -> torch.Generator:
    """Another generator in the same state, so that this one is left as it is."""
    return torch.Generator(device=generator.device).set_state(generator.get_state())
