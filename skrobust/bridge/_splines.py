"""B-splines: each column as piecewise polynomials, and what goes on beyond the outer knots."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.interpolate import BSpline
from sklearn.preprocessing import SplineTransformer
from torch import Tensor, nn

from skrobust.bridge._as_torch import TRANSFORM, register
from skrobust.bridge._views import Beside, Chain, Take, View


class Pieces(View):
    """One column to several: ``sum_p c_p (x - knot)^p`` with the coefficients of x's interval.

    ``coefficients`` is (degree + 1, n_intervals, n_outputs), highest power first, and ``knots``
    (n_intervals + 1,). The first and last polynomials go on beyond the knots; with ``period`` x
    is wrapped into them first.
    """

    def __init__(self, knots, coefficients, periodic: bool, steps: bool):
        super().__init__()
        self.keep("knots", knots)
        self.keep("coefficients", coefficients)
        self.periodic, self.steps = periodic, steps

    def forward(self, x: Tensor) -> Tensor:
        knots, coefficients = self.like("knots", x), self.like("coefficients", x)
        if self.periodic:
            x = knots[0] + (x - knots[0]).remainder(knots[-1] - knots[0])
        interval = torch.searchsorted(knots, x.detach()[:, 0].contiguous(), right=True) - 1
        interval = interval.clamp(0, len(knots) - 2)
        way = x - knots[interval][:, None]
        total = 0 * way + coefficients[0, interval]
        for power in range(1, len(coefficients)):
            total = total * way + coefficients[power, interval]
        return total


class Outside(View):
    """One column: ``inner`` between two limits, straight lines outside, and a value for NaN.

    ``lines`` (2, 2, n_outputs) holds value and slope at the lower and at the upper limit.
    """

    def __init__(self, inner: nn.Module, limits, lines, missing: float, steps: bool):
        super().__init__()
        self.inner = inner
        self.keep("limits", limits)
        self.keep("lines", lines)
        self.missing, self.steps = missing, steps

    def forward(self, x: Tensor) -> Tensor:
        (low, high), lines = self.like("limits", x), self.like("lines", x)
        total = self.inner(torch.where((x >= low) & (x <= high), x, low))
        total = torch.where(x < low, lines[0, 0] + (x - low) * lines[0, 1], total)
        total = torch.where(x > high, lines[1, 0] + (x - high) * lines[1, 1], total)
        return torch.where(x.isnan(), self.missing, total)


@register(SplineTransformer, role=TRANSFORM)
def splines(estimator) -> nn.Module:
    columns, reach = [], estimator.degree
    for index, spline in enumerate(estimator.bsplines_):
        column, reach = _column(estimator, spline, reach)
        kept = [] if estimator.include_bias else [Take(range(spline.c.shape[1] - 1))]
        columns.append(Chain(Take([index]), column, *kept))
    return Beside(columns)


def _column(estimator, spline: BSpline, reach: int) -> tuple[nn.Module, int]:
    """The view of one column, and the ``reach`` of the next.

    ``reach`` is the number of basis functions that scikit-learn continues beyond an end, and also
    where it sees the end, ``t[reach]``. It is the degree; but the straight lines of degrees 0 and 1
    raise it by one, and it stays raised for the columns that follow, whose ends move inwards.
    """
    kind, degree, t = estimator.extrapolation, spline.k, spline.t
    inner = _pieces(spline, kind == "periodic")
    # ``handle_missing`` came with scikit-learn 1.8.
    missing = 0.0 if getattr(estimator, "handle_missing", "error") == "zeros" else np.nan
    width = spline.c.shape[1]
    lines = np.zeros((2, 2, width))
    limits = t[reach], t[-reach - 1]
    if kind in ("continue", "periodic"):
        limits = -np.inf, np.inf
    elif kind == "error":  # the estimator would refuse these rows
        lines[:, 0] = np.nan
    else:
        ends = [spline(limit) for limit in limits], [spline(limit, nu=1) for limit in limits]
        straight = kind == "linear"
        if straight and reach <= 1:
            reach += 1
        for power, at_ends in enumerate(ends[: 1 + straight]):
            lines[0, power, :reach] = at_ends[0][:reach]
            lines[1, power, width - reach :] = at_ends[1][width - reach :]
        if degree == 0 and not straight:  # scikit-learn sets all columns if sparse, or fails
            lines[1, 0] = ends[0][1] if estimator.sparse_output else np.nan
    return Outside(inner, limits, lines, missing, inner.steps), reach


def _pieces(spline: BSpline, periodic: bool) -> Pieces:
    """The polynomials of the base interval, ``t[degree]`` to ``t[-degree - 1]``."""
    degree = spline.k
    knots = spline.t[degree : len(spline.t) - degree]
    # A knot that occurs more often than the degree lets the spline jump there.
    most = np.unique(knots[1:-1], return_counts=True)[1].max(initial=1)
    # The Taylor series of each interval at its left end.
    powers = range(degree, -1, -1)
    coefficients = [spline(knots[:-1], nu=power) / math.factorial(power) for power in powers]
    return Pieces(knots, coefficients, periodic, bool(most > degree))
