"""What every attack shares: the verb ``maximize``.

A new attack overrides one method, :meth:`Attack.search`, and reports every point it evaluates
to ``best``; budget, bookkeeping, counting and the best-seen law are kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skrobust._torch import per_row
from skrobust.attacks._best import Best, Survivors
from skrobust.attacks._objective import Objective, as_objective
from skrobust.exceptions import invalid
from skrobust.threats import Region, Threat

__all__ = ["Attack", "Best", "Moved", "Objective", "Survivors", "as_objective", "beginning"]


class Moved(NamedTuple):
    """What an attack returns; all fields are per row, in the order of the rows given.

    ``z`` (n, ...) the best moved rows, ``value`` (n,) the objective there, ``n_forward`` and
    ``n_backward`` (n,) how often the model was evaluated and differentiated for the row.
    """

    z: Tensor
    value: Tensor
    n_forward: Tensor
    n_backward: Tensor


class Attack(BaseEstimator):
    """A searcher: finds a moved row inside the threat whose value is large.

    Subclasses store their options in ``__init__`` and override :meth:`search`.
    """

    limits: ClassVar[dict[str, Callable]] = {}  # what checks each option: (name, value) -> value
    needs_gradient = True
    remembers = False  # whether training hands each row's last perturbation back as its start
    margins = False  # whether training climbs margins where a divergence may be replaced by them
    free_step = 0.0  # of the radius, that training moves on what it remembers, by the way
    is_blind = False  # whether points come back without a look at their values

    def checked(self) -> Attack:
        """The attack itself; an error if one of its options is impossible.

        >>> from skrobust.attacks import PGD
        >>> PGD(n_steps=0).checked()
        Traceback (most recent call last):
        ValueError: n_steps=0 is not valid: it must be an integer >= 1.
        """
        for name, check in self.limits.items():
            check(name, getattr(self, name))
        return self

    def maximize(
        self,
        fn: Callable[[Tensor], Tensor] | Objective,
        x: Tensor,
        threat: Threat,
        radius: float | Tensor,
        start: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Moved:
        """Search ball and bounds around each row for the largest value of ``fn``.

        Parameters
        ----------
        fn : Objective or callable
            Per-row function of moved rows, ``fn(z) -> (n,)``.
        x : Tensor of shape (n, ...)
            The rows.
        threat : Threat
            Where each row may move; must be bound to numbers (``threat.bind(X)``).
        radius : float or Tensor of shape (n,)
            How far, in units of the threat's ``scale``.
        start : Tensor of shape (n, ...), optional
            Moved rows to go on from; projected back if they lie outside. A row that equals its
            ``x`` is no start: attacks that begin at random points do so there.
        generator : torch.Generator, optional
            Source of randomness; without one a fixed seed is used.

        Returns
        -------
        Moved
            The best point seen per row, ``x`` and ``start`` included, and its value. Rows that
            pass the goal at ``x`` come back unmoved.
        """
        self.checked()
        fn = as_objective(fn).over(len(x))
        if self.needs_gradient and not fn.differentiable:
            raise invalid(
                "attack",
                self,
                "an attack that needs values only, for this model has no gradient",
                "Use attack='search' or attack='auto'.",
            )
        region = threat.region(x.detach(), radius)
        fn = fn.within(region)
        best = Best(region.x, fn(region.x) if fn.at_x is None else fn.at_x, fn.goal)
        if isinstance(radius, Tensor) or radius > 0:
            self._search_unfinished(fn, region, best, start, _generator_for(x, generator))
        return Moved(region.realize(region.settle(best.z)), best.value, *fn.counts(region.x))

    def worst(
        self,
        fn: Objective,
        region: Region,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """The moved rows alone, in a region that is there already: what training asks for.

        The same search as :meth:`maximize`, on points of ``region``; ``start``, if any, is one.
        """
        fn = fn.over(len(region.x)).within(region)
        best = Best(region.x, fn(region.x) if fn.at_x is None else fn.at_x, fn.goal)
        self._search_unfinished(fn, region, best, start, generator)
        return region.realize(best.z)

    def _search_unfinished(self, fn, region, best, start, generator) -> None:
        live = Survivors(fn, region, best)
        (start,) = live.prune(start)
        if start is not None and len(live):
            start = live.region.project(start.detach())
            if torch.equal(start, live.region.x):
                start = None
            else:
                live.best.update(start, live.fn(start))
                (start,) = live.prune(start)
        if len(live):
            self.search(live.fn, live.region, live.best, start, generator)
        live.close()

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        """Evaluate points of ``region`` with ``fn`` and report each to ``best``.

        Report only points that the region made (``project``, ``step``, ``steepest``, ``sample``):
        they are settled, so that the value reported is the value of the very row returned.
        """
        raise NotImplementedError(f"{type(self).__name__} must override search().")


def beginning(region: Region, start: Tensor | None, generator: torch.Generator) -> Tensor:
    """Where an ascent begins: at ``start``, but at a random point where that is the row itself.

    At the row itself many objectives (a divergence, a loss of 0) have no slope at all.
    """
    if start is None:
        return region.sample(generator)
    stayed = ((start == region.x) | region.x.isnan()).flatten(1).all(dim=1)
    return torch.where(per_row(stayed, start), region.sample(generator), start)


def _generator_for(x: Tensor, generator: torch.Generator | None) -> torch.Generator:
    """A generator on the device of ``x``; one that lives elsewhere gives the seed."""
    if generator is None:
        return torch.Generator(device=x.device).manual_seed(0)
    if generator.device.type == x.device.type:
        return generator
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator(device=x.device).manual_seed(int(seed))
