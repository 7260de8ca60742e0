"""A model that is safe by construction: exact training, exact score, exact proof, and a picture of why.

    python examples/31_additive.py

Fits an additive and a linear model to their exact worst case, compares them with boosted trees, asks
how far each row may move, and draws the functions that the additive model adds up. Takes about half a
minute; the picture is written to examples/output.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

from skrobust import (
    AdditiveDisplay,
    LpBall,
    RobustClassifier,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
)
from skrobust.nets import Additive

OUTPUT = Path(__file__).parent / "output"


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    threat = LpBall(scale="range").bind(X_train)
    where = dict(radius=0.05, threat=threat)
    models = {
        "boosted trees": HistGradientBoostingClassifier(random_state=0),
        "robust linear": RobustClassifier("linear", **where),
        "robust additive": RobustClassifier("additive", **where),
        "robust additive, lines": RobustClassifier(Additive(shape="linear"), **where),
    }
    print("each column may move by 5% of its range\n")
    print(f"{'model':<22} {'clean':>6} {'attacked':>9} {'proven':>7} {'median proven radius':>21}")
    for name, model in models.items():
        model.fit(X_train, y_train)
        attacked = robust_accuracy_score(model, X_test, y_test, random_state=0, **where)
        proven = certified_accuracy_score(model, X_test, y_test, **where)
        radius = np.median(certify(model, X_test, y_test, threat=threat).radius)
        clean = model.score(X_test, y_test)
        print(f"{name:<22} {clean:>6.1%} {attacked:>9.1%} {proven:>7.1%} {radius:>21.3f}")
    display = AdditiveDisplay.from_estimator(models["robust additive"], X_train, **where)
    OUTPUT.mkdir(exist_ok=True)
    display.figure_.savefig(OUTPUT / "additive.png", dpi=120)
    print(f"\nwhat each column adds: {OUTPUT / 'additive.png'}")
    for shape in display.shapes[:6]:
        print(f"  {shape.name:<24} up to {shape.weight:.2f} of the logit")


if __name__ == "__main__":
    main()
