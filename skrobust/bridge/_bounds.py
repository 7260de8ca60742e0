"""Sound bounds of the modules that stand for scikit-learn objects: one entry for each.

A view that is not listed here can still be passed where its input does not move (frozen columns,
text that stays); where it can move, the error names it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skrobust.bounds import (
    Add,
    Box,
    Cat,
    Dense,
    Fill,
    Op,
    Rearrange,
    Scale,
    Staircase,
    chain,
    curves,
    follow,
    register_layer,
    unsupported_layer,
)
from skrobust.bounds import Graph as G
from skrobust.bridge import _bayes, _encoders, _ensemble, _features, _functions, _impute, _scalers
from skrobust.bridge import _views as views
from skrobust.exceptions import UnsupportedEstimatorError


class Still(Op):
    """Any module, where its input is one point; an error where it is more."""

    def __init__(self, module: nn.Module, error: Exception):
        self.module, self.error = module, error

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)

    def interval(self, *boxes: Box) -> Box:
        low, high = boxes[0]
        if not ((low == high) | (low.isnan() & high.isnan())).all():
            raise self.error
        value = self.module(low)
        return Box(value, value)

    def pull(self, weight, shapes, boxes=None):
        return _level(weight, self.interval(*boxes).low, shapes[0])


class Table(Op):
    """One column of category numbers, looked up in a table (see ``Lookup``)."""

    def __init__(self, layer: nn.Module):
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def interval(self, *boxes: Box) -> Box:
        near, table = self._near(boxes[0]), self.layer.table
        rows = near[:, :, None]
        low = torch.where(rows, table.nan_to_num(torch.inf), torch.inf).amin(dim=1)
        high = torch.where(rows, table.nan_to_num(-torch.inf), -torch.inf).amax(dim=1)
        return Box(low, high)

    def pull(self, weight, shapes, boxes=None):
        """The least ``<w, row of the table>`` among the rows within reach: nothing is lost."""
        near = self._near(boxes[0])
        table = self.layer.table
        values = weight @ table.T.nan_to_num(0.0)  # (n or 1, m, categories + 1)
        least = torch.where(near[:, None], values, torch.inf).amin(dim=2)
        return [weight.new_zeros(len(least), weight.shape[1], *shapes[0])], least

    def _near(self, box: Box) -> Tensor:
        """Which categories (n, n_categories + 1) the column may hold; the last: unknown ones."""
        low, high = box
        known = self.layer.categories
        missing = low.isnan() & known.isnan()
        near = ((low <= known) & (known <= high)) | missing
        still = (low == high) | low.isnan()
        unknown = torch.where(still, ~near.any(dim=1, keepdim=True), True)
        refused = self.layer.table[-1].isnan().any()  # the estimator would not take such a row
        unknown = unknown & (~refused | ~near.any(dim=1, keepdim=True))
        return torch.cat([near, unknown], dim=1)


def _level(weight: Tensor, value: Tensor, shape: tuple[int, ...]):
    flat = value.flatten(1)
    total = (weight.flatten(2) @ flat[:, :, None])[:, :, 0]
    return [weight.new_zeros(len(flat), weight.shape[1], *shape)], total


def _any_view(graph: G, at: int, layer: nn.Module) -> int:
    """A view without an entry: followed through its forward, or passed where nothing moves."""
    before = len(graph.nodes)
    try:
        return follow(graph, at, layer)
    except UnsupportedEstimatorError:
        del graph.nodes[before:]
        return graph.add(Still(layer, unsupported_layer(layer)), at)


def _beside(graph: G, at: int, layer: nn.Module) -> int:
    if not len(layer.parts):
        return graph.add(Rearrange(lambda x: x[:, :0]), at)
    return graph.add(Cat(), *(chain(graph, at, part) for part in layer.parts))


def _cast(graph: G, at: int, layer: nn.Module) -> int:
    at = chain(graph, at, layer[0])
    if graph.nodes[at].shape == ():
        at = graph.add(Rearrange(lambda x: x[:, None]), at)
    if layer.two_classes and graph.nodes[at].shape == (1,):
        at = graph.add(Rearrange(lambda x: nn.functional.pad(x, (1, 0))), at)
    return at


def _shift(graph: G, at: int, layer: nn.Module) -> int:
    scale = 1.0 if layer.scale is None else 1 / layer.scale
    offset = 0.0 if layer.center is None else -layer.center * scale
    return graph.add(Scale(scale, offset), at)


def _fill(graph: G, at: int, layer: nn.Module) -> int:
    if math.isnan(layer.marker):
        return graph.add(Fill(layer.values), at)
    return graph.add(Still(layer, unsupported_layer(layer)), at)


def _missing(graph: G, at: int, layer: nn.Module) -> int:
    if math.isnan(layer.marker):
        return graph.add(Staircase(layer), at)
    return graph.add(Still(layer, unsupported_layer(layer)), at)


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=1, keepdim=True)


def _squares(graph: G, at: int, layer: nn.Module) -> int:
    at = graph.add(Rearrange(_sum, mixes=True), graph.add(curves.SQUARE, at))
    return graph.add(Scale(-layer.factor, layer.offset), at)


def _farness(graph: G, at: int, layer: nn.Module) -> int:
    at = graph.add(Rearrange(_sum, mixes=True), graph.add(curves.ABS, at))
    return graph.add(Scale(-1.0), at)


def _mean(graph: G, at: int, layer: nn.Module) -> int:
    total = None
    for weight, part in zip(layer.weights.tolist(), layer.parts, strict=True):
        one = graph.add(Scale(weight), chain(graph, at, part))
        total = one if total is None else graph.add(Add(), total, one)
    return total


_RISING = {
    "arctan",
    "cbrt",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log10",
    "log1p",
    "log2",
    "sqrt",
    "tanh",
}
_BY_NAME = {
    "exp": curves.EXP,
    "tanh": curves.TANH,
    "square": curves.SQUARE,
    "abs": curves.ABS,
    "absolute": curves.ABS,
}


def _ufunc(graph: G, at: int, layer: nn.Module) -> int:
    if layer.name in _BY_NAME:
        return graph.add(_BY_NAME[layer.name], at)
    if layer.name in _RISING:
        return graph.add(Staircase(layer), at)
    return graph.add(Still(layer, unsupported_layer(f"numpy.{layer.name}")), at)


register_layer(views.View, _any_view, family=True)
register_layer(views.Columns, lambda graph, at, layer: at)
register_layer(views.Cast, _cast)
register_layer(views.Beside, _beside)
register_layer(views.Affine, lambda graph, at, layer: graph.add(Dense(layer), at))
register_layer(views.Shift, _shift)
register_layer(
    views.Stretch, lambda graph, at, layer: graph.add(Scale(layer.factor, layer.offset), at)
)
register_layer(views.Take, lambda graph, at, layer: graph.add(Rearrange(layer), at))
register_layer(
    views.Clip, lambda graph, at, layer: graph.add(curves.clip(layer.low, layer.high), at)
)
register_layer(views.Exp, lambda graph, at, layer: graph.add(curves.EXP, at))
register_layer(_scalers.Above, lambda graph, at, layer: graph.add(Staircase(layer), at))
register_layer(_impute.Fill, _fill)
register_layer(_impute.Missing, _missing)
register_layer(_encoders.Lookup, lambda graph, at, layer: graph.add(Table(layer), at))
register_layer(_bayes.Squares, _squares)
register_layer(_bayes.Farness, _farness)
register_layer(_ensemble.Mean, _mean)
register_layer(_features.Power, lambda graph, at, layer: graph.add(Staircase(layer), at))
register_layer(_functions.Ufunc, _ufunc)
