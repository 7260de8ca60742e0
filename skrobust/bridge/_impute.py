"""Missing values: replaced by numbers learned at fit, and marked."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.impute import MissingIndicator, SimpleImputer
from torch import Tensor, nn

from skrobust.bridge._as_torch import TRANSFORM, part_view, register, unsupported
from skrobust.bridge._views import Beside, Chain, Take, View


def missing(x: Tensor, marker: float) -> Tensor:
    return x.isnan() if math.isnan(marker) else x == marker


class Fill(View):
    """Missing entries replaced column by column.

    Not affine: which map it is depends on which entries are missing. A marker that is a number
    makes the output jump there; NaN does not, since missing entries do not move.
    """

    def __init__(self, values, marker: float):
        super().__init__()
        self.keep("values", values)
        self.marker, self.steps = marker, not math.isnan(marker)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(missing(x, self.marker), self.like("values", x), x)


class Missing(View):
    """1 where an entry is missing, else 0."""

    def __init__(self, marker: float):
        super().__init__()
        self.marker, self.steps = marker, not math.isnan(marker)

    def forward(self, x: Tensor) -> Tensor:
        return missing(x, self.marker).to(x.dtype)


def _marker(estimator) -> float:
    """``missing_values`` as a number; None and pandas.NA stand for NaN once rows are numbers."""
    given = estimator.missing_values
    if given is None or type(given).__name__ == "NAType":
        return float("nan")
    if isinstance(given, str):
        raise unsupported(
            estimator, f"with missing_values={given!r} is not for rows of numbers: it"
        )
    return float(given)


def _numbers(estimator) -> np.ndarray:
    """``statistics_`` as they are filled in: in the type of the rows seen at fit."""
    dtype = np.dtype(getattr(estimator, "_fill_dtype", np.float64))
    values = np.asarray(estimator.statistics_)
    try:
        kept = values.astype(np.float64)
        known = ~np.isnan(kept)
        kept[known] = kept[known].astype(np.float64 if dtype.kind == "O" else dtype)
    except (TypeError, ValueError):
        raise unsupported(estimator, "fills in values that are not numbers: it") from None
    return kept


@register(SimpleImputer, role=TRANSFORM)
def simple(estimator) -> nn.Module:
    values = _numbers(estimator)
    columns = np.arange(len(values))
    if not estimator.keep_empty_features:
        columns = np.flatnonzero(~np.isnan(values))  # nothing was known of the others
    filled = Chain(Take(columns), Fill(values[columns], _marker(estimator)))
    if not estimator.add_indicator:
        return filled
    return Beside([filled, part_view(estimator.indicator_, TRANSFORM, "indicator_")])


@register(MissingIndicator, role=TRANSFORM)
def indicator(estimator) -> nn.Module:
    return Chain(Take(estimator.features_), Missing(_marker(estimator)))
