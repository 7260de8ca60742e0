"""Threats keep their laws, in the units of the rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from skrobust.testing import check_threat_laws
from skrobust.threats import LpBall, Threat

NORMS = ["linf", "l2", "l1"]
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
NAMES = ["age", "visits", "income", "debt", "share", "score"]
RNG = np.random.default_rng(0)
# columns of sizes from .01 to 1e6, some far from 0
X = RNG.random((40, 6)) * [1, 5, 1e3, 1e6, 0.01, 1] + [0, -2, 1e4, 1e5, 0, 0]
FRAME = pd.DataFrame(X, columns=NAMES)
STEPS = np.array([1, 2, 30, 4e3, 0.1, 0.5])


def rows(dtype=torch.float64, n=7, missing=False):
    x = torch.tensor(X[:n], dtype=dtype)
    if missing:
        x[2, 1] = torch.nan
    return x


def moves(region, seed=0):
    """Points from every method, with a gradient that pushes every way."""
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(region.x.shape, dtype=region.x.dtype, generator=generator)
    far = region.x + 5 * region.scale * gradient
    start = region.sample(generator)
    return [
        start,
        region.project(far),
        region.steepest(gradient),
        region.step(start, gradient, 0.5),
    ]


# --- laws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1.0, "std", STEPS], ids=["1", "std", "array"])
@pytest.mark.parametrize("bounds", [None, "data", {"debt": (None, 2e6)}], ids=str)
def test_laws_hold(norm, scale, bounds):
    for i, (frozen, direction) in enumerate(
        [
            (None, None),
            ([0, 2], {"visits": "up", 3: "down"}),
            (["share"], None),
            (None, {0: "down"}),
        ]
    ):
        for dtype in (torch.float32, torch.float64):
            threat = LpBall(norm, scale, bounds, frozen, direction).bind(FRAME)
            check_threat_laws(threat, rows(dtype, missing=i < 2), radius=(0.1, 2.0)[i % 2])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_budget_holds_in_plain_numpy(norm, dtype):
    """Measured outside the library, in double precision, without a tolerance."""
    threat = LpBall(norm, STEPS, "data", [0], {1: "up", 2: "down"}).bind(X)
    for radius in (1e-3, 0.1, 0.3, 10.0):
        region = threat.region(rows(dtype), radius)
        x = region.x.double().numpy()
        for z in moves(region):
            assert z.dtype == dtype
            z = z.double().numpy()
            assert (np.linalg.norm((z - x) / STEPS, ORDERS[norm], axis=1) <= radius).all()
            assert (z[:, 0] == x[:, 0]).all()
            assert (z[:, 1] >= x[:, 1]).all() and (z[:, 2] <= x[:, 2]).all()
            low, high = X.min(0).astype(x.dtype), X.max(0).astype(x.dtype)
            one = np.finfo(np.float32).eps if dtype == torch.float32 else 0
            assert (z >= low - one * abs(low)).all() and (z <= high + one * abs(high)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_budget_holds_where_one_unit_in_the_last_place_is_many_steps(norm):
    x = torch.full((50, 3), 1e6, dtype=torch.float32) + torch.arange(50)[:, None]
    region = LpBall(norm).region(x, 0.1)  # float32 knows no number between 1e6 and 1e6 + .06
    for z in moves(region):
        u = (z.double() - x.double()).numpy()
        assert (np.linalg.norm(u, ORDERS[norm], axis=1) <= 0.1).all()
    # the box of linf has points there, and they are found
    assert norm != "linf" or (region.steepest(torch.ones_like(x)) == x + 0.0625).all()


@pytest.mark.parametrize("norm", NORMS)
def test_steps_and_radii_that_float32_rounds_up(norm):
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 10, size=2000)
    x = torch.tensor(rng.normal(size=(1, 2000)), dtype=torch.float32)
    for radius in rng.uniform(0.01, 3, size=10):
        z = LpBall(norm, scale).region(x, float(radius)).steepest(torch.ones_like(x))
        u = (z.double() - x.double()).numpy() / scale
        assert radius * (1 - 1e-5) <= np.linalg.norm(u, ORDERS[norm], axis=1).item() <= radius


@pytest.mark.parametrize("norm", NORMS)
def test_images(norm):
    images = torch.rand(5, 3, 4, 4)
    lit = images.numpy() + np.linspace(0.1, 1, 48).reshape(3, 4, 4)
    threat = LpBall(norm, scale="std", bounds="data", frozen=[1], direction={2: "up"}).bind(lit)
    check_threat_laws(threat, images, 0.5)
    z = threat.region(images, 0.5).steepest(-torch.ones_like(images))
    assert (z[:, 0] < images[:, 0]).any()
    assert (z[:, 1:] == images[:, 1:]).all()  # channel 1 is frozen, channel 2 may only grow
    mask = np.zeros((3, 4, 4), bool)
    mask[:, :2] = True
    z = LpBall(norm, frozen=mask).region(images, 0.5).steepest(torch.ones_like(images))
    assert (z[:, :, :2] == images[:, :, :2]).all() and (z[:, :, 2:] != images[:, :, 2:]).any()


@pytest.mark.parametrize("norm", NORMS)
def test_channel_steps_broadcast(norm):
    images = torch.rand(5, 3, 2, 2)
    steps = np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    check_threat_laws(LpBall(norm, scale=steps, bounds=(0, 1)).bind(images), images, 0.2)


@pytest.mark.parametrize("norm", NORMS)
def test_no_rows_and_no_columns(norm):
    region = LpBall(norm, STEPS, (0, 1e7), [0], {1: "up"}).region(torch.zeros(0, 6), 0.3)
    for z in (*moves(region), region.settle(region.x), region.take(torch.zeros(0).long()).x):
        assert z.shape == (0, 6)
    assert region.distance(region.x).shape == (0,)
    region = LpBall(norm).region(torch.zeros(3, 0), 0.3)
    for z in (*moves(region), region.settle(region.x)):
        assert z.shape == (3, 0)
    assert (region.distance(region.x) == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_everything_frozen(norm):
    check_threat_laws(LpBall(norm, frozen=range(6)), rows(missing=True), 3.0)
    for z in moves(LpBall(norm, frozen=range(6)).region(rows(), 3.0)):
        assert torch.equal(z, rows())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, "data"], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_region_around_other_rows_is_the_one_made_for_them(norm, bounds, dtype):
    for frozen, direction in ((None, None), ([0, 2], {"visits": "up", 3: "down"})):
        threat = LpBall(norm, STEPS, bounds, frozen, direction).bind(FRAME)
        other, x = torch.tensor(X[7:20], dtype=dtype), rows(dtype, missing=True)
        made, around = threat.region(x, 0.7), threat.region(other, 0.7).around(x)
        for name in ("radius", "low", "high"):
            assert torch.equal(getattr(made, name).nan_to_num(), getattr(around, name).nan_to_num())
        for one, same in zip(moves(made), moves(around), strict=True):
            assert torch.equal(one.nan_to_num(), same.nan_to_num())
        assert made.holds(x) and (bounds is None) == made.holds(x + 1e7)


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_for_each_row(norm):
    radius = torch.linspace(0, 2, 7)
    check_threat_laws(LpBall(norm, STEPS), rows(), radius)
    region = LpBall(norm, STEPS).region(rows(), radius)
    moved = region.distance(region.steepest(torch.ones_like(region.x)))
    torch.testing.assert_close(moved, radius.double())
    for as_given in (radius.numpy(), radius.tolist()):
        assert torch.equal(LpBall(norm, STEPS).region(rows(), as_given).radius, radius.double())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(norm, dtype):
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    region = LpBall(norm, bounds=(0, 1)).region(x, 0.25)
    for z in moves(region):
        assert z.dtype == dtype and (region.distance(z) <= 0.25).all()
    moved = region.distance(region.steepest(torch.ones_like(x)))
    assert (moved > 0.2).all()


def test_linf_by_hand():
    region = LpBall("linf", [1.0, 10.0]).region(torch.zeros(1, 2), 0.5)
    assert region.steepest(torch.tensor([[1.0, -1.0]])).tolist()[0] == pytest.approx([0.5, -5])
    assert region.project(torch.tensor([[0.2, -9.0]])).tolist()[0] == pytest.approx([0.2, -5.0])
    step = region.step(torch.zeros(1, 2), torch.tensor([[3.0, -1e-9]]), 0.2)
    assert step.tolist()[0] == pytest.approx([0.2, -2.0])
    assert region.low.tolist()[0] == pytest.approx([-0.5, -5.0])


def test_linf_float64_keeps_round_numbers():
    z = LpBall().region(torch.zeros(1, 1, dtype=torch.float64), 0.1).steepest(torch.ones(1, 1))
    assert z.item() == 0.1


def test_l2_and_l1_count_steps_not_units():
    gradient = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    x = torch.zeros(1, 2, dtype=torch.float64)
    # u ~ scale * gradient: the column with the large step gives more per step
    z = LpBall("l2", [3.0, 4.0]).region(x, 1.0).steepest(gradient)
    np.testing.assert_allclose(z, [[3 * 0.6, 4 * 0.8]])
    z = LpBall("l1", [3.0, 4.0]).region(x, 1.0).steepest(gradient)
    np.testing.assert_allclose(z, [[0, 4]])
    near = LpBall("l2", [1.0, 10.0]).region(x, 1.0).project(torch.tensor([[3.0, 40.0]]).double())
    np.testing.assert_allclose(near, [[0.6, 8.0]])


def test_distance_counts_steps_and_is_infinite_where_a_promise_broke():
    x = torch.zeros(6, 3, dtype=torch.float64)
    x[5, 1] = torch.nan
    threat = LpBall("l2", scale=2.0, bounds=(-1, 8), frozen=[2], direction={0: "up"})
    region = threat.region(x, 1.0)
    z = x.clone()
    z[0, :2] = torch.tensor([6.0, 8.0])
    z[1, 2] = 1e-9  # frozen
    z[2, 0] = -1e-9  # wrong way
    z[3, 1] = -1.1  # out of bounds
    z[4, 1] = torch.nan
    z[5, 1] = 0.0  # a missing value was filled in
    expected = [5, np.inf, np.inf, np.inf, np.inf, np.inf]
    np.testing.assert_allclose(region.distance(z), expected)


def test_settle_returns_untouched_points_and_repairs_others():
    region = LpBall("l2", STEPS, frozen=[0]).region(rows(), 0.5)
    inside = region.sample(torch.Generator().manual_seed(0))
    assert torch.equal(region.settle(inside), inside)
    rounded = inside.float().double()  # what a detour through float32 does to a row
    settled = region.settle(rounded)
    assert (region.distance(settled) <= 0.5).all() and (settled[:, 0] == region.x[:, 0]).all()
    wild = torch.full_like(inside, torch.inf)
    wild[0] = torch.nan
    for z in (region.settle(wild), region.project(wild)):
        assert z.isfinite().all() and (region.distance(z) <= 0.5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_steps_survive_gradients_that_are_not_numbers(norm):
    region = LpBall(norm).region(rows(), 0.5)
    gradient = torch.ones_like(region.x)
    gradient[:, ::2], gradient[0] = torch.nan, torch.inf
    for z in (region.step(region.x, gradient, 0.2), region.steepest(gradient)):
        assert (region.distance(z) <= 0.5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_step_sizes_per_row(norm):
    region = LpBall(norm, STEPS).region(rows(), 5.0)
    size = torch.linspace(0, 1, 7).double()
    z = region.step(region.x, torch.ones_like(region.x), size)
    torch.testing.assert_close(region.distance(z), size)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_up_a_linear_slope_end_at_the_steepest_point(norm):
    threat = LpBall(norm, STEPS, "data", [0]).bind(X)
    region = threat.region(rows(), 0.8)
    slope = torch.tensor(RNG.normal(size=(1, 6)) / STEPS).expand_as(region.x)
    z = region.x
    for size in np.r_[np.full(60, 0.2), np.full(100, 0.02), np.full(300, 0.002)]:
        z = region.step(z, slope, size)
    best = ((region.steepest(slope) - region.x) * slope).sum(dim=1)
    assert (((z - region.x) * slope).sum(dim=1) >= 0.99 * best).all()


# --- the contract suite can fail ----------------------------------------------------------------


class Wrapped(Threat):
    """A threat whose region has one fault."""

    def __init__(self, fault):
        self.fault = fault

    is_bound = True

    def bind(self, X, *, feature_names=None):
        return clone(self)

    def region(self, x, radius):
        region = LpBall("l2").region(x, radius)
        self.fault(region)
        return region


def longer(region):
    steepest = region.steepest
    region.steepest = lambda g: region.x + 1.01 * (steepest(g) - region.x)


def lazy(region):
    steepest = region.steepest
    region.steepest = lambda g: region.x + 0.9 * (steepest(g) - region.x)


def rescaled(region):
    project = region.project
    region.project = lambda z: region.x + 0.9 * (project(z) - region.x)


def downhill(region):
    step = region.step
    region.step = lambda z, g, size: step(z, -g, size)


def leaky(region):
    sample = region.sample
    region.sample = lambda generator: sample(generator) + 0 * torch.rand(1, dtype=region.x.dtype)


def mixing(region):
    take = region.take
    region.take = lambda rows: take(rows.flip(0))


def scribbling(region):
    region.x += 1e-3


def blind(region):
    project = region.project
    region.project = lambda z: project(z.nan_to_num())


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (longer, "budget"), (lazy, "highest"), (rescaled, "project"), (downhill, "goes up"),
        (leaky, "global random"), (mixing, "take"), (scribbling, "in place"), (blind, "NaN"),
    ],
)  # fmt: skip
def test_the_contract_suite_finds_faults(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_threat_laws(Wrapped(fault), rows() / torch.tensor(STEPS), 0.7)
