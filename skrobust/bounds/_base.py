"""What a bounder is: numbers that the outputs never pass, wherever a row goes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from skrobust.bounds._graph import Box, Graph
from skrobust.bounds._trace import trace
from skrobust.threats import Region, check_threat

__all__ = ["Bounder", "least_margin", "pairs"]


class Bounder(ABC):
    """Encloses all outputs of a network on a region, where an attack searches one place.

    Bounders hold no state; a :class:`Graph` (see :func:`skrobust.bounds.trace`) is made once per
    network and used for many regions.
    """

    @abstractmethod
    def lower(self, graph: Graph, region: Region, heads: Tensor) -> Tensor:
        """Lower bounds (n, m) of linear functions of the outputs.

        ``heads`` (n or 1, m, k) holds m functions per row. They are folded into the last layer, so
        that a difference of two outputs is bounded as one number and not as two.
        """

    def outputs(self, graph: Graph, region: Region) -> Box:
        """Lower and upper bounds (n, k) of the outputs."""
        x, k = region.x, graph.output.size
        eye = torch.eye(k, dtype=x.dtype, device=x.device)
        both = self.lower(graph, region, torch.cat([eye, -eye])[None])
        return Box(both[:, :k], -both[:, k:])

    def margin(self, graph: Graph, region: Region, label: Tensor) -> Tensor:
        """Lower bounds (n,) of ``f_label - max_{k != label} f_k``."""
        k = graph.output.size
        return least_margin(self.lower(graph, region, pairs(label, k, region.x)), label)

    def bound(
        self, module: nn.Module, x: Tensor, threat: Any, radius: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (n, k) of the outputs of a module, within a radius of rows.

        Parameters
        ----------
        module : nn.Module
            From rows to (n, k), in evaluation mode; its layers must be known, see
            :func:`skrobust.bounds.supported_layers`.
        x : Tensor of shape (n, ...)
        threat : {"linf", "l2", "l1"} or bound threat
        radius : float or Tensor of shape (n,)
            In steps of the threat's scale.
        """
        region = check_threat(threat).region(x, radius)
        return tuple(self.outputs(trace(module, tuple(x.shape[1:])), region))


def pairs(label: Tensor, k: int, like: Tensor) -> Tensor:
    """The functions ``f_label - f_j``, (n, k, k); that of the label itself is 0."""
    eye = torch.eye(k, dtype=like.dtype, device=like.device)
    return eye[label][:, None, :] - eye[None]


def least_margin(lower: Tensor, label: Tensor) -> Tensor:
    """The smallest of the differences to the other classes; unknown ones prove nothing."""
    lower = torch.nan_to_num(lower, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    return lower.scatter(1, label[:, None], torch.inf).amin(dim=1)
