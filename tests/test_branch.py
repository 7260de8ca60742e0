"""Branch and bound: the truth where rows are settled, never below CROWN, and it keeps its time."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_moons
from sklearn.neural_network import MLPClassifier

from skrobust import LpBall, certified_accuracy_score, certify
from skrobust.certificates import PROVERS, Settings
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows

X, Y = make_moons(40, noise=0.15, random_state=0)


@pytest.fixture(scope="module")
def model():
    net = MLPClassifier((24, 24), max_iter=400, random_state=0, learning_rate_init=0.01)
    return net.fit(*make_moons(300, noise=0.15, random_state=1))


def on_a_grid(model, radius, norm, n=121):
    """The smallest margin of each row on a fine grid of its ball."""
    steps = np.linspace(-1, 1, n)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    if norm != "linf":
        size = np.linalg.norm(grid, axis=1, ord={"l2": 2, "l1": 1}[norm])
        grid = grid[size <= 1]
    label = 2 * model.predict(X) - 1
    places = (X[:, None] + radius * grid).reshape(-1, 2)
    shares = np.log(model.predict_proba(places).clip(1e-300))
    margin = (shares[:, 1] - shares[:, 0]).reshape(len(X), -1)
    return (label[:, None] * margin).min(axis=1)


def prover(model, threat, seconds):
    return PROVERS["branch"](model, threat, Rows(X), Settings(time_budget=seconds))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_settled_rows_are_the_truth(model, norm):
    rows, label = torch.as_tensor(X), torch.as_tensor(model.predict(X)).long()
    radius = torch.full((len(X),), 0.25, dtype=torch.float64)
    branch = prover(model, LpBall(norm), 60.0)
    proven = branch.margin(rows, label, radius).numpy() > 0
    exact = branch.exact_rows(rows, label, radius).numpy()
    truth = on_a_grid(model, 0.25, norm)
    clear = np.abs(truth) > 0.05  # elsewhere the grid itself is too coarse
    assert exact[clear].mean() > 0.8
    assert 0.2 < proven.mean() < 0.9
    settled = clear & exact
    np.testing.assert_array_equal(proven[settled], truth[settled] > 0)
    assert not proven[truth <= 0].any()


def test_more_than_crown(model):
    crown = certify(model, X, threat="linf")
    branch = certify(model, X, threat="linf", method="branch", time_budget=6)
    assert (branch.radius >= crown.radius * (1 - 0.011)).all()
    assert branch.radius.mean() > 1.02 * crown.radius.mean()
    for share, holds in ((0.99, True), (1.1, False)):
        truth = np.array(
            [on_a_grid(model, r * share, "linf", n=41)[i] for i, r in enumerate(branch.radius[:12])]
        )
        assert (truth > 0).all() if holds else (truth <= 0).mean() > 0.7


def test_frozen_and_bound_columns(model):
    threat = LpBall("linf", frozen=[1], bounds=([-2, -2], [3, 2]))
    found = certify(model, X, radius=0.3, threat=threat, method="branch", time_budget=20)
    steps = np.linspace(-0.3, 0.3, 401)
    same = np.ones(len(X), dtype=bool)
    for step in steps:
        moved = X.copy()
        moved[:, 0] = np.clip(moved[:, 0] + step, -2, 3)
        same &= model.predict(moved) == model.predict(X)
    assert found.exact.all()
    assert (found.certified == same).mean() > 0.97
    assert not found.certified[~same].any()


def test_the_time_is_kept(model):
    began = time.monotonic()
    found = certify(model, X, radius=0.25, method="branch", time_budget=0.2)
    assert time.monotonic() - began < 20  # of which CROWN itself takes what it takes
    crown = certified_accuracy_score(model, X, model.predict(X), radius=0.25)
    assert found.certified.mean() >= crown


def test_rows_that_cannot_be_cut_are_refused():
    A, b = load_digits(return_X_y=True)
    wide = MLPClassifier((4,), max_iter=5).fit(np.hstack([A, A]), b)
    with pytest.raises(UnsupportedEstimatorError, match="columns"):
        certify(wide, np.hstack([A, A])[:2], method="branch")


def test_wrong_rows_are_settled_at_once(model):
    branch, wrong = prover(model, LpBall(), 5.0), torch.as_tensor(1 - model.predict(X)).long()
    radius = torch.full((len(X),), 0.1, dtype=torch.float64)
    assert (branch.margin(torch.as_tensor(X), wrong, radius) <= 0).all()
    assert branch.exact_rows(torch.as_tensor(X), wrong, radius).all()
