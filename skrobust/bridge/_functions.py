"""FunctionTransformer: functions of numpy with a twin in torch, and functions that take both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.preprocessing import FunctionTransformer
from torch import Tensor, nn

from skrobust.bridge._as_torch import INVERSE, TRANSFORM, register, unsupported
from skrobust.bridge._views import Chain, View

# Functions with the same meaning, and the same values to rounding, in both libraries.
UFUNCS = {
    np.abs: torch.abs,
    np.arctan: torch.arctan,
    np.cbrt: lambda x: x.sign() * x.abs().pow(1 / 3),
    np.cos: torch.cos,
    np.exp: torch.exp,
    np.expm1: torch.expm1,
    np.log: torch.log,
    np.log10: torch.log10,
    np.log1p: torch.log1p,
    np.log2: torch.log2,
    np.negative: torch.neg,
    np.reciprocal: torch.reciprocal,
    np.sin: torch.sin,
    np.sqrt: torch.sqrt,
    np.square: torch.square,
    np.tanh: torch.tanh,
}
HINT = (
    "(func=None, plain numpy functions, functions that take tensors as they take arrays, and "
    "functions with a torch twin as func.__skrobust_torch__ have one)"
)


class Ufunc(View):
    """A numpy function of single numbers, by its name."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return UFUNCS[getattr(np, self.name)](x)

    def extra_repr(self) -> str:
        return self.name


class Function(View):
    """A torch function of the user's, rows to rows."""

    def __init__(self, func: Callable[[Tensor], Tensor]):
        super().__init__()
        self.func = func

    def forward(self, x: Tensor) -> Tensor:
        return self.func(x)


@register(FunctionTransformer, role=TRANSFORM)
def function(estimator) -> nn.Module:
    return view_of(estimator, estimator.func, estimator.kw_args)


@register(FunctionTransformer, role=INVERSE)
def inverse_function(estimator) -> nn.Module:
    return view_of(estimator, estimator.inverse_func, estimator.inv_kw_args)


def view_of(estimator, func, kw_args) -> nn.Module:
    """The view of a function of rows, or of None, the identity."""
    if func is None:
        return Chain()
    if func in UFUNCS and not kw_args:
        return Ufunc(func.__name__)
    given = partial(func, **kw_args) if kw_args else func
    twin = getattr(func, "__skrobust_torch__", None)
    if twin is not None:
        return Function(partial(twin, **kw_args) if kw_args else twin)
    if not takes_tensors(given, getattr(estimator, "n_features_in_", None)):
        shown = getattr(func, "__name__", repr(func))
        raise unsupported(estimator, f"with func={shown} has no torch view {HINT}")
    return Function(given)


def takes_tensors(func: Callable, n_features: int | None) -> bool:
    """Whether a function gives of a tensor, with its graph, what it gives of the same array.

    ``X[:, :2] * X[:, 2:]`` does, ``np.clip(X, 0, 1)`` does not. Tried on a few rows.
    """
    if n_features is None:
        return False
    rng = np.random.RandomState(0)
    for rows in (rng.randn(16, n_features), 10 * rng.rand(16, n_features)):
        z = torch.tensor(rows, requires_grad=True)
        try:
            with torch.enable_grad(), np.errstate(all="ignore"):
                found, known = func(z), func(rows.copy())
        except Exception:  # whatever an array function may say of a tensor
            return False
        if not isinstance(found, Tensor) or not found.requires_grad:
            return False
        found = found.detach().numpy()
        if found.shape != np.shape(known) or not np.allclose(found, known, equal_nan=True):
            return False
    return True
