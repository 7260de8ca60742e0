"""Sound bounds of the frame around every network."""

from __future__ import annotations

from skrobust.bounds import Graph, Scale, chain, register_layer
from skrobust.nets._modules import Network


@register_layer(Network)
def _network(graph: Graph, at: int, network: Network) -> int:
    if network.front is not None:
        at = chain(graph, at, network.front)
    scale = 1 / network.spread
    at = graph.add(Scale(scale, -network.mean * scale), at)
    return chain(graph, at, network.body, "body")
