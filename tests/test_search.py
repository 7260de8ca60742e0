"""Successive halving with epochs as the resource, and searches in other processes."""

from __future__ import annotations

import importlib.util
import math
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from skrobust import LpBall, RobustClassifier, RobustScorer, robust_accuracy_score
from skrobust.attacks import PGD, Auto
from skrobust.metrics import AttackSchedule
from skrobust.metrics._schedule import attack_for

# candidates of a first round may well be hopeless
pytestmark = pytest.mark.filterwarnings("ignore:The robust model is no better than a constant")

ROOT = Path(__file__).parents[1]
CV = KFold(2, shuffle=True, random_state=0)
X, y = make_moons(80, noise=0.1, random_state=0)
THREAT = LpBall(scale="std").bind(X)
MODEL = RobustClassifier(threat=THREAT, batch_size=20, lr=0.02, random_state=0)
PIPE = make_pipeline(StandardScaler(), MODEL)
CHEAP, CAREFUL = PGD(n_steps=2), PGD(n_steps=20, n_restarts=3)


class Noted(PGD):
    """PGD that remembers for how many epochs the models it met were trained."""

    def __init__(self, n_steps=10, met=None):
        super().__init__(n_steps)
        self.met = [] if met is None else met

    def search(self, fn, region, best, start, generator):
        self.met.append(len(best))
        super().search(fn, region, best, start, generator)


def schedule(parameter="max_epochs", **attacks):
    return AttackSchedule(parameter, attacks or {2: CHEAP, 6: CAREFUL})


def halving(estimator=MODEL, grid=None, resource="max_epochs", kind=HalvingGridSearchCV, **options):
    given = dict(
        min_resources=2, max_resources=6, factor=3, cv=CV, error_score="raise",
        scoring=RobustScorer(radius=0.3, threat=THREAT, attack=schedule(resource), random_state=0),
    )  # fmt: skip
    grid = {"radius": [0.0, 0.2, 0.4]} if grid is None else grid
    return kind(estimator, grid, resource=resource, **{**given, "random_state": 0, **options})


# The schedule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, CHEAP), (2, CHEAP), (5, CHEAP), (6, CAREFUL), (100, CAREFUL)]
)
def test_the_largest_start_that_is_reached_counts(epochs, expected):
    assert schedule().of(clone(MODEL).set_params(max_epochs=epochs)) is expected
    pipe = clone(PIPE).set_params(robustclassifier__max_epochs=epochs)
    assert schedule("robustclassifier__max_epochs").of(pipe) is expected


def test_without_a_number_it_is_careful():
    assert MODEL.max_epochs == "auto" and schedule().of(MODEL) is CAREFUL
    tree = AttackSchedule("max_depth", {1: "pgd", 9: "auto"}).of(DecisionTreeClassifier())
    assert isinstance(tree, Auto)


def test_other_attacks_stay_as_they_are():
    assert attack_for("pgd", MODEL) == "pgd" and attack_for(CHEAP, MODEL) is CHEAP


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("epochs", {1: "pgd"}), ValueError, "parameter='epochs'.*RobustClassifier.*resource="),
        (("max_epochs", "pgd"), TypeError, "attacks='pgd'.*dict of attacks by numbers"),
        (("max_epochs", {}), ValueError, "attacks={}.*dict of attacks by numbers"),
        (("max_epochs", {"1": "pgd"}), ValueError, "attacks=.*by numbers"),
        (("max_epochs", {math.nan: "pgd"}), ValueError, "attacks=.*by numbers"),
        (("max_epochs", {1: "pgd", 9: "through"}), ValueError, "attack='through'.*thorough"),
    ],
)
def test_errors_come_with_the_first_score(given, error, message):
    model = clone(MODEL).set_params(max_epochs=1).fit(X, y)
    with pytest.raises(error, match=message):
        RobustScorer(radius=0.1, attack=AttackSchedule(*given))(model, X, y)


def test_the_name_inside_a_pipeline_is_suggested():
    with pytest.raises(ValueError, match="Did you mean 'robustclassifier__max_epochs'"):
        schedule("max_epochs").of(PIPE)


def test_it_is_an_object_as_scikit_learn_likes_them():
    scorer = RobustScorer(radius=0.1, attack=schedule())
    assert "AttackSchedule(" in repr(scorer) and "max_epochs" in repr(scorer)
    copy = clone(scorer).set_params(attack__parameter="lr")
    assert copy.attack.parameter == "lr" and scorer.attack.parameter == "max_epochs"


# Halving ------------------------------------------------------------------------------------------


def test_only_the_last_round_is_scored_carefully():
    cheap, careful = Noted(2), Noted(4)
    scorer = RobustScorer(
        radius=0.3, threat=THREAT, attack=AttackSchedule("max_epochs", {1: cheap, 6: careful})
    )
    search = halving(scoring=scorer, refit=False, return_train_score=False).fit(X, y)
    assert search.n_resources_ == [2, 6] and search.n_candidates_ == [3, 1]
    assert len(cheap.met) == 3 * 2 and len(careful.met) == 1 * 2


def test_the_winner_is_what_the_careful_attack_says_and_is_refitted_at_full_length():
    search = halving().fit(X, y)
    best = search.best_estimator_
    assert search.best_params_["max_epochs"] == best.n_iter_ == 6
    assert search.best_params_["radius"] > 0  # the plain network is out
    folds = [
        robust_accuracy_score(
            clone(best).fit(X[train], y[train]), X[test], y[test], radius=0.3, threat=THREAT,
            attack=CAREFUL, random_state=0,
        )
        for train, test in CV.split(X)
    ]  # fmt: skip
    assert search.best_score_ == pytest.approx(np.mean(folds))
    assert schedule().of(search) is CAREFUL  # a fitted search stands for its best model
    assert search.score(X, y) == robust_accuracy_score(
        best, X, y, radius=0.3, threat=THREAT, attack=CAREFUL, random_state=0
    )


@pytest.mark.parametrize("search_class", [HalvingGridSearchCV, HalvingRandomSearchCV])
def test_epochs_of_a_step_of_a_pipeline(search_class):
    name = "robustclassifier__max_epochs"
    grid = {"robustclassifier__radius": [0.0, 0.2, 0.4]}
    search = halving(PIPE, grid, name, kind=search_class).fit(X, y)
    assert search.n_resources_ == [2, 6]
    assert search.best_params_[name] == search.best_estimator_[-1].n_iter_ == 6


def test_the_last_round_may_stay_below_max_resources():
    """Which is why a schedule should name what is reached, and not ``max_resources``."""
    search = halving(min_resources="exhaust", max_resources=8, refit=False).fit(X, y)
    assert search.n_resources_ == [2, 6]


# Other processes ----------------------------------------------------------------------------------


def small(n_features, n_outputs):
    return nn.Sequential(nn.Linear(n_features, 8), nn.SiLU(), nn.Linear(8, n_outputs))


def everything(n_jobs):
    """A search whose parts all have to travel: a factory, a bound threat, a schedule, skorch."""
    from skorch.callbacks import EpochTimer

    model = RobustClassifier(
        small, threat=THREAT, callbacks=[EpochTimer()], early_stopping=True, random_state=0
    )
    return halving(
        make_pipeline(StandardScaler(), model),
        {"robustclassifier__radius": [0.0, 0.2, 0.4]},
        "robustclassifier__max_epochs",
        n_jobs=n_jobs,
    )


def assert_same(one, other):
    for name in ("mean_test_score", "mean_train_score", "n_resources"):
        np.testing.assert_array_equal(one.cv_results_[name], other.cv_results_[name])
    assert one.best_params_ == other.best_params_
    np.testing.assert_array_equal(
        one.best_estimator_.predict_proba(X), other.best_estimator_.predict_proba(X)
    )


def test_two_processes_find_what_one_finds():
    assert_same(everything(n_jobs=1).fit(X, y), everything(n_jobs=2).fit(X, y))


def torch_threads(estimator, X, y):
    time.sleep(0.3)  # so that both workers get one
    return torch.get_num_threads()


def test_workers_share_the_cores(monkeypatch):
    """loky tells its workers through the environment, before they import torch."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    search = GridSearchCV(
        DecisionTreeClassifier(), {"max_depth": [1, 2]}, scoring=torch_threads, n_jobs=2, cv=CV
    ).fit(X, y)
    assert set(search.cv_results_["mean_test_score"]) == {max(1, joblib.cpu_count() // 2)}
    assert torch.get_num_threads() == before


def test_the_number_of_threads_is_the_users():
    setting = [
        str(path)
        for path in sorted((ROOT / "skrobust").rglob("*.py"))
        if "set_num_" + "threads" in path.read_text()
    ]
    assert setting == []


@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec("distributed"),
    reason="needs a dask cluster: pip install 'skrobust[cluster]'",
)
def test_a_dask_cluster_finds_what_one_process_finds():
    from dask.distributed import Client, LocalCluster, get_task_stream

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        threads = client.run(torch.get_num_threads)
        assert set(threads.values()) == {1}
        with joblib.parallel_config("dask"), get_task_stream(client) as stream:
            there = everything(n_jobs=None).fit(X, y)
    assert {task["worker"] for task in stream.data} == set(threads)  # both had a share
    assert_same(everything(n_jobs=1).fit(X, y), there)
