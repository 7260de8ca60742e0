"""Scalers and other maps of single columns or single rows."""

from __future__ import annotations

import numpy as np
import torch
from sklearn import preprocessing
from torch import Tensor, nn

from skrobust.bridge._as_torch import INVERSE, TRANSFORM, register, unsupported
from skrobust.bridge._views import Chain, Clip, Shift, Stretch, View

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


class Ufunc(View):
    """A numpy function of single numbers, by its name."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return UFUNCS[getattr(np, self.name)](x)

    def extra_repr(self) -> str:
        return self.name


class UnitRows(View):
    """``x / ||x||`` row by row; a row of zeros stays."""

    def __init__(self, order: float):
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, self.order, dim=1, keepdim=True)
        return x / torch.where(size == 0, torch.ones_like(size), size)


class Above(View):
    """1 where ``x > threshold``, else 0."""

    steps = True

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = float(threshold)

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.threshold).to(x.dtype)


@register(preprocessing.StandardScaler, role=TRANSFORM)
def standard(estimator) -> nn.Module:
    return Shift(
        estimator.mean_ if estimator.with_mean else None,
        estimator.scale_ if estimator.with_std else None,
    )


@register(preprocessing.StandardScaler, role=INVERSE)
def inverse_standard(estimator) -> nn.Module:
    factor = estimator.scale_ if estimator.with_std else 1.0
    return Stretch(factor, estimator.mean_ if estimator.with_mean else 0.0)


@register(preprocessing.RobustScaler, role=TRANSFORM)
def robust(estimator) -> nn.Module:
    return Shift(
        estimator.center_ if estimator.with_centering else None,
        estimator.scale_ if estimator.with_scaling else None,
    )


@register(preprocessing.RobustScaler, role=INVERSE)
def inverse_robust(estimator) -> nn.Module:
    factor = estimator.scale_ if estimator.with_scaling else 1.0
    return Stretch(factor, estimator.center_ if estimator.with_centering else 0.0)


@register(preprocessing.MinMaxScaler, role=TRANSFORM)
def min_max(estimator) -> nn.Module:
    stretch = Stretch(estimator.scale_, estimator.min_)
    return Chain(stretch, Clip(*estimator.feature_range)) if estimator.clip else stretch


@register(preprocessing.MinMaxScaler, role=INVERSE)
def inverse_min_max(estimator) -> nn.Module:
    return Shift(estimator.min_, estimator.scale_)


@register(preprocessing.MaxAbsScaler, role=INVERSE)
def inverse_max_abs(estimator) -> nn.Module:
    return Stretch(estimator.scale_)


@register(preprocessing.MaxAbsScaler, role=TRANSFORM)
def max_abs(estimator) -> nn.Module:
    shift = Shift(scale=estimator.scale_)
    # ``clip`` came with scikit-learn 1.8.
    return Chain(shift, Clip(-1, 1)) if getattr(estimator, "clip", False) else shift


@register(preprocessing.Normalizer, role=TRANSFORM)
def normalizer(estimator) -> nn.Module:
    return UnitRows({"l1": 1, "l2": 2, "max": torch.inf}[estimator.norm])


@register(preprocessing.Binarizer, role=TRANSFORM)
def binarizer(estimator) -> nn.Module:
    return Above(estimator.threshold)


@register(preprocessing.FunctionTransformer, role=TRANSFORM)
def function(estimator) -> nn.Module:
    return named_function(estimator, estimator.func, estimator.kw_args)


@register(preprocessing.FunctionTransformer, role=INVERSE)
def inverse_function(estimator) -> nn.Module:
    return named_function(estimator, estimator.inverse_func, estimator.inv_kw_args)


def named_function(estimator, func, kw_args) -> nn.Module:
    """The view of a numpy function, or of None, the identity."""
    if func is None:
        return Chain()
    if kw_args or func not in UFUNCS:
        shown = getattr(func, "__name__", repr(func))
        reason = f"with func={shown} has no torch view (func=None and plain numpy functions have)"
        raise unsupported(estimator, reason)
    return Ufunc(func.__name__)
