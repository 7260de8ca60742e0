"""Every estimator with a torch view, behind every kind of preprocessing, is measured soundly.

One table: what :func:`skrobust.bridge.supported_estimators` names, times preprocessing. For each,
moved rows keep to the budget in the raw columns, ``"auto"`` finds no less than black-box search,
radius 0 is the clean score, and a huge radius leaves no more than chance.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, mean_squared_error
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import RadiusNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import all_estimators

from skrobust import LpBall, robust_accuracy_score, robust_loss, worst_case
from skrobust.attacks import Auto
from skrobust.bridge import as_torch, supported_estimators

FROZEN, RADIUS, HUGE = 3, 0.35, 12.0
LIGHT = Auto(n_steps=5, n_restarts=1, n_targets=2, n_queries_black_box=500)


class Task(NamedTuple):
    """Rows to learn from; the first of them are attacked."""

    X: np.ndarray
    y: np.ndarray
    scale: np.ndarray


@cache
def task(name: str) -> Task:
    """60 rows of five columns of various sizes, of which the fourth tells little."""
    rng = np.random.RandomState(3)
    X = rng.randn(60, 5)
    score = 1.5 * X[:, 0] - X[:, 1] + 0.5 * X[:, 2] * X[:, 4] + 0.1 * rng.randn(60)
    X = 5 + X * [1.0, 1.0, 0.3, 1.0, 2.0]
    scale = X.std(axis=0)
    if name == "two":
        return Task(X, np.where(score > np.median(score), "yes", "no"), scale)
    if name == "three":
        return Task(X, np.digitize(score, np.quantile(score, [0.4, 0.7])), scale)
    value = np.exp(score / 3)  # positive, for those that ask for it
    if name == "column":
        return Task(X[:, :1], value, scale[:1])
    return Task(X, np.c_[value, X[:, 1]] if name == "values" else value, scale)


def _mixed() -> ColumnTransformer:
    parts = [("scale", StandardScaler(), [0, 1]), ("bend", PowerTransformer(), [4])]
    return ColumnTransformer(parts, remainder="passthrough")


FRONTS = {
    "none": lambda: None,
    "standard": StandardScaler,
    "minmax": lambda: MinMaxScaler(clip=True),
    "pca": lambda: PCA(4),
    "quantile": lambda: QuantileTransformer(n_quantiles=20),
    "power": PowerTransformer,
    "columns": _mixed,
    "spline": lambda: SplineTransformer(n_knots=4),
    "bins": lambda: KBinsDiscretizer(4, strategy="uniform", encode="onehot-dense"),
}
# Counts and frequencies: columns must not be negative.
NOT_NEGATIVE = {"MultinomialNB", "ComplementNB"}
FRONTS_NOT_NEGATIVE = ["minmax", "quantile", "spline", "bins"]
FULL_RANK = {"QuadraticDiscriminantAnalysis"}  # fewer columns than rows of a class
SEVERAL_OUTPUTS = {"CCA", "PLSCanonical", "MultiOutputRegressor"}
TWO_CLASSES = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
HIDDEN = {"BaseSearchCV", "Pipeline"}  # not asked for by these names
OURS = {"RobustThresholdClassifier"}  # test_thresholds
# Where black-box search alone finds more, by how much. The gradients of losses of several outputs
# lead to a local maximum; searches of step functions differ by chance, and one starts where
# gradients ended, the other at the row.
SEVERAL = "several outputs have no pieces to climb"
LOCAL = "gradients end in a local maximum, and too few queries follow"
KNOWN = {
    ("CCA", "power", "values"): SEVERAL,  # loss 0.2% smaller
    ("CCA", "spline", "values"): SEVERAL,  # 0.8%
    ("MultiOutputRegressor", "spline", "values"): SEVERAL,  # 0.5%
    ("MultiTaskLassoCV", "none", "values"): SEVERAL,  # 0.3%
    ("MultiTaskLassoCV", "spline", "values"): SEVERAL,  # 0.5%
    ("PLSCanonical", "quantile", "values"): SEVERAL,  # 0.4%
    ("PLSCanonical", "spline", "values"): SEVERAL,  # 0.2%
    ("GaussianProcessRegressor", "standard", "value"): LOCAL,  # 0.9% with 12 rows, not with 30
    ("NuSVC", "power", "two"): LOCAL,  # 10, search 11
    ("SVR", "power", "value"): LOCAL,  # loss 0.1% smaller
}


def _members(*estimators):
    return [(str(number), estimator) for number, estimator in enumerate(estimators)]


# What cannot be made without arguments, or is only interesting with them.
MADE = {
    "BaggingClassifier": lambda: BaggingClassifier(LinearSVC(), 4, random_state=0),
    "BaggingRegressor": lambda: BaggingRegressor(Ridge(), 3, max_features=3, random_state=0),
    "CalibratedClassifierCV": lambda: CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=2),
    "FixedThresholdClassifier": lambda: FixedThresholdClassifier(SVC(), threshold=0.1),
    "FrozenEstimator": LogisticRegression,  # frozen once it is fitted
    "MultiOutputRegressor": lambda: MultiOutputRegressor(Ridge()),
    "OneVsOneClassifier": lambda: OneVsOneClassifier(LinearSVC()),
    "OneVsRestClassifier": lambda: OneVsRestClassifier(GaussianNB()),
    "OutputCodeClassifier": lambda: OutputCodeClassifier(SVC(), code_size=4, random_state=0),
    "QuadraticDiscriminantAnalysis": lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    "RFE": lambda: RFE(LogisticRegression(), n_features_to_select=3),
    "RFECV": lambda: RFECV(LogisticRegression(), cv=2),
    "RadiusNeighborsClassifier": lambda: RadiusNeighborsClassifier(
        2.0, outlier_label="most_frequent"
    ),
    "RadiusNeighborsRegressor": lambda: RadiusNeighborsRegressor(9.0),
    "StackingClassifier": lambda: StackingClassifier(_members(SVC(), GaussianNB()), cv=2),
    "StackingRegressor": lambda: StackingRegressor(_members(Ridge()), Ridge(), cv=2),
    "TransformedTargetRegressor": lambda: TransformedTargetRegressor(
        Ridge(), func=np.log, inverse_func=np.exp
    ),
    "TunedThresholdClassifierCV": lambda: BY_NAME["TunedThresholdClassifierCV"](
        LogisticRegression(), cv=2
    ),
    "VotingClassifier": lambda: VotingClassifier(
        _members(LogisticRegression(), GaussianNB(), SVC())
    ),
    "VotingRegressor": lambda: VotingRegressor(_members(Ridge())),
    "GridSearchCV": lambda: GridSearchCV(SVC(), {"C": [1.0, 10.0]}, cv=2),
}
BY_NAME = dict(all_estimators())
NAMES = sorted(set(supported_estimators()["predict"]) & BY_NAME.keys() - HIDDEN | {"GridSearchCV"})


class Case(NamedTuple):
    name: str
    front: str
    task: str


def make(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are on their way out of scikit-learn
        estimator = MADE[name]() if name in MADE else BY_NAME[name]()
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    return estimator


def fronts_of(name: str) -> list[str]:
    if name == "IsotonicRegression":  # of a single column
        return ["none"]
    if name in FULL_RANK:
        return [front for front in FRONTS if front not in ("spline", "bins")]
    return FRONTS_NOT_NEGATIVE if name in NOT_NEGATIVE else list(FRONTS)


def tasks_of(name: str) -> list[str]:
    if name == "IsotonicRegression":
        return ["column"]
    if is_classifier(make(name)):
        return ["two"] if name in TWO_CLASSES else ["two", "three"]
    return ["values" if name in SEVERAL_OUTPUTS or name.startswith("MultiTask") else "value"]


ALL = [
    Case(name, front, of) for name in NAMES for front in fronts_of(name) for of in tasks_of(name)
]


def _few(name: str, number: int) -> list[Case]:
    """Two fronts for each estimator, in turns, so that all meet about equally often."""
    fronts, tasks = fronts_of(name), tasks_of(name)
    chosen = dict.fromkeys([fronts[number % len(fronts)], fronts[(number + 4) % len(fronts)]])
    return [Case(name, front, tasks[(number + k) % len(tasks)]) for k, front in enumerate(chosen)]


FEW = [case for number, name in enumerate(NAMES) for case in _few(name, number)]
REST = [case for case in ALL if case not in FEW]


def fitted(case: Case):
    front, model = FRONTS[case.front](), make(case.name)
    X, y, _ = task(case.task)
    if front is not None:
        model = make_pipeline(front, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few rows do not converge
        model = model.fit(X, y)
    return FrozenEstimator(model) if case.name == "FrozenEstimator" else model


def measure(model, of: Task, n_rows: int, radius: float, attack):
    X, y = of.X[:n_rows], of.y[:n_rows]
    threat = LpBall(scale=of.scale, frozen=[FROZEN] if X.shape[1] > FROZEN else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return worst_case(model, X, y, radius=radius, threat=threat, attack=attack, random_state=0)


def check(case: Case, n_rows: int, slack: int = 0) -> None:
    model, of = fitted(case), task(case.task)
    as_torch(model)  # none of these is to fall back to black-box search
    auto = measure(model, of, n_rows, RADIUS, "auto")
    check_budget(auto.X, of, n_rows)
    huge = measure(model, of, n_rows, HUGE, LIGHT)
    X, y = of.X[:n_rows], of.y[:n_rows]
    none = {"radius": 0.0, "attack": "auto", "random_state": 0}
    if is_classifier(model):
        _, counts = np.unique(y, return_counts=True)
        assert (~huge.broken).sum() <= counts.max()
        assert robust_accuracy_score(model, X, y, **none) == accuracy_score(y, model.predict(X))
    else:
        assert huge.value.mean() >= auto.value.mean()
        clean = mean_squared_error(y, model.predict(X))
        assert robust_loss(model, X, y, **none) == pytest.approx(clean, rel=1e-12)
    search = measure(model, of, n_rows, RADIUS, "search")
    if (case.name, case.front, case.task) in KNOWN and not finds_as_much(
        auto, search, model, slack
    ):
        pytest.xfail(KNOWN[case.name, case.front, case.task])
    assert finds_as_much(auto, search, model, slack)


def finds_as_much(auto, search, model, slack: int = 0) -> bool:
    """As many broken rows; a mean loss that is not smaller by more than a thousandth.

    Where there are gradients, "auto" and the search are two searches with two chances: in a
    thousand cases a few end a row apart. ``slack`` rows, or percents of the loss, may be missing.
    """
    if is_classifier(model):
        return auto.broken.sum() >= search.broken.sum() - slack
    return auto.value.mean() >= (0.999 - 0.01 * slack) * search.value.mean()


def check_budget(moved, of: Task, n_rows: int) -> None:
    X = of.X[:n_rows]
    assert (np.abs(moved - X) <= RADIUS * of.scale * (1 + 1e-9)).all()
    if X.shape[1] > FROZEN:
        assert (moved[:, FROZEN] == X[:, FROZEN]).all()


def _id(case: Case) -> str:
    return f"{case.name}-{case.front}-{case.task}"


@pytest.mark.parametrize("case", FEW, ids=_id)
def test_every_estimator(case):
    check(case, n_rows=12)


@pytest.mark.slow
@pytest.mark.parametrize("case", REST, ids=_id)
def test_every_estimator_and_preprocessing(case):
    check(case, n_rows=30, slack=1)


def test_nothing_is_left_out():
    """What is supported is in the table; what is not asked for by name is named above."""
    of_other_tests = {"Oddball"}  # registered by test_bridge_errors, in whatever order tests run
    assert set(supported_estimators()["predict"]) - set(NAMES) <= HIDDEN | OURS | of_other_tests
    assert {case.front for case in FEW} == set(FRONTS)
    assert {case.name for case in FEW} == set(NAMES)
