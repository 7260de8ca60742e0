"""Sums of piecewise linear functions against brute force on fine grids, and the estimators on top."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skrobust import (
    AdditiveDisplay,
    LpBall,
    RobustClassifier,
    RobustRegressor,
    certified_accuracy_score,
    certify,
    robust_accuracy_score,
    robust_loss,
    worst_case,
)
from skrobust.bridge import as_torch, lines_of
from skrobust.certificates import certified_loss
from skrobust.nets import Additive, LineSum
from skrobust.nets._worst import stepped_rows

X, Y = (part[::2] for part in load_iris(return_X_y=True))
LINES = Additive(shape="linear")
QUICK = dict(max_epochs=5, random_state=0)
RADIUS = 0.4


def lines(n_features=2, n_outputs=2, n_knots=4, seed=0):
    """A module with random knots and values; one column has fewer knots."""
    rng = np.random.default_rng(seed)
    module = LineSum(n_features, n_outputs)
    module.set_edges([np.sort(rng.uniform(-1, 1, n_knots - j % 2)) for j in range(n_features)])
    with torch.no_grad():
        module.values.copy_(torch.as_tensor(rng.normal(size=module.values.shape)))
        module.bias.copy_(torch.as_tensor(rng.normal(size=n_outputs)))
    return module


def by_hand(module, x):
    """The sum by numpy's own interpolation."""
    total = np.tile(module.bias.detach().numpy(), (len(x), 1))
    for j in range(x.shape[1]):
        knots = module.edges[j][torch.isfinite(module.edges[j])].numpy()
        for k in range(module.n_outputs):
            values = module.values[k, j].detach().numpy()
            own = np.interp(x[:, j], knots, values[: len(knots)])
            total[:, k] += np.where(np.isnan(x[:, j]), values[-1], own)
    return total


def grid(module, region, row, n=161):
    """Many places of a row's region: a fine grid, the knots and the row's own numbers in it."""
    options = []
    for j in range(2):
        low, high = region.low[row, j].item(), region.high[row, j].item()
        knots = module.edges[j][torch.isfinite(module.edges[j])].numpy()
        own = np.r_[np.linspace(low, high, n), knots, region.x[row, j].item()]
        options.append(own[(own >= low) & (own <= high)])
    z = torch.as_tensor(np.array(list(itertools.product(*options))))
    part = region.take(torch.full((len(z),), row))
    return z[part.distance(z) <= part.radius]


THREATS = [
    LpBall(),
    LpBall(scale=np.array([1.0, 0.5])),
    LpBall(bounds=(-1.0, 1.0), frozen=[1]),
    LpBall(direction={0: "up", 1: "down"}),
    LpBall("l2"),
    LpBall("l1", scale=np.array([1.0, 0.5])),
    LpBall("l2", bounds=(-1.0, 1.0)),
]


def test_the_function_is_numpys():
    module = lines(3)
    rows = np.random.default_rng(1).uniform(-1.5, 1.5, (40, 3))
    rows[::7, 1] = np.nan
    rows[1] = module.edges[:, 0]  # at knots
    np.testing.assert_allclose(module(torch.as_tensor(rows)).detach(), by_hand(module, rows))


@pytest.mark.parametrize("threat", THREATS, ids=repr)
def test_worst_cases_against_a_fine_grid(threat):
    module = lines()
    x = torch.as_tensor(np.random.default_rng(2).uniform(-0.95, 0.95, (10, 2)))
    region = threat.region(x, RADIUS)
    rows = stepped_rows(module, region)
    model = lines_of(Seen(module), 2)
    for direction in torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 1.0]], dtype=torch.float64):
        best = model.worst(region, direction.expand(len(x), -1))
        truth = torch.stack([
            (module(grid(module, region, row)).detach() @ direction).amax() for row in range(len(x))
        ])  # fmt: skip
        assert (region.distance(best.z) <= RADIUS * (1 + 1e-9)).all()
        there = module(best.z).detach() @ direction
        finite = torch.isfinite(best.value)
        torch.testing.assert_close(there[finite], best.value[finite])
        assert (best.bound >= truth - 1e-9).all()
        assert (best.value <= best.bound + 1e-9).all()
        if threat.norm == "linf":
            torch.testing.assert_close(best.bound, truth)
            torch.testing.assert_close(rows.most(direction[None])[:, 0].detach(), truth)
        else:  # a bound at any price, tight for most rows at the best one
            assert (rows.most(direction[None])[:, 0] >= truth - 1e-9).all()
            assert ((best.bound - truth) < 0.02).double().mean() > 0.5
    here = torch.as_tensor(by_hand(module, x.numpy()))
    units = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(rows.here(units).detach(), here)


class Seen(torch.nn.Module):
    """A module that says which lines it is."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def as_lines(self):
        return self.module

    def forward(self, x):
        return self.module(x)


def test_the_worst_case_is_concave_in_the_values():
    """Half-way between two models the worst case is at most the mean of theirs: the fit is convex."""
    one, other, between = lines(seed=3), lines(seed=3), lines(seed=3)
    rng = np.random.default_rng(4)
    with torch.no_grad():
        other.values.copy_(torch.as_tensor(rng.normal(size=one.values.shape)))
        between.values.copy_((one.values + other.values) / 2)
    x = torch.as_tensor(rng.uniform(-1, 1, (50, 2)))
    direction = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    most = [
        stepped_rows(m, LpBall().region(x, RADIUS)).most(direction) for m in (one, other, between)
    ]
    assert (most[2] <= (most[0] + most[1]) / 2 + 1e-12).all()


def test_missing_values_stay_where_they_are():
    module = lines()
    x = torch.tensor([[0.1, torch.nan]], dtype=torch.float64)
    for norm in ("linf", "l2", "l1"):
        found = lines_of(Seen(module), 2).worst(
            LpBall(norm).region(x, 0.3), torch.eye(2).double()[:1]
        )
        own = np.linspace(-0.2, 0.4, 4001)
        rows = np.column_stack([own, np.full(len(own), np.nan)])
        assert found.bound.item() == pytest.approx(by_hand(module, rows)[:, 0].max(), abs=1e-3)
        assert torch.isnan(found.z[0, 1])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("scaled", [False, True])
def test_proof_and_search_meet_in_raw_units(norm, scaled):
    model = RobustClassifier(LINES, radius=0.1, threat=norm, **QUICK)
    model = make_pipeline(MinMaxScaler(), model) if scaled else model
    model.fit(X, Y)
    where = dict(radius=0.2, threat=norm)
    rows = X[1::4], Y[1::4]
    proven = certified_accuracy_score(model, *rows, **where)
    found = robust_accuracy_score(model, *rows, random_state=0, **where)
    assert proven <= found <= model.score(*rows)
    certificate = certify(model, *(part[:8] for part in rows), **where)
    assert certificate.method == "additive"
    if norm == "linf":
        assert proven == found
        assert certificate.exact.all()
    else:
        assert found - proven < 0.06
        assert certificate.exact.mean() > 0.8


def test_columns_that_feed_several_inputs_are_added_up():
    from skrobust.bridge import Chain
    from skrobust.bridge._views import Affine

    module = lines(3)
    front = Affine([[2.0, 0.0], [0.0, -1.0], [0.5, 0.0]], [0.1, 0.0, -0.2])
    read = lines_of(Chain(front, Seen(module)), 2).module
    rows = torch.as_tensor(np.random.default_rng(5).uniform(-2, 2, (60, 2)))
    torch.testing.assert_close(read(rows), module(front(rows)).detach())
    mixed = Affine([[2.0, 1.0], [0.0, -1.0], [0.5, 0.0]])
    assert lines_of(Chain(mixed, Seen(module)), 2) is None


def test_regression_has_an_exact_worst_error():
    rng = np.random.default_rng(3)
    rows = rng.uniform(-1, 1, (150, 3))
    y = 5 * np.sin(3 * rows[:, 0]) + rows[:, 1] ** 2 + 20
    model = RobustRegressor(LINES, radius=0.05, random_state=0).fit(rows, y)
    assert model.score(rows, y) > 0.9
    found = robust_loss(model, rows, y, radius=0.05, random_state=0)
    assert certified_loss(model, rows, y, radius=0.05) == pytest.approx(found, rel=1e-6)
    worst = worst_case(model, rows, y, radius=0.05, random_state=0)
    reached = (model.predict(worst.X) - y) ** 2
    np.testing.assert_allclose(worst.value, reached, rtol=1e-6)


def test_a_gradient_is_the_slope():
    model = RobustClassifier(LINES, radius=0.1, **QUICK).fit(X, Y)
    view = as_torch(model)
    x = torch.as_tensor(X + 0.0123).requires_grad_()
    (gradient,) = torch.autograd.grad(view(x)[:, 0].sum(), x)
    step = 1e-6
    there = x.detach() + torch.tensor([step, 0, 0, 0], dtype=torch.float64)
    rise = (view(there) - view(x))[:, 0].detach() / step
    torch.testing.assert_close(gradient[:, 0], rise, rtol=1e-4, atol=1e-6)


def test_it_is_cloned_kept_and_searched_like_the_other_shape():
    model = RobustClassifier(Additive(), radius=0.1, **QUICK)
    model = clone(model).set_params(module__shape="linear", module__n_bins=6).fit(X, Y)
    body = model.net_.module_.body
    assert isinstance(body, LineSum) and body.n_values <= 7
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    with pytest.raises(ValueError, match="shape"):
        RobustClassifier(Additive(shape="wiggly")).fit(X, Y)


def test_weights_are_repetitions():
    weight = np.random.default_rng(1).integers(0, 4, len(X))
    model = RobustClassifier(LINES, radius=0.1, **QUICK)
    weighted = clone(model).fit(X, Y, sample_weight=weight)
    repeated = clone(model).fit(X.repeat(weight, axis=0), Y.repeat(weight))
    np.testing.assert_allclose(weighted._outputs(X), repeated._outputs(X), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The robust model is no better")
def test_the_picture_is_the_model():
    model = make_pipeline(MinMaxScaler(), RobustClassifier(LINES, radius=0.1, **QUICK))
    model.fit(X, Y == 1)
    display = AdditiveDisplay.from_estimator(model, X, radius=0.2)
    total = sum(shape.at(X[:, int(shape.name[1:])]) for shape in display.shapes)
    rest = model.decision_function(X) - total
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
    shape = display.shapes[0]
    near = np.linspace(shape.grid[150] - 0.2, shape.grid[150] + 0.2, 4001)
    assert shape.least[150] == pytest.approx(shape.at(near).min(), abs=1e-3)
    assert shape.most[150] == pytest.approx(shape.at(near).max(), abs=1e-3)
    pytest.importorskip("matplotlib").use("Agg")
    assert len(display.plot(max_features=3).axes_) == 3
    assert len(display.frame()) == sum(len(one.edges) for one in display.shapes)
