"""scikit-learn's own multilayer perceptrons."""

from __future__ import annotations

from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

from skrobust.bridge._as_torch import PREDICT, PROBA, register, unsupported
from skrobust.bridge._linear import two_columns
from skrobust.bridge._views import Affine, Chain, Exp

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "identity": nn.Identity}


def hidden(estimator) -> list[nn.Module]:
    """The layers before the last, each followed by its activation."""
    parts: list[nn.Module] = []
    for weight, bias in list(zip(estimator.coefs_, estimator.intercepts_, strict=True))[:-1]:
        parts += [Affine(weight.T, bias), ACTIVATIONS[estimator.activation]()]
    return parts


@register(MLPClassifier, role=(PREDICT, PROBA))
def classifier(estimator, role: str) -> nn.Module:
    weight, bias = estimator.coefs_[-1].T, estimator.intercepts_[-1]
    if estimator.out_activation_ == "logistic" and len(weight) > 1:
        raise unsupported(estimator, "predicts several labels per row, which has no torch view,")
    return Chain(*hidden(estimator), two_columns(weight, bias))


@register(MLPRegressor, role=PREDICT)
def regressor(estimator) -> nn.Module:
    link = [Exp()] if estimator.out_activation_ == "exp" else []
    last = Affine(estimator.coefs_[-1].T, estimator.intercepts_[-1])
    return Chain(*hidden(estimator), last, *link)
