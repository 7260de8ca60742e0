"""Projected gradient ascent: the inner loop of training."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.attacks._base import Attack, Best, Objective, Survivors, beginning
from skrobust.attacks._limits import COUNT, FLAG, LENGTH_OR_NONE
from skrobust.threats import Region

__all__ = ["PGD"]


class PGD(Attack):
    """Projected gradient ascent, ``z <- project(z + step_size * direction(gradient))``.

    The direction is the one of steepest ascent in the norm of the threat (signs for linf, the
    unit gradient for l2, the steepest coordinates for l1), so that the size of the gradient
    never matters. After Madry et al. (2018, arXiv 1706.06083). ``PGD(n_steps=1,
    random_start=False)`` is the fast gradient method of Goodfellow et al. (2015, arXiv 1412.6572).

    Parameters
    ----------
    n_steps : int
        Steps of one restart; each costs one forward and one backward pass, and one more forward
        pass evaluates the last point.
    step_size : float, optional
        In units of the threat's ``scale``, as the radius. None: ``2.5 * radius / n_steps``.
    n_restarts : int
        Starting points per row.
    random_start : bool
        Whether the first restart begins at a random point of the region, not at the row; later
        restarts always do. A ``start`` handed to ``maximize`` is where the first one begins.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import PGD
    >>> x = torch.zeros(1, 3)
    >>> attack = PGD(n_steps=1, random_start=False)
    >>> attack.maximize(lambda z: z[:, 0] - 2 * z[:, 1], x, LpBall("linf"), 0.5).z
    tensor([[ 0.5000, -0.5000,  0.0000]])
    """

    limits = {
        "n_steps": COUNT,
        "step_size": LENGTH_OR_NONE,
        "n_restarts": COUNT,
        "random_start": FLAG,
    }
    check_every = 4  # steps between two looks at which rows are finished

    def __init__(
        self,
        n_steps: int = 10,
        step_size: float | None = None,
        n_restarts: int = 1,
        random_start: bool = True,
    ):
        self.n_steps = n_steps
        self.step_size = step_size
        self.n_restarts = n_restarts
        self.random_start = random_start

    @property
    def is_blind(self) -> bool:
        return self.n_restarts == 1

    def worst(self, fn, region, start, generator) -> Tensor:
        """As in the papers on training: the last point, which the training pass looks at anyway."""
        if not self.is_blind:
            return super().worst(fn, region, start, generator)
        fn, z = fn.within(region), region.x if start is None else start
        if self.random_start:
            z = beginning(region, start, generator)
        size = region.radius * (2.5 / self.n_steps) if self.step_size is None else self.step_size
        for _ in range(self.n_steps):
            z = region.step(z, fn.ascent(z), size)
        return region.realize(z)

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        live = Survivors(fn, region, best)
        for restart in range(self.n_restarts):
            if restart:
                live.prune()
            if not len(live):
                break
            if restart or self.random_start:
                z = beginning(live.region, None if restart else start, generator)
            else:
                z = live.region.x if start is None else start
            self._ascend(live, z)
        live.close()

    def _ascend(self, live: Survivors, z: Tensor) -> None:
        size = self.step_size
        if size is None:
            size = live.region.radius * (2.5 / max(self.n_steps, 1))
        else:
            size = torch.full_like(live.region.radius, size)
        for k in range(self.n_steps):
            value, _, gradient = live.fn.gradient(z)
            live.best.update(z, value)
            z = live.region.step(z, gradient, size)
            if k % self.check_every == 0 and k:
                z, size = live.prune(z, size)
                if not len(live):
                    return
        live.best.update(z, live.fn(z))
