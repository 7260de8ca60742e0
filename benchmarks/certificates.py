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

times: milliseconds per row of one margin at one radius, 1,000 rows of 20 columns, a 64-64 network.

violations: each row moves by 0.999 of its certified radius, to random places, to corners, and along PGD
and APGD, for several models, activations, norms and methods. A trial is one place; a violation is a
prediction that changed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skrobust import (
    LpBall,
    RobustClassifier,
    as_torch,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
)
from skrobust._torch import margins
from skrobust.attacks import APGD, PGD, Objective
from skrobust.datasets import fashion_mnist_available, load_digits_images, load_fashion_mnist

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
    model = RobustClassifier(max_epochs=10, random_state=0).fit(X, y)
    linear = LogisticRegression().fit(X, y)
    print(
        "| method | norm | ms per row, one radius | ms per row, largest radius |\n|---|---|---|---|"
    )
    for method in ("linear", "interval", "crown", "lipschitz"):
        for norm in ("linf", "l2", "l1"):
            asked = linear if method == "linear" else model
            options = dict(threat=norm, method=method)
            one = min(
                _seconds(certified_accuracy_score, asked, X, y, radius=0.05, **options)
                for _ in range(3)
            )
            largest = _seconds(certify, asked, X, **options)
            print(f"| {method} | {norm} | {one:.2f} | {largest:.2f} |", flush=True)


def _seconds(function, *args, **kwargs) -> float:
    began = time.process_time()
    function(*args, **kwargs)
    return time.process_time() - began  # of 1,000 rows: milliseconds a row


def violations(n_random: int = 200) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)[:, :10]
    models = {
        "logistic": LogisticRegression(),
        "bayes": GaussianNB(),
        **{
            f"mlp {kind}": MLPClassifier((32, 32), activation=kind, max_iter=60, random_state=0)
            for kind in ("relu", "tanh", "logistic")
        },
        "scaled mlp": make_pipeline(StandardScaler(), MLPClassifier((32,), random_state=0)),
        "interval": RobustClassifier(attack="interval", divergence="loss", random_state=0),
    }
    threats = {
        **{norm: LpBall(norm) for norm in ("linf", "l2", "l1")},
        "bounds, frozen": LpBall("linf", bounds=(-4.0, 12.0), frozen=[0], direction={1: "up"}),
    }
    total = broken = 0
    for name, model in models.items():
        model.fit(X, y)
        for threat in threats.values():
            for method in ("auto", "interval", "lipschitz"):
                n, bad = _trials(model, X, threat, method, n_random)
                total, broken = total + n, broken + bad
        print(f"{name}: {total:,} trials so far, {broken} violations", flush=True)


def _trials(model, X, threat, method, n_random) -> tuple[int, int]:
    radius = torch.as_tensor(certify(model, X, threat=threat, method=method).radius.clip(max=100))
    label, module, rows = model.predict(X), as_torch(model).double(), torch.as_tensor(X)
    region = threat.region(rows, 0.999 * radius)
    generator = torch.Generator().manual_seed(0)
    kept = radius.numpy() > 0
    broken = total = 0
    for number in range(n_random):
        way = torch.randn(rows.shape, dtype=rows.dtype, generator=generator)
        z = region.steepest(way) if number % 2 else region.sample(generator)
        broken += int(((model.predict(z.numpy()) != label) & kept).sum())
        total += int(kept.sum())
    objective = Objective(lambda z, y: -margins(module(z), y), torch.as_tensor(label))
    for attack in (PGD(n_steps=20, n_restarts=3), APGD(n_steps=30)):
        z = attack.maximize(objective, rows, threat, 0.999 * radius, generator=generator).z
        broken += int(((model.predict(z.numpy()) != label) & kept).sum())
        total += int(kept.sum())
    return total, broken


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
