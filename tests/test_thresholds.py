"""The threshold of least worst cost: against all thresholds, closed forms, and in scikit-learn."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from skrobust import (
    LpBall,
    RobustScorer,
    RobustThresholdClassifier,
    certified_accuracy_score,
    expected_cost,
    robust_accuracy_score,
)
from skrobust.exceptions import RobustnessWarning, UnsupportedEstimatorError
from skrobust.risk import cost_curve
from skrobust.risk._band import _together, best_band, costs_at
from skrobust.risk._stakes import Stakes
from skrobust.risk._sweep import candidates, sweep
from skrobust.trees import tree_view

MATRIX = [[0, 1], [5, 0]]


@pytest.fixture(scope="module")
def two():
    return make_blobs(120, centers=2, cluster_std=3.0, random_state=2)


def stakes(seed: int, refer=None, n: int = 30) -> Stakes:
    """Random rows, with equal scores among them, and costs in both directions."""
    rng = np.random.default_rng(seed)
    no, yes = rng.integers(-2, 6, (2, n)).astype(float)
    score = rng.integers(0, 20, n) / 20
    low, high = score - rng.integers(0, 8, n) / 20, score + rng.integers(0, 8, n) / 20
    if refer is not None:
        refer = np.maximum(np.full(n, refer), np.minimum(no, yes))
    rate = rng.choice([0.0, 0.4, 1.0], n)
    return Stakes(no, yes, refer, score, low, high, rate, rng.integers(0, 3, n).astype(float))


def by_hand(case: Stakes, low: float, high: float) -> tuple[float, float]:
    """Costs of two thresholds, from what each row's score can be: no formula of steps."""
    clean, worst = [], []
    for i in range(len(case.no)):
        s, first, last = case.score[i], case.low[i], case.high[i]

        def cost(value, i=i):
            if value < low:
                return case.no[i]
            return case.yes[i] if value >= high else case.refer[i]

        can = [cost(value) for value in (s, first, last)]
        if low < high and last >= low and first < high:
            can.append(case.refer[i])
        clean.append(cost(s))
        worst.append((1 - case.rate[i]) * cost(s) + case.rate[i] * max(can))
    return tuple(np.average(part, weights=case.weight) for part in (clean, worst))


@pytest.mark.parametrize("seed", range(8))
def test_sweep_agrees_with_every_threshold_by_hand(seed):
    case = stakes(seed)
    case = case._replace(refer=case.no)
    curve = sweep(case)
    every = np.unique(np.concatenate([case.score, case.low, case.high]))
    for t in (-1.0, *every, *(every + 0.001), 3.0):
        assert curve.at(t) == pytest.approx(by_hand(case, t, t))
    least = min(by_hand(case, t, t)[1] for t in (*every, 3.0))
    assert curve.worst[curve.best] == pytest.approx(least)
    assert curve.clean.min() == pytest.approx(curve.clean[curve.best_clean])
    frame = curve.frame()
    assert (
        list(frame.columns) == ["threshold", "clean", "attacked"] and len(frame) == len(every) + 1
    )


@pytest.mark.parametrize("refer", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("seed", range(4))
def test_band_agrees_with_every_pair_of_thresholds_by_hand(seed, refer):
    case = stakes(seed, refer, n=12)
    band = best_band(case)
    assert by_hand(case, band.low, band.high) == pytest.approx((band.clean, band.worst))
    clean, worst = costs_at(case, band.low, band.high)
    assert np.average(clean, weights=case.weight) == pytest.approx(band.clean)
    assert np.average(worst, weights=case.weight) == pytest.approx(band.worst)
    every = np.unique(np.concatenate([case.score, case.low, case.high, [9.0]]))
    pairs = [(a, b) for a in every for b in every if a <= b]
    assert band.worst == pytest.approx(min(by_hand(case, a, b)[1] for a, b in pairs))


@pytest.mark.parametrize("refer", [0.5, 3.0, 20.0])
def test_costs_of_any_two_thresholds_by_hand(refer):
    case = stakes(7, refer)
    for low, high in ((0.2, 0.7), (0.3, 0.35), (0.5, 0.5), (-np.inf, 0.4), (0.6, np.inf)):
        parts = costs_at(case, low, high)
        found = [np.average(part, weights=case.weight) for part in parts]
        assert found == pytest.approx(by_hand(case, low, high))


def by_prices(case: Stakes, low: float, high: float) -> float:
    """Worst cost of two thresholds where each move has its own reach, row by row."""
    total = []
    for i in range(len(case.no)):
        cost = {"no": case.no[i], "refer": case.refer[i], "yes": case.yes[i]}
        s, lows, highs = case.score[i], case.low[i], case.high[i]
        now = "no" if s < low else "refer" if s < high else "yes"
        can = {now}
        if now == "no":
            can |= {"yes"} if highs[0] >= high else set()
            can |= {"refer"} if highs[1] >= low and low < high else set()
        elif now == "yes":
            can |= {"no"} if lows[0] < low else set()
            can |= {"refer"} if lows[1] < high and low < high else set()
        else:
            can |= {"yes"} if highs[2] >= high else set()
            can |= {"no"} if lows[2] < low else set()
        worst = max(cost[name] for name in can)
        total.append((1 - case.rate[i]) * cost[now] + case.rate[i] * worst)
    return float(np.average(total, weights=case.weight))


@pytest.mark.parametrize("refer", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("seed", range(6))
def test_band_with_three_reaches_agrees_with_every_pair_by_hand(seed, refer):
    """Where attackers count, each change of a decision has a reach of its own."""
    case, rng = stakes(seed, refer, n=11), np.random.default_rng(seed)
    low, high = (rng.integers(0, 8, (11, 3)) / 20 for _ in range(2))
    case = case.moved((case.score, case.score[:, None] - low, case.score[:, None] + high))
    band = best_band(case)
    assert by_prices(case, band.low, band.high) == pytest.approx(band.worst)
    every = np.unique(np.concatenate([case.score, case.low.ravel(), case.high.ravel(), [9.0]]))
    pairs = [(a, b) for a in every for b in every if a <= b]
    costs = [by_prices(case, a, b) for a, b in pairs]
    assert band.worst == pytest.approx(min(costs))
    assert len({round(c, 9) for c in costs}) > 5
    low, high = (candidates(case)[1][place] for place in _together(case))
    banded = [cost for (a, b), cost in zip(pairs, costs, strict=True) if a < b]
    assert by_prices(case, low, high) == pytest.approx(min(banded))  # also where no human is better
    for a, b in pairs[::17]:
        worst = costs_at(case, a, b)[1]
        assert np.average(worst, weights=case.weight) == pytest.approx(by_prices(case, a, b))


@pytest.mark.parametrize("refer", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_three_equal_reaches_are_one(seed, refer):
    case = stakes(seed, refer, n=60)
    thrice = case.moved((case.score, *(np.tile(end[:, None], 3) for end in (case.low, case.high))))
    assert best_band(thrice).worst == pytest.approx(best_band(case).worst)


GAIN = [[0.0, 4.0], [3.0, 0.5]]


@pytest.mark.parametrize(
    ("prices", "refer"),
    [
        (dict(price_per_step=3.0), 0.4),
        (dict(price_per_step=3.0, price_per_attack=0.3), 0.4),
        (dict(price_per_attack=0.7), 0.6),
        (dict(gain=GAIN), 0.4),
        (dict(gain=GAIN, price_per_step=2.0, price_per_attack=0.2), 0.9),
        (dict(price_per_step=1.0), 3.0),
    ],
)
@pytest.mark.parametrize("bound", ["attacked", "certified"])
def test_a_human_and_attackers_with_prices_by_hand(two, bound, prices, refer):
    """Every pair of thresholds of a linear model: who gains more than the shortest move costs, moves."""
    X, y = two[0][:12], two[1][:12]
    model, radius = LogisticRegression().fit(*two), 1.0
    step, score = np.abs(model.coef_).sum(), model.decision_function(X)
    chosen = RobustThresholdClassifier(
        model, cost_matrix=MATRIX, radius=radius, refer_cost=refer, cv="prefit", bound=bound,
        response_method="decision_function", **prices,
    ).fit(X, y)  # fmt: skip
    each, once = prices.get("price_per_step", 0.0), prices.get("price_per_attack", 0.0)
    costs = [(MATRIX[k][0], refer, MATRIX[k][1]) for k in y]
    gains = costs
    if "gain" in prices:
        gains = [(GAIN[k][0], GAIN[k][k], GAIN[k][1]) for k in y]

    def worst(i: int, low: float, high: float) -> float:
        ends = [(-np.inf, low), (low, high), (high, np.inf)]  # no, refer, yes
        now = next(k for k, (a, b) in enumerate(ends) if a <= score[i] < b)
        found = costs[i][now]
        for k, (a, b) in enumerate(ends):
            length = max(a - score[i], score[i] - b, 0) / step
            if a >= b or length > radius:
                continue
            if gains[i][k] - gains[i][now] > once + each * length:
                found = max(found, costs[i][k])
        return found

    lengths = {0.0, radius}
    if each:
        lengths |= {
            min(radius, (g[k] - g[j] - once) / each)
            for g in gains for j in range(3) for k in range(3) if g[k] - g[j] > once
        }  # fmt: skip
    edges = np.unique([s + way * d * step for s in score for d in lengths for way in (-1, 1)])
    edges = edges[np.append(True, np.diff(edges) > 1e-9)]
    every = [-np.inf, *(edges[1:] + edges[:-1]) / 2, np.inf]
    case = {pair: np.mean([worst(i, *pair) for i in range(len(y))])
            for pair in ((a, b) for a in every for b in every if a <= b)}  # fmt: skip
    assert chosen.cost_ == pytest.approx(min(case.values()))
    low, high = chosen.refer_band_
    mine = [np.mean([worst(i, low, high) for i in range(len(y))])]
    assert mine == pytest.approx([chosen.cost_])
    assert chosen.worst_case_cost(X, y)[1] == pytest.approx(chosen.cost_)
    assert (low < high) == (refer < 2)


def test_band_where_asking_is_dear_but_a_mistake_dearer():
    """Rows that are safely one or the other, whom asking would cost more than any mistake about
    them, are kept out of the band; the few dear ones are asked about."""
    no, yes = np.repeat([[0.0, 1.0, 9.0, 0.0], [1.0, 0.0, 0.0, 9.0]], 5, axis=1)
    score = np.repeat([0.2, 0.8, 0.5, 0.5], 5) + np.tile(np.linspace(-0.02, 0.02, 5), 4)
    case = Stakes(
        no, yes, np.full(20, 2.0), score, score - 0.1, score + 0.1, np.ones(20), np.ones(20)
    )
    band = best_band(case)
    assert 0.3 < band.low < 0.4 and 0.6 < band.high < 0.7
    assert (band.clean, band.worst) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("bound", ["attacked", "certified"])
def test_linear_model_has_the_threshold_of_the_closed_form(two, bound):
    X, y = two
    model = LogisticRegression().fit(X, y)
    reach, radius = np.abs(model.coef_).sum(), 0.7
    worst = model.decision_function(X) + np.where(y == 0, 1, -1) * radius * reach
    every = np.append(np.sort(worst), np.inf)
    costs = [np.mean(np.where(y == 0, worst >= t, 5.0 * (worst < t))) for t in every]
    curve = cost_curve(model, X, y, cost_matrix=MATRIX, radius=radius, bound=bound)
    assert curve.worst[curve.best] == pytest.approx(min(costs))
    assert curve.bound == bound
    chosen = RobustThresholdClassifier(
        model, cost_matrix=MATRIX, radius=radius, bound=bound, cv="prefit"
    ).fit(X, y)
    assert chosen.cost_ == pytest.approx(min(costs))
    assert chosen.estimator_ is model
    found = expected_cost(chosen, X, y, cost_matrix=MATRIX, radius=radius, bound=bound)
    assert found == pytest.approx(min(costs), abs=1.5 * 5 / len(y))  # rows next to the threshold
    assert chosen.worst_case_cost(X, y) == pytest.approx((chosen.clean_cost_, chosen.cost_))


MODELS = {
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
    "forest": RandomForestClassifier(10, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=10),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "svm": LinearSVC(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_thresholded_models_are_seen_as_they_decide(two, model):
    """Costs from intervals, from an attack on the view, and from a proof of it, are in order."""
    X, y = two
    train, test = slice(0, 80), slice(80, 120)
    found = RobustThresholdClassifier(
        model, cost_matrix=MATRIX, radius=0.4, cv=2, random_state=0
    ).fit(X[train], y[train])
    score = "decision_function" if isinstance(model, LinearSVC) else "predict_proba"
    values = getattr(found, score)(X)
    values = values if values.ndim == 1 else values[:, 1]
    np.testing.assert_array_equal(found.predict(X), (values >= found.threshold_).astype(int))
    options = dict(cost_matrix=MATRIX, radius=0.4)
    low, high = (
        expected_cost(found, X[test], y[test], bound=b, random_state=0, **options)
        for b in ("attacked", "certified")
    )
    clean, worst = found.worst_case_cost(X[test], y[test])
    assert clean == pytest.approx(expected_cost(found, X[test], y[test], cost_matrix=MATRIX))
    assert clean <= worst and low <= high + 1e-12
    assert worst <= high + 1e-12
    if "forest" not in str(model).lower():
        assert worst == pytest.approx(low) == pytest.approx(high)
    forest = tree_view(found)
    assert (forest is None) == (model in (MODELS["pipeline"], MODELS["svm"]))
    if forest is not None:
        np.testing.assert_array_equal(forest.outputs(X).argmax(axis=1), found.predict(X))
    lower = certified_accuracy_score(found, X[test], y[test], radius=0.4)
    upper = robust_accuracy_score(found, X[test], y[test], radius=0.4, random_state=0)
    assert lower <= upper <= np.mean(found.predict(X[test]) == y[test])


@pytest.mark.parametrize("name", ["tree", "forest", "boosting", "svm"])
def test_proven_curves_lie_above_attacked_ones(two, name):
    X, y = two
    model = clone(MODELS[name]).fit(X[:80], y[:80])
    options = dict(cost_matrix=MATRIX, radius=0.3, random_state=0)
    low, high = (
        cost_curve(model, X[80:], y[80:], bound=bound, **options)
        for bound in ("attacked", "certified")
    )
    at = np.linspace(low.edges[0], low.edges[-1], 50)[1:-1]  # a proof leaves room for rounding
    found, proven = (np.array([curve.at(t) for t in at]).T for curve in (low, high))
    np.testing.assert_array_equal(found[0], proven[0])
    assert (found[1] <= proven[1] + 1e-12).all() and (proven[1] > proven[0]).any()
    if name == "tree":
        np.testing.assert_allclose(found[1], proven[1])


def test_constant_thresholds_are_views_too(two):
    X, y = two
    with pytest.warns(RobustnessWarning, match="always deciding 1"):
        model = RobustThresholdClassifier(
            LogisticRegression(), cost_matrix=MATRIX, radius=50.0
        ).fit(X, y)
    assert (model.predict(X) == 1).all() and model.threshold_ == -np.inf
    assert certified_accuracy_score(model, X, y, radius=50.0) == np.mean(y == 1)


def test_radius_and_rate_of_0_give_the_clean_optimum(two):
    X, y = two
    calm = RobustThresholdClassifier(LogisticRegression(), cost_matrix=MATRIX, radius=0).fit(X, y)
    rare = clone(calm).set_params(radius=1.0, attack_rate=0.0).fit(X, y)
    assert calm.threshold_ == rare.threshold_
    assert calm.cost_ == calm.clean_cost_ == rare.cost_
    np.testing.assert_array_equal(calm.cost_curve_.clean, calm.cost_curve_.worst)


def test_costs_are_those_of_held_out_rows(two):
    X, y = two
    model = RobustThresholdClassifier(
        LogisticRegression(), cost_matrix=MATRIX, radius=0.5, cv=StratifiedKFold(3)
    ).fit(X, y)
    expected = []
    for train, test in StratifiedKFold(3).split(X, y):
        part = LogisticRegression().fit(X[train], y[train])
        far = np.where(y[test] == 0, 0.5, -0.5) * np.abs(part.coef_).sum()
        worst = 1 / (1 + np.exp(-(part.decision_function(X[test]) + far)))
        decided = (worst >= model.threshold_).astype(int)
        expected.append(np.array(MATRIX)[y[test], decided].sum())
    assert model.cost_ == pytest.approx(sum(expected) / len(y))


def test_weights_amounts_and_seeds(two):
    X, y = two
    counts = np.random.default_rng(0).integers(1, 3, len(y))
    many = np.repeat(np.arange(len(y)), counts)
    model = LogisticRegression().fit(X, y)
    options = dict(cost_matrix=MATRIX, radius=0.5, cv="prefit", random_state=0)
    threshold = RobustThresholdClassifier(model, **options)
    repeated = clone(threshold).set_params(estimator=model).fit(X[many], y[many])
    weighted = RobustThresholdClassifier(model, **options).fit(X, y, sample_weight=counts)
    staked = RobustThresholdClassifier(model, **options).fit(X, y, amount=counts)
    assert repeated.threshold_ == weighted.threshold_ == staked.threshold_
    assert weighted.cost_ == pytest.approx(repeated.cost_)
    assert staked.cost_ == pytest.approx(repeated.cost_ * counts.mean())
    forest = RandomForestClassifier(5, random_state=0)
    a, b = (
        RobustThresholdClassifier(forest, cost_matrix=MATRIX, radius=0.5, random_state=1)
        .fit(X, y)
        .cost_curve_.worst
        for _ in range(2)
    )
    np.testing.assert_array_equal(a, b)


def test_who_attacks_wants_to_be_paid(two):
    """At a price per step, rows are moved as far as their gain allows."""
    X, y = two
    model = LogisticRegression().fit(X, y)
    curve = cost_curve(model, X, y, cost_matrix=MATRIX, radius=1.0, price_per_step=5.0)
    far = np.where(y == 0, 0.2, -1.0) * np.abs(model.coef_).sum()
    worst = 1 / (1 + np.exp(-(model.decision_function(X) + far)))
    for t in (0.2, 0.5, 0.8):
        clean = model.predict_proba(X)[:, 1] >= t
        both = np.array(MATRIX)[y, clean.astype(int)], np.array(MATRIX)[y, (worst >= t).astype(int)]
        assert curve.at(t)[1] == pytest.approx(np.maximum(*both).mean())


def test_rows_between_two_thresholds_go_to_a_human(two):
    X, y = two
    options = dict(cost_matrix=MATRIX, radius=1.0)
    alone = RobustThresholdClassifier(LogisticRegression(), **options).fit(X, y)
    model = RobustThresholdClassifier(
        LogisticRegression(), refer_cost=0.3, refer_label="ask", **options
    ).fit(X, y)
    low, high = model.refer_band_
    score = model.predict_proba(X)[:, 1]
    assert low < high and model.cost_ < alone.cost_
    np.testing.assert_array_equal(model.refers(X), (low <= score) & (score < high))
    labels = model.predict(X)
    assert (labels[model.refers(X)] == "ask").all() and set(labels) == {0, 1, "ask"}
    quiet = clone(model).set_params(refer_label=None).fit(X, y)
    assert set(quiet.predict(X)) == {0, 1} and quiet.refer_band_ == model.refer_band_
    clean, worst = model.worst_case_cost(X, y)
    assert clean < worst < expected_cost(quiet, X, y, **options)
    with pytest.raises((ValueError, UnsupportedEstimatorError)):
        expected_cost(model, X, y, **options)
    dear = clone(model).set_params(refer_cost=9.0).fit(X, y)
    assert dear.refer_band_[0] == dear.refer_band_[1] and dear.cost_ == alone.cost_


def test_inside_a_grid_search_and_a_frozen_estimator(two):
    X, y = two
    search = GridSearchCV(
        RobustThresholdClassifier(LogisticRegression(), cost_matrix=MATRIX, cv=2),
        {"radius": [0.0, 1.0], "estimator__C": [0.1, 1.0]},
        scoring=RobustScorer(radius=1.0, metric="cost", cost_matrix=MATRIX, random_state=0),
        cv=2,
    ).fit(X, y)
    assert search.best_params_["radius"] == 1.0
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    model = RobustThresholdClassifier(frozen, cost_matrix=MATRIX, cv=0.5, random_state=0).fit(X, y)
    assert model.n_features_in_ == 2


def test_data_frames_and_names():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X, y = X.iloc[:200, :4], y[:200].map({0: "ill", 1: "well"})
    threat = LpBall(scale="std", direction={"mean radius": "down"})
    model = RobustThresholdClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()),
        cost_matrix={("ill", "well"): 10, ("well", "ill"): 1},
        radius=0.3,
        threat=threat,
        attack_rate={"ill": 0.5},
        cv=2,
    ).fit(X, y)
    assert list(model.feature_names_in_) == list(X.columns) and model.threat_.is_bound
    assert set(model.predict(X)) <= {"ill", "well"} and 0 < model.threshold_ < 1


def test_passes_the_checks_of_scikit_learn():
    """But for one: what a threshold, or an offset for each class, is there for."""
    reason = "answers are those of least cost, not the classes of the largest score"
    model = RobustThresholdClassifier(LogisticRegression(), radius=0.01, cv=2)
    check_estimator(model, expected_failed_checks={"check_classifiers_train": reason})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (dict(cost_matrix=[[0, 1, 2]]), ValueError, "cost_matrix="),
        (dict(radius=-1), ValueError, "radius=-1"),
        (dict(attack_rate=2), ValueError, "attack_rate=2"),
        (dict(bound="both"), ValueError, "bound='both'"),
        (dict(response_method="predict"), ValueError, "response_method="),
        (dict(refer_cost=-1), ValueError, "refer_cost=-1"),
        (dict(estimator=RidgeClassifier, cost_matrix=MATRIX), TypeError, "estimator="),
        (dict(method="magic", bound="certified"), ValueError, "method='magic'"),
    ],
)
def test_words_for_what_is_wrong(two, options, error, words):
    X, y = two
    model = RobustThresholdClassifier(LogisticRegression(), cv=2).set_params(**options)
    with pytest.raises(error, match=words):
        model.fit(X, y)


def test_words_for_classes(two):
    X, y = two
    model = RobustThresholdClassifier(LogisticRegression())
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, np.linspace(0, 1, len(y)))
    with pytest.raises(ValueError, match="classifier of two classes"):
        three = LogisticRegression().fit(X, np.arange(len(y)) % 3)
        cost_curve(three, X, np.arange(len(y)) % 3, radius=0.1)
    with pytest.raises(ValueError, match="one class"):
        model.fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="labels of the classes"):
        model.set_params(cv=2).fit(X, y).worst_case_cost(X, y + 5)


def test_display_draws_the_curve_that_it_is_given(two):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    from skrobust.inspection import CostCurveDisplay

    X, y = two
    model = RobustThresholdClassifier(LogisticRegression(), cost_matrix=MATRIX, radius=0.5).fit(
        X, y
    )
    ax = Figure().subplots()
    made = CostCurveDisplay.from_estimator(model, X, y, cost_matrix=MATRIX, radius=0.5, ax=ax)
    curve = cost_curve(model, X, y, cost_matrix=MATRIX, radius=0.5)
    assert made.frame().equals(curve.frame()) and made.ax_ is ax
    assert made.marks["chosen"] == model.threshold_ and made.marks["usual"] == 0.5
    drawn = {line.get_label().split(":")[0]: line.get_xydata() for line in ax.get_lines()}
    at = made.marks["chosen"]
    np.testing.assert_allclose(drawn["chosen"], [[at, curve.at(at)[1]]])
    steps = [patch.get_data() for patch in ax.patches]
    np.testing.assert_array_equal(steps[0].values, curve.worst)
    np.testing.assert_array_equal(steps[1].values, curve.clean)
    again = CostCurveDisplay.from_curve(model.cost_curve_, marks={"mine": 0.3}, ax=ax)
    assert list(again.marks) == ["mine"]
