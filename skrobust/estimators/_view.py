"""A fitted network as a function of raw rows, for whoever attacks or certifies it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from skrobust.bounds import Graph, Scale, chain, register_layer
from skrobust.nets import LineSum, Network

__all__ = ["NetView"]


class NetView(nn.Module):
    """Rows to ``network(rows) * spread + mean`` in the width of the rows; a frozen copy."""

    def __init__(self, network: Network, mean=0.0, spread=1.0):
        super().__init__()
        self.network = network.settled()
        device = next(network.parameters()).device
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64, device=device))
        self.register_buffer("spread", torch.as_tensor(spread, dtype=torch.float64, device=device))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        output = self.network(x).to(x.dtype)
        return output * self.spread.to(x.dtype) + self.mean.to(x.dtype)

    def as_lines(self) -> LineSum | None:
        """The same as one sum of piecewise linear functions; None for other networks."""
        body, network = self.network.body, self.network
        plain = network.front is None and not network.mean.any() and (network.spread == 1).all()
        if not isinstance(body, LineSum) or not plain:
            return None
        lines = copy.deepcopy(body).double().cpu().requires_grad_(False)
        mean, spread = self.mean.cpu(), self.spread.cpu()
        lines.values.mul_(spread.reshape(-1, 1, 1))
        lines.bias.mul_(spread).add_(mean)
        return lines


@register_layer(NetView)
def _bounds(graph: Graph, at: int, view: NetView) -> int:
    return graph.add(Scale(view.spread, view.mean), chain(graph, at, view.network))
