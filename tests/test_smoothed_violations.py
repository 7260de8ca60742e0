"""No attack takes a smoothed model's prediction away within the certified radius: a hundred thousand trials."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, make_moons
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skrobust import LpBall, RobustClassifier, SmoothedClassifier, SmoothedRegressor

MOONS = make_moons(300, noise=0.1, random_state=0)
IRIS = load_iris(return_X_y=True)
MODELS = {
    "half-space": (LogisticRegression(C=100), MOONS, 40),
    "three classes": (LogisticRegression(), IRIS, 40),
    "tree": (DecisionTreeClassifier(max_depth=6, random_state=0), MOONS, 40),
    "tree, iris": (DecisionTreeClassifier(max_depth=4, random_state=0), IRIS, 40),
    "forest": (RandomForestClassifier(4, max_depth=6, random_state=0), MOONS, 6),
    "boosting": (HistGradientBoostingClassifier(max_iter=10), MOONS, 4),
    "neighbour": (KNeighborsClassifier(1), MOONS, 4),
    "network": (RobustClassifier(divergence="consistency", radius=0.3, random_state=0), MOONS, 6),
}
SCALE = np.array([1.0, 2.0])


def slope(model, x: np.ndarray, codes: np.ndarray, n: int = 300) -> np.ndarray:
    """Which way the share of the class falls: Stein's identity, ``-E[1[f(x + std e) = c] e] / std``.

    From noise of its own: whoever attacks does not know the model's.
    """
    e = np.random.default_rng(0).normal(size=(n, x.shape[1]))
    std = model.noise_.std
    answers = model.estimator_.predict((x[:, None] + std * e).reshape(-1, x.shape[1]))
    same = (answers == np.repeat(model.classes_[codes], n)).reshape(len(x), n)
    return -(same - same.mean(axis=1, keepdims=True)) @ e / std


def trials(model, X: np.ndarray, threat: LpBall, n_draws: int, share: float = 0.999):
    """Attacked rows and what was predicted: at a share of the radius, uphill and at random."""
    certificate = model.certify(X, threat=threat)
    held = np.flatnonzero((certificate.radius > 0) & np.isfinite(certificate.radius))
    x, radius = torch.tensor(X[held]), torch.tensor(share * certificate.radius[held])
    region = threat.region(x, radius)
    codes = np.searchsorted(model.classes_, certificate.prediction[held])
    generator = torch.Generator().manual_seed(0)
    z = x
    for _ in range(4):  # each from where the one before ended
        z = region.steepest(torch.tensor(slope(model, z.numpy(), codes)))
        yield z.numpy(), certificate.prediction[held]
    for _ in range(n_draws):
        z = region.sample(generator)
        yield z.numpy(), certificate.prediction[held]
        way = region.steepest(z - x)  # the same way, to the end
        yield way.numpy(), certificate.prediction[held]


def test_the_attack_can_break():
    """Twice as far it does, so that the zero of the next test says something."""
    model = SmoothedClassifier(
        LogisticRegression(C=100), noise=0.2, n_samples=200, random_state=0
    ).fit(*MOONS)
    found = [
        (model.predict(z) != kept).mean()
        for z, kept in trials(model, MOONS[0], LpBall("l2"), 1, 2.0)
    ]
    assert found[0] > 0.2


@pytest.mark.slow
def test_no_prediction_changes_within_the_certified_radius():
    n_trials, broken = 0, {}
    for name, (base, (X, y), n_draws) in MODELS.items():
        scale = SCALE if X.shape[1] == 2 else 1.0
        for noise in (0.2, 0.5):
            model = SmoothedClassifier(
                base, noise=noise, threat=LpBall("l2", scale=scale), n_samples=200,
                n_samples_select=50, random_state=0,
            ).fit(X, y)  # fmt: skip
            for norm in ("l2", "linf", "l1"):
                for moved, kept in trials(model, X[::2], LpBall(norm, scale=scale), n_draws):
                    n_trials += len(moved)
                    n_broken = int((model.predict(moved) != kept).sum())
                    broken[name] = broken.get(name, 0) + n_broken
    assert n_trials >= 100_000, n_trials
    assert broken == dict.fromkeys(MODELS, 0), (n_trials, broken)


@pytest.mark.slow
def test_no_output_leaves_its_bounds():
    rng, n_trials = np.random.default_rng(0), 0
    X = rng.uniform(-1, 1, size=(150, 2))
    y = np.sin(4 * X[:, 0]) + np.sign(X[:, 1])
    tree = DecisionTreeRegressor(max_depth=6, random_state=0)
    generator = torch.Generator().manual_seed(0)
    for noise in (0.1, 0.3):
        model = SmoothedRegressor(
            tree, noise=noise, threat=LpBall("l2", scale=SCALE), n_samples=200, random_state=0
        ).fit(X, y)
        for norm in ("l2", "linf", "l1"):
            threat, radius = LpBall(norm, scale=SCALE), 0.7 * noise
            found = model.certify(X, threat=threat, radius=radius)
            region = threat.region(torch.tensor(X), radius)
            for _ in range(12):
                inside = region.sample(generator)
                for z in (inside, region.steepest(inside - torch.tensor(X))):
                    answer = model.predict(z.numpy())[:, None]
                    assert ((found.lower <= answer) & (answer <= found.upper)).all()
                    n_trials += len(answer)
            assert np.isfinite(found.upper).all()
    assert n_trials > 20_000
