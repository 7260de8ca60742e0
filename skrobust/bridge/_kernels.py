"""Kernel machines: support vectors, kernel ridge, kernel feature maps."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from scipy import sparse
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC, SVR, NuSVC, NuSVR
from torch import Tensor, nn

from skrobust.bridge._as_torch import DECISION, PREDICT, TRANSFORM, register, unsupported
from skrobust.bridge._linear import two_columns
from skrobust.bridge._views import Affine, Chain, Stretch, View
from skrobust.bridge._votes import Votes

KERNELS = ("linear", "poly", "polynomial", "rbf", "sigmoid", "laplacian")


class Kernel(View):
    """``k(x, c)`` for each of the ``centers`` c: columns (n, n_centers).

    linear x.c, poly (gamma x.c + coef0)^degree, sigmoid tanh(gamma x.c + coef0),
    rbf exp(-gamma ||x - c||^2), laplacian exp(-gamma ||x - c||_1).
    """

    def __init__(self, kind: str, centers, gamma=1.0, degree=3, coef0=0.0):
        super().__init__()
        centers = centers.toarray() if sparse.issparse(centers) else np.asarray(centers)
        self.kind, self.gamma, self.degree, self.coef0 = kind, gamma, degree, coef0
        # Distances do not change under a common shift; small numbers keep digits in float32.
        origin = centers.mean(axis=0) if kind in ("rbf", "laplacian") else 0 * centers[0]
        self.keep("origin", origin)
        self.keep("centers", centers - origin)

    def forward(self, x: Tensor) -> Tensor:
        x, centers = x - self.like("origin", x), self.like("centers", x)
        if self.kind == "laplacian":
            return (-self.gamma * torch.cdist(x, centers, p=1)).exp()
        product = x @ centers.T
        if self.kind == "linear":
            return product
        if self.kind == "rbf":
            apart = x.square().sum(1, keepdim=True) + centers.square().sum(1) - 2 * product
            return (-self.gamma * apart).exp()
        product = self.gamma * product + self.coef0
        return product.tanh() if self.kind == "sigmoid" else product.pow(self.degree)

    def extra_repr(self) -> str:
        return f"{self.kind}, {len(self.centers)} centers"


def machine(estimator, weights, bias, gamma) -> list[nn.Module]:
    """Kernel values at the support vectors, then a matrix; one matrix if the kernel is linear."""
    kind = _kind(estimator)
    if kind == "linear":
        centers = estimator.support_vectors_
        return [
            Affine(weights @ (centers.toarray() if sparse.issparse(centers) else centers), bias)
        ]
    options = {"gamma": gamma, "degree": estimator.degree, "coef0": estimator.coef0}
    return [Kernel(kind, estimator.support_vectors_, **options), Affine(weights, bias)]


def _kind(estimator) -> str:
    if estimator.kernel not in KERNELS:  # a function, precomputed values, or a rare one
        shown = getattr(estimator.kernel, "__name__", repr(estimator.kernel))
        raise unsupported(estimator, f"with kernel={shown} has no torch view; it")
    return estimator.kernel


def _dense(values) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def _pair_weights(estimator) -> np.ndarray:
    """Weights (n_pairs, n_support) of libsvm's table of dual coefficients, (n_classes-1, ...)."""
    dual, sizes = _dense(estimator.dual_coef_), estimator.n_support_
    stops = np.cumsum(sizes)
    owned = [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
    rows = []
    for i, j in combinations(range(len(sizes)), 2):
        row = np.zeros(dual.shape[1])
        row[owned[i]], row[owned[j]] = dual[j - 1, owned[i]], dual[i, owned[j]]
        rows.append(row)
    return np.array(rows)


@register(SVC, NuSVC, role=(PREDICT, DECISION))
def classifier(estimator, role: str) -> nn.Module:
    bias, gamma = estimator.intercept_, estimator._gamma
    if len(estimator.classes_) == 2:
        *front, last = machine(estimator, _dense(estimator.dual_coef_), bias, gamma)
        return Chain(*front, two_columns(last.weight.numpy(), last.bias.numpy()))
    if role == DECISION and estimator.decision_function_shape == "ovo":
        raise unsupported(estimator, "with decision_function_shape='ovo' has no torch view", role)
    first_wins = role == PREDICT and not estimator.break_ties
    pairs = machine(estimator, _pair_weights(estimator), bias, gamma)
    return Chain(*pairs, Votes(len(estimator.classes_), first_wins))


@register(SVR, NuSVR, role=PREDICT)
def regressor(estimator) -> nn.Module:
    weights = _dense(estimator.dual_coef_)
    return Chain(*machine(estimator, weights, estimator.intercept_, estimator._gamma))


def pairwise(estimator, centers, coef0: float) -> nn.Module:
    """The kernel of an estimator that leaves its options to ``pairwise_kernels``."""
    if _kind(estimator) == "linear":
        return Affine(_dense(centers))
    gamma = 1 / np.shape(centers)[1] if estimator.gamma is None else estimator.gamma
    degree = 3 if estimator.degree is None else estimator.degree
    return Kernel(_kind(estimator), centers, gamma, degree, coef0)


@register(KernelRidge, role=PREDICT)
def kernel_ridge(estimator) -> nn.Module:
    weights = np.atleast_2d(estimator.dual_coef_.T)
    return Chain(pairwise(estimator, estimator.X_fit_, estimator.coef0), Affine(weights))


@register(Nystroem, role=TRANSFORM)
def nystroem(estimator) -> nn.Module:
    if estimator.kernel_params:
        raise unsupported(estimator, "with kernel_params has no torch view; it")
    coef0 = 1 if estimator.coef0 is None else estimator.coef0
    kernel = pairwise(estimator, estimator.components_, coef0)
    return Chain(kernel, Affine(estimator.normalization_))


class Cosine(View):
    """``x -> cos(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cos()


@register(RBFSampler, role=TRANSFORM)
def random_waves(estimator) -> nn.Module:
    waves = Affine(estimator.random_weights_.T, estimator.random_offset_)
    return Chain(waves, Cosine(), Stretch((2 / estimator.n_components) ** 0.5))
