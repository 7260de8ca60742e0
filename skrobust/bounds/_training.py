"""Certified training: the worst loss over an enclosure, in place of the loss at a place found."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skrobust._params import check_number
from skrobust.attacks import ATTACKS, Attack, check_attack
from skrobust.bounds._base import pairs
from skrobust.bounds._graph import Graph
from skrobust.bounds._interval import Interval
from skrobust.exceptions import invalid
from skrobust.threats import Region

__all__ = ["IntervalTraining"]

RISE = 0.02  # share of the steps over which the learning rate rises


class IntervalTraining(Attack):
    """What ``attack="interval"`` is in training: interval bounds of the outputs, not a search.

    The divergence is taken at the worst outputs of the interval image of each region: every logit
    difference to the label at its bound (of a regressor, every output at the end that is farther
    from its reference). The loss of a row then is never below what any movement can do, and what
    falls in training is what :func:`skrobust.certify` proves afterwards. With ``divergence="loss"``

    ``(1 - smoothing) loss(f(x)) + smoothing * (share * bound + (1 - share) * loss(f(z)))``

    where z is found by ``attack``: interval bound propagation (Gowal et al. 2018, 1810.12715) for
    ``share=1``, MTL-IBP (De Palma et al. 2024, 2305.13991) in between. A smaller share costs
    certificates and gives accuracy.

    Parameters
    ----------
    share : float
        Weight of the bound beside the searched row, in (0, 1].
    attack : str or Attack
        The search for the rest; not run at ``share=1``.
    warmup : float
        Share of the steps over which the radius grows, unless the estimator's ``radius_warmup``
        says otherwise. Bounds of a network that was not trained for them are huge: begun at the
        full radius, training ends at the most frequent class.
    clip : float
        Largest norm of the gradient of one step.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrobust import RobustClassifier, certified_accuracy_score
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RobustClassifier(attack="interval", divergence="loss", radius=0.2, random_state=0)
    >>> certified_accuracy_score(model.fit(X, y), X, y, radius=0.2) > 0.8
    True
    """

    encloses = True

    def __init__(self, share: float = 1.0, attack="auto", warmup: float = 0.7, clip: float = 5.0):
        self.share, self.attack, self.warmup, self.clip = share, attack, warmup, clip

    def prepare(self, module: nn.Module) -> None:
        """Scale fresh weights so that intervals keep their width from layer to layer.

        The standard deviation of a layer's weights becomes ``sqrt(2 pi) / fan_in`` (Shi et al. 2021,
        2103.17268): the width of an interval is a sum of absolute values, which the usual
        ``1 / sqrt(fan_in)`` lets grow with every layer.
        """
        with torch.no_grad():
            for layer in module.modules():
                if (
                    isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d))
                    and layer.weight[0].numel() > 1
                ):
                    wanted = (2 * torch.pi) ** 0.5 / layer.weight[0].numel()
                    layer.weight.mul_(wanted / layer.weight.std().clamp(min=1e-12))

    @staticmethod
    def reach(progress: float, warmup: float, rest: float = 0.0) -> float:
        """The share of the radius at a share of the steps: after a rest linearly up to the warm-up.

        >>> [round(IntervalTraining.reach(p, 0.8, 0.1), 2) for p in (0.0, 0.1, 0.45, 0.8, 1.0)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
        """
        if warmup <= rest:
            return 1.0
        return min(1.0, max(0.0, progress - rest) / (warmup - rest))

    @staticmethod
    def pace(progress: float, warmup: float) -> float:
        """The share of the learning rate: all of it while the radius grows, then a cosine fall.

        >>> [round(IntervalTraining.pace(p, 0.6), 2) for p in (0.0, 0.02, 0.6, 0.8, 1.0)]
        [0.05, 1.0, 1.0, 0.5, 0.0]
        """
        if progress < RISE:
            return 0.05 + 0.95 * progress / RISE
        fallen = max(0.0, progress - warmup) / max(1 - warmup, 1e-12)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))

    def check(self, divergence) -> None:
        """Raise for options that cannot be trained with."""
        check_number("share", self.share, low=0, high=1, open_low=True)
        check_number("warmup", self.warmup, low=0, high=1)
        check_number("clip", self.clip, low=0, open_low=True)
        if not hasattr(divergence, "compare"):
            raise invalid(
                "divergence", divergence, "one of two outputs for attack='interval'",
                'Use divergence="loss".',
            )  # fmt: skip

    def moved(
        self, graph: Graph, region: Region, y: Tensor, output: Tensor | None = None
    ) -> Tensor:
        """Outputs (n, k) at their worst: logits by the label, values by ``output``, else by ``y``."""
        if not y.is_floating_point():
            # logits whose differences to that of the label are the largest that are possible
            heads = pairs(y, graph.output.size, region.x)  # rows may be wider than the network
            return -Interval().lower(graph, region, heads)
        low, high = Interval().outputs(graph, region)
        center = y if output is None else output
        return torch.where(high - center > center - low, high, low)

    def penalty(self, graph: Graph, region: Region, output: Tensor, y: Tensor, divergence, setting):
        """The divergence (n,) at the worst outputs of the enclosure, and at a row that is found."""
        center = None if type(divergence).__name__ == "LossGap" else output
        moved = self.moved(graph, region, y, center).to(output.dtype)
        bound = divergence.compare(moved, output, y, setting.loss)
        if self.share == 1:
            return bound
        found = divergence.penalty(region.x, output, y, setting)
        return self.share * bound + (1 - self.share) * found

    def worst(self, fn, region, start, generator) -> Tensor:
        return check_attack(self.attack, "train").worst(fn, region, start, generator)

    def maximize(self, *args, **kwargs):
        raise invalid(
            "attack", self, "a search: 'interval' encloses all rows and finds none",
            "It is for training. To score with it, use certify or certified_accuracy_score.",
        )  # fmt: skip


ATTACKS["train"]["interval"] = IntervalTraining
