"""Gaussian processes: kernels, and the posterior mean as a function of the row."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from torch import Tensor, nn

from skrobust.bridge._as_torch import PREDICT, register, unsupported
from skrobust.bridge._views import Affine, Chain, View


class Covariance(View):
    """``k(x, c)`` of a scikit-learn kernel for each training row c: columns (n, n_train).

    ``plan`` is the kernel as nested tuples ``(name, *arguments)`` (see :func:`plan_of`).
    """

    def __init__(self, plan: tuple, rows):
        super().__init__()
        self.plan = plan
        self.keep("rows", rows)

    def forward(self, x: Tensor) -> Tensor:
        return _evaluate(self.plan, x, self.like("rows", x))


def _evaluate(plan: tuple, x: Tensor, rows: Tensor) -> Tensor:
    name, *arguments = plan
    if name in ("sum", "product"):
        a, b = (_evaluate(part, x, rows) for part in arguments)
        return a + b if name == "sum" else a * b
    if name == "power":
        return _evaluate(arguments[0], x, rows).pow(arguments[1])
    return _KERNELS[name](x, rows, *arguments)


def variance(plan: tuple, x: Tensor) -> Tensor:
    """``k(x, x)`` of each row (n,)."""
    name, *arguments = plan
    if name in ("sum", "product"):
        a, b = (variance(part, x) for part in arguments)
        return a + b if name == "sum" else a * b
    if name == "power":
        return variance(arguments[0], x).pow(arguments[1])
    if name == "dot":
        return x.square().sum(dim=1) + arguments[0] ** 2
    return x.new_full((len(x),), arguments[0] if name in ("constant", "white") else 1.0)


def _apart(x: Tensor, rows: Tensor, length) -> Tensor:
    """Distances (n, n_train) in units of ``length``; differentiable at 0 too (slope 0)."""
    length = torch.tensor(length, dtype=x.dtype, device=x.device)
    mode = "donot_use_mm_for_euclid_dist"  # the fast way loses half the digits of small distances
    return torch.cdist(x / length, rows / length, compute_mode=mode)


def _constant(x: Tensor, rows: Tensor, value: float) -> Tensor:
    return x.new_full((len(x), len(rows)), value)


def _white(x: Tensor, rows: Tensor, level: float) -> Tensor:
    return _constant(x, rows, 0.0)  # noise is shared by a row and itself only


def _rbf(x: Tensor, rows: Tensor, length) -> Tensor:
    return (-0.5 * _apart(x, rows, length).square()).exp()


def _matern(x: Tensor, rows: Tensor, length, nu: float) -> Tensor:
    if nu == np.inf:
        return _rbf(x, rows, length)
    s = (2 * nu) ** 0.5 * _apart(x, rows, length)
    front = {0.5: 1.0, 1.5: 1 + s, 2.5: 1 + s + s.square() / 3}[nu]
    return front * (-s).exp()


def _rational(x: Tensor, rows: Tensor, length, alpha: float) -> Tensor:
    return (1 + _apart(x, rows, length).square() / (2 * alpha)).pow(-alpha)


def _periodic(x: Tensor, rows: Tensor, length, period: float) -> Tensor:
    wave = (np.pi / period * _apart(x, rows, 1.0)).sin()
    return (-2 * (wave / length).square()).exp()


def _dot(x: Tensor, rows: Tensor, offset: float) -> Tensor:
    return x @ rows.T + offset**2


_KERNELS: dict[str, Callable[..., Tensor]] = {
    "constant": _constant,
    "rbf": _rbf,
    "matern": _matern,
    "rational": _rational,
    "periodic": _periodic,
    "dot": _dot,
    "white": _white,
}


@singledispatch
def plan_of(kernel) -> tuple:
    """A kernel as plain data."""
    raise unsupported(kernel, "is a kernel that has no torch view; it")


def _length(kernel):
    return np.asarray(kernel.length_scale, dtype=float).tolist()


def _only(kernel, cls: type) -> None:
    """Subclasses may compute something else."""
    if type(kernel) is not cls:
        raise unsupported(kernel, f"is a {cls.__name__} of its own kind; it")


@plan_of.register
def _(kernel: kernels.RBF):
    _only(kernel, kernels.RBF)
    return "rbf", _length(kernel)


@plan_of.register
def _(kernel: kernels.Matern):
    _only(kernel, kernels.Matern)
    if kernel.nu not in (0.5, 1.5, 2.5, np.inf):
        raise unsupported(kernel, f"with nu={kernel.nu} is a kernel that has no torch view; it")
    return "matern", _length(kernel), float(kernel.nu)


@plan_of.register
def _(kernel: kernels.RationalQuadratic):
    _only(kernel, kernels.RationalQuadratic)
    return "rational", _length(kernel), float(kernel.alpha)


@plan_of.register
def _(kernel: kernels.ExpSineSquared):
    _only(kernel, kernels.ExpSineSquared)
    return "periodic", _length(kernel), float(kernel.periodicity)


@plan_of.register
def _(kernel: kernels.DotProduct):
    _only(kernel, kernels.DotProduct)
    return "dot", float(kernel.sigma_0)


@plan_of.register
def _(kernel: kernels.ConstantKernel):
    _only(kernel, kernels.ConstantKernel)
    return "constant", float(kernel.constant_value)


@plan_of.register
def _(kernel: kernels.WhiteKernel):
    _only(kernel, kernels.WhiteKernel)
    return "white", float(kernel.noise_level)


@plan_of.register
def _(kernel: kernels.Sum):
    return "sum", plan_of(kernel.k1), plan_of(kernel.k2)


@plan_of.register
def _(kernel: kernels.Product):
    return "product", plan_of(kernel.k1), plan_of(kernel.k2)


@plan_of.register
def _(kernel: kernels.Exponentiation):
    return "power", plan_of(kernel.kernel), float(kernel.exponent)


@register(GaussianProcessRegressor, role=PREDICT)
def regressor(estimator) -> nn.Module:
    spread = np.reshape(estimator._y_train_std, (-1, 1))
    weights = np.atleast_2d(np.transpose(estimator.alpha_)) * spread
    mean = np.broadcast_to(estimator._y_train_mean, len(weights))
    return Chain(Covariance(plan_of(estimator.kernel_), estimator.X_train_), Affine(weights, mean))
