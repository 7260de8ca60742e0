"""Divergences between the output at a row and the output at a moved row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from skrobust.exceptions import invalid
from skrobust.smoothing._base import Loss, PairDivergence

__all__ = ["KL", "Custom", "LossGap", "Squared"]


class KL(PairDivergence):
    """Kullback-Leibler divergence of class probabilities, ``sum_k p_k(x) log(p_k(x) / p_k(z))``.

    With a PGD attack this is TRADES (Zhang et al. 2019, arXiv 1901.08573). Both sides stay in log
    space: the usual form has NaN gradients once a softmax saturates.

    >>> import torch
    >>> same = torch.tensor([[2.0, -1.0]])
    >>> KL().compare(same, same, torch.tensor([0]), None)
    tensor([0.])
    """

    follows_margins = True

    def compare(self, moved: Tensor, output: Tensor, y: Tensor, loss: Loss) -> Tensor:
        pair = kl_div(
            log_softmax(moved, dim=1),
            log_softmax(output, dim=1),
            reduction="none",
            log_target=True,
        )
        return pair.sum(dim=1)

    def slope(self, output: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        target = torch.softmax(output, dim=1)
        return lambda moved: torch.softmax(moved, dim=1) - target


class Squared(PairDivergence):
    """Squared distance of the outputs, ``sum_k (f_k(z) - f_k(x))^2``.

    The natural choice for regression; on logits it is logit squeezing between neighbours
    (adversarial logit pairing, Kannan et al. 2018, arXiv 1803.06373).

    >>> import torch
    >>> Squared().compare(torch.tensor([[3.0]]), torch.tensor([[1.0]]), None, None)
    tensor([4.])
    """

    def compare(self, moved: Tensor, output: Tensor, y: Tensor, loss: Loss) -> Tensor:
        return (moved - output).square().sum(dim=1)

    def slope(self, output: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda moved: 2 * (moved - output)


class LossGap(PairDivergence):
    """How much the loss grows, ``max(0, loss(f(z), y) - loss(f(x), y))``.

    With ``smoothing=1`` the clean loss cancels and what remains is adversarial training
    (Madry et al. 2018, arXiv 1706.06083): the loss at the worst row alone. The worst growth is
    never negative, for the row itself is one of the places; without that limit a larger smoothing
    would reward a loss that is higher at the row than at the place that an attack happened to find.

    >>> import torch
    >>> absolute = lambda output, y: (output - y).abs().sum(dim=1)
    >>> LossGap().compare(
    ...     torch.tensor([[5.0]]), torch.tensor([[1.0]]), torch.tensor([[0.0]]), absolute
    ... )
    tensor([4.])
    """

    follows_margins = True

    def compare(self, moved: Tensor, output: Tensor, y: Tensor, loss: Loss) -> Tensor:
        return (loss(moved, y) - loss(output, y)).clamp(min=0)


class Custom(PairDivergence):
    """Any function ``function(moved, output, y) -> (n,)`` of moved outputs, outputs and targets.

    >>> import torch
    >>> largest = Custom(lambda moved, output, y: (moved - output).abs().amax(dim=1))
    >>> largest.compare(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 1.0]]), None, None)
    tensor([2.])
    """

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]):
        self.function = function

    def compare(self, moved: Tensor, output: Tensor, y: Tensor, loss: Loss) -> Tensor:
        value = self.function(moved, output, y)
        if not isinstance(value, torch.Tensor) or value.shape != (len(moved),):
            given = getattr(value, "shape", type(value).__name__)
            raise invalid(
                "divergence",
                self.function,
                f"a function that returns one value per row, shape ({len(moved)},)",
                f"It returned {given}; sum over the outputs with .sum(dim=1).",
            )
        return value
