"""Models without a torch view: attacked through their answers, judged by their own predict."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skrobust.attacks import Attack, Survivors
from skrobust.exceptions import BlackBoxWarning
from skrobust.metrics import _view, robust_accuracy_score, robust_loss, worst_case
from skrobust.metrics._evaluation import Evaluation
from skrobust.threats import LpBall

X, y = load_iris(return_X_y=True)
X, y = X[::3], y[::3]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        for kind in (UserWarning, RuntimeWarning, FutureWarning):
            warnings.simplefilter("error", kind)
        warnings.simplefilter("ignore", BlackBoxWarning)
        yield


class Strange(ClassifierMixin, BaseEstimator):
    """A user's own classifier: hard answers only, column names required, classes_ of its own."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        assert list(X.columns) == ["a", "b", "c", "d"]
        number = (X["c"] > 2.45).astype(int) + (X["d"] > 1.75).astype(int)
        return self.classes_[number.to_numpy()]


@pytest.mark.parametrize(
    "model, source",
    [
        (RandomForestClassifier(10, random_state=0), "trees"),
        (KNeighborsClassifier(3, metric="canberra"), "predict_proba"),
        (SVC(kernel=lambda a, b: a @ b.T, decision_function_shape="ovo"), "predict"),
        (SVC(kernel=lambda a, b: a @ b.T), "decision_function"),
    ],
)
def test_broken_is_what_predict_says(model, source):
    model = model.fit(X, y)
    assert Evaluation(model, X, y).task.view.source == source
    worst = worst_case(model, X, y, radius=0.4, random_state=0)
    np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != y)
    assert worst.broken.sum() > (model.predict(X) != y).sum()
    assert (worst.broken >= (model.predict(X) != y)).all()
    assert np.abs(worst.X - X).max() <= 0.4 + 1e-9
    assert (worst.n_backward == 0).all() and worst.n_forward.max() > 1
    again = worst_case(model, X, y, radius=0.4, random_state=0)
    np.testing.assert_array_equal(worst.X, again.X)


def test_a_stump_is_solved_at_its_threshold():
    """One split: a row is lost exactly if the threshold lies within the radius."""
    rows, labels = load_breast_cancer(return_X_y=True)
    rows, labels = rows[::4, :1], labels[::4]
    stump = DecisionTreeClassifier(max_depth=1).fit(rows, labels)
    threshold = stump.tree_.threshold[0]
    radius = 2.0
    near = np.abs(rows[:, 0] - threshold) < radius * 0.999  # the very edge is a matter of luck
    wrong = stump.predict(rows) != labels
    worst = worst_case(stump, rows, labels, radius=radius, random_state=0)
    np.testing.assert_array_equal(worst.broken[near | wrong], True)
    far = np.abs(rows[:, 0] - threshold) > radius
    np.testing.assert_array_equal(worst.broken[far], wrong[far])
    assert 0.1 < near.mean() < 0.9


def test_a_frame_is_rebuilt_with_its_names():
    frame = pd.DataFrame(X, columns=list("abcd"))
    forest = RandomForestClassifier(10, random_state=0).fit(frame, y)
    for model in (forest, Strange().fit(frame, y)):
        worst = worst_case(model, frame, y, radius=0.3, random_state=0)
        np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != y)
        assert worst.broken.mean() > (model.predict(frame) != y).mean()


def test_names_are_complained_about_once(recwarn):
    frame = pd.DataFrame(X, columns=list("abcd"))
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)  # fitted without names
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        worst_case(forest, frame, y, radius=0.3, attack="search", random_state=0)
    assert sum("feature names" in str(w.message) for w in caught) == 1


def test_hard_answers_move_thresholds_and_votes():
    """Scores that are not the decision are not climbed; what predict says counts."""
    rows, labels = load_breast_cancer(return_X_y=True)
    rows, labels = rows[::3, [0, 1]], labels[::3]
    forest = RandomForestClassifier(20, max_depth=3, random_state=0)
    model = FixedThresholdClassifier(forest, threshold=0.95).fit(rows, labels)
    view = Evaluation(model, rows, labels).task.view
    assert view.source == "predict"
    threat = LpBall(scale="std").bind(rows)
    worst = worst_case(model, rows, labels, radius=0.2, threat=threat, random_state=0)
    np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != labels)
    assert worst.broken.sum() > (model.predict(rows) != labels).sum()
    mild = FixedThresholdClassifier(forest, threshold=0.5).fit(rows, labels)
    assert Evaluation(mild, rows, labels).task.view.source == "predict_proba"


class Creeping(Attack):
    """Goes a little further at a time and stops at the goal: a row ends just beyond it."""

    needs_gradient = False

    def search(self, fn, region, best, start, generator):
        live = Survivors(fn, region, best)
        for share in np.linspace(0, 1, 101):
            if not len(live):
                break
            for way in (-1, 1):
                end = live.region.steepest(way * torch.ones_like(live.region.x))
                z = live.region.project(live.region.x + share * (end - live.region.x))
                live.best.update(z, live.fn(z))
            live.prune()
        live.close()


def test_rows_that_the_scores_call_lost_and_predict_calls_kept_are_searched_on():
    """The scores change sign at 0, predict at 0.3."""

    class Shifted(ClassifierMixin, BaseEstimator):
        classes_ = np.array([0, 1])

        def decision_function(self, X):
            return X[:, 0]

        def predict(self, X):
            return (X[:, 0] > 0.3).astype(int)

    rows = np.linspace(-3, -0.01, 200)[:, None]
    labels = np.zeros(200, dtype=int)
    worst = worst_case(Shifted(), rows, labels, radius=0.5, attack=Creeping())
    np.testing.assert_array_equal(worst.broken, rows[:, 0] > -0.2)


def test_log_loss_of_a_forest():
    forest = RandomForestClassifier(10, max_depth=2, random_state=0).fit(X, y)
    clean = robust_loss(forest, X, y, radius=0)
    shares = forest.predict_proba(X)[np.arange(len(y)), y]
    assert clean == pytest.approx(-np.log(shares).mean())
    assert robust_loss(forest, X, y, radius=0.3, random_state=0) > clean


def test_regression_trees():
    rows, target = load_diabetes(return_X_y=True)
    rows, target = rows[::4], target[::4]
    for model in (DecisionTreeRegressor(max_depth=4), GradientBoostingRegressor(n_estimators=10)):
        model = clone(model).set_params(random_state=0).fit(rows, target)
        worst = worst_case(model, rows, target, radius=0.02, random_state=0)
        np.testing.assert_allclose(worst.value, (model.predict(worst.X) - target) ** 2)
        clean = (model.predict(rows) - target) ** 2
        assert (worst.value >= clean).all() and worst.value.mean() > 1.05 * clean.mean()
        np.testing.assert_array_equal(worst.broken, worst.value > clean)


def test_one_class_cannot_be_lost():
    model = RandomForestClassifier(3).fit(X, np.zeros(len(X)))
    worst = worst_case(model, X, np.zeros(len(X)), radius=1.0)
    assert not worst.broken.any() and (worst.value == -np.inf).all()
    some = np.arange(len(X)) % 2
    np.testing.assert_array_equal(worst_case(model, X, some, radius=1.0).broken, some == 1)


@pytest.mark.parametrize("attack", ["pgd", "apgd", "exact"])
@pytest.mark.parametrize("radius", [0, 0.2])
def test_gradient_attacks_say_that_there_is_no_gradient(attack, radius):
    forest = RandomForestClassifier(5).fit(X, y)
    with pytest.raises(ValueError, match="RandomForestClassifier.*search"):
        worst_case(forest, X, y, radius=radius, attack=attack)


class Closed(LogisticRegression):
    """Overrides a prediction method, so that nobody may look inside."""

    def decision_function(self, X):
        return super().decision_function(X)


class Shut(Closed):
    pass


def test_said_once_per_class_and_only_of_auto():
    model = Closed().fit(X, y)
    _view._said.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worst_case(model, X, y, radius=0.1, attack="search")
        worst_case(model, X, y, radius=0.1, attack="noise")
        with pytest.raises(BlackBoxWarning, match="Closed.*upper estimate"):
            worst_case(model, X, y, radius=0.1)
        worst_case(model, X, y, radius=0.1)
        robust_accuracy_score(model, X, y, radius=0.1)
        with pytest.raises(BlackBoxWarning, match="Shut"):
            worst_case(Shut().fit(X, y), X, y, radius=0.1)
    _view._said.clear()
    with pytest.warns(BlackBoxWarning) as caught:
        robust_accuracy_score(model, X, y, radius=0.1)
    assert caught[0].filename == __file__


def test_trees_are_no_black_box():
    _view._said.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (RandomForestClassifier(5), DecisionTreeClassifier()):
            worst_case(model.fit(X, y), X, y, radius=0.1)


def test_search_finds_most_of_what_gradients_find():
    """The same model with and without its torch view."""
    open_model, closed = LogisticRegression().fit(X, y), Closed().fit(X, y)
    exact = robust_accuracy_score(open_model, X, y, radius=0.4)
    searched = robust_accuracy_score(closed, X, y, radius=0.4, random_state=0)
    assert Evaluation(closed, X, y).task.view.source == "decision_function"
    assert exact <= searched <= exact + 0.04


def test_step_functions_are_searched_though_they_have_a_torch_view():
    X, y = load_breast_cancer(return_X_y=True)
    bins = KBinsDiscretizer(20, encode="onehot-dense", strategy="uniform")
    model = make_pipeline(bins, LogisticRegression()).fit(X, y)
    threat = LpBall(scale="std").bind(X)
    options = dict(radius=0.2, threat=threat, random_state=0)
    auto = robust_accuracy_score(model, X[:100], y[:100], **options)
    search = robust_accuracy_score(model, X[:100], y[:100], attack="search", **options)
    assert auto <= search + 0.01
    assert auto < model.score(X[:100], y[:100]) - 0.1
