"""Scalers and other maps of single columns or single rows."""

from __future__ import annotations

import torch
from sklearn import preprocessing
from torch import Tensor, nn

from skrobust.bridge._as_torch import INVERSE, TRANSFORM, register
from skrobust.bridge._views import Chain, Clip, Shift, Stretch, View


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
