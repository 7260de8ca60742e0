"""Interval arithmetic."""

from __future__ import annotations

from torch import Tensor

from skrobust.bounds._base import Bounder
from skrobust.bounds._graph import Graph
from skrobust.bounds._walk import Walk
from skrobust.threats import Region

__all__ = ["Interval"]


class Interval(Bounder):
    """Boxes, carried through the network layer by layer (Gowal et al. 2018, 1810.12715).

    An affine layer maps centre and radius, ``c' = W c + b``, ``r' = |W| r``; an activation maps end
    points, and its minimum where it has one inside. The first affine layer knows the region itself
    (in l2 and l1 the dual norm of its rows), the last one is folded into the question. As cheap
    as two forward passes, differentiable, and loose unless the network was trained for it.

    Examples
    --------
    >>> import torch
    >>> from skrobust.bounds import Interval
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
    >>> with torch.no_grad():
    ...     _ = net[0].weight.fill_(2.0), net[0].bias.fill_(-1.0)
    ...     Interval().bound(net, torch.ones(1, 1), "linf", 0.75)
    (tensor([[0.]]), tensor([[2.5000]]))
    """

    def lower(self, graph: Graph, region: Region, heads: Tensor) -> Tensor:
        return Walk(graph, region).lower(heads, through=False)
