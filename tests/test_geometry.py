"""The exact answers on ball ∩ box, against slow solvers that share no code with them."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from skrobust.threats import _geometry
from skrobust.threats._geometry import L1, L2, LINF, find_norm

NORMS = {"linf": LINF, "l2": L2, "l1": L1}
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
N_CASES = 150


def random_case(rng, d=None):
    """A point, a radius and a box around 0, with ties, frozen sides and missing walls."""
    d = d or int(rng.integers(1, 6))
    v = rng.normal(size=d) * rng.choice([0.3, 1, 5])
    if rng.random() < 0.3:
        v = np.round(v)  # ties and zeros
    lo, hi = -rng.exponential(size=d), rng.exponential(size=d)
    lo[rng.random(d) < 0.2] = 0
    hi[rng.random(d) < 0.2] = 0
    lo[rng.random(d) < 0.3] = -np.inf
    hi[rng.random(d) < 0.3] = np.inf
    return v, float(rng.exponential() + 0.05), lo, hi


def call(method, v, radius, lo, hi):
    """One row through a batched method."""
    rows = [torch.tensor(a)[None] for a in (v, lo, hi)]
    return method(rows[0], torch.tensor([radius], dtype=torch.float64), *rows[1:])[0].numpy()


def split_program(d, radius, lo, hi, order):
    """Variables (p, q) >= 0 with u = p - q: the l1 budget becomes linear."""
    ends = [*zip(np.zeros(d), hi, strict=True), *zip(np.zeros(d), -lo, strict=True)]
    capped = [(a, min(b, radius)) for a, b in ends]
    row = np.ones((1, 2 * d)) if order == 1 else np.zeros((1, 2 * d))
    return row, [radius if order == 1 else 0.0], capped


@pytest.mark.parametrize("name", NORMS)
def test_projection_is_the_nearest_point_that_a_general_solver_finds(name):
    rng, order = np.random.default_rng(0), ORDERS[name]
    for _ in range(N_CASES):
        v, radius, lo, hi = random_case(rng)
        d = len(v)
        found = call(NORMS[name].project, v, radius, lo, hi)
        assert np.linalg.norm(found, order) <= radius * (1 + 1e-12)
        assert (found >= lo).all() and (found <= hi).all()
        row, limit, ends = split_program(d, radius, lo, hi, order)
        budget = {
            np.inf: [],
            1: [{"type": "ineq", "fun": lambda w, a=row, b=limit: b - a @ w}],
            2: [
                {
                    "type": "ineq",
                    "fun": lambda w, d=d, r=radius: r**2 - np.sum((w[:d] - w[d:]) ** 2),
                }
            ],
        }[order]
        best = optimize.minimize(
            lambda w, d=d, v=v: np.sum((w[:d] - w[d:] - v) ** 2),
            np.full(2 * d, 0.0) + 1e-3 * (np.array([b for _, b in ends]) > 0),
            bounds=ends, constraints=budget, method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-14},
        )  # fmt: skip
        assert np.sum((found - v) ** 2) <= best.fun + 1e-6 * (1 + best.fun)


@pytest.mark.parametrize("name", NORMS)
def test_projection_against_bisection_on_the_multiplier(name):
    """The textbook form: u = prox of the norm's ball at a multiplier, clipped; bisect on it."""
    rng, order = np.random.default_rng(1), ORDERS[name]
    forms = {
        2: lambda v, t: v / (1 + t),
        1: lambda v, t: np.sign(v) * np.maximum(np.abs(v) - t, 0),
        np.inf: lambda v, t: np.sign(v) * np.minimum(np.abs(v), 1 / max(t, 1e-300)),
    }
    for case in range(N_CASES):
        v, radius, lo, hi = random_case(rng, d=None if case % 2 else 40)
        low, high = 0.0, 1e9
        for _ in range(200):
            middle = (low + high) / 2
            inside = np.linalg.norm(np.clip(forms[order](v, middle), lo, hi), order) <= radius
            low, high = (low, middle) if inside else (middle, high)
        expected = np.clip(v, lo, hi)
        if np.linalg.norm(expected, order) > radius:
            expected = np.clip(forms[order](v, high), lo, hi)
        found = call(NORMS[name].project, v, radius, lo, hi)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["linf", "l1"])
def test_steepest_is_the_solution_of_the_linear_program(name):
    rng, order = np.random.default_rng(2), ORDERS[name]
    for _ in range(N_CASES):
        g, radius, lo, hi = random_case(rng)
        found = call(NORMS[name].steepest, g, radius, lo, hi)
        row, limit, ends = split_program(len(g), radius, lo, hi, order)
        best = optimize.linprog(np.r_[-g, g], A_ub=row, b_ub=limit, bounds=ends)
        assert g @ found == pytest.approx(-best.fun, rel=1e-9, abs=1e-9)
        assert np.linalg.norm(found, order) <= radius * (1 + 1e-12)
        assert (found >= lo).all() and (found <= hi).all()
        assert (found[g == 0] == 0).all()


def test_steepest_l2_against_bisection_and_a_general_solver():
    rng = np.random.default_rng(3)
    for case in range(N_CASES):
        g, radius, lo, hi = random_case(rng, d=None if case % 2 else 40)
        found = call(L2.steepest, g, radius, lo, hi)
        low, high = 0.0, 1e12
        for _ in range(200):
            middle = (low + high) / 2
            inside = np.linalg.norm(np.clip(middle * g, lo, hi)) <= radius
            low, high = (middle, high) if inside else (low, middle)
        np.testing.assert_allclose(found, np.clip(low * g, lo, hi), rtol=1e-6, atol=1e-6)
        assert (found[g == 0] == 0).all()
        if case < 40 and case % 2:
            best = optimize.minimize(
                lambda u, g=g: -g @ u, np.zeros(len(g)), jac=lambda u, g=g: -g,
                bounds=list(zip(lo, hi, strict=True)), method="SLSQP",
                constraints={"type": "ineq", "fun": lambda u, r=radius: r**2 - u @ u},
            )  # fmt: skip
            assert g @ found >= -best.fun - 1e-5 * (1 + abs(best.fun))


rows = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
sizes = st.floats(0, 1e4) | st.floats(0, 1e-4)


@st.composite
def batches(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    shape = draw(rows)
    signed = st.floats(-1e4, 1e4, width=32) | st.floats(-1, 1, width=32)
    v = draw(hnp.arrays(dtype, shape, elements=signed))
    lo = -draw(hnp.arrays(dtype, shape, elements=st.floats(0, 10, width=32)))
    hi = draw(hnp.arrays(dtype, shape, elements=st.floats(0, 10, width=32) | st.just(np.inf)))
    radius = draw(hnp.arrays(dtype, shape[0], elements=st.floats(0, 100, width=32)))
    return [torch.as_tensor(a) for a in (v, radius, lo, hi)]


@pytest.mark.parametrize("name", NORMS)
@settings(deadline=None, max_examples=150, derandomize=True)
@given(batch=batches())
def test_projection_and_steepest_point_certify_each_other(name, batch):
    """p is the projection of v exactly when no point of the set is higher along v - p than p."""
    v, radius, lo, hi = batch
    norm, eps = NORMS[name], torch.finfo(v.dtype).eps
    p = norm.project(v, radius, lo, hi)
    s = norm.steepest(v - p, radius, lo, hi)
    for u in (p, s):
        assert (u >= lo).all() and (u <= hi).all()
        length = norm.length(u.double())
        # squares of lengths below the root of the smallest number vanish
        limit = radius.double() * (1 + 50 * eps * math.sqrt(v.shape[1]))
        assert (length <= limit + v.shape[1] * torch.finfo(v.dtype).tiny ** 0.5).all()
    gap = ((v - p) * (s - p)).double().sum(dim=1)
    size = (v.abs().double().sum(dim=1) + 1) * (radius.double() + p.abs().double().sum(dim=1))
    assert (gap <= 100 * eps * size + 100 * eps * (v.double() ** 2).sum(dim=1)).all()


@pytest.mark.parametrize("name", NORMS)
def test_rows_do_not_see_each_other(name):
    rng = np.random.default_rng(4)
    cases = [random_case(rng, d=6) for _ in range(50)]
    v, radius, lo, hi = (torch.tensor(np.array(part)) for part in zip(*cases, strict=True))
    for method in (NORMS[name].project, NORMS[name].steepest):
        together = method(v, radius, lo, hi).numpy()
        alone = [call(method, *case) for case in cases]
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("spread", [0, 5, 20])
def test_wide_l1_projection_sorts_fewer_coordinates_and_says_the_same(spread, monkeypatch):
    torch.manual_seed(0)
    v = torch.randn(6, 500).double() * torch.rand(500).double() ** spread
    hi = torch.rand(6, 500).double()
    if not spread:  # many coordinates around the threshold, and no walls
        v, hi = 0.1 * v, hi + torch.inf
        v[:, :60] = 1 + 0.5 * v[:, :60]
    radius = torch.linspace(1, 2, 6).double()
    few = L1.project(v, radius, -hi, hi)
    kept = L1._contenders(v.abs(), hi.clamp(max=2), radius)[0].shape[1]
    assert kept < 125
    everything = staticmethod(lambda size, caps, radius: (size, caps))
    monkeypatch.setattr(_geometry._L1, "_contenders", everything)
    torch.testing.assert_close(few, L1.project(v, radius, -hi, hi), rtol=1e-12, atol=1e-13)


def test_l1_projection_is_a_soft_threshold_and_not_a_rescaling():
    wide = torch.full((1, 3), torch.inf)
    found = L1.project(torch.tensor([[3.0, 1.0, 0.2]]), torch.tensor([2.0]), -wide, wide)
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0, 0.0]]))


def test_l2_in_a_box_is_not_clip_then_rescale():
    lo, hi = torch.full((1, 2), -1.0), torch.full((1, 2), 1.0)
    found = L2.project(torch.tensor([[10.0, 0.5]]), torch.tensor([1.05]), lo, hi)
    # the first coordinate stays at its wall, the second shrinks until the length fits
    torch.testing.assert_close(found, torch.tensor([[1.0, math.sqrt(1.05**2 - 1)]]))


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_move(name, shape):
    norm, empty, radius = NORMS[name], torch.zeros(shape), torch.ones(shape[0])
    generator = torch.Generator().manual_seed(0)
    for found in (
        norm.project(empty, radius, empty, empty),
        norm.steepest(empty, radius, empty, empty),
        norm.direction(empty),
        norm.sample(radius, empty, empty, generator),
    ):
        assert found.shape == shape
    assert norm.length(empty).shape == (shape[0],)


@pytest.mark.parametrize("name", NORMS)
def test_radius_zero_and_frozen_everything(name):
    v, zero, one = torch.randn(4, 3), torch.zeros(4), torch.ones(4)
    wide, shut = torch.full((4, 3), torch.inf), torch.zeros(4, 3)
    for radius, lo, hi in ((zero, -wide, wide), (one, shut, shut), (zero, shut, shut)):
        for method in (NORMS[name].project, NORMS[name].steepest):
            assert (method(v, radius, lo, hi) == 0).all()


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_gradients_in_single_precision(name, size):
    torch.manual_seed(0)
    g, radius = torch.randn(5, 7), torch.full((5,), 2.0)
    lo, hi = -torch.rand(5, 7), torch.rand(5, 7)
    usual = NORMS[name].steepest(g, radius, lo, hi)
    torch.testing.assert_close(NORMS[name].steepest(g * size, radius, lo, hi), usual)
    torch.testing.assert_close(NORMS[name].direction(g * size), NORMS[name].direction(g))


@pytest.mark.parametrize("name", NORMS)
def test_direction_goes_up_by_one_step(name):
    torch.manual_seed(0)
    g = torch.randn(20, 60)
    g[0] = 0
    step = NORMS[name].direction(g)
    assert (step[0] == 0).all()
    torch.testing.assert_close(NORMS[name].length(step[1:]), torch.ones(19))
    assert ((g * step).sum(dim=1)[1:] > 0).all()
    moved = (step != 0).sum(dim=1)[1:]
    assert (moved == {"linf": 60, "l2": 60, "l1": 3}[name]).all()


def test_l1_direction_skips_flat_coordinates_and_moves_the_steepest():
    g = torch.zeros(2, 100)
    g[0, 7], g[1, :50] = -2.0, torch.arange(50.0)
    step = L1.direction(g)
    assert step[0, 7] == -1 and step[0].abs().sum() == 1
    assert step[1].nonzero().flatten().tolist() == [45, 46, 47, 48, 49]


@pytest.mark.parametrize("name", NORMS)
def test_samples_are_uniform_in_the_ball(name):
    """The length of a uniform point in d dimensions, to the power d, is uniform in [0, 1]."""
    n, d, n_frozen = 4000, 5, 2
    hi = torch.full((n, d), 1e6).double()
    hi[:, :n_frozen] = 0
    radius = torch.full((n,), 3.0).double()
    u = NORMS[name].sample(radius, -hi, hi, torch.Generator().manual_seed(0))
    assert (u[:, :n_frozen] == 0).all()
    share = (NORMS[name].length(u) / radius) ** (d - n_frozen)
    assert stats.kstest(share.numpy(), "uniform").pvalue > 1e-3
    free = u[:, n_frozen:]
    assert free.mean(dim=0).abs().max() < 0.1  # both signs alike
    spread = free.square().mean(dim=0)
    assert spread.max() / spread.min() < 1.2  # all coordinates alike


@pytest.mark.parametrize("name", NORMS)
def test_samples_fold_to_the_side_that_is_open(name):
    n = 500
    lo = torch.tensor([[0.0, -1.0, -0.1]]).double().expand(n, 3)
    hi = torch.tensor([[1.0, 0.0, 0.2]]).double().expand(n, 3)
    radius = torch.ones(n).double()
    u = NORMS[name].sample(radius, lo, hi, torch.Generator().manual_seed(0))
    assert (u >= lo).all() and (u <= hi).all() and (NORMS[name].length(u) <= 1).all()
    assert (u[:, 0] > 0).all() and (u[:, 1] < 0).all()


@pytest.mark.parametrize("name", NORMS)
def test_the_dual_length_is_the_best_over_the_unit_ball(name):
    torch.manual_seed(0)
    g, wide = torch.randn(10, 4).double(), torch.full((10, 4), torch.inf).double()
    best = NORMS[name].steepest(g, torch.ones(10).double(), -wide, wide)
    torch.testing.assert_close((g * best).sum(dim=1), NORMS[name].dual_length(g))
    torch.testing.assert_close(
        NORMS[name].length(g), torch.linalg.vector_norm(g, ORDERS[name], dim=1)
    )


@pytest.mark.parametrize(
    ("given_norm", "found"),
    [("linf", LINF), ("l2", L2), ("l1", L1), (np.inf, LINF), (2, L2), (1.0, L1), (np.int64(2), L2)],
)
def test_find_norm(given_norm, found):
    assert find_norm(given_norm) is found


@pytest.mark.parametrize("unknown", ["l3", 3, 0, True, np.bool_(True), None, [2], np.nan, "L2"])
def test_find_norm_knows_no_other(unknown):
    assert find_norm(unknown) is None
