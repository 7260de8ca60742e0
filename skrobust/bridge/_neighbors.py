"""Nearest neighbours: the votes of training rows, with a slope that points at the other side.

A vote changes in steps, so its own slope is 0 or misleading. The views give the votes exactly, and
the gradient of a smooth vote instead (a *straight-through* gradient): that of all training rows,
weighed by ``exp(-distance / bandwidth)``. They say ``steps``, so that evaluation searches them as
thoroughly as models without any gradient.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from torch import Tensor, nn

from skrobust.bridge._as_torch import PREDICT, PROBA, register, unsupported
from skrobust.bridge._views import View

ORDERS = {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": float("inf")}
ORDERS |= {"l2": 2.0, "l1": 1.0, "cityblock": 1.0, "infinity": float("inf")}


class Neighbours(View):
    """Weighted mean of the ``targets`` (n_train, k) of the rows nearest to x.

    Parameters
    ----------
    rows, targets : arrays of shape (n_train, n_features) and (n_train, k)
    order : float
        Of the Minkowski distance.
    weigh : bool
        By one over the distance; rows at distance 0 then count alone.
    n_nearest, radius : int or None, float or None
        How many are asked, or those within which distance.
    lonely : array of shape (k,)
        The answer where no row is near enough.
    log : bool
        Shares of classes as their logarithms.
    """

    steps = True

    def __init__(self, rows, targets, order, weigh, n_nearest, radius, lonely, log):
        super().__init__()
        self.keep("rows", rows)
        self.keep("targets", targets)
        self.keep("lonely", lonely)
        self.order, self.weigh, self.log = order, weigh, log
        self.n_nearest, self.radius = n_nearest, radius

    def forward(self, x: Tensor) -> Tensor:
        mode = "donot_use_mm_for_euclid_dist"  # the fast way loses half the digits
        apart = torch.cdist(x, self.like("rows", x), p=self.order, compute_mode=mode)
        with torch.no_grad():
            weights, bandwidth = self._weights(apart)
            share = weights @ self.like("targets", x) / weights.sum(dim=1, keepdim=True)
            alone = (weights == 0).all(dim=1, keepdim=True)
            share = torch.where(alone, self.like("lonely", x), share)
            exact = _log(share) if self.log else share
        if not apart.requires_grad:
            return exact
        near = (-apart / bandwidth).softmax(dim=1) @ self.like("targets", x)
        smooth = _log(near) if self.log else near
        return exact + (smooth - smooth.detach())

    def _weights(self, apart: Tensor) -> tuple[Tensor, Tensor]:
        """Of each training row (n, n_train), and the distance (n, 1) within which a vote counts."""
        if self.radius is None:
            last, index = apart.topk(self.n_nearest, dim=1, largest=False)
            near = torch.zeros_like(apart).scatter(1, index, 1.0)
            reach = last[:, -1:]
        else:
            near = (apart <= self.radius).to(apart.dtype)
            reach = apart.amin(dim=1, keepdim=True).clamp(min=self.radius)
        # A quarter of the reach: neighbours decide, and rows beyond them have a say.
        bandwidth = (reach / 4).clamp(min=torch.finfo(apart.dtype).eps)
        if not self.weigh:
            return near, bandwidth
        same = near * (apart == 0)
        inverse = near / torch.where(apart == 0, 1.0, apart)
        return torch.where(same.any(dim=1, keepdim=True), same, inverse), bandwidth


def _log(share: Tensor) -> Tensor:
    """Shares of 0 are common, and their logarithm is not: the smallest number stands for them."""
    return share.clamp(min=torch.finfo(share.dtype).tiny).log()


def _order(estimator) -> float:
    """Of the Minkowski distance."""
    # The names ``effective_*`` hold what the metric was resolved to.
    metric, options = estimator.effective_metric_, dict(estimator.effective_metric_params_)
    if metric in ORDERS:
        options.pop("p", None)
    order = ORDERS.get(metric, options.pop("p", 2.0) if metric == "minkowski" else None)
    if order is None or any(option is not None for option in options.values()):
        shown = getattr(metric, "__name__", repr(metric))
        raise unsupported(estimator, f"with metric={shown} and its options has no torch view; it")
    return float(order)


def _neighbours(estimator, targets, lonely=None, log: bool = False) -> nn.Module:
    if estimator.weights not in ("uniform", "distance", None):
        raise unsupported(estimator, "with a function as weights has no torch view; it")
    rows = estimator._fit_X  # no public attribute holds the training rows
    rows = rows.toarray() if hasattr(rows, "toarray") else rows
    within = isinstance(estimator, RadiusNeighborsClassifier | RadiusNeighborsRegressor)
    return Neighbours(
        rows,
        targets,
        _order(estimator),
        estimator.weights == "distance",
        None if within else estimator.n_neighbors,
        estimator.radius if within else None,
        np.full(targets.shape[1], np.nan) if lonely is None else lonely,
        log,
    )


@register(KNeighborsClassifier, role=(PREDICT, PROBA))
def nearest_classes(estimator, role: str) -> nn.Module:
    return _neighbours(estimator, np.eye(len(estimator.classes_))[estimator._y.ravel()], log=True)


@register(RadiusNeighborsClassifier, role=(PREDICT, PROBA))
def classes_within(estimator, role: str) -> nn.Module:
    """A row without neighbours is NaN unless there is a label for it."""
    one_hot = np.eye(len(estimator.classes_))
    lonely = None
    if estimator.outlier_label_ is not None:
        (label,) = np.ravel(estimator.outlier_label_)
        lonely = one_hot[estimator.classes_ == label].sum(axis=0)
        if not lonely.any():
            raise unsupported(estimator, "with an outlier_label that is not among classes_")
    return _neighbours(estimator, one_hot[estimator._y.ravel()], lonely, log=True)


@register(KNeighborsRegressor, RadiusNeighborsRegressor, role=PREDICT)
def nearest_values(estimator) -> nn.Module:
    values = np.asarray(estimator._y, dtype=np.float64)
    return _neighbours(estimator, values.reshape(len(values), -1))
