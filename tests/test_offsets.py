"""Three classes and more: offsets of least worst cost, against brute force and dense grids."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skrobust import (
    RobustThresholdClassifier,
    as_torch,
    certified_accuracy_score,
    expected_cost,
)
from skrobust.exceptions import RobustnessWarning, UnsupportedEstimatorError
from skrobust.risk._many import _beside_human
from skrobust.risk._offsets import Chances, _measured, _sweep, best_offsets, costs_of
from skrobust.trees import tree_view

MATRIX = np.array([[0, 8, 8], [1, 0, 1], [1, 2, 0]])  # a missed 0 is dear


@pytest.fixture(scope="module")
def three():
    X, y = make_blobs(180, centers=4, cluster_std=3.0, random_state=1)
    return X, y % 3


def chances(seed: int, proven: bool, n: int = 7, d: int = 3) -> Chances:
    """Random rows: three moved ones each, or bounds of differences; numbers with ties."""
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 5, (n, d)).astype(float)
    limits = rng.choice([0.0, 0.5, 1.0], (n, d, d))
    score = rng.integers(-6, 6, (n, d)) / 2
    weight, rate = rng.integers(1, 4, n).astype(float), rng.choice([0.3, 1.0], n)
    if proven:
        gaps = score[:, :, None] - score[:, None] - rng.integers(0, 6, (n, d, d)) / 2
        gaps[:, range(d), range(d)] = -np.inf
        return Chances(costs, limits, score, None, None, gaps, rate, weight)
    moved = score[:, None] + rng.integers(-4, 4, (n, 3, d)) / 2
    length = rng.choice([0.25, 0.75, np.inf], (n, 3))
    return Chances(costs, limits, score, moved, length, None, rate, weight)


def by_hand(case: Chances, offsets) -> float:
    """The expected worst cost, one row and one decision after the other."""
    total = []
    for i in range(len(case.costs)):
        now = int(np.argmax(case.score[i] + offsets))
        worst = case.costs[i, now]
        for k in range(len(offsets)):
            if case.limits[i, now, k] == 0:
                continue
            if case.gaps is None:
                can = any(
                    np.argmax(z + offsets) == k and length <= case.limits[i, now, k]
                    for z, length in zip(case.moved[i], case.length[i], strict=True)
                )
            else:
                can = all(
                    case.gaps[i, j, k] + offsets[j] - offsets[k] <= 0
                    for j in range(len(offsets)) if j != k
                )  # fmt: skip
            worst = max(worst, case.costs[i, k]) if can else worst
        total.append((1 - case.rate[i]) * case.costs[i, now] + case.rate[i] * worst)
    return float(np.average(total, weights=case.weight))


def every_cell(case: Chances):
    """A point in each cell of the plane of two offsets (the first is 0) that comparisons divide."""
    lines = set()
    scores = [case.score] if case.gaps is not None else [case.score, *case.moved.swapaxes(0, 1)]
    for j, k in itertools.permutations(range(3), 2):
        for s in scores:
            lines |= {(j, k, float(v)) for v in s[:, j] - s[:, k]}
        if case.gaps is not None:
            lines |= {(j, k, float(v)) for v in case.gaps[:, j, k]}
    values = sorted({v for _, _, v in lines} | {-v for _, _, v in lines})
    # values are halves: every cell holds a point of a lattice of quarters off the lines
    low, high = values[0] - 1, values[-1] + 1
    grid = np.arange(low, high, 0.5)
    return [np.array([0.0, a + 0.15, b + da]) for a in grid for b in grid for da in (0.05, 0.3)]


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_costs_by_hand(seed, proven):
    case = chances(seed, proven, n=12, d=4)
    for offsets in np.random.default_rng(seed).normal(size=(6, 4)):
        worst = np.average(costs_of(case, offsets)[1], weights=case.weight)
        assert worst == pytest.approx(by_hand(case, offsets))


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_one_offset_is_the_best_of_all_its_values(seed, proven):
    case = chances(seed, proven, n=7, d=4)
    offsets = np.random.default_rng(seed).normal(size=4)
    for k in range(4):
        found = offsets.copy()
        found[k] = _sweep(case, offsets, k, np.inf)
        tried = []
        for value in values_around(case, offsets, k):
            at = offsets.copy()
            at[k] = value
            tried.append(by_hand(case, at))
        assert by_hand(case, found) == pytest.approx(min(tried))
        assert max(tried) > min(tried)
        rest = np.delete(offsets, k)
        near = _sweep(case, offsets, k, 1.0)
        assert np.abs(near - rest).max() <= max(1.0, np.ptp(rest)) + 1e-9


def values_around(case: Chances, offsets, k: int) -> list[float]:
    """A value on both sides of each place where a comparison with decision k turns."""
    breaks = []
    for s in [case.score] if case.moved is None else [case.score, *case.moved.swapaxes(0, 1)]:
        breaks.append(s + offsets - s[:, [k]])
    if case.gaps is not None:
        breaks += [case.gaps[:, :, k] + offsets, offsets - case.gaps[:, k]]
    breaks = np.unique(np.concatenate([part[np.isfinite(part)] for part in breaks]))
    return [*(breaks - 1e-6), *(breaks + 1e-6)]


def test_bounds_beside_a_human_enclose_all_log_probabilities():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(5, 3))
    high = low + rng.random((5, 3))
    gaps = _beside_human(low, high, True)
    tightest = np.full((5, 4, 4), np.inf)
    for share in [*itertools.product([0.0, 1.0], repeat=3), *rng.random((200, 3))]:
        logits = low + np.array(share) * (high - low)
        score = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        score = np.column_stack([score, np.zeros(5)])
        tightest = np.minimum(tightest, score[:, :, None] - score[:, None])
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(gaps[:, off], tightest[:, off], atol=1e-9)


@pytest.mark.parametrize("proven", [False, True])
def test_all_offsets_against_every_cell(proven):
    """Never better than the best of all cells, which would be a lie; nearly always as good."""
    equal = 0
    for seed in range(6):
        case = chances(seed, proven, n=5)
        cells = every_cell(case)
        least = min(_measured(case, offsets).worst for offsets in cells)
        found = best_offsets(case, 0)
        assert found.worst == pytest.approx(by_hand(case, found.values))
        assert found.worst >= least - 1e-9
        equal += found.worst <= least + 1e-9
    assert equal >= 5


def grid_cost(model, X, y, radius, offsets, human=None, price=0.0, each=0.0, matrix=MATRIX):
    """Worst cost of a model of one column: all positions within the radius, a fine grid of them."""
    steps = np.linspace(-radius, radius, 101)
    names = [*range(3)] + ([3] if human is not None else [])
    score = np.log(model.predict_proba((X + steps).reshape(-1, 1)))
    if human is not None:
        score = np.column_stack([score, np.zeros(len(score))])
    codes = (score + offsets).argmax(axis=1).reshape(len(X), -1)
    costs = np.column_stack([matrix[y], np.full(len(y), human)]) if len(names) > 3 else matrix[y]
    now = costs[np.arange(len(y)), codes[:, 50]]
    gain = np.take_along_axis(costs, codes, axis=1) - now[:, None]
    pays = gain > price + each * np.abs(steps)
    return (now + np.where(pays, gain, 0.0).max(axis=1)).mean(), now.mean()


@pytest.mark.parametrize(
    ("options", "human"),
    [
        ({}, None),
        ({}, 0.45),
        (dict(price_per_step=4.0), None),
        (dict(price_per_step=2.0, price_per_attack=0.2), 0.45),
    ],
)
def test_one_column_against_a_grid_of_moves_and_offsets(options, human):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    X = (np.array([0.0, 2.0, 4.0])[y] + rng.normal(size=60))[:, None]
    model = LogisticRegression(C=10.0).fit(X, y)
    found = RobustThresholdClassifier(
        model, cost_matrix=MATRIX, radius=0.5, cv="prefit", random_state=0, refer_cost=human,
        **options,
    ).fit(X, y)  # fmt: skip
    prices = dict(price=options.get("price_per_attack", 0.0), each=options.get("price_per_step", 0))
    offsets = found.offsets_ if human is None else np.append(found.offsets_, found.refer_offset_)
    worst, clean = grid_cost(model, X, y, 0.5, offsets, human, **prices)
    assert found.clean_cost_ == pytest.approx(clean)
    assert found.cost_ == pytest.approx(worst, abs=2 * 8 / 60 * (bool(options)))
    rest = [np.array([0, a, b]) for a in np.arange(-4, 4, 0.6) for b in np.arange(-4, 4, 0.6)]
    if human is not None:
        shifts = np.arange(-1.5, 3.0, 0.5)
        rest = [np.append(r - r.mean(), s) for r in rest[::4] for s in shifts]
    least = min(grid_cost(model, X, y, 0.5, r, human, **prices)[0] for r in rest)
    assert worst <= least + 1e-9  # the search of offsets is at least as good as a grid of hundreds
    none = np.append(np.zeros(3), [-9.0] * (human is not None))
    assert worst < grid_cost(model, X, y, 0.5, none, human, **prices)[0]


MODELS = {
    "logistic": LogisticRegression(),
    "svm": LinearSVC(),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "forest": RandomForestClassifier(8, max_depth=4, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=5),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_offsets_are_seen_by_attacks_and_proofs(three, name):
    """Held-out costs of its own, by an attack on the whole, and proven, are in order; and it helps."""
    X, y = three
    options = dict(cost_matrix=MATRIX, radius=0.3, random_state=0)
    found = RobustThresholdClassifier(MODELS[name], cv=2, **options).fit(X[:100], y[:100])
    score = found.estimator_.decision_function(X) if name == "svm" else None
    if score is None:
        score = np.log(np.maximum(found.predict_proba(X), 1e-12))
    np.testing.assert_array_equal(found.predict(X), (score + found.offsets_).argmax(axis=1))
    assert found.offsets_.sum() == pytest.approx(0, abs=1e-6) and not found.refers(X).any()
    rest = X[100:], y[100:]
    clean, worst = found.worst_case_cost(*rest)
    low, high = (expected_cost(found, *rest, bound=b, **options) for b in ("attacked", "certified"))
    assert clean == pytest.approx(expected_cost(found, *rest, cost_matrix=MATRIX))
    assert clean <= worst <= high + 1e-12 and low <= high + 1e-12
    assert worst == pytest.approx(low, rel=0.05)
    assert worst < 0.7 * expected_cost(found.estimator_, *rest, **options)
    forest = tree_view(found)
    assert (forest is None) == (name in ("logistic", "svm"))
    if forest is None:
        seen = as_torch(found)(torch.as_tensor(X)).argmax(dim=1).numpy()
        np.testing.assert_array_equal(seen, found.predict(X))
    if forest is not None:
        np.testing.assert_array_equal(forest.outputs(X).argmax(axis=1), found.predict(X))
    assert certified_accuracy_score(found, *rest, radius=0.3) <= found.score(*rest)


def test_offsets_are_chosen_against_who_knows_them(three):
    """The cost of the choice is what an attack on the finished model finds, not less."""
    X, y = three
    options = dict(cost_matrix=MATRIX, radius=0.5, random_state=0)
    found = RobustThresholdClassifier(LogisticRegression().fit(X, y), cv="prefit", **options)
    found.fit(X, y)
    assert found.cost_ == pytest.approx(expected_cost(found, X, y, **options), rel=0.01)


def test_proven_offsets(three):
    X, y = three[0][:80], three[1][:80]
    options = dict(cost_matrix=MATRIX, radius=0.3, random_state=0, cv=2, refer_cost=0.6)
    model = LogisticRegression()
    sure = RobustThresholdClassifier(model, bound="certified", **options).fit(X, y)
    bold = RobustThresholdClassifier(model, **options).fit(X, y)
    assert bold.cost_ <= sure.cost_ + 1e-9 and np.isfinite(sure.refer_offset_)
    same = RobustThresholdClassifier(model, **options)
    same.fit(X, y)
    same.offsets_, same.refer_offset_ = sure.offsets_, sure.refer_offset_
    assert same.worst_case_cost(X, y)[1] <= sure.worst_case_cost(X, y)[1] + 1e-9


def test_a_human_among_three_classes(three):
    X, y = three[0][:100], three[1][:100]
    options = dict(cost_matrix=MATRIX, radius=0.3, random_state=0, cv=2)
    alone = RobustThresholdClassifier(LogisticRegression(), **options).fit(X, y)
    asking = RobustThresholdClassifier(
        LogisticRegression(), refer_cost=0.4, refer_label="ask", **options
    ).fit(X, y)
    assert asking.cost_ < alone.cost_ and 0 < asking.refers(X).mean() < 1
    labels = asking.predict(X)
    assert (labels[asking.refers(X)] == "ask").all() and set(labels) <= {0, 1, 2, "ask"}
    score = np.log(asking.predict_proba(X)) + asking.offsets_
    np.testing.assert_array_equal(asking.refers(X), score.max(axis=1) < asking.refer_offset_)
    dear = RobustThresholdClassifier(LogisticRegression(), refer_cost=9.0, **options).fit(X, y)
    assert dear.refer_offset_ == -np.inf and dear.cost_ == alone.cost_
    with pytest.raises((ValueError, UnsupportedEstimatorError)):
        expected_cost(asking, X, y, cost_matrix=MATRIX, radius=0.3)


def test_one_class_for_all_is_said_and_seen(three):
    X, y = three
    with pytest.warns(RobustnessWarning, match="always deciding 0"):
        model = RobustThresholdClassifier(
            MODELS["tree"], cost_matrix=MATRIX, radius=30.0, cv=2, random_state=0
        ).fit(X, y)
    assert (model.predict(X) == 0).all()
    assert certified_accuracy_score(model, X, y, radius=30.0) == np.mean(y == 0)


def test_words_for_folds_without_a_class(three):
    X, y = three
    labels = np.where(np.arange(len(y)) == 0, 7, y)
    model = RobustThresholdClassifier(LogisticRegression(), cost_matrix=None, radius=0.1, cv=2)
    with pytest.raises(ValueError, match="folds that leave rows of each class"):
        model.fit(X, labels)
