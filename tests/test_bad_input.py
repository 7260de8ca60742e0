"""Nothing bad trains silently: each wrong input or parameter is an error that names itself."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from skrobust.attacks import PGD
from skrobust.estimators import RobustClassifier, RobustRegressor
from skrobust.exceptions import RobustnessWarning
from skrobust.threats import LpBall

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = np.arange(20) % 2
T = RNG.normal(size=20)


def spoiled(value):
    rows = X.copy()
    rows[3, 1] = value
    return rows


ROWS = {
    "NaN": (spoiled(np.nan), ValueError, "NaN"),
    "infinity": (spoiled(np.inf), ValueError, "infinity"),
    "empty": (X[:0], ValueError, "0 sample"),
    "one row": (X[:1], ValueError, "1 sample"),
    "no columns": (X[:, :0], ValueError, "0 feature"),
    "one axis": (X[:, 0], ValueError, "1D array|Expected 2D"),
    "strings": (np.full((20, 3), "high"), ValueError, "convert string|numeric"),
    "sparse": (scipy.sparse.csr_matrix(X), TypeError, "[Ss]parse"),
    "complex": (X + 1j, ValueError, "[Cc]omplex"),
}


@pytest.mark.parametrize("estimator", [RobustClassifier, RobustRegressor])
@pytest.mark.parametrize("case", ROWS)
def test_bad_rows(estimator, case):
    rows, error, message = ROWS[case]
    y = (Y if estimator is RobustClassifier else T)[: rows.shape[0]]
    with pytest.raises(error, match=message):
        estimator(max_epochs=1).fit(rows, y)


TARGETS = {
    "one class": (RobustClassifier, np.zeros(20), ValueError, "two classes"),
    "continuous classes": (RobustClassifier, T, ValueError, "continuous|Unknown label type"),
    "NaN class": (RobustClassifier, np.where(Y == 1, np.nan, Y), ValueError, "NaN"),
    "too few": (RobustClassifier, Y[:-1], ValueError, "inconsistent"),
    "several columns of classes": (RobustClassifier, np.c_[Y, Y], ValueError, "1d|1D|multi"),
    "none": (RobustClassifier, None, ValueError, "requires y"),
    "NaN target": (RobustRegressor, np.where(Y == 1, np.nan, T), ValueError, "NaN"),
    "infinite target": (RobustRegressor, np.where(Y == 1, np.inf, T), ValueError, "infinity"),
    "text target": (RobustRegressor, np.full(20, "a"), ValueError, "convert string|numeric"),
    "too few targets": (RobustRegressor, T[:-1], ValueError, "inconsistent"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_bad_targets(case):
    estimator, y, error, message = TARGETS[case]
    with pytest.raises(error, match=message):
        estimator(max_epochs=1).fit(X, y)


WEIGHTS = {
    "too few": (np.ones(19), "sample_weight"),
    "negative": (np.r_[-1.0, np.ones(19)], "[Nn]egative"),
    "NaN": (np.r_[np.nan, np.ones(19)], "NaN"),
    "all zero": (np.zeros(20), "non-zero|all zero"),
    "one class left": (Y.astype(float), "two classes"),
    "two axes": (np.ones((20, 2)), "1D"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_bad_weights(case):
    weight, message = WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        RobustClassifier(max_epochs=1).fit(X, Y, sample_weight=weight)


PARAMETERS = [
    ("radius", -0.1, ValueError, "finite number >= 0"),
    ("radius", np.nan, ValueError, "finite number >= 0"),
    ("radius", np.inf, ValueError, "finite number >= 0"),
    ("radius", "0.1", TypeError, "finite number >= 0"),
    ("radius", True, TypeError, "finite number >= 0"),
    ("radius", None, TypeError, "finite number >= 0"),
    ("radius", [0.1, 0.2, 0.3], TypeError, "scale="),
    ("smoothing", -1, ValueError, "finite number >= 0"),
    ("smoothing", "much", TypeError, "finite number >= 0"),
    ("threat", "l3", ValueError, "linf"),
    ("threat", 0.1, (TypeError, ValueError), "linf"),
    ("threat", LpBall(scale=[1.0, 2.0]), ValueError, "scale"),
    ("threat", LpBall(frozen=["age"]), ValueError, "age"),
    ("threat", LpBall(bounds=(0, 1)), ValueError, "bound"),
    ("attack", "fgsm", ValueError, "pgd"),
    ("attack", PGD, TypeError, "PGD()"),
    ("attack", "exact", ValueError, "linear"),
    ("divergence", "hinge", ValueError, "kl"),
    ("module", "resnet", ValueError, "auto"),
    ("module", 3, TypeError, "factory"),
    ("module", torch.nn.Linear(3, 2), TypeError, "instance"),
    ("module", "cnn", ValueError, "height"),
    ("module", "conv1d", ValueError, "length"),
    ("module", lambda n, k: torch.nn.Linear(n, k + 1), ValueError, "outputs of shape"),
    ("module", lambda n, k: "net", TypeError, "nn.Module"),
    ("optimizer", "lbfgs", ValueError, "adamw"),
    ("optimizer", 3, TypeError, "adamw"),
    ("lr", 0, ValueError, "lr="),
    ("lr", "fast", TypeError, "lr="),
    ("weight_decay", -1, ValueError, "weight_decay="),
    ("max_epochs", 0, ValueError, "max_epochs="),
    ("max_epochs", 2.5, TypeError, "max_epochs="),
    ("batch_size", 0, ValueError, "batch_size="),
    ("batch_size", 3.0, TypeError, "batch_size="),
    ("radius_warmup", 1.5, ValueError, "radius_warmup="),
    ("weight_averaging", 1.0, ValueError, "weight_averaging="),
    ("early_stopping", "yes", TypeError, "early_stopping="),
    ("validation_fraction", 1.0, ValueError, "validation_fraction="),
    ("n_iter_no_change", 0, ValueError, "n_iter_no_change="),
    ("class_weight", "heavy", ValueError, "class_weight="),
    ("class_weight", {0: -1.0}, ValueError, "class_weight="),
    ("preprocessor", "scaler", TypeError, "preprocessor="),
    ("preprocessor", StandardScaler, TypeError, "preprocessor="),
    ("warm_start", 1, TypeError, "warm_start="),
    ("device", "tpu9", ValueError, "device="),
    ("random_state", "seed", ValueError, "seed"),
    ("callbacks", "bar", TypeError, "callbacks="),
    ("net_params", [1], TypeError, "net_params="),
    ("net_params", {"no_such_option": 1}, ValueError, "no_such_option"),
    ("verbose", "loud", TypeError, "verbose="),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), PARAMETERS)
def test_bad_parameters_name_themselves(name, value, error, message):
    model = RobustClassifier(**{"max_epochs": 1, name: value})
    with pytest.raises(error, match=message):
        model.fit(X, Y)


def test_prediction_checks_its_rows():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = RobustClassifier(max_epochs=1, random_state=0)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.fit(frame, Y)
    with pytest.raises(ValueError, match="yet now missing"):
        model.predict(frame[["a", "b"]])
    with pytest.raises(ValueError, match="3 features"), pytest.warns(UserWarning):
        model.predict(X[:, :2])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="NaN"):
        model.predict(frame.replace(frame.iloc[0, 0], np.nan))


def test_constant_columns_are_named_once():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(b=1.0)
    with pytest.warns(RobustnessWarning, match=r"one value only.*\['b'\]"):
        RobustClassifier(max_epochs=1).fit(frame, Y)


def test_rows_outside_given_bounds_are_an_error_not_a_clip():
    with pytest.raises(ValueError, match="bound"):
        RobustClassifier(threat=LpBall(bounds=(-1.0, 1.0)), max_epochs=1).fit(X, Y)
    RobustClassifier(threat=LpBall(bounds=(-9.0, 9.0)), max_epochs=1).fit(X, Y)
    RobustClassifier(threat=LpBall(bounds="data"), max_epochs=1).fit(X, Y)
