"""predict over a hand-written batched torch loop and over skorch: same weights, same rows, one run.

    OMP_NUM_THREADS=1 python benchmarks/predict.py
    OMP_NUM_THREADS=1 python benchmarks/predict.py --rows 2000

100,000 rows of 20 columns (float64) and the 10,000 test images of Fashion-MNIST (float32). The loop
casts, standardises, runs the network without gradients on 1,024 rows at a time and takes the argmax;
skorch's NeuralNetClassifier.predict goes through its own loader, with batches of 1,024 and of 128 (its
default), and gets rows cast to float32. All three use the network that skrobust fitted. One thread;
they take turns; seconds are medians, ratios medians of each round's ratio. "same" is the share of rows
with the label that skrobust gives.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import skorch
import torch
from sklearn.datasets import make_classification
from torch import nn

from skrobust import RobustClassifier
from skrobust.datasets import fashion_mnist_available, load_fashion_mnist

COLUMNS = ("data", "rows", "predict by", "CPU s", "wall s", "same", "ours over it, CPU", "wall")
BATCH = 1024


def by_hand(model: RobustClassifier) -> Callable[[np.ndarray], np.ndarray]:
    network = model.net_.module_
    body, mean, spread = network.body, network.mean.float(), network.spread.float()

    def predict(X: np.ndarray) -> np.ndarray:
        body.eval()
        found = []
        with torch.inference_mode():
            for low in range(0, len(X), BATCH):
                x = torch.from_numpy(X[low : low + BATCH]).float()
                found.append(body((x - mean) / spread).argmax(dim=1))
        return model.classes_[torch.cat(found).numpy()]

    return predict


def by_skorch(model: RobustClassifier, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    net = skorch.NeuralNetClassifier(
        model.net_.module_, criterion=nn.CrossEntropyLoss, batch_size=batch_size, verbose=0
    ).initialize()
    return lambda X: model.classes_[net.predict(X.astype(np.float32))]


def problems(rows: int | None) -> dict[str, tuple[RobustClassifier, np.ndarray]]:
    X, y = make_classification(rows or 100_000, 20, n_informative=10, random_state=0)
    plain = dict(smoothing=0, max_epochs=1, random_state=0)
    found = {"table, mlp": (RobustClassifier(**plain).fit(X[:10_000], y[:10_000]), X)}
    if fashion_mnist_available():
        X, y = load_fashion_mnist(return_X_y=True, n_rows=2000, random_state=0)
        model = RobustClassifier(**plain).fit(X, y)
        X, _ = load_fashion_mnist(subset="test", return_X_y=True)
        found["Fashion-MNIST, cnn"] = (model, X[:rows])
    else:
        print("Fashion-MNIST is left out: install the Debian package dataset-fashion-mnist.")
    return found


def measure(ways: dict[str, Callable], X: np.ndarray, repeats: int):
    """``{name: (CPU seconds, wall seconds, labels)}`` of the ways in turn."""
    found = {name: ([], [], predict(X[:100])) for name, predict in ways.items()}  # warm
    for _ in range(repeats):
        for name, predict in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            labels = predict(X)
            found[name][0].append(time.process_time() - cpu)
            found[name][1].append(time.perf_counter() - wall)
            found[name] = (*found[name][:2], labels)
    return found


def show(name: str, model: RobustClassifier, X: np.ndarray, repeats: int) -> None:
    ways = {
        "skrobust": model.predict,
        f"hand loop, {BATCH} rows": by_hand(model),
        f"skorch, {BATCH} rows": by_skorch(model, BATCH),
        "skorch, 128 rows": by_skorch(model, 128),
    }
    found = measure(ways, X, repeats)
    ours = found["skrobust"]
    for way, (cpu, wall, labels) in found.items():
        cells = [name, len(X), way, f"{np.median(cpu):.3f}", f"{np.median(wall):.3f}"]
        cells.append(f"{100 * np.mean(labels == ours[2]):.2f}%")
        for mine, theirs in ((ours[0], cpu), (ours[1], wall)):
            is_ours = way == "skrobust"
            cells.append("" if is_ours else f"{np.median(np.divide(mine, theirs)):.2f}")
        row(*cells)


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help="of each data set")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} CPU, load {os.getloadavg()[0]:.1f}, 1 thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, skorch {skorch.__version__}\n"
    )
    found = problems(arguments.rows)
    row(*COLUMNS)
    print("|" + "---|" * len(COLUMNS), flush=True)
    for name, (model, X) in found.items():
        show(name, model, X, arguments.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
