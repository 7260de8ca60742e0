"""Functions and methods of tensors inside a module's own ``forward``, as steps of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from skrobust.bounds import _curves as curves
from skrobust.bounds._affine import Add, Cat, Rearrange, Reshape, Scale
from skrobust.bounds._graph import Op
from skrobust.bounds._layers import max_pool, unsupported_layer

__all__ = ["FUNCTIONS", "Value", "single"]


class Value(NamedTuple):
    """The output of a node, while a forward is followed."""

    node: int


def single(value: Any, module: nn.Module, path: str) -> int:
    """The node of a value that must be one tensor that depends on the rows."""
    if not isinstance(value, Value):
        raise unsupported_layer(module, path, "does not return one tensor that depends on the rows")
    return value.node


def _unary(make: Callable[..., Op]) -> Callable:
    """A function of one tensor and options."""

    def lower(graph, module, path, value, *args, **kwargs):
        kwargs.pop("inplace", None)
        return Value(graph.add(make(*args, **kwargs), single(value, module, path)))

    return lower


def _same(graph, module, path, value, *args, **kwargs):
    return value


def _reshape(graph, module, path, value, *sizes):
    sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    row = tuple(sizes[1:])
    if not sizes or any(not isinstance(size, int) for size in sizes) or sizes[0] not in (-1,):
        raise unsupported_layer(f"view{sizes} in {type(module).__name__}", path, _FIRST_AXIS)
    return Value(graph.add(Reshape(lambda x: x.reshape(len(x), *row)), value.node))


_FIRST_AXIS = "does not keep the rows as they are: write view(len(x), ...) or flatten(1)"


def _flat(graph, module, path, value, start_dim=0, end_dim=-1):
    if start_dim < 1:
        raise unsupported_layer(
            f"flatten({start_dim}) in {type(module).__name__}", path, _FIRST_AXIS
        )
    return Value(graph.add(Reshape(lambda x: x.flatten(start_dim, end_dim)), value.node))


def _size(graph, module, path, value, axis=None):
    shape = (-1, *graph.nodes[value.node].shape)  # -1: however many rows there are
    return shape if axis is None else shape[axis]


def _length(graph, module, path, value):
    return -1


def _mean(graph, module, path, value, dim=None, keepdim=False):
    axes = (dim,) if isinstance(dim, int) else tuple(dim or ())
    n_axes = len(graph.nodes[value.node].shape) + 1
    axes = tuple(axis % n_axes for axis in axes)
    if not axes or 0 in axes:
        raise unsupported_layer(f"mean({dim}) in {type(module).__name__}", path, _FIRST_AXIS)
    return Value(graph.add(Rearrange(lambda x: x.mean(axes, keepdim), mixes=True), value.node))


def _add(sign: float) -> Callable:
    def lower(graph, module, path, a, b, alpha=1):
        one, other = isinstance(a, Value), isinstance(b, Value)
        if one and other:
            if graph.nodes[a.node].shape != graph.nodes[b.node].shape:
                raise unsupported_layer(
                    f"a sum in {type(module).__name__}", path, "adds tensors of two shapes"
                )
            return Value(graph.add(Add(sign * alpha), a.node, b.node))
        if one:
            return Value(graph.add(Scale(1.0, sign * alpha * _number(b)), a.node))
        return Value(graph.add(Scale(sign * alpha, _number(a)), b.node))

    return lower


def _times(graph, module, path, a, b):
    if isinstance(a, Value) and isinstance(b, Value):
        raise unsupported_layer(f"a product in {type(module).__name__}", path)
    value, number = (a, b) if isinstance(a, Value) else (b, a)
    return Value(graph.add(Scale(_number(number)), value.node))


def _over(graph, module, path, a, b):
    if isinstance(b, Value):
        raise unsupported_layer(f"a division in {type(module).__name__}", path)
    return Value(graph.add(Scale(1 / _number(b)), a.node))


def _number(value: Any):
    return value.detach().double() if isinstance(value, Tensor) else float(value)


def _negative(graph, module, path, value):
    return Value(graph.add(Scale(-1.0), value.node))


def _cat(graph, module, path, tensors, dim=0):
    if dim != 1 or not all(isinstance(value, Value) for value in tensors):
        raise unsupported_layer(f"cat(dim={dim}) in {type(module).__name__}", path)
    return Value(graph.add(Cat(), *(value.node for value in tensors)))


def _pooled(name: str) -> Callable:
    function = getattr(F, name)

    def lower(graph, module, path, value, *args, **kwargs):
        op = Rearrange(lambda x: function(x, *args, **kwargs), mixes=True)
        return Value(graph.add(op, value.node))

    return lower


def _largest(axes: int) -> Callable:
    layer = (nn.MaxPool1d, nn.MaxPool2d)[axes - 1]

    def lower(graph, module, path, value, *args, **kwargs):
        return Value(graph.add(max_pool(layer(*args, **kwargs), axes), value.node))

    return lower


FUNCTIONS: dict[str, Callable] = {
    "relu": _unary(curves.Hinge),
    "relu_": _unary(curves.Hinge),
    "leaky_relu": _unary(lambda negative_slope=0.01: curves.Hinge(negative_slope)),
    "silu": _unary(lambda: curves.SILU),
    "gelu": _unary(
        lambda approximate="none": curves.GELU if approximate == "none" else curves.GELU_TANH
    ),
    "tanh": _unary(lambda: curves.TANH),
    "sigmoid": _unary(lambda: curves.SIGMOID),
    "logsigmoid": _unary(lambda: curves.LOG_SIGMOID),
    "softplus": _unary(curves.softplus),
    "elu": _unary(lambda alpha=1.0: curves.elu(alpha)),
    "exp": _unary(lambda: curves.EXP),
    "abs": _unary(lambda: curves.ABS),
    "square": _unary(lambda: curves.SQUARE),
    "clamp": _unary(
        lambda min=None, max=None: curves.clip(
            float("-inf") if min is None else min, float("inf") if max is None else max
        )
    ),
    **dict.fromkeys(("to", "double", "float", "contiguous", "dropout", "type_as"), _same),
    **dict.fromkeys(("view", "reshape"), _reshape),
    "flatten": _flat,
    "size": _size,
    "len": _length,
    "mean": _mean,
    **dict.fromkeys(("add", "iadd", "add_"), _add(1.0)),
    **dict.fromkeys(("sub", "isub"), _add(-1.0)),
    **dict.fromkeys(("mul", "imul"), _times),
    **dict.fromkeys(("truediv", "div", "itruediv"), _over),
    **dict.fromkeys(("neg",), _negative),
    **dict.fromkeys(("cat", "concat"), _cat),
    **{name: _pooled(name) for name in ("adaptive_avg_pool1d", "adaptive_avg_pool2d")},
    **{name: _pooled(name) for name in ("avg_pool1d", "avg_pool2d")},
    "max_pool1d": _largest(1),
    "max_pool2d": _largest(2),
}
