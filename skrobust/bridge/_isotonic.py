"""Isotonic regression: straight lines between thresholds, flat outside and on many stretches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor, nn

from skrobust.bridge._as_torch import PREDICT, TRANSFORM, register
from skrobust.bridge._features import interpolate
from skrobust.bridge._views import View


class Thresholds(View):
    """One column: straight lines between (knot, value) pairs, ``outside`` them flat or NaN.

    Nothing jumps, but the flat stretches hide from a gradient that the output does change, as steps
    do; so it says ``steps``.
    """

    steps = True

    def __init__(self, knots, values, flat_outside: bool):
        super().__init__()
        self.keep("knots", knots)
        self.keep("values", values)
        self.flat_outside = flat_outside

    def forward(self, x: Tensor) -> Tensor:
        knots, values = self.like("knots", x), self.like("values", x)
        if len(knots) == 1:
            found = 0 * x + values
        else:
            found = interpolate(x.T.contiguous(), knots[None], values).T
        if self.flat_outside:
            return found
        return torch.where((x < knots[0]) | (x > knots[-1]), torch.nan, found)


class LogOfMean(View):
    """Logarithm of the mean of shares, added up in scikit-learn's order.

    Shares of 0, 1/2 and 1 are common here, and a tie must stay a tie to the last digit.
    """

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        total = self.parts[0](x)
        for part in self.parts[1:]:
            total = total + part(x)
        share = total / len(self.parts)
        return share.clamp(min=torch.finfo(x.dtype).tiny).log()  # of 0, that of a tiny number


class Normalised(View):
    """Scores of the ``known`` classes to shares of all; equal shares where the scores are 0."""

    def __init__(self, known, n_classes: int):
        super().__init__()
        self.keep("known", known, dtype=np.int64)
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        wide = x.new_zeros(len(x), self.n_classes).index_copy(1, self.known, x)
        total = wide.sum(dim=1, keepdim=True)
        share = wide / torch.where(total == 0, 1.0, total)
        return torch.where(total == 0, 1 / self.n_classes, share)


@register(IsotonicRegression, role=(PREDICT, TRANSFORM))
def isotonic(estimator, role: str = PREDICT) -> nn.Module:
    flat = estimator.out_of_bounds == "clip" or len(estimator.X_thresholds_) == 1
    return Thresholds(estimator.X_thresholds_, estimator.y_thresholds_, flat)
