"""Why a robust model is safer: sensitivity, steadiness of reasons, nearest other answers, proofs.

    python examples/14_explain.py

Digits as images and breast-cancer measurements as a table; a plain and a robust model of each. Pictures are
written to examples/output. Takes about half a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import (
    CounterfactualDisplay,
    InputSensitivityDisplay,
    LpBall,
    RobustClassifier,
    attribution_stability,
    certified_reasons,
    nearest_counterfactual,
)
from skrobust.datasets import load_digits_images

OUTPUT = Path(__file__).parent / "output"


def table() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, _ = train_test_split(X, y, stratify=y, random_state=0)
    threat = LpBall(scale="std", bounds="data").bind(X_train)
    where = dict(radius=0.3, threat=threat)
    models = {
        "plain": make_pipeline(StandardScaler(), LogisticRegression(C=10)),
        "robust": RobustClassifier("linear", **where),
        "additive": RobustClassifier("additive", **where),
    }
    for model in models.values():
        model.fit(X_train, y_train)

    print("Breast cancer: how far to the nearest other answer, ten rows, in standard deviations")
    for name, model in models.items():
        found = nearest_counterfactual(model, X_test[:10], threat=threat, random_state=0)
        print(
            f"  {name:<9} median {np.median(found.radius):.2f} (proven {np.median(found.proven):.2f})"
        )

    reasons = certified_reasons(models["additive"], X_test, **where)
    alone = (~reasons.decides.any(axis=1)).mean()
    print(f"  additive: {alone:.0%} of the answers no single column can change; row 0 because of")
    row = reasons.frame().query(f"row == {X_test.index[0]}").head(3)
    print(
        row[["feature", "contribution", "least", "most", "decides"]].round(2).to_string(index=False)
    )

    display = InputSensitivityDisplay.from_estimators(models, X_test, **where)
    display.figure_.savefig(OUTPUT / "14_sensitivity.png", dpi=130)


def images() -> None:
    X, y = load_digits_images(return_X_y=True)
    X = X.astype("float32")
    models = {
        "plain": RobustClassifier("cnn", smoothing=0, max_epochs=10, random_state=0),
        "robust": RobustClassifier("cnn", radius=0.1, max_epochs=12, random_state=0),
    }
    print("\nDigits: of the strongest reasons (pixels), how many stay within radius 0.1?")
    for name, model in models.items():
        model.fit(X[:1200], y[:1200])
        found = attribution_stability(model, X[1200:1240], radius=0.1, random_state=0)
        print(
            f"  {name:<9} {found.overlap.mean():.0%}, rank correlation {found.correlation.mean():.2f}"
        )

    rows = X[1200:1203]
    display = InputSensitivityDisplay.from_estimators(models, rows, radius=0.1)
    display.figure_.savefig(OUTPUT / "14_maps.png", dpi=130)
    for name, model in models.items():
        display = CounterfactualDisplay.from_estimator(
            model, rows, certify=False, n_halvings=3, random_state=0
        )
        display.figure_.savefig(OUTPUT / f"14_nearest_{name}.png", dpi=130)
        print(f"  {name:<9} " + "; ".join(display.titles))


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    table()
    images()
    print(f"\nWritten: {OUTPUT}/14_*.png")


if __name__ == "__main__":
    main()
