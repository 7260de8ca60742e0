"""Groups: tests against scipy and against simulation; warnings that come when they should."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge

from skrobust import expected_cost, group_comparison, robust_accuracy_score, robustness_report
from skrobust.inspection._exact_tests import holm, paired, paired_interval, unpaired
from skrobust.inspection._groups import compare_groups
from skrobust.risk import row_costs

X, y = make_classification(200, 5, n_informative=4, n_redundant=0, flip_y=0.1, random_state=0)
KIND = np.where(np.arange(200) % 10 == 0, "few", np.where(X[:, 0] > 0, "b", "c"))
PLAIN, FLAT = LogisticRegression().fit(X, y), LogisticRegression(C=0.001).fit(X, y)
MODELS = {"plain": PLAIN, "flat": FLAT}
RANDOM = np.random.RandomState(0)


@pytest.fixture(scope="module")
def found():
    return group_comparison(MODELS, X, y, groups=KIND, radius=0.2, random_state=0)


# The tests themselves --------------------------------------------------------------------------


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, np.nan, 0.9]), [1.0, np.nan, 1.0])
    assert holm([]).tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_exact_tests_are_those_of_scipy(seed):
    random = np.random.RandomState(seed)
    a, b = random.rand(17) < 0.4, random.rand(30) < 0.8
    table = [[a.sum(), 17 - a.sum()], [b.sum(), 30 - b.sum()]]
    assert unpaired(a, b, random) == pytest.approx(stats.fisher_exact(table)[1])
    b = b[:17]
    lost, gained = (a & ~b).sum(), (~a & b).sum()
    n = lost + gained
    expected = min(1.0, 2 * stats.binom.cdf(min(lost, gained), n, 0.5))
    assert paired(a, b, random) == pytest.approx(expected)
    u, v = random.normal(size=9), random.normal(1, size=8)
    scipys = stats.permutation_test(
        (u, v), lambda p, q, axis: np.abs(p.mean(axis=axis) - q.mean(axis=axis)),
        alternative="greater", vectorized=True, n_resamples=np.inf,
    ).pvalue  # fmt: skip
    assert unpaired(u, v, random) == pytest.approx(scipys, abs=0.02)
    w = u + random.normal(0.5, size=9)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 9)).reshape(9, -1)
    whole = (np.abs(signs.T @ (w - u)) >= abs((w - u).sum()) - 1e-12).mean()
    assert paired(u, w, random) == pytest.approx(whole, abs=0.02)


def test_nothing_to_compare():
    none = np.zeros(0, dtype=bool)
    assert np.isnan(unpaired(none, np.ones(3, bool), RANDOM)) and np.isnan(
        paired(none, none, RANDOM)
    )
    assert paired(np.ones(3, bool), np.ones(3, bool), RANDOM) == 1.0


def test_levels_hold_in_simulation():
    """Of equal groups, any is called different in at most 5% of the trials; so with harm."""
    random, wrong, harmed = np.random.RandomState(1), 0, 0
    groups = np.repeat(["a", "b", "c"], [60, 40, 15])
    for _ in range(150):
        one, two, u = (random.rand(115) < 0.6 for _ in range(3))  # as good as each other
        found = compare_groups({"p": {"clean accuracy": one}, "q": {"clean accuracy": two}}, groups)
        harmed += any(r["verdict"] == "harmed" for r in found.changes)
        alone = compare_groups({"p": {"clean accuracy": u}}, groups)
        wrong += min(r["p_holm"] for r in alone.groups) <= 0.05
    most = stats.binom.ppf(0.999, 150, 0.05)
    assert wrong <= most and harmed <= most


def test_intervals_of_changes_cover_in_simulation():
    random, missed = np.random.RandomState(2), 0
    for _ in range(400):
        draw = random.rand(40)
        a, b = draw < 0.7, (draw > 0.1) & (draw < 0.75)  # lost 0.10, gained 0.05
        low, high = paired_interval(a, b, 0.95)
        missed += not low <= -0.05 <= high
    assert missed <= 0.05 * 400


def test_interval_of_a_change_goes_with_the_test():
    """It leaves out 0 exactly where McNemar's p is at most four fifths of the doubt."""
    random, both = np.random.RandomState(3), set()
    for _ in range(200):
        n = random.randint(5, 60)
        a, b = random.rand(n) < 0.7, random.rand(n) < random.choice([0.3, 0.6, 0.9])
        low, high = paired_interval(a, b, 0.95)
        p = paired(a, b, random)
        assert (not low <= 0 <= high) == (p <= 0.04)
        assert low - 1e-12 <= b.mean() - a.mean() <= high + 1e-12
        both.add(p <= 0.04)
    assert both == {True, False}


# What is found --------------------------------------------------------------------------------


def test_figures_are_those_of_the_rows(found):
    for record in found.groups:
        mask, model = KIND == record["group"], MODELS[record["estimator"]]
        radius = 0.2 if record["measure"].startswith("robust") else 0.0
        expected = robust_accuracy_score(model, X[mask], y[mask], radius=radius)
        assert record["value"] == pytest.approx(expected) and record["n_rows"] == mask.sum()
        rest = robust_accuracy_score(model, X[~mask], y[~mask], radius=radius)
        assert record["rest"] == pytest.approx(rest)
        right = round(expected * mask.sum()), round(rest * (~mask).sum())
        table = [[right[0], mask.sum() - right[0]], [right[1], (~mask).sum() - right[1]]]
        assert record["p"] == pytest.approx(stats.fisher_exact(table)[1])
        assert record["p_holm"] >= record["p"]
    assert len(found.groups) == 2 * 2 * 3 and len(found.changes) == 2 * 3
    assert found.reference == "plain" and len(found.frame("changes")) == 6


def test_a_small_group_that_pays_is_told():
    right = np.ones(400, dtype=bool)
    groups = np.repeat(["many", "few"], [380, 20])
    after = right.copy()
    after[380:392] = False  # 12 of the 20 lost, nobody else
    measures = {"plain": {"clean accuracy": right}, "robust": {"clean accuracy": after}}
    found = compare_groups(measures, groups)
    few, many = found.changes
    assert (few["group"], few["verdict"]) == ("few", "harmed") and few["n_lost"] == 12
    assert many["verdict"] == "no sign of harm" and few["change"] == pytest.approx(-0.6)
    assert any("few (20 rows)" in text and "harmed" in text for text in found.warnings)
    after[:] = True
    after[380:382] = False  # 2 of 20: nobody can tell
    found = compare_groups({**measures, "robust": {"clean accuracy": after}}, groups)
    assert found.changes[0]["verdict"] == "perhaps harmed"
    assert found.changes[0]["low"] < -0.2 and "nor that it is not" in found.warnings[-1]
    better = compare_groups(
        {"p": {"clean accuracy": after}, "q": {"clean accuracy": right}}, groups
    )
    assert {r["verdict"] for r in better.changes} == {"no sign of harm"}


def test_two_groups_are_one_test():
    right = np.arange(40) % 3 > 0
    found = compare_groups({"m": {"clean accuracy": right}}, np.repeat(["a", "b"], 20))
    assert found.groups[0]["p"] == found.groups[1]["p"] == found.groups[0]["p_holm"]
    alone = compare_groups({"m": {"clean accuracy": right}}, np.full(40, "a"))
    assert np.isnan(alone.groups[0]["p"]) and alone.warnings == []


def test_costs_and_losses_are_numbers_where_less_is_better():
    costs = {"plain": np.ones(200), "flat": np.where(KIND == "few", 3.0, 1.0)}
    found = group_comparison(
        MODELS, X, y, groups=KIND, radius=0.1, costs=costs, random_state=0
    ).frame("changes")
    cost = found[found.measure == "cost"].set_index("group")
    assert cost.loc["few", "verdict"] == "harmed" and cost.loc["few", "change"] == 2.0
    assert cost.loc["b", "verdict"] == "no sign of harm"
    target = X @ [1.0, 2, 0, 0, 1]
    models = {"good": Ridge(1e-3).fit(X, target), "bad": Ridge(1e4).fit(X, target)}
    lost = group_comparison(models, X, target, groups=KIND, radius=0.1, random_state=0)
    assert {r["verdict"] for r in lost.changes} == {"harmed"}
    assert {r["measure"] for r in lost.groups} == {"clean loss", "robust loss"}


def test_costs_of_decisions():
    """False alarms cost 1, misses 5, under attack: the mean cost of each group, in the report too."""
    price = np.array([[0.0, 1.0], [5.0, 0.0]])
    where = dict(cost_matrix=price, radius=0.2, attack_rate=0.5, random_state=0)
    costs = {
        name: row_costs(model, X, y, bound="attacked", **where) for name, model in MODELS.items()
    }
    report = robustness_report(
        MODELS, X, y, radii=[0.2], groups=KIND, costs=costs, diagnostics=False, features=False,
        explain=False, random_state=0,
    )  # fmt: skip
    frame = report.frame("groups").query("measure == 'cost'")
    assert len(frame) == 2 * 3
    for record in frame.itertuples():
        expected = costs[record.estimator].expected()[KIND == record.group].mean()
        assert record.value == pytest.approx(expected)
        mask, model = KIND == record.group, MODELS[record.estimator]
        assert record.value == pytest.approx(expected_cost(model, X[mask], y[mask], **where))
    assert "cost" in report._repr_html_() and "| cost |" in report.model_card("flat")
    clean = row_costs(PLAIN, X, y, cost_matrix=price, bound="clean")
    found = group_comparison(
        PLAIN, X, y, groups=KIND, radius=0.0, costs={"LogisticRegression": clean}
    )
    value = found.frame().query("measure == 'cost' and group == 'few'").value.iloc[0]
    assert value == pytest.approx(clean.clean[KIND == "few"].mean())


def test_report_agrees_and_says_so(found):
    report = robustness_report(
        MODELS, X, y, radii=[0.2], groups=KIND, diagnostics=False, features=False,
        explain=False, random_state=0,
    )  # fmt: skip
    pd.testing.assert_frame_equal(report.frame("groups"), found.frame("groups"))
    pd.testing.assert_frame_equal(report.frame("changes"), found.frame("changes"))
    html = report._repr_html_()
    assert "Are the groups served alike?" in html and "McNemar" in html
    other = robustness_report(
        MODELS, X, y, radii=[0.2], groups=KIND, diagnostics=False, features=False,
        explain=False, random_state=0, reference="flat",
    )  # fmt: skip
    assert {r["estimator"] for r in other.groups.changes} == {"plain"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"groups": KIND[:3]}, "one group for each"),
        ({"groups": "age"}, "a column of X"),
        ({"reference": "other"}, "name of one of the models"),
        ({"radius": -1}, "radius"),
        ({"confidence": 1.0}, "confidence"),
        ({"tolerance": 2}, "tolerance"),
        ({"costs": {"other": np.ones(200)}}, "names of the models"),
        ({"costs": {"plain": np.ones(3)}}, "one number for each"),
        ({"costs": {"plain": ["a"] * 200}}, "one number for each"),
        ({"costs": np.ones(200)}, "a dict"),
    ],
)
def test_bad_input(options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        group_comparison(MODELS, X, y, **{"groups": KIND, "radius": 0.1, **options})
