"""Data frames with text: the model sees text, the attack sees codes, the user gets text back."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from skrobust import (
    FeatureSensitivityDisplay,
    LpBall,
    RobustScorer,
    WorstCaseDisplay,
    as_torch,
    robust_accuracy_score,
    robust_loss,
    robustness_curve,
    robustness_report,
    worst_case,
)
from skrobust.exceptions import BlackBoxWarning, UnsupportedEstimatorError
from skrobust.threats import Threat

RNG = np.random.default_rng(0)
N = 120
JOBS, CITIES = ["admin", "boss", "tech"], ["Bonn", "Rome"]
X = pd.DataFrame(
    {
        "age": RNG.integers(18, 70, N),
        "job": RNG.choice(JOBS, N),
        "income": RNG.normal(50, 10, N),
        "city": RNG.choice(CITIES, N),
    },
    index=np.arange(N) * 3,
)
SCORE = X.age / 20 + X.income / 20 + (X.job == "boss") + 0.5 * (X.city == "Rome")
Y = np.where(SCORE + RNG.normal(0, 0.5, N) > 5.2, "yes", "no")
TEXT, NUMERIC = ["job", "city"], ["age", "income"]


def pipeline(encoder=None, last=None):
    columns = make_column_transformer(
        (encoder or OneHotEncoder(handle_unknown="ignore"), TEXT), (StandardScaler(), NUMERIC)
    )
    return make_pipeline(columns, LogisticRegression() if last is None else last)


MODEL = pipeline().fit(X, Y)


def with_missing(frame):
    frame = frame.copy()
    frame.loc[frame.index[4], "job"] = None
    return frame


def as_polars(frame):
    polars = pytest.importorskip("polars")
    columns = {c: [None if v != v else v for v in frame[c].to_list()] for c in frame}
    return polars.DataFrame(columns)


CONTAINERS = {
    "text": lambda frame: frame,
    "object": lambda frame: frame.astype(dict.fromkeys(TEXT, object)),
    "category": lambda frame: frame.astype(dict.fromkeys(TEXT, "category")),
    "missing": with_missing,
    "polars": as_polars,
    "polars, missing": lambda frame: as_polars(with_missing(frame)),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_text_stays_unless_it_is_listed(container):
    given = CONTAINERS[container](X)
    model = pipeline().fit(given, Y)
    for threat in ("linf", LpBall(scale="std", integer="dtype").bind(given)):
        worst = worst_case(model, given, Y, radius=0.3, threat=threat, random_state=0)
        for name in TEXT:
            assert list(worst.X[name]) == list(given[name]) or worst.X[name].equals(given[name])
            assert worst.X[name].dtype == given[name].dtype
        assert (np.asarray(worst.X["income"]) != np.asarray(given["income"])).mean() > 0.8
        assert worst.n_forward.mean() < 30  # exact: what moves is affine

        assert (model.predict(worst.X) != Y).tolist() == worst.broken.tolist()


@pytest.mark.parametrize("container", CONTAINERS)
def test_categories_move_within_the_budget(container):
    given = CONTAINERS[container](X)
    model = pipeline().fit(given, Y)
    scores = []
    for categorical, most in (([], 1), (["job"], 1), (TEXT, 1), (TEXT, 2)):
        threat = LpBall(
            scale="std", integer=["age"], categorical=categorical, max_changes=most
        ).bind(given)
        worst = worst_case(model, given, Y, radius=0.2, threat=threat, random_state=0)
        changed = np.stack(
            [[a != b and a == a and a is not None for a, b in zip(given[name].to_list(), worst.X[name].to_list(), strict=True)] for name in TEXT]
        )  # fmt: skip
        assert (changed.sum(axis=0) <= most).all()
        assert not changed[[name not in categorical for name in TEXT]].any()
        assert set(worst.X["job"].to_list()) - {None} <= {*JOBS, *given["job"].to_list()}
        assert (model.predict(worst.X) != Y).tolist() == worst.broken.tolist()
        scores.append(1 - worst.broken.mean())
    assert scores == sorted(scores, reverse=True) and scores[-1] < scores[0]


def brute_force(model, radius, threat_steps, most):
    """All jobs and cities with the exact worst numbers of a linear model for each."""
    weights, names = model[-1].coef_[0], list(model[0].get_feature_names_out())
    scales = dict(zip(NUMERIC, model[0].named_transformers_["standardscaler"].scale_, strict=True))
    push = sum(
        abs(weights[names.index(f"standardscaler__{n}")]) / scales[n] * radius * threat_steps[n]
        for n in NUMERIC
    )
    sign = np.where(Y == "yes", -1, 1)
    best = np.full(N, -np.inf)
    for job in JOBS:
        for city in CITIES:
            moved = X.assign(job=job, city=city)
            n_changes = (moved[TEXT] != X[TEXT]).sum(axis=1)
            value = sign * model.decision_function(moved) + push
            best = np.where(n_changes <= most, np.maximum(best, value), best)
    return best


@pytest.mark.parametrize("most", [1, 2])
def test_auto_finds_the_worst_category(most):
    threat = LpBall(scale="std", categorical=TEXT, max_changes=most).bind(X)
    steps = dict(zip(X.columns, threat.scale, strict=True))
    truth = brute_force(MODEL, 0.3, steps, most)
    worst = worst_case(MODEL, X, Y, radius=0.3, threat=threat, random_state=0)
    assert (worst.value <= truth + 1e-9).all()
    assert worst.broken.tolist() == (truth > 0).tolist()


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(drop="first"),
        OneHotEncoder(min_frequency=45, handle_unknown="infrequent_if_exist"),
        OrdinalEncoder(),
        TargetEncoder(),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_encoders_as_torch(encoder):
    model = pipeline(encoder).fit(X, Y)
    values = {"job": JOBS, "city": CITIES}
    codes = X.assign(job=X.job.map(JOBS.index), city=X.city.map(CITIES.index)).to_numpy(float)
    logits = as_torch(model, categories=values)(torch.tensor(codes))
    np.testing.assert_allclose(
        torch.softmax(logits, dim=1).numpy(), model.predict_proba(X), atol=1e-12
    )
    with pytest.raises(UnsupportedEstimatorError, match="encodes text"):
        as_torch(model)


def test_values_unknown_at_fit_or_absent_at_test():
    threat = LpBall(scale="std", categorical={"job": ["boss", "pilot"]}).bind(X)
    few = X.iloc[:20].query("job != 'tech'")
    y = Y[:20][X.iloc[:20].job != "tech"]
    worst = worst_case(MODEL, few, y, radius=0.2, threat=threat, random_state=0)
    assert set(worst.X.job) <= {"admin", "boss", "pilot"}
    assert worst.broken.tolist() == (MODEL.predict(worst.X) != y).tolist()


def test_trees_with_categories_of_their_own():
    given = CONTAINERS["category"](X)
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20)
    model.fit(given, Y)
    threat = LpBall(scale="std", categorical=["job"]).bind(given)
    worst = worst_case(model, given, Y, radius=0.2, threat=threat, random_state=0)
    assert (worst.X.dtypes[TEXT] == given.dtypes[TEXT]).all()
    assert worst.broken.mean() > (model.predict(given) != Y).mean()
    assert (worst.X.city == given.city).all()


class Unknown(RandomForestClassifier):
    """Answers in its own way, as far as anybody can see from outside."""

    def predict_proba(self, X):
        return super().predict_proba(X)


def test_models_that_nobody_can_read_are_black_boxes():
    chain = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    model = pipeline(chain, Unknown(20, random_state=0)).fit(X, Y)
    threat = LpBall(scale="std", categorical=["job"]).bind(X)
    with pytest.warns(BlackBoxWarning):
        worst = worst_case(model, X[:40], Y[:40], radius=0.3, threat=threat, random_state=0)
    assert worst.broken.tolist() == (model.predict(worst.X) != Y[:40]).tolist()


def test_scores_curves_and_searches_take_text():
    threat = LpBall(scale="std", integer=["age"], categorical=["job"]).bind(X)
    curve = robustness_curve(MODEL, X, Y, radii=[0, 0.1, 0.3], threat=threat, random_state=0)
    assert (np.diff(curve.attacked) <= 0).all()
    score = robust_accuracy_score(MODEL, X, Y, radius=0.3, threat=threat, random_state=0)
    assert score == pytest.approx(curve.attacked[-1], abs=0.02)
    search = GridSearchCV(
        pipeline(), {"logisticregression__C": [0.01, 1.0]}, cv=2,
        scoring=RobustScorer(radius=0.2, threat=threat), error_score="raise",
    ).fit(X, Y)  # fmt: skip
    assert 0 < search.best_score_ < 1
    model = pipeline(last=Ridge()).fit(X, SCORE)
    loss = [robust_loss(model, X, SCORE, radius=r, threat=threat) for r in (0.0, 0.2)]
    assert loss[0] < loss[1]


def test_what_is_no_text_is_refused():
    dates = X.assign(day=pd.Timestamp("2020-01-01"))
    with pytest.raises(ValueError, match=r"\['day'\].*not hold numbers"):
        worst_case(MODEL, dates, Y, radius=0.1)
    with pytest.raises(TypeError, match="encode dates"):
        LpBall(scale="std").bind(dates)

    class Plain(Threat):
        is_bound = True

        def bind(self, X, *, feature_names=None):
            return self

        def region(self, x, radius):
            raise AssertionError

    with pytest.raises(ValueError, match="Plain does not know text"):
        worst_case(MODEL, X, Y, radius=0.1, threat=Plain())


def test_reports_and_pictures_speak_text():
    matplotlib = pytest.importorskip("matplotlib")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    matplotlib.use("Agg")
    threat = LpBall(scale="std", integer=["age"], categorical=["job"]).bind(X)
    display = WorstCaseDisplay.from_estimator(
        MODEL, X, Y, radius=0.3, threat=threat, random_state=0
    )
    frame = display.frame()
    jobs = frame[frame.feature == "job"]
    assert len(jobs) and set(jobs.given) | set(jobs.moved) <= set(JOBS)
    assert jobs.steps.isna().all() and not frame[frame.feature == "age"].steps.isna().any()
    words = [text.get_text() for axes in display.axes_.ravel() for child in axes.child_axes for text in child.get_yticklabels()]  # fmt: skip
    assert any(" → " in word and word.split(" → ")[0] in JOBS for word in words)
    sensitive = FeatureSensitivityDisplay.from_estimator(
        MODEL, X, Y, radius=0.3, threat=threat, random_state=0
    ).frame()
    shares = dict(zip(sensitive.feature, sensitive.share, strict=True))
    assert shares["job"] > 0 and shares["city"] == 0
    report = robustness_report(MODEL, X, Y, radii=[0.3], threat=threat, random_state=0)
    assert any(f"{a} → {b}" in report._repr_html_() for a in JOBS for b in JOBS)
    assert all(finding.ok is not False for finding in report.diagnostics)
    pyplot.close("all")
