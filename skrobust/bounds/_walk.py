"""Bounds carried through a graph: intervals forwards, linear functions backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.bounds._graph import Box, Graph, finite
from skrobust.bounds._support import Room
from skrobust.threats import Region

__all__ = ["Walk"]

EXACT_SIZE = 2**21  # numbers in the matrix of an affine prefix that is asked row by row


class Walk:
    """One batch of regions, seen through a graph.

    Parameters
    ----------
    graph : Graph
    region : Region or Room
    tight : int
        Widest layer whose entries are bounded by substitution backwards to the input; 0: none, which
        is plain interval arithmetic.

    Attributes
    ----------
    arrived : Tensor of shape (n or 1, m, ...)
        The linear functions of the input at which the last substitution arrived.
    """

    def __init__(self, graph: Graph, region: Region | Room, tight: int = 0):
        self.graph, self.tight = graph, tight
        self.room = region if isinstance(region, Room) else Room(region)
        self.arrived: Tensor | None = None
        self._boxes: dict[int, Box] = {0: Box(self.room.low, self.room.high)}

    def box(self, i: int) -> Box:
        """Bounds of the output of node ``i``."""
        if i not in self._boxes:
            self._boxes[i] = self._bounded(i)
        return self._boxes[i]

    def _bounded(self, i: int) -> Box:
        node, mixings = self.graph.nodes[i], self.graph.mixings[i]
        small = node.size * self.graph.nodes[0].size <= EXACT_SIZE
        if small and mixings and (mixings > 1 or not self.room.is_box):
            return self._substituted(i)
        box = node.op.interval(*map(self.box, node.sources))
        if mixings is None and i in self.graph.bends and node.size <= self.tight:
            return box.meet(self._substituted(i))
        return box

    def _substituted(self, i: int) -> Box:
        node = self.graph.nodes[i]
        x = self._boxes[0].low
        eye = torch.eye(node.size, dtype=x.dtype, device=x.device)
        eye = eye.view(1, node.size, *node.shape)
        low, high = self.lower(eye, i), -self.lower(-eye, i)
        shape = (len(low), *node.shape)
        return Box(low.view(shape), high.view(shape))

    def lower(self, weight: Tensor, i: int = -1, through: bool = True) -> Tensor:
        """Lower bounds (n, m) of ``<w, output of node i>``, for ``weight`` (n or 1, m, *shape).

        ``through``: substitute backwards to the input; otherwise only through the affine steps
        at the end, to the boxes of what feeds them.
        """
        graph = self.graph
        i = i % len(graph.nodes)
        pending, total = {i: weight}, torch.zeros((), dtype=weight.dtype, device=weight.device)
        for j in range(i, -1, -1):
            if j not in pending:
                continue
            node, weight = graph.nodes[j], pending.pop(j)
            if j == 0 or not (through or node.op.affine):
                total = total + self._concrete(weight, j)
                continue
            shapes = [graph.nodes[k].shape for k in node.sources]
            boxes = None if node.op.affine else [self.box(k) for k in node.sources]
            weights, constant = node.op.pull(weight, shapes, boxes)
            total = total if constant is None else total + constant
            for k, pulled in zip(node.sources, weights, strict=True):
                pending[k] = pending[k] + pulled if k in pending else pulled
        return total

    def _concrete(self, weight: Tensor, j: int) -> Tensor:
        """The least value of linear functions of the input, or of a node in its box."""
        if j == 0:
            self.arrived = weight
            return self.room.level(weight) - self.room.rise(-weight)
        box = self.box(j)
        low, high = (finite(end).flatten(1) for end in box)
        flat = weight.flatten(2)
        up, down = flat.clamp(min=0), flat.clamp(max=0)
        if len(flat) == 1:
            return low @ up[0].T + high @ down[0].T
        return (up @ low[:, :, None] + down @ high[:, :, None])[:, :, 0]
