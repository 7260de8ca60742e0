"""One step from where the row went last time: the search of training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from skrobust._params import check_number
from skrobust.attacks._base import Attack, Best, Objective, beginning
from skrobust.threats import Region

__all__ = ["Single"]


class Single(Attack):
    """One ascent step that begins at the row's own last perturbation.

    ``z <- project(start + step_size * direction(gradient at start))``, where training hands back,
    as ``start``, the ``z`` of the epoch before: over the epochs the steps add up to a search of many
    (Zheng et al. 2020, arXiv 1912.11969), for the price of one forward and one backward pass. Rows
    without a start begin at a random point, as in Wong et al. (2020, arXiv 2001.03994).

    Parameters
    ----------
    n_steps : int
        Steps of one call.
    step_size : float, optional
        In units of the threat's ``scale``, as the radius. None: half the radius for rows that
        have a start (longer steps jump between the corners of the ball, and training learns the
        corners alone); ``radius / n_steps`` for rows that have none.
    margins : bool
        In training of classifiers: whether to climb the margin lost, ``max_{k != y} f_k - f_y``,
        where ``divergence`` is "kl" or "loss", instead of the divergence itself. A margin has a
        slope where probabilities saturate, and one step needs a good one.
    finish : float
        In training: share of the epochs, at the end, in which each step is two of half the length.
        When the learning rate is small, the network has time for places that longer steps miss.
    verify : bool
        Whether start and end are evaluated and the best of them and the row is returned, as any
        attack does (two more forward passes), or, as in training, the end point without a look.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Single
    >>> x, start = torch.zeros(1, 2), torch.tensor([[0.5, -0.5]])
    >>> moved = Single().maximize(lambda z: z.sum(dim=1), x, LpBall("linf"), 0.5, start)
    >>> moved.z
    tensor([[ 0.5000, -0.2500]])
    """

    remembers = True
    stride = 0.5  # of the radius, in one step from the row's own start

    def __init__(
        self,
        n_steps: int = 1,
        step_size: float | None = None,
        margins: bool = False,
        finish: float = 0.0,
        verify: bool = True,
    ):
        self.n_steps = n_steps
        self.step_size = step_size
        self.margins = margins
        self.finish = finish
        self.verify = verify

    @property
    def is_blind(self) -> bool:
        return not self.verify

    def at(self, done: float) -> Single:
        """Twice as many steps of half the length, when training is nearly ``done``.

        >>> [Single(finish=0.3).at(done).n_steps for done in (0.1, 0.7, 0.8, 1.0)]
        [1, 1, 2, 2]
        """
        if done <= 1 - check_number("finish", self.finish, low=0, high=1) + 1e-9:
            return self
        late = copy.copy(self)
        late.n_steps, late.stride = 2 * self.n_steps, self.stride / 2
        late.step_size = None if self.step_size is None else self.step_size / 2
        return late

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        z = self._climb(fn, region, start, generator, best)
        best.update(z, fn(z))

    def worst(self, fn, region, start, generator) -> Tensor:
        if self.verify:
            return super().worst(fn, region, start, generator)
        return region.realize(self._climb(fn.within(region), region, start, generator, None))

    def _climb(self, fn, region, start, generator, best: Best | None) -> Tensor:
        size = self.step_size
        if size is None:
            size = region.radius * (self.stride if start is not None else 1.0 / self.n_steps)
        z = beginning(region, start, generator) if best is not None or start is None else start
        for _ in range(self.n_steps):
            if best is None:
                z = region.step(z, fn.ascent(z), size)
                continue
            here = fn.gradient(z)
            best.update(z, here.value)
            z = region.step(z, here.gradient, size)
        return z
