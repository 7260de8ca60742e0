"""Provers of whatever has a torch view: affine models exactly, networks by sound bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from skrobust.bounds import (
    Bounder,
    Crown,
    Graph,
    Interval,
    Lipschitz,
    Rearrange,
    Room,
    pairs,
    trace,
)
from skrobust.certificates._base import Prover, Settings
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.metrics._tasks import is_regression
from skrobust.metrics._view import torch_view
from skrobust.threats import Region, Threat

__all__ = ["CrownProver", "IntervalProver", "LinearProver", "LipschitzProver", "NetworkProver"]

FEW = 12  # classes that are compared with each other one by one
CHUNK = 2**20  # numbers in the largest array of one batch of rows


class NetworkProver(Prover):
    """Bounds of the torch view of a model, from raw rows to logits or values, in float64.

    Steps before the model (scalers, encoders, imputers) are part of the view. What is proven is
    the function of real numbers that the weights define; a margin must exceed ``slack`` times the
    largest bound of an output, so that rounding in the model's own arithmetic cannot undo it.
    """

    bounder: Bounder

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        self.threat, self.settings = threat, settings
        view = torch_view(estimator, rows)
        if view is None:
            raise UnsupportedEstimatorError(f"{type(estimator).__name__} has no torch view.")
        self.slack = _slack(view.module, rows)
        module = view.module.double().cpu().eval().requires_grad_(False)
        self.graph = trace(module, rows.values.shape[1:])
        _as_columns(self.graph, is_regression(estimator))
        self._width = max(node.size for node in self.graph.nodes)
        first = torch.as_tensor(rows.values[:1], dtype=torch.float64)
        self.outputs(first, torch.ones(1, dtype=torch.float64))  # a layer may refuse moving rows

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        def one(region: Region, _: Tensor) -> tuple[Tensor, Tensor]:
            low, high = self.bounder.outputs(self.graph, region)
            return _sound(low, -torch.inf), _sound(high, torch.inf)

        return self._by_chunks(one, X, radius, self.graph.output.size)

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        def one(region: Region, rows: Tensor) -> tuple[Tensor]:
            return (self.bounder.margin(self.graph, region, label[rows]) - self._rounding(region),)

        return self._by_chunks(one, X, radius, self.graph.output.size)[0]

    def gaps(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        n_classes = self.graph.output.size
        # a class is never the answer where any other stays above it, not only the row's own
        rivals = [label]
        if 2 < n_classes <= FEW:
            rivals = [torch.full_like(label, j) for j in range(n_classes)]

        def one(region: Region, rows: Tensor) -> tuple[Tensor]:
            best = torch.full((len(rows), n_classes), -torch.inf, dtype=torch.float64)
            for rival in rivals:
                heads = pairs(rival[rows], n_classes, region.x)
                low = _sound(self.bounder.lower(self.graph, region, heads), -torch.inf)
                best = torch.maximum(best, low.scatter(1, rival[rows][:, None], -torch.inf))
            return (best - self._rounding(region)[:, None],)

        found = self._by_chunks(one, X, radius, n_classes)[0]
        return found.scatter(1, label[:, None], torch.inf)

    def _rounding(self, region: Region) -> Tensor:
        """What rounding may cost (n,): a share of the size of the outputs."""
        return self.slack * self.graph.forward(region.x).abs().amax(dim=1)

    def _by_chunks(self, function: Callable, X: Tensor, radius: Tensor, n_heads: int) -> tuple:
        size = max(1, CHUNK // (self._width * max(self.questions, n_heads)))
        found = []
        with torch.no_grad():
            for rows in torch.arange(len(X)).split(size):
                region = self.threat.region(X[rows], radius[rows])
                found.append(function(region, rows))
        return tuple(map(torch.cat, zip(*found, strict=True)))

    @property
    def questions(self) -> int:
        """How many linear functions per row are carried at once."""
        return 1


class LinearProver(NetworkProver):
    """The closed form of affine models: ``margin - radius * ||scale * (w_y - w_k)||_dual``.

    With bounds, frozen and one-way columns the worst place is found coordinate by coordinate; it is
    exact for every norm. Missing values that an imputer fills stay where they are.
    """

    name = "linear"
    bounder = Crown()
    precision = 1e-9

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        super().__init__(estimator, threat, rows, settings)
        if not self.graph.is_straight:
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} is not an affine function of the columns of X."
            )
        first = torch.as_tensor(rows.values[:1], dtype=torch.float64)
        self.exact = Room(threat.region(first, 1.0)).exact


class IntervalProver(NetworkProver):
    """Interval arithmetic: cheap, and good for networks that were trained with it."""

    name = "interval"
    bounder = Interval()


class CrownProver(NetworkProver):
    """Linear relaxations carried backwards, or the interval where that is better."""

    name = "crown"

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        self.bounder = Crown()
        super().__init__(estimator, threat, rows, settings)

    @property
    def questions(self) -> int:
        nodes, bends = self.graph.nodes, self.graph.bends
        tight = [nodes[i].size for i in bends if nodes[i].size <= self.bounder.width]
        return max(tight, default=1)


class LipschitzProver(NetworkProver):
    """One Lipschitz constant in l2 for all rows."""

    name = "lipschitz"
    bounder = Lipschitz()


def _as_columns(graph: Graph, is_values: bool) -> None:
    """Outputs as (n, k); one logit of a classifier is that of the second of two classes."""
    at = len(graph.nodes) - 1
    if graph.nodes[at].shape == ():
        at = graph.add(Rearrange(lambda x: x[:, None]), at)
    if len(graph.nodes[at].shape) != 1:
        raise UnsupportedEstimatorError(
            f"The torch view returns outputs of shape (n, {graph.nodes[at].shape}), not (n, k)."
        )
    if graph.nodes[at].shape == (1,) and not is_values:
        graph.add(Rearrange(lambda x: nn.functional.pad(x, (1, 0))), at)


def _slack(module: nn.Module, rows: Rows) -> float:
    """Relative rounding error granted to a model: 64 units in the last place of its arithmetic.

    Never less than 1e-11, which is what the bounds themselves lose in float64.
    """
    kinds = {value.dtype for value in module.parameters() if value.is_floating_point()}
    kinds = kinds or {torch.as_tensor(rows.values[:0]).dtype}  # a view computes in that of the rows
    return max([1e-11, *(64 * torch.finfo(kind).eps for kind in kinds)])


def _sound(ends: Tensor, unknown: float) -> Tensor:
    """Bounds that are no numbers say nothing."""
    return torch.nan_to_num(ends, nan=unknown, posinf=torch.inf, neginf=-torch.inf)
