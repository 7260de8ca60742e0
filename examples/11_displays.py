"""Four pictures: curves, the price of robustness, weak columns, and rows beside their moved twins.

Writes ``examples/output/displays.png`` and ``examples/output/worst_digits.png``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, RobustScorer
from skrobust.datasets import load_digits_images
from skrobust.inspection import (
    FeatureSensitivityDisplay,
    RobustnessCurveDisplay,
    TradeoffDisplay,
    WorstCaseDisplay,
)

OUTPUT = Path(__file__).parent / "output"


def table():
    """Curves, trade-off, weak columns and one moved row of a table."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    y = y.map({0: "malignant", 1: "benign"})
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    threat = LpBall(scale="std").bind(X_train)
    search = GridSearchCV(
        RobustClassifier(threat=threat, max_epochs=15, random_state=0),
        {"radius": [0.0, 0.2, 0.4], "smoothing": [0.5, 2.0]},
        scoring=RobustScorer(
            radius=0.4, threat=threat, metric=["clean_accuracy", "robust_accuracy"], attack="pgd"
        ),
        refit="robust_accuracy",
        cv=3,
    ).fit(X_train, y_train)
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()).fit(
            X_train, y_train
        ),
        "RobustClassifier": search.best_estimator_,
    }

    figure, axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    options = {"threat": threat, "random_state": 0}
    RobustnessCurveDisplay.from_estimator(
        models, X_test, y_test, radii=[0.1, 0.2, 0.4, 0.6], ax=axes[0, 0], **options
    )
    tradeoff = TradeoffDisplay.from_cv_results(search.cv_results_, ax=axes[0, 1])
    model = models["logistic regression"]
    FeatureSensitivityDisplay.from_estimator(
        model, X_test, y_test, radius=0.5, ax=axes[1, 0], **options
    )
    worst = WorstCaseDisplay.from_estimator(
        model, X_test, y_test, radius=0.3, rows=1, ax=axes[1, 1], **options
    )
    titles = [
        "Accuracy against radius",
        "What robustness costs",
        "Weak columns (logistic regression)",
    ]
    for ax, title in zip(axes.flat, titles, strict=False):
        ax.set_title(title)
    figure.savefig(OUTPUT / "displays.png", dpi=120)
    print(tradeoff.frame().round(3).to_string(index=False))
    print(worst.frame().head(3).round(4).to_string(index=False))


def images():
    """Handwritten digits, before and after every pixel may move by 0.15."""
    X, y = load_digits_images(return_X_y=True)
    model = RobustClassifier(smoothing=0, max_epochs=10, random_state=0).fit(X[:1200], y[:1200])
    display = WorstCaseDisplay.from_estimator(
        model, X[1200:1300], y[1200:1300], radius=0.15, threat=LpBall(bounds=(0, 1)), random_state=0
    )
    display.figure_.savefig(OUTPUT / "worst_digits.png", dpi=120)


if __name__ == "__main__":
    OUTPUT.mkdir(exist_ok=True)
    table()
    images()
    print(f"Written: {OUTPUT / 'displays.png'}, {OUTPUT / 'worst_digits.png'}")
