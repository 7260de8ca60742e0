"""Global Lipschitz constants, in l2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skrobust.bounds._base import Bounder
from skrobust.bounds._graph import Graph
from skrobust.threats import Region

__all__ = ["Lipschitz", "constant"]


class Lipschitz(Bounder):
    """``|f(z) - f(x)| <= ||w W_L|| prod_l L_l ||W_l|| ||z - x||``, in l2 and in the units of X.

    Layers multiply their constants, parallel paths add them up. Matrices have their largest
    singular value; large convolutions the bound ``sqrt(||W||_1 ||W||_inf)``; activations their
    steepest slope (SiLU 1.0998, GELU 1.1289). Far from tight, but one number for all rows:
    the cheapest of all bounds, and not fooled by large radii. The length of the movement is that of
    the region, in l2.
    """

    def lower(self, graph: Graph, region: Region, heads: Tensor) -> Tensor:
        with torch.no_grad():
            values = graph.forward(region.x)
        level = (heads @ values[:, :, None])[:, :, 0]
        steep = _heads(graph, heads)
        length = _reach(region)[:, None]
        return level - torch.where(length > 0, steep * length, 0.0) * (1 + 1e-12)


def constant(graph: Graph, upto: int = -1) -> float:
    """A Lipschitz constant of a node's output in the input, in l2."""
    upto = upto % len(graph.nodes)
    found = [1.0]
    for node in graph.nodes[1 : upto + 1]:
        rate = node.op.stretch([graph.nodes[i].shape for i in node.sources])
        before = [found[i] for i in node.sources]
        # of several inputs: ||(a, b)|| <= ||a|| + ||b||, which holds for sums and for columns
        found.append(rate * sum(before) if any(before) else 0.0)
    return found[upto]


def _heads(graph: Graph, heads: Tensor) -> Tensor:
    """The constant (n or 1, m) of each function of the outputs: through the affine end exactly."""
    at, weight = len(graph.nodes) - 1, heads
    while graph.nodes[at].op is not None and graph.nodes[at].op.affine:
        node = graph.nodes[at]
        if len(node.sources) != 1:
            break
        (weight,), _ = node.op.pull(weight, [graph.nodes[node.sources[0]].shape])
        at = node.sources[0]
    rate = constant(graph, at) if at else 1.0
    length = torch.linalg.vector_norm(weight.flatten(2), dim=2)
    return torch.where(length > 0, length * rate, 0.0) if math.isfinite(rate) else length * math.inf


def _reach(region: Region) -> Tensor:
    """How far each row can go, in l2 and in the units of X."""
    far = torch.maximum(region.high - region.x, region.x - region.low).nan_to_num(nan=0.0)
    corner = torch.linalg.vector_norm(far.flatten(1), dim=1)
    ball = getattr(region, "ball", region)
    norm = getattr(ball, "norm", None)
    rules = getattr(getattr(region, "rules", None), "rules", None)
    if norm is None or norm.is_box or (rules is not None and (rules.leaps or rules.derived)):
        return corner
    # l1 and l2 balls: the euclidean length is at most the length in steps
    return torch.minimum(corner, region.radius * float(region.scale.max()))
