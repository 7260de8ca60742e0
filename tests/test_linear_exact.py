"""The linear module reaches the optimum of the closed-form worst-case loss."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import StandardScaler

from skrobust import RobustClassifier, RobustRegressor, robust_accuracy_score, robust_loss
from skrobust.threats import LpBall

DECAY = 5e-4  # the default of weight_decay


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def best_logistic(X, y, radius, dual):
    """Minimum of mean softplus(radius ||w||_q - margin) + ridge, by a general solver."""
    sign, width = 2 * y - 1, X.shape[1]

    def loss(p):
        if dual == 1:  # w = a - b, both >= 0: smooth
            w, length = p[:width] - p[width:-1], p[:-1].sum()
        else:
            w = p[:width]
            length = np.sqrt((w**2).sum() + 1e-12)
        margin = sign * (X @ w + p[-1]) - radius * length
        share = -sign / (1 + np.exp(margin)) / len(X)
        slope, pull = X.T @ share, radius * np.abs(share).sum()
        value = np.logaddexp(0, -margin).mean() + 0.25 * DECAY * (w**2).sum()
        slope = slope + 0.5 * DECAY * w
        if dual == 1:
            return value, np.r_[slope + pull, -slope + pull, share.sum()]
        return value, np.r_[slope + pull * w / length, share.sum()]

    n = (2 if dual == 1 else 1) * width
    bounds = [(0 if dual == 1 else None, None)] * n + [(None, None)]
    start = np.r_[np.full(n, 0.01), 0.0]
    return minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B",
                    options=dict(maxiter=5000, maxfun=50000, ftol=1e-14, gtol=1e-10)).fun  # fmt: skip


@pytest.mark.parametrize(("norm", "dual", "radius"), [("linf", 1, 0.1), ("l2", 2, 0.5)])
def test_robust_logistic_regression_against_a_general_solver(norm, dual, radius):
    X, y = cancer()
    model = RobustClassifier("linear", threat=norm, radius=radius, random_state=0).fit(X, y)
    layer = model.net_.module_.body[-1]
    spread = model.net_.module_.spread.numpy()
    np.testing.assert_allclose(spread, 1, rtol=1e-9)  # the same ridge in both
    weight = (layer.weight[1] - layer.weight[0]).detach().numpy() / spread
    margin = (2 * y - 1) * model.decision_function(X)
    margin = margin - radius * np.linalg.norm(weight, 1 if dual == 1 else 2)
    ridge = 0.5 * DECAY * float(layer.weight.detach().square().sum())
    reached = np.logaddexp(0, -margin).mean() + ridge
    best = best_logistic(X, y, radius, dual)
    assert best - 1e-9 <= reached <= best + 2e-3
    robust = robust_accuracy_score(model, X, y, radius=radius, threat=norm)
    assert robust == pytest.approx(np.mean(margin > 0))


def test_robust_least_squares_pays_the_dual_norm():
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    radius = 0.2
    model = RobustRegressor("linear", radius=radius, divergence="loss", random_state=0).fit(X, y)
    scaled = (y - y.mean()) / y.std()

    def loss(w):
        miss = np.abs(scaled - X @ w[:-1] - w[-1]) + radius * np.abs(w[:-1]).sum()
        return (miss**2).mean() + 0.5 * DECAY * (w[:-1] ** 2).sum()

    layer = model.net_.module_.body[-1]
    own = np.r_[layer.weight[0].detach().numpy(), layer.bias.item()]
    rng = np.random.default_rng(0)
    near = [loss(own + 0.02 * rng.normal(size=own.shape)) for _ in range(300)]
    assert loss(own) < min(near)  # convex: no descent near by, so none anywhere
    worst = robust_loss(model, X, y, radius=radius) / y.var()
    assert worst == pytest.approx(loss(own) - 0.5 * DECAY * (own[:-1] ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize(
    "threat",
    [
        LpBall("l1"),
        LpBall("l2", bounds="data", frozen=[0]),
        LpBall(scale="std", direction={1: "up"}),
        LpBall(integer=[2]),
    ],
    ids=repr,
)
def test_three_classes_in_any_region(threat):
    X, y = load_iris(return_X_y=True)
    X[:, 2] = X[:, 2].round() if threat.integer else X[:, 2]
    model = RobustClassifier("linear", threat=threat, radius=0.1, random_state=0).fit(X, y)
    assert model.net_.module_.width == torch.float64  # it was solved, not trained on batches
    assert model.score(X, y) > 0.93
    assert robust_accuracy_score(model, X, y, radius=0.1, threat=model.threat_) > 0.85


@pytest.mark.parametrize(
    "options", [dict(attack="pgd"), dict(batch_size=32), dict(divergence="gradient")]
)
def test_it_can_still_be_trained_like_a_network(options):
    X, y = load_iris(return_X_y=True)
    model = RobustClassifier("linear", radius=0.1, random_state=0, **options).fit(X, y)
    assert model.net_.module_.width == torch.float32
    assert model.score(X, y) > 0.8
