"""Attack only with rows that could exist: text, whole numbers and sums in a table, drifts in a series.

    python examples/12_valid_rows.py

Part one scores a Pipeline of a data frame with text, and prints rows beside their moved twins. Part two
trains a network on two-channel series and draws how a slow drift of the sensors misleads it. Both data
sets are made up, for none of the kind comes with scikit-learn. Takes about half a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from skrobust import LpBall, RobustClassifier, WorstCaseDisplay, robust_accuracy_score, worst_case

OUTPUT = Path(__file__).parent / "output"


def applications(n: int = 800) -> tuple[pd.DataFrame, np.ndarray]:
    """Loan applications; the total is the sum of its parts."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "age": rng.integers(18, 75, n),
            "salary": rng.lognormal(7.6, 0.3, n).round(),
            "rent": rng.lognormal(5.5, 0.8, n).round(),
            "loans": rng.poisson(1.0, n),
            "job": rng.choice(["clerk", "nurse", "trader", "none"], n, p=[0.4, 0.3, 0.1, 0.2]),
        }
    )
    X["income"] = X.salary + X.rent
    risk = 1.2 * X.loans - X.income / 1000 - X.age / 30 + 1.5 * (X.job == "none")
    return X, np.where(risk + rng.normal(0, 0.7, n) > risk.median(), "late", "paid")


def income(row):
    return row["salary"] + row["rent"]


def table() -> None:
    X, y = applications()
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    numbers = ["age", "salary", "rent", "loans", "income"]
    linear = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["job"]), (StandardScaler(), numbers)
    )
    boosted = make_column_transformer((OrdinalEncoder(), ["job"]), ("passthrough", numbers))
    models = {
        "logistic regression": make_pipeline(linear, LogisticRegression()),
        "boosted trees": make_pipeline(boosted, HistGradientBoostingClassifier(random_state=0)),
    }
    threat = LpBall(
        scale={"salary": 100, "rent": 50, "loans": 1},
        bounds={"rent": (0, None), "loans": (0, None)},
        integer=["salary", "rent", "loans"],
        frozen=["age"],
        categorical=["job"],
        repair={"income": income},
    ).bind(X_train)
    print("What an applicant could write: salary within 100, rent within 50, one loan, another job")
    for name, model in models.items():
        model.fit(X_train, y_train)
        scores = [
            robust_accuracy_score(
                model, X_test, y_test, radius=radius, threat=threat, random_state=0
            )
            for radius in (0, 0.5, 1)
        ]
        print(
            f"  {name:20} clean {scores[0]:.2f}, half of that {scores[1]:.2f}, all {scores[2]:.2f}"
        )
    model = models["logistic regression"]
    worst = worst_case(model, X_test, y_test, radius=1, threat=threat, random_state=0)
    lost = np.flatnonzero(worst.broken & (model.predict(X_test) == y_test))[:3]
    print("\nThree rows that were right:")
    print(X_test.iloc[lost].to_string())
    print("and their twins, which are not:")
    print(worst.X.iloc[lost].to_string(), "\n")


def series(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two sensors of a machine; a worn one hums."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, 80)
    y = rng.integers(0, 2, n)
    hum = np.sin(2 * np.pi * (6 * time + rng.random((n, 1)))) * (0.5 + 0.5 * y[:, None])
    load = np.sin(2 * np.pi * (time + rng.random((n, 1))))
    X = np.stack([hum + load, load], axis=1) + rng.normal(0, 0.2, (n, 2, 80))
    return X.astype(np.float32), y


def drift() -> None:
    X, y = series()
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    slow = LpBall(scale=np.array([[1.0], [0.5]]), band=0.1)
    any_way = LpBall(scale=np.array([[1.0], [0.5]]))
    model = RobustClassifier(smoothing=0, random_state=0).fit(X_train, y_train)
    print(f"Series: clean {model.score(X_test, y_test):.2f}")
    print("Sensor one may be off by so much, sensor two by half of it:")
    for radius in (0.15, 0.6, 1.0):
        scores = [
            robust_accuracy_score(
                model, X_test, y_test, radius=radius, threat=threat, random_state=0
            )
            for threat in (any_way, slow)
        ]
        print(f"  {radius:4}  in any way {scores[0]:.2f}, by a slow drift {scores[1]:.2f}")
    display = WorstCaseDisplay.from_estimator(
        model, X_test, y_test, radius=1.0, threat=slow, rows=2, random_state=0
    )
    OUTPUT.mkdir(exist_ok=True)
    display.figure_.savefig(OUTPUT / "drift.png", dpi=120, bbox_inches="tight")
    print(f"Written: {OUTPUT / 'drift.png'}")


if __name__ == "__main__":
    import matplotlib

    matplotlib.use("Agg")
    table()
    drift()
