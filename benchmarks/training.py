"""What the engine costs: plain and robust fits over hand-written loops, ART's trainer and skorch, one run.

    OMP_NUM_THREADS=1 python benchmarks/training.py
    OMP_NUM_THREADS=1 python benchmarks/training.py --only trades --rows 4000
    OMP_NUM_THREADS=1 python benchmarks/training.py --quick

Three tables. *plain*: RobustClassifier(smoothing=0) over an eager PyTorch loop that shuffles by
randperm, indexes tensors and standardises the rows once, beforehand; skorch's NeuralNetClassifier
with its own loader (no validation split) beside it. *trades*: ten steps with divergence="kl" over
two loops: the authors' published one (Zhang et al. 2019, arXiv 1901.08573), which computes the clean
output again in every step, and a careful one, which computes it once and asks autograd for the rows'
gradient only; and ART's AdversarialTrainerTRADESPyTorch, whose ten steps climb the cross-entropy.
*default*: the default robust fit over the plain fit.

Everywhere the same network (the factory's body), standardisation, batch size, epochs and learning
rate; AdamW with torch's defaults in the loops, ART and skorch. One thread. The fits take turns;
seconds are medians of the rounds, ratios are medians of each round's ratio, of CPU seconds (which
count neighbours least) and of wall seconds. "accuracy", on the training rows, shows that they all
learn. Data: a made table of 20 columns; Fashion-MNIST where it is installed. A run takes four
minutes of one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import time
import warnings
from dataclasses import dataclass, replace

import numpy as np
import skorch
import torch
from _training_loops import (
    BETA,
    STEPS,
    Fit,
    Problem,
    authors_loss,
    by_art,
    by_hand,
    by_skorch,
    careful_loss,
    trades_by_hand,
)
from sklearn.datasets import make_classification

from skrobust.attacks import PGD
from skrobust.datasets import fashion_mnist_available, load_fashion_mnist

COLUMNS = ("data", "rows", "batch", "epochs", "fit", "CPU s", "wall s", "accuracy")


# Ours ---------------------------------------------------------------------------------------------


def by_us(problem: Problem, **options) -> Fit:
    return lambda: problem.ours(**options).fit(problem.X, problem.y).predict


def plain_ways(problem: Problem) -> dict[str, Fit]:
    return {
        "skrobust, plain": by_us(problem, smoothing=0),
        "hand loop": by_hand(problem),
        "skorch": by_skorch(problem),
    }


def trades_ways(problem: Problem) -> dict[str, Fit]:
    options = dict(attack=PGD(n_steps=STEPS), divergence="kl", smoothing=BETA)
    found = {
        "skrobust, TRADES-10": by_us(problem, **options),
        "authors' loop": trades_by_hand(problem, authors_loss),
        "careful loop": trades_by_hand(problem, careful_loss),
    }
    return found | ({"ART": by_art(problem)} if importlib.util.find_spec("art") else {})


def default_ways(problem: Problem) -> dict[str, Fit]:
    options = dict(batch_size="auto")
    return {
        "skrobust, default": by_us(problem, **options),
        "skrobust, plain": by_us(problem, **options, smoothing=0),
    }


# Measuring ----------------------------------------------------------------------------------------


@dataclass
class Timing:
    cpu: list[float]
    wall: list[float]
    accuracy: float = 0.0


def measure(problem: Problem, ways: dict[str, Fit], repeats: int) -> dict[str, Timing]:
    """The ways in turn, round by round."""
    found = {name: Timing([], []) for name in ways}
    for _ in range(repeats):
        for name, fit in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            predict = fit()
            found[name].cpu.append(time.process_time() - cpu)
            found[name].wall.append(time.perf_counter() - wall)
            found[name].accuracy = float(np.mean(predict(problem.X) == problem.y))
    return found


def ratio(ours: list[float], theirs: list[float]) -> float:
    return float(np.median(np.divide(ours, theirs)))


def show(problem: Problem, found: dict[str, Timing]) -> list[tuple[str, float]]:
    """Lines of the table; ours over each of the others, in CPU seconds."""
    ours = next(iter(found.values()))
    ratios = []
    batch = problem.batch_size if problem.batch_size > 0 else "auto"
    for name, timing in found.items():
        cpu, wall = np.median(timing.cpu), np.median(timing.wall)
        cells = [problem.name, len(problem.X), batch, problem.epochs, name, f"{cpu:.2f}"]
        cells += [f"{wall:.2f}", f"{100 * timing.accuracy:.1f}"]
        if timing is ours:
            cells += ["", ""]
        else:
            ratios.append((name, ratio(ours.cpu, timing.cpu)))
            cells += [f"{ratios[-1][1]:.2f}", f"{ratio(ours.wall, timing.wall):.2f}"]
        row(*cells)
    return ratios


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(title: str) -> None:
    print(f"\n{title}\n")
    columns = (*COLUMNS, "ours over it, CPU", "wall")
    row(*columns)
    print("|" + "---|" * len(columns), flush=True)


# What is run --------------------------------------------------------------------------------------

TABLES = {
    "plain": ("Plain fit", plain_ways),
    "trades": ("TRADES with ten steps", trades_ways),
    "default": ("Default robust fit over plain fit", default_ways),
}
# rows and epochs of the made table and of Fashion-MNIST
SIZES = {"plain": ((50_000, 3), (4_000, 2)), "trades": ((20_000, 1), (1_000, 1)),
         "default": ((20_000, 3), (4_000, 3))}  # fmt: skip
BATCHES = {"plain": (64, 128), "trades": (64, 128), "default": (-1,)}  # default: "auto"


def problems(which: str, rows: int | None, quick: bool) -> list[Problem]:
    (n_table, e_table), (n_images, e_images) = SIZES[which]
    if quick:
        n_table, e_table, n_images, e_images = 2_000, 1, 300, 1
    n_table, n_images = rows or n_table, min(rows or n_images, n_images)
    X, y = make_classification(n_table, 20, n_informative=10, random_state=0)
    found = [Problem("table, mlp", X, y.astype(np.int64), "mlp", 0.1, None, 0, e_table)]
    if fashion_mnist_available():
        X, y = load_fashion_mnist(return_X_y=True, n_rows=n_images, random_state=0)
        y = y.astype(np.int64)
        found.append(Problem("Fashion-MNIST, cnn", X, y, "cnn", 0.1, (0, 1), 0, e_images))
    return [replace(p, batch_size=size) for p in found for size in BATCHES[which]]


def run(which: str, arguments) -> None:
    title, ways_of = TABLES[which]
    header(title)
    worst: dict[str, float] = {}
    for problem in problems(which, arguments.rows, arguments.quick):
        ways = ways_of(problem)
        small = replace(problem, X=problem.X[:256], y=problem.y[:256], epochs=1)
        measure(small, ways_of(small), 1)  # the first call imports
        for name, value in show(problem, measure(problem, ways, arguments.repeats)):
            worst[name] = max(value, worst.get(name, 0.0))
    text = "; ".join(f"over {name} at most {value:.2f}" for name, value in worst.items())
    print(f"\n{title}, CPU seconds: {text}.", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--rows", type=int, help="of each data set (images: at most the default)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few rows, one epoch")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} CPU, load {os.getloadavg()[0]:.1f}, 1 thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, skorch {skorch.__version__}"
    )
    if not fashion_mnist_available():
        print("Fashion-MNIST is left out: install the Debian package dataset-fashion-mnist.")
    if "trades" in arguments.only and not importlib.util.find_spec("art"):
        print("ART is left out: pip install 'skrobust[peers]'.")
    for which in TABLES:
        if which in arguments.only:
            run(which, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
