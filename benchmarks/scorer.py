"""What a robust scorer costs in a grid search: time of scoring over time of fitting, one run.

    OMP_NUM_THREADS=1 python benchmarks/scorer.py

GridSearchCV with 5 folds over two values of ``smoothing`` of a default RobustClassifier, scored by
RobustScorer at its default attack. Prints one markdown table: mean seconds of a fit and of a score
(scikit-learn's own mean_fit_time and mean_score_time), and their ratio.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import GridSearchCV

from skrobust import LpBall, RobustClassifier, RobustScorer
from skrobust.datasets import load_digits_images

COLUMNS = ("data", "rows", "fit s", "score s", "score / fit", "best robust accuracy")


def line(name: str, X, y, threat: LpBall, radius: float) -> tuple[list[str], float]:
    search = GridSearchCV(
        RobustClassifier(radius=radius, threat=threat, random_state=0),
        {"smoothing": [0.5, 1.0]},
        scoring=RobustScorer(radius=radius, threat=threat, random_state=0),
        cv=5,
        refit=False,
    ).fit(X, y)
    fit = float(np.mean(search.cv_results_["mean_fit_time"]))
    score = float(np.mean(search.cv_results_["mean_score_time"]))
    cells = [name, str(len(X)), f"{fit:.2f}", f"{score:.2f}", f"{score / fit:.2f}"]
    return [*cells, f"{100 * search.best_score_:.1f}"], score / fit


def main() -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    print(
        f"{os.cpu_count()} CPU, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}\n"
    )
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    ratios = []
    X, y = load_breast_cancer(return_X_y=True)
    tables = [("breast cancer", X, y, LpBall(scale="std").bind(X), 0.3)]
    X, y = load_digits(return_X_y=True)
    tables.append(("digits, as a table", X, y, LpBall(bounds=(0, 16)), 1.5))
    X, y = load_digits_images(return_X_y=True)
    tables.append(("digits, as images", X, y, LpBall(bounds=(0, 1)), 0.1))
    for name, X, y, threat, radius in tables:
        cells, ratio = line(name, X, y, threat, radius)
        ratios.append(ratio)
        print("| " + " | ".join(cells) + " |", flush=True)
    print(f"\nAt most {max(ratios):.2f} of the time of a fit.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
