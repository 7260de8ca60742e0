"""Densities and distances per class: naive Bayes, quadratic discriminants, nearest centroids."""

from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn

from skrobust.bridge._as_torch import DECISION, PREDICT, PROBA, register, unsupported
from skrobust.bridge._scalers import Above
from skrobust.bridge._views import Affine, Beside, Chain, Shift, View


class Squares(View):
    """``x -> offset - factor * sum_j x_j^2``: one column."""

    def __init__(self, factor: float, offset: float):
        super().__init__()
        self.factor, self.offset = float(factor), float(offset)

    def forward(self, x: Tensor) -> Tensor:
        return self.offset - self.factor * x.square().sum(dim=1, keepdim=True)


class Farness(View):
    """``x -> -sum_j |x_j|``: one column."""

    def forward(self, x: Tensor) -> Tensor:
        return -x.abs().sum(dim=1, keepdim=True)


@register(GaussianNB, role=(PREDICT, PROBA))
def gaussian(estimator, role: str) -> nn.Module:
    offsets = np.log(estimator.class_prior_) - 0.5 * np.log(2 * np.pi * estimator.var_).sum(axis=1)
    groups = zip(estimator.theta_, estimator.var_, offsets, strict=True)
    return Beside(
        [Chain(Shift(mean, np.sqrt(var)), Squares(0.5, offset)) for mean, var, offset in groups]
    )


@register(QuadraticDiscriminantAnalysis, role=(PREDICT, PROBA, DECISION))
def quadratic(estimator, role: str) -> nn.Module:
    parts = []
    for index, spread in enumerate(estimator.scalings_):
        axes = np.asarray(estimator.rotations_[index]) / np.sqrt(spread)
        offset = np.log(estimator.priors_[index]) - 0.5 * np.log(spread).sum()
        parts.append(Chain(Shift(estimator.means_[index]), Affine(axes.T), Squares(0.5, offset)))
    return Beside(parts)


@register(MultinomialNB, role=(PREDICT, PROBA))
def multinomial(estimator, role: str) -> nn.Module:
    return Affine(estimator.feature_log_prob_, estimator.class_log_prior_)


@register(ComplementNB, role=(PREDICT, PROBA))
def complement(estimator, role: str) -> nn.Module:
    return Affine(estimator.feature_log_prob_)


@register(BernoulliNB, role=(PREDICT, PROBA))
def bernoulli(estimator, role: str) -> nn.Module:
    no = np.log(1 - np.exp(estimator.feature_log_prob_))
    odds = Affine(estimator.feature_log_prob_ - no, estimator.class_log_prior_ + no.sum(axis=1))
    return odds if estimator.binarize is None else Chain(Above(estimator.binarize), odds)


@register(NearestCentroid, role=PREDICT)
def nearest_centroid(estimator) -> nn.Module:
    """Minus squared distances less ``||x||^2``, which no class owes more than another."""
    priors = np.asarray(getattr(estimator, "class_prior_", [1.0]))
    flat = np.allclose(priors, priors[0])
    if estimator.metric == "manhattan":
        if not flat:
            raise unsupported(estimator, "with metric='manhattan' and priors has no torch view; it")
        return Beside([Chain(Shift(center), Farness()) for center in estimator.centroids_])
    variance = 1.0
    if not flat:
        spread = estimator.within_class_std_dev_
        variance = np.where(spread == 0, 1.0, spread) ** 2
    offset = 0.0 if flat else 2 * np.log(priors)
    centers = np.asarray(estimator.centroids_, dtype=np.float64)
    return Affine(2 * centers / variance, offset - (centers**2 / variance).sum(axis=1))
