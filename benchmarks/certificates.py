"""What is proven: interval-trained networks by fold, time per row, and trials that would break a proof.

    OMP_NUM_THREADS=1 python benchmarks/certificates.py
    OMP_NUM_THREADS=1 python benchmarks/certificates.py --only folds

folds: a default RobustClassifier with attack="interval", divergence="loss", certified by CROWN, beside the
same with attack="pgd" under attack="auto". All figures are means of five test folds in percent; "gap" is
certified minus attacked, "most frequent" what a constant would have. Data: the tables of
shared/data/tabular_folds.npz where it lies beside the checkout, and scikit-learn's breast cancer.

times: milliseconds per row of one margin at one radius, 1,000 rows of 20 columns, a 64-64 network.

violations: see violations.py; more than a million trials, for every family of models, method and norm.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from violations import violations

from skrobust import (
    RobustClassifier,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
)

FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
RADII = {"breast-cancer": 0.3, "diabetes": 0.05, "banknote-authentication": 0.1, "spambase": 0.05}


def tables():
    """(name, X, y, fold, radius)."""
    if FOLDS.exists():
        data = np.load(FOLDS)
        for name, radius in RADII.items():
            yield name, data[f"{name}/X"], data[f"{name}/y"], data[f"{name}/fold"], radius
    else:
        print("Tables are left out: no shared/data/tabular_folds.npz beside the checkout.")
    X, y = load_breast_cancer(return_X_y=True)
    X, fold = (X - X.min(axis=0)) / np.ptp(X, axis=0), np.zeros(len(y), dtype=int)
    for number, (_, test) in enumerate(
        StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)
    ):
        fold[test] = number
    for radius in (0.05, 0.1):
        yield "sklearn cancer", X, y, fold, radius


def folds() -> None:
    print(
        "| data | radius | most frequent | searched: clean | attacked | interval: clean | certified | gap |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, X, y, fold, radius in tables():
        found = np.mean([_fold(X, y, fold == k, radius) for k in range(5)], axis=0) * 100
        most = 100 * np.bincount(y).max() / len(y)
        cells = [f"{value:.1f}" for value in (most, *found, found[3] - found[1])]
        print("|", " | ".join([name, str(radius), *cells]), "|", flush=True)


def _fold(X, y, test, radius) -> tuple[float, ...]:
    options = dict(radius=radius, divergence="loss", random_state=0)
    searched = RobustClassifier(attack="pgd", **options).fit(X[~test], y[~test])
    interval = RobustClassifier(attack="interval", **options).fit(X[~test], y[~test])
    A, b = X[test], y[test]
    return (
        searched.score(A, b),
        robust_accuracy_score(searched, A, b, radius=radius, random_state=0),
        interval.score(A, b),
        certified_accuracy_score(interval, A, b, radius=radius),
    )


def times() -> None:
    X, y = make_classification(1000, 20, n_informative=10, random_state=0)
    model = RobustClassifier(max_epochs=10, random_state=0).fit(X, y)
    linear = LogisticRegression().fit(X, y)
    print(
        "| method | norm | ms per row, one radius | ms per row, largest radius |\n|---|---|---|---|"
    )
    for method in ("linear", "interval", "crown", "lipschitz"):
        for norm in ("linf", "l2", "l1"):
            asked = linear if method == "linear" else model
            options = dict(threat=norm, method=method)
            one = min(
                _seconds(certified_accuracy_score, asked, X, y, radius=0.05, **options)
                for _ in range(3)
            )
            largest = _seconds(certify, asked, X, **options)
            print(f"| {method} | {norm} | {one:.2f} | {largest:.2f} |", flush=True)


def _seconds(function, *args, **kwargs) -> float:
    began = time.process_time()
    function(*args, **kwargs)
    return time.process_time() - began  # of 1,000 rows: milliseconds a row


PARTS = {"folds": folds, "times": times, "violations": violations}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    warnings.simplefilter("ignore")
    for part in parser.parse_args().only:
        print(f"\n{part}")
        PARTS[part]()
