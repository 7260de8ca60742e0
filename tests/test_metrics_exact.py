"""Where the worst case has a closed form, the metrics must give it (law 3), and laws 4, 5, 7."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skrobust.metrics import robust_accuracy_score, robust_loss, robustness_curve, worst_case
from skrobust.metrics._climbs import soft_maximum
from skrobust.threats import LpBall

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
RADIUS = {"linf": 0.2, "l2": 0.6, "l1": 1.0}


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[::2], y[::2], make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X, y, make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X, y, make_pipeline(StandardScaler(), Ridge()).fit(X, y)


def raw_weights(model):
    """Weights and biases (k, d), (k,) of a scaled linear model in the units of the raw columns."""
    scaler, linear = model[0], model[-1]
    weight = np.atleast_2d(linear.coef_) / scaler.scale_
    return weight, np.ravel(linear.intercept_) - weight @ scaler.mean_


def closed_form(model, X, y, norm, scale, radius):
    """Worst ``max_{k != y} f_k - f_y`` of each row."""
    weight, bias = raw_weights(model)
    if len(weight) == 1:
        weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
    gaps = weight[None] - weight[y][:, None]  # (n, k, d)
    value = (gaps @ X[:, :, None])[..., 0] + bias[None] - bias[y][:, None]
    value = value + radius * np.linalg.norm(scale * gaps, ord=DUAL[norm], axis=2)
    value[np.arange(len(y)), y] = -np.inf
    return value.max(axis=1)


@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("attack", ["auto", "exact"])
@pytest.mark.parametrize("data", ["cancer", "iris"])
def test_margin_of_a_scaled_linear_model_is_exact(request, data, attack, norm):
    X, y, model = request.getfixturevalue(data)
    threat = LpBall(norm, scale="std").bind(X)
    worst = worst_case(model, X, y, radius=RADIUS[norm], threat=threat, attack=attack)
    value = closed_form(model, X, y, norm, X.std(axis=0), RADIUS[norm])
    np.testing.assert_allclose(worst.value, value, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(worst.broken, value > 0)
    np.testing.assert_array_equal(worst.broken, model.predict(worst.X) != y)
    assert 0 < worst.broken.mean() < 1


def test_the_budget_holds_in_raw_units(cancer):
    X, y, model = cancer
    threat = LpBall("linf", scale="std", bounds="data", frozen=[0, 7]).bind(X)
    worst = worst_case(model, X, y, radius=0.3, threat=threat)
    steps = np.abs(worst.X - X) / X.std(axis=0)
    assert steps.max() <= 0.3 * (1 + 1e-9)
    assert (worst.X[:, [0, 7]] == X[:, [0, 7]]).all()
    assert (worst.X >= X.min(axis=0)).all() and (worst.X <= X.max(axis=0)).all()


def test_bounds_and_frozen_columns_are_solved_per_coordinate(cancer):
    X, y, model = cancer
    threat = LpBall("linf", scale="std", bounds="data", frozen=[3]).bind(X)
    worst = worst_case(model, X, y, radius=0.3, threat=threat, attack="exact")
    weight, bias = raw_weights(model)
    slope = weight[0] * np.where(y == 0, 1, -1)[:, None]
    step = 0.3 * X.std(axis=0) * (np.arange(X.shape[1]) != 3)
    low, high = np.maximum(X - step, X.min(axis=0)), np.minimum(X + step, X.max(axis=0))
    z = np.where(slope > 0, high, low)
    value = (slope * z).sum(axis=1) + bias[0] * np.where(y == 0, 1, -1)
    np.testing.assert_allclose(worst.value, value, rtol=1e-9)


@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("loss, power", [("squared", 2), ("absolute", 1)])
def test_loss_of_a_linear_regression_is_exact(diabetes, norm, loss, power):
    X, y, model = diabetes
    weight, _ = raw_weights(model)
    threat = LpBall(norm, scale="std").bind(X)
    radius = RADIUS[norm]
    reach = radius * np.linalg.norm(weight[0] * X.std(axis=0), ord=DUAL[norm])
    expected = (np.abs(model.predict(X) - y) + reach) ** power
    for attack in ("auto", "exact"):
        worst = worst_case(model, X, y, radius=radius, threat=threat, attack=attack, loss=loss)
        np.testing.assert_allclose(worst.value, expected, rtol=1e-8)
        assert worst.broken.all()
    score = robust_loss(model, X, y, radius=radius, threat=threat, loss=loss)
    assert score == pytest.approx(expected.mean())


def test_targets_never_broadcast(diabetes):
    """(n,) against (n, 1) would give an n x n table whose mean is another number."""
    X, y, model = diabetes
    assert robust_loss(model, X, y, radius=0) == pytest.approx(
        mean_squared_error(y, model.predict(X))
    )
    assert robust_loss(model, X, y[:, None], radius=0) == robust_loss(model, X, y, radius=0)
    one = worst_case(model, X, y, radius=0.001)
    column = worst_case(model, X, y[:, None], radius=0.001)
    np.testing.assert_array_equal(one.value, column.value)
    with pytest.raises(ValueError, match=r"2 output\(s\).*predicts 1"):
        robust_loss(model, X, np.stack([y, y], axis=1), radius=0)


def test_several_outputs():
    X, y = load_diabetes(return_X_y=True)
    Y = np.stack([y, -2 * y], axis=1) / 100
    model = LinearRegression().fit(X, Y)
    clean = robust_loss(model, X, Y, radius=0)
    assert clean == pytest.approx(mean_squared_error(Y, model.predict(X)))
    worst = worst_case(model, X, Y, radius=0.01, random_state=0)
    loss = ((model.predict(worst.X) - Y) ** 2).mean(axis=1)
    np.testing.assert_allclose(worst.value, loss)
    assert worst.broken.all() and worst.value.mean() > clean


@pytest.mark.parametrize("norm", DUAL)
def test_log_loss_of_a_binary_linear_model_is_exact(cancer, norm):
    X, y, model = cancer
    threat = LpBall(norm, scale="std").bind(X)
    value = closed_form(model, X, y, norm, X.std(axis=0), RADIUS[norm])
    worst = worst_case(model, X, y, radius=RADIUS[norm], threat=threat, loss="log")
    np.testing.assert_allclose(worst.value, np.logaddexp(0, value), rtol=1e-6)
    score = robust_loss(model, X, y, radius=RADIUS[norm], threat=threat)
    assert score == pytest.approx(np.logaddexp(0, value).mean())


def test_losses_without_a_move_are_those_of_scikit_learn(cancer, iris, diabetes):
    for X, y, model in (cancer, iris):
        assert robust_loss(model, X, y, radius=0) == pytest.approx(
            log_loss(y, model.predict_proba(X))
        )
        assert robust_accuracy_score(model, X, y, radius=0) == pytest.approx(model.score(X, y))
    X, y, model = diabetes
    found = robust_loss(model, X, y, radius=0, loss="absolute")
    assert found == pytest.approx(mean_absolute_error(y, model.predict(X)))


def test_multiclass_log_loss_grows_beyond_the_rows_of_the_margin(iris):
    X, y, model = iris
    by_margin = worst_case(model, X, y, radius=0.3)
    by_loss = worst_case(model, X, y, radius=0.3, loss="log", random_state=0)
    loss = -model.predict_log_proba(by_loss.X)[np.arange(len(y)), y]
    np.testing.assert_allclose(by_loss.value, loss, rtol=1e-9)
    reached = -model.predict_log_proba(by_margin.X)[np.arange(len(y)), y]
    assert (by_loss.value >= reached - 1e-6).all()


def test_custom_losses(diabetes, iris):
    X, y, model = diabetes

    def quantile(prediction, y):
        return torch.maximum(0.9 * (y - prediction), 0.1 * (prediction - y))[:, 0]

    worst = worst_case(model, X, y, radius=0.005, loss=quantile, random_state=0)
    gap = y - model.predict(worst.X)
    np.testing.assert_allclose(worst.value, np.maximum(0.9 * gap, -0.1 * gap))
    assert worst.broken.all()
    with pytest.raises(ValueError, match="one number per row"):
        worst_case(model, X, y, radius=0.1, loss=lambda f, y: (f - y).square())
    X, y, model = iris
    worst = worst_case(
        model, X, y, radius=0.3, loss=lambda f, y: 1 - f.softmax(1)[range(len(y)), y]
    )
    shares = model.predict_proba(worst.X)[np.arange(len(y)), y]
    np.testing.assert_allclose(worst.value, 1 - shares, atol=1e-9)


def test_tolerance_says_from_where_a_regression_row_is_broken(diabetes):
    X, y, model = diabetes
    worst = worst_case(model, X, y, radius=0.005, tolerance=2000.0)
    np.testing.assert_array_equal(worst.broken, worst.value > 2000)
    assert 0 < worst.broken.mean() < 1
    still = worst_case(model, X, y, radius=0.0)
    assert not still.broken.any()


def test_rows_that_were_wrong_count_even_where_the_worst_row_is_right(iris):
    """Climbing the right logit is no attack on the decision; what was wrong before stays counted."""
    X, y, model = iris
    wrong = model.predict(X) != y
    worst = worst_case(model, X, y, radius=0.3, loss=lambda f, y: f.gather(1, y[:, None])[:, 0])
    assert wrong.any() and (model.predict(worst.X) == y)[wrong].any()
    assert worst.broken[wrong].all()


# Laws 4 and 7 ---------------------------------------------------------------------------------


def test_sandwich_and_monotone_for_a_net(iris):
    X, y, _ = iris
    net = make_pipeline(StandardScaler(), MLPClassifier((20,), max_iter=800, random_state=0)).fit(
        X, y
    )
    accuracy = [
        robust_accuracy_score(net, X, y, radius=r, random_state=0) for r in (0, 0.1, 0.3, 1)
    ]
    assert accuracy[0] == net.score(X, y)
    assert accuracy == sorted(accuracy, reverse=True) and accuracy[-1] < accuracy[0]
    worst = worst_case(net, X, y, radius=0.3, random_state=0)
    np.testing.assert_array_equal(worst.broken, net.predict(worst.X) != y)
    assert (worst.broken >= (net.predict(X) != y)).all()
    assert (np.sign(worst.value[worst.value != 0]) > 0)[worst.broken[worst.value != 0]].all()
    clean = worst_case(net, X, y, radius=0)
    assert (worst.value >= clean.value).all()


def test_weights_equal_repetition(iris, cancer, diabetes):
    rng = np.random.RandomState(0)
    for X, y, model in (cancer, diabetes):
        weight = rng.randint(0, 4, len(X))
        Xr, yr = np.repeat(X, weight, axis=0), np.repeat(y, weight)
        radius = 0.005 if model is diabetes[2] else 0.02
        assert robust_loss(
            model, X, y, radius=radius, sample_weight=weight, loss=None
        ) == pytest.approx(robust_loss(model, Xr, yr, radius=radius), rel=1e-6)
        curves = [
            robustness_curve(model, X, y, radii=[0, radius], sample_weight=weight),
            robustness_curve(model, Xr, yr, radii=[0, radius]),
        ]
        np.testing.assert_allclose(curves[0].attacked, curves[1].attacked)
        assert curves[0].majority == pytest.approx(curves[1].majority)
    X, y, model = iris
    weight = rng.rand(len(X))
    worst = worst_case(model, X, y, radius=0.2)
    found = robust_accuracy_score(model, X, y, radius=0.2, sample_weight=weight)
    assert found == pytest.approx(np.average(~worst.broken, weights=weight))


# Law 5 ----------------------------------------------------------------------------------------


class Speaking:
    """An object that is all torch: no predict, no classes_."""

    def __init__(self, module):
        self.module = module

    def __skrobust_torch__(self):
        return self.module


def seeded_net(n_outputs, factor=1.0):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, n_outputs))
    with torch.no_grad():
        net[2].weight *= factor
        net[2].bias *= factor
    return net


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
@pytest.mark.parametrize("attack", ["auto", "pgd", "apgd"])
def test_scale_of_the_logits_does_not_fool_us(n_outputs, attack):
    with torch.random.fork_rng():
        nets = [seeded_net(n_outputs), seeded_net(n_outputs, 50.0)]
    X = np.random.RandomState(0).normal(size=(120, 4)).astype(np.float32)
    with torch.no_grad():
        logits = nets[0](torch.from_numpy(X))
    if n_outputs == 1:
        logits = torch.cat([0 * logits, logits], dim=1)
    y = logits.argmax(dim=1).numpy()
    score = [
        robust_accuracy_score(Speaking(net), X, y, radius=0.2, attack=attack, random_state=0)
        for net in nets
    ]
    assert abs(score[0] - score[1]) <= 1 / 120
    assert 0.2 < score[0] < 0.95
    assert robust_accuracy_score(Speaking(nets[1]), X, y, radius=0) == 1.0


def test_the_direction_climbed_is_scale_free_and_never_dies():
    """The gradient of the soft maximum: the same direction for any size of the logits."""
    gaps = torch.tensor([[1.0, -torch.inf, 0.8, -3.0], [2.0, 2.0, -torch.inf, 2.0]])
    slopes = []
    for factor in (1.0, 50.0, 1e4, 1e-4):
        scaled = (factor * gaps).requires_grad_(True)
        (slope,) = torch.autograd.grad(soft_maximum(scaled).sum(), scaled)
        slopes.append(slope)
        np.testing.assert_allclose(slope.sum(dim=1), 1, rtol=1e-5)
    for slope in slopes[1:]:
        np.testing.assert_allclose(slope, slopes[0], atol=1e-4)
    assert slopes[0][0, 0] > slopes[0][0, 2] > 0.1 > slopes[0][0, 3]  # the runner-up counts
    np.testing.assert_allclose(slopes[0][1], [1 / 3, 1 / 3, 0, 1 / 3], atol=1e-5)


# Law 6 ----------------------------------------------------------------------------------------


def test_no_trace():
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    net[1].eval()  # frozen by its owner, the rest is in training mode
    net[0].weight.requires_grad_(False)
    modes = [part.training for part in net.modules()]
    flags = [p.requires_grad for p in net.parameters()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    X = np.random.RandomState(0).normal(size=(30, 4)).astype(np.float32)
    y = np.arange(30) % 3
    np.random.seed(7)
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    X_before = X.copy()
    worst_case(Speaking(net), X, y, radius=0.1)
    robustness_curve(Speaking(net), X, y, radii=[0.1, 0.2], attack="search")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.get_num_threads() == before[2]
    assert [part.training for part in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert (X == X_before).all()


def test_random_state_repeats_itself():
    with torch.random.fork_rng():
        net = Speaking(seeded_net(3))
    X = np.random.RandomState(0).normal(size=(40, 4)).astype(np.float32)
    y = np.arange(40) % 3
    first, second, other = (
        worst_case(net, X, y, radius=0.2, attack="noise", random_state=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.X, second.X)
    assert (first.X != other.X).any()


def test_batches_do_not_change_what_is_exact(iris):
    X, y, model = iris
    whole = worst_case(model, X, y, radius=0.2)
    parts = worst_case(model, X, y, radius=0.2, batch_size=7)
    np.testing.assert_allclose(whole.value, parts.value)
    assert parts.n_forward.shape == (len(X),)


# Rows that have no right answer left ------------------------------------------------------------


def test_labels_that_the_model_does_not_know_are_broken_at_any_radius(iris):
    X, y, model = iris
    y = y.copy()
    y[[3, 80]] = 9
    for radius in (0, 0.1):
        worst = worst_case(model, X, y, radius=radius)
        assert worst.broken[[3, 80]].all() and np.isinf(worst.value[[3, 80]]).all()
        np.testing.assert_array_equal(worst.X[[3, 80]], X[[3, 80]])
    assert robust_accuracy_score(model, X, y, radius=0) == pytest.approx(model.score(X, y))
    assert robust_loss(model, X, y, radius=0) == np.inf


def test_labels_are_looked_up_not_counted(cancer):
    X, y, _ = cancer
    names = np.array(["malignant", "benign"])[y]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, names)
    numbers = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, 1 - y)  # sorted: b, m
    found = worst_case(model, X, names, radius=0.01), worst_case(numbers, X, 1 - y, radius=0.01)
    np.testing.assert_allclose(found[0].value, found[1].value, rtol=1e-6)
    np.testing.assert_array_equal(found[0].broken, found[1].broken)


def test_regression_nets_are_attacked_in_the_units_of_y():
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(
        StandardScaler(),
        MLPRegressor(hidden_layer_sizes=(20,), max_iter=60, solver="lbfgs", random_state=0),
    ).fit(X, y)
    worst = worst_case(model, X, y, radius=0.01, random_state=0)
    np.testing.assert_allclose(worst.value, (model.predict(worst.X) - y) ** 2)
    clean = (model.predict(X) - y) ** 2
    assert (worst.value > clean).mean() > 0.95
    assert worst.value.mean() > 1.1 * clean.mean()
