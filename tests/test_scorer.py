"""RobustScorer wherever scikit-learn takes a scorer."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import check_scoring, get_scorer, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust.attacks import Search
from skrobust.exceptions import ThreatNotBoundError
from skrobust.metrics import (
    RobustScorer,
    get_robust_scorer,
    robust_accuracy_score,
    robust_loss,
    worst_case,
)
from skrobust.threats import LpBall

X, y = load_iris(return_X_y=True)
X, y = X[::2], y[::2]
PIPE = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
MODEL = clone(PIPE).fit(X, y)
WEIGHT = np.random.RandomState(0).rand(len(X)) * np.where(y == 1, 5, 1)
GRID = {"logisticregression__C": [0.01, 1.0]}
CV = KFold(3, shuffle=True, random_state=0)
ACCURACY = ["robust_accuracy", "clean_accuracy"]


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# One metric, several metrics --------------------------------------------------------------------


def test_a_name_gives_a_float():
    score = RobustScorer(radius=0.2)(MODEL, X, y)
    assert type(score) is float and score == robust_accuracy_score(MODEL, X, y, radius=0.2)
    weighted = RobustScorer(radius=0.2)(MODEL, X, y, sample_weight=WEIGHT)
    assert weighted == robust_accuracy_score(MODEL, X, y, radius=0.2, sample_weight=WEIGHT) != score


def test_each_name_of_a_list_has_the_value_it_has_alone():
    net = MLPClassifier((10,), max_iter=1500, random_state=0).fit(X, y)
    names = ["robust_accuracy", "clean_accuracy", "neg_robust_loss", "neg_clean_loss"]
    options = {"radius": 0.2, "random_state": 0}
    scores = RobustScorer(metric=names, **options)(net, X, y, WEIGHT)
    assert list(scores) == names
    for name in names:
        assert scores[name] == RobustScorer(metric=name, **options)(net, X, y, WEIGHT)
    assert scores["robust_accuracy"] < scores["clean_accuracy"]
    assert scores["neg_robust_loss"] < scores["neg_clean_loss"] < 0
    assert scores["neg_robust_loss"] == -robust_loss(net, X, y, sample_weight=WEIGHT, **options)


def test_metrics_of_regressors():
    rows, target = load_diabetes(return_X_y=True)
    model = Ridge(0.1).fit(rows, target)
    names = ["robust_r2", "clean_r2", "neg_robust_loss", "neg_clean_loss"]
    weight = np.random.RandomState(0).rand(len(rows))
    scores = RobustScorer(radius=0.01, metric=names)(model, rows, target, weight)
    predicted = model.predict(rows)
    assert scores["clean_r2"] == pytest.approx(r2_score(target, predicted, sample_weight=weight))
    moved = model.predict(worst_case(model, rows, target, radius=0.01).X)
    assert scores["robust_r2"] == pytest.approx(r2_score(target, moved, sample_weight=weight))
    assert scores["robust_r2"] < scores["clean_r2"]
    assert scores["neg_robust_loss"] == pytest.approx(
        -np.average((moved - target) ** 2, weights=weight)
    )


def test_one_search_serves_all_accuracy_metrics(monkeypatch):
    from skrobust.metrics import _evaluation

    searches = []
    worst = _evaluation.Evaluation.worst

    def counting(self, *args, **kwargs):
        searches.append(1)
        return worst(self, *args, **kwargs)

    monkeypatch.setattr(_evaluation.Evaluation, "worst", counting)
    RobustScorer(radius=0.2, metric=[*ACCURACY, "accuracy"])(MODEL, X, y)
    assert len(searches) == 1
    RobustScorer(radius=0.2, metric="clean_accuracy")(MODEL, X, y)
    assert len(searches) == 1


def test_aliases():
    scores = RobustScorer(radius=0.2, metric=["accuracy", "robust_accuracy"])(MODEL, X, y)
    assert scores["accuracy"] == scores["robust_accuracy"]


@pytest.mark.parametrize(
    "metric, error",
    [("f1", ValueError), ([], ValueError), (["accuracy", "f1"], ValueError), (3, TypeError)],
)
def test_unknown_metrics(metric, error):
    with pytest.raises(error, match="metric=.*robust_accuracy"):
        RobustScorer(radius=0.1, metric=metric)(MODEL, X, y)
    with pytest.raises(error, match="metric=.*robust_accuracy"):
        get_robust_scorer(metric, radius=0.1)


def test_metrics_of_the_other_task():
    rows, target = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="regressors.*robust_r2"):
        RobustScorer(radius=0.1)(Ridge().fit(rows, target), rows, target)
    with pytest.raises(ValueError, match="r2 is for regressors"):
        RobustScorer(radius=0.1, metric="robust_r2")(MODEL, X, y)


# Law 8, law 9 -----------------------------------------------------------------------------------


def test_a_scorer_names_its_radius():
    for make in (RobustScorer, lambda: get_robust_scorer("robust_accuracy")):
        with pytest.raises(TypeError, match="radius=None.*names its threat.*choosing 0"):
            make()
    with pytest.raises(TypeError):
        RobustScorer(0.1)
    for radius, error in ((-1, ValueError), (np.nan, ValueError), ("0.1", TypeError)):
        with pytest.raises(error, match="radius"):
            RobustScorer(radius=radius)(MODEL, X, y)


def test_an_estimators_own_radius_is_not_looked_at():
    model = clone(MODEL).fit(X, y)
    model.radius = 0.0
    assert RobustScorer(radius=0.3)(model, X, y) == RobustScorer(radius=0.3)(MODEL, X, y)


def test_unbound_threats_are_refused():
    scorer = RobustScorer(radius=0.1, threat=LpBall(scale="std"))
    with pytest.raises(ThreatNotBoundError, match=r"bind\(X_train\)"):
        scorer(MODEL, X, y)
    with pytest.raises(ThreatNotBoundError):
        cross_val_score(PIPE, X, y, scoring=scorer, error_score="raise")
    bound = clone(RobustScorer(radius=0.1, threat=LpBall(scale="std").bind(X)))
    assert cross_val_score(PIPE, X, y, scoring=bound, error_score="raise").min() > 0.5


# An object as scikit-learn likes them -----------------------------------------------------------


def test_params_clone_repr_pickle():
    scorer = RobustScorer(radius=0.2, threat=LpBall("l2"), metric=ACCURACY, random_state=3)
    assert repr(scorer).startswith("RobustScorer(") and "radius=0.2" in repr(scorer)
    assert scorer.get_params()["threat__norm"] == "l2"
    copy = clone(scorer).set_params(radius=0.0, threat__norm="l1")
    assert copy(MODEL, X, y)["robust_accuracy"] == MODEL.score(X, y)
    assert pickle.loads(pickle.dumps(scorer))(MODEL, X, y) == scorer(MODEL, X, y)
    assert scorer._repr_html_()


def test_scikit_learn_takes_it_for_a_scorer():
    scorer = RobustScorer(radius=0.2)
    assert check_scoring(MODEL, scoring=scorer) is scorer
    assert get_scorer(scorer) is scorer
    named = get_robust_scorer("neg_robust_loss", radius=0.2, threat="l2", attack="pgd", loss="log")
    assert named.get_params() == {
        "radius": 0.2,
        "threat": "l2",
        "attack": "pgd",
        "metric": "neg_robust_loss",
        "random_state": None,
        "loss": "log",
        "batch_size": None,
        "cost_matrix": None,
        "attack_rate": 1.0,
        "cost_options": None,
    }


def test_the_attack_moves_the_raw_columns_of_a_pipeline():
    stretched = X * [1, 10, 100, 1000]
    one = cross_val_score(PIPE, X, y, cv=CV, scoring=RobustScorer(radius=0.2))
    threat = LpBall(scale=np.array([1.0, 10.0, 100.0, 1000.0]))
    other = cross_val_score(
        PIPE, stretched, y, cv=CV, scoring=RobustScorer(radius=0.2, threat=threat)
    )
    np.testing.assert_allclose(one, other)
    raw = cross_val_score(PIPE, stretched, y, cv=CV, scoring=RobustScorer(radius=0.2))
    assert raw.mean() > one.mean()


# Search and validation --------------------------------------------------------------------------


def test_cross_validate_with_a_list():
    found = cross_validate(
        PIPE,
        pd.DataFrame(X, columns=list("abcd")),
        y,
        cv=CV,
        scoring=RobustScorer(radius=0.2, metric=ACCURACY),
        return_train_score=True,
        error_score="raise",
    )
    clean = cross_val_score(PIPE, X, y, cv=CV)
    np.testing.assert_allclose(found["test_clean_accuracy"], clean)
    assert (found["test_robust_accuracy"] <= clean).all()
    assert {"train_robust_accuracy", "train_clean_accuracy"} <= set(found)


def test_grid_search_in_other_processes():
    search = GridSearchCV(
        PIPE, GRID, cv=CV, n_jobs=2, scoring=RobustScorer(radius=0.2, random_state=0),
        return_train_score=True, error_score="raise",
    )  # fmt: skip
    search.fit(X, y)
    alone = clone(search).set_params(n_jobs=None).fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert search.score(X, y) == RobustScorer(radius=0.2)(search.best_estimator_, X, y)
    assert search.cv_results_["mean_train_score"].max() <= 1


def test_grid_search_picks_what_is_robust():
    """With the estimator's own radius 0 would win; with a radius that is named it does not."""
    rng = np.random.RandomState(0)
    n = 300
    labels = np.arange(n) % 2
    strong = labels * 2.0 - 1 + rng.normal(0, 0.6, n)
    weak = (labels * 2.0 - 1) * 0.1 + rng.normal(0, 0.02, n)  # tells all, within a small radius
    rows = np.stack([strong, weak], axis=1)
    grid = {"C": [0.01, 1000.0]}
    clean = GridSearchCV(LogisticRegression(max_iter=2000), grid).fit(rows, labels)
    robust = GridSearchCV(
        LogisticRegression(max_iter=2000), grid, scoring=RobustScorer(radius=0.3)
    ).fit(rows, labels)
    assert clean.best_params_["C"] == 1000.0 and robust.best_params_["C"] == 0.01


def test_grid_search_with_a_list_refits_by_name():
    search = GridSearchCV(
        PIPE, GRID, cv=CV, scoring=RobustScorer(radius=0.2, metric=ACCURACY),
        refit="robust_accuracy",
    )  # fmt: skip
    search.fit(X, y)
    results = search.cv_results_
    assert (results["mean_test_robust_accuracy"] <= results["mean_test_clean_accuracy"]).all()
    assert search.best_score_ == results["mean_test_robust_accuracy"].max()


def test_scorer_parameters_are_searchable_parameters_of_the_search():
    search = GridSearchCV(PIPE, GRID, cv=CV, scoring=RobustScorer(radius=0.2))
    assert clone(search).get_params()["scoring__radius"] == 0.2
    search.set_params(scoring__radius=0.0).fit(X, y)
    assert search.best_score_ == pytest.approx(
        GridSearchCV(PIPE, GRID, cv=CV).fit(X, y).best_score_
    )


def test_error_score():
    failing = RobustScorer(radius=0.1, threat=LpBall(bounds=(0, 1)))
    with pytest.warns(UserWarning, match="outside the bounds"):
        found = cross_val_score(PIPE, X, y, cv=CV, scoring=failing)
    assert np.isnan(found).all()
    with pytest.raises(ValueError, match="outside the bounds"):
        cross_val_score(PIPE, X, y, cv=CV, scoring=failing, error_score="raise")


def test_other_tools_of_scikit_learn():
    scorer = RobustScorer(radius=0.2)
    importance = permutation_importance(MODEL, X, y, scoring=scorer, n_repeats=1, random_state=0)
    assert importance.importances_mean.max() > 0.1
    _, _, scores = learning_curve(PIPE, X, y, cv=CV, scoring=scorer, shuffle=True, random_state=0)
    assert np.isfinite(scores).all()


def test_black_box_in_a_search():
    forest = RandomForestClassifier(5, random_state=0)
    scorer = RobustScorer(radius=0.2, attack=Search(n_queries=30), random_state=0)
    first, second = (cross_val_score(forest, X, y, cv=CV, scoring=scorer) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# Weights, without and with metadata routing -----------------------------------------------------

SCORINGS = {
    "one": lambda s: s,
    "list": lambda s: clone(s).set_params(metric=ACCURACY),
    "dict": lambda s: {"robust_accuracy": s, "other": "accuracy"},
    "two of ours": lambda s: {
        "robust_accuracy": s,
        "clean_accuracy": clone(s).set_params(metric="clean_accuracy"),
    },
}


def refit_and_key(kind):
    return (
        (True, "mean_test_score")
        if kind == "one"
        else ("robust_accuracy", "mean_test_robust_accuracy")
    )


def weighted_scores(weight_fit, weight_score):
    """What the search must find, by hand: mean over folds, per C."""
    scores = []
    for C in GRID["logisticregression__C"]:
        folds = []
        for train, test in CV.split(X):
            weight = None if weight_fit is None else weight_fit[train]
            model = clone(PIPE).set_params(logisticregression__C=C)
            model.fit(X[train], y[train], logisticregression__sample_weight=weight)
            part = None if weight_score is None else weight_score[test]
            folds.append(
                robust_accuracy_score(model, X[test], y[test], radius=0.2, sample_weight=part)
            )
        scores.append(np.mean(folds))
    return scores


@pytest.mark.parametrize("kind", SCORINGS)
def test_weights_reach_the_scorer_by_routing(routing, kind):
    pipe = make_pipeline(
        StandardScaler().set_fit_request(sample_weight=False),
        LogisticRegression(max_iter=500).set_fit_request(sample_weight=False),
    )
    scorer = RobustScorer(radius=0.2).set_score_request(sample_weight=True)
    scoring = SCORINGS[kind](scorer)
    if kind == "dict":
        other = get_scorer("accuracy").set_score_request(sample_weight=True)
        scoring = {**scoring, "other": other}
    refit, key = refit_and_key(kind)
    search = GridSearchCV(pipe, GRID, cv=CV, scoring=scoring, refit=refit, error_score="raise")
    search.fit(X, y, sample_weight=WEIGHT)
    with sklearn.config_context(enable_metadata_routing=False):
        weighted, plain = weighted_scores(None, WEIGHT), weighted_scores(None, None)
    np.testing.assert_allclose(search.cv_results_[key], weighted)
    assert not np.allclose(weighted, plain)
    found = cross_validate(pipe, X, y, cv=CV, scoring=scoring, params={"sample_weight": WEIGHT})
    name = "test_score" if kind == "one" else "test_robust_accuracy"
    assert found[name].mean() == pytest.approx(
        np.mean([
            robust_accuracy_score(
                clone(pipe).fit(X[a], y[a]), X[b], y[b], radius=0.2, sample_weight=WEIGHT[b]
            )
            for a, b in CV.split(X)
        ])
    )  # fmt: skip


def test_routing_asks_when_nothing_was_said(routing):
    scorer = RobustScorer(radius=0.2)
    model = LogisticRegression().set_fit_request(sample_weight=True)
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
        cross_validate(model, X, y, scoring=scorer, params={"sample_weight": WEIGHT})
    silent = clone(scorer).set_score_request(sample_weight=False)
    assert not hasattr(scorer, "_metadata_request")
    found = cross_validate(model, X, y, scoring=silent, params={"sample_weight": WEIGHT})
    assert np.isfinite(found["test_score"]).all()
    renamed = clone(scorer).set_score_request(sample_weight="mine")
    found = cross_val_score(PIPE, X, y, cv=CV, scoring=renamed, params={"mine": WEIGHT})
    expected = [
        robust_accuracy_score(
            clone(PIPE).fit(X[a], y[a]), X[b], y[b], radius=0.2, sample_weight=WEIGHT[b]
        )
        for a, b in CV.split(X)
    ]
    np.testing.assert_allclose(found, expected)
    assert clone(renamed).get_metadata_routing().score.requests == {"sample_weight": "mine"}


def test_requests_need_routing():
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        RobustScorer(radius=0.2).set_score_request(sample_weight=True)


@pytest.mark.parametrize("kind", SCORINGS)
def test_weights_without_routing(kind):
    """A duck-typed scorer without ``_accept_sample_weight`` would fail here."""
    refit, key = refit_and_key(kind)
    scoring = SCORINGS[kind](RobustScorer(radius=0.2))
    model = LogisticRegression(max_iter=500)
    search = GridSearchCV(
        model, {"C": [0.01, 1.0]}, cv=CV, scoring=scoring, refit=refit, error_score="raise"
    )
    search.fit(X, y, sample_weight=WEIGHT)
    assert search.cv_results_[key].shape == (2,)
    by_hand = []
    for train, test in CV.split(X):
        model = LogisticRegression(max_iter=500).fit(X[train], y[train], WEIGHT[train])
        # scikit-learn >= 1.7 passes the weights of fit on to scorers that take them
        passed = WEIGHT[test] if SCORES_GET_WEIGHTS else None
        by_hand.append(
            robust_accuracy_score(model, X[test], y[test], radius=0.2, sample_weight=passed)
        )
    assert search.cv_results_[key][1] == pytest.approx(np.mean(by_hand))


SCORES_GET_WEIGHTS = hasattr(GridSearchCV, "_check_scorers_accept_sample_weight")
