"""Certificates: never broken, exact where they say so, and the same words as robust scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

from skrobust import (
    LpBall,
    RobustClassifier,
    RobustRegressor,
    as_torch,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
    robust_loss,
)
from skrobust._torch import margins
from skrobust.attacks import APGD, PGD, Objective
from skrobust.certificates import PROVERS, certified_loss
from skrobust.exceptions import ThreatNotBoundError, UnsupportedEstimatorError

X, Y = (part[::3] for part in load_iris(return_X_y=True))
TWO = Y > 0
BOUND = LpBall(
    "linf", scale=[1.0, 2.0, 0.5, 1.0], bounds=([4, 1, 0, 0], [9, 6, 9, 3]), frozen=[1],
    direction={2: "up"},
)  # fmt: skip
THREATS = {
    "linf": LpBall("linf"),
    "l2": LpBall("l2"),
    "l1": LpBall("l1"),
    "bound": BOUND,
    "bound l2": BOUND.__class__(**{**BOUND.get_params(), "norm": "l2"}),
    "whole": LpBall("linf", scale=0.1),
}


def small_mlp(seed=0, **options):
    options = {"alpha": 0.1, "max_iter": 400, "random_state": seed, **options}
    return make_pipeline(StandardScaler(), MLPClassifier((16, 16), **options))


MODELS = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "scaled logistic": lambda: make_pipeline(MinMaxScaler(), LogisticRegression()),
    "relu": small_mlp,
    "tanh": lambda: small_mlp(activation="tanh"),
    "bayes": GaussianNB,
    "robust": lambda: RobustClassifier(max_epochs=20, random_state=0),
    "robust linear": lambda: RobustClassifier("linear", max_epochs=20, random_state=0),
}


@pytest.fixture(scope="module")
def fitted():
    found = {}

    def get(name, y=Y):
        key = name, len(np.unique(y))
        if key not in found:
            found[key] = MODELS[name]().fit(X, y)
        return found[key]

    return get


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("model", MODELS)
def test_no_attack_breaks_a_certificate(fitted, model, threat):
    """At 0.999 of the certified radius every prediction stays."""
    model, threat = fitted(model), THREATS[threat]
    certificate = certify(model, X, threat=threat)
    radius = torch.as_tensor(np.minimum(certificate.radius, 1e3)) * 0.999
    label = torch.as_tensor(model.predict(X))
    module = as_torch(model).double()
    objective = Objective(lambda z, y: -margins(module(z), y), label)
    for attack in (PGD(n_steps=20, n_restarts=2), APGD(n_steps=20)):
        found = attack.maximize(
            objective,
            torch.as_tensor(X),
            threat,
            radius,
            generator=torch.Generator().manual_seed(0),
        )
        assert (found.value < 0).all()
        assert (model.predict(found.z.numpy()) == model.predict(X)).all()


@pytest.mark.parametrize("threat", ["linf", "l2", "bound"])
@pytest.mark.parametrize("model", MODELS)
def test_certified_attacked_clean(fitted, model, threat):
    model, threat = fitted(model), THREATS[threat]
    last = 1.0
    for radius in (0.0, 0.1, 0.3, 0.8):
        proven = certified_accuracy_score(model, X, Y, radius=radius, threat=threat)
        attacked = robust_accuracy_score(
            model, X, Y, radius=radius, threat=threat, attack="pgd", random_state=0
        )
        assert proven <= attacked <= model.score(X, Y)
        assert proven <= last
        last = proven
        if radius == 0:
            assert proven == model.score(X, Y)
        if "linear" in str(certify(model, X[:1], threat=threat)):
            truth = robust_accuracy_score(model, X, Y, radius=radius, threat=threat, attack="exact")
            assert proven == truth


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("y", [Y, TWO], ids=["three", "two"])
def test_linear_radii_are_the_formula(fitted, norm, y):
    """``min_k (w_c - w_k) x + b / ||scale (w_c - w_k)||_dual``."""
    model, scale = fitted("logistic", y), np.array([1.0, 2.0, 0.5, 1.0])
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:
        weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
    logits = X @ weight.T + bias
    label = logits.argmax(axis=1)
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    truth = np.full(len(X), np.inf)
    for k in range(len(weight)):
        step = (weight[label] - weight[k]) * scale
        length = np.linalg.norm(step, ord=dual, axis=1)
        gap = logits[np.arange(len(X)), label] - logits[:, k]
        truth = np.where(label == k, truth, np.minimum(truth, gap / np.where(length, length, 1)))
    certificate = certify(model, X, threat=LpBall(norm, scale=scale))
    np.testing.assert_allclose(certificate.radius, truth, rtol=1e-6)
    assert certificate.method == "linear"
    assert certificate.exact.all()
    assert certificate.confidence is None


def test_linear_with_bounds_frozen_and_one_way_columns(fitted):
    """The worst corner, coordinate by coordinate, changes the prediction just beyond the radius."""
    model = fitted("logistic", TWO)
    weight = model.coef_[0]
    certificate = certify(model, X, threat=BOUND)
    assert np.isinf(certificate.radius).any()  # the bounds hold some rows back for ever
    low, high = (np.array(side, dtype=float) for side in BOUND.bounds)
    for share, changes in ((1 - 1e-6, False), (1 + 1e-6, True), (np.inf, None)):
        radius = np.where(np.isinf(certificate.radius), 1e6, certificate.radius * min(share, 1e6))
        way = -np.sign(weight) * np.where(model.predict(X), 1, -1)[:, None]
        way[:, 1] = 0
        way[:, 2] = way[:, 2].clip(min=0)
        moved = np.clip(X + radius[:, None] * np.array(BOUND.scale) * way, low, high)
        moved[:, 1] = X[:, 1]
        changed = model.predict(moved) != model.predict(X)
        if changes is not None:
            finite = np.isfinite(certificate.radius)
            assert (changed[finite] == changes).all()
        assert not changed[np.isinf(certificate.radius)].any()


@pytest.mark.parametrize("factor", [50.0, 1e-6])
def test_the_size_of_logits_does_not_matter(fitted, factor):
    model = MODELS["logistic"]().fit(X, Y)
    before = certify(model, X).radius
    model.coef_, model.intercept_ = factor * model.coef_, factor * model.intercept_
    np.testing.assert_allclose(certify(model, X).radius, before, rtol=1e-5)


@pytest.mark.parametrize("method", ["crown", "interval", "lipschitz"])
def test_every_method_is_sound_and_says_its_name(fitted, method):
    model = fitted("tanh")
    found = certify(model, X, Y, radius=0.1, threat="l2", method=method)
    assert found.method == method
    best = certify(model, X, Y, radius=0.1, threat="l2")
    attacked = robust_accuracy_score(model, X, Y, radius=0.1, threat="l2", attack="pgd")
    assert found.certified.mean() <= attacked
    if method == "interval":
        assert (found.radius <= best.radius * 1.01).all()
    assert (found.lower <= found.upper).all()
    assert not found.exact.any()


def test_lower_and_upper_hold_the_outputs(fitted):
    model = fitted("relu")
    found = certify(model, X, radius=0.2)
    module = as_torch(model)
    rng = np.random.default_rng(0)
    for _ in range(50):
        moved = torch.as_tensor(X + rng.uniform(-0.2, 0.2, X.shape))
        outputs = module(moved).numpy()
        assert (outputs >= found.lower).all()
        assert (outputs <= found.upper).all()


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        make_pipeline(
            StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, random_state=0)
        ),
        RobustRegressor(max_epochs=10, random_state=0),
    ],
    ids=["linear", "mlp", "robust"],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_regression(model, norm):
    A, b = make_regression(80, 3, noise=5.0, random_state=0)
    model.fit(A, b)
    found = certify(model, A, b, radius=0.2, threat=norm, tolerance=40.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        way = rng.normal(size=A.shape)
        way = way / np.linalg.norm(way, ord=np.inf if norm == "linf" else 2, axis=1)[:, None]
        predicted = model.predict(A + 0.2 * way)
        assert (predicted >= found.lower[:, 0]).all()
        assert (predicted <= found.upper[:, 0]).all()
        moved = model.predict(A + 0.999 * np.minimum(found.radius, 1e3)[:, None] * way)
        inside = np.abs(moved - b) <= 40.0
        assert (inside | (found.radius == 0)).all()
    for loss in ("squared", "absolute", "over"):
        proven = certified_loss(model, A, b, radius=0.2, threat=norm, loss=loss)
        reached = robust_loss(
            model, A, b, radius=0.2, threat=norm, loss=loss, attack="pgd", random_state=0
        )
        assert proven >= reached * (1 - 1e-9)
        if isinstance(model, LinearRegression):
            reached = robust_loss(model, A, b, radius=0.2, threat=norm, loss=loss, attack="exact")
            assert proven == pytest.approx(reached)
    assert (found.certified == (found.radius >= 0.2)).all()


def test_regression_without_tolerance_gives_intervals():
    A, b = make_regression(20, 3, random_state=0)
    found = certify(Ridge().fit(A, b), A, radius=0.5)
    assert np.isnan(found.radius).all()
    assert found.certified.all()
    width = 0.5 * np.abs(Ridge().fit(A, b).coef_).sum()
    np.testing.assert_allclose(found.upper - found.lower, 2 * width, rtol=1e-9)


def test_several_outputs():
    A, b = make_regression(30, 3, n_targets=2, random_state=0)
    model = LinearRegression().fit(A, b)
    found = certify(model, A, b, radius=0.1, tolerance=30.0)
    assert found.lower.shape == (30, 2)
    width = 0.1 * np.abs(model.coef_).sum(axis=1)
    np.testing.assert_allclose(found.upper - found.lower, np.tile(2 * width, (30, 1)))
    proven = certified_loss(model, A, b, radius=0.1)
    assert proven == pytest.approx(np.mean(width**2))
    assert list(found.frame().columns)[:3] == ["prediction 0", "prediction 1", "radius"]


# What rows may be ---------------------------------------------------------------------------------


def test_frames_with_text_and_missing_values():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    n = 60
    color = rng.choice(["red", "green", "blue"], n)
    frame = pandas.DataFrame(
        {"size": rng.normal(size=n), "color": color, "age": rng.normal(size=n)}
    )
    y = np.where((frame["size"] + (color == "red") + 0.3 * frame["age"]) > 0.3, "yes", "no")
    frame.loc[::7, "age"] = np.nan
    encode = make_column_transformer(
        (OneHotEncoder(), ["color"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
    )
    model = make_pipeline(encode, LogisticRegression()).fit(frame, y)
    stays = certify(model, frame, y, radius=0.1)
    free = LpBall(categorical=["color"]).bind(frame)
    moves = certify(model, frame, y, radius=0.1, threat=free)
    assert (moves.radius <= stays.radius * (1 + 1e-9)).all()
    assert (moves.radius < stays.radius).any()
    # brute force: each color, the number's worst ends
    slope = model[-1].coef_[0]
    numbers = model[0].named_transformers_["pipeline"]
    for threat, colors in ((None, None), (free, ["red", "green", "blue"])):
        found = certify(model, frame, y, radius=0.1, threat=threat or "linf")
        worst = np.full(n, np.inf)
        sign = np.where(model.predict(frame) == model.classes_[1], 1, -1)
        scaler = numbers[-1]
        reach = 0.1 * (
            np.abs(slope[3]) / scaler.scale_[0]
            + np.where(frame["age"].isna(), 0, np.abs(slope[4]) / scaler.scale_[1])
        )
        for one in colors or [None]:
            there = frame if one is None else frame.assign(color=one)
            worst = np.minimum(worst, sign * model.decision_function(there) - reach)
        right = model.predict(frame) == y
        np.testing.assert_array_equal(found.certified, (worst > 0) & right)
    assert set(stays.frame().columns) >= {"prediction", "radius", "lower no", "upper yes"}


def test_arrays_tensors_and_integers(fitted):
    model = fitted("relu")
    whole = np.round(X * 10).astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(whole, Y)
    expected = certify(model, whole.astype(float)).radius
    np.testing.assert_allclose(certify(model, whole).radius, expected)
    np.testing.assert_allclose(certify(model, torch.as_tensor(whole)).radius, expected)
    steps = LpBall(integer=[0, 1, 2, 3])
    rounded = certify(model, whole, threat=steps).radius
    assert (rounded >= expected * (1 - 1e-6)).all()
    # whole numbers only move at whole radii: the radius ends just below the next one
    finite = rounded[np.isfinite(rounded) & (rounded > 0)]
    np.testing.assert_allclose(finite, np.round(finite), atol=1e-6)


def test_rows_that_are_wrong_are_not_certified(fitted):
    model = fitted("logistic")
    wrong = model.predict(X) != Y
    found = certify(model, X, Y, radius=0.0)
    assert (found.certified == ~wrong).all()
    assert certify(model, X, radius=0.0).certified.all()
    assert (certify(model, X, Y, radius=0.0).radius > 0).all()  # that of the prediction
    unknown = np.where(Y == 0, 9, Y)
    assert not certify(model, X, unknown, radius=0.0).certified[Y == 0].any()


def test_a_module_of_ones_own():
    class Mine:
        def __init__(self):
            self.net = torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
            )

        def __skrobust_torch__(self):
            return self.net

    torch.manual_seed(0)
    found = certify(Mine(), X, radius=0.01)  # one logit: two classes
    assert found.lower.shape == (len(X), 2)
    assert set(found.prediction) <= {0, 1}
    assert found.method == "crown"


def test_weights_and_the_mean(fitted):
    model = fitted("relu")
    found = certify(model, X, Y, radius=0.1)
    weight = np.arange(len(X))
    score = certified_accuracy_score(model, X, Y, radius=0.1, sample_weight=weight)
    assert score == pytest.approx(np.average(found.certified, weights=weight))


def test_frame_and_repr(fitted):
    found = certify(fitted("logistic"), X, Y, radius=0.1)
    frame = found.frame()
    assert len(frame) == len(X)
    np.testing.assert_array_equal(frame["certified"], found.certified)
    assert "linear" in repr(found) and "certified" in repr(found)
    assert certify(fitted("logistic"), X).certified is None


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"radius": -1.0}, ValueError, "radius"),
        ({"radius": "big"}, TypeError, "radius"),
        ({"method": "magic"}, ValueError, "method"),
        ({"method": 3}, TypeError, "method"),
        ({"confidence": 1.0}, ValueError, "confidence"),
        ({"time_budget": 0}, ValueError, "time_budget"),
        ({"tolerance": 1.0}, ValueError, "tolerance"),
        ({"threat": "l7"}, ValueError, "threat"),
        ({"threat": LpBall(scale="std")}, ThreatNotBoundError, "bind"),
        ({"threat": LpBall(bounds=(0, 1))}, ValueError, "bounds"),
        ({"y": Y[:3]}, ValueError, "inconsistent"),
    ],
)
def test_bad_arguments(fitted, options, error, match):
    with pytest.raises(error, match=match):
        certify(fitted("logistic"), X, **options)


def test_bad_estimators(fitted):
    with pytest.raises(TypeError, match="class"):
        certify(LogisticRegression, X)
    with pytest.raises(UnsupportedEstimatorError, match="affine"):
        certify(fitted("relu"), X, method="linear")
    with pytest.raises(UnsupportedEstimatorError, match="Monomials"):
        certify(make_pipeline(PolynomialFeatures(), LogisticRegression()).fit(X, Y), X)
    with pytest.raises(UnsupportedEstimatorError, match="Splines"):
        certify(make_pipeline(SplineTransformer(), LogisticRegression()).fit(X, Y), X)
    with pytest.raises(TypeError, match="certified_loss"):
        certified_accuracy_score(Ridge().fit(X, Y), X, Y, radius=0.1)
    with pytest.raises(TypeError, match="certified_accuracy_score"):
        certified_loss(fitted("logistic"), X, Y, radius=0.1)
    with pytest.raises(ValueError, match="loss"):
        certified_loss(Ridge().fit(X, Y), X, Y, radius=0.1, loss="cubic")
    with pytest.raises(ValueError, match="y is None"):
        certified_accuracy_score(fitted("logistic"), X, None, radius=0.1)


def test_everything_frozen_is_certain_for_any_model(fitted):
    """Where nothing moves, even layers without bounds are passed."""
    model = make_pipeline(SplineTransformer(), LogisticRegression()).fit(X, Y)
    found = certify(model, X, Y, radius=1.0, threat=LpBall(frozen=[0, 1, 2, 3]))
    assert (found.radius == np.inf).all()
    assert (found.certified == (model.predict(X) == Y)).all()


def test_the_estimator_is_left_as_it_was(fitted):
    model = fitted("robust")
    before = {name: value.clone() for name, value in model.net_.module_.state_dict().items()}
    modes = [part.training for part in model.net_.module_.modules()]
    state = torch.random.get_rng_state()
    certify(model, X, Y, radius=0.1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert modes == [part.training for part in model.net_.module_.modules()]
    for name, value in model.net_.module_.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in model.net_.module_.parameters())


def test_names_of_provers():
    assert all(name == prover.name for name, prover in PROVERS.items())
    with pytest.raises(UnsupportedEstimatorError, match="RandomForest"):
        certify(RandomForestClassifier(5).fit(X, Y), X, method="crown")
