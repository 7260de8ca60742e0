"""Curves fall by construction; the figures beside them are right."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust.attacks import Attack, Noise, Search
from skrobust.metrics import robust_accuracy_score, robust_loss, robustness_curve, worst_case
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._intervals import clopper_pearson, effective_size, majority_share

X, y = load_iris(return_X_y=True)
X, y = X[::2], y[::2]
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
RADII = [0.4, 0.0, 0.1, 0.2]


def test_points_are_those_of_the_score():
    curve = robustness_curve(MODEL, X, y, radii=RADII)
    np.testing.assert_array_equal(curve.radii, [0, 0.1, 0.2, 0.4])
    expected = [robust_accuracy_score(MODEL, X, y, radius=r) for r in curve.radii]
    np.testing.assert_array_equal(curve.attacked, expected)
    assert curve.clean == curve.attacked[0] == MODEL.score(X, y)
    assert curve.certified is None
    assert curve.majority == pytest.approx(np.bincount(y).max() / len(y))
    assert curve.attacked[-1] < curve.clean


@pytest.mark.parametrize("attack", [Noise(n_draws=1), Search(n_queries=30)])
def test_a_weak_attack_cannot_make_the_curve_rise(attack):
    """One draw per radius: by itself it finds more or less by luck."""
    forest = RandomForestClassifier(8, max_depth=3, random_state=0).fit(X, y)
    radii = np.linspace(0, 1, 9)
    curve = robustness_curve(forest, X, y, radii=radii, attack=attack, random_state=0)
    assert (np.diff(curve.attacked) <= 0).all() and curve.attacked[-1] < curve.clean


class Net:
    """An object that is all torch; counts the rows it is asked for."""

    def __init__(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
            )
        self.net.requires_grad_(False).eval()

    def __skrobust_torch__(self):
        return self.net


def test_broken_rows_are_not_searched_again(monkeypatch):
    searched = []
    search = Evaluation.search

    def recording(self, objective, start, index, *args):
        searched.append(set(index.tolist()))
        return search(self, objective, start, index, *args)

    monkeypatch.setattr(Evaluation, "search", recording)
    model = Net()
    labels = model.net(torch.tensor(X, dtype=torch.float32)).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % 3  # wrong before any move
    curve = robustness_curve(model, X, labels, radii=[0.3, 0.6], random_state=0)
    assert searched[0] == set(range(5, len(X)))
    assert searched[1] < searched[0]
    assert len(searched[1]) == round(curve.attacked[0] * len(X))
    assert curve.clean == pytest.approx(1 - 5 / len(X))


def test_each_radius_goes_on_from_the_one_before():
    """An attack that finds nothing of its own keeps what it was given."""

    class OnlyOnce(Attack):
        needs_gradient = False

        def __init__(self):
            self.first = True

        def search(self, fn, region, best, start, generator):
            if self.first:
                z = region.steepest(fn.gradient(region.x).gradient)
                best.update(z, fn(z))
            self.first = False

    rows, target = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(rows, target)
    curve = robustness_curve(model, rows, target, radii=[0.01, 0.02], attack=OnlyOnce())
    assert curve.attacked[0] == curve.attacked[1] > curve.clean


def test_intervals_are_clopper_pearsons():
    curve = robustness_curve(MODEL, X, y, radii=RADII, confidence=0.9)
    for share, (low, high) in zip(curve.attacked, curve.interval, strict=True):
        exact = stats.binomtest(round(share * len(y)), len(y)).proportion_ci(0.9, method="exact")
        np.testing.assert_allclose((low, high), (exact.low, exact.high))
    wider = robustness_curve(MODEL, X, y, radii=RADII, confidence=0.99)
    assert (wider.interval[:, 0] < curve.interval[:, 0]).all()
    assert clopper_pearson(0, 50)[0] == 0 and clopper_pearson(1, 50)[1] == 1


def test_coverage_of_the_interval():
    rng = np.random.RandomState(0)
    for share in (0.05, 0.5, 0.9):
        hits = rng.binomial(40, share, 400) / 40
        held = [low <= share <= high for low, high in (clopper_pearson(h, 40) for h in hits)]
        assert np.mean(held) >= 0.95


def test_weights_count_in_every_figure():
    weight = np.where(y == 0, 5.0, 1.0)
    curve = robustness_curve(MODEL, X, y, radii=[0.3], sample_weight=weight)
    worst = worst_case(MODEL, X, y, radius=0.3)
    assert curve.attacked[0] == pytest.approx(np.average(~worst.broken, weights=weight))
    assert curve.majority == pytest.approx(weight[y == 0].sum() / weight.sum())
    assert curve.majority == majority_share(y, weight)
    n_rows = effective_size(weight)
    assert n_rows < len(y)
    np.testing.assert_allclose(curve.interval[0], clopper_pearson(curve.attacked[0], n_rows))


@pytest.mark.parametrize("confidence", [0, 1, 95, "0.9", None, True])
def test_bad_confidence(confidence):
    with pytest.raises((ValueError, TypeError), match="confidence"):
        robustness_curve(MODEL, X, y, radii=[0.1], confidence=confidence)


def test_regression_shows_the_mean_worst_loss():
    rows, target = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(rows, target)
    curve = robustness_curve(model, rows, target, radii=[0.02, 0.0, 0.01])
    assert curve.quantity == "loss"
    expected = [robust_loss(model, rows, target, radius=r) for r in (0, 0.01, 0.02)]
    np.testing.assert_allclose(curve.attacked, expected)
    assert (np.diff(curve.attacked) > 0).all() and curve.clean == expected[0]
    assert curve.majority == pytest.approx(target.var())
    worst = worst_case(model, rows, target, radius=0.01).value
    half = 1.959964 * worst.std(ddof=1) / np.sqrt(len(worst))
    np.testing.assert_allclose(curve.interval[1], [worst.mean() - half, worst.mean() + half])


def test_a_classifier_may_be_shown_by_its_loss():
    curve = robustness_curve(MODEL, X, y, radii=[0.1, 0.3], loss="log", random_state=0)
    assert curve.quantity == "loss" and (np.diff(curve.attacked) > 0).all()
    assert curve.clean == pytest.approx(robust_loss(MODEL, X, y, radius=0))
    share = np.bincount(y) / len(y)
    assert curve.majority == pytest.approx(-(share * np.log(share)).sum())


def test_frame():
    curve = robustness_curve(MODEL, X, y, radii=RADII)
    frame = curve.frame()
    assert list(frame) == ["radius", "clean", "attacked", "low", "high", "majority"]
    np.testing.assert_array_equal(frame["attacked"], curve.attacked)
    assert ((frame["low"] <= frame["attacked"]) & (frame["attacked"] <= frame["high"])).all()


def test_frame_without_pandas_names_the_extra(monkeypatch):
    curve = robustness_curve(MODEL, X, y, radii=[0.1])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"skrobust\[frames\]"):
        curve.frame()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skrobust\[plot\]"):
        curve.plot()


def test_plot():
    figure = pytest.importorskip("matplotlib.figure", reason="drawing needs matplotlib")
    ax = figure.Figure().subplots()
    curve = robustness_curve(MODEL, X, y, radii=RADII)
    assert curve.plot(ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), curve.attacked)
    assert {"attacked", "clean"} <= {t.get_text() for t in ax.get_legend().get_texts()}
    assert ax.get_xlabel() == "radius"
