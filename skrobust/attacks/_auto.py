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
       before it: one large step from the row, a short APGD towards the most promising pieces
       (margins to the nearest classes), a longer one with restarts towards more of them, and a
       search without gradients. The last one finds models whose gradients mislead.

    The cascade resembles AutoAttack (Croce & Hein 2020, arXiv 2003.01690) but has other members,
    works with any number of classes, bounds and units, and is not comparable with it number by
    number.

    Parameters
    ----------
    n_steps : int
        Steps of each ascent of the longer APGD.
    n_restarts : int
        Its restarts per piece.
    n_targets : int
        How many pieces it climbs; an objective without pieces is climbed itself.
    n_queries : int
        Values per row that the search may ask for where there is a gradient.
    n_queries_black_box : int
        The same where there is none.

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
        n_steps: int = 25,
        n_restarts: int = 2,
        n_targets: int = 9,
        n_queries: int = 100,
        n_queries_black_box: int = 1000,
    ):
        self.n_steps = n_steps
        self.n_restarts = n_restarts
        self.n_targets = n_targets
        self.n_queries = n_queries
        self.n_queries_black_box = n_queries_black_box

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
        elif self._solved(fn, region, best, generator):
            return
        else:
            member = self._cascade()
        live = Survivors(fn, region, best)
        (start,) = live.prune(start)
        if len(live):
            member.search(live.fn, live.region, live.best, start, generator)
        live.close()

    def _cascade(self) -> WorstOf:
        return WorstOf(
            [
                PGD(n_steps=1, random_start=False),
                APGD(n_steps=10, targeted=True, n_targets=min(3, self.n_targets)),
                APGD(self.n_steps, self.n_restarts, targeted=True, n_targets=self.n_targets),
                Search(n_queries=self.n_queries),
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
