"""The clean losses of each row, and the directions in which an output can be pushed."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust._torch import differences

__all__ = ["ClassificationLoss", "RegressionLoss"]

FREE = 1e-6  # stands for a share of 0, whose logarithm no gradient survives


class ClassificationLoss(torch.nn.Module):
    """Cross-entropy of each row, with every pair of classes as a direction to attack.

    With ``shares`` (k, k) a wrong class counts by what it costs,
    ``log(1 + sum_{k != y} shares[y, k] exp(f_k - f_y))`` (Zhang & Evans 2019, arXiv 1810.09225).
    """

    def __init__(self, shares: Tensor | None = None):
        super().__init__()
        logs = None if shares is None else torch.as_tensor(shares).clamp(min=FREE).log()
        self.register_buffer("log_shares", logs, persistent=False)

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(self._weighed(output, y), y, reduction="none")

    def lost_margin(self, output: Tensor, y: Tensor) -> Tensor:
        """``max_{k != y} f_k - f_y`` of each row."""
        return differences(self._weighed(output, y), y).amax(dim=1)

    def _weighed(self, output: Tensor, y: Tensor) -> Tensor:
        return output if self.log_shares is None else output + self.log_shares[y].to(output.dtype)

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
