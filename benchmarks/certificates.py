"""What is proven: interval-trained networks by fold, time per row, and trials that would break a proof.

    OMP_NUM_THREADS=1 python benchmarks/certificates.py
    OMP_NUM_THREADS=1 python benchmarks/certificates.py --only folds
    OMP_NUM_THREADS=1 python benchmarks/certificates.py --only fashion digits

folds: a default RobustClassifier with attack="interval", certified by CROWN; searched: the same with
attack="pgd", under attack="auto". Means of five test folds in percent; "most frequent" is what a constant
would have. Data: the tables of shared/data/tabular_folds.npz where it lies beside the checkout, and
scikit-learn's breast cancer.

fashion: the same training of convolutional networks on Fashion-MNIST's 60,000 rows; all 10,000 test rows
certified by intervals, the first 1,000 of them by CROWN too, and attacked. Pixels stay in [0, 1]. CPU
seconds are those of the fit, on one thread; a run takes 20 to 25 minutes of one core.

digits: scikit-learn's digits (1,078 rows to train on, 719 to test on) as images, as series of eight
channels (at 0.1), and as columns, likewise; 200 test rows by CROWN and attacked.

times: milliseconds per row of one margin at one radius, and of the largest radius; 20 columns.

violations: see violations.py; more than a million trials, for every family of models, method and norm.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from violations import violations

from skrobust import (
    LpBall,
    RobustClassifier,
    SmoothedClassifier,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
)
from skrobust.datasets import fashion_mnist_available, load_digits_images, load_fashion_mnist
from skrobust.nets import Additive

FOLDS = Path(__file__).resolve().parents[2] / "shared/data/tabular_folds.npz"
RADII = {"breast-cancer": 0.3, "diabetes": 0.05, "banknote-authentication": 0.1, "spambase": 0.05}


def tables():
    """(name, X, y, fold, radius)."""
    if FOLDS.exists():
        data = np.load(FOLDS)
        for name, radius in RADII.items():
            yield name, data[f"{name}/X"], data[f"{name}/y"], data[f"{name}/fold"], radius
    else:
        print("Tables are left out: no shared/data/tabular_folds.npz beside the checkout.")
    X, y = load_breast_cancer(return_X_y=True)
    X, fold = (X - X.min(axis=0)) / np.ptp(X, axis=0), np.zeros(len(y), dtype=int)
    for number, (_, test) in enumerate(
        StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)
    ):
        fold[test] = number
    for radius in (0.05, 0.1):
        yield "sklearn cancer", X, y, fold, radius


def folds() -> None:
    _by_fold("interval", certified_accuracy_score)


def searched() -> None:
    _by_fold("pgd", robust_accuracy_score)


def _by_fold(attack: str, score) -> None:
    print(f"| data | radius | most frequent | attack={attack!r}: clean | {score.__name__} |")
    print("|---|---|---|---|---|")
    for name, X, y, fold, radius in tables():
        shares = [_fold(X, y, fold == k, radius, attack, score) for k in range(5)]
        most = 100 * np.bincount(y).max() / len(y)
        cells = [f"{value:.1f}" for value in (most, *100 * np.mean(shares, axis=0))]
        print("|", " | ".join([name, str(radius), *cells]), "|", flush=True)


def _fold(X, y, test, radius, attack, score) -> tuple[float, float]:
    options = dict(radius=radius, divergence="loss", random_state=0)
    model = RobustClassifier(attack=attack, **options).fit(X[~test], y[~test])
    options = {} if score is certified_accuracy_score else {"random_state": 0}
    return model.score(X[test], y[test]), score(model, X[test], y[test], radius=radius, **options)


def strided(shape, n_outputs) -> nn.Module:
    """Two convolutions with steps of two in place of pooling: half the work of the named one."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 100),
        nn.ReLU(),
        nn.Linear(100, n_outputs),
    )


IMAGE_HEAD = (
    "| data, network | radius | most frequent | epochs | CPU s | wall s | clean | certified (interval) "
    "| of some rows: certified (CROWN) | attacked |\n|---|---|---|---|---|---|---|---|---|---|"
)


def digits() -> None:
    print(IMAGE_HEAD)
    X, y = load_digits_images(return_X_y=True)
    A, B, a, b = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    flat = [rows.reshape(len(rows), -1) for rows in (A, B)]
    for radius in (0.1, 0.2, 0.3):
        _image_row("digits as columns, mlp", (flat[0], a), (flat[1], b), radius, few=200)
        if radius == 0.1:
            _image_row("digits as series, conv1d", (A[:, 0], a), (B[:, 0], b), radius, few=200)
        _image_row("digits as images, cnn", (A, a), (B, b), radius, few=200)


def fashion() -> None:
    if not fashion_mnist_available():
        print("Left out: Fashion-MNIST is not installed.")
        return
    print(IMAGE_HEAD)
    train = load_fashion_mnist(return_X_y=True)
    test = load_fashion_mnist(subset="test", return_X_y=True)
    _image_row("Fashion-MNIST, cnn as it comes", train, test, 0.1)
    options = dict(module=strided, batch_size=128, max_epochs=30, lr=1e-3)
    _image_row("Fashion-MNIST, strided", train, test, 0.1, **options)


def _image_row(name: str, train, test, radius: float, few: int = 1000, **options) -> None:
    threat = LpBall(bounds=(0, 1))
    model = RobustClassifier(
        attack="interval", radius=radius, threat=threat, random_state=0, **options
    )
    began, wall = time.process_time(), time.perf_counter()
    model.fit(*train)
    spent, waited = time.process_time() - began, time.perf_counter() - wall
    some = [part[:few] for part in test]
    asked = dict(radius=radius, threat=threat)
    shares = (
        model.score(*test),
        certified_accuracy_score(model, *test, method="interval", **asked),
        certified_accuracy_score(model, *some, **asked),
        robust_accuracy_score(model, *some, random_state=0, **asked),
    )
    clean, proven, crown, attacked = (f"{100 * share:.1f}" for share in shares)
    most = 100 * np.bincount(test[1]).max() / len(test[1])
    cells = (name, radius, f"{most:.1f}", model.n_iter_, f"{spent:.0f}", f"{waited:.0f}")
    row = [*cells, clean, proven, crown, attacked]
    print("|", " | ".join(map(str, row)), "|", flush=True)


def times() -> None:
    X, y = make_classification(1000, 20, n_informative=10, random_state=0)
    network = RobustClassifier(max_epochs=10, random_state=0).fit(X, y)
    print(
        "| model | method | norm | rows | ms per row, one radius | ms per row, largest radius |"
        "\n|---|---|---|---|---|---|"
    )
    for name, model, method, n, options in _timed(network):
        model = model if model is network else model.fit(X, y)
        for norm in ("linf", "l2", "l1"):
            asked = dict(threat=norm, method=method, **options)
            one = _per_row(certified_accuracy_score, model, X[:n], y[:n], radius=0.05, **asked)
            largest = _per_row(certify, model, X[:n], **asked)
            print(f"| {name} | {method} | {norm} | {n} | {one:.2f} | {largest:.2f} |", flush=True)


def _timed(network):
    """Model, name, method, number of rows, options."""
    forest = RandomForestClassifier(100, max_depth=8, random_state=0)
    additive = dict(radius=0.1, max_epochs=5)
    yield "logistic regression", LogisticRegression(), "linear", 1000, {}
    yield "additive, steps", RobustClassifier("additive", **additive), "additive", 200, {}
    lines = RobustClassifier(Additive(shape="linear"), **additive)
    yield "additive, lines", lines, "additive", 200, {}
    yield "tree of depth 8", DecisionTreeClassifier(max_depth=8, random_state=0), "trees", 200, {}
    yield "forest, 100 trees of depth 8", forest, "trees", 100, {}
    boosting = HistGradientBoostingClassifier(random_state=0)
    yield "histogram boosting, 100 trees", boosting, "trees", 50, {}
    small = RandomForestClassifier(10, max_depth=5, random_state=0)
    yield "forest, 10 trees of depth 5, MILP", small, "trees", 20, {"time_budget": 30.0}
    for method in ("interval", "crown", "lipschitz"):
        yield "network 64-64", network, method, 1000, {}
    yield "network 64-64, 10 s", network, "branch", 20, {"time_budget": 10.0}
    yield "1 neighbour of 1,000", KNeighborsClassifier(1), "neighbours", 200, {}
    yield "5 neighbours of 1,000", KNeighborsClassifier(5), "neighbours", 200, {}
    yield "SVC rbf", SVC(gamma=0.05), "rbf", 200, {}
    smoothed = SmoothedClassifier(
        RandomForestClassifier(10, max_depth=8, random_state=0), noise=0.5, random_state=0
    )
    yield "smoothed forest of 10, 1,000 votes", smoothed, "noise", 50, {}


def _per_row(function, model, X, *args, **kwargs) -> float:
    """Milliseconds a row; the best of two where it is quick."""
    took = [_seconds(function, model, X, *args, **kwargs)]
    if took[0] < 2:
        took.append(_seconds(function, model, X, *args, **kwargs))
    return 1000 * min(took) / len(X)


def _seconds(function, *args, **kwargs) -> float:
    began = time.process_time()
    function(*args, **kwargs)
    return time.process_time() - began


PARTS = {
    "folds": folds,
    "fashion": fashion,
    "digits": digits,
    "times": times,
    "violations": violations,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    warnings.simplefilter("ignore")
    for part in parser.parse_args().only:
        print(f"\n{part}", flush=True)
        PARTS[part]()
