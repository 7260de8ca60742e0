"""Transformers that bend or cut columns: polynomials, quantiles, powers, bins."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtri
from sklearn import preprocessing
from torch import Tensor, nn

from skrobust.bridge._as_torch import TRANSFORM, register
from skrobust.bridge._scalers import standard
from skrobust.bridge._views import Chain, View


class Monomials(View):
    """Products of columns: ``factors`` (n_outputs, degree) says which; -1 stands for 1."""

    def __init__(self, factors):
        super().__init__()
        self.keep("factors", factors, dtype=np.int64)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 1), value=1.0)
        return padded[:, self.factors].prod(dim=2)


class Power(View):
    """Yeo-Johnson or Box-Cox powers, column by column."""

    def __init__(self, exponents, box_cox: bool):
        super().__init__()
        self.keep("exponents", exponents)
        self.box_cox = box_cox

    def forward(self, x: Tensor) -> Tensor:
        power = self.like("exponents", x)
        if self.box_cox:
            return _bend(x.log(), power)
        up = _bend(x.clamp_min(0).log1p(), power)
        down = _bend((-x).clamp_min(0).log1p(), 2 - power)
        return torch.where(x >= 0, up, torch.where(x.isnan(), x, -down))


def _bend(log: Tensor, power: Tensor) -> Tensor:
    """``(exp(power * log) - 1) / power``, and ``log`` where the power is 0."""
    flat = power == 0
    return torch.where(flat, log, (power * log).expm1() / torch.where(flat, 1.0, power))


class Ranks(View):
    """Share of the training values below each entry, between quantiles by straight lines.

    With ``normal``, the normal quantile of it. Flat outside the training range.
    """

    def __init__(self, quantiles, references, normal: bool):
        super().__init__()
        self.keep("quantiles", np.transpose(quantiles))  # (n_features, n_quantiles)
        self.keep("references", references)
        self.steps = bool((np.diff(quantiles, axis=0) == 0).any())  # the share jumps there
        self.normal = normal
        tiny = 1e-7 - np.spacing(1)
        self.low, self.high = float(ndtri(tiny)), float(ndtri(1 - tiny))

    def forward(self, x: Tensor) -> Tensor:
        quantiles, references = self.like("quantiles", x), self.like("references", x)
        given = x.T.contiguous()
        up = interpolate(given, quantiles, references)
        down = -interpolate(-given, -quantiles.flip(1), -references.flip(0))
        share = (up + down) / 2
        if self.normal:  # scikit-learn's way to keep away from infinity
            share = share.masked_fill(given + 1e-7 > quantiles[:, -1:], 1.0)
            share = share.masked_fill(given - 1e-7 < quantiles[:, :1], 0.0)
        else:
            share = share.masked_fill(given == quantiles[:, -1:], 1.0)
            share = share.masked_fill(given == quantiles[:, :1], 0.0)
        if self.normal:
            share = torch.special.ndtri(share).clamp(self.low, self.high)
        return torch.where(given.isnan(), given, share).T


def interpolate(given: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Straight lines between the knots of each row, flat outside them (``np.interp``)."""
    right = torch.searchsorted(knots, given.detach(), right=True)
    right = right.clamp(1, knots.shape[1] - 1)
    x0, x1 = knots.gather(1, right - 1), knots.gather(1, right)
    y0, y1 = values[right - 1], values[right]
    width = x1 - x0
    jump = (given >= x0).to(given.dtype)  # an end that is several knots
    part = torch.where(width > 0, (given - x0) / torch.where(width > 0, width, 1.0), jump)
    return y0 + part.clamp(0, 1) * (y1 - y0)


class Bins(View):
    """The number of the bin of each entry: how many of its column's ``edges`` are at or below it.

    ``edges`` (n_features, n_edges), filled up with infinity.
    """

    steps = True

    def __init__(self, edges):
        super().__init__()
        self.keep("edges", edges)

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :, None] >= self.like("edges", x)).sum(dim=2).to(x.dtype)


class Equals(View):
    """1 where a column is a number, else 0; one output for each pair of column and number."""

    steps = True

    def __init__(self, columns, numbers):
        super().__init__()
        self.keep("columns", columns, dtype=np.int64)
        self.keep("numbers", numbers)

    def forward(self, x: Tensor) -> Tensor:
        return (x.index_select(1, self.columns) == self.like("numbers", x)).to(x.dtype)


@register(preprocessing.PolynomialFeatures, role=TRANSFORM)
def polynomial(estimator) -> nn.Module:
    powers = estimator.powers_
    degree = max(1, int(powers.sum(axis=1).max()))
    factors = np.full((len(powers), degree), -1)
    for row, power in zip(factors, powers, strict=True):
        columns = np.repeat(np.arange(len(power)), power)
        row[: len(columns)] = columns
    return Monomials(factors)


@register(preprocessing.PowerTransformer, role=TRANSFORM)
def power(estimator) -> nn.Module:
    bent = Power(estimator.lambdas_, estimator.method == "box-cox")
    return Chain(bent, standard(estimator._scaler)) if estimator.standardize else bent


@register(preprocessing.QuantileTransformer, role=TRANSFORM)
def quantiles(estimator) -> nn.Module:
    normal = estimator.output_distribution == "normal"
    return Ranks(estimator.quantiles_, estimator.references_, normal)


@register(preprocessing.KBinsDiscretizer, role=TRANSFORM)
def bins(estimator) -> nn.Module:
    inner = [np.asarray(edges)[1:-1] for edges in estimator.bin_edges_]
    edges = np.full((len(inner), max(map(len, inner))), np.inf)
    for row, known in zip(edges, inner, strict=True):
        row[: len(known)] = known
    if estimator.encode == "ordinal":
        return Bins(edges)
    pairs = [(column, bin_) for column, known in enumerate(inner) for bin_ in range(len(known) + 1)]
    return Chain(Bins(edges), Equals(*zip(*pairs, strict=True)))
