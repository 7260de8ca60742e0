"""The race of the pieces, and the rows that are worth a long search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from skrobust.attacks import APGD, Auto, Objective, Search
from skrobust.attacks._race import Race
from skrobust.attacks._screen import Close, Doubt
from skrobust.metrics import _climbs
from skrobust.metrics._climbs import Climb
from skrobust.metrics._view import View
from skrobust.threats import LpBall


def hills(n_rows: int, n_pieces: int = 12, n_features: int = 5, goal: float | None = None):
    """Linear pieces of random slopes and heights, and the largest value that each row can reach.

    Only steps count: whoever climbs the largest piece at the start alone does not get there.
    """
    rng = np.random.default_rng(0)
    slope = torch.tensor(rng.normal(size=(n_rows, n_pieces, n_features)))
    height = torch.tensor(rng.normal(size=(n_rows, n_pieces)))

    def pieces(z, slope, height):
        return torch.einsum("nkd,nd->nk", slope, z) + height

    x = torch.zeros(n_rows, n_features, dtype=torch.float64)
    best = (height + 0.3 * slope.abs().sum(dim=2)).amax(dim=1)
    return Objective(None, slope, height, pieces=pieces, goal=goal), x, best, height.argmax(dim=1)


@pytest.mark.parametrize("n_rows", [3, 60, 300], ids=["side by side", "in groups", "one by one"])
def test_the_race_is_won_by_the_right_piece(n_rows):
    fn, x, best, _ = hills(n_rows)
    moved = Race(n_targets=12).maximize(fn, x, LpBall(), 0.3)
    assert torch.allclose(moved.value, best, atol=1e-9)
    alone = Race(n_targets=1).maximize(fn, x, LpBall(), 0.3).value
    assert n_rows == 3 or (alone < best - 0.01).float().mean() > 0.2


@pytest.mark.parametrize("n_rows", [3, 300])
def test_the_race_costs_what_it_says(n_rows):
    fn, x, *_ = hills(n_rows, n_pieces=9)
    moved = Race(n_heat=2, n_steps=5).maximize(fn, x, LpBall(), 0.3)
    assert (moved.n_backward == 9 * 3 + 6).all()


def test_finished_rows_leave_the_race():
    fn, x, best, _ = hills(300, goal=0.5)
    moved = Race(n_targets=12).maximize(fn, x, LpBall(), 0.3)
    assert torch.equal(moved.value > 0.5, best > 0.5)
    assert (moved.n_backward[best > 0.5].float().mean()) < 0.5 * moved.n_backward.max()


def test_absent_pieces_do_not_run():
    def pieces(z, k):
        none = torch.full_like(z[:, 0], -torch.inf)
        return torch.stack([none, z[:, 0], z[:, 1] - 1], dim=1)

    fn = Objective(None, torch.zeros(2), pieces=pieces)
    moved = Race(1, 1).maximize(fn, torch.zeros(2, 2), LpBall(), 0.5)
    assert torch.allclose(moved.value, torch.tensor(0.5)) and (moved.n_backward == 2 * 2 + 2).all()


def test_an_objective_without_pieces_is_climbed_itself():
    moved = Race().maximize(lambda z: -(z - 0.3).square().sum(1), torch.zeros(3, 2), LpBall(), 0.5)
    assert torch.allclose(moved.z, torch.tensor(0.3), atol=1e-2)


@pytest.mark.parametrize("n_targets", [1, 3, 12])
def test_pieces_side_by_side_find_what_pieces_in_turn_find(n_targets, monkeypatch):
    found = []
    for points in (1, 10_000):
        monkeypatch.setattr(APGD, "side_by_side", points)
        fn, x, *_ = hills(20)
        attack = APGD(5, n_restarts=2, targeted=True, n_targets=n_targets)
        found.append(attack.maximize(fn, x, LpBall("l2"), 0.3))
    assert torch.allclose(found[0].value, found[1].value, atol=1e-9)
    assert torch.equal(found[0].n_backward, found[1].n_backward)
    assert (found[1].z.norm(dim=1) <= 0.3).all()


# Close and Doubt --------------------------------------------------------------------------------


def ladder():
    """Rows that can gain 1 each, and lack 0.1, 0.5, 2 of it; the last one has no slope at all."""
    lack = torch.tensor([0.1, 0.5, 2.0, 1.0], dtype=torch.float64)
    slope = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    fn = Objective(lambda z, c, s: s * z[:, 0] - 1 - c, lack, slope, goal=0.0)
    return fn, torch.zeros(4, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("share", "tried"),
    [(0.15, [1, 0, 0, 1]), (0.6, [1, 1, 0, 1]), (float("inf"), [1, 1, 1, 1])],
)
def test_long_climbs_are_for_rows_that_came_close(share, tried):
    fn, x = ladder()
    start = torch.ones_like(x)
    moved = Close(APGD(4), share).maximize(fn, x, LpBall(), 1.0, start)
    assert torch.equal(moved.n_backward > 0, torch.tensor(tried, dtype=torch.bool))
    assert torch.allclose(moved.z[:3], start[:3])


def test_without_a_goal_every_row_is_close():
    fn, x = ladder()
    fn.goal = None
    assert (Close(APGD(4), 0.0).maximize(fn, x, LpBall(), 1.0).n_backward > 0).all()


def test_values_are_asked_on_where_they_find_more():
    def value(z, honest):
        hidden = torch.where(z[:, 1] > 0, z[:, 1].detach(), -z[:, 1].detach())  # cut from the graph
        return torch.where(honest, z[:, 0], 0.1 * z[:, 0] + hidden) - 9

    honest = torch.arange(20) < 10
    fn = Objective(value, honest, goal=0.0)
    x = torch.zeros(20, 2, dtype=torch.float64)
    start = APGD(5).maximize(fn, x, LpBall(), 1.0).z
    start[:, 1] = 0
    fn = Objective(value, honest, goal=0.0)
    moved = Doubt(80).maximize(fn, x, LpBall(), 1.0, start)
    assert (moved.n_forward[honest] < 30).all() and (moved.n_forward[~honest] > 80).all()
    assert (moved.value[~honest] > -8.2).all()


def test_doubt_without_a_goal_is_a_search():
    fn, x = ladder()
    fn.goal = None
    searched = Search(40).maximize(fn, x, LpBall(), 1.0)
    assert torch.equal(Doubt(40).maximize(fn, x, LpBall(), 1.0).z, searched.z)


def test_auto_wins_what_only_a_late_piece_wins():
    """The class that wins is the least promising one at the start, by far."""

    def pieces(z, k):
        flat = [0.1 * z[:, 0] - 1 - 0.01 * j for j in range(8)]
        return torch.stack([*flat, 4 * (z[:, 1] - 0.6).tanh() + 1e-3 * z[:, 0].square()], dim=1)

    fn = Objective(None, torch.zeros(6), pieces=pieces, goal=0.0)
    x = torch.zeros(6, 2, dtype=torch.float64)
    assert (Auto().maximize(fn, x, LpBall(), 0.7).value > 0).all()


# Few rows per call ------------------------------------------------------------------------------


def picture_objective(n_rows: int, calls: list[int]):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 5)).double()

    def forward(z):
        calls.append(len(z))
        return net(z)

    def pieces(z, y):
        outputs = forward(z)
        own = outputs.gather(1, y[:, None])
        return (outputs - own).scatter(1, y[:, None], -torch.inf)

    y = torch.arange(n_rows) % 5
    view = View(forward, "torch", net)
    x = torch.rand(n_rows, 1, 8, 8, dtype=torch.float64)
    return Climb(None, pieces, 0.0).objective(y, np.arange(n_rows), view).over(n_rows), x


def test_networks_are_asked_about_few_rows_at_a_time(monkeypatch):
    found = []
    for numbers in (2**30, 64 * 10):
        monkeypatch.setattr(_climbs.InParts, "n_numbers", numbers)
        calls: list[int] = []
        fn, x = picture_objective(53, calls)
        piece = (torch.arange(53) + 1) % 5
        found.append([fn(x), *fn.gradient(x), *fn.gradient(x, piece), *fn.counts(x)])
        assert max(calls) == (53 if numbers == 2**30 else 10)
    for whole, parts in zip(*found, strict=True):
        assert torch.allclose(whole, parts, atol=1e-12)


def test_some_rows_of_few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(_climbs.InParts, "n_numbers", 64 * 8)
    fn, x = picture_objective(40, [])
    rows = torch.tensor([3, 3, *range(20, 39)])
    some = fn.take(rows)
    assert torch.allclose(some(x[rows]), fn(x)[rows])
    forward, backward = fn.counts(x)
    assert forward[3] == 3 and forward[0] == 1 and forward[25] == 2 and (backward == 0).all()
