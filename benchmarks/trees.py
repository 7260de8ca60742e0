"""Tree ensembles of 100 trees: search over leaves against black-box search, with time per row.

    OMP_NUM_THREADS=1 python benchmarks/trees.py
    OMP_NUM_THREADS=1 python benchmarks/trees.py --rows 20 --tables digits --models "random forest"

Prints one markdown table of accuracies in percent. "leaves" is attack="auto", "box" is black-box
search with so many queries per row. "at least" is the share of rows proven to withstand every move
in the ball, by mixed-integer programming with a limit of time per proof: where it meets "leaves",
that figure is exact. Times are milliseconds per row of the whole call of ``worst_case``, reading
the trees included (of the proof: per row that withstood), on as many threads as OMP_NUM_THREADS
allows.

Tables: breast cancer, and spambase where shared/data/tabular_folds.npz lies beside the checkout,
digits of scikit-learn where it does not, or where asked for. XGBoost and LightGBM are left out
where they are not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from skrobust import LpBall, worst_case
from skrobust.attacks import Search
from skrobust.trees import TreeSearch, tree_view, worst_rows

FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
SEED = {"random_state": 0}
COLUMNS = (
    "table", "model", "ball", "clean", "leaves", "box 1000", "box 5000", "at least",
    "ms leaves", "ms box 1000", "ms box 5000", "ms proof",
)  # fmt: skip


def models() -> dict:
    found = {
        "random forest": RandomForestClassifier(100, **SEED),
        "extra trees": ExtraTreesClassifier(100, **SEED),
        "gradient boosting": GradientBoostingClassifier(n_estimators=100, **SEED),
        "histogram boosting": HistGradientBoostingClassifier(
            max_iter=100, early_stopping=False, **SEED
        ),
    }
    if importlib.util.find_spec("xgboost"):
        from xgboost import XGBClassifier

        found["XGBoost"] = XGBClassifier(n_estimators=100, n_jobs=1, **SEED)
    if importlib.util.find_spec("lightgbm"):
        from lightgbm import LGBMClassifier

        found["LightGBM"] = LGBMClassifier(n_estimators=100, n_jobs=1, verbose=-1, **SEED)
    return found


def tables() -> dict:
    """(X_train, y_train, X_test, y_test), and the radii in standard deviations."""
    found = {}
    for name, load, radii in (
        ("breast cancer", load_breast_cancer, {"linf": 0.3, "l2": 0.6}),
        ("digits", load_digits, {"linf": 0.2, "l2": 0.4}),
    ):
        X, y = load(return_X_y=True)
        order = np.random.RandomState(0).permutation(len(X))
        half = len(X) // 2
        train, test = order[:half], order[half:]
        found[name] = X[train], y[train], X[test], y[test], radii
    if FOLDS.exists():
        folds = np.load(FOLDS)
        X, y, fold = (folds[f"spambase/{part}"] for part in ("X", "y", "fold"))
        test = np.flatnonzero(fold == 0)
        test = np.random.RandomState(0).permutation(test)
        rest = fold != 0
        found["spambase"] = X[rest], y[rest], X[test], y[test], {"linf": 0.03, "l2": 0.05}
    return found


def timed(work):
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def proven(model, X, y, found, given, seconds: float) -> int:
    """How many rows no move in the ball can break, proven."""
    left = np.flatnonzero(~found.broken)
    codes = np.searchsorted(model.classes_, y[left])
    bounds = worst_rows(
        tree_view(model), X[left], codes,
        radius=given["radius"], threat=given["threat"],
        attack=TreeSearch(n_rounds=1, exact=True, time_limit=seconds),
    )  # fmt: skip
    return int((bounds.upper < 0).sum())


def line(model, X, y, threat, radius, arguments) -> tuple[list[str], bool]:
    given = {"radius": radius, "threat": threat, "random_state": 0}
    attacks = {
        "leaves": "auto",
        "box 1000": Search(n_queries=1000),
        "box 5000": Search(n_queries=5000),
    }
    clean = float(np.mean(model.predict(X) == y))
    broken, cost = {}, {}
    for name, attack in attacks.items():
        found, seconds = timed(
            lambda attack=attack: worst_case(model, X, y, attack=attack, **given)
        )
        broken[name], cost[name] = found, 1000 * seconds / len(X)
    left = {name: 1 - float(found.broken.mean()) for name, found in broken.items()}
    floor, price = "-", "-"
    if arguments.seconds > 0:
        n_safe, seconds = timed(
            lambda: proven(model, X, y, broken["leaves"], given, arguments.seconds)
        )
        n_left = max(1, int((~broken["leaves"].broken).sum()))
        floor, price = f"{100 * n_safe / len(X):.1f}", f"{1000 * seconds / n_left:.0f}"
    cells = [f"{100 * clean:.1f}", *(f"{100 * left[name]:.1f}" for name in attacks), floor]
    cells += [*(f"{cost[name]:.1f}" for name in attacks), price]
    return cells, left["leaves"] <= min(left["box 1000"], left["box 5000"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=40, help="test rows of each table")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each proof; 0: none")
    parser.add_argument("--models", nargs="*", help="only these")
    parser.add_argument("--tables", nargs="*", help="only these")
    arguments = parser.parse_args()
    known = tables()
    wanted = arguments.tables or ["breast cancer", "spambase" if "spambase" in known else "digits"]
    warnings.simplefilter("ignore")
    print(
        f"{os.cpu_count()} CPU, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, "
        f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}, "
        f"{arguments.rows} rows, 100 trees (per class, where boosted)\n"
    )
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    begin, fine = time.perf_counter(), True
    for table in wanted:
        X_train, y_train, X_test, y_test, radii = known[table]
        X, y = X_test[: arguments.rows], y_test[: arguments.rows]
        scale = np.where(X_train.std(axis=0) > 0, X_train.std(axis=0), 1.0)
        for name, model in models().items():
            if arguments.models and name not in arguments.models:
                continue
            model.fit(X_train, y_train)
            for norm, radius in radii.items():
                threat = LpBall(norm, scale=scale)
                cells, stronger = line(model, X, y, threat, radius, arguments)
                fine &= stronger
                print(
                    "| " + " | ".join([table, name, f"{norm} {radius}", *cells]) + " |", flush=True
                )
    print(f"\n{time.perf_counter() - begin:.0f} s in all.")
    print("Never weaker than black box." if fine else "WEAKER than black box on a line above.")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
