"""Certificates of trees, additive models, neighbours and RBF machines against brute force."""

import functools
import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skrobust import (
    LpBall,
    RobustClassifier,
    RobustRegressor,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
    worst_case,
)
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.trees import as_sum, tree_view, upper_bounds

X, Y = (part[::2] for part in load_iris(return_X_y=True))
Z = X[:, :2]  # two columns: everything can be looked at
VALUES = X[:, 3] + np.sin(X[:, 0])
TREES = {
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "forest": RandomForestClassifier(15, max_depth=4, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=6, random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=3, random_state=0),
    "adaboost": AdaBoostClassifier(n_estimators=8, random_state=0),
    "stumps": GradientBoostingClassifier(max_depth=1, n_estimators=30, random_state=0),
    "scaled": make_pipeline(
        StandardScaler(), RandomForestClassifier(9, max_depth=3, random_state=0)
    ),
    "additive": RobustClassifier("additive", radius=0.1, max_epochs=6, random_state=0),
}
THREATS = {
    "linf": LpBall(),
    "l2": LpBall("l2"),
    "l1": LpBall("l1", scale=[1.0, 0.5]),
    "bound": LpBall(bounds=([4.5, 2.0], [9.0, 4.5]), direction={0: "up"}),
}


@functools.cache
def fitted(name):
    return clone(TREES[name]).fit(Z, Y)


def places(model, threat, rows, radius):
    """Every cell of two columns that a row can reach, one point of each, (n_rows, n_points, 2)."""
    forest = tree_view(model)
    ends = [np.r_[end, np.nextafter(end, np.inf)] for end in forest.cells.ends]
    region = threat.region(torch.as_tensor(rows), radius)
    found = []
    for row in range(len(rows)):
        own = [
            np.unique(
                np.clip(
                    np.r_[rows[row, j], ends[j]],
                    region.low[row, j].item(),
                    region.high[row, j].item(),
                )
            )
            for j in range(2)
        ]
        z = torch.as_tensor(np.array(list(itertools.product(*own))))
        part = region.take(torch.full((len(z),), row))
        found.append(z[part.distance(z) <= part.radius].numpy())
    return found


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("threat", THREATS)
def test_trees_never_prove_what_brute_force_breaks(name, threat):
    model = fitted(name)
    rows = np.clip(Z, [4.5, 2.0], [9.0, 4.5])[::9]
    for radius in (0.05, 0.4):
        answers = model.predict(rows)
        stays = np.array([
            (model.predict(z) == own).all()
            for z, own in zip(places(model, THREATS[threat], rows, radius), answers, strict=True)
        ])  # fmt: skip
        found = certify(model, rows, radius=radius, threat=THREATS[threat])
        assert not (found.certified & ~stays).any()
        assert found.method == ("trees" if as_sum(tree_view(model)) is None else "additive")
        settled = found.exact
        np.testing.assert_array_equal(found.certified[settled], stays[settled])
        if name == "tree" or (name in ("additive", "stumps") and threat in ("linf", "bound")):
            assert settled.all()


def test_stumps_added_up_by_column_are_the_same_model():
    rows = np.r_[X, X + 0.05]
    for model in (
        GradientBoostingClassifier(max_depth=1, n_estimators=50, random_state=0),
        HistGradientBoostingClassifier(max_leaf_nodes=2, max_iter=30, min_samples_leaf=3),
        AdaBoostClassifier(n_estimators=20, random_state=0),
    ):
        forest = tree_view(model.fit(X, Y))
        added = as_sum(forest)
        assert added.n_trees <= 4 < forest.n_trees
        rows[3, 2] = np.nan if isinstance(model, HistGradientBoostingClassifier) else rows[3, 2]
        np.testing.assert_allclose(added.scores(rows), forest.scores(rows), rtol=1e-10, atol=1e-12)
        rows[3, 2] = 1.0
    assert as_sum(tree_view(RandomForestClassifier(3, random_state=0).fit(X, Y))) is None


@pytest.mark.slow
def test_joined_trees_prove_more_and_a_time_budget_proves_all():
    model = RandomForestClassifier(20, max_depth=5, random_state=1).fit(X, Y)
    rows, radius = X[1::4], 0.3
    forest = tree_view(model)
    region = LpBall().region(torch.as_tensor(rows), radius)
    aims = np.eye(3)[(Y[1::4] + 1) % 3][:, None] - np.eye(3)[Y[1::4]][:, None]
    loose, tight = (upper_bounds(forest, aims, region, levels)[0] for levels in (0, 2))
    assert (tight <= loose + 1e-12).all() and (tight < loose - 1e-9).any()
    exact = certify(model, rows, radius=radius, time_budget=60.0, method="trees")
    assert exact.exact.all()
    attacked = worst_case(model, rows, model.predict(rows), radius=radius, random_state=0)
    tied = np.abs(attacked.value) < 1e-9  # as many votes: not proven, and not broken
    np.testing.assert_array_equal(exact.certified | tied, ~attacked.broken | tied)


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeRegressor(max_depth=3, random_state=0),
        RandomForestRegressor(8, max_depth=3, random_state=0),
        GradientBoostingRegressor(n_estimators=5, random_state=0),
        HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=3),
        RobustRegressor("additive", radius=0.1, max_epochs=5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_values_of_trees_are_enclosed(model):
    model.fit(Z, VALUES)
    rows = Z[::3]
    found = certify(model, rows, radius=0.2)
    for row, z in enumerate(places(model, LpBall(), rows, 0.2)):
        values = model.predict(z)
        assert found.lower[row, 0] <= values.min() + 1e-9
        assert found.upper[row, 0] >= values.max() - 1e-9
        if found.exact[row]:
            assert found.upper[row, 0] == pytest.approx(values.max())
            assert found.lower[row, 0] == pytest.approx(values.min())


def test_missing_values_and_categories_of_histograms():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(0, 5, 200), rng.normal(size=(200, 2))]).astype(float)
    labels = ((rows[:, 0] % 2 == 0) ^ (rows[:, 1] > 0)).astype(int)
    rows[::7, 1] = np.nan
    model = HistGradientBoostingClassifier(
        categorical_features=[0], max_iter=10, min_samples_leaf=5
    ).fit(rows, labels)
    threat = LpBall(categorical={0: [0, 1, 2, 3, 4]})
    still = certified_accuracy_score(model, rows, labels, radius=0.1, threat=LpBall(frozen=[0]))
    moved = certified_accuracy_score(model, rows, labels, radius=0.1, threat=threat)
    attacked = robust_accuracy_score(model, rows, labels, radius=0.1, threat=threat, random_state=0)
    assert moved <= attacked < still


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_additive_models_in_balls_are_settled_for_most_rows(norm):
    model = RobustClassifier("additive", threat=norm, radius=0.4, max_epochs=8).fit(X, Y)
    found = certify(model, X, Y, radius=0.4, threat=norm)
    attacked = robust_accuracy_score(model, X, Y, radius=0.4, threat=norm, random_state=0)
    assert found.certified.mean() <= attacked <= found.certified.mean() + 0.05
    assert found.exact.mean() > 0.8
    some = slice(1, None, 10)
    proven = certify(model, X[some], Y[some], radius=0.4, threat=norm, time_budget=30.0)
    assert proven.exact.all()
    assert found.certified[some].sum() <= proven.certified.sum()


# Neighbours and kernels ----------------------------------------------------------------------


def tried(model, rows, threat, radius, n=4000, seed=0):
    """Which rows keep their prediction at random places, those far out included."""
    rng = np.random.default_rng(seed)
    kept = np.ones(len(rows), dtype=bool)
    answers = model.predict(rows)
    for row, x in enumerate(rows):
        way = rng.normal(size=(n, len(x))) * rng.choice([0.0, 1.0], size=(n, len(x)))
        region = threat.region(torch.as_tensor(np.repeat(x[None], n, axis=0)), radius)
        z = region.project(torch.as_tensor(x + 5 * way)).numpy()
        kept[row] = (model.predict(z) == answers[row]).all()
    return kept


MACHINES = {
    "1 neighbour": KNeighborsClassifier(1),
    "5 neighbours": make_pipeline(MinMaxScaler(), KNeighborsClassifier(5)),
    "4 neighbours": KNeighborsClassifier(4),
    "svm": make_pipeline(StandardScaler(), SVC(gamma=0.5)),
    "two classes": SVC(gamma=2.0),
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_machines_never_prove_what_a_search_breaks(name, norm):
    y = Y > 0 if name == "two classes" else Y
    threat = LpBall(norm, scale=[1.0, 2.0, 1.0, 0.5], frozen=[1])
    model = MACHINES[name].fit(X, y)
    rows = X[::15]
    found = certify(model, rows, threat=threat)
    assert found.method == ("neighbours" if "neighbour" in name else "rbf")
    assert (found.radius > 0).mean() > 0.7
    for share in (0.999, 0.5):
        for row in np.flatnonzero((found.radius > 0) & np.isfinite(found.radius)):
            one = slice(row, row + 1)
            radius = share * found.radius[row]
            assert tried(model, rows[one], threat, radius, 300, row).all()
    attacked = robust_accuracy_score(
        model, rows, y[::15], radius=0.2, threat=threat, random_state=0
    )
    assert certified_accuracy_score(model, rows, y[::15], radius=0.2, threat=threat) <= attacked


def test_one_neighbour_on_a_line_is_half_way():
    model = KNeighborsClassifier(1).fit([[0.0], [1.0], [4.0]], [0, 0, 1])
    found = certify(model, [[0.0], [2.0], [5.0]], threat="l2")
    np.testing.assert_allclose(found.radius, [2.5, 0.5, 2.5])


def test_a_single_bump_of_an_rbf_machine():
    model = KernelRidge(kernel="rbf", gamma=1.0, alpha=1e-9).fit([[0.0]], [1.0])
    found = certify(model, [[0.0]], radius=0.5)
    assert found.lower[0, 0] <= np.exp(-0.25) <= found.lower[0, 0] + 1e-6
    assert found.upper[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_svr_is_enclosed():
    model = SVR(gamma=0.3).fit(X, VALUES)
    found = certify(model, X[::6], radius=0.2)
    worst = worst_case(model, X[::6], VALUES[::6], radius=0.2, loss="over", random_state=0)
    highest = worst.value + VALUES[::6]
    assert (found.upper[:, 0] >= highest - 1e-9)[worst.value > 0].all()


@pytest.mark.parametrize(
    ("model", "method", "word"),
    [
        (KNeighborsClassifier(3, weights="distance"), "neighbours", "equal weight"),
        (KNeighborsClassifier(3, p=1), "neighbours", "euclidean"),
        (SVC(kernel="poly"), "rbf", "rbf"),
        (RandomForestClassifier(3), "additive", "several columns"),
        (SVC(), "trees", "not made of trees"),
    ],
)
def test_what_cannot_be_proven_is_named(model, method, word):
    with pytest.raises(UnsupportedEstimatorError, match=word):
        certify(model.fit(X, Y), X, method=method)


@pytest.mark.slow
def test_a_million_places_within_what_is_proven():
    """Random places, many of them in corners, at 0.999 of each row's own proven radius."""
    rng, n_tried, n_wrong = np.random.default_rng(0), 0, 0
    models = {**TREES, **MACHINES}
    for name, model in models.items():
        columns = 2 if name in TREES else 4
        y = Y > 0 if name == "two classes" else Y
        model.fit(X[:, :columns], y)
        for norm in ("linf", "l2", "l1"):
            threat = LpBall(norm, scale=np.linspace(0.5, 1.5, columns))
            found = certify(model, X[:, :columns], threat=threat)
            kept = (found.radius > 0) & np.isfinite(found.radius)
            rows, radius = X[kept][:, :columns], 0.999 * found.radius[kept]
            rows, radius = rows.repeat(500, axis=0), radius.repeat(500)
            way = rng.normal(size=rows.shape) * rng.integers(0, 2, rows.shape)
            region = threat.region(torch.as_tensor(rows), torch.as_tensor(radius))
            z = region.project(torch.as_tensor(rows + 3 * radius[:, None] * way)).numpy()
            n_wrong += int((model.predict(z) != found.prediction[kept].repeat(500)).sum())
            n_tried += len(z)
    assert n_wrong == 0
    assert n_tried > 1_000_000
