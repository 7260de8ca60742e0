"""Robust additive models: sums of functions of single columns, steps or lines."""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skrobust._params import check_integer, check_name, check_number
from skrobust.exceptions import invalid
from skrobust.nets._lines import ColumnSum, LineSum

__all__ = ["Additive", "StepSum", "place_edges"]


class Additive(BaseEstimator):
    """A generalised additive model of steps or lines, for ``module=``: exact worst cases.

    ``f(x) = bias + sum_j v_j[bin of x_j]``: each column has a function of its own, constant between
    edges. Within a box around a row each column finds its worst bin by itself, so that the worst
    case is a sum of minima, known exactly, and the worst-case loss is a convex function of all
    ``v``. :class:`RobustClassifier` and :class:`RobustRegressor` minimise it over all rows at once,
    plus ``ridge / n`` times half the squares and ``variation / n`` times the jumps from bin to bin
    (n distinct rows).

    With ``shape="linear"`` the functions are linear between knots, ``v`` are their values at the
    knots, and beyond the outermost ones they stay constant. Such a function is least over an
    interval at an end or at a knot within, all of them linear in ``v``: the same promises hold.

    Edges and knots are placed where the movements of training rows begin and end, at the quantiles
    of ``x - reach`` and ``x + reach``: nowhere else does the worst-case loss of steps change. A
    column of few values has a bin for each. Missing values (NaN) have a bin of their own, and stay
    missing.

    Parameters
    ----------
    n_bins : int or "auto", default="auto"
        The most bins (knots) of a column; "auto" is ``2 sqrt(n)``, from 16 to 128, and of lines a
        quarter of it; fewer for large tables in l1 and l2 balls, where a fit takes time in
        proportion to rows, columns and bins.
    ridge : float, default=0.2
        Weight of the squares of ``v``, times the number of distinct rows.
    variation : float, default=0.3
        Weight of the jumps between neighbouring bins, times the number of distinct rows.
    categorical : list of int, default=()
        Columns of codes: a bin for each code, and no price for jumps between them. Columns that
        the threat calls ``categorical`` are such columns anyway.
    shape : {"steps", "linear"}, default="steps"
        What each function is: constant between edges, or linear between knots.

    Notes
    -----
    Exact in training are boxes (linf, with scales, bounds, frozen and one-way columns). In l1 and
    l2 balls the loss is an upper bound (a price of the way). Categories, whole numbers and levels
    that the threat knows of are moved within the box around them: the loss is then conservative,
    for a code may become any other in training, those that its threat rules out too.

    References
    ----------
    Exact worst cases of additive ensembles: Andriushchenko & Hein (2019), "Provably robust boosted
    decision stumps and trees against adversarial attacks", arXiv:1906.03526 (greedy, one stump
    after the other; here all functions at once, convex). Robust trees by moving rows: Vos & Verwer
    (2021), "Efficient training of robust decision trees against adversarial examples" (GROOT),
    arXiv:2012.10438.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import minmax_scale
    >>> from skrobust import RobustClassifier, robust_accuracy_score
    >>> from skrobust.nets import Additive
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = minmax_scale(X)
    >>> model = RobustClassifier(Additive(n_bins=32), radius=0.05).fit(X, y)
    >>> bool(robust_accuracy_score(model, X, y, radius=0.05) > 0.85)
    True
    """

    def __init__(self, n_bins="auto", ridge=0.2, variation=0.3, categorical=(), shape="steps"):
        self.n_bins = n_bins
        self.ridge = ridge
        self.variation = variation
        self.categorical = categorical
        self.shape = shape

    def __call__(self, shape, n_outputs: int) -> ColumnSum:
        """An untrained module for rows of ``shape``, whose edges are yet to be placed."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if len(shape) != 1:
            raise invalid(
                "module", "additive",
                f"a network for rows of shape {shape}; 'additive' is for tables (n, n_features)",
            )  # fmt: skip
        check_name("shape", self.shape, tuple(SHAPES))
        check_number("ridge", self.ridge, low=0)
        check_number("variation", self.variation, low=0)
        self.most_bins(100)
        columns = np.asarray(self.categorical, dtype=object).tolist()
        for column in columns:
            if isinstance(column, bool) or column not in range(shape[0]):
                raise invalid("categorical", column, f"columns from 0 to {shape[0] - 1}")
        return SHAPES[self.shape](shape[0], n_outputs)

    def most_bins(self, n_rows: int) -> int:
        """The most bins of a column for so many distinct rows.

        >>> [Additive().most_bins(n) for n in (30, 546, 3600, 60_000)]
        [16, 47, 120, 128]
        """
        if isinstance(self.n_bins, str) and self.n_bins == "auto":
            most = int(np.clip(round(2 * sqrt(n_rows)), 16, 128))
            return most if self.shape == "steps" else most // 4
        return check_integer("n_bins", self.n_bins, low=2, hint="Or 'auto'.")


class StepSum(ColumnSum):
    """``bias + sum_j values[:, j, bin of x_j]``, exactly, in float64.

    Attributes
    ----------
    edges : Tensor of shape (d, n_edges)
        Sorted, filled up with infinity; a row is in bin b of column j if b edges are below ``x_j``.
    values : Tensor of shape (n_outputs, d, n_edges + 2)
        The last bin is that of missing values.
    bias : Tensor of shape (n_outputs,)

    Notes
    -----
    Its gradient with respect to rows is not 0: it is the slope of the line through the middles of
    the neighbouring bins, so that who follows gradients sees where the steps lead. The values are
    those of the steps.
    """

    steps = True  # it jumps: see skrobust.bridge.has_steps
    extra = 2

    @property
    def n_bins(self) -> int:
        """Bins of a column in ``values``, that of missing values included."""
        return self.n_values

    def bins(self, x: Tensor) -> Tensor:
        """Bin of each entry of rows (n, d)."""
        columns = x.detach().to(self.edges.dtype).T.contiguous()
        found = torch.searchsorted(self.edges, columns).T
        return torch.where(torch.isnan(x), self.n_bins - 1, found)

    def forward(self, x: Tensor) -> Tensor:
        bins = self.bins(x)
        starts = torch.arange(self.n_features, device=x.device) * self.n_bins
        total = self.values.flatten(1).T[bins + starts].sum(dim=1) + self.bias
        if not x.requires_grad:
            return total
        move = torch.nan_to_num(x - x.detach()).to(total.dtype)
        columns = torch.arange(self.n_features, device=x.device)
        return total + torch.einsum("nd,knd->nk", move, self._slopes()[:, columns, bins])

    def _slopes(self) -> Tensor:
        """Slopes (n_outputs, d, n_bins) of the lines through the middles of each bin's neighbours."""
        counts = torch.isfinite(self.edges).sum(dim=1, keepdim=True)
        first = torch.nan_to_num(self.edges[:, :1], posinf=0.0)
        last = torch.nan_to_num(self.edges, posinf=-torch.inf).amax(dim=1, keepdim=True)
        last = torch.where(counts > 0, last, first)
        width = torch.where(counts > 1, (last - first) / (counts - 1).clamp(min=1), 1.0)
        ends = torch.cat([first - width, self.edges, last + width], dim=1)
        ends = torch.minimum(ends, last + width)
        middles = (ends[:, 1:] + ends[:, :-1]) / 2
        bins = torch.arange(self.n_bins - 1, device=counts.device).expand_as(middles)
        after = torch.minimum(bins + 1, counts)
        before = torch.minimum((bins - 1).clamp(min=0), after)
        run = middles.gather(1, after) - middles.gather(1, before)
        pick = lambda at: self.values.detach().gather(2, at.expand(self.n_outputs, -1, -1))
        slopes = torch.where(run > 0, (pick(after) - pick(before)) / run, 0.0)
        return torch.nn.functional.pad(slopes, (0, 1))


SHAPES: dict[str, type[ColumnSum]] = {"steps": StepSum, "linear": LineSum}


def place_edges(low, high, x, weight, n_bins: int, categorical) -> list[np.ndarray]:
    """Where to cut each column so that the worst case of ``[low, high]`` around rows is best told.

    All are (n, d). Between two neighbouring ends of such intervals no row tells the places apart,
    so that edges lie half-way between neighbours; where there are more than ``n_bins``, at their
    weighted quantiles.
    """
    edges = []
    for column in range(x.shape[1]):
        kept = ~np.isnan(x[:, column])
        own = x[kept, column]
        if column in categorical:
            values = np.unique(own)
            edges.append((values[1:] + values[:-1]) / 2)
            continue
        ends = np.concatenate([low[kept, column], high[kept, column]])
        edges.append(_cuts(ends, np.tile(weight[kept], 2), n_bins))
    return edges


def _cuts(ends: np.ndarray, weight: np.ndarray, n_bins: int) -> np.ndarray:
    values, which = np.unique(ends, return_inverse=True)
    if len(values) < 2:
        return np.empty(0)
    middles = (values[1:] + values[:-1]) / 2
    if len(middles) < n_bins:
        return middles
    share = np.cumsum(np.bincount(which.ravel(), weight))
    share = share[:-1] / share[-1]  # of what lies below each middle
    wanted = np.arange(1, n_bins) / n_bins
    return middles[np.unique(np.searchsorted(share, wanted - 1e-12).clip(max=len(middles) - 1))]
