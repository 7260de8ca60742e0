"""Containers come back as they went in; what can't be measured is an error that says why."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skrobust.exceptions import ThreatNotBoundError, UnsupportedEstimatorError
from skrobust.metrics import robust_accuracy_score, robust_loss, robustness_curve, worst_case
from skrobust.threats import LpBall

X, y = load_iris(return_X_y=True)
X, y = X[::3], y[::3]
NAMES = ["a", "b", "c", "d"]
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
REGRESSOR = LinearRegression().fit(X, X @ [1.0, 2.0, 3.0, 4.0])


@pytest.fixture
def frame():
    return pd.DataFrame(X, columns=NAMES, index=np.arange(len(X)) * 2 + 5)


@pytest.fixture
def by_name(frame):
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        for kind in (UserWarning, RuntimeWarning, FutureWarning):
            warnings.simplefilter("error", kind)
        yield


# Containers -----------------------------------------------------------------------------------


def test_pandas_comes_back_as_pandas(frame, by_name):
    worst = worst_case(by_name, frame, y, radius=0.3)
    assert type(worst.X) is pd.DataFrame
    pd.testing.assert_index_equal(worst.X.index, frame.index)
    pd.testing.assert_index_equal(worst.X.columns, frame.columns)
    assert (worst.X.dtypes == np.float64).all()
    np.testing.assert_allclose(worst.X, worst_case(MODEL, X, y, radius=0.3).X)
    np.testing.assert_array_equal(worst.broken, by_name.predict(worst.X) != y)


def test_mixed_frames_keep_their_floats_and_round_towards_the_row(frame):
    frame = frame.astype({"a": "float32", "c": "Float64"})
    frame["b"] = np.round(frame["b"]).astype("int64")
    frame["d"] = (frame["d"] > 1).astype(bool)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    worst = worst_case(model, frame, y, radius=0.3)
    assert [str(t) for t in worst.X.dtypes] == ["float32", "float64", "Float64", "float64"]
    assert np.abs(worst.X["a"].astype(float) - frame["a"].astype(float)).max() <= 0.3
    assert np.abs(worst.X.astype(float) - frame.astype(float)).max(axis=None) > 0.2999
    assert (worst.X["b"] != frame["b"]).any()


def test_polars_comes_back_as_polars():
    frame = pl.DataFrame(X, schema=NAMES).with_columns(
        pl.col("a").cast(pl.Float32), pl.col("b").round().cast(pl.Int32)
    )
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    worst = worst_case(model, frame, y, radius=0.3)
    assert isinstance(worst.X, pl.DataFrame)
    assert worst.X.schema == {"a": pl.Float32, "b": pl.Float64, "c": pl.Float64, "d": pl.Float64}
    gap = np.abs(worst.X.to_numpy().astype(float) - frame.to_numpy().astype(float))
    assert 0.2999 < gap.max() <= 0.3 + 1e-12
    np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != y)


@pytest.mark.parametrize(
    "given, expected",
    [
        (X, np.float64),
        (X.astype(np.float32), np.float32),
        (X.astype(np.float16), np.float16),
        (X.round().astype(int), np.float64),
        (X > 2, np.float64),
        (X.tolist(), np.float64),
        (X.astype(object), np.float64),
        (np.asfortranarray(X), np.float64),
    ],
    ids=["f8", "f4", "f2", "int", "bool", "list", "object", "fortran"],
)
def test_arrays_keep_their_float_type(given, expected):
    worst = worst_case(MODEL, given, y, radius=0.25)
    assert type(worst.X) is np.ndarray and worst.X.dtype == expected
    gap = np.abs(worst.X.astype(np.float64) - np.asarray(given, dtype=np.float64))
    assert 0.2 < gap.max() <= 0.25 + 1e-9
    np.testing.assert_array_equal(worst.broken, MODEL.predict(worst.X) != y)


def test_read_only_arrays_and_tensors():
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(
        worst_case(MODEL, frozen, y, radius=0.2).X, worst_case(MODEL, X, y, radius=0.2).X
    )
    worst = worst_case(MODEL, torch.tensor(X, dtype=torch.float32), y, radius=0.2)
    assert isinstance(worst.X, torch.Tensor) and worst.X.dtype == torch.float32


def test_labels_may_be_a_column_or_a_list():
    for given in (y[:, None], y.tolist(), pd.Series(y, index=np.arange(len(y))[::-1])):
        assert robust_accuracy_score(MODEL, X, given, radius=0.2) == robust_accuracy_score(
            MODEL, X, y, radius=0.2
        )


# Missing values -------------------------------------------------------------------------------


def test_missing_values_stay_where_the_estimator_takes_them(frame):
    holes = frame.copy()
    holes.iloc[::4, 1] = np.nan
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(holes, y)
    worst = worst_case(model, holes, y, radius=0.3, random_state=0)
    missing = holes.isna().to_numpy()
    np.testing.assert_array_equal(worst.X.isna(), missing)
    assert worst.broken.mean() > (model.predict(holes) != y).mean()
    assert np.abs(worst.X - holes).to_numpy()[~missing].max() <= 0.3 + 1e-12
    trees = HistGradientBoostingClassifier(max_iter=5).fit(holes, y)
    worst = worst_case(trees, holes, y, radius=0.3, attack="search", random_state=0)
    np.testing.assert_array_equal(worst.X.isna(), missing)
    np.testing.assert_array_equal(worst.broken, trees.predict(worst.X) != y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad):
    rows = X.copy()
    rows[3, 2] = bad
    word = "NaN" if np.isnan(bad) else "infinity"
    with pytest.raises(ValueError, match=word):
        worst_case(MODEL, rows, y, radius=0.1)


class Net:
    def __init__(self, n=3):
        self.n = n

    def __skrobust_torch__(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torch.nn.Linear(4, self.n)


def test_missing_values_that_reach_the_logits_are_an_error():
    rows = X.copy()
    rows[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN.*imputer"):
        worst_case(Net(), rows, y, radius=0.1)


class Numbers(Net):
    """A regressor that is all torch, and answers one number."""

    _estimator_type = "regressor"

    def __init__(self):
        super().__init__(1)


def test_missing_values_that_reach_the_prediction_are_an_error():
    rows = X.copy()
    worst = worst_case(Numbers(), rows, y, radius=0.1)
    assert worst.value.shape == y.shape and worst.broken.all()
    rows[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN.*imputer"):
        robust_loss(Numbers(), rows, y, radius=0.1)


# Bad inputs -----------------------------------------------------------------------------------

SPARSE = sp.csr_matrix(X)
TEXT = pd.DataFrame(X, columns=NAMES).assign(c="red")
DATES = pd.DataFrame(X, columns=NAMES).assign(c=pd.Timestamp("2020-01-01"))
RENAMED = pd.DataFrame(X, columns=["a", "b", "c", "e"])
NAMED = make_pipeline(StandardScaler(), LogisticRegression()).fit(pd.DataFrame(X, columns=NAMES), y)
ROWS = {
    "sparse": (MODEL, SPARSE, TypeError, "[Ss]parse"),
    "complex": (MODEL, X + 1j, ValueError, "[Cc]omplex"),
    "text": (MODEL, X.astype(str), ValueError, "Only numbers can move"),
    "text column": (NAMED, TEXT, ValueError, "could not convert string"),
    "dates": (NAMED, DATES, ValueError, r"\['c'\].*Only numbers can move"),
    "object text": (MODEL, np.full(X.shape, "a", object), ValueError, "Only numbers can move"),
    "polars text": (
        NAMED,
        pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": ["red"] * len(X), "d": X[:, 3]}),
        ValueError,
        "could not convert string",  # the model's own words
    ),
    "one dimension": (MODEL, X[:, 0], ValueError, "[Ee]xpected 2D array"),
    "empty": (MODEL, X[:0], ValueError, "0 sample"),
    "no columns": (MODEL, X[:, :0], ValueError, "0 feature"),
    "width": (MODEL, X[:, :3], ValueError, "3 features.*expecting 4"),
    "renamed": (NAMED, RENAMED, ValueError, "feature names"),
    "reordered": (NAMED, pd.DataFrame(X, columns=NAMES)[NAMES[::-1]], ValueError, "feature names"),
    "shorter": (MODEL, X[:-1], ValueError, "inconsistent"),
}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("measure", [worst_case, robust_accuracy_score, robust_loss])
def test_bad_rows(measure, case):
    model, rows, error, message = ROWS[case]
    with pytest.raises(error, match=message):
        measure(model, rows, y, radius=0.1)


RADII = {
    "negative": (-0.1, ValueError),
    "nan": (np.nan, ValueError),
    "infinite": (np.inf, ValueError),
    "text": ("0.1", TypeError),
    "bool": (True, TypeError),
    "none": (None, TypeError),
    "list": ([0.1], TypeError),
    "array": (np.array([0.1, 0.2]), TypeError),
}


@pytest.mark.parametrize("case", RADII)
@pytest.mark.parametrize("measure", [worst_case, robust_accuracy_score, robust_loss])
def test_bad_radius(measure, case):
    radius, error = RADII[case]
    with pytest.raises(error, match=r"radius=.*finite number >= 0\. Evaluation names its threat"):
        measure(MODEL, X, y, radius=radius)


@pytest.mark.parametrize("measure", [worst_case, robust_accuracy_score, robust_loss])
def test_radius_is_required(measure):
    with pytest.raises(TypeError, match="radius"):
        measure(MODEL, X, y)
    assert measure(MODEL, X, y, radius=np.float32(0)) is not None


WEIGHTS = {
    "zero": (np.zeros(len(X)), "zero"),
    "negative": (np.r_[-1.0, np.ones(len(X) - 1)], "[Nn]egative"),
    "nan": (np.r_[np.nan, np.ones(len(X) - 1)], "NaN"),
    "short": (np.ones(len(X) - 1), "sample_weight|inconsistent"),
    "wide": (np.ones((len(X), 2)), "1D|1d|dimension"),
}


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize("measure", [worst_case, robust_accuracy_score, robust_loss])
def test_bad_weights(measure, case):
    weight, message = WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        measure(MODEL, X, y, radius=0.1, sample_weight=weight)


TARGETS = {
    "none": (MODEL, None, "None"),
    "nan": (MODEL, np.r_[np.nan, y[1:]], "NaN"),
    "several labels": (MODEL, np.stack([y, y], axis=1), "several labels"),
    "numbers for classes": (MODEL, y + 0.5, "[Uu]nknown label type"),
    "text for numbers": (REGRESSOR, y.astype(str).astype(object) + "a", "could not convert"),
    "nan target": (REGRESSOR, np.r_[np.nan, y[1:]], "NaN"),
    "no target": (REGRESSOR, None, "None"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_bad_targets(case):
    model, target, message = TARGETS[case]
    if case == "text for numbers":
        target = np.array([f"{label}a" for label in y])
    with pytest.raises(ValueError, match=message):
        worst_case(model, X, target, radius=0.1)


@pytest.mark.parametrize(
    "threat", [LpBall(scale="std"), LpBall(bounds="data"), LpBall(frozen=["a"])]
)
@pytest.mark.parametrize("radius", [0.0, 0.1])
def test_unbound_threats_name_the_remedy(threat, radius):
    with pytest.raises(ThreatNotBoundError, match=r"bind\(X_train\)"):
        worst_case(MODEL, X, y, radius=radius, threat=threat)


def test_rows_outside_the_users_bounds_are_an_error():
    with pytest.raises(ValueError, match="outside the bounds"):
        worst_case(MODEL, X, y, radius=0.0, threat=LpBall(bounds=(0, 1)))


OPTIONS = {
    "threat": ({"threat": "linfty"}, ValueError, "threat="),
    "threat type": ({"threat": 0.3 + 1j}, TypeError, "threat="),
    "attack": ({"attack": "fgsm"}, ValueError, "attack="),
    "attack type": ({"attack": 3}, TypeError, "attack="),
    "loss": ({"loss": "hinge"}, ValueError, "loss="),
    "loss of regressors": ({"loss": "squared"}, ValueError, "loss="),
    "tolerance": ({"tolerance": 1.0}, ValueError, "tolerance="),
    "batch": ({"batch_size": 0}, ValueError, "batch_size="),
    "seed": ({"random_state": "seven"}, ValueError, "seed"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(case):
    options, error, message = OPTIONS[case]
    with pytest.raises(error, match=message):
        worst_case(MODEL, X, y, radius=0.1, **options)


class Nothing(BaseEstimator):
    def predict(self, X):
        return np.zeros(len(X))


MODELS = {
    "unfitted": (LogisticRegression(), NotFittedError, "not fitted"),
    "unfitted pipeline": (
        make_pipeline(StandardScaler(), LogisticRegression()),
        NotFittedError,
        "not fitted",
    ),
    "unfitted forest": (RandomForestClassifier(), NotFittedError, "not fitted"),
    "class": (LogisticRegression, TypeError, "is a class"),
    "clusters": (KMeans(2, n_init=1).fit(X), UnsupportedEstimatorError, "neither a classifier"),
    "no task": (Nothing(), UnsupportedEstimatorError, "neither a classifier"),
    "several labels": (
        DecisionTreeClassifier().fit(X, np.stack([y, y], axis=1)),
        ValueError,
        "several labels",
    ),
    "not a model": (3, UnsupportedEstimatorError, "neither a classifier"),
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("measure", [worst_case, robust_accuracy_score, robust_loss])
def test_models_that_cannot_be_measured(measure, case):
    model, error, message = MODELS[case]
    with pytest.raises(error, match=message):
        measure(model, X, y, radius=0.1)


def test_regressors_have_no_accuracy():
    with pytest.raises(TypeError, match="robust_loss"):
        robust_accuracy_score(REGRESSOR, X, y, radius=0.1)


@pytest.mark.parametrize(
    "radii, error",
    [
        ([], ValueError),
        ([0.1, -1], ValueError),
        ([np.nan], ValueError),
        (0.1, TypeError),
        ("0.1", TypeError),
        ([[0.1]], TypeError),
        (["0.1"], TypeError),
    ],
)
def test_bad_radii(radii, error):
    with pytest.raises(error, match="radi"):
        robustness_curve(MODEL, X, y, radii=radii)


def test_views_of_another_width_are_an_error():
    class Wrong(Net):
        classes_ = np.array([0, 1])

    with pytest.raises(ValueError, match="3 logits.*2 classes"):
        worst_case(Wrong(), X, y, radius=0.1)
