"""What watching costs: processor time of an update, by model and size of the batch.

    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py                # all tables
    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py --parts default budget --sizes 1 100
    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py --models "SVC, rbf" --labels

Markdown tables of one run; 20 columns, reference of 3,000 rows, the store on a disk, processor time of
the process.

default  Answers handed over (``outputs=``). Beside the update stands its share of ``predict`` of the same
         rows, which is the smaller of two measurements, before and after. A number is the mean over
         many updates, so that those of one row contain their share of the looks (one per 50 rows).
itself   ``monitor.predict`` in place of ``model.predict``: what it takes more, as a share. Both are called
         in turn.
budget   The same two ways with ``max_overhead=0.1``: the share reached, and the share of rows looked at.
delay    Rows until a moved mean is told (half a standard deviation of one column, from the first row
         on), with and without the budget; medians over streams.
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
SECONDS = 5  # of predictions, with a budget: until some looks are paid for
PARTS = ("default", "itself", "budget", "delay")


def seconds(work, times: int) -> float:
    began = time.process_time()
    for k in range(times):
        work(k)
    return (time.process_time() - began) / times


class Case:
    """A model, a monitor of it, and batches of one size."""

    def __init__(self, model, data, threat, size: int, labels: bool, folder: str, **options):
        self.model, self.size, self.labels = model, size, labels
        self.X, self.y, self.outputs = data
        self.monitor = RobustnessMonitor(
            model, radius=0.2, threat=threat, random_state=0, store=Path(folder) / "monitor.db", **options
        ).fit(self.X[3000:6000], self.y[3000:6000])  # fmt: skip

    def part(self, k: int) -> slice:
        low = 6000 + (k * self.size) % (len(self.X) - 6000 - self.size + 1)
        return slice(low, low + self.size)

    def predict(self, k: int) -> None:
        self.model.predict(self.X[self.part(k)])

    def watched(self, k: int) -> None:
        self.monitor.predict(self.X[self.part(k)])

    def update(self, k: int) -> None:
        s = self.part(k)
        y = self.y[s] if self.labels else None
        self.monitor.update(self.X[s], y, outputs=self.outputs[s])

    def handed_over(self, times: int) -> tuple[float, float]:
        """Seconds of ``predict`` and of ``update``."""
        few = min(max(3, times // 4), 30)
        before = seconds(self.predict, few)
        spent = seconds(self.update, times)
        return min(before, seconds(self.predict, few)), spent

    def in_turn(self, times: int) -> tuple[float, float]:
        """Seconds of ``predict``, and how many more ``monitor.predict`` takes."""
        plain = watched = 0.0
        for k in range(times):
            for turn in (0, 1) if k % 2 else (1, 0):
                if turn:
                    watched += seconds(lambda _, k=k: self.watched(k), 1)
                else:
                    plain += seconds(lambda _, k=k: self.predict(k), 1)
        return plain / times, (watched - plain) / times


def cell(predict: float, update: float) -> str:
    return f"{1e3 * update:.2f} of {1e3 * predict:.2f} ms, {_percent(update / predict)}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def default(case: Case) -> str:
    times = TIMES[case.size]
    seconds(case.predict, 2), seconds(case.update, min(max(3, times // 4), 30))
    return cell(*case.handed_over(times))


def itself(case: Case) -> str:
    times = TIMES[case.size]
    seconds(case.watched, min(max(3, times // 4), 30))
    return cell(*case.in_turn(times))


def budget(case: Case, itself: bool) -> str:
    each = seconds(case.predict, 5)
    price = case.monitor._budget.prices[1] / (0.08 * each)  # updates that pay for one look
    if itself:
        predict, update = case.in_turn(int(np.clip(SECONDS / each, 20, 2000)))
    else:
        predict, update = case.handed_over(int(np.clip(20 * price, 60, 20_000)))
    state = case.monitor.state()
    looked = state.n_watched / state.n_rows
    return f"{_percent(update / predict)}, {looked:.2%}"


def told(name: str, data, threat, size: int, **options) -> list[float]:
    """Rows until the alarm in streams of which a mean has moved; infinity where none came."""
    X, y, _ = data
    model, found = MODELS[name].fit(X[:3000], y[:3000]), []
    for seed in range(10):
        random = np.random.default_rng([5, seed])
        monitor = RobustnessMonitor(
            model, radius=0.2, threat=threat, random_state=seed, false_alarm_rate=0.05, **options
        ).fit(X[3000:6000])  # fmt: skip
        when = np.inf
        for k in range(1, 20_001):
            rows = X[random.integers(6000, len(X), size=size)]
            rows[:, 0] += 0.5 * X[:, 0].std()
            if monitor.update(rows, outputs=model.predict_proba(rows)).alarm:
                when = k * size
                break
        found.append(when)
    return found


def table(name: str, args, data, threat) -> None:
    heads = [f"{size:,} row{'s' * (size > 1)}" for size in args.sizes]
    print(f"\n{name}\n\n| " + " | ".join(["model", *heads]) + " |\n|" + "---|" * (len(heads) + 1))
    X, y = data
    for model_name in args.models:
        model = MODELS[model_name].fit(X[:3000], y[:3000])
        outputs = (getattr(model, "predict_proba", None) or model.decision_function)(X)
        cells = []
        for size in args.sizes:
            options = {"max_overhead": 0.1} if name.startswith("budget") else {}
            with tempfile.TemporaryDirectory() as folder:
                case = Case(model, (X, y, outputs), threat, size, args.labels, folder, **options)
                cells.append(WORK[name](case))
                case.monitor.close()
        print("| " + " | ".join([model_name, *cells]) + " |", flush=True)


WORK = {
    "default": default,
    "itself": itself,
    "budget": lambda case: budget(case, False),
    "budget, predicting itself": lambda case: budget(case, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=TIMES, default=[1, 100, 10_000])
    parser.add_argument("--labels", action="store_true", help="hand over labels with every row")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*torch view.*")
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}; {'with' if args.labels else 'without'} labels; processor time"
    )
    X, y = make_classification(16_000, 20, n_informative=8, random_state=0)
    threat = LpBall(scale="std").bind(X[:3000])
    for name in WORK:
        if name.split(",")[0] in args.parts:
            table(name, args, (X, y), threat)
    if "delay" in args.parts:
        delays((X, y, None), threat)


def delays(data, threat) -> None:
    print("\ndelay\n\n| model | updates of | without a budget | max_overhead=0.1 |\n|" + "---|" * 4)
    for name in ("logistic regression", "boosted trees, 200"):
        for size in (100, 1000):
            medians = [
                f"{np.median(told(name, data, threat, size, max_overhead=share)):,.0f}"
                for share in (None, 0.1)
            ]
            print("| " + " | ".join([name, f"{size:,} rows", *medians]) + " |", flush=True)


if __name__ == "__main__":
    main()
