"""Costs under attack: closed forms, brute force on grids, and the words for what is wrong."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skrobust import LpBall, RobustClassifier, RobustScorer, expected_cost, get_robust_scorer
from skrobust.exceptions import RobustnessWarning
from skrobust.metrics import ErrorPrice
from skrobust.risk import cost_interval, row_costs
from skrobust.risk._rows import _at_least

BOTH = ("attacked", "certified")
MATRIX = np.array([[0.0, 1.0], [5.0, 0.0]])


@pytest.fixture(scope="module")
def two():
    X, y = make_blobs(80, centers=2, cluster_std=3.0, random_state=2)
    return LogisticRegression().fit(X, y), X, y


@pytest.fixture(scope="module")
def four():
    """Four classes in the plane, and costs that differ for each mistake; right decisions earn."""
    X, y = make_blobs(120, centers=4, cluster_std=2.5, random_state=1)
    matrix = np.random.default_rng(0).integers(1, 9, (4, 4)).astype(float)
    np.fill_diagonal(matrix, [-1, 0, -2, 0])
    return X, y, matrix


def lost(model, X, y, radius):
    """Rows that a linear model of two classes loses within an linf ball: the closed form."""
    sign = np.where(y == 1, 1.0, -1.0)
    margin = sign * model.decision_function(X) - radius * np.abs(model.coef_).sum()
    return margin < 0


@pytest.mark.parametrize("bound", BOTH)
@pytest.mark.parametrize("radius", [0.0, 0.5, 2.0])
def test_linear_model_costs_its_closed_form(two, bound, radius):
    model, X, y = two
    expected = np.mean(MATRIX[y, np.where(lost(model, X, y, radius), 1 - y, y)])
    found = expected_cost(model, X, y, cost_matrix=MATRIX, radius=radius, bound=bound)
    assert found == pytest.approx(expected)


def test_share_under_attack_is_a_mean_of_the_two(two):
    model, X, y = two
    clean, worst = (expected_cost(model, X, y, cost_matrix=MATRIX, radius=r) for r in (0, 1.0))
    for rate in (0.0, 0.3, 1.0):
        found = expected_cost(model, X, y, cost_matrix=MATRIX, radius=1.0, attack_rate=rate)
        assert found == pytest.approx((1 - rate) * clean + rate * worst)


def test_rates_by_class_in_three_spellings(two):
    model, X, y = two
    costs = row_costs(model, X, y, cost_matrix=MATRIX, radius=1.0, bound="attacked")
    expected = np.mean(np.where(y == 1, 0.5 * (costs.clean + costs.attacked), costs.clean))
    for rate in ({1: 0.5}, {0: 0.0, 1: 0.5}, [0.0, 0.5]):
        found = expected_cost(model, X, y, cost_matrix=MATRIX, radius=1.0, attack_rate=rate)
        assert found == pytest.approx(expected)


def reached(model, x, radius):
    """What a model decides on a fine grid around a row."""
    line = np.linspace(-radius, radius, 81)
    return set(model.predict(x + np.array(list(itertools.product(line, line)))))


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(max_iter=500), DecisionTreeClassifier(max_depth=4, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_costliest_reachable_class_of_four_is_found(four, model):
    X, y, matrix = four
    model, some = model.fit(X, y), slice(0, 40)
    costs = row_costs(model, X[some], y[some], cost_matrix=matrix, radius=1.0, random_state=0)
    brute = [
        max(matrix[k, j] for j in reached(model, x, 1.0))
        for x, k in zip(X[some], y[some], strict=False)
    ]
    assert (costs.attacked >= brute).all()  # the grid is a search too
    proven = row_costs(
        model, X[some], y[some], cost_matrix=matrix, radius=1.0, bound="certified"
    ).certified
    assert (proven >= costs.attacked).all() and (costs.attacked >= costs.clean).all()
    assert proven.mean() < matrix.max()  # something is excluded
    assert (costs.attacked > costs.clean).mean() > 0.05
    assert (costs.attacked > brute).sum() <= 2  # between the points of the grid
    if isinstance(model, LogisticRegression):
        np.testing.assert_array_equal(costs.attacked, costs.certified)


def test_a_class_nearby_is_not_the_class_that_costs_most():
    """The row lies next to a cheap mistake; the dear one is further away and within reach."""
    X = np.array([[-2.0], [0.0], [2.0]])
    model = DecisionTreeClassifier().fit(X, [0, 1, 2])
    matrix = [[0, 1, 50], [0, 0, 0], [0, 0, 0]]
    costs = [
        expected_cost(model, [[-1.5]], [0], cost_matrix=matrix, radius=radius, bound=bound)
        for radius in (0.4, 1.0, 3.0)
        for bound in BOTH
    ]
    assert costs == [0, 0, 1, 1, 50, 50]


def test_a_class_counts_within_its_own_radius_only():
    """On the way to class 2, which pays from afar, a row passes class 1, which pays nearby only."""
    X = np.linspace(-3, 3, 61)[:, None]
    y = np.digitize(X[:, 0], [-1, 1])
    model = LogisticRegression(C=1e4, max_iter=5000).fit(X, y)
    options = dict(cost_matrix=[[0, 50, 60], [0] * 3, [0] * 3], gain=[[0, 1, 20], [0] * 3, [0] * 3])
    found = [
        expected_cost(
            model, [[-1.5]], [0], radius=9.0, price_per_step=price, bound=bound, **options
        )
        for price in (10.0, 5.0, 1.0)  # classes 1 and 2 pay within 0.1 and 2, 0.2 and 4, 1 and 9
        for bound in BOTH
    ]
    assert found == [0, 0, 60, 60, 60, 60]


@pytest.mark.parametrize("bound", BOTH)
def test_costs_rise_with_radius_and_rate(four, bound):
    X, y, matrix = four
    model = LogisticRegression(max_iter=500).fit(X, y)
    options = dict(cost_matrix=matrix, bound=bound, random_state=0)
    by_radius = [expected_cost(model, X, y, radius=r, **options) for r in (0, 0.3, 1.0, 3.0)]
    assert (np.diff(by_radius) >= 0).all() and by_radius[0] < by_radius[-1]
    rates = (0.0, 0.5, 1.0)
    by_rate = [expected_cost(model, X, y, radius=1.0, attack_rate=r, **options) for r in rates]
    assert (np.diff(by_rate) > 0).all()
    assert by_rate[0] == pytest.approx(by_radius[0])


@pytest.mark.parametrize("bound", BOTH)
def test_nobody_attacks_at_a_loss(two, bound):
    """A move of d steps is paid by its gain: the radius of the row is (gain - fee) / price."""
    model, X, y = two
    gain, fee, price = MATRIX[y, 1 - y], 0.5, 4.0
    radius = np.minimum(2.0, np.maximum(0.0, gain - fee) / price)
    away = np.where(y == 1, 1, -1) * model.decision_function(X) / np.abs(model.coef_).sum()
    wrong = (away < 0) | ((away < radius) & (radius > 0))
    found = expected_cost(
        model, X, y, cost_matrix=MATRIX, radius=2.0, bound=bound,
        price_per_step=price, price_per_attack=fee,
    )  # fmt: skip
    assert found == pytest.approx(np.mean(gain * wrong))


def test_gain_of_the_attacker_decides_which_rows_are_attacked(two):
    model, X, y = two
    only = {(1, 0): 1.0}  # who is of class 1 gains from passing as 0
    costs = row_costs(model, X, y, cost_matrix=MATRIX, radius=1.0, gain=only, bound="attacked")
    free = row_costs(model, X, y, cost_matrix=MATRIX, radius=1.0, bound="attacked")
    np.testing.assert_array_equal(costs.attacked, np.where(y == 1, free.attacked, free.clean))


def test_amounts_weights_and_matrices_per_row_are_repetitions(two):
    model, X, y = two
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    many = np.repeat(np.arange(len(y)), counts)
    options = dict(radius=1.0, random_state=0)
    repeated = expected_cost(model, X[many], y[many], cost_matrix=MATRIX, **options)
    weighted = expected_cost(model, X, y, cost_matrix=MATRIX, sample_weight=counts, **options)
    assert weighted == pytest.approx(repeated)
    total = repeated * counts.sum() / len(y)
    by_row = counts[:, None, None] * MATRIX
    for spelling in (
        dict(cost_matrix=MATRIX, amount=counts),
        dict(cost_matrix=MATRIX, amount=lambda X: counts),
        dict(cost_matrix=by_row),
        dict(cost_matrix=lambda X: by_row),
    ):
        assert expected_cost(model, X, y, **spelling, **options) == pytest.approx(total)


def test_pairs_of_labels_name_the_costs(two):
    model, X, y = two
    named = LogisticRegression().fit(X, np.array(["good", "bad"])[y])
    pairs = {("bad", "good"): 5, ("good", "bad"): 1}
    expected = expected_cost(model, X, y, cost_matrix=MATRIX, radius=1.0)
    labels = np.array(["good", "bad"])[y]
    found = expected_cost(named, X, labels, cost_matrix=pairs, radius=1.0)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("price", [0.0, 3.0])
def test_errors_of_a_linear_regression_in_closed_form(price):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    y = X @ [1.0, -2.0] + rng.normal(size=50)
    model = LinearRegression().fit(X, y)
    prices = ErrorPrice(over=1, under=4, tolerance=0.5)
    reach = 0.3 * np.abs(model.coef_).sum()

    def cost(residual):
        return np.maximum(np.maximum(residual - 0.5, 4 * (-residual - 0.5)), 0.0)

    residual = model.predict(X) - y
    worst = np.maximum(cost(residual + reach), cost(residual - reach))
    clean = cost(residual)
    found = cost_interval(model, X, y, cost_matrix=prices, radius=0.3, price_per_step=price)
    if price == 0:
        assert found == pytest.approx((clean.mean(), worst.mean(), worst.mean()))
    grid = np.linspace(0, 1, 500)[:, None]
    both = np.stack([cost(residual + s * reach * grid[:, :1]) for s in (1, -1)])
    pays = both - clean > 0.3 * price * grid
    truth = np.where(pays, both, clean).max(axis=(0, 1)).mean()
    assert found.attacked <= truth + 1e-9 and truth <= found.certified + 1e-9
    assert found.clean <= found.attacked
    same = cost_interval(
        model, X, y, cost_matrix=dict(over=1, under=4, tolerance=0.5), radius=0.3,
        price_per_step=price,
    )  # fmt: skip
    assert same == pytest.approx(found)


def test_errors_of_a_tree_are_enclosed():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 2))
    model = DecisionTreeRegressor(max_depth=3).fit(X, X.sum(axis=1))
    y = X.sum(axis=1)
    line = np.linspace(-0.1, 0.1, 61)
    places = np.array(list(itertools.product(line, line)))
    high = np.array([model.predict(x + places).max() for x in X])
    worst = np.maximum(high - y, 0).mean()
    for bound in BOTH:
        found = expected_cost(
            model, X, y, cost_matrix={"over": 1, "under": 0}, radius=0.1, bound=bound
        )
        assert found == pytest.approx(worst)


def test_scorer_turns_the_sign_and_ranks_models(two):
    _, X, y = two
    scorer = RobustScorer(radius=1.0, metric="cost", cost_matrix=MATRIX, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    cost = expected_cost(model, X, y, cost_matrix=MATRIX, radius=1.0, random_state=0)
    assert scorer(model, X, y) == pytest.approx(-cost)
    weight = np.arange(len(y)) + 1.0
    cost = expected_cost(model, X, y, cost_matrix=MATRIX, radius=1.0, sample_weight=weight)
    assert scorer(model, X, y, sample_weight=weight) == pytest.approx(-cost)
    grid = {"logisticregression__class_weight": [{0: 9, 1: 1}, {0: 1, 1: 1}, {0: 1, 1: 5}]}
    found = GridSearchCV(model, grid, scoring=scorer, cv=3).fit(X, y)
    assert found.best_params_["logisticregression__class_weight"] == {0: 1, 1: 5}
    named = get_robust_scorer("neg_robust_cost", radius=1.0, cost_matrix=MATRIX, random_state=0)
    assert named(model, X, y) == scorer(model, X, y)


def test_scorer_of_several_metrics(two):
    model, X, y = two
    names = ["neg_clean_cost", "neg_robust_cost", "neg_certified_cost"]
    scorer = RobustScorer(
        radius=1.0,
        metric=names,
        cost_matrix=MATRIX,
        attack_rate=0.5,
        cost_options={"amount": lambda X: np.full(len(X), 2.0)},
    )
    scores = scorer(model, X, y)
    both = cost_interval(model, X, y, cost_matrix=2 * MATRIX, radius=1.0, attack_rate=0.5)
    assert [-scores[name] for name in names] == pytest.approx(list(both))
    assert (cross_validate(model, X, y, scoring=scorer, cv=3)["test_neg_robust_cost"] < 0).all()
    clean = RobustScorer(radius=1.0, metric="neg_clean_cost", cost_matrix=2 * MATRIX)
    assert clean(model, X, y) == pytest.approx(scores["neg_clean_cost"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (dict(cost_matrix=None), TypeError, "cost_matrix=None"),
        (dict(cost_matrix=[[0, 1, 2]]), ValueError, r"shape \(2, 2\)"),
        (dict(cost_matrix=[[0, np.nan], [1, 0]]), ValueError, "NaN"),
        (dict(cost_matrix={(0, 7): 1}), ValueError, r"\(0, 7\)"),
        (dict(cost_matrix={(0, 1): "dear"}), TypeError, "dear"),
        (dict(attack_rate=-0.1), ValueError, "attack_rate=-0.1"),
        (dict(attack_rate={0: 1.5}), ValueError, "attack_rate=1.5"),
        (dict(attack_rate={9: 0.5}), ValueError, "9"),
        (dict(attack_rate=[0.1, 0.2, 0.3]), ValueError, "2 numbers"),
        (dict(amount=np.ones(3)), ValueError, "amount="),
        (dict(amount=-np.ones(80)), ValueError, "amount="),
        (dict(price_per_step=-1), ValueError, "price_per_step=-1"),
        (dict(radius=-1), ValueError, "radius=-1"),
        (dict(bound="both"), ValueError, "bound='both'"),
        (dict(gain=[[0]]), ValueError, "gain="),
    ],
)
def test_words_for_what_is_wrong(two, options, error, words):
    model, X, y = two
    with pytest.raises(error, match=words):
        expected_cost(model, X, y, **{"cost_matrix": MATRIX, "radius": 0.1, **options})


def test_words_for_labels_and_regressors(two):
    model, X, y = two
    with pytest.raises(ValueError, match="7"):
        expected_cost(model, X, np.where(y == 1, 7, y), cost_matrix=MATRIX)
    regressor = LinearRegression().fit(X, y)
    with pytest.raises(ValueError, match="over"):
        expected_cost(regressor, X, y, cost_matrix=MATRIX)
    with pytest.raises(ValueError, match="gain="):
        expected_cost(regressor, X, y, cost_matrix="absolute", gain=MATRIX)
    with pytest.raises(ValueError, match="tolerance=-1"):
        ErrorPrice(tolerance=-1)
    with pytest.raises(ValueError, match="cost_options="):
        RobustScorer(radius=1.0, metric="cost", cost_matrix=MATRIX, cost_options={"amonut": None})(
            model, X, y
        )


def test_same_seed_same_cost_and_threats_with_names(four):
    X, y, matrix = four
    model = DecisionTreeClassifier(max_depth=5, random_state=0).fit(X, y)
    threat = LpBall(scale="std").bind(X)
    a, b = (
        expected_cost(model, X, y, cost_matrix=matrix, radius=0.3, threat=threat, random_state=1)
        for _ in range(2)
    )
    assert a == b


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [dict(module="linear"), dict(attack="pgd"), dict(attack="single")]
)
def test_training_by_costs_lowers_them(four, options):
    """One mistake is ten times as dear; three seeds, held-out rows."""
    X, y, _ = four
    matrix = 1.0 - np.eye(4)
    matrix[0, 2] = matrix[1, 3] = 20.0
    plain, costly = [], []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:80], order[80:]
        for found, costs in ((plain, None), (costly, matrix)):
            model = RobustClassifier(
                radius=0.3, max_epochs=25, cost_matrix=costs, random_state=seed, **options
            ).fit(X[train], y[train])
            found.append(
                expected_cost(
                    model,
                    X[test],
                    y[test],
                    cost_matrix=matrix,
                    radius=0.3,
                    attack="pgd",
                    random_state=0,
                )
            )
    assert np.mean(costly) < np.mean(plain)


def test_costs_of_two_classes_are_a_class_weight(two):
    _, X, y = two
    options = dict(module="linear", radius=0.3, random_state=0)
    by_costs = RobustClassifier(cost_matrix=[[-1, 1], [5, 1]], **options).fit(X, y)
    by_weight = RobustClassifier(class_weight={0: 2.0, 1: 4.0}, **options).fit(X, y)
    np.testing.assert_allclose(
        by_costs.decision_function(X), by_weight.decision_function(X), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("matrix", [[[0, 1]], [[0, 0], [0, 0]], [[1, 0], [1, 0]], "dear"])
def test_training_refuses_matrices_without_a_meaning(two, matrix):
    _, X, y = two
    with pytest.raises((ValueError, TypeError), match="cost_matrix="):
        RobustClassifier(cost_matrix=matrix, max_epochs=1).fit(X, y)


def test_what_is_proven_is_never_below_what_was_found():
    """Statistical proofs are wrong about few rows; these count as found, and many are a warning."""
    found, proven = np.array([1.0, 5.0, 0.0, 2.0]), np.array([1.0, 3.0, 2.0, 2.0])
    with pytest.warns(RobustnessWarning, match="1 of 4 rows cost more"):
        assert _at_least(proven, found).tolist() == [1.0, 5.0, 2.0, 2.0]
