"""Who pays for robustness? Groups compared with exact tests, and a model card.

    python examples/15_fairness.py

Made-up applicants of two towns, one of them small: in the small town one column means the opposite. A robust
model smooths that detail away. Writes a report and a model card to examples/output; takes some seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from skrobust import LpBall, RobustClassifier, group_comparison, robustness_report

OUTPUT = Path(__file__).parent / "output"


def applicants(n_rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    random = np.random.RandomState(seed)
    small = random.rand(n_rows) < 0.06
    X = pd.DataFrame(random.normal(size=(n_rows, 4)), columns=["income", "age", "debt", "years"])
    X["district"] = np.where(small, 0.25, 0.0) + 0.03 * random.normal(size=n_rows)
    score = X["income"] - X["debt"] + np.where(small, -2.5, 1.0) * X["age"]
    y = (score + 0.5 * random.normal(size=n_rows) > 0).astype(int)
    return X, y.to_numpy(), np.where(small, "small town", "large town")


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    X_train, y_train, _ = applicants(3000, seed=0)
    X_test, y_test, town = applicants(800, seed=1)
    threat = LpBall(scale="std").bind(X_train)
    models = {
        "plain": HistGradientBoostingClassifier(max_iter=60, random_state=0),
        "robust": RobustClassifier("additive", radius=0.2, threat=threat),
    }
    for model in models.values():
        model.fit(X_train, y_train)

    found = group_comparison(
        models, X_test, y_test, groups=town, radius=0.2, threat=threat, random_state=0
    )
    columns = ["measure", "group", "n_rows", "before", "value", "p_holm", "verdict"]
    print(found.frame("changes")[columns].round(3).to_string(index=False))
    print()
    for warning in found.warnings:
        print(f"- {warning}")

    report = robustness_report(
        models, X_test, y_test, radii=[0.1, 0.2], threat=threat, groups=town, random_state=0
    )
    report.save(OUTPUT / "15_report.html")
    report.model_card(
        "robust",
        path=OUTPUT / "15_model_card.md",
        intended_use="A demonstration on rows that were made up.",
        training_data="3000 rows drawn by this example.",
    )
    print(f"\nWritten: {OUTPUT / '15_report.html'} and {OUTPUT / '15_model_card.md'}")


if __name__ == "__main__":
    main()
