"""What attacks share: objectives, bookkeeping, the verb; and each attack's own promises."""

from __future__ import annotations

import pytest
import torch
from sklearn.base import clone

from skrobust._torch import differences
from skrobust.attacks import (
    APGD,
    PGD,
    Auto,
    Best,
    Exact,
    Noise,
    Objective,
    Search,
    Single,
    Survivors,
    WorstOf,
    as_objective,
    check_attack,
)
from skrobust.attacks._apgd import checkpoints
from skrobust.exceptions import ThreatNotBoundError
from skrobust.testing._attack import LinearOracle, network_problem, run
from skrobust.threats import LpBall

EVERY = [
    Noise(20),
    PGD(3),
    APGD(4),
    APGD(3, targeted=True),
    Search(30),
    WorstOf([Noise(), PGD(2)]),
    Auto(n_steps=3, n_queries=10),
    Exact(),
]


def linear(z: torch.Tensor) -> torch.Tensor:
    return z @ torch.arange(1.0, z.shape[1] + 1, dtype=z.dtype)


def rows(n: int = 5, d: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


class TestObjective:
    def test_needs_a_value_or_pieces(self):
        with pytest.raises(ValueError, match="pieces"):
            Objective(None)
        with pytest.raises(TypeError, match="callable"):
            as_objective(3)

    def test_value_is_the_largest_piece_by_default(self):
        fn = Objective(None, pieces=lambda z: torch.cat([z, 2 * z], dim=1))
        assert fn(torch.tensor([[1.0], [-1.0]])).tolist() == [2.0, -1.0]

    def test_gradient_of_a_piece_reports_the_whole_value(self):
        z = torch.tensor([[3.0], [-1.0]])
        piece = torch.tensor([0, 1])
        largest = Objective(None, pieces=lambda z: torch.cat([z, -2 * z], dim=1))
        apart = Objective(lambda z: z[:, 0] ** 2, pieces=lambda z: torch.cat([z, -z], dim=1))
        for fn, value, slope, n_forward in (
            (largest, [3.0, 2.0], [1.0, -2.0], 1),
            (apart, [9.0, 1.0], [1.0, -1.0], 2),
        ):
            found = fn.over(2).gradient(z, piece)
            assert found.value.tolist() == value
            assert found.gradient.flatten().tolist() == slope
            assert fn.counts(z)[0].tolist() == [n_forward] * 2
            assert fn.counts(z)[1].tolist() == [1, 1]
            assert not found.value.requires_grad and not found.climbed.requires_grad

    def test_gradients_that_are_no_numbers_name_no_direction(self):
        z = torch.tensor([[0.0], [4.0]])
        found = Objective(lambda z: z.sqrt()[:, 0] * torch.tensor([0.0, 1.0])).gradient(z)
        assert found.gradient.flatten().tolist() == [0.0, 0.25]  # 0 * inf is NaN

    def test_infinite_gradients_keep_their_sign(self):
        found = Objective(lambda z: -z.sqrt()[:, 0]).gradient(torch.tensor([[0.0]]))
        assert found.gradient.item() < -1e30

    @pytest.mark.parametrize("cut", [torch.Tensor.detach, lambda z: torch.ones_like(z)])
    def test_a_cut_graph_has_no_direction(self, cut):
        found = Objective(lambda z: cut(z).sum(dim=1)).gradient(torch.ones(2, 3))
        assert found.value.tolist() == [3.0, 3.0]
        assert (found.gradient == 0).all()

    def test_an_unused_row_input_has_no_direction(self):
        weight = torch.ones(2, requires_grad=True)
        found = Objective(lambda z: weight * 2).gradient(torch.ones(2, 3))
        assert (found.gradient == 0).all() and weight.grad is None

    def test_parts_count_towards_the_whole(self):
        x = rows(4)
        fn = Objective(lambda z, k: z.sum(dim=1) + k, torch.arange(4)).over(4)
        fn(x)
        part = fn.take(torch.tensor([1, 3]))
        assert torch.equal(part(x[[1, 3]]), x[[1, 3]].sum(dim=1) + torch.tensor([1, 3]))
        part.take(torch.tensor([1, 1, 0])).gradient(x[[3, 3, 1]])
        assert fn.counts(x)[0].tolist() == [1, 3, 1, 4]
        assert fn.counts(x)[1].tolist() == [0, 1, 0, 2]
        assert part.counts(x[[1, 3]])[0].tolist() == [3, 4]

    @pytest.mark.parametrize("attack", [PGD(2), Noise(2)])
    def test_a_value_known_at_x_is_not_asked_again(self, attack):
        x = rows()
        asked = attack.maximize(Objective(linear), x, LpBall(), 0.1)
        known = attack.maximize(Objective(linear, at_x=linear(x)), x, LpBall(), 0.1)
        assert torch.equal(asked.z, known.z) and torch.equal(asked.value, known.value)
        assert torch.equal(asked.n_forward, known.n_forward + 1)


class TestBestAndSurvivors:
    def test_nan_never_wins_and_loses_to_anything(self):
        best = Best(torch.zeros(3, 1), torch.tensor([torch.nan, 1.0, 0.0]), None)
        better = best.update(torch.ones(3, 1), torch.tensor([-5.0, torch.nan, 0.0]))
        assert better.tolist() == [True, False, False]
        assert best.z.flatten().tolist() == [1.0, 0.0, 0.0]

    def test_update_of_some_rows(self):
        best = Best(torch.zeros(3, 1), torch.zeros(3), None)
        held = best.z
        best.update(torch.ones(2, 1), torch.tensor([1.0, -1.0]), rows=torch.tensor([2, 0]))
        assert best.value.tolist() == [0.0, 0.0, 1.0]
        assert (held == 0).all()  # whoever holds the tensor keeps it

    def test_rows_leave_and_come_back(self):
        x = torch.zeros(4, 1)
        fn = Objective(lambda z, k: z[:, 0] + k, torch.arange(4.0), goal=2.5).over(4)
        best = Best(x, fn(x), fn.goal)
        outer = Survivors(fn, LpBall().region(x, 1.0), best)
        (state,) = outer.prune(torch.arange(4))
        assert state.tolist() == [0, 1, 2] and len(outer) == 3
        inner = Survivors(outer.fn, outer.region, outer.best)
        inner.best.update(torch.ones(3, 1), inner.fn(torch.ones(3, 1)))
        (state,) = inner.prune(state)
        assert state.tolist() == [0, 1]
        inner.best.update(torch.full((2, 1), 0.5), torch.tensor([9.0, -9.0]))
        inner.close()
        outer.close()
        assert best.value.tolist() == [9.0, 2.0, 3.0, 3.0]
        assert best.z.flatten().tolist() == [0.5, 1.0, 1.0, 0.0]

    def test_without_a_goal_nobody_leaves(self):
        x = torch.zeros(2, 1)
        fn = Objective(lambda z: z[:, 0] + torch.inf).over(2)
        live = Survivors(fn, LpBall().region(x, 1.0), Best(x, fn(x), None))
        assert live.prune(x)[0] is x


class TestMaximize:
    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_rows_that_pass_at_x_leave_at_once(self, attack):
        x = rows(8)
        fn = Objective(None, pieces=lambda z: linear(z)[:, None], goal=0.0)
        moved = attack.maximize(fn, x, LpBall(), 0.1)
        passed = linear(x) > 0
        assert passed.any() and not passed.all()
        assert torch.equal(moved.z[passed], x[passed])
        assert (moved.n_forward[passed] == 1).all() and (moved.n_backward[passed] == 0).all()
        assert (moved.n_forward[~passed] > 1).all()

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_radius_zero_moves_nothing(self, attack):
        x = rows()
        for radius in (0, 0.0, torch.zeros(len(x), dtype=x.dtype)):
            assert torch.equal(attack.maximize(linear, x, LpBall("l2"), radius).z, x)

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_radius_per_row(self, attack):
        x = rows(3)
        radius = torch.tensor([0.0, 0.1, 10.0], dtype=x.dtype)
        moved = attack.maximize(linear, x, LpBall("l1"), radius)
        length = (moved.z - x).abs().sum(dim=1)
        assert (length <= radius * (1 + 1e-9)).all()
        assert length[2] > 0.1

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_no_rows(self, attack):
        fn = Objective(lambda z, k: linear(z), torch.arange(0), goal=0.0)
        moved = attack.maximize(fn, rows(0), LpBall(), 0.1)
        assert moved.z.shape == (0, 3) and moved.value.shape == (0,)

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_missing_entries_stay_missing(self, attack):
        x = rows()
        x[1, 2] = torch.nan
        moved = attack.maximize(lambda z: linear(z.nan_to_num()), x, LpBall("l2"), 0.5)
        assert torch.equal(moved.z.isnan(), x.isnan())
        assert (moved.value > linear(x.nan_to_num())).all()

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_everything_frozen(self, attack):
        x = rows()
        threat = LpBall("l2", frozen=[0, 1, 2])
        assert torch.equal(attack.maximize(linear, x, threat, 0.5).z, x)

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_a_good_start_is_never_lost(self, attack):
        x = rows()
        top = x + 0.1
        moved = attack.maximize(linear, x, LpBall(), 0.1, start=top)
        assert (moved.value >= linear(LpBall().region(x, 0.1).project(top))).all()

    def test_start_is_projected(self):
        x = rows()
        far = torch.full_like(x, torch.nan)
        far[1:] = 100.0
        z, value, *_ = Search(n_queries=0).maximize(linear, x, LpBall("l2"), 0.5, start=far)
        assert torch.allclose(value, linear(z))
        assert ((z - x).norm(dim=1) <= 0.5 * (1 + 1e-9)).all()
        assert torch.equal(z[0], x[0])

    def test_start_at_the_rows_is_not_asked_twice(self):
        x = rows()
        plain = PGD(2).maximize(linear, x, LpBall(), 0.1)
        again = PGD(2).maximize(linear, x, LpBall(), 0.1, start=x)
        assert torch.equal(plain.z, again.z)
        assert torch.equal(plain.n_forward, again.n_forward)

    def test_unbound_threat(self):
        with pytest.raises(ThreatNotBoundError):
            PGD().maximize(linear, rows(), LpBall(scale="std"), 0.1)

    @pytest.mark.parametrize("attack", [PGD(), APGD(), Exact(), WorstOf([Search(9), PGD()])])
    def test_values_alone_are_not_enough_for_some(self, attack):
        fn = Objective(linear, differentiable=False)
        with pytest.raises(ValueError, match="attack='search'"):
            attack.maximize(fn, rows(), LpBall(), 0.1)

    @pytest.mark.parametrize(
        "attack", [Noise(30), Search(20), Auto(), WorstOf([Noise(), Search(9)])]
    )
    def test_values_alone_are_enough_for_others(self, attack):
        fn = Objective(lambda z: torch.from_numpy(z.numpy().sum(axis=1)), differentiable=False)
        moved = attack.maximize(fn, rows(), LpBall(), 0.1)
        assert (moved.n_backward == 0).all() and (moved.value > rows().sum(dim=1)).all()

    def test_without_generator_runs_repeat(self):
        first, second = (Noise(3).maximize(linear, rows(), LpBall(), 1.0).z for _ in range(2))
        assert torch.equal(first, second)

    def test_infinite_values_win(self):
        def fn(z):
            return torch.where(z[:, 0] > 0.05, torch.inf, z[:, 0])

        assert (
            PGD(4).maximize(fn, torch.zeros(2, 1), LpBall(), 0.1).value.tolist() == [torch.inf] * 2
        )

    def test_inside_no_grad(self):
        with torch.no_grad():
            moved = PGD(n_steps=2).maximize(linear, rows(), LpBall(), 0.1)
        assert torch.allclose(moved.value, linear(rows() + 0.1))


class TestPGD:
    def test_one_step_from_the_row_is_the_fast_gradient_method(self):
        problem = network_problem()
        x = problem.x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(problem.objective().value(x, problem.y).sum(), x)
        for step in (None, problem.radius):
            z = run(PGD(n_steps=1, step_size=step, random_start=False), problem).z
            z = torch.where(z == problem.x, problem.x + problem.radius * gradient.sign(), z)
            assert torch.allclose(z, problem.x + problem.radius * gradient.sign(), atol=1e-12)

    def test_begins_at_start(self):
        x, begins = rows(), []
        start = x + 0.03

        def fn(z):
            begins.append(z.detach().clone())
            return linear(z)

        PGD(n_steps=1, step_size=0.01).maximize(fn, x, LpBall(), 0.1, start=start)
        assert torch.equal(begins[1], start) and torch.equal(begins[2], start)
        assert torch.allclose(begins[3], start + 0.01)

    def test_evaluations(self):
        moved = PGD(n_steps=7, n_restarts=2).maximize(linear, rows(), LpBall(), 0.1)
        assert (moved.n_forward == 1 + 2 * (7 + 1)).all() and (moved.n_backward == 14).all()

    def test_finished_rows_leave(self):
        x = torch.cat([torch.full((3, 1), -0.01), torch.full((3, 1), -9.0)])
        fn = Objective(lambda z: z[:, 0], goal=0.0)
        moved = PGD(n_steps=20).maximize(fn, x, LpBall(), 0.1)
        assert (moved.value[:3] > 0).all()
        assert (moved.n_forward[:3] <= 10).all() and (moved.n_forward[3:] == 22).all()

    @pytest.mark.parametrize("attack", [PGD(4), APGD(6), APGD(4, targeted=True), WorstOf([PGD(2)])])
    @pytest.mark.parametrize("given", [False, True])
    def test_leaves_a_row_without_slope(self, attack, given):
        """A divergence is flat at the row itself: whoever begins there stays there."""
        x = rows()

        def squared(z):
            return (z - x).square().sum(dim=1)

        moved = attack.maximize(squared, x, LpBall(), 0.1, start=x if given else None)
        assert (moved.value > 0.9 * 3 * 0.01).all()

    @pytest.mark.parametrize("attack", [PGD(4), APGD(6)])
    def test_only_rows_that_have_moved_go_on_from_start(self, attack):
        x = rows()
        start, calls = x.clone(), []
        start[:2] += 0.05

        def squared(z):
            calls.append(z.detach().clone())
            return (z - x).square().sum(dim=1)

        moved = attack.maximize(squared, x, LpBall(), 0.1, start=start)
        assert (moved.value > 0.9 * 3 * 0.01).all()
        first = calls[2]  # after the rows and the start: where the ascent begins
        assert torch.equal(first[:2], start[:2]) and (first[2:] != x[2:]).all()

    def test_restarts_are_kept_per_row(self):
        def two_hills(z):  # which one is found depends on the start of each row
            return torch.exp(-((z[:, 0] - 0.8) ** 2) * 20) + 2 * torch.exp(
                -((z[:, 0] + 0.8) ** 2) * 20
            )

        x = torch.zeros(64, 1, dtype=torch.float64)
        one = PGD(10).maximize(two_hills, x, LpBall(), 1.0).value > 1.5
        many = PGD(10, n_restarts=8).maximize(two_hills, x, LpBall(), 1.0).value > 1.5
        assert 10 < one.sum() < 54
        assert many.sum() > 60


class TestAPGD:
    def test_checkpoints(self):
        assert sorted(checkpoints(10)) == [2, 4, 5, 7, 8, 9]
        assert max(checkpoints(1)) == 1

    def test_beats_pgd_at_equal_cost(self):
        """On average over problems, as its paper says; margins in units of what PGD gained."""
        gains = []
        for norm, kind in (("linf", "free"), ("l2", "scaled"), ("l1", "boxed")):
            for n_classes in (2, 3, 5):
                problem = network_problem(norm, kind, n_classes)
                problem = problem._replace(radius=4 * problem.radius)
                clean = problem.objective()(problem.x)
                pgd, apgd = (run(attack(20), problem).value - clean for attack in (PGD, APGD))
                gains.append((apgd / pgd.clamp(min=1e-9)).mean().item())
        assert sum(gains) / len(gains) > 1.0
        assert min(gains) > 0.95

    def test_halving_ends_in_the_optimum(self):
        top = torch.tensor([0.3, -0.2, 0.01], dtype=torch.float64)

        def sharp(z):
            return -(z - top).abs().sum(dim=1)

        x = torch.zeros(4, 3, dtype=torch.float64)
        found = APGD(100).maximize(sharp, x, LpBall("linf"), 0.5)
        assert (found.value > -0.02).all()
        long = PGD(100, step_size=1.0).maximize(sharp, x, LpBall("linf"), 0.5)
        assert (long.value < -0.1).all()  # the step that it began with never gets there

    def test_targets_reach_the_class_that_the_value_does_not_show(self):
        """The runner-up at the row is out of reach; the third class is not."""

        def pieces(z):
            near = -0.1 + 0.01 * z[:, 0]
            far = -1.0 - 3 * z[:, 0]
            return torch.stack([near, far], dim=1)

        x = torch.zeros(3, 1, dtype=torch.float64)
        fn = Objective(None, pieces=pieces)
        value = PGD(10, random_start=False).maximize(fn, x, LpBall(), 1.0).value
        assert (value < 0).all()
        start = x + 0.01  # a random start might show it
        moved = APGD(3, targeted=True).maximize(fn, x, LpBall(), 1.0, start)
        assert torch.allclose(moved.value, torch.full((3,), 2.0, dtype=x.dtype))
        moved = APGD(3, targeted=True, n_targets=1).maximize(fn, x, LpBall(), 1.0, start)
        assert (moved.value < 0).all()

    def test_missing_pieces_are_not_climbed(self):
        oracle, x = LinearOracle.random(3, 4), rows(6, 4)
        y = oracle(x).argmax(dim=1)
        fn = Objective(None, y, pieces=lambda z, y: differences(oracle(z), y))
        moved = APGD(n_steps=2, targeted=True).maximize(fn, x, LpBall(), 0.1)
        assert (moved.n_backward == 2 * 3).all()  # two other classes, one point and two steps each

    def test_no_pieces_no_targets(self):
        plain = APGD(5).maximize(linear, rows(), LpBall(), 0.1)
        targeted = APGD(5, targeted=True).maximize(linear, rows(), LpBall(), 0.1)
        assert torch.equal(plain.z, targeted.z)


class TestExact:
    def test_not_affine(self):
        problem = network_problem()
        with pytest.raises(ValueError, match="attack='exact' needs an affine model"):
            run(Exact(), problem)
        run(Exact(verify=False), problem)

    def test_bends_far_from_the_row_are_seen(self):
        with pytest.raises(ValueError, match="affine"):
            Exact().maximize(lambda z: z[:, 0].clamp(max=0.09), rows() * 0, LpBall(), 0.1)

    @pytest.mark.parametrize(
        "liar",
        [lambda z: linear(z.detach()), lambda z: linear(z.detach()) - z.sum(1) + z.sum(1).detach()],
        ids=["no slope", "wrong slope"],
    )
    def test_slopes_must_agree_with_values(self, liar):
        with pytest.raises(ValueError, match="affine"):
            Exact().maximize(liar, rows(), LpBall(), 0.1)

    def test_residuals_of_a_regression(self):
        """The squared loss is not affine, its two pieces are."""
        x, y = rows(), torch.tensor([0.0, 5.0, -5.0, 1.0, 2.0], dtype=torch.float64)

        def pieces(z, y):
            residual = (linear(z) - y)[:, None]
            return torch.cat([residual, -residual], dim=1)

        fn = Objective(lambda z, y: (linear(z) - y) ** 2, y, pieces=pieces)
        moved = Exact().maximize(fn, x, LpBall("l2"), 0.5)
        want = ((linear(x) - y).abs() + 0.5 * 14**0.5) ** 2
        assert torch.allclose(moved.value, want, rtol=1e-9)

    def test_large_raw_columns_in_single_precision(self):
        weight = torch.tensor([1e-4, -2.0, 30.0])
        x = rows().float() * torch.tensor([1e5, 1.0, 1e-2]) + torch.tensor([3e5, 0.0, 0.0])
        threat = LpBall(scale=[1e5, 1.0, 1e-2])
        moved = Exact().maximize(lambda z: z @ weight, x, threat, 0.1)
        assert torch.allclose(
            moved.value - x @ weight, torch.tensor(0.1 * (10 + 2 + 0.3)), atol=1e-3
        )

    def test_a_constant_is_affine(self):
        moved = Exact().maximize(lambda z: 0 * z.sum(dim=1) + 1, rows(), LpBall(), 0.1)
        assert (moved.value == 1).all()


class TestWorstOf:
    def test_later_members_see_survivors_and_go_on_from_the_best(self):
        seen = []

        class Spy(Noise):
            def search(self, fn, region, best, start, generator):
                seen.append((len(region.x), start))

        class Half(Noise):
            def search(self, fn, region, best, start, generator):
                z = region.steepest(torch.ones_like(region.x))
                best.update(z, fn(z))

        x = torch.tensor([[-0.01], [-5.0], [-6.0]])
        fn = Objective(lambda z: z[:, 0], goal=0.0)
        WorstOf([Spy(), Half(), Spy()]).maximize(fn, x, LpBall(), 0.1)
        (n_first, start_first), (n_last, start_last) = seen
        assert (n_first, start_first, n_last) == (3, None, 2)
        assert torch.allclose(start_last, x[1:] + 0.1)

    def test_stops_when_nobody_is_left(self):
        class Never(Noise):
            def search(self, *args):
                raise AssertionError("nobody was left")

        fn = Objective(lambda z: z[:, 0], goal=0.0)
        x = torch.full((3, 1), -0.01)
        moved = WorstOf([PGD(2), Never()]).maximize(fn, x, LpBall(), 0.1)
        assert (moved.value > 0).all()

    def test_needs_what_its_members_need(self):
        assert WorstOf([Noise(), PGD()]).needs_gradient
        assert not WorstOf([Noise(), Search()]).needs_gradient

    def test_is_as_good_as_each_member(self):
        problem = network_problem("l2", "boxed", 3)
        members = [PGD(5), APGD(5)]
        value = run(WorstOf(members), problem).value
        assert (value >= run(members[0], problem).value - 1e-9).all()


class TestAuto:
    def objective(self, model, n=200, goal=0.0):
        x = rows(n, 4)
        y = (linear(x) > 0).long()
        return x, Objective(None, y, pieces=lambda z, y: differences(model(z), y), goal=goal)

    def test_affine_models_are_solved_at_once(self):
        x, fn = self.objective(lambda z: linear(z)[:, None])
        moved = Auto().maximize(fn, x, LpBall(), 0.01)
        exact = linear(x).abs() - 0.01 * 10
        assert torch.allclose(-moved.value, exact, atol=1e-9)
        assert moved.n_backward.max() <= 8  # four for the one piece of a row, asked twice

    def test_models_with_cut_gradients_are_broken_by_search(self):
        """No gradient, a quantised input, a gradient of the wrong sign."""
        for model in (
            lambda z: linear(z.detach())[:, None],
            lambda z: linear((z * 20).round() / 20)[:, None],
            lambda z: (2 * linear(z).detach() - linear(z))[:, None],
        ):
            x, fn = self.objective(model, n=60)
            broken = Auto().maximize(fn, x, LpBall(), 0.1).value > 0
            reach = linear(x).abs() < 0.1 * 10 * 0.9
            assert reach.sum() >= 5
            assert broken[reach].float().mean() > 0.9

    def test_a_bend_beyond_the_first_rows_is_noticed(self):
        """The first rows are affine, a later one is not: its answer must not be taken for exact."""
        bend = torch.zeros(200, dtype=torch.float64)
        bend[150] = 1.0
        x = torch.zeros(200, 1, dtype=torch.float64)

        def tent(z, bend):  # the slope at the row points away from the maximum
            return -0.1 * z[:, 0] + bend * 3 * (z[:, 0] - 0.5).clamp(min=0)

        value = Auto().maximize(Objective(tent, bend), x, LpBall(), 1.0).value
        assert value[150] > 1.3

    def test_finds_more_than_pgd(self):
        problem = network_problem("linf", "free", 5)
        problem = problem._replace(radius=1.0)
        assert (run(Auto(), problem).value >= run(PGD(10), problem).value - 1e-6).all()

    def test_losses_without_goal_and_pieces(self):
        x = rows()
        wave = lambda z: torch.sin(3 * z).sum(dim=1)
        value = Auto().maximize(wave, x, LpBall(), 2.0).value
        assert torch.allclose(value, torch.full_like(value, 3.0), atol=0.05)


class TestCheckAttack:
    def test_names(self):
        kinds = {
            "noise": Noise, "pgd": PGD, "apgd": APGD, "exact": Exact, "search": Search,
            "auto": Auto, "thorough": Auto,
        }  # fmt: skip
        for name, kind in kinds.items():
            assert type(check_attack(name)) is kind
        assert check_attack("thorough").n_steps > check_attack("auto").n_steps

    def test_training_wants_cheap_attacks(self):
        attack = check_attack("auto", purpose="train")
        assert isinstance(attack, Single) and attack.n_steps == 1 and not attack.verify
        assert check_attack("noise", purpose="train").n_draws == 1
        with pytest.raises(ValueError, match="thorough"):
            check_attack("thorough", purpose="train")

    def test_objects_stay_as_they_are(self):
        attack = PGD(3)
        assert check_attack(attack) is attack

    @pytest.mark.parametrize(("given", "error", "words"), [
        ("fgsm", ValueError, "attack='fgsm' is not valid.*\"apgd\", \"auto\", \"exact\""),
        (PGD, TypeError, r"Did you mean PGD\(\)"),
        (None, TypeError, "attack=None"),
        (["pgd"], TypeError, "attack object"),
    ])  # fmt: skip
    def test_unknown(self, given, error, words):
        with pytest.raises(error, match=words):
            check_attack(given)

    def test_unknown_purpose(self):
        with pytest.raises(ValueError, match="purpose"):
            check_attack("pgd", purpose="test")

    @pytest.mark.parametrize("attack", EVERY, ids=repr)
    def test_attacks_are_estimators(self, attack):
        again = clone(attack)
        assert repr(again) == repr(attack)
        assert again.set_params(**attack.get_params(deep=False)) is again

    @pytest.mark.parametrize("attack", [*EVERY, Single()], ids=repr)
    def test_impossible_options_are_refused(self, attack):
        for name in attack.get_params(deep=False):
            for impossible in (object(), -1, float("nan")):
                broken = clone(attack).set_params(**{name: impossible})
                with pytest.raises((ValueError, TypeError), match=f"{name}=.* is not valid"):
                    check_attack(broken)
                with pytest.raises((ValueError, TypeError), match=f"{name}=.* is not valid"):
                    broken.maximize(linear, rows(), LpBall(), 0.1)
