"""attack="auto" against AutoAttack-standard (the pyautoattack package): same nets, same rows, one run.

    OMP_NUM_THREADS=1 python benchmarks/evaluator.py
    OMP_NUM_THREADS=1 python benchmarks/evaluator.py --rows 200 --only digits

AutoAttack is APGD-CE, targeted APGD, targeted FAB and Square with 5,000 queries, as its authors fixed
it (Croce & Hein 2020, arXiv 2003.01690). It needs inputs in [0, 1], and tables are squeezed into that
for it. Below five classes its targeted attacks are not defined; there APGD-CE and Square run alone,
marked by a star. Lines where it stops with an error say so.

Prints one markdown table: accuracies in percent, seconds, the difference in points (negative: ours is
lower, so stronger) and how many times longer AutoAttack took. Networks are trained by skrobust and kept
in benchmarks/output, so that a second run only evaluates. The first run takes an hour or less.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from skrobust import LpBall, RobustClassifier, as_torch, worst_case
from skrobust.datasets import fashion_mnist_available, load_digits_images, load_fashion_mnist

OUTPUT = Path(__file__).parent / "output"
FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
COLUMNS = (
    "data", "training", "ball", "rows", "clean", "AutoAttack", "auto", "points", "AutoAttack s",
    "auto s", "times",
)  # fmt: skip
HOW = {
    "plain": {"smoothing": 0},
    "noise": {"attack": "noise", "divergence": "loss"},
    "adversarial": {"divergence": "loss"},
    "smooth": {"divergence": "kl", "smoothing": 2.0},
}


def images(name: str):
    """(X_train, y_train, X_test, y_test) with pixels in [0, 1], and the radius of each norm."""
    if name == "fashion":
        X_train, y_train = load_fashion_mnist(return_X_y=True, n_rows=6000, random_state=0)
        X_test, y_test = load_fashion_mnist(
            subset="test", return_X_y=True, n_rows=2000, random_state=0
        )
        return (X_train, y_train, X_test, y_test), {"linf": 0.1, "l2": 1.0}
    X, y = load_digits_images(return_X_y=True)
    X = X / X.max() if X.max() > 1 else X
    return train_test_split_of(X, y), {"linf": 0.15, "l2": 0.6}


def train_test_split_of(X, y):
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
    return X_train, y_train, X_test, y_test


def tables() -> dict:
    """Tables in [0, 1], of float32 as AutoAttack wants them."""
    found = {}
    loaders = {"digits table": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
    for name, load in loaders.items():
        X, y = load(return_X_y=True)
        X = MinMaxScaler().fit_transform(X).astype(np.float32)
        found[name] = train_test_split_of(X, y), {"linf": 0.1, "l2": 0.3}
    return found


def trained(data: str, how: str, norm: str, radius: float, rows) -> RobustClassifier:
    path = OUTPUT / f"{data}-{how}-{norm}.joblib".replace(" ", "-")
    if path.exists():
        return joblib.load(path)
    model = RobustClassifier(
        radius=radius, threat=LpBall(norm, bounds=(0, 1)), random_state=0, **HOW[how]
    ).fit(*rows)
    OUTPUT.mkdir(exist_ok=True)
    joblib.dump(model, path)
    return model


def autoattack(model, X, y, norm: str, radius: float):
    """Accuracy and seconds; or why it can't be had."""
    from pyautoattack import AutoAttack

    net = as_torch(model).float()
    if X.ndim == 2:  # a table passes for images of one pixel and many channels
        X, net = X[:, :, None, None], torch.nn.Sequential(torch.nn.Flatten(), net)
    few = len(model.classes_) < 5  # its targeted attacks are not defined then: the other two run
    how = {"version": "custom", "attacks": ["apgd-ce", "square"]} if few else {}
    rows, labels = torch.tensor(X), torch.tensor(np.searchsorted(model.classes_, y))
    attack = AutoAttack(net, norm={"linf": "Linf", "l2": "L2"}[norm], eps=radius, seed=0, **how)
    attack.verbose = False
    begin = time.perf_counter()
    try:
        with redirect_stdout(io.StringIO()):
            z = attack.run_standard_evaluation(rows, labels, batch_size=250)
    except Exception as error:  # it stops with many kinds of errors on tables
        return f"stops: {type(error).__name__}: {str(error)[:60]}"
    seconds = time.perf_counter() - begin
    z = z[0] if isinstance(z, tuple) else z
    way = (z - rows).flatten(1)
    length = way.abs().amax(dim=1) if norm == "linf" else way.norm(dim=1)
    assert float(length.max()) <= radius + 1e-4
    with torch.no_grad():
        right = net(z).argmax(dim=1) == labels
    return float(right.float().mean()), seconds


def line(data: str, how: str, norm: str, radius: float, rows, n_rows: int, seed: int):
    X_train, y_train, X_test, y_test = rows
    model = trained(data, how, norm, radius, (X_train, y_train))
    X, y = X_test[:n_rows], y_test[:n_rows]
    threat = LpBall(norm, bounds=(0, 1))
    worst_case(model, X[:2], y[:2], radius=radius, threat=threat)  # the first call imports
    begin = time.perf_counter()
    found = worst_case(model, X, y, radius=radius, threat=threat, random_state=seed)
    seconds = time.perf_counter() - begin
    ours = 1 - float(found.broken.mean())
    theirs = autoattack(model, X, y, norm, radius)
    cells = [data, how, f"{norm} {radius}", str(len(X)), f"{100 * model.score(X, y):.1f}"]
    if isinstance(theirs, str):
        return [*cells, theirs, f"{100 * ours:.1f}", "-", "-", f"{seconds:.2f}", "-"], None
    star = "*" if len(model.classes_) < 5 else ""
    points, times = 100 * (ours - theirs[0]), theirs[1] / seconds
    cells += [f"{100 * theirs[0]:.1f}{star}", f"{100 * ours:.1f}", f"{points:+.1f}"]
    return [*cells, f"{theirs[1]:.1f}", f"{seconds:.2f}", f"{times:.0f}"], (points, times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500, help="test rows of each line")
    parser.add_argument("--only", nargs="*", help="data sets whose name contains one of these")
    parser.add_argument("--training", nargs="*", default=list(HOW), choices=list(HOW))
    parser.add_argument("--norms", nargs="*", default=["linf", "l2"], choices=["linf", "l2"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help="train what is missing, and stop")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    print(
        f"{os.cpu_count()} CPU, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, seed {arguments.seed}\n"
    )
    data = {"digits": images("digits")}
    if fashion_mnist_available():
        data["fashion"] = images("fashion")
    else:
        print("Fashion-MNIST is left out: install the Debian package dataset-fashion-mnist.\n")
    data |= tables()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    verdicts = []
    for name, (rows, radii) in data.items():
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        for norm, radius in radii.items():
            if norm not in arguments.norms:
                continue
            for how in arguments.training:
                if arguments.train:
                    trained(name, how, norm, radius, (rows[0], rows[1]))
                    print("trained", name, how, norm, flush=True)
                    continue
                cells, verdict = line(name, how, norm, radius, rows, arguments.rows, arguments.seed)
                print("| " + " | ".join(cells) + " |", flush=True)
                verdicts += [] if verdict is None else [verdict]
    if verdicts:
        points, times = zip(*verdicts, strict=True)
        print(
            f"\nAt most {max(points):+.1f} points above AutoAttack, at least {min(times):.0f} times faster."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
