"""Trees under threats with rules: whole numbers, levels, categories; against brute force."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skrobust import LpBall, worst_case
from skrobust.exceptions import BlackBoxWarning
from skrobust.trees import TreeSearch, tree_view, worst_rows

# age (whole), size (a few levels), income (any number), three one-hot columns, a code
rng = np.random.RandomState(0)
N = 220
KIND, CODE = rng.randint(3, size=N), rng.choice([1.0, 4.0, 6.0, 9.0], size=N)
SIZES = np.array([1.0, 1.7, 3.0, 3.2, 5.0])
X = np.c_[rng.randint(0, 9, N), rng.choice(SIZES, N), 2 * rng.randn(N), np.eye(3)[KIND], CODE]
SCORE = X[:, 0] - 2 * X[:, 1] + X[:, 2] + 3 * (KIND == 1) + 2 * np.isin(CODE, (4, 9))
y = (SCORE > np.median(SCORE)).astype(int) + (SCORE > np.quantile(SCORE, 0.8))
GAPS = X.copy()
GAPS[::5, 0] = np.nan
GAPS[1::7, 6] = np.nan
SEED = {"random_state": 0}
SMALL = {"max_iter": 4, "max_leaf_nodes": 6, **SEED}
ORDER = {"integer": [0], "levels": {1: SIZES}}
LEAPS = {"groups": [[3, 4, 5]], "categorical": {6: [1, 4, 6, 9]}}
MODELS = {
    "tree": (DecisionTreeClassifier(max_depth=6, **SEED), X, y),
    "forest": (RandomForestClassifier(5, max_depth=4, **SEED), X, y),
    "scaled": (make_pipeline(StandardScaler(), ExtraTreesClassifier(4, max_depth=4, **SEED)), X, y),
    "categories": (HistGradientBoostingClassifier(categorical_features=[6], **SMALL), GAPS, y),
    "values": (GradientBoostingRegressor(n_estimators=6, **SEED), X, SCORE),
}
THREATS = {
    "steps": LpBall(**ORDER, frozen=[3, 4, 5, 6]),
    "steps in l2": LpBall("l2", **ORDER, frozen=[3, 4, 5, 6], direction={0: "up"}),
    "one change": LpBall(**ORDER, **LEAPS),
    "one change in l1": LpBall("l1", **ORDER, **LEAPS),
    "two changes": LpBall(**ORDER, **LEAPS, max_changes=2),
}


@pytest.fixture(autouse=True)
def no_black_box():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BlackBoxWarning)
        yield


def problem(name):
    model, data, target = MODELS[name]
    model.fit(data, target)
    return model, data[3::22], target[3::22]


def brute_force(model, rows, target, threat, radius):
    """The worst value of each row over all that its columns can be; predict itself judges."""
    forest, worst = tree_view(model), []
    is_classifier = hasattr(model, "classes_")
    region = threat.region(torch.tensor(rows), radius)
    for i, row in enumerate(rows):
        low, high = region.ball.low[i, 2].item(), region.ball.high[i, 2].item()
        own = slice(forest.cells.starts[2], forest.cells.starts[3])
        incomes = np.clip(row[2], forest.cells.first[own], forest.cells.last[own])
        choices = [
            [row[0]] if np.isnan(row[0]) else np.arange(row[0] - 3, row[0] + 4),
            SIZES,
            incomes[(incomes >= low) & (incomes <= high)],
            np.eye(3),
            [row[6]] if np.isnan(row[6]) else [1, 4, 6, 9],
        ]
        grid = np.array([np.hstack(parts) for parts in itertools.product(*choices)])
        many = threat.region(torch.tensor(row).expand(len(grid), -1), radius)
        grid = grid[(many.distance(torch.tensor(grid)) <= radius).numpy()]
        if is_classifier:
            worst.append((model.predict(grid) != target[i]).any())
        else:
            worst.append(np.abs(model.predict(grid) - target[i]).max())
    return np.array(worst)


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", MODELS)
def test_brute_force(name, threat):
    model, rows, target = problem(name)
    threat, radius = THREATS[threat], 1.4
    truth = brute_force(model, rows, target, threat, radius)
    given = {"radius": radius, "threat": threat, "random_state": 0}
    for attack in ("auto", TreeSearch(exact=True)):
        if truth.dtype == bool:
            worst = worst_case(model, rows, target, attack=attack, **given)
            np.testing.assert_array_equal(worst.broken, truth)
            np.testing.assert_array_equal(model.predict(worst.X) != target, truth)
        else:
            worst = worst_case(model, rows, target, attack=attack, loss="absolute", **given)
            np.testing.assert_allclose(worst.value, truth, atol=1e-9)
        region = threat.region(torch.tensor(rows), radius)
        assert (region.distance(torch.tensor(worst.X)) <= radius).all()
    assert truth.any()


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", MODELS)
def test_bounds_hold(name, threat):
    """Value <= truth <= upper; the three meet where leaps are few."""
    model, rows, target = problem(name)
    if not hasattr(model, "classes_"):
        target = target[:, None]
    given = {"radius": 1.0, "threat": THREATS[threat], "attack": TreeSearch(exact=True)}
    worst = worst_rows(tree_view(model), rows, target, **given)
    assert (worst.value <= worst.upper + 1e-9).all()
    if "two" not in threat:
        np.testing.assert_allclose(worst.value, worst.upper, atol=1e-6)


def test_derived_columns_and_smooth_series_are_not_weaker_than_a_black_box():
    rows = np.c_[X[:, :3], X[:, 0] + X[:, 2]]
    model = RandomForestClassifier(20, **SEED).fit(rows, y)
    threat = LpBall(integer=[0], repair={3: lambda row: row[0] + row[2]})
    given = {"radius": 1.0, "threat": threat, "random_state": 0}
    found = worst_case(model, rows[::4], y[::4], **given)
    searched = worst_case(model, rows[::4], y[::4], attack="search", **given)
    assert found.broken.sum() >= searched.broken.sum() > (model.predict(rows[::4]) != y[::4]).sum()
    np.testing.assert_allclose(found.X[:, 3], found.X[:, 0] + found.X[:, 2])
    series = np.cumsum(np.random.RandomState(0).randn(60, 12), axis=1)
    kind = (series[:, 6] > series[:, 0]).astype(int)
    model = RandomForestClassifier(20, **SEED).fit(series, kind)
    given = {"radius": 0.8, "threat": LpBall(band=0.4), "random_state": 0}
    found = worst_case(model, series, kind, **given)
    searched = worst_case(model, series, kind, attack="search", **given)
    assert found.broken.sum() >= searched.broken.sum() > 0
