"""Linear relaxations, substituted backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.bounds._base import Bounder
from skrobust.bounds._graph import Graph
from skrobust.bounds._support import Room
from skrobust.bounds._walk import Walk
from skrobust.threats import Region

__all__ = ["Crown"]


class Crown(Bounder):
    """Each activation between two lines, each output a linear function of the row (CROWN).

    A question about the outputs, ``<w, f>``, is substituted backwards: through affine layers exactly,
    through activations by the line below where its weight is positive and by the line above where
    it is negative (Zhang et al. 2018, 1811.00866). What arrives at the input is linear, and its worst
    case in the region is exact for every norm, scale and bound. The lines come from bounds of the
    layer, found the same way where it has at most ``width`` entries, by intervals otherwise. Of
    the two answers, this and the interval's, the better one is given, row by row: it is never
    looser.

    Parameters
    ----------
    width : int
        Widest layer that is bounded by substitution itself. The cost of each is that of as many
        questions as it has entries.
    """

    def __init__(self, width: int = 512):
        self.width = width

    def lower(self, graph: Graph, region: Region, heads: Tensor) -> Tensor:
        return self.with_slopes(graph, region, heads)[0]

    def with_slopes(
        self, graph: Graph, region: Region | Room, heads: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The lower bounds (n, m), and the linear functions of the input (n or 1, m, ...) below
        the outputs from which they come."""
        walk = Walk(graph, region, tight=self.width)
        linear = walk.lower(heads)
        slopes = walk.arrived
        if graph.is_straight:
            return linear, slopes
        box = walk.lower(heads, through=False)
        best = torch.maximum(linear.nan_to_num(nan=-torch.inf), box.nan_to_num(nan=-torch.inf))
        return best, slopes
