"""The nearest other answer: closed forms, grids, the rules of the threat."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from skrobust import LpBall, certify, nearest_counterfactual

X, y = make_classification(40, 5, n_informative=4, n_redundant=0, random_state=0)
MODEL = LogisticRegression().fit(X, y)
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
PLANE = np.random.RandomState(0).uniform(-1, 1, (150, 2))
CORNER = (np.abs(PLANE).max(axis=1) > 0.6).astype(int)


@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("scale", [1.0, np.array([0.5, 1, 2, 3, 0.1])], ids=["1", "columns"])
def test_linear_distance_is_margin_over_dual_norm(norm, scale):
    found = nearest_counterfactual(MODEL, X, threat=LpBall(norm, scale=scale))
    weight = MODEL.coef_[0] * scale
    exact = np.abs(MODEL.decision_function(X)) / np.linalg.norm(weight, DUAL[norm])
    np.testing.assert_allclose(found.radius, exact, rtol=2e-3)
    assert (found.radius >= exact * (1 - 1e-9)).all()
    assert (found.proven <= exact * (1 + 1e-9)).all() and (found.proven >= exact * 0.997).all()
    assert (MODEL.predict(found.X) == found.after).all() and (found.after != found.before).all()
    length = np.linalg.norm((found.X - X) / scale, np.inf if norm == "linf" else int(norm[1]), 1)
    np.testing.assert_allclose(length, found.radius, rtol=1e-6)


def test_three_classes_and_a_target():
    iris, kind = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(iris, kind)
    rows = iris[[0, 60, 120, 149]]
    found = nearest_counterfactual(model, rows, threat="l2")
    logits, weights = model.decision_function(rows), model.coef_
    for i, label in enumerate(model.predict(rows)):
        gaps = [
            (logits[i, label] - logits[i, k]) / np.linalg.norm(weights[label] - weights[k])
            for k in range(3)
            if k != label
        ]
        assert found.radius[i] == pytest.approx(min(gaps), rel=2e-3)
    toward = nearest_counterfactual(model, rows, threat="l2", target=0)
    assert toward.radius[0] == 0 and toward.found.all()
    assert (toward.after == 0).all() and (toward.radius[1:] > found.radius[1:] - 1e-9).all()
    # to class 0 through the two planes of class 0: a quadratic program in closed form
    for i in (1, 2, 3):
        assert toward.radius[i] == pytest.approx(
            _to_polyhedron(rows[i], weights, model.intercept_), rel=0.02
        )


def _to_polyhedron(x, weights, bias):
    """Distance to {f_0 >= f_1, f_0 >= f_2}: on one plane if that satisfies the other, or on both."""
    A, b = weights[1:] - weights[0], bias[0] - bias[1:]  # A z <= b
    ways = []
    for rows in ([0], [1], [0, 1]):
        part = A[rows]
        u = part.T @ np.linalg.solve(part @ part.T, b[rows] - part @ x)
        if (A @ (x + u) <= b + 1e-9).all():
            ways.append(np.linalg.norm(u))
    return min(ways)


def test_bounds_frozen_and_directions_hold():
    threat = LpBall(bounds=(X.min(0) - 1, X.max(0) + 1), frozen=[1], direction={0: "up", 2: "down"})
    found = nearest_counterfactual(MODEL, X, threat=threat, max_radius=3.0)
    assert found.found.any()
    moved = found.X - X
    assert (moved[:, 1] == 0).all() and (moved[:, 0] >= 0).all() and (moved[:, 2] <= 0).all()
    assert (found.X >= X.min(0) - 1).all() and (found.X <= X.max(0) + 1).all()
    assert (found.radius[found.found] <= 3.0).all()
    # each column by itself goes to the end of its way: the radius solves a monotone equation
    side, weight = np.sign(MODEL.decision_function(X)), MODEL.coef_[0]
    for i in np.flatnonzero(found.found)[:10]:
        assert _loss(i, found.radius[i], side, weight) >= -1e-6
        assert _loss(i, found.radius[i] * 0.997, side, weight) < 0
    for i in np.flatnonzero(~found.found):
        assert _loss(i, 3.0, side, weight) < 1e-6
    assert (found.X[~found.found] == X[~found.found]).all()


def _loss(i, radius, side, weight):
    """Minus the smallest margin of row i within the radius."""
    low = np.maximum(X[i] - radius, X.min(0) - 1)
    high = np.minimum(X[i] + radius, X.max(0) + 1)
    low[[0, 1]], high[[1, 2]] = X[i, [0, 1]], X[i, [1, 2]]
    ends = np.where(side[i] * weight > 0, low, high)
    return -side[i] * (ends @ weight + MODEL.intercept_[0])


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(7, max_depth=5, random_state=0),
    ],
    ids=["tree", "forest"],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_trees_against_all_their_cells(model, norm):
    model.fit(PLANE, CORNER)
    rows = np.random.RandomState(1).uniform(-1, 1, (12, 2))
    found = nearest_counterfactual(
        model, rows, threat=norm, certify=False, n_halvings=14, random_state=0
    )
    np.testing.assert_allclose(found.radius, _nearest_cell(model, rows, norm), rtol=5e-3, atol=1e-6)
    assert (model.predict(found.X) != model.predict(rows)).all()


def _nearest_cell(model, rows, norm):
    """Distance of each row to the nearest cell of all thresholds that is answered otherwise."""
    trees = getattr(model, "estimators_", [model])
    cuts = []
    for j in range(2):
        at = [t.tree_.threshold[t.tree_.feature == j] for t in trees]
        cuts.append(np.r_[-2.0, np.unique(np.concatenate(at)), 2.0])
    low, high = (
        np.array(list(itertools.product(*[cut[part] for cut in cuts])))
        for part in (slice(None, -1), slice(1, None))
    )
    label = model.predict((low + high) / 2)
    gap = np.maximum(0, np.maximum(low - rows[:, None], rows[:, None] - high))
    way = np.linalg.norm(gap, DUAL[{"linf": "l1", "l2": "l2"}[norm]], axis=2)
    return np.where(label == model.predict(rows)[:, None], np.inf, way).min(axis=1)


def test_proven_and_found_hold_each_other():
    model = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    found = nearest_counterfactual(model, X[:8], threat="linf", random_state=0)
    proof = certify(model, X[:8], threat="linf")
    np.testing.assert_allclose(found.proven, np.minimum(proof.radius, found.radius))
    assert (found.proven <= found.radius).all() and (found.proven > 0).all()
    assert found.method == proof.method
    # no place of a fine sample nearer than proven is answered otherwise
    random = np.random.RandomState(0)
    for row, radius in zip(X[:8], found.proven, strict=True):
        near = row + radius * random.uniform(-1, 1, (2000, 5))
        assert (model.predict(near) == model.predict(row[None])).all()


def test_columns_of_tables_that_do_not_matter_stay():
    wide = np.c_[X, np.random.RandomState(0).normal(size=(40, 6))]
    model = RandomForestClassifier(10, max_depth=2, random_state=0).fit(wide, X[:, 0] > 0)
    found = nearest_counterfactual(model, wide[:10], random_state=0, certify=False)
    frame = found.frame("rows")
    assert frame.n_changed.max() <= 5 and (frame.n_changed >= 1).all()
    changes = found.frame()
    assert set(changes.columns) == {"row", "feature", "given", "moved", "difference", "steps"}
    most = changes.groupby("row").steps.apply(lambda s: s.abs().max())
    np.testing.assert_allclose(most, found.radius, rtol=1e-6)


def test_whole_numbers_and_text():
    frame = pd.DataFrame(
        {
            "age": np.r_[20:60].astype(int),
            "job": pd.Series(["cook", "nurse"] * 20, dtype=object),
            "pay": np.linspace(1, 5, 40),
        }
    )
    label = (frame.age + 10 * (frame.job == "nurse") > 45).astype(int)
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encode = make_column_transformer((OneHotEncoder(), ["job"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression(max_iter=5000)).fit(frame, label)
    threat = LpBall(integer=["age"], frozen=["pay"]).bind(frame)
    found = nearest_counterfactual(model, frame.iloc[[2, 20]], threat=threat, random_state=0)
    assert found.found.all() and list(found.X.age.dtype.kind) == ["i"]
    assert (found.radius == np.round(found.radius)).all() and (found.radius > 0).all()
    step = np.sign(found.X.age.to_numpy() - frame.age.iloc[[2, 20]].to_numpy())
    back = found.X.assign(age=found.X.age - step)
    assert (model.predict(back) == found.before).all()  # one year less does not do
    jobs = LpBall(frozen=["pay", "age"], categorical=["job"]).bind(frame)
    changed = nearest_counterfactual(model, frame.iloc[[20]], threat=jobs, random_state=0)
    assert changed.frame()[["feature", "given", "moved"]].to_numpy().tolist() == [
        ["job", "cook", "nurse"]
    ]


@pytest.mark.parametrize("target", [0.0, 3.0])
def test_regressors_reach_a_value(target):
    numbers = X @ np.array([1.0, -2, 0.5, 3, 0]) + 0.1
    model = Ridge(1e-6).fit(X, numbers)
    found = nearest_counterfactual(model, X, target=target, threat="l2")
    exact = np.abs(numbers - target) / np.linalg.norm([1, -2, 0.5, 3])
    np.testing.assert_allclose(found.radius, exact, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(found.proven, exact, rtol=3e-3, atol=1e-4)
    assert ((found.before < target) == (found.after <= target + 1e-6)).sum() <= found.found.sum()
    np.testing.assert_allclose(found.after, target, atol=1e-2)


def test_what_no_move_changes():
    model = LogisticRegression().fit(X[:, :2], X[:, 0] > 0)
    model.coef_[0, 1] = 0.0
    found = nearest_counterfactual(model, X[:5, :2], threat=LpBall(frozen=[0]))
    assert np.isposinf(found.radius).all() and not found.found.any()
    assert len(found.frame()) == 0 and (found.frame("rows").n_changed == 0).all()
    near = nearest_counterfactual(model, X[:5, :2], max_radius=1e-6)
    assert not near.found.any() and (near.X == X[:5, :2]).all()


def test_images_move_too():
    images = torch.as_tensor(X[:, :4].reshape(-1, 1, 2, 2))

    class Flat:
        def __skrobust_torch__(self):
            weight = torch.tensor([1.0, -1.0, 2.0, 0.5])
            module = torch.nn.Module()
            module.forward = lambda z: (z.flatten(1) @ weight.to(z.dtype))[:, None]
            return module

    found = nearest_counterfactual(Flat(), images[:6].numpy(), threat="linf")
    margin = np.abs(X[:6, :4] @ np.array([1.0, -1.0, 2.0, 0.5]))
    np.testing.assert_allclose(found.radius, margin / 4.5, rtol=2e-3)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"target": 7}, "one of the classes"),
        ({"target": [0, 1]}, "one class"),
        ({"max_radius": 0}, "max_radius"),
        ({"max_radius": "far"}, "max_radius"),
        ({"n_halvings": -1}, "n_halvings"),
        ({"certify": 3}, "certify"),
        ({"certify": "magic"}, "method"),
        ({"threat": "l7"}, "l7"),
    ],
)
def test_bad_input(options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        nearest_counterfactual(MODEL, X[:3], **options)


def test_bad_target_of_a_regressor():
    model = Ridge().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="a number for a regressor"):
        nearest_counterfactual(model, X[:3])
    with pytest.raises(ValueError, match="kind="):
        nearest_counterfactual(MODEL, X[:1]).frame("everything")
