"""Random points: the weakest attack, and the cheapest."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.attacks._base import Attack, Best, Objective, Survivors
from skrobust.attacks._limits import COUNT
from skrobust.threats import Region

__all__ = ["Noise"]


class Noise(Attack):
    """Random points of the region, the best kept.

    In training it is noise regularisation; in evaluation a yardstick: an attack with gradients
    that does no better than noise is an attack that failed.

    Parameters
    ----------
    n_draws : int
        Points drawn per row.

    Examples
    --------
    >>> import torch
    >>> from skrobust.threats import LpBall
    >>> from skrobust.attacks import Noise
    >>> x = torch.zeros(2, 3)
    >>> moved = Noise(n_draws=20).maximize(lambda z: z.sum(dim=1), x, LpBall("linf"), 0.5)
    >>> bool((moved.value > 0).all()), bool((moved.z.abs() <= 0.5).all())
    (True, True)
    """

    limits = {"n_draws": COUNT}
    needs_gradient = False

    def __init__(self, n_draws: int = 1):
        self.n_draws = n_draws

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        live = Survivors(fn, region, best)
        for _ in range(self.n_draws):
            z = live.region.sample(generator)
            live.best.update(z, live.fn(z))
            live.prune()
            if not len(live):
                break
        live.close()
