"""The small torch modules that views are built from, and what can be asked of them.

Every module here keeps its numbers as float64 buffers and casts them to the type of the rows it is
given, so that a float64 table is evaluated in float64 and float32 images stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from skrobust.exceptions import invalid
from skrobust.nets import StepSum

__all__ = [
    "Affine",
    "Beside",
    "Cast",
    "Chain",
    "Clip",
    "Columns",
    "Exp",
    "Shift",
    "Stretch",
    "Take",
    "View",
    "affine_map",
    "has_steps",
    "is_affine",
]


class View(nn.Module):
    """Base of the modules that stand for scikit-learn objects.

    Attributes
    ----------
    affine : bool
        Whether ``forward`` is ``x -> W x + b`` on *all* rows, those with NaN included. A certificate
        relies on it, so it is False unless a class says True, and a subclass that brings its own
        ``forward`` must say it again.
    steps : bool
        Whether some output jumps, so that a gradient is zero although the output does change
        (binning, one-hot columns). A gradient attack alone is not enough there.
    """

    affine = False
    steps = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls) and "affine" not in vars(cls):
            cls.affine = False

    def keep(self, name: str, values, dtype=np.float64) -> None:
        """Store a *copy* of ``values`` as a buffer; None stays None."""
        if values is not None:
            values = torch.from_numpy(np.array(values, dtype=dtype))
        self.register_buffer(name, values)

    def like(self, name: str, x: Tensor) -> Tensor:
        """The buffer ``name`` in the type of ``x``."""
        return getattr(self, name).to(x.dtype)


class Columns(View):
    """Let rows of ``n_features`` numbers pass unchanged; anything else is an error."""

    affine = True

    def __init__(self, n_features: int, owner: str):
        super().__init__()
        self.n_features, self.owner = int(n_features), owner

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.n_features:
            allowed = f"rows of shape (n, {self.n_features})"
            hint = f"{self.owner} was fitted on {self.n_features} features."
            raise invalid("shape of X", tuple(x.shape), allowed, hint)
        if not x.is_floating_point():
            hint = "Call X.double() first."
            raise invalid("dtype of X", x.dtype, "a floating point type", hint, TypeError)
        return x

    def extra_repr(self) -> str:
        return f"{self.n_features}"


class Chain(View, nn.Sequential):
    """One module after the other; chains inside it are unrolled. Empty, it is the identity."""

    def __init__(self, *parts: nn.Module):
        flat: list[nn.Module] = []
        for part in parts:
            flat.extend(part if type(part) is Chain else [part])
        super().__init__(*flat)

    @property
    def affine(self) -> bool:
        return all(is_affine(part) for part in self)


class Beside(View):
    """The outputs of several modules on the same rows, as columns side by side."""

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1) if len(self.parts) else x[:, :0]

    @property
    def affine(self) -> bool:
        return all(is_affine(part) for part in self.parts)


class Cast(View, nn.Sequential):
    """A network of another's making, run in the type of its own parameters.

    Rows of any float type come in, and the answer leaves in the type of the rows as (n, n_outputs).
    With ``two_classes``, a single logit d becomes the columns (0, d).
    """

    def __init__(self, module: nn.Module, two_classes: bool = False):
        super().__init__(module)
        self.two_classes = two_classes

    def forward(self, x: Tensor) -> Tensor:
        floats = (p.dtype for p in self.parameters() if p.is_floating_point())
        found = self[0](x.to(next(floats, x.dtype))).to(x.dtype)
        if found.ndim == 1:
            found = found[:, None]
        if self.two_classes and found.shape[1] == 1:
            found = nn.functional.pad(found, (1, 0))
        return found

    @property
    def affine(self) -> bool:
        # Rows rounded to float32 on the way in make a staircase, not a plane.
        wide = all(p.dtype == torch.float64 for p in self.parameters())
        return wide and is_affine(self[0])


class Affine(View):
    """``x -> x W' + b`` with ``weight`` W (n_outputs, n_features) and ``bias`` b (n_outputs,)."""

    affine = True

    def __init__(self, weight, bias=None):
        super().__init__()
        self.keep("weight", weight)
        bias = np.zeros(len(self.weight)) if bias is None else np.asarray(bias, dtype=np.float64)
        self.keep("bias", np.broadcast_to(bias.reshape(-1), len(self.weight)))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.like("weight", x), self.like("bias", x))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}"


class Shift(View):
    """``x -> (x - center) / scale`` per column; either may be None."""

    affine = True

    def __init__(self, center=None, scale=None):
        super().__init__()
        self.keep("center", center)
        self.keep("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.center is not None:
            x = x - self.like("center", x)
        return x if self.scale is None else x / self.like("scale", x)


class Stretch(View):
    """``x -> x * factor + offset`` per column."""

    affine = True

    def __init__(self, factor=1.0, offset=0.0):
        super().__init__()
        self.keep("factor", factor)
        self.keep("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.like("factor", x) + self.like("offset", x)


class Take(View):
    """Some of the columns, in the order given."""

    affine = True

    def __init__(self, columns):
        super().__init__()
        self.keep("columns", columns, dtype=np.int64)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.columns)

    def extra_repr(self) -> str:
        return f"{len(self.columns)} columns"


class Clip(View):
    """``x -> min(max(x, low), high)`` with one pair of numbers for all columns."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = float(low), float(high)

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


class Exp(View):
    """``x -> exp(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def is_affine(module: nn.Module) -> bool:
    """Whether ``module`` is certain to be an affine map ``x -> W x + b``.

    Certificates for linear models rest on the answer: it is False when in doubt (unknown modules,
    hooks, an imputer, whose map depends on which entries are missing). ``affine`` attributes count
    on :class:`View` only: torch's own norm layers carry one that means something else.

    >>> is_affine(Chain(Shift(scale=[2.0]), Affine([[1.0]])))
    True
    >>> is_affine(nn.BatchNorm1d(1))
    False
    """
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return False
    if isinstance(module, View):
        return module.affine is True
    kind = type(module)
    if kind is nn.Sequential:
        return all(is_affine(part) for part in module)
    if kind is nn.Flatten:
        return module.start_dim == 1 and module.end_dim == -1
    return kind in (nn.Linear, nn.Identity)


def has_steps(module: nn.Module) -> bool:
    """Whether a known part of ``module`` jumps, so that its gradients hide changes of the output.

    >>> has_steps(Affine([[1.0]]))
    False
    """
    return any(part.steps for part in module.modules() if isinstance(part, (View, StepSum)))


def affine_map(module: nn.Module, n_features: int) -> tuple[Tensor, Tensor]:
    """``weight`` (n_outputs, n_features) and ``bias`` (n_outputs,) of an affine module, float64.

    The weight is read off as a gradient, which loses no digits to a large bias.

    Raises
    ------
    ValueError
        If the module is not known to be affine.

    >>> affine_map(Chain(Shift([1.0], [2.0]), Affine([[4.0]], [1.0])), 1)
    (tensor([[2.]], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    if not is_affine(module):
        raise invalid("module", type(module).__name__, "an affine module (see is_affine)")
    found = next(module.parameters(), next(module.buffers(), torch.empty(0)))
    origin = torch.zeros(1, n_features, dtype=torch.float64, device=found.device)
    bias = module(origin)[0].detach()
    with torch.enable_grad():
        rows = origin.repeat(len(bias), 1).requires_grad_(True)
        # Row k asks for output k: one backward pass gives the whole matrix.
        (weight,) = torch.autograd.grad(module(rows).diagonal().sum(), rows)
    return weight, bias
