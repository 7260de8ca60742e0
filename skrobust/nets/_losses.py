"""The clean losses of each row, and the directions in which an output can be pushed."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust._torch import differences

__all__ = ["ClassificationLoss", "RegressionLoss"]


class ClassificationLoss(torch.nn.Module):
    """Cross-entropy of each row, with every pair of classes as a direction to attack."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(output, y, reduction="none")

    def lost_margin(self, output: Tensor, y: Tensor) -> Tensor:
        """``max_{k != y} f_k - f_y`` of each row."""
        return differences(output, y).amax(dim=1)

    def directions(self, output: Tensor) -> Tensor:
        """Logit differences ``f_k - f_j`` of all ordered pairs, (n, k (k - 1))."""
        k = output.shape[1]
        off_diagonal = ~torch.eye(k, dtype=torch.bool, device=output.device)
        return (output[:, :, None] - output[:, None, :])[:, off_diagonal]


class RegressionLoss(torch.nn.Module):
    """Squared error of each row, summed over the outputs; up and down are the directions."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        if output.shape != y.shape:  # (n,) against (n, 1) would broadcast to n x n, silently
            raise ValueError(f"outputs {tuple(output.shape)} and targets {tuple(y.shape)} differ.")
        return (output - y).square().sum(dim=1)

    def directions(self, output: Tensor) -> Tensor:
        return torch.cat([output, -output], dim=1)
