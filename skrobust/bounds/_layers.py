"""The layers that can be bounded: one entry of a table for each, and how to add one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from skrobust.bounds import _curves as curves
from skrobust.bounds._affine import BatchNorm, Conv, Dense, Rearrange, Reshape
from skrobust.bounds._graph import Graph
from skrobust.bounds._pool import MaxPool
from skrobust.exceptions import UnsupportedEstimatorError, invalid

__all__ = [
    "family_of",
    "known",
    "max_pool",
    "register_layer",
    "supported_layers",
    "unsupported_layer",
]

Lower = Callable[[Graph, int, nn.Module], int]
_layers: dict[type, Lower] = {}
_families: dict[type, Lower] = {}


def register_layer(cls: type, lower: Lower | None = None, *, family: bool = False):
    """Teach the bounds a layer: ``lower(graph, at, layer) -> number of its output node``.

    ``at`` is the node that feeds the layer; ``graph.add(op, at)`` appends a step. Without a
    function it is a decorator. Subclasses that keep ``forward`` are meant too; with ``family``
    also those with a forward of their own, unless they have an entry themselves.

    Examples
    --------
    >>> from skrobust.bounds import Scale, register_layer, trace
    >>> class Double(nn.Module):
    ...     def forward(self, x):
    ...         return 2 * x
    >>> register_layer(Double, lambda graph, at, layer: graph.add(Scale(2.0), at))
    >>> len(trace(nn.Sequential(Double(), nn.Linear(3, 1)), (3,)).nodes)
    3
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise invalid("cls", cls, "a class of torch modules", error=TypeError)
    if lower is not None:
        (_families if family else _layers)[cls] = lower
        return None

    def add(function: Lower) -> Lower:
        _layers[cls] = function
        return function

    return add


def supported_layers() -> list[str]:
    """Names of the layers that can be bounded, beside modules that are made of them.

    >>> {"Conv2d", "SiLU", "BatchNorm1d"} <= set(supported_layers())
    True
    """
    return sorted(cls.__name__ for cls in _layers)


def unsupported_layer(layer: Any, path: str = "", reason: str = "") -> UnsupportedEstimatorError:
    """Build (not raise) the error for a layer without bounds."""
    name = layer if isinstance(layer, str) else type(layer).__name__
    where = f" (at {path!r})" if path else ""
    reason = reason or "has no known sound bounds"
    return UnsupportedEstimatorError(
        f"{name}{where} {reason}, so that nothing can be proven about this model. Supported: "
        f"{', '.join(supported_layers())}, and modules made of them. Teach it with "
        "skrobust.bounds.register_layer, or prove by randomised smoothing, which asks the model only."
    )


def known(cls: type) -> Lower | None:
    """The entry of a class, or of the parent whose forward it keeps."""
    for parent in cls.__mro__:
        if parent in _layers:
            return _layers[parent] if cls.forward is parent.forward else None
    return None


def family_of(module: nn.Module) -> Lower | None:
    """The entry of a family that a module with a forward of its own belongs to."""
    found = (lower for parent, lower in _families.items() if isinstance(module, parent))
    return next(found, None)


# Layers -------------------------------------------------------------------------------------------

for _layer, _make in curves.CURVES.items():
    register_layer(_layer, lambda graph, at, layer, make=_make: graph.add(make(layer), at))
for _layer in (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout):
    register_layer(_layer, lambda graph, at, layer: at)
for _layer in (nn.Conv1d, nn.Conv2d):
    register_layer(_layer, lambda graph, at, layer: graph.add(Conv(layer), at))
for _layer, _axes in ((nn.MaxPool1d, 1), (nn.MaxPool2d, 2)):
    register_layer(
        _layer, lambda graph, at, layer, axes=_axes: graph.add(max_pool(layer, axes), at)
    )
for _layer in (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d):
    register_layer(_layer, lambda graph, at, layer: graph.add(Rearrange(layer, mixes=True), at))
register_layer(nn.Linear, lambda graph, at, layer: graph.add(Dense(layer), at))


def max_pool(layer: nn.Module, axes: int) -> MaxPool:
    """The step of a pooling layer over one or two axes."""
    if layer.return_indices:
        raise unsupported_layer(layer, reason="returns indices")
    return MaxPool(layer, axes)


@register_layer(nn.Flatten)
def _flatten(graph: Graph, at: int, layer: nn.Flatten) -> int:
    if layer.start_dim < 1:
        raise unsupported_layer(layer, reason="mixes the rows of a batch")
    return graph.add(Reshape(layer), at)


@register_layer(nn.Unflatten)
def _unflatten(graph: Graph, at: int, layer: nn.Unflatten) -> int:
    return graph.add(Reshape(layer), at)


def _batch_norm(graph: Graph, at: int, layer: nn.Module) -> int:
    if layer.running_mean is None:
        raise unsupported_layer(layer, reason="without running statistics depends on the batch")
    return graph.add(BatchNorm(layer, len(graph.nodes[at].shape)), at)


register_layer(nn.BatchNorm1d, _batch_norm)
register_layer(nn.BatchNorm2d, _batch_norm)
