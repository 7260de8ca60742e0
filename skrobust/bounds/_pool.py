"""The maximum over windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skrobust.bounds._graph import Box, Op, Shape, finite

__all__ = ["MaxPool"]


class _Window(NamedTuple):
    """One axis: window size, step, padding, spacing, and the lengths before and after."""

    size: int
    step: int
    padding: int
    spacing: int
    before: int
    after: int

    @property
    def padded(self) -> int:
        return max(self.padding + self.before, (self.after - 1) * self.step + self.reach)

    @property
    def reach(self) -> int:
        return (self.size - 1) * self.spacing + 1

    def cut(self, offset: int) -> slice:
        """The entries at one place of every window, along the padded axis."""
        start = offset * self.spacing
        return slice(start, start + (self.after - 1) * self.step + 1, self.step)


class MaxPool(Op):
    """``max`` over the entries of each window.

    The image maps end points. For linear bounds, the maximum is at least the entry with the largest
    lower bound, and at most the largest upper bound; where one entry beats all others for certain,
    it is that entry.
    """

    mixes = True

    def __init__(self, layer: nn.Module, n_axes: int):
        self.layer, self.n_axes = layer, n_axes
        self.pool = (nn.functional.max_pool1d, nn.functional.max_pool2d)[n_axes - 1]

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        return self.pool(
            x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
        )

    def interval(self, *boxes: Box) -> Box:
        return Box(*map(self.forward, boxes[0]))

    def pull(self, weight, shapes, boxes=None):
        (shape,), (box,) = shapes, boxes
        windows = self._windows(shape)
        low, high = (self._slices(end, windows) for end in box)  # (places, n, *output shape)
        best, place = low.max(dim=0)
        rivals = high.scatter(0, place[None], -torch.inf).amax(dim=0)
        certain, most = rivals <= best, high.amax(dim=0)
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        taken = up + down * certain[:, None].to(up.dtype)
        height = torch.where(certain, 0.0, finite(most)).flatten(1)
        constant = (down.flatten(2) @ height[:, :, None])[:, :, 0]
        return [self._back(taken, place, windows, shape)], constant

    def stretch(self, shapes: Sequence[Shape]) -> float:
        # each entry counts in as many windows as lie over it
        return sqrt(prod(ceil(w.reach / w.step) for w in self._windows(shapes[0])))

    def _windows(self, shape: Shape) -> list[_Window]:
        after = self.forward(torch.zeros(1, *shape)).shape[2:]
        stated = (
            self.layer.kernel_size,
            self.layer.stride,
            self.layer.padding,
            self.layer.dilation,
        )
        each = zip(*(_per_axis(value, self.n_axes) for value in stated), strict=True)
        return [
            _Window(*axis, *lengths) for axis, *lengths in zip(each, shape[1:], after, strict=True)
        ]

    def _places(self, windows: list[_Window]) -> list[tuple[slice, ...]]:
        """For each place in a window, the padded entries there."""
        offsets = torch.cartesian_prod(*(torch.arange(w.size) for w in windows)).view(
            -1, len(windows)
        )
        return [
            tuple(w.cut(offset) for w, offset in zip(windows, row, strict=True))
            for row in offsets.tolist()
        ]

    def _slices(self, x: Tensor, windows: list[_Window]) -> Tensor:
        pads = [
            pad
            for w in reversed(windows)
            for pad in (w.padding, max(0, w.padded - w.padding - w.before))
        ]
        padded = nn.functional.pad(x, pads, value=-torch.inf)
        return torch.stack([padded[(..., *cut)] for cut in self._places(windows)])

    def _back(self, weight: Tensor, place: Tensor, windows: list[_Window], shape: Shape) -> Tensor:
        """The weights of the outputs, laid on the entry that stands for each."""
        n, m = max(len(weight), len(place)), weight.shape[1]
        found = weight.new_zeros(n, m, shape[0], *(w.padded for w in windows))
        for number, cut in enumerate(self._places(windows)):
            found[(..., *cut)] += weight * (place == number)[:, None].to(weight.dtype)
        inner = tuple(slice(w.padding, w.padding + w.before) for w in windows)
        return found[(..., *inner)]


def _per_axis(value, n_axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,) * n_axes
