"""Tree models of data frames with text: read through their encoders, searched exactly."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from skrobust import LpBall, robust_accuracy_score, worst_case
from skrobust.exceptions import BlackBoxWarning
from skrobust.metrics._evaluation import Evaluation
from skrobust.trees import TreeSearch

rng = np.random.RandomState(0)
N = 160
JOBS, CITIES = ["admin", "boss", "tech", "none"], ["Bonn", "Rome", "Oslo"]
X = pd.DataFrame(
    {
        "age": rng.randint(18, 70, N),
        "job": rng.choice(JOBS, N),
        "income": rng.normal(50, 10, N),
        "city": rng.choice(CITIES, N),
    }
)
SCORE = X.age / 20 + X.income / 20 + X.job.isin(["boss", "none"]) + 0.5 * (X.city == "Rome")
y = np.where(SCORE + rng.normal(0, 0.3, N) > SCORE.median(), "yes", "no")
GAPS = X.copy()
GAPS.loc[::6, "job"] = np.nan
KINDS = X.astype({"job": "category", "city": "category"})
TEXT = ["job", "city"]
SEED = {"random_state": 0}
FOREST = RandomForestClassifier(6, max_depth=4, **SEED)


def columns(encoder, remainder="passthrough"):
    return make_column_transformer((encoder, TEXT), remainder=remainder)


NUMBERS = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
FILLED = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
MARKED = make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), NUMBERS)
FEW = {"max_iter": 4, "max_leaf_nodes": 6, **SEED}
MODELS = {
    "one-hot": (make_pipeline(columns(OneHotEncoder(handle_unknown="ignore")), FOREST), X),
    "strict": (make_pipeline(columns(OneHotEncoder(), StandardScaler()), FOREST), X),
    "numbers": (make_pipeline(columns(NUMBERS), FOREST), X),
    "means": (make_pipeline(columns(TargetEncoder()), FOREST), X),
    "filled": (make_pipeline(columns(FILLED), FOREST), GAPS),
    "marked": (make_pipeline(columns(MARKED), FOREST), GAPS),
    "categories": (HistGradientBoostingClassifier(categorical_features="from_dtype", **FEW), KINDS),
    "values": (make_pipeline(columns(OneHotEncoder()), ExtraTreesRegressor(3, max_depth=4, **SEED)),
               X),
}  # fmt: skip
THREAT = LpBall(scale="std", frozen=["age"], categorical=TEXT)


@pytest.fixture(autouse=True)
def no_black_box():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BlackBoxWarning)
        yield


def brute_force(model, frame, target, income):
    """Whether any category of one text column and any income turns the prediction; worst loss."""
    incomes, found = np.linspace(-1, 1, 81) * income, []
    for row in range(len(frame)):
        own = frame.iloc[row]
        jobs = [own.job] if pd.isna(own.job) else JOBS
        places = [
            (own.age, job, own.income + way, city)
            for job, city, way in itertools.product(jobs, CITIES, incomes)
            if (job != own.job and not pd.isna(job)) + (city != own.city) <= 1
        ]
        grid = pd.DataFrame(places, columns=frame.columns).astype(dict(frame.dtypes))
        answers = model.predict(grid)
        if target.dtype.kind == "f":
            found.append(np.abs(answers - target[row]).max())
        else:
            found.append((answers != target[row]).any())
    return np.array(found)


@pytest.mark.parametrize("name", MODELS)
def test_brute_force(name):
    model, frame = MODELS[name]
    target = SCORE.to_numpy() if name == "values" else y
    model = clone(model).fit(frame, target)
    some, asked = frame[3::9], target[3::9]
    threat = THREAT.bind(frame)
    assert Evaluation(model, some, asked, threat=threat).task.view.source == "trees"
    truth = brute_force(model, some, asked, 0.4 * X.income.std(ddof=0))
    given = {"radius": 0.4, "threat": threat, "random_state": 0}
    if name == "values":
        worst = worst_case(model, some, asked, loss="absolute", **given)
        assert (worst.value >= truth - 1e-9).all()
        np.testing.assert_allclose(worst.value, np.abs(model.predict(worst.X) - asked))
        return
    worst = worst_case(model, some, asked, attack=TreeSearch(exact=True), **given)
    assert (worst.broken >= truth).all()  # the grid of incomes is coarse
    assert worst.broken.sum() <= truth.sum() + 1
    np.testing.assert_array_equal(model.predict(worst.X) != asked, worst.broken)
    assert list(worst.X.dtypes) == list(some.dtypes)
    assert ((worst.X[TEXT] != some[TEXT]) & some[TEXT].notna()).sum(axis=1).max() == 1
    found = robust_accuracy_score(model, some, asked, **given)
    assert found == pytest.approx(1 - worst.broken.mean())
    assert found < model.score(some, asked)


def test_text_that_trees_see_in_their_own_way_is_left_to_a_black_box():
    """LightGBM numbers categories itself: no encoder of ours says how."""
    module = pytest.importorskip("lightgbm", reason="reads the models of this library")
    model = module.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(KINDS, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BlackBoxWarning)
        evaluation = Evaluation(model, KINDS, y, threat=THREAT.bind(KINDS))
    assert evaluation.task.view.source != "trees"
