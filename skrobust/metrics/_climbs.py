"""What one search climbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust.attacks import Objective
from skrobust.metrics._view import View

__all__ = ["Climb", "soft_maximum"]


class Climb(NamedTuple):
    """One search: the per-row value (None: the largest piece), its pieces, and when to stop."""

    value: Callable[..., Tensor] | None
    pieces: Callable[..., Tensor] | None
    goal: float | None

    def objective(self, targets: Tensor, index: np.ndarray, view: View) -> Objective:
        """The same as an attack takes it, for the rows ``index``."""
        y = targets[torch.as_tensor(index, device=targets.device)]
        objective = Objective(
            self.value,
            y,
            pieces=self.pieces,
            goal=self.goal,
            differentiable=view.differentiable,
            model=view.model,
        )
        if self.value is None and view.differentiable:
            objective.value = self._guided  # the same numbers, a direction that sees further
        return objective

    def _guided(self, z: Tensor, y: Tensor) -> Tensor:
        """The largest piece; its gradient is that of :func:`soft_maximum`."""
        pieces = self.pieces(z, y)
        top = pieces.amax(dim=1)
        if not pieces.requires_grad or pieces.shape[1] < 3:
            return top
        soft = soft_maximum(pieces)
        return top.detach() + (soft - soft.detach())


def soft_maximum(gaps: Tensor) -> Tensor:
    """Smooth stand-in (n,) for the largest of the logit differences (n, k), own class -inf.

    ``t log sum_k exp(g_k / t)``, where ``t`` is a sixth of the standard deviation of the row's
    differences, taken as a constant. Only its gradient is used. The gradient of the maximum itself
    follows one class at a time and flips between two; that of cross-entropy weighs all of them and
    breaks 1-4% more rows in ten steps, but dies on large logits. This one does as well as
    cross-entropy, and multiplying the logits does not turn it.

    >>> soft_maximum(torch.tensor([[1.0, -torch.inf, 1.0, -9.0]])).round(decimals=3)
    tensor([1.5450])
    """
    other = torch.isfinite(gaps)
    values = torch.where(other, gaps.detach(), 0.0)
    count = other.sum(dim=1).clamp(min=1)
    center = values.sum(dim=1) / count
    square = torch.where(other, (values - center[:, None]) ** 2, 0.0)
    t = (square.sum(dim=1) / count).sqrt() / 6
    t = t.clamp(min=torch.finfo(gaps.dtype).tiny)  # all equal: they share the gradient
    top = gaps.detach().amax(dim=1)
    return top + t * torch.logsumexp((gaps - top[:, None]) / t[:, None], dim=1)
