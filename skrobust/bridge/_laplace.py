"""Gaussian process classifiers: Laplace's approximation of each pair or class."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessClassifier
from torch import Tensor, nn

from skrobust.bridge._as_torch import PREDICT, PROBA, register, unsupported
from skrobust.bridge._gaussian_process import Covariance, plan_of, variance
from skrobust.bridge._linear import two_columns
from skrobust.bridge._views import Beside, Chain, View
from skrobust.bridge._votes import duels

# The logistic function as a sum of error functions (Williams & Barber, "Bayesian Classification
# with Gaussian Processes", 1998, appendix A), in scikit-learn's rounding.
SLOPES = np.array([0.41, 0.4, 0.37, 0.44, 0.39])
SHARES = np.array([-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654])


class Positive(View):
    """Probability of the second of two classes, (n, 1): the mean of a squashed latent Gaussian.

    ``sum_i c_i (1 + erf(l_i m / sqrt(1 + 2 l_i^2 v))) / 2`` with the mean m and the variance v of
    the latent function (Rasmussen & Williams 2006, algorithm 3.2).
    """

    def __init__(self, latent):
        super().__init__()
        self.plan = plan_of(latent.kernel_)
        self.covariance = Covariance(self.plan, latent.X_train_)
        self.keep("weights", latent.y_train_ - latent.pi_)
        # The variance is k(x, x) - ||A k||^2; L has no eigenvalue below 1, so its inverse is safe.
        self.keep("root", np.linalg.inv(latent.L_) * latent.W_sr_)
        self.keep("slopes", SLOPES)
        self.keep("shares", SHARES)

    def forward(self, x: Tensor) -> Tensor:
        known = self.covariance(x)
        mean = (known @ self.like("weights", x))[:, None]
        spent = (known @ self.like("root", x).T).square().sum(dim=1)
        rest = (variance(self.plan, x) - spent).clamp(min=0)[:, None]
        # The shares cancel: in float32 they would leave three digits.
        mean, rest, slopes = mean.double(), rest.double(), self.slopes.double()
        steps = torch.special.erf(slopes * mean / (1 + 2 * slopes.square() * rest).sqrt())
        return ((0.5 + 0.5 * steps) @ self.shares.double()[:, None]).to(x.dtype)


class LogShares(View):
    """``log(p)`` of columns p, which rounding may have moved to 0 or beyond."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=torch.finfo(x.dtype).tiny).log()


class Both(View):
    """``p -> (1 - p, p)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([1 - x, x], dim=1)


@register(GaussianProcessClassifier, role=(PREDICT, PROBA))
def classifier(estimator, role: str) -> nn.Module:
    """Two classes: (0, f) of the latent mean f, whose sign is the prediction; or log p."""
    base = estimator.base_estimator_
    if len(estimator.classes_) > 2:
        parts = [Positive(latent) for latent in base.estimators_]
        if estimator.multi_class == "one_vs_rest":
            return Chain(Beside(parts), LogShares())
        if role == PROBA:
            raise unsupported(estimator, "with multi_class='one_vs_one' has no torch view", role)
        return duels(parts, True, len(estimator.classes_), role)
    if role == PROBA:
        return Chain(Positive(base), Both(), LogShares())
    weights = np.atleast_2d(base.y_train_ - base.pi_)
    covariance = Covariance(plan_of(base.kernel_), base.X_train_)
    return Chain(covariance, two_columns(weights, np.zeros(1)))
