"""Guarantees for a forest: vote over noisy copies of each row, and prove what cannot change the vote.

    python examples/32_smoothed.py

Part one smooths a random forest and a network that was trained for it, on measurements in raw units, and
says what is proven of rows like these. Part two bounds the predictions of boosted trees. It draws what
is proven and what an attack found. Takes about a minute.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skrobust import (
    LpBall,
    RobustClassifier,
    RobustnessCurveDisplay,
    SmoothedClassifier,
    SmoothedRegressor,
    robustness_curve,
)
from skrobust.attacks import Search
from skrobust.certificates import population_statement
from skrobust.exceptions import BlackBoxWarning

OUTPUT = Path(__file__).parent / "output"
NOISE = 0.5  # standard deviations of each column
RADII = [0.0, 0.25, 0.5, 0.75, 1.0]


def classifiers() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    threat = LpBall("l2", scale="std").bind(X_train)
    forest = RandomForestClassifier(20, random_state=0)
    network = RobustClassifier(
        divergence="consistency", radius=NOISE, threat=threat, max_epochs=30, random_state=0
    )
    options = dict(noise=NOISE, threat=threat, random_state=0)
    models = {
        "forest, as it is": SmoothedClassifier(
            FrozenEstimator(forest.fit(X_train, y_train)), **options
        ),
        "forest, fitted to noise": SmoothedClassifier(forest, n_augment=8, **options),
        "network, consistent": SmoothedClassifier(network, n_augment=0, **options),
    }
    print(
        f"Breast cancer, {len(X_test)} test rows, l2 radius in standard deviations of the columns:"
    )
    print(f"{'votes of':25s}{'clean':>8s}" + "".join(f"{radius:>8g}" for radius in RADII[1:]))
    for name, model in models.items():
        certificate = model.fit(X_train, y_train).certify(X_test, y_test)
        right = certificate.prediction == y_test
        proven = [(right & (certificate.radius >= radius)).mean() for radius in RADII[1:]]
        print(f"{name:25s}{right.mean():8.1%}" + "".join(f"{share:8.1%}" for share in proven))
    alone = y_test.value_counts(normalize=True).max()
    print(f"{'always the most frequent':25s}" + f"{alone:8.1%}" * len(RADII))

    model = models["forest, fitted to noise"].set_params(n_samples=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BlackBoxWarning)
        curve = robustness_curve(
            model, X_test, y_test, radii=RADII[:-1], threat=threat, attack=Search(n_queries=20),
            certify=True, random_state=0,
        )  # fmt: skip
    print(f"\nThe forest with {model.n_samples} votes:", curve.statement(0.5))
    draw(curve)


def draw(curve) -> None:
    """What is proven, what was found, and between them what nobody knows."""
    try:
        display = RobustnessCurveDisplay.from_curves({"smoothed forest": curve})
    except ImportError:
        return
    if hasattr(display, "figure_"):
        OUTPUT.mkdir(exist_ok=True)
        path = OUTPUT / "smoothed.png"
        display.figure_.savefig(path, dpi=120, bbox_inches="tight")
        print(f"Drawn: {path.relative_to(OUTPUT.parent)}")


def regressor() -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    threat = LpBall("l2", scale="std", frozen=["sex"]).bind(X_train)
    trees = HistGradientBoostingRegressor(max_iter=60, random_state=0)
    model = SmoothedRegressor(trees, noise=0.5, threat=threat, random_state=0)
    model.fit(X_train, y_train)
    plain = trees.fit(X_train, y_train)
    print(f"\nDiabetes, R2 of boosted trees {plain.score(X_test, y_test):.2f}, ", end="")
    print(f"of their medians under noise {model.score(X_test, y_test):.2f}")
    for radius in (0.1, 0.25):
        certificate = model.certify(X_test, radius=radius)
        k = int(np.argmax(certificate.upper[:, 0] - certificate.lower[:, 0]))
        print(
            f"radius {radius:g}: row {k} is predicted {certificate.prediction[k]:.0f} and stays "
            f"within {certificate.lower[k, 0]:.0f} and {certificate.upper[k, 0]:.0f}.",
            population_statement(certificate),
        )


if __name__ == "__main__":
    classifiers()
    regressor()
