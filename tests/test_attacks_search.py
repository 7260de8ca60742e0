"""Search without gradients: trees, hard labels, plateaus, budgets of queries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from skrobust.attacks import PGD, Auto, Noise, Objective, Search
from skrobust.attacks._search import _Moves
from skrobust.testing._attack import LinearOracle, network_problem, run
from skrobust.threats import LpBall


def table(load=load_breast_cancer, n_train=400):
    X, y = load(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    X = ((X - X.min(axis=0)) / np.ptp(X, axis=0))[order]
    return X[:n_train], y[order][:n_train], X[n_train:], y[order][n_train:]


def objective(model, y, hard: bool) -> Objective:
    """Minus the margin of the scores, or of the decision alone, as values only."""

    def value(z, y):
        if hard:
            return torch.from_numpy(np.where(model.predict(z.numpy()) == y.numpy(), -1.0, 1.0))
        scores = torch.from_numpy(model.predict_proba(z.numpy()))
        own = scores.gather(1, y[:, None])[:, 0]
        return scores.scatter(1, y[:, None], -1.0).amax(dim=1) - own

    return Objective(value, torch.as_tensor(y), goal=0.0, differentiable=False)


def reachable_leaves(tree, X: np.ndarray, y: np.ndarray, radius: float, order: float) -> np.ndarray:
    """Rows (n,) with a leaf of another class whose box meets the ball: the exact answer."""
    tree, broken = tree.tree_, np.zeros(len(X), dtype=bool)
    stack = [(0, np.full(X.shape[1], -np.inf), np.full(X.shape[1], np.inf))]
    while stack:
        node, low, high = stack.pop()
        feature, threshold = tree.feature[node], tree.threshold[node]
        if feature < 0:
            gap = np.maximum(0, np.maximum(low - X, X - high))
            near = np.linalg.norm(gap, order, axis=1) <= radius
            broken |= near & (tree.value[node].argmax() != y)
            continue
        left, right = high.copy(), low.copy()
        left[feature] = min(left[feature], threshold)
        right[feature] = max(right[feature], threshold)
        stack += [(tree.children_left[node], low, left), (tree.children_right[node], right, high)]
    return broken


@pytest.mark.parametrize("hard", [False, True], ids=["scores", "labels"])
@pytest.mark.parametrize(("radius", "depth"), [(0.02, 4), (0.05, 4), (0.05, None)])
def test_trees_in_linf_are_solved(radius, depth, hard):
    X, y, X_test, y_test = table()
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(X, y)
    exact = reachable_leaves(tree, X_test, y_test, radius, np.inf)
    x = torch.from_numpy(X_test)
    found = Search().maximize(objective(tree, y_test, hard), x, LpBall("linf"), radius).value > 0
    assert not (found.numpy() & ~exact).any()
    assert found.sum() >= exact.sum() - 2


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
def test_trees_in_other_norms_are_nearly_solved(norm, order):
    X, y, X_test, y_test = table(load_iris, 100)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
    exact = reachable_leaves(tree, X_test, y_test, 0.15, order)
    x = torch.from_numpy(X_test)
    for hard in (False, True):
        fn = objective(tree, y_test, hard)
        found = Search().maximize(fn, x, LpBall(norm), 0.15).value > 0
        assert not (found.numpy() & ~exact).any()
        assert found.sum() >= exact.sum() - 1
        noise = Noise(1000).maximize(objective(tree, y_test, hard), x, LpBall(norm), 0.15).value > 0
        assert found.sum() >= noise.sum()


def test_forests_are_broken_more_often_than_by_noise():
    X, y, X_test, y_test = table()
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    x, n = torch.from_numpy(X_test), 300
    broken = {}
    for attack in (Search(n), Noise(n)):
        fn = objective(forest, y_test, hard=False)
        broken[type(attack)] = int((attack.maximize(fn, x, LpBall(), 0.05).value > 0).sum())
    assert broken[Search] > 1.2 * broken[Noise]


@pytest.mark.parametrize("n_queries", [0, 1, 3, 17, 100])
def test_queries_are_kept_to(n_queries):
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    fn = Objective(lambda z, k: z.sum(dim=1) + k, torch.zeros(7))
    moved = Search(n_queries).maximize(fn, x, LpBall(), 0.1)
    assert (moved.n_forward == 1 + n_queries).all()


def test_finished_rows_ask_for_no_more():
    x = torch.tensor([[-0.05, 0.0], [-5.0, 0.0]])
    fn = Objective(lambda z, k: z[:, 0] + k, torch.zeros(2), goal=0.0)
    moved = Search(200, n_candidates=4).maximize(fn, x, LpBall(), 0.1)
    assert moved.n_forward[0] < 20 and moved.n_forward[1] == 201


def test_many_candidates_share_a_call():
    calls = []

    def value(z, k):
        calls.append(len(z))
        return -z.square().sum(dim=1)

    x = torch.ones(3, 2)
    Search(64, n_candidates=8).maximize(Objective(value, torch.zeros(3)), x, LpBall(), 0.1)
    assert len(calls) <= 1 + 64 // 8 + 1 and max(calls) == 24


def test_bare_callables_get_whole_batches():
    """A closure over all rows cannot be asked for some of them, nor for repeated ones."""
    offset = torch.arange(5.0)
    x = torch.zeros(5, 2)
    moved = Search(50).maximize(lambda z: z.sum(dim=1) + offset, x, LpBall(), 0.5)
    assert torch.allclose(moved.value, offset + 1)


def test_smooth_scores_come_close_to_gradients():
    for problem in (
        network_problem("linf"),
        network_problem("l2", "scaled"),
        network_problem("l1", "boxed"),
    ):
        clean = problem.objective()(problem.x)
        gradient = run(PGD(20, n_restarts=3), problem).value - clean
        values = run(Search(600), problem).value - clean
        assert (values / gradient).mean() > 0.93


def test_plateaus_are_crossed():
    """Staircases with wide steps: only drifting over ties leads on."""

    def stairs(z, k):
        return (3 * z).floor().sum(dim=1)

    x = torch.full((6, 4), 0.01, dtype=torch.float64)
    moved = Search(500).maximize(Objective(stairs, torch.zeros(6)), x, LpBall(), 1.0)
    assert (moved.value == 12).all()


def test_a_single_label_in_a_corner_is_found():
    def corner(z, k):
        return torch.where((z > 0.9).all(dim=1), 1.0, -1.0)

    x = torch.zeros(8, 4)
    moved = Search(500).maximize(Objective(corner, torch.zeros(8), goal=0.0), x, LpBall(), 1.0)
    assert (moved.value > 0).all()


def test_models_whose_gradient_lies_are_searched_by_auto():
    x = torch.full((4, 3), 0.5, dtype=torch.float64)

    def step(z, k):
        return torch.where(z[:, 1] > 0.55, 1.0, -1.0) + 0 * z.sum(dim=1)

    moved = Auto().maximize(Objective(step, torch.zeros(4), goal=0.0), x, LpBall(), 0.1)
    assert (moved.value > 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_features_that_cannot_move_do_not(norm):
    oracle = LinearOracle.random(2, 5)
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    threat = LpBall(norm, frozen=[0, 3], direction={1: "up"}, scale=[1, 2, 3, 4, 5])
    fn = Objective(lambda z, k: oracle(z)[:, 0], torch.zeros(6))
    z = Search(200).maximize(fn, x, threat, 0.5).z
    assert (z[:, [0, 3]] == x[:, [0, 3]]).all() and (z[:, 1] >= x[:, 1]).all()
    assert (z != x).any(dim=1).all()


def test_images_are_flipped_in_patches():
    x = torch.zeros(50, 2, 8, 6)
    region = LpBall().region(x, 1.0)
    generator = torch.Generator().manual_seed(0)
    moved = _Moves(region, x, torch.ones_like(x[:1]), 1.0, generator).flip() != 0
    assert torch.equal(moved[:, 0], moved[:, 1])  # all channels
    for mask in moved[:, 0]:
        inside = torch.nonzero(mask)
        height, width = (inside.max(dim=0).values - inside.min(dim=0).values + 1).tolist()
        assert mask.sum() == height * width
    assert moved.flatten(1).sum(dim=1).unique().numel() > 5


def test_a_patch_that_matters_is_found():
    """Only a block of pixels all of one sign counts, as in images."""

    def block(z, k):
        return z[:, 0, 2:5, 2:5].sum(dim=(1, 2)).sub(5).clamp(min=0)

    x = torch.zeros(4, 1, 8, 8)
    moved = Search(800).maximize(Objective(block, torch.zeros(4)), x, LpBall(), 1.0)
    assert (moved.value > 2).all()


def test_nan_values_are_never_kept():
    def value(z, k):
        return torch.where(z[:, 0] > 0.5, torch.nan, z[:, 0])

    x = torch.zeros(4, 2)
    moved = Search(100).maximize(Objective(value, torch.zeros(4)), x, LpBall(), 1.0)
    assert ((moved.value > 0.3) & (moved.value <= 0.5)).all()
