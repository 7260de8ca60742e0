"""Views that give steps exactly and the gradient of something smooth: the gradient leads somewhere.

Many columns, where values alone say little: ascent along the guide alone must break more rows
than black-box search does with ten times as many evaluations.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skrobust import LpBall, worst_case
from skrobust.attacks import APGD
from skrobust.bridge import as_torch, has_steps

ASCENT = APGD(n_steps=50)


@cache
def rows():
    X, y = load_breast_cancer(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    return X[order], y[order]


def attacked(model, attack, values: bool = False):
    """The model learned from 280 rows, on 60 others."""
    X, y = rows()
    y = np.log(X[:, 3]) if values else y
    model = make_pipeline(StandardScaler(), model).fit(X[:280], y[:280])
    threat = LpBall(scale="std").bind(X[:280])
    options = {"radius": 0.4, "threat": threat, "attack": attack, "random_state": 0}
    return worst_case(model, X[280:340], y[280:340], **options)


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(5),
        KNeighborsClassifier(5, weights="distance"),
        KNeighborsClassifier(5, p=1),
        BaggingClassifier(LinearSVC(), 5, random_state=0),
    ],
    ids=["uniform", "distance", "manhattan", "bagging"],
)
def test_ascent_beats_black_box_search(model):
    found, searched = attacked(model, ASCENT), attacked(model, "search")
    assert found.n_backward.mean() < 100 < searched.n_forward.mean()
    assert found.broken.sum() > searched.broken.sum() + 3


@pytest.mark.parametrize(
    "model",
    [
        RadiusNeighborsClassifier(4.0, outlier_label="most_frequent"),
        VotingClassifier([(str(c), LogisticRegression(C=c)) for c in (0.1, 1.0, 10.0)]),
    ],
    ids=["radius", "voting"],
)
def test_ascent_and_search_beat_search(model):
    assert attacked(model, "auto").broken.sum() > attacked(model, "search").broken.sum()


def test_ascent_and_search_beat_search_on_values():
    model = KNeighborsRegressor(5)
    found, searched = attacked(model, "auto", values=True), attacked(model, "search", values=True)
    assert found.value.mean() > 1.1 * searched.value.mean()


def test_the_guide_does_not_change_the_answer():
    X, y = rows()
    module = as_torch(KNeighborsClassifier(5).fit(X[:100], y[:100]))
    z = torch.tensor(X[:50], requires_grad=True)
    with torch.no_grad():
        known = module(z)
    found = module(z)
    assert torch.equal(found, known) and found.requires_grad
    assert has_steps(module)
