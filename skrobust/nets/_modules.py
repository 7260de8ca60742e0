"""Networks by name, and the frame around every network (input conditioning, casts).

A factory takes the shape of one row (``n_features`` for tables, ``(channels, length)`` for series,
``(channels, height, width)`` for images) and the number of outputs, and returns a fresh module of
logits. An instance would keep its weights through ``clone`` and leak them into every fold.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from skrobust._torch import evaluating, seeded, to_tensor
from skrobust.exceptions import invalid
from skrobust.nets._additive import Additive
from skrobust.nets._first_layer import first_convolution, suits
from skrobust.nets._lines import ColumnSum

__all__ = ["MODULES", "Network", "build_network", "check_module", "cnn", "conv1d", "linear", "mlp"]

Shape = tuple[int, ...]


def linear(shape: Shape, n_outputs: int) -> nn.Module:
    """One affine layer: logistic or linear regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), n_outputs))


def mlp(shape: Shape, n_outputs: int, hidden: tuple[int, ...] = (64, 64)) -> nn.Module:
    """Fully connected network with ReLU, for tables."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(shape)
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, n_outputs))


def cnn(shape: Shape, n_outputs: int) -> nn.Module:
    """Two convolutions (16, 32 channels), pooling, one dense layer of 100, for images."""
    channels, height, width = _needs(shape, 3, "cnn", "(n, channels, height, width)")
    size, pooled = (-(-height // 4), -(-width // 4)), (_pooled(height), _pooled(width))
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),  # the largest of four ReLUs is the ReLU of the largest
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.ReLU(),
        *([] if size == pooled else [nn.AdaptiveAvgPool2d(pooled)]),
        nn.Flatten(),
        nn.Linear(32 * prod(pooled), 100),
        nn.ReLU(),
        nn.Linear(100, n_outputs),
    )


def conv1d(shape: Shape, n_outputs: int) -> nn.Module:
    """Two 1-D convolutions (32, 64 channels), pooling, one dense layer of 64, for series."""
    channels, length = _needs(shape, 2, "conv1d", "(n, channels, length)")
    pooled = _pooled(length, most=16)
    return nn.Sequential(
        nn.Conv1d(channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.Conv1d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.AdaptiveAvgPool1d(pooled),
        nn.Flatten(),
        nn.Linear(64 * pooled, 64),
        nn.ReLU(),
        nn.Linear(64, n_outputs),
    )


MODULES: dict[str, Callable[[Shape, int], nn.Module]] = {
    "linear": linear,
    "additive": Additive(),
    "mlp": mlp,
    "cnn": cnn,
    "conv1d": conv1d,
}
_BY_DIMENSION = {1: "mlp", 2: "conv1d", 3: "cnn"}


def _pooled(size: int, most: int = 8) -> int:
    """Side length after two poolings by 2, at most ``most``."""
    return min(-(-size // 4), most)


def _needs(shape: Shape, n_axes: int, name: str, wanted: str) -> Shape:
    if len(shape) != n_axes:
        raise invalid(
            "module",
            name,
            f"a network for rows of shape {shape}; {name!r} needs X of shape {wanted}",
            "Reshape X, or use module='auto', which reads the shape of X.",
        )
    return shape


def check_module(module, shape: Shape) -> Callable[[Shape, int], nn.Module]:
    """The factory behind ``module``: a name, ``"auto"``, or the user's own function or class."""
    if isinstance(module, nn.Module):
        raise invalid(
            "module",
            type(module).__name__ + "(...)",
            "a factory (n_features or shape, n_outputs) -> nn.Module, or a name",
            "An instance keeps its weights through clone() and into every fold; pass a function "
            "or class that builds it.",
            TypeError,
        )
    if isinstance(module, str) and module == "auto":
        if len(shape) not in _BY_DIMENSION:
            raise invalid(
                "module", "auto", f"a factory for rows of {len(shape)} axes", "", ValueError
            )
        return MODULES[_BY_DIMENSION[len(shape)]]
    if isinstance(module, str) and module in MODULES:
        return MODULES[module]
    if callable(module):
        return module
    allowed = f"one of {['auto', *MODULES]} or a factory (n_features or shape, n_outputs)"
    raise invalid(
        "module", module, allowed, "", ValueError if isinstance(module, str) else TypeError
    )


class Network(nn.Module):
    """The user's rows in, float32 logits out: ``body((front(x) - mean) / spread)``.

    ``front`` is the torch view of a preprocessor, ``mean`` and ``spread`` condition the input of
    the named modules, so that raw units train as well as scaled ones. Both leave the threat where
    it is: in the columns of the rows given. Arithmetic before the body keeps the width of the rows
    (a float64 column of 1e9 with spread 1 survives); the body runs in float32.

    ``plan`` is what builds the same network again: module, row_shape, body_shape, n_outputs.
    """

    def __init__(self, plan: dict, front: nn.Module | None):
        super().__init__()
        self.plan, self.front = plan, front
        self.row_shape, self.n_outputs = plan["row_shape"], plan["n_outputs"]
        body_shape = plan["body_shape"]
        factory = check_module(plan["module"], body_shape)
        self.conditioned = any(factory is known for known in MODULES.values())
        whole_shape = self.conditioned or len(body_shape) > 1
        self.body = factory(body_shape if whole_shape else body_shape[0], self.n_outputs)
        if not isinstance(self.body, nn.Module):
            raise invalid(
                "module",
                plan["module"],
                "a factory that returns an nn.Module",
                f"It returned {type(self.body).__name__}.",
                TypeError,
            )
        per_channel = (body_shape[0], *[1] * (len(body_shape) - 1))
        self.register_buffer("mean", torch.zeros(per_channel, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(per_channel, dtype=torch.float64))
        self._narrow: tuple | None = None  # mean and spread in another type, and where from
        self._lead = [next(self.body.parameters(), None)]
        self.mode_matters = any(map(_mode_matters, self.body.modules()))
        self.has_quick_start = (
            self.conditioned
            and isinstance(self.body, nn.Sequential)
            and suits(next(iter(self.body)))
        )
        self._arrange(body_shape)

    def _arrange(self, body_shape: Shape) -> None:
        """Channels last, unless a module of the user's own relies on the other order (``x.view``)."""
        if not any(isinstance(part, nn.Conv2d) for part in self.body.modules()):
            return
        _to_channels_last(self.body)
        if self.conditioned:
            return
        lead = self._lead[0]
        rows = torch.zeros(2, *body_shape, dtype=self.width, device=lead.device)
        try:
            with evaluating(self.body) as body, torch.no_grad():
                body(rows)
        except Exception:  # if it was not the order, the same error comes where it can be explained
            _to_channels_first(self.body)

    def forward(self, x: Tensor) -> Tensor:
        if self.front is not None:
            x = self.front(x)
        mean, spread = self._conditioning(x.dtype)
        x = ((x - mean) / spread).to(self.width)
        if self.has_quick_start and x.requires_grad and x.device.type == "cpu":
            return self._quick(x)
        return self.body(x)

    def _conditioning(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Mean and spread in the type of the rows, converted once as long as they stay."""
        mean, spread = self.mean, self.spread
        if mean.dtype == dtype:
            return mean, spread
        known, versions = self._narrow, (dtype, mean._version, spread._version)
        if known is None or known[0] != versions or known[1] is not mean or known[2] is not spread:
            self._narrow = known = (versions, mean, spread, mean.to(dtype), spread.to(dtype))
        return known[3:]

    def _quick(self, x: Tensor) -> Tensor:
        """The body, for whoever wants the gradient with respect to the rows."""
        first, *others = self.body
        x = first_convolution(x, first)
        for layer in others:
            x = layer(x)
        return x

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        parts = (value for name, value in state_dict.items() if name.startswith(prefix + "body."))
        if any(value.dtype == torch.float64 for value in parts):  # fitted in double precision
            self.body.double()
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def is_affine(self) -> bool:
        """Whether the body is made of affine layers alone (False when in doubt)."""
        leaves = [part for part in self.body.modules() if not list(part.children())]
        return all(type(part) in (nn.Linear, nn.Flatten, nn.Identity) for part in leaves)

    @property
    def depth(self) -> int:
        """Number of matrices and banks of filters in the body."""
        return sum(parameter.ndim > 1 for parameter in self.body.parameters())

    @property
    def width(self) -> torch.dtype:
        """Floating-point type that the body computes in."""
        lead = self._lead[0]
        return torch.float32 if lead is None else lead.dtype

    def settled(self) -> Network:
        """A frozen copy for prediction and evaluation; named networks of tables in float64.

        There float32 would let a row's output depend, in the last digits, on how many rows are
        predicted with it. Images and series stay in float32, where speed counts.
        """
        network = copy.deepcopy(self).requires_grad_(False).eval()
        if self.conditioned and len(self.row_shape) == 1:
            network.double()
        return network

    def condition(self, rows: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Learn mean and standard deviation per column (tables) or channel (series, images)."""
        axes = (0, *range(2, rows.ndim))
        if weight is None:
            mean = rows.mean(axis=axes, dtype=np.float64)
            spread = rows.std(axis=axes, dtype=np.float64)
        else:
            mean = np.average(rows, axis=0, weights=weight)
            spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
        spread[spread <= 1e-12 * np.maximum(1.0, np.abs(mean))] = 1.0
        self.mean.copy_(torch.as_tensor(mean).reshape(self.mean.shape))
        self.spread.copy_(torch.as_tensor(spread).reshape(self.spread.shape))


def _to_channels_last(body: nn.Module) -> None:
    """Images with their channels last in memory: pooling on a CPU is ten times faster so, and a
    GPU's convolutions in half precision know nothing else.

    torch takes the hint from the weights of a convolution. With one channel both orders are the
    same numbers and ``to`` changes nothing, so that the strides are written out.
    """
    body.to(memory_format=torch.channels_last)
    for part in body.modules():
        if isinstance(part, nn.Conv2d) and part.weight.shape[1] == 1:
            n, c, h, w = part.weight.shape
            part.weight.data = part.weight.data.as_strided((n, c, h, w), (h * w, 1, w, 1))


def _to_channels_first(body: nn.Module) -> None:
    for part in body.modules():
        if isinstance(part, nn.Conv2d):  # a copy: with one channel the strides tell both orders
            part.weight.data = part.weight.data.clone(memory_format=torch.contiguous_format)


def _mode_matters(part: nn.Module) -> bool:
    """Whether a layer may act differently while training; unknown layers may."""
    if not type(part).__module__.startswith("torch.nn"):
        return True
    name = type(part).__name__
    return any(word in name for word in ("Dropout", "BatchNorm", "InstanceNorm", "RReLU"))


def build_network(
    module, row_shape: Shape, seen: np.ndarray, n_outputs: int, front: nn.Module | None, seed: int
) -> Network:
    """A fresh network for rows of ``row_shape`` whose body sees rows like ``seen``."""
    plan = {
        "module": module,
        "row_shape": tuple(row_shape),
        "body_shape": tuple(seen.shape[1:]),
        "n_outputs": n_outputs,
    }
    with seeded(seed):
        network = Network(plan, front)
    if network.conditioned and not isinstance(network.body, ColumnSum):
        network.condition(seen)
    _check_outputs(network, seen[:2])
    return network


def _check_outputs(network: Network, rows: np.ndarray) -> None:
    with evaluating(network.body) as body, torch.no_grad():
        found = body(to_tensor(rows).float())
    if found.shape != (len(rows), network.n_outputs):
        module = network.plan["module"]
        raise invalid(
            "module",
            getattr(module, "__name__", module),
            f"a network with outputs of shape (n, {network.n_outputs})",
            f"For {len(rows)} rows it returned {tuple(found.shape)}.",
        )
