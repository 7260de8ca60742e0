"""Robust additive models on the tables of the robust-tree literature: exact robust accuracy.

    OMP_NUM_THREADS=1 python benchmarks/additive.py
    OMP_NUM_THREADS=1 python benchmarks/additive.py --tables spambase wine
    OMP_NUM_THREADS=1 python benchmarks/additive.py --shapes
    OMP_NUM_THREADS=1 python benchmarks/additive.py --shapes --norm l2 --tables spambase

Prints one markdown table: mean over the five test folds, in percent. "robust" is exact, for one
tree and for additive and linear models alike (proven by ``certified_accuracy_score``, and the attack
finds the same). Columns are min-max scaled, rows move in linf. The figures of GROOT (one tree of
depth 4, Vos & Verwer 2021) and of the plain tree were measured on the same folds, and are not
repeated here. "radius + 1e-9" certifies at a radius larger by a billionth: columns of few digits
have values that lie two radii apart, and whether their movements touch is a matter of rounding.
"seconds" is processor time of the slowest fit. One rule for all tables: ``RobustClassifier("additive",
radius=radius)``, every other parameter at its default.

``--shapes`` compares steps with lines (``Additive(shape="linear")``), in any norm: "certified" is exact in
linf, a lower bound in l2 and l1.

It needs shared/data/tabular_folds.npz beside the checkout.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch

from skrobust import RobustClassifier, certified_accuracy_score, robust_accuracy_score
from skrobust.nets import Additive

FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
# name: radius, robust accuracy of a plain tree and of GROOT
TABLES = {
    "banknote-authentication": (0.1, 51.7, 58.6),
    "breast-cancer": (0.3, 21.8, 85.5),
    "climate-model-simulation": (0.1, 81.1, 91.5),
    "diabetes": (0.05, 52.7, 66.4),
    "haberman": (0.1, 39.9, 72.2),
    "spambase": (0.05, 0.0, 72.0),
    "wine": (0.05, 44.4, 63.8),
}
COLUMNS = (
    "table", "radius", "majority", "plain tree", "GROOT", "linear: clean", "robust",
    "additive: clean", "robust", "certified", "radius + 1e-9", "seconds",
)  # fmt: skip

PARTS = ("clean", "certified", "seconds")


def measure(name: str, data) -> list:
    radius, tree, groot = TABLES[name]
    X, y, fold = (data[f"{name}/{part}"] for part in ("X", "y", "fold"))
    found = []
    for k in range(5):
        train, test = fold != k, fold == k
        start = time.process_time()
        model = RobustClassifier("additive", radius=radius).fit(X[train], y[train])
        seconds = time.process_time() - start
        linear = RobustClassifier("linear", radius=radius).fit(X[train], y[train])
        rows = X[test], y[test]
        found.append([
            linear.score(*rows),
            robust_accuracy_score(linear, *rows, radius=radius, random_state=0),
            model.score(*rows),
            robust_accuracy_score(model, *rows, radius=radius, random_state=0),
            certified_accuracy_score(model, *rows, radius=radius),
            certified_accuracy_score(model, *rows, radius=radius * (1 + 1e-9)),
            seconds,
        ])  # fmt: skip
    found = np.array(found)
    shown = [f"{100 * value:.1f}" for value in found[:, :-1].mean(axis=0)]
    majority = 100 * max(y.mean(), 1 - y.mean())
    return [
        name,
        f"{radius:g}",
        f"{majority:.1f}",
        tree,
        groot,
        *shown,
        f"{found[:, -1].max():.2f}",
    ]


def shapes(name: str, data, norm: str) -> str:
    """Steps and lines beside each other: clean, certified, seconds of the slowest fit."""
    radius, cells = TABLES[name][0], []
    X, y, fold = (data[f"{name}/{part}"] for part in ("X", "y", "fold"))
    for shape in ("steps", "linear"):
        found = []
        for k in range(5):
            train, test = fold != k, fold == k
            start = time.process_time()
            model = RobustClassifier(Additive(shape=shape), radius=radius, threat=norm)
            model.fit(X[train], y[train])
            seconds = time.process_time() - start
            rows = X[test], y[test]
            proven = certified_accuracy_score(model, *rows, radius=radius, threat=norm)
            found.append([100 * model.score(*rows), 100 * proven, seconds])
        clean, proven, _ = np.mean(found, axis=0)
        cells += [f"{clean:.1f}", f"{proven:.1f}", f"{np.max(found, axis=0)[2]:.2f}"]
    return "| " + " | ".join([name, norm, f"{radius:g}", *cells]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--shapes", action="store_true")
    parser.add_argument("--norm", choices=["linf", "l2", "l1"], default="linf")
    given = parser.parse_args()
    chosen = given.tables
    if not FOLDS.exists():
        sys.exit(f"{FOLDS} is not there: nothing to measure.")
    warnings.filterwarnings("ignore")
    print(
        f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}, "
        f"torch {torch.__version__}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}\n"
    )
    if given.shapes:
        parts = [f"{shape}: {part}" for shape in ("steps", "lines") for part in PARTS]
        print("| " + " | ".join(["table", "norm", "radius", *parts]) + " |\n|" + "---|" * 9)
        with np.load(FOLDS) as data:
            for name in chosen:
                print(shapes(name, data, given.norm), flush=True)
        return
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    with np.load(FOLDS) as data:
        for name in chosen:
            print("| " + " | ".join(map(str, measure(name, data))) + " |", flush=True)


if __name__ == "__main__":
    main()
