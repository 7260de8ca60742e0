"""The search among leaves: against brute force, within its budget, and through worst_case."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skrobust import get_robust_scorer, robust_accuracy_score, robustness_curve, worst_case
from skrobust.exceptions import BlackBoxWarning
from skrobust.metrics._evaluation import Evaluation
from skrobust.threats import LpBall
from skrobust.trees import TreeSearch, tree_view, worst_rows

rng = np.random.RandomState(0)
X, y = load_iris(return_X_y=True)
X = np.clip(X + 0.3 * rng.randn(*X.shape), 0, 6)
GAPS = np.where(rng.rand(*X.shape) < 0.2, np.nan, X)
CODES = np.c_[rng.randint(0, 6, len(X)), X[:, 1:]]
CODED = ((CODES[:, 0] % 3).astype(int) + y) % 3
PAIRS = np.c_[y + 1.0, 2 * X[:, 0]]
SEED = {"random_state": 0}
SMALL = {"max_iter": 4, "max_leaf_nodes": 6, **SEED}

MODELS = {
    "tree": (DecisionTreeClassifier(max_depth=6, **SEED), X, y),
    "tree of values": (DecisionTreeRegressor(max_depth=6, **SEED), X[:, 1:], X[:, 0]),
    "forest": (RandomForestClassifier(6, max_depth=4, **SEED), X, y),
    "full forest": (ExtraTreesClassifier(3, max_depth=5, **SEED), X[:, :3], y),
    "boosting": (GradientBoostingClassifier(n_estimators=5, max_depth=2, **SEED), X, y == 1),
    "histogram": (HistGradientBoostingClassifier(**SMALL), X, y),
    "missing": (HistGradientBoostingClassifier(**SMALL), GAPS, y),
    "categories": (HistGradientBoostingClassifier(categorical_features=[0], **SMALL), CODES, CODED),
    "values": (GradientBoostingRegressor(n_estimators=6, max_depth=3, **SEED), X[:, :3], X[:, 3]),
    "poisson": (HistGradientBoostingRegressor(loss="poisson", **SMALL), X[:, :3], y + 1.0),
    "pairs": (RandomForestRegressor(4, max_depth=4, **SEED), X, PAIRS),
    "scaled": (make_pipeline(StandardScaler(), RandomForestClassifier(4, **SEED)), X, y),
}
THREATS = {
    "linf": LpBall(),
    "l2": LpBall("l2"),
    "l1": LpBall("l1", scale=[0.5, 1.0, 2.0, 1.0]),
    "walls": LpBall(bounds=(0, 6), frozen=[1], direction={2: "up"}),
    "walls in l2": LpBall("l2", bounds=(0, 6), frozen=[0], direction={2: "down"}),
}
FITTED: dict = {}


def problem(name):
    """A fitted model, its forest, some rows and their targets in the form of worst_rows."""
    if name not in FITTED:
        model, rows, target = MODELS[name]
        model = clone(model).fit(rows, target)
        forest = tree_view(model)
        some = target[3::9]
        some = some.astype(int) if forest.is_classifier else some.reshape(len(some), -1)
        FITTED[name] = model, forest, rows[3::9], some
    return FITTED[name]


def threat_for(name, n_features):
    threat = clone(THREATS[name])
    if isinstance(threat.scale, list):
        threat.set_params(scale=threat.scale[:n_features])
    return threat


def brute_force(forest, rows, target, threat, radius):
    """The worst value of each row over all combinations of cells: nearest points, one by one."""
    cells, worst = forest.cells, []
    region = threat.region(torch.tensor(rows), radius)
    for i, row in enumerate(rows):
        choices = []
        for j, value in enumerate(row):
            own = slice(cells.starts[j], cells.starts[j + 1])
            points = np.clip(value, cells.first[own], cells.last[own])
            low, high = float(region.low[i, j]), float(region.high[i, j])
            inside = (points >= low) & (points <= high)
            choices.append([np.nan] if np.isnan(value) else points[inside])
        grid = np.array(list(itertools.product(*choices)))
        many = threat.region(torch.tensor(row).expand(len(grid), -1), radius)
        grid = grid[(many.distance(torch.tensor(grid)) <= radius).numpy()]
        if forest.is_classifier:
            scores = forest.scores(grid)
            lead = scores - scores[:, [target[i]]]
            lead[:, target[i]] = -np.inf
            worst.append(lead.max())
        else:
            worst.append(np.abs(forest.outputs(grid) - target[i]).max())
    return np.array(worst)


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", MODELS)
def test_brute_force(name, threat):
    _, forest, rows, target = problem(name)
    threat = threat_for(threat, rows.shape[1])
    for radius in (0.3, 0.8):
        truth = brute_force(forest, rows, target, threat, radius)
        fast = worst_rows(forest, rows, target, radius=radius, threat=threat)
        assert (fast.value <= truth + 1e-12).all()
        assert (truth <= fast.upper + 1e-9).all()
        assert np.mean(fast.value >= truth - 1e-12) >= 0.9
        exact = TreeSearch(exact=True)
        exact = worst_rows(forest, rows, target, radius=radius, threat=threat, attack=exact)
        np.testing.assert_allclose(exact.value, truth, rtol=0, atol=1e-12)
        np.testing.assert_allclose(exact.upper, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["tree", "tree of values"])
@pytest.mark.parametrize("threat", THREATS)
def test_one_tree_is_solved_without_any_solver(name, threat):
    _, forest, rows, target = problem(name)
    threat = threat_for(threat, rows.shape[1])
    worst = worst_rows(forest, rows, target, radius=0.6, threat=threat)
    np.testing.assert_array_equal(worst.value, brute_force(forest, rows, target, threat, 0.6))
    np.testing.assert_array_equal(worst.upper, worst.value)


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", MODELS)
def test_the_budget_holds_and_the_value_is_that_of_the_row(name, threat):
    model, forest, rows, target = problem(name)
    threat, radius = threat_for(threat, rows.shape[1]), 0.7
    worst = worst_rows(forest, rows, target, radius=radius, threat=threat)
    region = threat.region(torch.tensor(rows), radius)
    assert (region.distance(torch.tensor(worst.z)) <= radius).all()
    still = np.zeros(rows.shape[1], dtype=bool)
    still[threat.frozen or []] = True
    np.testing.assert_array_equal(worst.z[:, still], rows[:, still])
    np.testing.assert_array_equal(np.isnan(worst.z), np.isnan(rows))
    nothing = worst_rows(forest, rows, target, radius=0.0, threat=threat)
    np.testing.assert_array_equal(nothing.z, rows)
    assert (worst.value >= nothing.value).all()
    assert worst.value.mean() > nothing.value.mean()
    if forest.is_classifier and hasattr(model, "predict_proba"):
        lost = model.predict(worst.z) != np.asarray(model.classes_)[target]
        assert lost[worst.value > 1e-12].all()
        assert not lost[worst.value < -1e-12].any()


def test_a_threshold_is_crossed_by_the_least_there_is():
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    stump = DecisionTreeClassifier().fit(rows, [0, 0, 1, 1])  # splits at 1.5
    right, left = np.nextafter(np.float32(1.5), np.float32(2)), 1.5
    # rows are rounded to single precision: halfway to the next number above 1.5 still goes left
    last = (np.float64(right) + 1.5) / 2
    worst = worst_case(stump, rows, [0, 0, 1, 1], radius=0.75)
    np.testing.assert_array_equal(worst.broken, [False, True, True, False])
    assert worst.X[1, 0] == np.nextafter(last, 2) and worst.X[2, 0] == last >= left
    single = worst_case(stump, rows.astype(np.float32), [0, 0, 1, 1], radius=0.75)
    assert single.X.dtype == np.float32
    assert single.X[1, 0] == right and single.X[2, 0] == np.float32(1.5)
    # 1.5 itself is reached by exactly half a step from above, and not passed from below
    assert worst_case(stump, rows, [0, 0, 1, 1], radius=0.5).broken.tolist() == [0, 0, 1, 0]


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BlackBoxWarning)
        yield


TABLE, LABELS = load_breast_cancer(return_X_y=True)
TRAIN, TEST = slice(None, None, 2), slice(1, 300, 2)
ENSEMBLES = {
    "forest": RandomForestClassifier(40, **SEED),
    "extra": ExtraTreesClassifier(40, **SEED),
    "boosting": GradientBoostingClassifier(n_estimators=30, **SEED),
    "histogram": HistGradientBoostingClassifier(max_iter=30, **SEED),
}


@pytest.mark.parametrize("norm, radius", [("linf", 0.3), ("l2", 0.6)])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_not_weaker_than_a_black_box(name, norm, radius, quiet):
    model = clone(ENSEMBLES[name]).fit(TABLE[TRAIN], LABELS[TRAIN])
    threat = LpBall(norm, scale="std").bind(TABLE[TRAIN])
    given = {"radius": radius, "threat": threat, "random_state": 0}
    rows, labels = TABLE[TEST][:40], LABELS[TEST][:40]
    found = worst_case(model, rows, labels, **given)
    np.testing.assert_array_equal(
        found.broken, (model.predict(found.X) != labels) | (model.predict(rows) != labels)
    )
    searched = worst_case(model, rows, labels, attack="search", **given)
    assert found.broken.sum() >= searched.broken.sum()
    proven = worst_case(model, rows, labels, attack=TreeSearch(exact=True), **given)
    assert found.broken.sum() <= proven.broken.sum() <= found.broken.sum() + 1
    clean = model.predict(rows) != labels
    assert found.broken.mean() > clean.mean() + 0.05
    again = worst_case(model, rows, labels, **given)
    np.testing.assert_array_equal(found.X, again.X)


def test_thorough_proves(quiet):
    model = clone(ENSEMBLES["forest"]).fit(TABLE[TRAIN], LABELS[TRAIN])
    threat = LpBall("l2", scale="std").bind(TABLE[TRAIN])
    given = {"radius": 0.6, "threat": threat, "random_state": 0}
    rows, labels = TABLE[TEST][:40], LABELS[TEST][:40]
    thorough = worst_case(model, rows, labels, attack="thorough", **given)
    exact = worst_case(model, rows, labels, attack=TreeSearch(exact=True), **given)
    assert thorough.broken.sum() == exact.broken.sum()


def test_curve_and_scorer(quiet):
    model = clone(ENSEMBLES["histogram"]).fit(TABLE[TRAIN], LABELS[TRAIN])
    threat = LpBall(scale="std").bind(TABLE[TRAIN])
    curve = robustness_curve(
        model, TABLE[TEST], LABELS[TEST], radii=[0, 0.1, 0.3, 5.0], threat=threat
    )
    assert (np.diff(curve.attacked) <= 0).all()
    assert curve.attacked[0] == model.score(TABLE[TEST], LABELS[TEST])
    assert curve.attacked[-1] == 0
    scorer = get_robust_scorer("accuracy", radius=0.2, threat=threat)
    pipe = make_pipeline(StandardScaler(), DecisionTreeClassifier(**SEED))
    search = GridSearchCV(pipe, {"decisiontreeclassifier__max_depth": [1, 6]}, scoring=scorer, cv=3)
    search.fit(TABLE, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert Evaluation(search, TABLE, LABELS).task.view.source == "trees"
    assert 0 <= robust_accuracy_score(search, TABLE, LABELS, radius=0.2, threat=threat) < 1


def test_losses_of_regressors(quiet):
    rows, target = load_diabetes(return_X_y=True)
    rows, target = rows[::8], target[::8]
    model = GradientBoostingRegressor(n_estimators=10, **SEED).fit(rows, target)
    forest = tree_view(model)
    bounds = worst_rows(forest, rows, target, radius=0.03, attack=TreeSearch(exact=True))
    losses = {
        "squared": lambda residual: residual**2,
        "absolute": np.abs,
        "one-sided": lambda residual: np.maximum(residual, 0),
        "pinball": lambda residual: np.maximum(0.9 * residual, -0.1 * residual),
    }
    one_sided = {
        "one-sided": lambda f, y: (f - y).clamp(min=0)[:, 0],
        "pinball": lambda f, y: torch.maximum(0.9 * (f - y), -0.1 * (f - y))[:, 0],
    }
    clean = model.predict(rows) - target
    for name, of in losses.items():
        loss = one_sided.get(name, name)
        worst = worst_case(model, rows, target, radius=0.03, loss=loss, random_state=0)
        np.testing.assert_allclose(worst.value, of(model.predict(worst.X) - target), atol=1e-9)
        assert (worst.value >= of(clean) - 1e-9).all() and worst.value.mean() > of(clean).mean()
        if name == "absolute":
            np.testing.assert_allclose(worst.value, bounds.value)
            np.testing.assert_allclose(bounds.upper, bounds.value)


def test_log_loss_of_three_classes(quiet):
    model = RandomForestClassifier(10, max_depth=3, **SEED).fit(X, y)
    plain = worst_case(model, X, y, radius=0.0, loss="log")
    worst = worst_case(model, X, y, radius=0.5, loss="log", random_state=0)
    shares = model.predict_proba(worst.X)[np.arange(len(y)), y]
    floor = np.finfo(float).tiny
    np.testing.assert_allclose(worst.value, -np.log(np.maximum(shares, floor)), atol=1e-12)
    assert (worst.value >= plain.value).all() and worst.value.mean() > 2 * plain.value.mean()
    # the smallest share of y, by brute force
    forest, truth = tree_view(model), []
    for label in np.unique(y):
        lone = dataclasses.replace(forest, values=forest.values[:, [label]], base=np.zeros(1))
        lone = dataclasses.replace(lone, is_classifier=False, link="identity")
        rows = X[y == label][:5]
        truth.append(brute_force(lone, rows, np.ones((len(rows), 1)), LpBall(), 0.5))
    found = np.concatenate([worst.value[y == label][:5] for label in np.unique(y)])
    share = np.maximum(1 - np.concatenate(truth), floor)
    assert np.mean(np.isclose(found, -np.log(share))) >= 0.9


def test_missing_values_and_categories_stay_what_they_are(quiet):
    model, _, rows, target = problem("missing")
    worst = worst_case(model, rows, target, radius=0.8)
    np.testing.assert_array_equal(np.isnan(worst.X), np.isnan(rows))
    assert worst.broken.sum() > (model.predict(rows) != target).sum()
    model, _, rows, target = problem("categories")
    threat = LpBall(frozen=[0])
    worst = worst_case(model, rows, target, radius=0.8, threat=threat)
    np.testing.assert_array_equal(worst.X[:, 0], rows[:, 0])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_with_narrow_columns(library, quiet):
    """A moved number must still be past its threshold when a column of float32 holds it."""
    frame = pd.DataFrame(X, columns=list("abcd")).astype({"c": np.float32, "d": np.float32})
    if library == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    model = DecisionTreeClassifier(**SEED).fit(frame, y)
    worst = worst_case(model, frame, y, radius=0.4)
    np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != y)
    assert list(worst.X.dtypes) == list(frame.dtypes)
    forest = tree_view(model)
    wide = worst_rows(forest, frame.to_numpy().astype(float), y, radius=0.4)
    np.testing.assert_array_equal(worst.broken, wide.value > 0)


def test_columns_by_name(quiet):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = RandomForestClassifier(10, **SEED).fit(frame, y)
    threat = LpBall(scale={"c": 1.0, "d": 0.5}, frozen=["a", "b"], direction={"d": "up"})
    threat = threat.bind(frame)
    worst = worst_case(model, frame, y, radius=0.8, threat=threat, random_state=0)
    moved = worst.X - frame
    assert (moved[["a", "b"]] == 0).all(axis=None) and (moved["d"] >= 0).all()
    assert moved["d"].max() <= 0.4 and moved["c"].abs().max() <= 0.8
    assert worst.broken.sum() > (model.predict(frame) != y).sum()


def test_text_labels_and_labels_that_the_model_does_not_know(quiet):
    names = np.array(["a", "b", "c"])[y]
    model = RandomForestClassifier(10, **SEED).fit(X, names)
    asked = names.copy()
    asked[:5] = "z"
    worst = worst_case(model, X, asked, radius=0.2, random_state=0)
    np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != asked)
    assert worst.broken[:5].all()


def test_the_global_generators_are_left_alone():
    model, _, rows, target = problem("forest")
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    worst_case(model, rows, target, radius=0.5)
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


def test_models_without_trees_say_so():
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="not made of trees"):
        worst_case(model, X, y, radius=0.1, attack=TreeSearch())


def test_a_node_that_never_splits():
    model = RandomForestClassifier(3, min_samples_leaf=100, **SEED).fit(X, y)
    worst = worst_case(model, X, y, radius=1.0)
    np.testing.assert_array_equal(worst.X, X)
