"""B-splines: each column as piecewise polynomials, and what goes on beyond the outer knots."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import BSpline
from sklearn.preprocessing import SplineTransformer
from torch import Tensor, nn

from skrobust.bridge._as_torch import TRANSFORM, register
from skrobust.bridge._views import Chain, Take, View


class Column(NamedTuple):
    """One column: ``n_outputs`` polynomials per interval, and two ends."""

    knots: np.ndarray  # (n_intervals + 1,)
    coefficients: np.ndarray  # (degree + 1, n_intervals, n_outputs), highest power first
    limits: tuple[float, float]  # beyond them,
    lines: np.ndarray  # (2, 2, n_outputs): value at each, and slope
    steps: bool


class Splines(View):
    """Columns x to ``sum_p c_p (x - knot)^p`` with the coefficients of each one's interval.

    The first and last polynomials go on beyond the knots, up to the limits; there straight lines
    begin. With ``periodic`` x is wrapped between the outer knots first. ``missing`` is the answer
    to NaN.
    """

    def __init__(self, columns: list[Column], periodic: bool, missing: float):
        super().__init__()
        self.keep("knots", np.stack([column.knots for column in columns]))
        self.keep("coefficients", np.stack([column.coefficients for column in columns], axis=1))
        self.keep("limits", np.transpose([column.limits for column in columns])[:, :, None])
        self.keep("lines", np.stack([column.lines for column in columns], axis=2)[..., None, :])
        self.periodic, self.missing = periodic, missing
        self.steps = any(column.steps for column in columns)

    def forward(self, x: Tensor) -> Tensor:
        n_rows, knots, lines = len(x), self.like("knots", x), self.like("lines", x)
        low, high = self.like("limits", x)
        x = x.T.contiguous()
        inside = torch.where((x >= low) & (x <= high), x, knots[:, :1])
        found = self._polynomials(inside, knots)
        for (value, slope), end, beyond in zip(
            lines, (low, high), (x < low, x > high), strict=True
        ):
            # an end at infinity has no line
            way = torch.where(beyond, x - end, 0.0)[..., None]
            found = torch.where(beyond[..., None], value + way * slope, found)
        found = torch.where(x[..., None].isnan(), self.missing, found)
        return found.transpose(0, 1).reshape(n_rows, -1)

    def _polynomials(self, x: Tensor, knots: Tensor) -> Tensor:
        """Values (n_columns, n, n_outputs) at x (n_columns, n)."""
        if self.periodic:
            x = knots[:, :1] + (x - knots[:, :1]).remainder(knots[:, -1:] - knots[:, :1])
        interval = torch.searchsorted(knots, x.detach(), right=True) - 1
        interval = interval.clamp(0, knots.shape[1] - 2)
        way = (x - knots.gather(1, interval))[..., None]
        each = torch.arange(len(knots), device=x.device)[:, None]
        first, *others = self.like("coefficients", x)[:, each, interval]
        total = 0 * way + first
        for coefficient in others:
            total = total * way + coefficient
        return total


@register(SplineTransformer, role=TRANSFORM)
def splines(estimator) -> nn.Module:
    columns, reach = [], estimator.degree
    for spline in estimator.bsplines_:
        column, reach = _column(estimator, spline, reach)
        columns.append(column)
    # ``handle_missing`` came with scikit-learn 1.8.
    missing = 0.0 if getattr(estimator, "handle_missing", "error") == "zeros" else np.nan
    view = Splines(columns, estimator.extrapolation == "periodic", missing)
    if estimator.include_bias:
        return view
    each = estimator.bsplines_[0].c.shape[1]
    return Chain(view, Take([k for k in range(each * len(columns)) if (k + 1) % each]))


def _column(estimator, spline: BSpline, reach: int) -> tuple[Column, int]:
    """One column, and the ``reach`` of the next.

    ``reach`` is the number of basis functions that scikit-learn continues beyond an end, and also
    where it sees the end, ``t[reach]``. It is the degree; but the straight lines of degrees 0 and 1
    raise it by one, and it stays raised for the columns that follow, whose ends move inwards.
    """
    kind, width = estimator.extrapolation, spline.c.shape[1]
    lines = np.zeros((2, 2, width))
    limits = spline.t[reach], spline.t[-reach - 1]
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
        if spline.k == 0 and not straight:  # scikit-learn sets all columns if sparse, or fails
            lines[1, 0] = ends[0][1] if estimator.sparse_output else np.nan
    return Column(*_polynomials(spline), limits, lines, _jumps(spline)), reach


def _polynomials(spline: BSpline) -> tuple[np.ndarray, np.ndarray]:
    """The base knots, and the Taylor series of each interval at its left end."""
    knots = spline.t[spline.k : len(spline.t) - spline.k]
    powers = range(spline.k, -1, -1)
    series = [spline(knots[:-1], nu=power) / math.factorial(power) for power in powers]
    return knots, np.array(series)


def _jumps(spline: BSpline) -> bool:
    """A knot that occurs more often than the degree lets the spline jump there."""
    inner = spline.t[spline.k + 1 : len(spline.t) - spline.k - 1]
    return bool(np.unique(inner, return_counts=True)[1].max(initial=1) > spline.k)
