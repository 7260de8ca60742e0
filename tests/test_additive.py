"""Additive models: brute force on small ones, and the fit to their exact worst case."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrobust import (
    RobustClassifier,
    RobustRegressor,
    as_torch,
    robust_accuracy_score,
    worst_case,
)
from skrobust.attacks import PGD
from skrobust.exceptions import RobustnessWarning
from skrobust.nets import Additive, StepSum
from skrobust.nets._additive import place_edges
from skrobust.nets._worst import distinct, stepped_rows
from skrobust.threats import LpBall

FRESH = np.random.default_rng(0)


def steps(n_features=3, n_outputs=2, n_bins=4, seed=0):
    """A module with random edges and values."""
    rng = np.random.default_rng(seed)
    module = StepSum(n_features, n_outputs)
    module.set_edges([np.sort(rng.uniform(-1, 1, n_bins - 1 - j % 2)) for j in range(n_features)])
    with torch.no_grad():
        module.values.copy_(torch.as_tensor(rng.normal(size=module.values.shape)))
        module.bias.copy_(torch.as_tensor(rng.normal(size=n_outputs)))
    return module


def value_of(module, row):
    """The sum, written out."""
    total = module.bias.detach().numpy().copy()
    for j, number in enumerate(row):
        own = module.edges[j][torch.isfinite(module.edges[j])].numpy()
        at = module.n_bins - 1 if np.isnan(number) else int((own < number).sum())
        total += module.values[:, j, at].detach().numpy()
    return total


def places(module, region, row):
    """A place in each choice of bins that a row can reach, found by asking the region itself."""
    x, low, high = (part[row].numpy() for part in (region.x, region.low, region.high))
    options = []
    for j in range(len(x)):
        own = module.edges[j][torch.isfinite(module.edges[j])].numpy()
        near = [x[j]]
        for edge in own:  # the nearest number of each bin is at an edge or just above it
            near += [edge, np.nextafter(edge, np.inf)]
        options.append([v for v in near if low[j] <= v <= high[j]] or [x[j]])
    z = torch.as_tensor(np.array(list(itertools.product(*options))))
    part = region.take(torch.full((len(z),), row))
    return z[part.distance(z) <= part.radius]


THREATS = [
    LpBall(),
    LpBall(scale=np.array([1.0, 0.5, 2.0])),
    LpBall(bounds=(-1.0, 1.0), frozen=[1]),
    LpBall(direction={0: "up", 2: "down"}),
    LpBall("l2"),
    LpBall("l1", scale=np.array([1.0, 0.5, 2.0])),
    LpBall("l2", bounds=(-1.0, 1.0), frozen=[0]),
]


@pytest.mark.parametrize("threat", THREATS, ids=repr)
def test_worst_case_of_each_direction_against_brute_force(threat):
    module = steps()
    x = torch.as_tensor(FRESH.uniform(-0.9, 0.9, (12, 3)))
    region = threat.region(x, 0.4)
    rows = stepped_rows(module, region)
    directions = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    if hasattr(rows, "prices"):
        found = best_bound(rows, directions)
    else:
        found = rows.most(directions).detach()
    truth = torch.empty_like(found)
    for row in range(len(x)):
        truth[row] = (module(places(module, region, row)).detach() @ directions.T).amax(dim=0)
    if threat.norm == "linf":
        torch.testing.assert_close(found, truth)
    else:
        assert (found >= truth - 1e-9).all()
        assert (found - truth).mean() < 0.35 * (rows_range(module, directions) - truth).mean()
    here = torch.stack([torch.as_tensor(value_of(module, row)) for row in x.numpy()])
    torch.testing.assert_close(rows.here(directions).detach(), here @ directions.T)


def best_bound(rows, directions):
    """The bound at the best prices that a scan finds."""
    best = None
    for price in np.linspace(0, 12, 400):
        for number in range(len(directions)):
            rows.price_of(number).data.fill_(price)
        found = rows.most(directions).detach()
        best = found if best is None else torch.minimum(best, found)
    return best


def rows_range(module, directions):
    """What each direction is at most, wherever the row."""
    every = torch.einsum("kdb,ck->cdb", module.values.detach(), directions)
    return every.amax(dim=2).sum(dim=1) + directions @ module.bias.detach()


def test_missing_values_stay_in_their_bin():
    module = steps()
    x = torch.tensor([[0.1, torch.nan, -0.2]], dtype=torch.float64)
    np.testing.assert_allclose(module(x)[0].detach(), value_of(module, x[0].numpy()))
    rows = stepped_rows(module, LpBall().region(x, 0.3))
    directions = torch.eye(2, dtype=torch.float64)
    own = LpBall(frozen=[1]).region(torch.nan_to_num(x), 0.3)
    best = max(value_of(module, [a, np.nan, c])[0] for a, _, c in places(module, own, 0).numpy())
    assert rows.most(directions)[0, 0].item() == pytest.approx(best)


def test_edges_lie_between_ends_of_movements():
    x = np.array([[0.0], [1.0], [np.nan], [1.0]])
    (edges,) = place_edges(x - 0.2, x + 0.2, x, np.ones(4), 10, ())
    np.testing.assert_allclose(edges, [0.0, 0.5, 1.0])
    (codes,) = place_edges(x - 0.2, x + 0.2, x, np.ones(4), 10, {0})
    np.testing.assert_allclose(codes, [0.5])
    many = FRESH.normal(size=(500, 1))
    (few,) = place_edges(many, many, many, np.ones(500), 8, ())
    share = np.diff(np.r_[0, np.searchsorted(np.sort(many[:, 0]), few), 500]) / 500
    np.testing.assert_allclose(share, 1 / 8, atol=0.01)


def test_weights_are_repetitions_and_order_does_not_matter():
    x = np.array([[1.0, np.nan], [2.0, 0.0], [1.0, np.nan], [2.0, 0.0]])
    y = np.array([0, 1, 0, 0])
    found = distinct(x, y, np.array([1.0, 2.0, 3.0, 4.0]))
    other = distinct(x[::-1], y[::-1], np.array([4.0, 3.0, 2.0, 1.0]))
    assert len(found[0]) == 3 and sorted(found[2]) == [2.0, 4.0, 4.0]
    for one, two in zip(found, other, strict=True):
        np.testing.assert_array_equal(one, two)


# The estimators -----------------------------------------------------------------------------

QUICK = dict(max_epochs=5, random_state=0)


@parametrize_with_checks(
    [
        cls(module, **QUICK)
        for cls in (RobustClassifier, RobustRegressor)
        for module in ("additive", "linear")
    ]
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skrobust.exceptions.RobustnessWarning")
def test_scikit_learn_estimator_checks_without_exception(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", [RobustClassifier, RobustRegressor])
@pytest.mark.parametrize("module", ["additive", "linear"])
def test_sample_weight_equals_repetition_to_the_last_digits(cls, module):
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(1).integers(0, 4, len(X))
    model = cls(module, radius=0.1, **QUICK)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    order = np.random.default_rng(2).permutation(weight.sum())
    repeated = clone(model).fit(X.repeat(weight, axis=0)[order], y.repeat(weight)[order])
    other = model.fit(X, y)
    np.testing.assert_allclose(weighted._outputs(X), repeated._outputs(X), rtol=1e-9, atol=1e-12)
    assert not np.allclose(weighted._outputs(X), other._outputs(X), rtol=1e-3)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return MinMaxScaler().fit_transform(X), y


def test_robust_score_is_exact():
    X, y = cancer()
    model = RobustClassifier("additive", radius=0.05, random_state=0).fit(X, y)
    region = LpBall().region(torch.as_tensor(X), 0.05)
    rows = stepped_rows(model.net_.module_.body, region)
    gap = rows.most(torch.tensor([[-1.0, 1.0]], dtype=torch.float64))[:, 0].detach().numpy()
    back = rows.most(torch.tensor([[1.0, -1.0]], dtype=torch.float64))[:, 0].detach().numpy()
    truth = np.mean(np.where(y == 0, gap <= 0, back < 0))
    assert robust_accuracy_score(model, X, y, radius=0.05, random_state=0) == pytest.approx(truth)
    assert truth > 0.86
    piped = make_pipeline(StandardScaler(), clone(model).set_params(threat=LpBall(scale="std")))
    piped.fit(X, y)  # read through the scaler: proven and found agree
    found = worst_case(piped, X, y, radius=0.05, random_state=0)
    assert found.broken.mean() < 0.5


def test_gradients_see_where_steps_lead_and_values_are_those_of_steps():
    X, y = cancer()
    model = RobustClassifier("additive", radius=0.05, random_state=0).fit(X, y)
    view = as_torch(model)
    x = torch.as_tensor(X).requires_grad_()
    logits = view(x)
    np.testing.assert_allclose(
        (logits[:, 1] - logits[:, 0]).detach(), model.decision_function(X), rtol=1e-9, atol=1e-9
    )
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert (gradient != 0).any(dim=1).all()
    by_gradient = robust_accuracy_score(model, X, y, radius=0.05, attack=PGD(20), random_state=0)
    exact = robust_accuracy_score(model, X, y, radius=0.05, random_state=0)
    assert exact <= by_gradient < model.score(X, y)


@pytest.mark.parametrize("divergence", ["auto", "loss", "squared", "kl"])
@pytest.mark.parametrize("threat", ["linf", "l2", LpBall(scale="std", bounds="data")])
def test_three_classes_under_every_divergence(divergence, threat):
    X, y = load_iris(return_X_y=True)
    model = RobustClassifier("additive", radius=0.1, divergence=divergence, threat=threat)
    model.set_params(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    assert robust_accuracy_score(model, X, y, radius=0.1, threat=model.threat_) > 0.8
    assert model.history_[-1]["train_loss"] < model.history_[0]["train_loss"]


def test_robust_beats_plain_where_it_counts():
    X, y = cancer()
    fit = lambda smoothing: RobustClassifier(
        "additive", radius=0.1, smoothing=smoothing, random_state=0
    ).fit(X, y)
    robust, plain = (
        robust_accuracy_score(fit(s), X, y, radius=0.1, random_state=0) for s in (1.0, 0.0)
    )
    assert robust > plain + 0.1


def waves(n=400):
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.sin(3 * X[:, 0]) + X[:, 1] ** 2 + 0.05 * rng.normal(size=n)


@pytest.mark.parametrize("divergence", ["squared", "loss"])
def test_regression_has_an_exact_worst_error(divergence):
    X, y = waves()
    model = RobustRegressor("additive", radius=0.05, divergence=divergence, random_state=0)
    model.fit(X, y)
    assert model.score(X, y) > 0.8
    found = worst_case(model, X, y, radius=0.05, random_state=0)
    rows = stepped_rows(model.net_.module_.body, LpBall().region(torch.as_tensor(X), 0.05))
    unit = torch.ones(1, 1, dtype=torch.float64)
    high, low = rows.most(unit)[:, 0].detach().numpy(), -rows.most(-unit)[:, 0].detach().numpy()
    high, low = (end * model.target_spread_ + model.target_mean_ for end in (high, low))
    np.testing.assert_allclose(found.value, np.maximum(high - y, y - low) ** 2, rtol=1e-6)


def test_missing_values_are_learned_from_and_scored():
    X, y = waves()
    X, labels = X.copy(), (y > 0.3).astype(int)
    X[(labels == 1) & (np.arange(len(y)) % 2 == 0), 2] = np.nan
    model = RobustClassifier("additive", radius=0.1, random_state=0).fit(X, labels)
    missing = np.isnan(X[:, 2])
    assert model.score(X[missing], labels[missing]) == 1.0
    assert robust_accuracy_score(model, X[missing], labels[missing], radius=0.1) > 0.99
    with pytest.raises(ValueError, match="infinity"):
        model.predict(np.full((1, 3), np.inf))


def test_codes_of_categories_have_bins_of_their_own():
    rng = np.random.default_rng(5)
    code = rng.integers(0, 6, 300).astype(float)
    X = np.column_stack([code, rng.normal(size=300)])
    y = np.isin(code, [1, 4]).astype(int)
    threat = LpBall(categorical=[0], frozen=None, max_changes=0)
    model = RobustClassifier("additive", radius=0.1, threat=threat, random_state=0)
    still = RobustClassifier(
        Additive(categorical=[0]), radius=0.1, threat=LpBall(frozen=[0]), random_state=0
    )
    assert still.fit(X, y).score(X, y) == 1.0
    assert robust_accuracy_score(still, X, y, radius=0.1, threat=still.threat_) == 1.0
    edges = still.net_.module_.body.edges[0]
    assert torch.isfinite(edges).sum() == 5
    assert torch.isfinite(model.fit(X, y).net_.module_.body.edges[0]).sum() == 5


def test_it_comes_back_from_a_file_and_goes_on():
    X, y = load_iris(return_X_y=True)
    for module in ("additive", Additive(n_bins=8), "linear"):
        model = RobustClassifier(module, radius=0.1, **QUICK).fit(X, y)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
        assert len(again.history_) == 5
        before = again.history_[-1]["train_loss"]
        again.set_params(warm_start=True, max_epochs=10).fit(X, y)
        assert again.history_[-1]["train_loss"] < before


def test_same_rows_same_model_without_a_seed():
    X, y = load_iris(return_X_y=True)
    first, second = (
        RobustClassifier("additive", max_epochs=3).fit(X, y).predict_proba(X) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_early_stopping_measures_the_exact_score_of_rows_held_out():
    X, y = cancer()
    model = RobustClassifier(
        "additive", radius=0.05, early_stopping=True, n_iter_no_change=3, random_state=0
    ).fit(X, y)
    scores = model.history_[:, "valid_robust"]
    assert max(scores) > 0.7 and model.n_iter_ <= 15


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (dict(attack="pgd"), "attack"),
        (dict(batch_size=32), "batch_size"),
        (dict(divergence="gradient"), "divergence"),
        (dict(preprocessor=StandardScaler()), "preprocessor"),
        (dict(module=Additive(n_bins=1)), "n_bins"),
        (dict(module=Additive(ridge=-1)), "ridge"),
        (dict(module=Additive(categorical=[9])), "categorical"),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(options, word):
    X, y = load_iris(return_X_y=True)
    with pytest.raises((ValueError, TypeError), match=word):
        RobustClassifier(**{"module": "additive", **options}).fit(X, y)


def test_images_are_no_tables():
    with pytest.raises(ValueError, match="tables"):
        RobustClassifier("additive").fit(np.zeros((4, 1, 8, 8)), [0, 1, 0, 1])


def test_options_of_the_module_are_searched_like_any_other():
    model = RobustClassifier(Additive(), radius=0.1)
    assert clone(model).set_params(module__n_bins=5).module.n_bins == 5
    X, y = load_iris(return_X_y=True)
    assert model.set_params(module__n_bins=5, **QUICK).fit(X, y).net_.module_.body.n_bins <= 6
    assert RobustnessWarning  # constant columns are told of as ever
