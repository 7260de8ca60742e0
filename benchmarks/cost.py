"""What robustness costs: plain, noise, default and TRADES-10 training, judged by an independent attack.

    OMP_NUM_THREADS=1 python benchmarks/cost.py
    OMP_NUM_THREADS=1 python benchmarks/cost.py --only digits banknote --seeds 1
    OMP_NUM_THREADS=1 python benchmarks/cost.py --collapse
    OMP_NUM_THREADS=1 python benchmarks/cost.py --fine-tune

The default fit against ten steps of projected gradients (attack=PGD(n_steps=10), else the same), noise
and plain training. "robust": on images APGD-CE and then APGD-DLR of the package pyautoattack, 100 steps
each (Croce & Hein 2020, arXiv 2003.01690); on tables skrobust's attack="thorough". "price": CPU seconds
of fit over those of the plain fit of the same seed. "points": robust accuracy minus TRADES-10's, mean
of the seeds, and from the least to the largest.

--collapse: a recipe that collapses (one step as long as the radius, from the row itself,
divergence="loss"), with the guard switched off, with it, and with ten steps instead. "one step" is
the accuracy under that step, "of multi-step" the robust accuracy over that of ten steps.

--fine-tune: a plain model made robust (initial_weights=) by the default fit in a third and a fifth of
its epochs, against the default fit from scratch. "price" is that of the fine-tuning alone.

Data: the first 10,000 training and 1,000 test rows of Fashion-MNIST where it is installed; digits
images (40% to test); the tables of shared/data/tabular_folds.npz where it lies beside the checkout
(seed k tests on fold k). One thread. Each fit is written to benchmarks/output/cost.jsonl as it ends, and
not repeated: an interrupted run goes on where it was (--fresh begins anew). Three seeds of everything
take some hours.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib.util
import json
import os
import platform
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from sklearn.model_selection import train_test_split

import skrobust
from skrobust import LpBall, RobustClassifier, as_torch, robust_accuracy_score
from skrobust.attacks import PGD
from skrobust.datasets import fashion_mnist_available, load_digits_images, load_fashion_mnist
from skrobust.nets._guard import Guard

OUTPUT = Path(__file__).parent / "output" / "cost.jsonl"
FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
RADII = {"banknote-authentication": 0.1, "spambase": 0.05, "breast-cancer": 0.3, "diabetes": 0.05}
PIXELS = LpBall("linf", bounds=(0, 1))


@dataclass(frozen=True)
class Problem:
    """A data set, how far rows may move, and the epochs of all that is trained on it."""

    name: str
    radius: float
    epochs: int | str = "auto"
    n_rows: int | None = None  # of training
    n_test: int = 1000

    @property
    def is_image(self) -> bool:
        return self.name in ("fashion", "digits")

    def split(self, seed: int):
        """X_train, X_test, y_train, y_test."""
        if self.name == "fashion":
            X, y = load_fashion_mnist(return_X_y=True)
            X_test, y_test = load_fashion_mnist(subset="test", return_X_y=True)
        elif self.name == "digits":
            X, y = load_digits_images(return_X_y=True)
            X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=seed)
        else:
            data = np.load(FOLDS)
            X, y, fold = (data[f"{self.name}/{part}"] for part in ("X", "y", "fold"))
            here = fold == seed % 5
            order = np.random.default_rng(0).permutation(len(X))  # some are sorted by class
            train, test = (order[part[order]] for part in (~here, here))
            X, X_test, y, y_test = X[train], X[test], y[train], y[test]
        n, n_test = self.n_rows, self.n_test
        return X[:n], X_test[:n_test], y[:n], y_test[:n_test]

    def model(self, seed: int, **options) -> RobustClassifier:
        options = {"max_epochs": self.epochs, **options}
        return RobustClassifier(radius=self.radius, threat=PIXELS, random_state=seed, **options)


# One fit ------------------------------------------------------------------------------------------


def judged(problem: Problem, model: RobustClassifier, X, y, seed: int) -> dict[str, float]:
    """Clean accuracy, accuracy under one step of the radius, and robust accuracy."""
    how = dict(radius=problem.radius, threat=PIXELS, random_state=seed)
    one = PGD(n_steps=1, step_size=problem.radius, random_start=False)
    if problem.is_image:
        robust = by_autoattack(model, X, y, problem.radius, seed)
    else:
        robust = robust_accuracy_score(model, X, y, attack="thorough", **how)
    return {
        "clean": model.score(X, y),
        "one step": robust_accuracy_score(model, X, y, attack=one, **how),
        "robust": robust,
        "constant": float(np.unique(y, return_counts=True)[1].max() / len(y)),
    }


def by_autoattack(model: RobustClassifier, X, y, radius: float, seed: int) -> float:
    """Share of rows that APGD-CE and APGD-DLR leave right."""
    from pyautoattack import AutoAttack

    net = copy.deepcopy(as_torch(model)).float()
    device = next(net.parameters()).device
    rows, labels = torch.tensor(X).float(), torch.tensor(np.searchsorted(model.classes_, y))
    attack = AutoAttack(
        net, norm="Linf", eps=radius, seed=seed, version="custom", device=device,
        attacks=["apgd-ce", "apgd-dlr"],
    )  # fmt: skip
    attack.verbose, attack.apgd.n_restarts = False, 1  # as in AutoAttack-standard
    z, _ = attack.run_standard_evaluation(rows, labels, batch_size=500)
    assert float((z - rows).abs().max()) <= radius + 1e-5
    assert 0 <= float(z.min()) and float(z.max()) <= 1
    with torch.no_grad():
        right = net(z.to(device)).argmax(dim=1).cpu() == labels
        right &= net(rows.to(device)).argmax(dim=1).cpu() == labels
    return float(right.float().mean())


def fitted(problem: Problem, rows, seed: int, options: dict, guarded: bool = True):
    """A model and its CPU seconds."""
    unguarded = patch.object(Guard, "suits", staticmethod(lambda attack: False))
    X, _, y, _ = rows
    began = time.process_time()
    with nullcontext() if guarded else unguarded:
        model = problem.model(seed, **options).fit(X, y)
    return model, time.process_time() - began


class Store:
    """Results of single fits, on disk as they come."""

    def __init__(self, fresh: bool):
        if fresh:
            OUTPUT.unlink(missing_ok=True)
        lines = OUTPUT.read_text().splitlines() if OUTPUT.exists() else []
        self.known = {entry["key"]: entry for entry in map(json.loads, lines)}
        self.code, self.codes = _digest(), set()

    def get(self, problem: Problem, how: str, seed: int, make) -> dict:
        """What ``make()`` returned when it was first asked for."""
        p = problem
        key = f"{p.name} {p.radius} {p.epochs} {p.n_rows} {p.n_test} | {how} | {seed}"
        if key not in self.known:
            self.known[key] = {"key": key, "code": self.code, **make()}
            OUTPUT.parent.mkdir(exist_ok=True)
            with OUTPUT.open("a") as file:
                file.write(json.dumps(self.known[key]) + "\n")
        self.codes.add(self.known[key]["code"])
        return self.known[key]

    def tell(self) -> None:
        if self.codes - {self.code}:
            print("\nSome fits are of another state of the code; --fresh begins anew.")


def warm_up() -> None:
    """One tiny fit: the first one loads what it needs."""
    X = np.random.default_rng(0).random((60, 3))
    RobustClassifier(max_epochs=1).fit(X, (X[:, 0] > 0.5).astype(int))


def _digest() -> str:
    """Which state of the library the results are of."""
    parts = sorted(Path(skrobust.__file__).parent.rglob("*.py"))
    return hashlib.sha1(b"".join(part.read_bytes() for part in parts)).hexdigest()[:8]


def result(problem: Problem, seed: int, options: dict, guarded: bool = True) -> dict:
    rows = problem.split(seed)
    model, seconds = fitted(problem, rows, seed, options, guarded)
    collapses = [n + 1 for n, epoch in enumerate(model.history_) if epoch.get("collapsed")]
    found = {"seconds": seconds, "epochs": model.n_iter_, "collapses": collapses}
    return found | judged(problem, model, rows[1], rows[3], seed)


# Cost against robustness --------------------------------------------------------------------------

TRADES = {"attack": PGD(n_steps=10), "divergence": "kl"}
HOW = {"plain": {"smoothing": 0}, "noise": {"attack": "noise"}, "default": {}, "TRADES-10": TRADES}


def cost(problem: Problem, seeds: range, store: Store) -> None:
    found = {
        how: [store.get(problem, how, s, lambda s=s, o=o: result(problem, s, o)) for s in seeds]
        for how, o in HOW.items()
    }
    for how, results in found.items():
        points = differences(results, found["TRADES-10"], "robust")
        cells = [problem.name, problem.radius, results[0]["epochs"], how]
        cells += [percent(results, "clean"), percent(results, "robust")]
        cells.append(price(results, found["plain"]))
        spread = f"{points.mean():+.1f} ({points.min():+.1f} to {points.max():+.1f})"
        cells.append("" if how == "TRADES-10" else spread)
        row(*cells, sum(len(r["collapses"]) for r in results))


def percent(results: list[dict], name: str) -> str:
    return f"{100 * np.mean([r[name] for r in results]):.1f}"


def differences(results: list[dict], others: list[dict], name: str) -> np.ndarray:
    pairs = zip(results, others, strict=True)
    return np.array([100 * (r[name] - other[name]) for r, other in pairs])


def price(results: list[dict], plain: list[dict]) -> str:
    pairs = zip(results, plain, strict=True)
    return f"{np.median([r['seconds'] / other['seconds'] for r, other in pairs]):.2f}"


# The guard ----------------------------------------------------------------------------------------


def collapse(problem: Problem, seeds: range, store: Store) -> None:
    fast = PGD(n_steps=1, step_size=problem.radius, random_start=False)
    recipes = {
        "one step, no guard": ({"attack": fast, "divergence": "loss"}, False),
        "one step, guarded": ({"attack": fast, "divergence": "loss"}, True),
        "ten steps": ({"attack": PGD(n_steps=10), "divergence": "loss"}, True),
    }
    found = {
        how: [store.get(problem, how, s, lambda s=s, r=r: result(problem, s, *r)) for s in seeds]
        for how, r in recipes.items()
    }
    for how, results in found.items():
        cells = [problem.name, problem.radius, results[0]["epochs"], how]
        cells += [percent(results, name) for name in ("clean", "one step", "robust", "constant")]
        mean = {h: np.mean([r["robust"] for r in rs]) for h, rs in found.items()}
        cells.append(f"{mean[how] / max(mean['ten steps'], 1e-9):.2f}")
        collapses = "; ".join(",".join(map(str, r["collapses"])) or "-" for r in results)
        row(*cells, collapses)


# Fine-tuning --------------------------------------------------------------------------------------

SHARES = {"a third": 1 / 3, "a fifth": 1 / 5}


def tuned(problem: Problem, seed: int, epochs: int) -> dict:
    """A plain model, fine-tuned; the seconds are those of the fine-tuning."""
    rows = problem.split(seed)
    plain, _ = fitted(problem, rows, seed, HOW["plain"])
    model, seconds = fitted(problem, rows, seed, {"initial_weights": plain, "max_epochs": epochs})
    found = {"seconds": seconds, "epochs": model.n_iter_, "collapses": []}
    return found | judged(problem, model, rows[1], rows[3], seed)


def fine_tune(problem: Problem, seeds: range, store: Store) -> None:
    found = {
        how: [store.get(problem, h, s, lambda s=s, h=h: result(problem, s, HOW[h])) for s in seeds]
        for how, h in {"plain": "plain", "from scratch": "default"}.items()
    }
    for share, part in SHARES.items():
        epochs = max(1, ceil(part * found["plain"][0]["epochs"]))
        found[f"fine-tuned, {share}"] = [
            store.get(problem, f"tuned {epochs}", s, lambda s=s, e=epochs: tuned(problem, s, e))
            for s in seeds
        ]
    for how, results in found.items():
        lost = differences(results, found["plain"], "clean").mean()
        cells = [problem.name, problem.radius, results[0]["epochs"], how]
        cells += [percent(results, "clean"), f"{lost:+.1f}", percent(results, "robust")]
        row(*cells, price(results, found["plain"]))


# What is run --------------------------------------------------------------------------------------

BEGIN = ("data", "radius", "epochs", "training")
COLUMNS = {
    cost: (*BEGIN, "clean", "robust", "price", "points", "collapses"),
    collapse: (*BEGIN, "clean", "one step", "robust", "constant", "of multi-step", "collapsed in"),
    fine_tune: (*BEGIN, "clean", "clean lost", "robust", "price"),
}


def problems(what, epochs: int | None, n_rows: int | None) -> list[Problem]:
    found = []
    if fashion_mnist_available() and importlib.util.find_spec("pyautoattack"):
        if what is collapse:
            found.append(Problem("fashion", 0.2, epochs or 8, n_rows or 4000))
        else:
            found.append(Problem("fashion", 0.1, epochs or 15, n_rows or 10_000))
    if importlib.util.find_spec("pyautoattack") and what is not fine_tune:
        hard = what is collapse
        digits_epochs = epochs or (60 if hard else "auto")
        found.append(Problem("digits", 0.25 if hard else 0.1, digits_epochs, n_rows))
    if FOLDS.exists() and what is not collapse:
        tables = ("spambase",) if what is fine_tune else RADII
        found += [Problem(name, RADII[name], epochs or "auto", n_rows) for name in tables]
    return found


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def missing() -> None:
    if not fashion_mnist_available():
        print("Fashion-MNIST is left out: install the Debian package dataset-fashion-mnist.")
    if not importlib.util.find_spec("pyautoattack"):
        print("Images are left out: pip install 'skrobust[peers]'.")
    if not FOLDS.exists():
        print("Tables are left out: no shared/data/tabular_folds.npz beside the checkout.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", help="data sets whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of all fits")
    parser.add_argument("--rows", type=int, help="of training, the first ones")
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--collapse", action="store_true")
    parser.add_argument("--fine-tune", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="forget the results kept on disk")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} CPU, load {os.getloadavg()[0]:.1f}, 1 thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, {arguments.seeds} seed(s)"
    )
    missing()
    what = fine_tune if arguments.fine_tune else collapse if arguments.collapse else cost
    store = Store(arguments.fresh)
    warm_up()
    print()
    row(*COLUMNS[what])
    print("|" + "---|" * len(COLUMNS[what]), flush=True)
    for problem in problems(what, arguments.epochs, arguments.rows):
        problem = Problem(**{**vars(problem), "n_test": arguments.test_rows})
        if not arguments.only or any(part in problem.name for part in arguments.only):
            what(problem, range(arguments.seeds), store)
    store.tell()
    return 0


if __name__ == "__main__":
    sys.exit(main())
