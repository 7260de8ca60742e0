"""Places within what is proven: does any of them change a prediction? (part of certificates.py)

Each row moves by 0.999 of its own certified radius to random places, to corners along random
directions, and, for some rows, wherever ``attack="auto"`` finds worst (gradients, trees read from
within, or a black-box search). A trial is one place of one row; a violation is a prediction that changed
(of a regressor: an output further than the tolerance from the prediction). A smoothed model's promise is
statistical, so that it is counted by itself, beside the number of violations that its doubt allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skrobust import LpBall, RobustClassifier, SmoothedClassifier, certify, worst_case
from skrobust.nets import Additive

N_ROWS, N_PLACES, N_ATTACKED = 120, 80, 4
FEW_ROWS = 12  # for methods that take seconds a row
NORMS = ("linf", "l2", "l1")
BOXED = "bounds, frozen, one-way"


class Case(NamedTuple):
    """A model, how it is proven, and on which data."""

    family: str
    name: str
    model: Any
    methods: tuple[str, ...]
    data: str = "table"
    options: dict = {}


def cases() -> list[Case]:
    mlp = lambda kind: MLPClassifier((32, 32), activation=kind, max_iter=80, random_state=0)
    robust = lambda module, **options: RobustClassifier(
        module, radius=0.2, max_epochs=8, random_state=0, **options
    )
    every = ("crown", "interval", "lipschitz")
    forest = dict(max_depth=8, random_state=0)
    return [
        Case("linear", "logistic regression", LogisticRegression(), ("linear", *every)),
        Case("linear", "linear SVM", LinearSVC(), ("linear",)),
        Case("linear", "discriminant", LinearDiscriminantAnalysis(), ("linear",)),
        Case(
            "linear", "scaled, PCA, logistic",
            make_pipeline(StandardScaler(), PCA(5), LogisticRegression()), ("linear",),
        ),
        Case("linear", "RobustClassifier linear", robust("linear"), ("linear",)),
        Case("additive", "additive, steps", robust("additive"), ("additive",)),
        Case("additive", "additive, lines", robust(Additive(shape="linear")), ("additive",)),
        Case(
            "additive", "scaled, additive, lines",
            make_pipeline(MinMaxScaler(), robust(Additive(shape="linear"))), ("additive",),
        ),
        Case(
            "additive", "boosted stumps",
            GradientBoostingClassifier(max_depth=1, random_state=0), ("additive",),
        ),
        Case("trees", "tree", DecisionTreeClassifier(max_depth=6, random_state=0), ("trees",)),
        Case("trees", "forest of 100", RandomForestClassifier(100, **forest), ("trees",)),
        Case(
            "trees", "scaled forest",
            make_pipeline(StandardScaler(), RandomForestClassifier(30, **forest)), ("trees",),
        ),
        Case("trees", "boosting", GradientBoostingClassifier(random_state=0), ("trees",)),
        Case(
            "trees", "boosting, histograms",
            HistGradientBoostingClassifier(max_iter=60, random_state=0), ("trees",),
        ),
        Case(
            "trees", "forest of 10, MILP", RandomForestClassifier(10, max_depth=5, random_state=0),
            ("trees",), "few", {"time_budget": 20.0},
        ),
        Case("kernels", "SVC rbf", SVC(gamma=0.1), ("rbf",)),
        Case("kernels", "scaled SVC rbf", make_pipeline(MinMaxScaler(), SVC()), ("rbf",)),
        Case("kernels", "SVC rbf, ten classes", SVC(gamma=0.03), ("rbf",), "digits"),
        Case("neighbours", "1 neighbour", KNeighborsClassifier(1), ("neighbours",)),
        Case(
            "neighbours", "scaled, 5 neighbours",
            make_pipeline(StandardScaler(), KNeighborsClassifier(5)), ("neighbours",),
        ),
        Case("networks", "mlp relu", mlp("relu"), every),
        Case("networks", "mlp tanh", mlp("tanh"), every),
        Case("networks", "scaled mlp", make_pipeline(StandardScaler(), mlp("logistic")), every),
        Case("networks", "mlp, branch", mlp("relu"), ("branch",), "few", {"time_budget": 10.0}),
        Case("networks", "bayes", GaussianNB(), ("crown", "interval")),
        Case(
            "networks", "RobustClassifier interval",
            robust("auto", attack="interval", divergence="loss"), every,
        ),
        Case("networks", "cnn, ten classes", robust("cnn"), ("interval",), "images"),
        Case("regression", "ridge", Ridge(), ("linear",), "values"),
        Case("regression", "forest", RandomForestRegressor(20, **forest), ("trees",), "values"),
        Case("regression", "kernel ridge", KernelRidge(kernel="rbf"), ("rbf",), "values"),
        Case(
            "regression", "mlp",
            make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(32,), max_iter=500, random_state=0)),
            ("crown", "interval"), "values",
        ),
    ]  # fmt: skip


def _data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    if kind == "values":
        X, y = load_diabetes(return_X_y=True)
        return StandardScaler().fit_transform(X), StandardScaler().fit_transform(y[:, None])[:, 0]
    if kind in ("digits", "images"):
        X, y = load_digits(return_X_y=True)
        return (X / 16).reshape(-1, 1, 8, 8) if kind == "images" else X / 16, y
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X)[:, :10], y


def _threats(X: np.ndarray) -> Iterator[tuple[str, LpBall]]:
    for norm in NORMS:
        yield norm, LpBall(norm)
    if X.ndim == 2:
        low, high = X.min(axis=0) - 0.5, X.max(axis=0) + 0.5
        scale = np.linspace(0.5, 1.5, X.shape[1])
        yield (
            BOXED,
            LpBall(scale=scale, bounds=(low, high), frozen=[0], direction={1: "up", 2: "down"}),
        )


def violations(n_places: int = N_PLACES) -> None:
    print("| family | model | method | threat | trials | violations |\n|---|---|---|---|---|---|")
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for case in cases():
        X, y = _data(case.data)
        model = case.model.fit(X, y)
        few = case.data in ("few", "images")
        rows = X[:: len(X) // (FEW_ROWS if few else N_ROWS)]
        for method in case.methods:
            for name, threat in _threats(X):
                found = _trials(model, rows, threat, method, n_places, case.options)
                cells = (case.family, case.name, method, name, f"{found[0]:,}", str(found[1]))
                print("| " + " | ".join(cells) + " |", flush=True)
                before = counts.get((method, name), (0, 0))
                counts[method, name] = (before[0] + found[0], before[1] + found[1])
    _summary(counts)
    by_noise()


def _summary(counts: dict[tuple[str, str], tuple[int, int]]) -> None:
    names = (*NORMS, BOXED)
    print("\n| method | " + " | ".join(names) + " | violations |\n|---|" + "---|" * 5)
    for method in dict.fromkeys(method for method, _ in counts):
        own = [counts.get((method, name), (0, 0)) for name in names]
        cells = [f"{n:,}" for n, _ in own] + [str(sum(bad for _, bad in own))]
        print(f"| {method} | " + " | ".join(cells) + " |")
    total, broken = (sum(part) for part in zip(*counts.values(), strict=True))
    print(f"| **all: {total:,}** | | | | | **{broken}** |")


def _trials(model, X, threat, method, n_places: int, options: dict) -> tuple[int, int]:
    tolerance = 0.5 if is_regressor(model) else None
    found = certify(model, X, threat=threat, method=method, tolerance=tolerance, **options)
    kept = found.radius > 0
    if not kept.any():
        return 0, 0
    rows, own = torch.as_tensor(X[kept]), found.prediction[kept]
    radius = 0.999 * found.radius[kept].clip(max=100)
    changed = _changed(model, own, tolerance)
    total = broken = 0
    for z in _places(threat, rows, torch.as_tensor(radius), n_places):
        total, broken = total + len(z), broken + int(changed(z).sum())
    if tolerance is None:
        some = np.unique(np.linspace(0, len(own) - 1, N_ATTACKED).astype(int))
        for i in some:
            one = slice(i, i + 1)
            where = dict(radius=float(radius[i]), threat=threat, random_state=0)
            broken += int(worst_case(model, X[kept][one], own[one], **where).broken.sum())
        total += len(some)
    return total, broken


def _changed(model, own: np.ndarray, tolerance: float | None) -> Callable:
    def changed(z: np.ndarray) -> np.ndarray:
        answers = model.predict(z)
        given = np.tile(own, len(z) // len(own))
        if tolerance is None:
            return answers != given
        return np.abs(answers - given) > tolerance

    return changed


def _places(threat, rows: torch.Tensor, radius: torch.Tensor, n: int) -> Iterator[np.ndarray]:
    """Places of all rows, twenty times all rows at once: inside, at the rim, along few columns."""
    generator = torch.Generator().manual_seed(0)
    at_once = 20
    many = (at_once, *[1] * (rows.ndim - 1))
    region = threat.region(rows.repeat(many), radius.repeat(at_once))
    for number in range(n // at_once):
        way = torch.randn(region.x.shape, dtype=rows.dtype, generator=generator)
        if number % 4 == 0:
            z = region.sample(generator)
        elif number % 4 == 1:
            z = region.steepest(way)
        elif number % 4 == 2:
            z = region.steepest(way * (torch.rand(way.shape, generator=generator) < 0.3))
        else:
            z = region.project(region.x + 10 * radius.amax() * way)
        yield z.numpy()


def by_noise(n_places: int = 60) -> None:
    """A smoothed forest at 0.999 of its radii: rows whose prediction changed at some place.

    The statement about a moved row is one about one place chosen without knowledge of the noise.
    """
    X, y = _data("table")
    forest = RandomForestClassifier(10, max_depth=6, random_state=0)
    model = SmoothedClassifier(
        forest, noise=0.5, n_samples=400, confidence=0.99, random_state=0
    ).fit(X, y)
    rows = X[::12]
    print("\n| model | threat | trials | violations | its doubt allows |\n|---|---|---|---|---|")
    for name in NORMS:
        threat = LpBall(name)
        found = certify(model, rows, threat=threat, confidence=0.99)
        kept = found.radius > 0
        radius = torch.as_tensor(0.999 * found.radius[kept])
        changed = _changed(model, found.prediction[kept], None)
        places = _places(threat, torch.as_tensor(rows[kept]), radius, n_places)
        bad = [changed(z).sum() for z in places]
        n = int(kept.sum()) * (n_places // 20) * 20
        cells = ("smoothed forest", name, f"{n:,}", str(int(sum(bad))), f"{0.01 * n:,.0f}")
        print("| " + " | ".join(cells) + " |", flush=True)
