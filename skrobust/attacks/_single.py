"""One step from where the row went last time: the search of training."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.attacks._base import Attack, Best, Objective, beginning
from skrobust.attacks._limits import COUNT, FLAG, LENGTH_OR_NONE, SHARE
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
    free_step : float
        In training: share of the radius by which, after each batch, the remembered perturbation climbs
        the loss on, along the gradient that the update of the weights has worked out on its way
        (Shafahi et al. 2019, arXiv 1904.12843). A second step an epoch, nearly for nothing.
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

    limits = {
        "n_steps": COUNT,
        "step_size": LENGTH_OR_NONE,
        "margins": FLAG,
        "free_step": SHARE,
        "verify": FLAG,
    }
    remembers = True
    stride = 0.5  # of the radius, in one step from the row's own start

    def __init__(
        self,
        n_steps: int = 1,
        step_size: float | None = None,
        margins: bool = False,
        free_step: float = 0.0,
        verify: bool = True,
    ):
        self.n_steps = n_steps
        self.step_size = step_size
        self.margins = margins
        self.free_step = free_step
        self.verify = verify

    @property
    def is_blind(self) -> bool:
        return not self.verify

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
