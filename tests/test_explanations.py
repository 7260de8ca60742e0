"""Reasons for answers: closed forms of linear models, brute force, the exact certificates."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import (
    CounterfactualDisplay,
    LpBall,
    RobustClassifier,
    attribution_stability,
    certified_reasons,
    certify,
    input_sensitivity,
    nearest_counterfactual,
)
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.inspection._stability import _compare

pytestmark = pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")

X, y = make_classification(60, 5, n_informative=4, n_redundant=0, random_state=0)
FRAME = pd.DataFrame(X, columns=list("abcde"))
LINE = LogisticRegression().fit(FRAME, y)
STUMPS = GradientBoostingClassifier(max_depth=1, n_estimators=20, random_state=0).fit(FRAME, y)
THREE = np.digitize(X[:, 0] + X[:, 1], [-1, 1])


# Sensitivity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient", "moves"])
def test_sensitivity_of_a_line_is_weight_over_margin(method):
    threat = LpBall(scale=np.array([1, 2, 0.5, 1, 1.0]), frozen=[3])
    found = input_sensitivity(LINE, X, radius=0.2, threat=threat, method=method)
    step = 0.2 * np.array([1, 2, 0.5, 0, 1])
    exact = np.abs(LINE.coef_) * step / np.abs(LINE.decision_function(X))[:, None]
    np.testing.assert_allclose(found.values["LogisticRegression"], exact, rtol=1e-9)
    assert found.method == {"LogisticRegression": method}


def test_scale_of_the_logits_does_not_matter():
    louder = LogisticRegression().fit(X, y)
    louder.coef_, louder.intercept_ = 50 * LINE.coef_, 50 * LINE.intercept_
    found = input_sensitivity({"plain": LINE, "loud": louder}, X, radius=0.2)
    np.testing.assert_allclose(found.values["plain"], found.values["loud"], rtol=1e-9)


def test_one_way_columns_count_one_way():
    threat = LpBall(direction={0: "up"})
    both = input_sensitivity(LINE, X, radius=0.2).values["LogisticRegression"][:, 0]
    up = input_sensitivity(LINE, X, radius=0.2, threat=threat).values["LogisticRegression"][:, 0]
    harmful = np.sign(LINE.decision_function(X)) * LINE.coef_[0, 0] < 0
    np.testing.assert_allclose(up, np.where(harmful, both, 0.0))


def test_sensitivity_of_trees_and_its_frames():
    forest = RandomForestClassifier(10, random_state=0).fit(FRAME, y)
    found = input_sensitivity({"line": LINE, "forest": forest}, FRAME, radius=0.4)
    assert found.method == {"line": "gradient", "forest": "moves"}
    frame = found.frame()
    assert list(frame.columns) == ["estimator", "feature", "median", "high", "alone", "method"]
    part = frame[frame.estimator == "line"].set_index("feature")
    np.testing.assert_allclose(part.loc["b", "median"], np.median(found.values["line"][:, 1]))
    assert part.loc["b", "alone"] == (found.values["line"][:, 1] >= 1).mean()
    assert len(found.frame("rows")) == 2 * 60 * 5
    # one column alone flips a row by moves exactly where its share reaches 1
    moved = X.copy()
    moved[:, 0] += 0.4
    other = forest.predict(pd.DataFrame(moved, columns=list("abcde"))) != forest.predict(FRAME)
    assert (found.values["forest"][other, 0] >= 1).all()


def test_sensitivity_of_regressors_is_in_units_of_y():
    model = Ridge(1e-9).fit(X, X @ [1.0, -2, 0, 0, 3])
    found = input_sensitivity(model, X[:4], radius=0.5)
    np.testing.assert_allclose(
        found.values["Ridge"], np.tile([0.5, 1, 0, 0, 1.5], (4, 1)), atol=1e-6
    )
    assert found.quantity == "output" and "alone" not in found.frame()
    with pytest.raises(ValueError, match="classifiers only"):
        input_sensitivity([model, LINE], X, radius=0.1)


# Stability ------------------------------------------------------------------------------------


class Bowl:
    """f(z) = sum_j a_j z_j^2 / 2: its gradient is a * z, so that everything is known."""

    _estimator_type = "regressor"
    weight = torch.tensor([1.0, 2.0, 0.5])

    def __skrobust_torch__(self):
        module = torch.nn.Module()
        module.forward = lambda z: (self.weight.to(z.dtype) * z**2).sum(dim=1, keepdim=True) / 2
        return module


def test_a_plane_has_the_same_reasons_everywhere():
    found = attribution_stability(LINE, X, radius=1.0, keep_answer=False, top=2)
    for part in (found.overlap, found.correlation, found.cosine):
        np.testing.assert_allclose(part, 1.0, atol=1e-9)


def test_reasons_of_a_bowl_against_a_grid():
    rows = np.array([[1.0, 0.6, 2.0], [3.0, -0.3, 0.5]])
    found = attribution_stability(
        Bowl(), rows, radius=0.5, top=1, n_looks=300, keep_answer=False, random_state=0
    )
    grid = np.array(list(itertools.product(np.linspace(-0.5, 0.5, 41), repeat=3)))
    weight = Bowl.weight.numpy()
    for i, row in enumerate(rows):
        there = _compare(np.tile(row * weight, (len(grid), 1)), (row + grid) * weight, 1)
        truth = np.nanmin(there, axis=1)  # where all are equally strong there is no rank
        assert found.cosine[i] == pytest.approx(truth[2], abs=0.01)
        assert found.cosine[i] >= truth[2] - 0.005  # a search never passes the truth
        assert found.overlap[i] == truth[0] and found.correlation[i] >= truth[1] - 1e-9
    assert found.overlap.tolist() == [0.0, 1.0]
    smaller = attribution_stability(
        Bowl(), rows, radius=0.05, top=1, n_looks=100, keep_answer=False, random_state=0
    )
    assert (smaller.cosine > found.cosine).all() and (smaller.overlap == 1).all()


def test_only_places_with_the_same_answer_count():
    model = RobustClassifier("mlp", radius=0.0, smoothing=0, max_epochs=20, random_state=0).fit(
        X, y
    )
    options = dict(radius=1.5, top=2, random_state=0)
    kept = attribution_stability(model, X[:20], **options)
    free = attribution_stability(model, X[:20], keep_answer=False, **options)
    assert (kept.cosine >= free.cosine - 0.1).all() and kept.cosine.mean() > free.cosine.mean()
    again = attribution_stability(model, X[:20], **options)
    np.testing.assert_array_equal(kept.cosine, again.cosine)
    assert len(kept.frame()) == 20 and "at most" in repr(kept)


def test_models_without_gradients_are_refused():
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    for model in (forest, RobustClassifier("additive", max_epochs=2).fit(X, y)):
        with pytest.raises(UnsupportedEstimatorError, match="certified_reasons"):
            attribution_stability(model, X, radius=0.1)
    with pytest.raises(UnsupportedEstimatorError):
        input_sensitivity(forest, X, radius=0.1, method="gradient")


# Certified reasons ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def additive():
    return RobustClassifier("additive", radius=0.2, max_epochs=5).fit(FRAME, THREE)


@pytest.mark.parametrize("name", ["stumps", "line", "additive"])
def test_reasons_meet_the_exact_certificate(name, additive):
    model = {"stumps": STUMPS, "line": LINE, "additive": additive}[name]
    threat = LpBall(scale="std", direction={"b": "up"}, frozen=["e"]).bind(FRAME)
    for radius in (0.0, 0.1, 0.4):
        reasons = certified_reasons(model, FRAME, radius=radius, threat=threat)
        proof = certify(model, FRAME, radius=radius, threat=threat)
        assert proof.exact.all() and reasons.exact
        np.testing.assert_array_equal(reasons.certified, proof.certified)
        np.testing.assert_allclose(reasons.base + reasons.contribution.sum(axis=1), reasons.margin)
        assert (reasons.least <= reasons.contribution + 1e-12).all()
        assert (reasons.most >= reasons.contribution - 1e-12).all()
        if radius == 0:
            np.testing.assert_allclose(reasons.worst_margin, reasons.margin)


@pytest.mark.parametrize(
    ("name", "norm"), [("stumps", "l2"), ("line", "linf"), ("line", "l2"), ("additive", "linf")]
)
def test_single_columns_against_a_certificate_with_all_others_frozen(name, norm, additive):
    model = {"stumps": STUMPS, "line": LINE, "additive": additive}[name]
    reasons = certified_reasons(model, FRAME, radius=0.6, threat=norm)
    for j, column in enumerate(FRAME):
        threat = LpBall(norm, frozen=[c for c in FRAME if c != column]).bind(FRAME)
        alone = certify(model, FRAME, radius=0.6, threat=threat)
        np.testing.assert_array_equal(reasons.decides[:, j], ~alone.certified)
    assert reasons.decides.any() and not reasons.decides.all()
    proof = certify(model, FRAME, radius=0.6, threat=norm)
    assert (proof.certified | ~reasons.certified).all()  # in balls: on the safe side


def test_contributions_of_a_pipeline_are_in_raw_columns():
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME * 100, y)
    reasons = certified_reasons(model, FRAME * 100, radius=10.0)
    weight = model[-1].coef_[0] / model[0].scale_
    sign = np.where(model.predict(FRAME * 100) == 1, 1, -1)
    expected = sign[:, None] * weight * (100 * X - 100 * X.mean(axis=0))
    np.testing.assert_allclose(reasons.contribution, expected, atol=1e-9)
    np.testing.assert_allclose(
        reasons.contribution - reasons.least, np.tile(10 * np.abs(weight), (60, 1))
    )
    frame = reasons.frame()
    assert list(frame.columns[:4]) == ["row", "prediction", "rival", "feature"]
    assert "certified" in repr(reasons)


def test_reasons_of_a_regressor():
    model = Ridge(1e-9).fit(X, X @ [1.0, -2, 0, 0, 3])
    reasons = certified_reasons(model, X, radius=0.5)
    np.testing.assert_allclose(reasons.margin, model.predict(X), atol=1e-9)
    np.testing.assert_allclose(reasons.margin - reasons.worst_margin, 3.0, atol=1e-5)
    assert reasons.decides is None and "decides" not in reasons.frame()


def test_missing_values_do_not_move():
    from sklearn.ensemble import HistGradientBoostingClassifier

    holes = X.copy()
    holes[::3, 0] = np.nan
    model = HistGradientBoostingClassifier(max_leaf_nodes=2, max_iter=20, min_samples_leaf=5).fit(
        holes, y
    )
    reasons = certified_reasons(model, holes, radius=5.0)
    np.testing.assert_array_equal(reasons.certified, certify(model, holes, radius=5.0).certified)
    np.testing.assert_allclose(reasons.least[::3, 0], reasons.contribution[::3, 0])


def test_reasons_of_a_torch_function():
    class Line:
        def __skrobust_torch__(self):
            weight = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0], dtype=torch.float64)
            module = torch.nn.Linear(5, 1).double()
            module.weight.data[:], module.bias.data[:] = weight, 0.25
            return module

    reasons = certified_reasons(Line(), X, radius=0.1)
    value = X @ [1.0, -2, 0, 0.5, 3] + 0.25
    np.testing.assert_allclose(reasons.margin, np.abs(value))
    np.testing.assert_allclose(reasons.worst_margin, np.abs(value) - 0.65)
    assert (reasons.prediction == (value > 0)).all()


def test_what_is_no_sum_is_refused():
    deep = RandomForestClassifier(5, max_depth=3, random_state=0).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="additive"):
        certified_reasons(deep, X, radius=0.1)


# Bad input, pictures ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: input_sensitivity(LINE, X, radius=0), "radius"),
        (lambda: input_sensitivity(LINE, X, radius=1, method="magic"), "method"),
        (lambda: input_sensitivity([], X, radius=1), "estimators"),
        (lambda: attribution_stability(LINE, X, radius=-1), "radius"),
        (lambda: attribution_stability(LINE, X, radius=1, top=0), "top"),
        (lambda: attribution_stability(LINE, X, radius=1, top=6), "top"),
        (lambda: attribution_stability(LINE, X, radius=1, n_looks=0), "n_looks"),
        (lambda: attribution_stability(LINE, X, radius=1, keep_answer="yes"), "keep_answer"),
        (lambda: certified_reasons(LINE, X, radius=np.inf), "radius"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises((ValueError, TypeError), match=word):
        call()


def test_pictures():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    display = CounterfactualDisplay.from_estimator(LINE, FRAME.iloc[:2], threat="l2")
    assert len(display.axes_) == 2 and "→" in display.axes_[0][0].get_title()
    assert "none below" in display.titles[0]
    near = nearest_counterfactual(LINE, FRAME.iloc[:1], max_radius=1e-9)
    assert "stays" in CounterfactualDisplay(near).titles[0]
