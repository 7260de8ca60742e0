"""Search radius, smoothing and learning rate at a fraction of the price of the full grid.

    python examples/20_search.py

Breast cancer in its raw units. Eighteen candidates in three folds, trained for 2, 6 and 18 epochs
by scikit-learn's successive halving: a cheap attack sorts them, a thorough one ranks the last two.
Then the same grid in full, scored by the default attack, and both choices on test rows. Two processes
work on it; loky gives each its share of the cores.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, RobustScorer, robust_accuracy_score
from skrobust.metrics import AttackSchedule

RADIUS = 0.5  # every column may be off by half of its standard deviation
EPOCHS = "robustclassifier__max_epochs"
GRID = {
    "robustclassifier__radius": [0.25, 0.5, 0.75],
    "robustclassifier__smoothing": [1.0, 4.0],
    "robustclassifier__lr": [1e-3, 5e-3, 2e-2],
}


def rounds(search: HalvingGridSearchCV) -> None:
    """What happened in each round, and who came through."""
    results = search.cv_results_
    for i, (epochs, n) in enumerate(zip(search.n_resources_, search.n_candidates_, strict=True)):
        scores = results["mean_test_score"][results["iter"] == i]
        print(
            f"  {n:2} candidates for {epochs:2} epochs: robust {scores.min():.1%} to {scores.max():.1%}"
        )


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    threat = LpBall(scale="std").bind(X_train)
    model = make_pipeline(StandardScaler(), RobustClassifier(random_state=0))
    common = {
        "cv": StratifiedKFold(3, shuffle=True, random_state=0),
        "n_jobs": 2,
        "error_score": "raise",  # a scorer that fails should not look like a bad candidate
    }
    schedule = AttackSchedule(EPOCHS, {1: "pgd", 18: "thorough"})
    scorer = RobustScorer(radius=RADIUS, threat=threat, random_state=0)  # attack="auto"
    searches = {
        "halving": HalvingGridSearchCV(
            model,
            GRID,
            resource=EPOCHS,
            min_resources=2,
            max_resources=18,
            factor=3,
            scoring=clone(scorer).set_params(attack=schedule),
            return_train_score=False,
            **common,
        ),
        "full grid": GridSearchCV(model.set_params(**{EPOCHS: 18}), GRID, scoring=scorer, **common),
    }
    seconds = {}
    for name, search in searches.items():
        print(f"Breast cancer, {name} ...")
        began = time.perf_counter()
        search.fit(X_train, y_train)
        seconds[name] = time.perf_counter() - began
        if name == "halving":
            rounds(search)
    print(f"\n{'search':12}{'time':>6}{'clean':>8}{'robust':>9}   radius, smoothing, lr")
    for name, search in searches.items():
        robust = robust_accuracy_score(
            search, X_test, y_test, radius=RADIUS, threat=threat, random_state=0
        )
        chosen = ", ".join(f"{search.best_params_[key]:g}" for key in GRID)
        share = seconds[name] / seconds["full grid"]
        clean = (search.predict(X_test) == y_test).mean()
        print(f"{name:12}{share:6.0%}{clean:8.1%}{robust:9.1%}   {chosen}")
    majority = np.unique(y_test, return_counts=True)[1].max() / len(y_test)
    print(f"{'most frequent class':26}{majority:9.1%}")


if __name__ == "__main__":
    main()
