"""From a torch module to a :class:`Graph`, layer by layer.

Modules of one's own (residual blocks) are followed through their ``forward`` by ``torch.fx``. What is
not in the tables is an error that names it; nothing is ever passed over.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from skrobust.bounds._functions import FUNCTIONS, Value, single
from skrobust.bounds._graph import Graph
from skrobust.bounds._layers import family_of, known, unsupported_layer

__all__ = ["chain", "follow", "trace"]


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
    lower = known(type(module))
    if lower is not None:
        return lower(graph, at, module)
    if _is_sequence(module):
        for name, part in module._modules.items():  # named_children() skips a layer used twice
            at = chain(graph, at, part, f"{path}.{name}" if path else name)
        return at
    if type(module).__module__.startswith("torch.nn.modules"):
        raise unsupported_layer(module, path)
    lower = family_of(module)
    return follow(graph, at, module, path) if lower is None else lower(graph, at, module)


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


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
            return single(values[step], module, path)
    raise unsupported_layer(module, path, "returns nothing")


def _step(graph, at, module, path, step: fx.Node, values: dict) -> Any:
    args, kwargs = fx.map_arg((step.args, step.kwargs), lambda node: values[node])
    if step.op == "placeholder":
        if any(isinstance(value, Value) for value in values.values()):
            return step.args[0] if step.args else None
        return Value(at)
    if step.op == "output":
        return args[0]
    if step.op == "get_attr":
        return operator.attrgetter(step.target)(module)
    rows = [value for value in (*args, *kwargs.values()) if _holds_value(value)]
    if step.op == "call_module":
        part, name = module.get_submodule(step.target), f"{path}.{step.target}".lstrip(".")
        if len(rows) != 1 or len(args) != 1 or kwargs:
            raise unsupported_layer(part, name, "takes more than one argument")
        return Value(chain(graph, single(args[0], part, name), part, name))
    function, word = step.target, getattr(step.target, "__name__", step.target)
    if not rows:
        return _plain(step, args, kwargs)
    if step.op == "call_function" and function is getattr:
        return _attribute(graph, args, module, path)
    lower = FUNCTIONS.get(word)
    if lower is None or not _is_torch(step):
        raise unsupported_layer(f"{word}() in {type(module).__name__}", path)
    return lower(graph, module, path, *args, **kwargs)


def _holds_value(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and not isinstance(value, Value):
        return any(map(_holds_value, value))
    return isinstance(value, Value)


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
