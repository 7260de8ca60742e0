"""The same search on a dask cluster, through joblib: one line more.

    python examples/21_cluster.py
    python examples/21_cluster.py tcp://scheduler:8786

Without an address it starts a local cluster of two workers. Every fit of a candidate on a fold is one
task; estimators, threats, scorers and schedules travel by pickle. Needs dask and distributed:
pip install 'skrobust[cluster]'.
"""

from __future__ import annotations

import sys
import time

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, RobustScorer
from skrobust.metrics import AttackSchedule

EPOCHS = "robustclassifier__max_epochs"


def halving(threat: LpBall) -> HalvingGridSearchCV:
    schedule = AttackSchedule(EPOCHS, {1: "pgd", 9: "auto"})
    return HalvingGridSearchCV(
        make_pipeline(StandardScaler(), RobustClassifier(random_state=0)),
        {
            "robustclassifier__radius": [0.25, 0.5, 0.75],
            "robustclassifier__smoothing": [1.0, 2.0, 4.0],
        },
        resource=EPOCHS,
        min_resources=3,
        max_resources=9,
        factor=3,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        scoring=RobustScorer(radius=0.5, threat=threat, attack=schedule, random_state=0),
        return_train_score=False,
        error_score="raise",
    )


def main(address: str | None = None) -> None:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        sys.exit("This example needs dask and distributed: pip install 'skrobust[cluster]'")
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    search = halving(LpBall(scale="std").bind(X))

    # one thread per worker: dask's workers keep torch to one, and a fit is no faster with more
    place = address or LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with Client(place) as client, joblib.parallel_config("dask"):
        print(f"{len(client.nthreads())} workers")
        began = time.perf_counter()
        search.fit(X, y)
        print(f"on the cluster {time.perf_counter() - began:.0f} s")
    if address is None:
        place.close()

    began = time.perf_counter()
    here = clone(search).fit(X, y)
    print(f"in this process {time.perf_counter() - began:.0f} s")
    scores = [one.cv_results_["mean_test_score"] for one in (search, here)]
    print(f"largest difference of {len(scores[0])} scores: {np.ptp(scores, axis=0).max():.4f}")
    print(f"robust {search.best_score_:.1%} with {search.best_params_}")


if __name__ == "__main__":  # a must: the workers of a local cluster import this file
    main(*sys.argv[1:2])
