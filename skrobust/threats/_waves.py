"""Smooth movements of series: nothing but waves of a band of frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skrobust.exceptions import invalid

__all__ = ["Band"]


@dataclass(frozen=True)
class Band:
    """Movements in the span of some cosine waves (DCT-II), 0 where a series is frozen.

    ``bases`` are orthonormal (length, n_waves), ``channels`` the channels that each one serves.
    """

    bases: list[Tensor]
    channels: list[Tensor]

    @classmethod
    def of(cls, band: tuple[float, float], x: Tensor, free: np.ndarray) -> Band:
        """``free`` (length,) or (n_channels, length): where anything may move."""
        waves = _cosines(free.shape[-1], *band)
        masks, which = np.unique(free.reshape(-1, free.shape[-1]), axis=0, return_inverse=True)
        bases, channels = [], []
        for k, mask in enumerate(masks):
            bases.append(
                torch.as_tensor(_vanishing(waves, ~mask, band), dtype=x.dtype).to(x.device)
            )
            channels.append(torch.as_tensor(np.flatnonzero(which.ravel() == k), device=x.device))
        return cls(bases, channels)

    def __call__(self, z: Tensor, x: Tensor) -> Tensor:
        """``z`` with the nearest movement of the band; gradients flow."""
        return x + self._within(z - x)

    def nearest(self, way: Tensor, low: Tensor, high: Tensor, n_rounds: int = 10) -> Tensor:
        """The movement of the band that is nearest to ``way`` within ``low`` and ``high``, almost.

        Alternating projections onto band and box with Dykstra's correction (Boyle & Dykstra 1986);
        after few rounds it may still pass the box a little.
        """
        way = self._within(way)
        left = torch.zeros_like(way)
        for _ in range(n_rounds):
            inside = torch.clamp(way + left, low, high)
            if torch.equal(inside, way):
                break
            left = way + left - inside
            way = self._within(inside)
        return way

    def broken(self, z: Tensor, x: Tensor) -> Tensor:
        """Rows (n,) that moved in other ways, by more than rounding."""
        way = (z - x).nan_to_num()
        left = (way - self._within(way)).abs().flatten(1).amax(dim=1)
        size = x.nan_to_num().abs().flatten(1).amax(dim=1) + way.abs().flatten(1).amax(dim=1)
        return left > 64 * torch.finfo(x.dtype).eps * size

    def _within(self, way: Tensor) -> Tensor:
        rows = way.reshape(len(way), -1, way.shape[-1])
        if len(self.bases) == 1:
            return (rows @ self.bases[0] @ self.bases[0].T).view_as(way)
        parts = torch.empty_like(rows)
        for basis, channels in zip(self.bases, self.channels, strict=True):
            parts = parts.index_copy(1, channels, rows[:, channels] @ basis @ basis.T)
        return parts.view_as(way)


def _cosines(length: int, low: float, high: float) -> np.ndarray:
    """Orthonormal cosine waves (length, n) with frequencies in [low, high] of the highest.

    >>> _cosines(8, 0.0, 0.3).shape
    (8, 3)
    """
    number = np.arange(length)
    share = number / max(length - 1, 1)
    kept = number[(share >= low - 1e-12) & (share <= high + 1e-12)]
    waves = np.cos(np.pi * (number[:, None] + 0.5) * kept / length)
    return waves / np.linalg.norm(waves, axis=0)


def _vanishing(waves: np.ndarray, frozen: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Orthonormal mixtures of the waves that are 0 on the frozen places."""
    if frozen.all():
        return np.zeros((len(waves), 1))
    if frozen.any() and waves.shape[1]:
        _, sizes, mixtures = np.linalg.svd(waves[frozen], full_matrices=True)
        rank = int((sizes > 1e-9).sum())
        waves = waves @ mixtures[rank:].T
        waves[frozen] = 0.0
    if not waves.shape[1]:
        raise invalid(
            "band", band, "wide enough: no movement of these frequencies exists"
            + (" that is 0 on the frozen places" if frozen.any() else ""),
            "Widen the band, or freeze fewer places.",
        )  # fmt: skip
    return waves
