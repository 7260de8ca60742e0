"""A network as a list of steps that can be bounded: what each step is, and who feeds whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Box", "Graph", "Node", "Op", "Shape", "finite"]

Shape = tuple[int, ...]


def finite(values: Tensor) -> Tensor:
    """Infinities as numbers too large to prove anything: 0 times them is 0, and not NaN."""
    huge = torch.finfo(values.dtype).max * 1e-8
    return values.clamp(-huge, huge)


class Box(NamedTuple):
    """Lower and upper bounds (n, ...) of a batch, entry by entry."""

    low: Tensor
    high: Tensor

    def meet(self, other: Box) -> Box:
        """What both allow. Bounds that cross by a rounding error are laid around each other."""
        low, high = torch.maximum(self.low, other.low), torch.minimum(self.high, other.high)
        return Box(torch.minimum(low, high), torch.maximum(low, high))


class Op(ABC):
    """One step of a network, rows first. Parameters are read at each call, so they may train.

    Attributes
    ----------
    affine : bool
        Whether the step is ``x -> W x + b``.
    mixes : bool
        Whether an output entry depends on several input entries.
    straight : bool
        Whether :meth:`pull` loses nothing.
    """

    affine = False
    mixes = False
    straight = False

    @abstractmethod
    def forward(self, *xs: Tensor) -> Tensor:
        """The step itself."""

    @abstractmethod
    def interval(self, *boxes: Box) -> Box:
        """A box around all outputs of inputs in the boxes."""

    @abstractmethod
    def pull(
        self, weight: Tensor, shapes: Sequence[Shape], boxes: Sequence[Box] | None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Linear functions of the output, bounded below by linear functions of the inputs.

        ``weight`` (n or 1, m, and the shape of the output) stands for m functions per row. For all inputs in
        the ``boxes`` (None for affine steps), ``<weight, output> >= sum_i <w_i, input_i> + c``
        with the ``w_i`` (n or 1, m, and that of the input) and ``c`` (n or 1, m; None for 0) returned.
        """

    def stretch(self, shapes: Sequence[Shape]) -> float:
        """A Lipschitz constant in l2, per input; infinity where none is known."""
        return float("inf")


class Node(NamedTuple):
    """A step, the nodes that feed it, and the shape of one row of its output."""

    op: Op | None  # None: the input
    sources: tuple[int, ...]
    shape: Shape

    @property
    def size(self) -> int:
        return prod(self.shape)


class Graph:
    """Steps in an order in which they can be computed; node 0 is the input, the last the output."""

    def __init__(self, row_shape: Shape, device: torch.device | str = "cpu"):
        self.nodes, self.device = [Node(None, (), tuple(row_shape))], device

    def add(self, op: Op, *sources: int) -> int:
        """Append a step; its number."""
        options = dict(dtype=torch.float64, device=self.device)
        with torch.no_grad():
            found = op.forward(*(torch.zeros(1, *self.nodes[i].shape, **options) for i in sources))
        shape = found.shape[1:]
        self.nodes.append(Node(op, sources, tuple(shape)))
        self.__dict__.pop("mixings", None)
        return len(self.nodes) - 1

    def forward(self, x: Tensor) -> Tensor:
        """The network itself, on rows."""
        values = [x]
        for node in self.nodes[1:]:
            values.append(node.op.forward(*(values[i] for i in node.sources)))
        return values[-1]

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    @cached_property
    def mixings(self) -> list[int | None]:
        """How many mixing steps lie between the input and each node; None past a step that is
        not affine."""
        counts: list[int | None] = [0]
        for node in self.nodes[1:]:
            before = [counts[i] for i in node.sources]
            if not node.op.affine or None in before:
                counts.append(None)
            else:
                counts.append(max(before) + bool(node.op.mixes))
        return counts

    @property
    def is_straight(self) -> bool:
        """Whether bounds of linear functions lose nothing on the way to the input."""
        return all(node.op.affine or node.op.straight for node in self.nodes[1:])

    @cached_property
    def bends(self) -> set[int]:
        """The nodes whose bounds are needed: those that feed a step that is not affine."""
        return {i for node in self.nodes[1:] if not node.op.affine for i in node.sources}
