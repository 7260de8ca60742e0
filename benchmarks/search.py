"""What a search over robust networks costs: all candidates in full against successive halving.

    python benchmarks/search.py
    python benchmarks/search.py --only breast-cancer --splits 3
    python benchmarks/search.py --only processes --repeats 3

First table: a grid over radius, smoothing and learning rate by GridSearchCV, scored with
attack="auto" and with "thorough", and by HalvingGridSearchCV with max_epochs as its resource, scored
with an AttackSchedule (PGD of five steps, "thorough" in the last round). One process, one thread,
its CPU seconds, so that neighbours do not count; "fit s" includes the refit. "time" is over the full
grid scored thoroughly; "lost" is by how many points the choice falls behind the best candidate in the
full grid's own thorough cross-validation; "test" is the thorough robust accuracy of the refitted model
on held-out rows; "chosen" is radius, smoothing, learning rate. With several splits, means.

Second table: one grid in this process, in two processes, in two threads, and on a dask cluster of
two workers. "time" is over one process with one thread, median of the repeats, started workers
(what starting them took is shown apart); "threads" is what torch uses in each worker; "same" tells
whether all scores of the search are equal, to the last bit.

Data: digits images of scikit-learn; the tables of shared/data/tabular_folds.npz where it lies beside
the checkout (breast-cancer, diabetes), and scikit-learn's breast cancer where it does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import sklearn
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    train_test_split,
)
from sklearn.preprocessing import minmax_scale

from skrobust import LpBall, RobustClassifier, RobustScorer
from skrobust.attacks import PGD
from skrobust.datasets import load_digits_images
from skrobust.metrics import AttackSchedule

FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
CV = StratifiedKFold(3, shuffle=True, random_state=0)
SEARCHES = (
    "data", "search", "fits", "epochs", "fit s", "score s", "time", "lost", "test", "chosen",
)  # fmt: skip
PROCESSES = ("search in", "threads", "start s", "s", "time", "same")


@dataclass
class Problem:
    """Rows, the radius they are scored at, the grid, and the epochs of the last round."""

    name: str
    X: np.ndarray
    y: np.ndarray
    radius: float
    max_epochs: int
    lrs: tuple[float, ...]
    threat: LpBall = field(default_factory=lambda: LpBall(bounds=(0, 1)))

    @property
    def grid(self) -> dict:
        radii = [self.radius, 1.5 * self.radius]
        return {"radius": radii, "smoothing": [0.5, 1.0, 3.0], "lr": list(self.lrs)}

    def model(self, **options) -> RobustClassifier:
        return RobustClassifier(threat=self.threat, random_state=0, **options)

    def scorer(self, attack) -> RobustScorer:
        return RobustScorer(radius=self.radius, threat=self.threat, attack=attack, random_state=0)


def problems() -> list[Problem]:
    lrs = (1e-3, 5e-3, 2e-2)
    if FOLDS.exists():
        data = np.load(FOLDS)
        found = [
            Problem(name, data[f"{name}/X"], data[f"{name}/y"], radius, 18, lrs)
            for name, radius in {"breast-cancer": 0.3, "diabetes": 0.05}.items()
        ]
    else:
        X, y = load_breast_cancer(return_X_y=True)
        found = [Problem("breast-cancer", minmax_scale(X), y, 0.1, 18, lrs)]
    X, y = load_digits_images(return_X_y=True)
    return [*found, Problem("digits", X[:600], y[:600], 0.1, 9, (2e-3, 6e-3))]


# Full grid against halving ------------------------------------------------------------------------


class Timed:
    """A scorer that adds up its own CPU seconds (in this process)."""

    def __init__(self, scorer: RobustScorer):
        self.scorer, self.seconds = scorer, 0.0

    def __call__(self, model, X, y) -> float:
        began = time.process_time()
        score = self.scorer(model, X, y)
        self.seconds += time.process_time() - began
        return score


@dataclass
class Outcome:
    """What one search chose, and what it took without the refit."""

    params: dict
    fits: int
    epochs: int
    fit_seconds: float
    score_seconds: float
    lost: float = 0.0
    test: float = 0.0


def run(search, X, y, scorers: list[Timed]) -> float:
    """Fit a search; its CPU seconds without those of the scorers."""
    began = time.process_time()
    search.set_params(refit=False, cv=CV, error_score="raise").fit(X, y)
    return time.process_time() - began - sum(scorer.seconds for scorer in scorers)


def full(problem: Problem, X, y) -> tuple[dict[str, Outcome], Callable[[dict], float]]:
    """The full grid, scored in two ways at once, and what any candidate loses to the best one."""
    scorers = {attack: Timed(problem.scorer(attack)) for attack in ("thorough", "auto")}
    model = problem.model(max_epochs=problem.max_epochs)
    search = GridSearchCV(model, problem.grid, scoring=dict(scorers))
    trained = run(search, X, y, list(scorers.values()))
    results = search.cv_results_
    fits = len(results["params"]) * search.n_splits_
    found = {}
    for attack, scorer in scorers.items():
        params = results["params"][int(np.argmax(results[f"mean_test_{attack}"]))]
        params = {**params, "max_epochs": problem.max_epochs}
        epochs = fits * problem.max_epochs
        found[f'full, "{attack}"'] = Outcome(params, fits, epochs, trained, scorer.seconds)
    scores = results["mean_test_thorough"]

    def lost(params: dict) -> float:
        own = {name: params[name] for name in problem.grid}
        return scores.max() - scores[results["params"].index(own)]

    return found, lost


def halving(problem: Problem, X, y) -> Outcome:
    """A third of the candidates and three times the epochs, round by round."""
    last = problem.max_epochs
    schedule = AttackSchedule("max_epochs", {1: PGD(n_steps=5), last: "thorough"})
    scorer = Timed(problem.scorer(schedule))
    search = HalvingGridSearchCV(
        problem.model(),
        problem.grid,
        resource="max_epochs",
        min_resources=last // 9,
        max_resources=last,
        factor=3,
        scoring=scorer,
        return_train_score=False,
    )
    trained = run(search, X, y, [scorer])
    results, n = search.cv_results_, search.n_splits_
    best = results["params"][search.best_index_]
    epochs = int(sum(results["n_resources"])) * n
    return Outcome(best, len(results["params"]) * n, epochs, trained, scorer.seconds)


def compare(problem: Problem, seed: int) -> dict[str, Outcome]:
    """All searches on one split into train and test."""
    X, X_test, y, y_test = train_test_split(
        problem.X, problem.y, test_size=0.3, stratify=problem.y, random_state=seed
    )
    found, lost = full(problem, X, y)
    found["halving"] = halving(problem, X, y)
    for outcome in found.values():
        began = time.process_time()
        model = problem.model(**outcome.params).fit(X, y)
        outcome.fit_seconds += time.process_time() - began
        outcome.lost = 100 * lost(outcome.params)
        outcome.test = 100 * problem.scorer("thorough")(model, X_test, y_test)
    return found


def searches(problem: Problem, splits: int) -> None:
    runs = [compare(problem, seed) for seed in range(splits)]
    mean = lambda name, of: float(np.mean([of(run[name]) for run in runs]))
    seconds = lambda outcome: outcome.fit_seconds + outcome.score_seconds
    for name, outcome in runs[0].items():
        ratio = mean(name, seconds) / mean('full, "thorough"', seconds)
        row(
            problem.name, name, outcome.fits, outcome.epochs,
            f"{mean(name, lambda o: o.fit_seconds):.1f}",
            f"{mean(name, lambda o: o.score_seconds):.1f}",
            f"{ratio:.2f}",
            f"{mean(name, lambda o: o.lost):.1f}",
            f"{mean(name, lambda o: o.test):.1f}",
            "; ".join(" ".join(f"{run[name].params[k]:g}" for k in problem.grid) for run in runs),
        )  # fmt: skip
    majority = np.unique(problem.y, return_counts=True)[1].max() / len(problem.y)
    row(problem.name, "most frequent class", *[""] * 6, f"{100 * majority:.1f}", "")


# One process, two, a cluster ----------------------------------------------------------------------


def threads(_=None) -> int:
    time.sleep(0.2)  # long enough for every worker to get one
    return torch.get_num_threads()


def timed(problem: Problem, repeats: int, n_jobs: int | None) -> tuple[float, float, list]:
    """Seconds of starting the workers and of one search, and its scores."""
    search = GridSearchCV(
        problem.model(max_epochs=problem.max_epochs),
        {**problem.grid, "lr": ["auto"]},
        scoring=problem.scorer("auto"),
        refit=False,
        cv=CV,
        n_jobs=n_jobs,
        error_score="raise",
    )
    began = time.perf_counter()
    joblib.Parallel(n_jobs)(joblib.delayed(_import)(search) for _ in range(8))
    start, seconds = time.perf_counter() - began, []
    for _ in range(repeats):
        began = time.perf_counter()
        search.fit(problem.X, problem.y)
        seconds.append(time.perf_counter() - began)
    return start, float(np.median(seconds)), search.cv_results_["mean_test_score"].tolist()


def _import(search) -> None:
    """To unpickle a search is to import all that it needs."""
    time.sleep(0.2)


def ways() -> dict[str, tuple]:
    """``{name: (threads of this process, n_jobs, context)}``."""
    found = {
        "this process": (1, 1, nullcontext),
        "this process, two threads": (2, 1, nullcontext),
        "two processes (n_jobs=2)": (2, 2, nullcontext),
        "two processes of two threads": (
            2, 2, lambda: joblib.parallel_config("loky", inner_max_num_threads=2),
        ),
        "two threads of two threads (threading)": (
            2, 2, lambda: joblib.parallel_config("threading"),
        ),
    }  # fmt: skip
    if importlib.util.find_spec("distributed"):
        found["dask, two workers"] = (2, None, cluster)
    else:
        print("\nWithout dask: pip install 'skrobust[cluster]'.")
    return found


@contextmanager
def cluster() -> Iterator[None]:
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as workers,
        Client(workers),
        joblib.parallel_config("dask"),
    ):
        yield


def processes(problem: Problem, repeats: int) -> None:
    base, truth = None, None
    for name, (n_threads, n_jobs, context) in ways().items():
        torch.set_num_threads(n_threads)
        began = time.perf_counter()
        with context():
            up = time.perf_counter() - began
            start, seconds, scores = timed(problem, repeats, n_jobs)
            each = set(joblib.Parallel(n_jobs)(joblib.delayed(threads)() for _ in range(4)))
        base, truth = base or seconds, truth or scores
        each = ", ".join(map(str, sorted(each)))
        same = (
            "yes" if scores == truth else f"within {np.abs(np.subtract(scores, truth)).max():.3f}"
        )
        row(name, each, f"{up + start:.1f}", f"{seconds:.1f}", f"{seconds / base:.2f}", same)


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(columns: tuple[str, ...]) -> None:
    print()
    row(*columns)
    print("|" + "---|" * len(columns), flush=True)


def main() -> int:
    warnings.simplefilter("ignore")
    known = {problem.name: problem for problem in problems()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=[*known, "processes"], default=None)
    parser.add_argument("--splits", type=int, default=1, help="of each data set, into train, test")
    parser.add_argument("--repeats", type=int, default=3, help="of each search in processes")
    given = parser.parse_args()
    only = given.only or [*known, "processes"]
    print(
        f"{os.cpu_count()} CPU, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    )
    if any(name in only for name in known):
        torch.set_num_threads(1)
        header(SEARCHES)
        for name in known:
            if name in only:
                searches(known[name], given.splits)
    if "processes" in only:
        header(PROCESSES)
        processes(known["breast-cancer"], given.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
