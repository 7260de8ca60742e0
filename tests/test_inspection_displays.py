"""Displays compute in from_*, draw in plot, and tell their numbers in frame."""

from __future__ import annotations

import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV

from skrobust import LpBall, RobustScorer, robustness_curve, worst_case
from skrobust.inspection import (
    FeatureSensitivityDisplay,
    RobustnessCurveDisplay,
    TradeoffDisplay,
    WorstCaseDisplay,
)
from skrobust.inspection._tradeoff_display import pareto_front

matplotlib.use("Agg")

X, y = load_iris(return_X_y=True, as_frame=True)
X, y = X.iloc[::2], y.iloc[::2]
MODEL = LogisticRegression(max_iter=1000).fit(X, y)
OTHER = RidgeClassifier().fit(X, y)


@pytest.fixture(autouse=True)
def no_figures_left():
    plt.close("all")  # what other tests left open
    yield
    plt.close("all")


class Images:
    """Two classes by the sum of the entries, of any shape."""

    def __init__(self, sign=1.0):
        self.sign = sign

    def __skrobust_torch__(self):
        module = torch.nn.Module()
        module.forward = lambda x: self.sign * x.flatten(1).sum(dim=1, keepdim=True)
        return module


def pictures(*shape):
    random = np.random.RandomState(0)
    rows = random.normal(size=(20, *shape)) * 0.1
    return rows, (rows.reshape(20, -1).sum(axis=1) > 0).astype(int)


def options(display):
    return {
        RobustnessCurveDisplay: dict(radii=[0.2, 0.4]),
        TradeoffDisplay: dict(radius=0.2),
        FeatureSensitivityDisplay: dict(radius=0.6),
        WorstCaseDisplay: dict(radius=0.4),
    }[display]


# Conventions ----------------------------------------------------------------------------------

DISPLAYS = [RobustnessCurveDisplay, TradeoffDisplay, FeatureSensitivityDisplay, WorstCaseDisplay]


@pytest.mark.parametrize("display", DISPLAYS)
def test_conventions(display):
    made = display.from_estimator(MODEL, X, y, random_state=0, **options(display))
    assert isinstance(made, display)
    assert made.figure_ is made.ax_.figure and len(plt.get_fignums()) == 1
    figure = Figure()
    ax = figure.subplots()
    assert made.plot(ax=ax) is made and made.ax_ is ax and made.figure_ is figure
    assert len(plt.get_fignums()) == 1, "drawing in given axes opened a figure"
    given = Figure().subplots()
    there = display.from_estimator(MODEL, X, y, random_state=0, ax=given, **options(display))
    assert there.ax_ is given
    assert isinstance(made.frame(), pd.DataFrame) and made.frame().equals(there.frame())
    figure.savefig("/dev/null", format="png")  # nothing fails when it is drawn at last


@pytest.mark.parametrize("display", DISPLAYS)
def test_numbers_without_matplotlib(display, monkeypatch):
    for module in ("matplotlib.pyplot", "matplotlib.figure", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)
    made = display.from_estimator(MODEL, X, y, random_state=0, **options(display))
    assert len(made.frame()) and not hasattr(made, "ax_")
    with pytest.raises(ImportError, match=r"skrobust\[plot\]"):
        made.plot()


# Curves ---------------------------------------------------------------------------------------


def test_curves_of_several_models():
    models = {"logistic": MODEL, "ridge": OTHER}
    made = RobustnessCurveDisplay.from_estimator(models, X, y, radii=[0.2, 0.4], random_state=0)
    expected = robustness_curve(OTHER, X, y, radii=[0.2, 0.4], random_state=0)
    frame = made.frame()
    np.testing.assert_array_equal(frame[frame.estimator == "ridge"].attacked, expected.attacked)
    lines = {line.get_label(): line for line in made.ax_.get_lines()}
    assert {"logistic", "ridge", "most frequent class"} <= set(lines)
    np.testing.assert_array_equal(lines["ridge"].get_xdata(), [0, 0.2, 0.4])
    np.testing.assert_array_equal(lines["ridge"].get_ydata(), [expected.clean, *expected.attacked])
    colors = [lines[name].get_color() for name in models]
    markers = [lines[name].get_marker() for name in models]
    assert len(set(colors)) == len(set(markers)) == 2


def test_curves_computed_before():
    curve = robustness_curve(MODEL, X, y, radii=[0, 0.2])
    made = RobustnessCurveDisplay.from_curves(curve)
    np.testing.assert_array_equal(made.ax_.get_lines()[0].get_xdata(), [0, 0.2])
    certified = type(curve)(
        curve.radii, curve.clean, curve.attacked, curve.attacked / 2, curve.interval, 0.3
    )
    labels = [
        line.get_label() for line in RobustnessCurveDisplay.from_curves({"a": certified}).ax_.lines
    ]
    assert "a, certified" in labels
    with pytest.raises(TypeError, match="curves"):
        RobustnessCurveDisplay.from_curves({"a": [1, 2]})


def test_predictions_of_another_attack():
    truth = ["a", "a", "b", "b"]
    predictions = {
        0: ["a", "a", "b", "a"],
        0.2: ["a", "b", "b", "b"],  # the last row was wrong before: it stays broken
        0.1: ["a", "a", "b", "a"],
    }
    curve = RobustnessCurveDisplay.from_predictions(truth, predictions, name="other").curves[
        "other"
    ]
    np.testing.assert_array_equal(curve.radii, [0, 0.1, 0.2])
    np.testing.assert_array_equal(curve.attacked, [0.75, 0.75, 0.5])
    assert curve.clean == 0.75 and curve.majority == 0.5
    weighted = RobustnessCurveDisplay.from_predictions(
        truth, predictions, sample_weight=[1, 0, 1, 0]
    ).curves["model"]
    np.testing.assert_array_equal(weighted.attacked, [1, 1, 1])
    with pytest.raises(ValueError, match="radius 0"):
        RobustnessCurveDisplay.from_predictions(truth, {0.1: truth})


def test_curves_of_regressors_show_losses():
    numbers, target = load_diabetes(return_X_y=True)
    model = Ridge().fit(numbers, target)
    made = RobustnessCurveDisplay.from_estimator(model, numbers, target, radii=[0.01, 0.02])
    assert made.ax_.get_ylabel() == "mean loss under attack"
    assert "mean of y" in [line.get_label() for line in made.ax_.get_lines()]


# Trade-off ------------------------------------------------------------------------------------


def test_search_results():
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": [0.001, 0.1, 100.0]},
        scoring=RobustScorer(radius=0.3, metric=["clean_accuracy", "robust_accuracy"]),
        refit=False,
        cv=3,
    ).fit(X, y)
    made = TradeoffDisplay.from_cv_results(search.cv_results_)
    np.testing.assert_array_equal(made.clean, search.cv_results_["mean_test_clean_accuracy"])
    np.testing.assert_array_equal(made.robust, search.cv_results_["mean_test_robust_accuracy"])
    assert made.labels == ["C=0.001", "C=0.1", "C=100"]
    frame = made.frame()
    assert list(frame.robust) == sorted(made.robust, reverse=True)
    assert frame.on_front.sum() == len(made.front)
    assert (made.ax_.get_xlabel(), made.ax_.get_ylabel()) == ("clean accuracy", "robust accuracy")
    legend = [text.get_text() for text in made.ax_.get_legend().get_texts()]
    assert any("C=" in text for text in legend)
    with pytest.raises(ValueError, match="clean_accuracy"):
        TradeoffDisplay.from_cv_results(search.cv_results_, robust="score")


@pytest.mark.parametrize("seed", range(5))
def test_front_by_brute_force(seed):
    random = np.random.RandomState(seed)
    points = random.randint(6, size=(12, 2)) / 6
    expected = [
        i for i, p in enumerate(points) if not any((q >= p).all() and (q > p).any() for q in points)
    ]
    found = pareto_front(*points.T)
    assert sorted(found) == expected
    assert (np.diff(points[found, 0]) >= 0).all()


def test_points_in_one_place_share_a_number():
    made = TradeoffDisplay([0.9, 0.9, 0.8], [0.5, 0.5, 0.6], list("abc")).plot()
    assert {text.get_text() for text in made.ax_.texts} == {"1", "2, 3"}


# Weak columns ---------------------------------------------------------------------------------


def test_bars_show_the_weakest_columns_first():
    made = FeatureSensitivityDisplay.from_estimator(MODEL, X, y, radius=0.6, random_state=0)
    frame = made.frame()
    assert (np.diff(frame.share) <= 0).all() and frame.share.iloc[0] > 0
    assert (frame[["up", "down"]].max(axis=1) <= frame.share).all()
    labels = [label.get_text() for label in made.ax_.get_yticklabels()]
    assert labels[-1] == frame.feature.iloc[0]  # the top bar
    assert len(labels) == (frame.share > 0).sum()
    widths = [bar.get_width() for bar in made.ax_.patches]
    np.testing.assert_allclose(widths[::-1], frame.share[frame.share > 0])
    few = made.plot(max_features=1)
    assert len(few.ax_.patches) == 1


@pytest.mark.parametrize(("shape", "n_axes"), [((2, 9), 1), ((1, 4, 5), 1), ((3, 4, 5), 3)])
def test_series_and_images_have_pictures_of_their_own(shape, n_axes):
    rows, labels = pictures(*shape)
    made = FeatureSensitivityDisplay.from_estimator(
        Images(), rows, labels, radius=0.5, random_state=0
    )
    assert made.share.shape == shape and made.share.max() > 0
    assert len(made.axes_) == n_axes and len(made.frame()) == np.prod(shape)
    if len(shape) == 3:
        assert all(len(ax.images) == 1 for ax in made.axes_)
    else:
        assert len(made.ax_.get_lines()) == shape[0]
    made.figure_.canvas.draw()


def test_growth_of_a_loss():
    numbers, target = load_diabetes(return_X_y=True, as_frame=True)
    model = Ridge(0.1).fit(numbers, target)
    made = FeatureSensitivityDisplay.from_estimator(
        model, numbers, target, radius=0.01, max_rows=50, random_state=0
    )
    assert made.quantity == "loss" and made.share.max() > 1
    strongest = numbers.columns[np.argmax(np.abs(model.coef_))]
    assert made.frame().feature.iloc[0] == strongest


# Moved rows -----------------------------------------------------------------------------------


def test_rows_and_their_twins():
    threat = LpBall(scale="std").bind(X)
    made = WorstCaseDisplay.from_estimator(
        MODEL, X, y, radius=0.5, threat=threat, rows=2, random_state=0
    )
    worst = worst_case(MODEL, X, y, radius=0.5, threat=threat, random_state=0)
    frame = made.frame()
    assert list(frame.row.unique()) == made.labels and len(made.labels) == 2
    for k, label in enumerate(made.labels):
        place = X.index.get_loc(int(label))
        np.testing.assert_array_equal(made.z[k], worst.X.iloc[place])
        assert worst.broken[place] and made.before[k] == str(y.iloc[place])
        assert made.after[k] == str(MODEL.predict(worst.X.iloc[[place]])[0]) != made.before[k]
    np.testing.assert_allclose(frame.difference, frame.moved - frame.given)
    assert frame.steps.abs().max() == pytest.approx(0.5)
    assert f"row {made.labels[0]}" in made.axes_[0, 0].get_title()


def test_rows_asked_for_by_number():
    made = WorstCaseDisplay.from_estimator(MODEL, X, y, radius=0.1, rows=[3, 0])
    assert made.labels == [str(X.index[3]), str(X.index[0])]
    assert made.before == made.after  # setosa stays what it is
    assert "stays 0" in made.axes_[0, 0].get_title()
    arrays = WorstCaseDisplay.from_estimator(
        LogisticRegression(max_iter=1000).fit(X.to_numpy(), y),
        X.to_numpy(),
        y,
        radius=0.1,
        rows=[3],
    )
    assert arrays.labels == ["3"]
    for rows in (0, [], -1):
        with pytest.raises(ValueError, match="rows"):
            WorstCaseDisplay.from_estimator(MODEL, X, y, radius=0.1, rows=rows)


def test_bars_are_ordered_by_what_they_do():
    made = WorstCaseDisplay.from_estimator(MODEL, X, y, radius=0.3, rows=1, random_state=0)
    labels = [label.get_text() for label in made.axes_[0, 0].get_yticklabels()]
    assert labels[-1] == X.columns[int(np.argmax(made.influence[0]))]


def test_nothing_broken():
    made = WorstCaseDisplay.from_estimator(MODEL, X, y, radius=0.0)
    assert made.labels == [] and made.frame().empty
    assert made.ax_.texts[0].get_text() == "No row was broken."


@pytest.mark.parametrize(("shape", "panels"), [((2, 9), 2), ((1, 4, 5), 3), ((3, 4, 5), 3)])
def test_series_and_images_are_drawn_as_such(shape, panels):
    rows, labels = pictures(*shape)
    made = WorstCaseDisplay.from_estimator(Images(), rows, labels, radius=0.2, rows=2)
    assert made.axes_.shape == (2, panels)
    if len(shape) == 3:
        assert all(len(ax.images) == 1 for ax in made.axes_.flat)
        assert made.axes_[0, 0].images[0].get_array().shape[:2] == shape[1:]
    else:
        given, moved = made.axes_[0, 0].get_lines()[:2]
        np.testing.assert_array_equal(given.get_ydata(), made.x[0][0])
        np.testing.assert_array_equal(moved.get_ydata(), made.z[0][0])
    made.figure_.canvas.draw()
    assert len(made.frame()) == 2 * np.prod(shape)


def test_axes_put_by_hand_can_be_divided():
    rows, labels = pictures(1, 4, 5)
    figure = Figure()
    ax = figure.add_axes([0.1, 0.1, 0.5, 0.8])
    made = WorstCaseDisplay.from_estimator(Images(), rows, labels, radius=0.2, rows=1, ax=ax)
    right = max(one.get_position().x1 for one in made.axes_.flat)
    assert right <= 0.61


def test_regressor_shows_its_answers():
    numbers, target = load_diabetes(return_X_y=True)
    model = Ridge().fit(numbers, target)
    made = WorstCaseDisplay.from_estimator(model, numbers, target, radius=0.01, rows=1)
    assert float(made.before[0]) != float(made.after[0])
