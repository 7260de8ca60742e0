"""The attack that evaluation uses when nobody chose one."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.attacks._apgd import APGD
from skrobust.attacks._base import Attack, Best, Objective, Survivors
from skrobust.attacks._exact import solve_affine
from skrobust.attacks._pgd import PGD
from skrobust.attacks._search import Search
from skrobust.attacks._worst_of import WorstOf
from skrobust.threats import Region

__all__ = ["Auto"]


class Auto(Attack):
    """Exact where the model is affine, a cascade where it has gradients, a search where not.

    1. A model without gradients is searched through its values (:class:`Search`).
    2. A model found to be affine is solved exactly (:class:`Exact`).
    3. Any other passes a cascade in which each member sees the rows that withstood the ones
       before it: one large step from the row; a short APGD towards the most promising pieces
       (margins to the nearest classes); a longer one of the objective itself with restarts; one
       towards every piece; and a search without gradients, of 64 rows first, and of all if that
       breaks one. It finds models whose gradients mislead. Restarts of the whole and one short run to each piece break as many rows
       as long runs with restarts to each, at two fifths of the price.

    The cascade resembles AutoAttack (Croce & Hein 2020, arXiv 2003.01690) but has other members,
    works with any number of classes, bounds and units, and is not comparable with it number by
    number.

    Parameters
    ----------
    n_steps : int
        Steps of the longer APGD; towards single pieces two thirds of it.
    n_restarts : int
        Its restarts; towards single pieces a quarter of it, at least one.
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

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Auto
    >>> wave = lambda z: torch.sin(9 * z).sum(dim=1)
    >>> Auto().maximize(wave, torch.zeros(1, 2), LpBall("linf"), 1.0).value.round(decimals=3)
    tensor([2.])
    """

    needs_gradient = False
    n_probed = 64  # rows that tell whether a model can be affine at all

    def __init__(
        self,
        n_steps: int = 15,
        n_restarts: int = 4,
        n_targets: int = 9,
        n_queries: int = 100,
        n_queries_black_box: int = 1000,
        search_first: bool = False,
    ):
        self.n_steps = n_steps
        self.n_restarts = n_restarts
        self.n_targets = n_targets
        self.n_queries = n_queries
        self.n_queries_black_box = n_queries_black_box
        self.search_first = search_first

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
            member = self._cascade(to_the_end=fn.goal is None)
        live = Survivors(fn, region, best)
        (start,) = live.prune(start)
        if len(live):
            member.search(live.fn, live.region, live.best, start, generator)
        live.close()

    def _cascade(self, to_the_end: bool) -> WorstOf:
        last = [] if self.search_first else [_Doubt(Search(self.n_queries))]
        if to_the_end:  # nothing to break, so the last digits count
            last = [APGD(2 * self.n_steps), *last]
        return WorstOf(
            [
                PGD(n_steps=1, random_start=False),
                APGD(n_steps=10, targeted=True, n_targets=min(3, self.n_targets)),
                APGD(self.n_steps, self.n_restarts),
                APGD(
                    max(1, 2 * self.n_steps // 3),
                    max(1, self.n_restarts // 4),
                    targeted=True,
                    n_targets=self.n_targets,
                ),
                *last,
            ]
        )

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


class _Doubt(Attack):
    """An attack for some of the rows, and for all others if it broke any of them."""

    n_drawn = 64

    def __init__(self, attack: Attack):
        self.attack = attack

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        n_rows, device = len(best), best.value.device
        if fn.goal is None or not fn.divisible or n_rows <= self.n_drawn:
            self.attack.search(fn, region, best, start, generator)
            return
        order = torch.randperm(n_rows, generator=generator, device=device)
        for rows in (order[: self.n_drawn], order[self.n_drawn :]):
            part, begin = best.take(rows), None if start is None else start[rows]
            self.attack.search(fn.take(rows), region.take(rows), part, begin, generator)
            best.put(rows, part)
            if not bool((part.value > fn.goal).any()):
                return


def _twin(generator: torch.Generator) -> torch.Generator:
    """Another generator in the same state, so that this one is left as it is."""
    return torch.Generator(device=generator.device).set_state(generator.get_state())
