"""What is made worst: a divergence compares the moved output with the output of the row itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skrobust.threats import Region

__all__ = ["Divergence", "PairDivergence", "Setting"]

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs (n, k), y) -> (n,)


class Setting(NamedTuple):
    """What a divergence may look at in one batch.

    ``forward`` maps rows to outputs (n, k); ``loss`` is the task's per-row loss; ``region`` says
    where the rows may go; ``find`` runs the attack on a per-row objective of the moved output
    and returns the worst rows; ``generator`` is where random numbers come from.
    """

    forward: Callable[[Tensor], Tensor]
    loss: Loss
    region: Callable[[], Region]
    find: Callable[[Callable[..., Tensor], Tensor, Tensor], Tensor]
    generator: torch.Generator | None = None


class Divergence(BaseEstimator, ABC):
    """Per-row measure of how far the output jumps inside the radius."""

    searches = True  # whether it runs the attack

    @abstractmethod
    def penalty(self, x: Tensor, output: Tensor, y: Tensor, setting: Setting) -> Tensor:
        """Worst divergence (n,) around rows ``x`` whose outputs are ``output`` (n, k)."""


class PairDivergence(Divergence):
    """A divergence of two outputs; the attack searches the pair that is farthest apart."""

    follows_margins = False  # whether it grows, for classifiers, as the margin of the label shrinks

    @abstractmethod
    def compare(self, moved: Tensor, output: Tensor, y: Tensor, loss: Loss) -> Tensor:
        """Divergence (n,) of the moved outputs (n, k) from the outputs (n, k) of the rows."""

    def slope(self, output: Tensor, y: Tensor) -> Callable[[Tensor], Tensor] | None:
        """The gradient (n, k) of :meth:`compare` as a function of the moved outputs, if it is simple.

        What the outputs of the rows have to do with it is worked out once, for all steps.
        """
        return None

    def worst(self, output: Tensor, y: Tensor, setting: Setting) -> Tensor:
        """Moved rows (n, ...) whose outputs are far from ``output`` (n, k)."""

        def climb(moved: Tensor, reference: Tensor, y: Tensor) -> Tensor:
            return self.compare(moved, reference, y, setting.loss)

        return setting.find(climb, output.detach(), y)

    def penalty(self, x: Tensor, output: Tensor, y: Tensor, setting: Setting) -> Tensor:
        z = self.worst(output, y, setting)
        return self.compare(setting.forward(z), output, y, setting.loss)
