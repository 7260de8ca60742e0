"""A robustness report: three models of one table, and one that only looks robust.

1. Breast-cancer measurements: logistic regression, a random forest and a RobustClassifier, in units of
   each column's standard deviation, with scores by class and by group of patients.
2. The same page for a network that rounds its input: attacks that follow gradients find nothing, the
   checks say so, and the score is not to be trusted.

Writes ``examples/output/report.html`` and ``examples/output/report_masked.html``, two files to be
opened in a browser, sent by mail, or printed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, as_torch
from skrobust.inspection import robustness_report

OUTPUT = Path(__file__).parent / "output"


class Rounded:
    """A fitted model whose input is rounded first: its gradient is 0 everywhere."""

    def __init__(self, model, step):
        self.view, self.step = as_torch(model), torch.tensor(step)

    def __skrobust_torch__(self):
        return RoundedView(self.view, self.step)


class RoundedView(torch.nn.Module):
    def __init__(self, view, step):
        super().__init__()
        self.view = view
        self.register_buffer("step", step)

    def forward(self, x):
        step = self.step.to(x.dtype)
        return self.view((x / step).round() * step)


def main():
    OUTPUT.mkdir(exist_ok=True)
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    # one step of a column is its standard deviation; values never seen are out of reach
    threat = LpBall(scale="std", bounds="data").bind(X_train)

    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "random forest": RandomForestClassifier(random_state=0),
        "RobustClassifier": RobustClassifier(
            radius=0.4, smoothing=2, threat=threat, max_epochs=30, random_state=0
        ),
    }
    for model in models.values():
        model.fit(X_train, y_train)

    large = X_test["mean radius"] > X_train["mean radius"].median()
    report = robustness_report(
        models,
        X_test,
        y_test,
        radii=[0.1, 0.2, 0.4],
        threat=threat,
        groups=np.where(large, "large cells", "small cells"),
        random_state=0,
    )
    print(report)
    print(f"\nWeakest columns at radius {report.focus:g}:")
    print(report.frame("features").groupby("estimator", sort=False).head(3).to_string(index=False))
    print(f"\nWritten: {report.save(OUTPUT / 'report.html')}")

    rounded = Rounded(models["logistic regression"], step=X_train.std().to_numpy())
    masked = robustness_report(
        {"rounded input": rounded},
        X_test,
        y_test.to_numpy(),
        radii=[0.4],
        threat=threat,
        attack="pgd",
        random_state=0,
    )
    print(f"\n{masked}")
    for finding in masked.diagnostics:
        if finding.ok is False:
            print(f"  {finding}")
    print(f"\nWritten: {masked.save(OUTPUT / 'report_masked.html')}")


if __name__ == "__main__":
    main()
