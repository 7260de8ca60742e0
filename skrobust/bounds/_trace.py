"""From a torch module to a :class:`Graph`: one entry of a table for each layer that can be bounded.

Modules of one's own (residual blocks) are followed through their ``forward`` by ``torch.fx``. What is
not in the tables is an error that names it; nothing is ever passed over.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from skrobust.bounds import _curves as curves
from skrobust.bounds._affine import Add, BatchNorm, Cat, Conv, Dense, Rearrange, Reshape, Scale
from skrobust.bounds._graph import Graph, Op
from skrobust.bounds._pool import MaxPool
from skrobust.exceptions import UnsupportedEstimatorError, invalid

__all__ = ["chain", "follow", "register_layer", "supported_layers", "trace", "unsupported_layer"]

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


def trace(module: nn.Module, row_shape: tuple[int, ...]) -> Graph:
    """The steps of a module on rows of a shape, in evaluation mode (dropout off, batch norm by its
    statistics). Parameters are shared, not copied.

    Raises
    ------
    UnsupportedEstimatorError
        If some part has no known bounds; the message names it.
    """
    tensors = (*module.parameters(), *module.buffers())
    graph = Graph(row_shape, tensors[0].device if tensors else "cpu")
    chain(graph, 0, module)
    return graph


def chain(graph: Graph, at: int, module: nn.Module, path: str = "") -> int:
    """Append a module's steps behind node ``at``; the number of its output node."""
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        raise unsupported_layer(module, path, "has hooks, which may change what it computes")
    lower = _found(type(module))
    if lower is not None:
        return lower(graph, at, module)
    if _is_sequence(module):
        for name, part in module._modules.items():  # named_children() skips a layer used twice
            at = chain(graph, at, part, f"{path}.{name}" if path else name)
        return at
    if type(module).__module__.startswith("torch.nn.modules"):
        raise unsupported_layer(module, path)
    for parent, lower in _families.items():
        if isinstance(module, parent):
            return lower(graph, at, module)
    return follow(graph, at, module, path)


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


def _found(cls: type) -> Lower | None:
    for parent in cls.__mro__:
        if parent in _layers:
            return _layers[parent] if cls.forward is parent.forward else None
    return None


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


# Layers -------------------------------------------------------------------------------------------

for _layer, _make in curves.CURVES.items():
    register_layer(_layer, lambda graph, at, layer, make=_make: graph.add(make(layer), at))
for _layer in (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout):
    register_layer(_layer, lambda graph, at, layer: at)
for _layer in (nn.Conv1d, nn.Conv2d):
    register_layer(_layer, lambda graph, at, layer: graph.add(Conv(layer), at))
for _layer, _axes in ((nn.MaxPool1d, 1), (nn.MaxPool2d, 2)):
    register_layer(
        _layer, lambda graph, at, layer, axes=_axes: graph.add(_max_pool(layer, axes), at)
    )
for _layer in (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d):
    register_layer(_layer, lambda graph, at, layer: graph.add(Rearrange(layer, mixes=True), at))
register_layer(nn.Linear, lambda graph, at, layer: graph.add(Dense(layer), at))


def _max_pool(layer: nn.Module, axes: int) -> MaxPool:
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


# Modules of one's own, followed through their forward ---------------------------------------------


class _Value(NamedTuple):
    """The output of a node, while a forward is followed."""

    node: int


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return True


def follow(graph: Graph, at: int, module: nn.Module, path: str = "") -> int:
    """Append the steps of a module's own ``forward``."""
    try:
        steps = _Tracer().trace(module)
    except Exception as error:  # fx raises whatever the forward does with a proxy
        reason = f"has a forward that cannot be followed ({error})"
        raise unsupported_layer(module, path, reason) from None
    values: dict[fx.Node, Any] = {}
    for step in steps.nodes:
        values[step] = _step(graph, at, module, path, step, values)
        if step.op == "output":
            return _single(values[step], module, path)
    raise unsupported_layer(module, path, "returns nothing")


def _single(value: Any, module: nn.Module, path: str) -> int:
    if not isinstance(value, _Value):
        raise unsupported_layer(module, path, "does not return one tensor that depends on the rows")
    return value.node


def _step(graph, at, module, path, step: fx.Node, values: dict) -> Any:
    args, kwargs = fx.map_arg((step.args, step.kwargs), lambda node: values[node])
    if step.op == "placeholder":
        if any(isinstance(value, _Value) for value in values.values()):
            return step.args[0] if step.args else None
        return _Value(at)
    if step.op == "output":
        return args[0]
    if step.op == "get_attr":
        return operator.attrgetter(step.target)(module)
    rows = [value for value in (*args, *kwargs.values()) if _holds_value(value)]
    if step.op == "call_module":
        part, name = module.get_submodule(step.target), f"{path}.{step.target}".lstrip(".")
        if len(rows) != 1 or len(args) != 1 or kwargs:
            raise unsupported_layer(part, name, "takes more than one argument")
        return _Value(chain(graph, _single(args[0], part, name), part, name))
    function, word = step.target, getattr(step.target, "__name__", step.target)
    if not rows:
        return _plain(step, args, kwargs)
    if step.op == "call_function" and function is getattr:
        return _attribute(graph, args, module, path)
    known = _FUNCTIONS.get(word)
    if known is None or not _is_torch(step):
        raise unsupported_layer(f"{word}() in {type(module).__name__}", path)
    return known(graph, module, path, *args, **kwargs)


def _holds_value(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and not isinstance(value, _Value):
        return any(map(_holds_value, value))
    return isinstance(value, _Value)


def _is_torch(step: fx.Node) -> bool:
    if step.op == "call_method":
        return True
    home = getattr(step.target, "__module__", None) or ""
    return home.startswith(("torch", "_operator", "math"))


def _plain(step: fx.Node, args, kwargs) -> Any:
    """A step on numbers alone."""
    if step.op == "call_method":
        return getattr(args[0], step.target)(*args[1:], **kwargs)
    return step.target(*args, **kwargs)


def _attribute(graph: Graph, args, module, path) -> Any:
    value, name = args[0], args[1]
    if name == "shape":
        return (-1, *graph.nodes[value.node].shape)
    if name == "ndim":
        return 1 + len(graph.nodes[value.node].shape)
    if name == "dtype":
        return torch.float64
    raise unsupported_layer(f"attribute {name!r} in {type(module).__name__}", path)


def _unary(make: Callable[..., Op]) -> Callable:
    """A function of one tensor and options."""

    def lower(graph, module, path, value, *args, **kwargs):
        kwargs.pop("inplace", None)
        return _Value(graph.add(make(*args, **kwargs), _single(value, module, path)))

    return lower


def _same(graph, module, path, value, *args, **kwargs):
    return value


def _reshape(graph, module, path, value, *sizes):
    sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    row = tuple(sizes[1:])
    if not sizes or any(not isinstance(size, int) for size in sizes) or sizes[0] not in (-1,):
        raise unsupported_layer(f"view{sizes} in {type(module).__name__}", path, _FIRST_AXIS)
    return _Value(graph.add(Reshape(lambda x: x.reshape(len(x), *row)), value.node))


_FIRST_AXIS = "does not keep the rows as they are: write view(len(x), ...) or flatten(1)"


def _flat(graph, module, path, value, start_dim=0, end_dim=-1):
    if start_dim < 1:
        raise unsupported_layer(
            f"flatten({start_dim}) in {type(module).__name__}", path, _FIRST_AXIS
        )
    return _Value(graph.add(Reshape(lambda x: x.flatten(start_dim, end_dim)), value.node))


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
    return _Value(graph.add(Rearrange(lambda x: x.mean(axes, keepdim), mixes=True), value.node))


def _add(sign: float) -> Callable:
    def lower(graph, module, path, a, b, alpha=1):
        one, other = isinstance(a, _Value), isinstance(b, _Value)
        if one and other:
            if graph.nodes[a.node].shape != graph.nodes[b.node].shape:
                raise unsupported_layer(
                    f"a sum in {type(module).__name__}", path, "adds tensors of two shapes"
                )
            return _Value(graph.add(Add(sign * alpha), a.node, b.node))
        if one:
            return _Value(graph.add(Scale(1.0, sign * alpha * _number(b)), a.node))
        return _Value(graph.add(Scale(sign * alpha, _number(a)), b.node))

    return lower


def _times(graph, module, path, a, b):
    if isinstance(a, _Value) and isinstance(b, _Value):
        raise unsupported_layer(f"a product in {type(module).__name__}", path)
    value, number = (a, b) if isinstance(a, _Value) else (b, a)
    return _Value(graph.add(Scale(_number(number)), value.node))


def _over(graph, module, path, a, b):
    if isinstance(b, _Value):
        raise unsupported_layer(f"a division in {type(module).__name__}", path)
    return _Value(graph.add(Scale(1 / _number(b)), a.node))


def _number(value: Any):
    return value.detach().double() if isinstance(value, Tensor) else float(value)


def _negative(graph, module, path, value):
    return _Value(graph.add(Scale(-1.0), value.node))


def _cat(graph, module, path, tensors, dim=0):
    if dim != 1 or not all(isinstance(value, _Value) for value in tensors):
        raise unsupported_layer(f"cat(dim={dim}) in {type(module).__name__}", path)
    return _Value(graph.add(Cat(), *(value.node for value in tensors)))


def _pooled(name: str) -> Callable:
    function = getattr(F, name)

    def lower(graph, module, path, value, *args, **kwargs):
        op = Rearrange(lambda x: function(x, *args, **kwargs), mixes=True)
        return _Value(graph.add(op, value.node))

    return lower


def _largest(axes: int) -> Callable:
    layer = (nn.MaxPool1d, nn.MaxPool2d)[axes - 1]

    def lower(graph, module, path, value, *args, **kwargs):
        return _Value(graph.add(_max_pool(layer(*args, **kwargs), axes), value.node))

    return lower


_FUNCTIONS: dict[str, Callable] = {
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
