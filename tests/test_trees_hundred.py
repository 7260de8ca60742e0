"""Ensembles of 100 trees: the search among leaves is never weaker than a black box."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from skrobust import LpBall, worst_case
from skrobust.attacks import Search
from skrobust.trees import tree_view, worst_rows

SEED = {"random_state": 0}
MODELS = {
    "forest": RandomForestClassifier(100, **SEED),
    "extra": ExtraTreesClassifier(100, **SEED),
    "boosting": GradientBoostingClassifier(n_estimators=100, **SEED),
    "histogram": HistGradientBoostingClassifier(max_iter=100, early_stopping=False, **SEED),
}
TABLES = {
    "breast cancer": (load_breast_cancer, {"linf": 0.3, "l2": 0.6}),
    "digits": (load_digits, {"linf": 0.2, "l2": 0.4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", MODELS)
def test_never_weaker_than_a_black_box(name, table, norm):
    load, radii = TABLES[table]
    X, y = load(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    train, test = order[: len(X) // 2], order[len(X) // 2 :][:20]
    model = clone(MODELS[name]).fit(X[train], y[train])
    step = X[train].std(axis=0)
    threat = LpBall(norm, scale=np.where(step > 0, step, 1.0))
    given = {"radius": radii[norm], "threat": threat, "random_state": 0}
    found = worst_case(model, X[test], y[test], **given)
    searched = worst_case(model, X[test], y[test], attack=Search(n_queries=3000), **given)
    assert found.broken.sum() >= searched.broken.sum()
    np.testing.assert_array_equal(
        found.broken, (model.predict(found.X) != y[test]) | (model.predict(X[test]) != y[test])
    )
    upper = worst_rows(
        tree_view(model), X[test], y[test], radius=radii[norm], threat=threat
    ).upper  # what is proven safe is not broken by anybody
    assert not (searched.broken & (upper < 0)).any()
