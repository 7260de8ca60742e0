"""XGBoost and LightGBM through the public scores, against brute force over their own thresholds.

Nothing here asks our reader what the trees look like: thresholds come from the libraries' own
tables, and every point of the grid is judged by the model's own ``predict``.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, robust_accuracy_score, robust_loss, worst_case
from skrobust.exceptions import BlackBoxWarning
from skrobust.trees import TreeSearch, tree_view

rng = np.random.RandomState(0)
X, y = load_iris(return_X_y=True)
X = X[:, 1:] + 0.3 * rng.randn(len(X), 3)
GAPS = np.where(rng.rand(*X.shape) < 0.2, np.nan, X)
WORDS = np.array(["one", "two", "three"])[y]
VALUES = load_diabetes(return_X_y=True)[1][: len(X)] / 100 + X[:, 0]
ROWS, ASKED = slice(0, 100), slice(100, None)
CASES = {
    "classes": (X, y, {}),
    "words": (X, WORDS, {}),
    "two classes": (X, y == 1, {"learning_rate": 0.8}),
    "missing": (GAPS, y, {}),
    "early stopping": (X, y == 1, {"stop": 2, "n_estimators": 40, "learning_rate": 0.8}),
    "values": (X, VALUES, {}),
    "values, missing": (GAPS, VALUES, {}),
}


@pytest.fixture(autouse=True)
def no_black_box():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BlackBoxWarning)
        yield


def small(library, data, target, stop=None, **options):
    """A small model of one of the libraries, trained on every row that is not asked about."""
    module = pytest.importorskip(library, reason="reads the models of this library")
    shuffled = np.random.RandomState(1).permutation(len(data))
    data, target = data[shuffled], target[shuffled]
    kind = "Regressor" if target.dtype.kind == "f" else "Classifier"
    options = {"n_estimators": 3, "max_depth": 2, "n_jobs": 1, "random_state": 0, **options}
    train, held = (data[ROWS], target[ROWS]), [(data[ASKED], target[ASKED])]
    if library == "xgboost":
        names = np.unique(target, return_inverse=True)[1] if target.dtype.kind == "U" else target
        model = getattr(module, f"XGB{kind}")(early_stopping_rounds=stop, **options)
        held = [(data[ASKED], names[ASKED])] if stop else None
        model.fit(data[ROWS], names[ROWS], eval_set=held, verbose=False)
        return model, data[ASKED], names[ASKED]
    model = getattr(module, f"LGBM{kind}")(verbose=-1, min_child_samples=5, **options)
    if not stop:
        return model.fit(*train), data[ASKED], target[ASKED]
    calls = {"callbacks": [module.early_stopping(stop, verbose=False)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions want eval_X, older ones do not know it
        model.fit(*train, eval_set=held, **calls)
    return model, data[ASKED], target[ASKED]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_trees_after_the_best_round_do_not_count(library):
    data, target, options = CASES["early stopping"]
    model, _, _ = small(library, data, target, **options)
    rounds = model.best_iteration + 1 if library == "xgboost" else model.best_iteration_
    assert tree_view(model).n_trees == rounds < options["n_estimators"]


def thresholds(model, n_columns):
    """What the library itself says that its trees ask for, column by column."""
    if hasattr(model, "get_booster"):
        table = model.get_booster().trees_to_dataframe()
        column, value = table["Feature"].str.extract(r"f(\d+)")[0], table["Split"]
    else:
        table = model.booster_.trees_to_dataframe()
        column, value = table["split_feature"].str.extract(r"_(\d+)")[0], table["threshold"]
    column, value = column.astype(float), value.astype(float)
    return [np.unique(value[column == j].dropna()) for j in range(n_columns)]


def beside(limits, value, radius):
    """The number itself, and two on each side of every threshold that it can pass."""
    if np.isnan(value):
        return np.array([value])
    gap = 1e-6 * np.maximum(np.abs(limits), 1e-3)  # XGBoost rounds to single precision
    points = np.r_[value, limits - gap, limits + gap, value - radius, value + radius]
    return np.unique(points[np.abs(points - value) <= radius * (1 + 1e-12)])


def grid_of(row, limits, radius, norm):
    grid = np.array(list(itertools.product(*map(beside, limits, row, [radius] * len(row)))))
    way = np.nan_to_num(grid - row)
    length = np.abs(way).max(axis=1) if norm == "linf" else np.sqrt((way**2).sum(axis=1))
    return grid[length <= radius * (1 + 1e-12)]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("case", [name for name in CASES if "values" not in name])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_accuracy_is_that_of_brute_force(library, case, norm):
    data, target, options = CASES[case]
    model, rows, labels = small(library, data, target, **options)
    limits = thresholds(model, rows.shape[1])
    for radius in (0.1, 0.4):
        truth = [
            (model.predict(grid_of(row, limits, radius, norm)) == label).all()
            for row, label in zip(rows, labels, strict=True)
        ]
        found = robust_accuracy_score(model, rows, labels, radius=radius, threat=norm)
        assert found == pytest.approx(np.mean(truth), abs=1e-12)
        worst = worst_case(model, rows, labels, radius=radius, threat=norm)
        np.testing.assert_array_equal(worst.broken, ~np.array(truth))
        np.testing.assert_array_equal(model.predict(worst.X) != labels, worst.broken)
    assert 0 < found < model.score(rows, labels)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("case", [name for name in CASES if "values" in name])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_loss_is_that_of_brute_force(library, case, norm):
    data, target, options = CASES[case]
    model, rows, values = small(library, data, target, **options)
    limits = thresholds(model, rows.shape[1])
    truth = [
        np.abs(model.predict(grid_of(row, limits, 0.3, norm)) - value).max()
        for row, value in zip(rows, values, strict=True)
    ]
    worst = worst_case(model, rows, values, radius=0.3, threat=norm, loss="absolute")
    np.testing.assert_allclose(worst.value, truth, rtol=2e-6)
    found = robust_loss(model, rows, values, radius=0.3, threat=norm, loss="absolute")
    assert found == pytest.approx(np.mean(truth), rel=2e-6)
    assert found > 1.05 * np.abs(model.predict(rows) - values).mean()


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
def test_xgboost_is_passed_by_the_least_there_is(dtype):
    """It compares in single precision: 0.1 < 0.1 is no, and numbers of double type are rounded."""
    module = pytest.importorskip("xgboost", reason="reads the models of this library")
    model = module.XGBClassifier(n_estimators=1, max_depth=1, min_child_weight=0, n_jobs=1)
    model.fit(np.array([[0.0], [0.05], [0.15], [0.2]]), [0, 0, 1, 1])
    (limit,) = thresholds(model, 1)[0].astype(np.float32)
    below = np.nextafter(limit, np.float32(-1))
    rows, labels = np.array([[below], [limit]], dtype=dtype), [0, 1]
    assert model.predict(rows).tolist() == labels
    smallest = float(limit) - float(below)
    worst = worst_case(model, rows, labels, radius=1.01 * smallest)
    assert worst.broken.all() and worst.X.dtype == dtype
    assert model.predict(worst.X).tolist() == [1, 0]
    if dtype == np.float64:  # half of that step is enough to be rounded up
        assert worst_case(model, rows, labels, radius=0.51 * smallest).broken.all()
        assert not worst_case(model, rows, labels, radius=0.4 * smallest).broken.any()
    else:
        assert not worst_case(model, rows, labels, radius=0.9 * smallest).broken.any()


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_behind_a_scaler_and_proven(library):
    module = pytest.importorskip(library, reason="reads the models of this library")
    kind = module.XGBClassifier if library == "xgboost" else module.LGBMClassifier
    quiet = {} if library == "xgboost" else {"verbose": -1}
    model = make_pipeline(StandardScaler(), kind(n_estimators=20, n_jobs=1, **quiet)).fit(X, y)
    threat = LpBall("l2", scale="std").bind(X)
    given = {"radius": 0.3, "threat": threat, "random_state": 0}
    found = robust_accuracy_score(model, X, y, **given)
    searched = robust_accuracy_score(model, X, y, attack="search", **given)
    proven = robust_accuracy_score(model, X, y, attack=TreeSearch(exact=True), **given)
    assert 0 < proven <= found <= min(searched, proven + 0.01)
    assert searched < model.score(X, y)
