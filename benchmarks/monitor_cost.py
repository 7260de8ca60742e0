"""What watching costs at the defaults: processor time of an update, by model and size of the batch.

    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py
    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py --models "SVC, rbf" --sizes 1 100
    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py --labels       # the same with labels in each update

One markdown table of one run. 20 columns, reference of 3,000 rows, answers handed over (``outputs=``, which
is what ``monitor.predict`` does). A number is the mean over many updates, so that those of one row contain
their share of the looks (one per 50 rows); beside it stands its share of ``predict`` of the same rows, which
is the smaller of two measurements, before and after.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skrobust import LpBall, RobustClassifier, RobustnessMonitor

MODELS = {
    "random forest, 100 trees": RandomForestClassifier(random_state=0),
    "boosted trees, 200": HistGradientBoostingClassifier(max_iter=200, random_state=0),
    "SVC, rbf": SVC(),
    "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
    "MLP 500-500": make_pipeline(
        StandardScaler(), MLPClassifier((500, 500), max_iter=5, random_state=0)
    ),
    "MLP 100": MLPClassifier(max_iter=20, random_state=0),
    "RobustClassifier": RobustClassifier(max_epochs=2, random_state=0),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
}
TIMES = {1: 300, 10: 200, 100: 40, 1000: 15, 10_000: 15}


def seconds(work, times: int) -> float:
    began = time.process_time()
    for k in range(times):
        work(k)
    return (time.process_time() - began) / times


def measure(model, data, threat, size: int, labels: bool, folder: str) -> tuple[float, float]:
    """Seconds of ``predict`` and of ``update``."""
    X, y, outputs = data
    monitor = RobustnessMonitor(
        model, radius=0.2, threat=threat, random_state=0, store=Path(folder) / "monitor.db"
    ).fit(X[3000:6000], y[3000:6000])
    n, times = len(X) - 6000, TIMES[size]

    def part(k: int) -> slice:
        low = 6000 + (k * size) % (n - size + 1)
        return slice(low, low + size)

    def update(k: int) -> None:
        s = part(k)
        monitor.update(X[s], y[s] if labels else None, outputs=outputs[s])

    def predict(k: int) -> None:
        model.predict(X[part(k)])

    few = min(max(3, times // 4), 30)
    seconds(predict, 2), seconds(update, few)
    before = seconds(predict, few)
    spent = seconds(update, times)
    after = seconds(predict, few)
    monitor.close()
    return min(before, after), spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=TIMES, default=[1, 100, 10_000])
    parser.add_argument("--labels", action="store_true", help="hand over labels with every row")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*torch view.*")
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}; {'with' if args.labels else 'without'} labels; processor time\n"
    )
    heads = [f"{size:,} row{'s' * (size > 1)}: predict, update" for size in args.sizes]
    print("| " + " | ".join(["model", *heads]) + " |\n|" + "---|" * (len(heads) + 1), flush=True)
    X, y = make_classification(16_000, 20, n_informative=8, random_state=0)
    threat = LpBall(scale="std").bind(X[:3000])
    for name in args.models:
        model = MODELS[name].fit(X[:3000], y[:3000])
        outputs = (getattr(model, "predict_proba", None) or model.decision_function)(X)
        cells = []
        for size in args.sizes:
            with tempfile.TemporaryDirectory() as folder:
                predict, update = measure(
                    model, (X, y, outputs), threat, size, args.labels, folder
                )  # fmt: skip
            cells.append(f"{1e3 * predict:.2f} ms, {1e3 * update:.2f} ms ({update / predict:.1%})")
        print("| " + " | ".join([name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
