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
    """Movements in the span of some waves, which fade to 0 where a series is frozen.

    The waves of a whole series are those of the discrete cosine transform (DCT-II); those of a
    stretch between frozen parts are sines.

    ``bases`` are orthonormal (length, n_waves), ``channels`` the channels that each one serves.
    """

    bases: list[Tensor]
    channels: list[Tensor]

    @classmethod
    def of(cls, band: tuple[float, float], x: Tensor, free: np.ndarray) -> Band:
        """``free`` (length,) or (n_channels, length): where anything may move."""
        masks, which = np.unique(free.reshape(-1, free.shape[-1]), axis=0, return_inverse=True)
        bases, channels = [], []
        for k, mask in enumerate(masks):
            bases.append(torch.as_tensor(_basis(mask, band), dtype=x.dtype).to(x.device))
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


def _basis(free: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Orthonormal waves (length, n) of the free stretches, one stretch after the other."""
    edges = np.diff(np.concatenate([[0], free.astype(int), [0]]))
    found = []
    for first, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        held = (first > 0, end < len(free))
        waves = np.zeros((len(free), 0))
        inner = _waves(end - first, *held, *band)
        if inner.shape[1]:
            waves = np.zeros((len(free), inner.shape[1]))
            waves[first:end] = np.linalg.qr(inner)[0]
        found.append(waves)
    found = np.concatenate(found, axis=1) if found else np.zeros((len(free), 1))
    if not found.shape[1]:
        raise invalid(
            "band", band, "wide enough: no wave of these frequencies fits where the series may move",
            "Widen the band, or freeze fewer places.",
        )  # fmt: skip
    return found


def _waves(length: int, left: bool, right: bool, low: float, high: float) -> np.ndarray:
    """Waves (length, n) with frequencies in [low, high] of the highest.

    They are 0 just outside the ends that are held, and level at the others.

    >>> _waves(8, False, False, 0.0, 0.3).shape
    (8, 3)
    >>> _waves(8, True, True, 0.0, 0.3).round(2)[:, 0].tolist()
    [0.34, 0.64, 0.87, 0.98, 0.98, 0.87, 0.64, 0.34]
    """
    if right and not left:
        return _waves(length, True, False, low, high)[::-1]
    time, number = np.arange(length)[:, None], np.arange(length)
    if not left:
        share, wave, start = number / length, np.cos, 0.5
    elif right:
        share, wave, start = (number + 1) / (length + 1), np.sin, 1.0
    else:
        share, wave, start = (number + 0.5) / (length + 0.5), np.sin, 1.0
    kept = share[(share >= low - 1e-12) & (share <= high + 1e-12)]
    return wave(np.pi * kept * (time + start))
