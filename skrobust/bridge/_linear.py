"""Linear models: one matrix, one bias, and for some a link function."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn import cross_decomposition, discriminant_analysis, linear_model, svm
from torch import nn

from skrobust.bridge._as_torch import (
    DECISION,
    PREDICT,
    PROBA,
    TRANSFORM,
    named,
    part_view,
    register,
    unsupported,
)
from skrobust.bridge._views import Affine, Chain, Exp, Shift, Take

CLASSIFIERS = [
    *named(
        linear_model,
        "LogisticRegression LogisticRegressionCV SGDClassifier Perceptron "
        "PassiveAggressiveClassifier",
    ),
    svm.LinearSVC,
    discriminant_analysis.LinearDiscriminantAnalysis,
]
REGRESSORS = [
    *named(
        linear_model,
        "ARDRegression BayesianRidge ElasticNet ElasticNetCV HuberRegressor Lars LarsCV Lasso "
        "LassoCV LassoLars LassoLarsCV LassoLarsIC LinearRegression MultiTaskElasticNet "
        "MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV OrthogonalMatchingPursuit "
        "OrthogonalMatchingPursuitCV PassiveAggressiveRegressor QuantileRegressor Ridge RidgeCV "
        "SGDRegressor TheilSenRegressor",
    ),
    svm.LinearSVR,
]
PARTIAL_LEAST_SQUARES = named(cross_decomposition, "PLSRegression PLSCanonical CCA")


def plane(estimator) -> tuple[np.ndarray, np.ndarray]:
    """``coef_`` as (n_outputs, n_features) and ``intercept_`` as (n_outputs,)."""
    coef = estimator.coef_
    weight = np.atleast_2d(coef.toarray() if sparse.issparse(coef) else np.asarray(coef))
    bias = np.asarray(estimator.intercept_, dtype=np.float64).reshape(-1)
    return weight, np.broadcast_to(bias, len(weight))


def two_columns(weight: np.ndarray, bias: np.ndarray) -> Affine:
    """One decision value per row as the logits (0, d); several as they are."""
    if len(weight) == 1:
        weight, bias = np.vstack([0 * weight, weight]), np.append(0.0, bias)
    return Affine(weight, bias)


SOFTMAX = named(linear_model, "LogisticRegression LogisticRegressionCV") + [
    discriminant_analysis.LinearDiscriminantAnalysis
]


@register(*CLASSIFIERS, role=DECISION)
def decision(estimator) -> nn.Module:
    return two_columns(*plane(estimator))


@register(*CLASSIFIERS, role=PREDICT)
def classifier(estimator) -> nn.Module:
    weight, bias = plane(estimator)
    if len(weight) == 1 and getattr(estimator, "multi_class", None) == "multinomial":
        # scikit-learn < 1.8 then has the probabilities softmax(-d, d).
        weight, bias = 2 * weight, 2 * bias
    return two_columns(weight, bias)


@register(*SOFTMAX, role=PROBA)
def probabilities(estimator) -> nn.Module:
    several = len(estimator.classes_) > 2
    one_vs_rest = getattr(estimator, "multi_class", None) == "ovr" or (
        getattr(estimator, "solver", None) == "liblinear"
    )
    # scikit-learn < 1.8 fits several classes that way: sigmoids, divided by their sum.
    sigmoids = [nn.LogSigmoid()] if several and one_vs_rest else []
    return Chain(classifier(estimator), *sigmoids)


@register(linear_model.SGDClassifier, role=PROBA)
def sgd_probabilities(estimator) -> nn.Module:
    if estimator.loss != "log_loss":
        raise unsupported(estimator, f"with loss={estimator.loss!r} has no torch view", PROBA)
    sigmoids = [nn.LogSigmoid()] if len(estimator.classes_) > 2 else []
    return Chain(classifier(estimator), *sigmoids)


@register(linear_model.RidgeClassifier, linear_model.RidgeClassifierCV, role=(PREDICT, DECISION))
def ridge_classifier(estimator, role: str) -> nn.Module:
    weight, bias = plane(estimator)
    if estimator._label_binarizer.y_type_.startswith("multilabel"):
        raise unsupported(estimator, "predicts several labels per row, which has no torch view,")
    return two_columns(weight, bias)


@register(*REGRESSORS, role=PREDICT)
def regressor(estimator) -> nn.Module:
    return Affine(*plane(estimator))


@register(
    linear_model.PoissonRegressor,
    linear_model.GammaRegressor,
    linear_model.TweedieRegressor,
    role=PREDICT,
)
def generalised(estimator) -> nn.Module:
    link = getattr(estimator, "link", "log")
    if link == "auto":
        link = "log" if estimator.power > 0 else "identity"
    return Chain(Affine(*plane(estimator)), *([Exp()] if link == "log" else []))


@register(linear_model.RANSACRegressor, role=PREDICT)
def ransac(estimator) -> nn.Module:
    return part_view(estimator.estimator_, PREDICT, "estimator_ of RANSACRegressor")


@register(*PARTIAL_LEAST_SQUARES, role=PREDICT)
def partial_least_squares(estimator) -> nn.Module:
    # No public attribute holds the column means.
    return Chain(Shift(estimator._x_mean), Affine(*plane(estimator)))


@register(*PARTIAL_LEAST_SQUARES, role=TRANSFORM)
def latent_scores(estimator) -> nn.Module:
    standard = Shift(estimator._x_mean, estimator._x_std)
    return Chain(standard, Affine(estimator.x_rotations_.T))


@register(discriminant_analysis.LinearDiscriminantAnalysis, role=TRANSFORM)
def discriminant_axes(estimator) -> nn.Module:
    if estimator.solver == "lsqr":
        raise unsupported(estimator, "with solver='lsqr' does not transform: it", TRANSFORM)
    center = estimator.xbar_ if estimator.solver == "svd" else None
    n_axes = min(len(estimator.classes_) - 1, estimator.scalings_.shape[1])
    if estimator.n_components is not None:
        n_axes = min(n_axes, estimator.n_components)
    return Chain(Shift(center), Affine(estimator.scalings_.T), Take(range(n_axes)))
