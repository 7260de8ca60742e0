"""What a model's mistakes cost when somebody moves the rows, and the threshold that costs least then.

    python examples/40_costs.py

Breast cancer: a tumour that is missed costs 10, a false alarm 1, and the measurements of every tumour
may be off, each by up to 0.2 standard deviations in its favour. Three thresholds for one logistic
regression, then a model that was trained for this; costs with the price of a human second look. Takes
about half a minute; the picture is written to examples/output.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, RobustThresholdClassifier, expected_cost
from skrobust.inspection import CostCurveDisplay
from skrobust.risk import cost_curve, cost_interval

OUTPUT = Path(__file__).parent / "output"
COSTS = {(0, 1): 10, (1, 0): 1}  # (true class, decision); class 0 is a tumour


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=0
    )
    threat = LpBall(scale="std").bind(X_train)
    scenario = dict(cost_matrix=COSTS, radius=0.2, threat=threat, attack_rate={0: 1.0})

    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    tuned = RobustThresholdClassifier(plain, **scenario, random_state=0).fit(X_train, y_train)
    chosen = tuned.cost_curve_  # held-out rows of five folds
    curve = cost_curve(tuned.estimator_, X_test, y_test, **scenario, random_state=0)
    print("cost per row of 228 test rows      threshold  clean  attacked")
    for name, threshold in {
        "usual threshold": 0.5,
        "best when nobody attacks": chosen.thresholds[chosen.best_clean],
        "best under attack": tuned.threshold_,
    }.items():
        clean, attacked = curve.at(threshold)
        print(f"{name:<34} {threshold:>9.3f} {clean:>6.3f} {attacked:>9.3f}")

    robust = make_pipeline(
        StandardScaler(),
        RobustClassifier("linear", radius=0.2, cost_matrix=COSTS, random_state=0),
    )
    robust = RobustThresholdClassifier(robust, **scenario, random_state=0).fit(X_train, y_train)
    clean, attacked = robust.worst_case_cost(X_test, y_test)
    print(f"{'model trained for it':<34} {robust.threshold_:>9.3f} {clean:>6.3f} {attacked:>9.3f}")

    found = cost_interval(tuned, X_test, y_test, **scenario, random_state=0)
    print(f"\nbest under attack: found {found.attacked:.3f}, proven at most {found.certified:.3f}")

    human = RobustThresholdClassifier(plain, refer_cost=0.3, random_state=0, **scenario)
    human.fit(X_train, y_train)
    clean, attacked = human.worst_case_cost(X_test, y_test)
    low, high = human.refer_band_
    share = human.refers(X_test).mean()
    print(
        f"with a human for 0.3 a look: {share:.0%} of rows, those between {low:.3f} and {high:.3f}; "
        f"clean {clean:.3f}, attacked {attacked:.3f}"
    )
    display = CostCurveDisplay.from_curve(curve)
    OUTPUT.mkdir(exist_ok=True)
    display.figure_.savefig(OUTPUT / "costs.png", dpi=120)
    print(f"\ncost against threshold: {OUTPUT / 'costs.png'}")
    three_classes()


def three_classes() -> None:
    """An offset for each class, where a missed class 0 is dear and every row is attacked."""
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    table = {(0, 1): 10, (0, 2): 10, (1, 0): 1, (1, 2): 1, (2, 0): 1, (2, 1): 1}
    asked = dict(cost_matrix=table, radius=0.5, random_state=0)
    model = RobustThresholdClassifier(LogisticRegression(), cv=3, **asked).fit(X[::2], y[::2])
    print(f"\nwine, three classes: offsets {model.offsets_.round(2)}")
    for name, one in (("as it is", model.estimator_), ("with offsets", model)):
        print(f"{name:<14} attacked {expected_cost(one, X[1::2], y[1::2], **asked):.3f}")


if __name__ == "__main__":
    main()
