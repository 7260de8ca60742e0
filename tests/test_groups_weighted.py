"""Groups of rows that count differently: enumeration, closed forms, and how often tests err."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skrobust import group_comparison, robustness_report
from skrobust.inspection import _exact_tests as exact
from skrobust.inspection._weighted_tests import interval_of, paired, paired_interval, unpaired
from skrobust.metrics._intervals import clopper_pearson

X, y = make_classification(160, 5, n_informative=4, n_redundant=0, flip_y=0.1, random_state=0)
KIND = np.where(X[:, 0] > 0, "b", "c")


def seeded(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def test_equal_weights_are_no_weights():
    a, b, w = seeded(1).rand(40) < 0.8, seeded(2).rand(40) < 0.5, np.full(40, 3.0)
    assert unpaired(a, b, w, w, seeded()) == exact.unpaired(a, b, seeded())
    assert paired(a, b, w, seeded()) == exact.paired(a, b, seeded())
    assert interval_of(a, w, 0.9) == pytest.approx(exact.interval_of(a, 0.9))
    assert paired_interval(a, b, w, 0.9) == exact.paired_interval(a, b, 0.9)


def test_rows_of_no_weight_do_not_count():
    a, b = seeded(1).rand(40) < 0.8, seeded(2).rand(40) < 0.5
    w = np.where(np.arange(40) < 25, 1.0, 0.0)
    assert unpaired(a, b, w, w, seeded()) == exact.unpaired(a[:25], b[:25], seeded())
    assert paired(a, b, w, seeded()) == exact.paired(a[:25], b[:25], seeded())
    assert interval_of(a, w, 0.9) == pytest.approx(exact.interval_of(a[:25], 0.9))
    assert np.isnan(unpaired(a, b, 0 * w, w, seeded()))


def test_signs_of_few_differences_are_all_tried():
    a, b = np.array([1, 1, 1, 0, 1], bool), np.array([0, 0, 0, 0, 1], bool)
    w = np.array([1.0, 2.0, 4.0, 9.0, 9.0])
    assert paired(a, b, w, None) == 2 / 8  # 7 of +-1 +-2 +-4: one each way
    b[0], a[0] = True, False  # -1 + 2 + 4 = 5: 7 and 5 reach it, each way
    assert paired(a, b, w, None) == 4 / 8


def test_signs_of_many_differences_are_drawn():
    rng = seeded(3)
    gap, w = rng.randint(-3, 5, 14).astype(float), rng.randint(1, 5, 14).astype(float)
    signs = np.array(list(itertools.product([-1, 1], repeat=14)))
    seen = np.abs(signs @ (w * gap)) >= abs(w @ gap) - 1e-9
    assert paired(0 * gap, gap, w, seeded()) == pytest.approx(seen.mean(), abs=0.02)


def test_permutations_of_few_rows_by_enumeration():
    rng = seeded(5)
    x, w = rng.rand(9), rng.randint(1, 6, 9).astype(float)
    pooled = np.average(x, weights=w)

    def far(own: np.ndarray) -> float:
        mean, variance = [], 0.0
        for part in (own, np.setdiff1d(np.arange(9), own)):
            mean.append(np.average(x[part], weights=w[part]))
            variance += (w[part] ** 2 * (x[part] - pooled) ** 2).sum() / w[part].sum() ** 2
        return abs(mean[0] - mean[1]) / np.sqrt(variance)

    seen = far(np.arange(4))
    every = [far(np.array(own)) for own in itertools.combinations(range(9), 4)]
    expected = np.mean(np.array(every) >= seen - 1e-12)
    assert unpaired(x[:4], x[4:], w[:4], w[4:], seeded()) == pytest.approx(expected, abs=0.02)


def test_many_rows_follow_the_normal_law():
    rng = seeded(6)
    a, b, w, v = rng.rand(900) < 0.7, rng.rand(900) < 0.66, rng.rand(900) + 0.5, rng.rand(900) + 0.5
    means = np.average(a, weights=w), np.average(b, weights=v)
    pooled = np.average(np.append(a, b), weights=np.append(w, v))
    variance = sum((u**2 * (x - pooled) ** 2).sum() / u.sum() ** 2 for x, u in ((a, w), (b, v)))
    expected = 2 * stats.norm.sf(abs(means[0] - means[1]) / np.sqrt(variance))
    assert unpaired(a, b, w, v, seeded()) == pytest.approx(expected)


def strata(rng: np.random.RandomState, n: int, share: float, easy: float, hard: float):
    """Rows of two strata, one of them drawn too often; weights put that right: half and half."""
    first = rng.rand(n) < share
    return rng.rand(n) < np.where(first, easy, hard), np.where(
        first, 0.5 / share, 0.5 / (1 - share)
    )


def test_tests_err_as_often_as_they_say(monkeypatch):
    """Both groups are right in 70% of the population; 80% of one's rows are easy, 20% of the other's.

    Tests that count rows see a difference that is none; those that weigh them err in about 5%.
    """
    monkeypatch.setattr(exact, "N_DRAWS", 199)
    rng, n_studies, found = seeded(0), 400, {"weighed": 0, "counted": 0, "paired": 0}
    for _ in range(n_studies):
        a, w = strata(rng, 60, 0.8, 0.9, 0.5)
        b, v = strata(rng, 60, 0.2, 0.9, 0.5)
        found["weighed"] += unpaired(a, b, w, v, rng) <= 0.05
        found["counted"] += exact.unpaired(a, b, rng) <= 0.05
        same, w = strata(rng, 60, 0.8, 0.8, 0.8)
        found["paired"] += paired(same, rng.rand(60) < 0.8, w, rng) <= 0.05
    rate = {name: count / n_studies for name, count in found.items()}
    assert 0.02 <= rate["weighed"] <= 0.08 and rate["counted"] > 0.3
    assert 0.02 <= rate["paired"] <= 0.08  # three standard errors: 0.033


def test_tests_see_what_is_there(monkeypatch):
    """The easy rows hide that one group is worse in the population: only weights show it."""
    monkeypatch.setattr(exact, "N_DRAWS", 199)
    rng, n_studies, seen = seeded(1), 100, np.zeros(2)
    for _ in range(n_studies):
        a, w = strata(rng, 150, 0.8, 0.95, 0.3)  # 82% of rows, 62% of the population
        b, v = strata(rng, 150, 0.5, 0.85, 0.79)  # 82% of both
        seen += unpaired(a, b, w, v, rng) <= 0.05, exact.unpaired(a, b, rng) <= 0.05
    assert seen[0] / n_studies > 0.6 and seen[1] / n_studies < 0.15


def test_intervals_cover():
    rng, inside = seeded(2), np.zeros(2)
    for _ in range(300):
        a, w = strata(rng, 60, 0.8, 0.9, 0.5)
        b = np.where(rng.rand(60) < 0.3, rng.rand(60) < 0.7, a)  # a share of 0.7 either way
        low, high = interval_of(a, w, 0.95)
        inside += low <= 0.7 <= high, 1
        low, high = paired_interval(a, a.copy(), w, 0.95)
        assert low <= 0 <= high
        assert paired_interval(a, b, w, 0.95)[0] < paired_interval(a, b, w, 0.95)[1]
    assert inside[0] / inside[1] > 0.92
    w = np.repeat([1.0, 3.0], 10)
    n = w.sum() ** 2 / (w**2).sum()
    right = np.arange(20) % 2 == 0
    assert interval_of(right, w, 0.95) == pytest.approx(clopper_pearson(0.5, n))


def test_whole_comparison_and_report():
    models = {
        "plain": LogisticRegression().fit(X, y),
        "flat": LogisticRegression(C=1e-3).fit(X, y),
    }
    weight = np.where(y == 1, 4.0, 1.0)
    found = group_comparison(
        models, X, y, groups=KIND, radius=0.2, sample_weight=weight, random_state=0
    )
    frame = found.frame().query("measure == 'clean accuracy'")
    for record in frame.itertuples():
        right, own = models[record.estimator].predict(X) == y, KIND == record.group
        assert record.value == pytest.approx(np.average(right[own], weights=weight[own]))
        assert record.rest == pytest.approx(np.average(right[~own], weights=weight[~own]))
    plain, flat = (models[name].predict(X) == y for name in models)
    change = found.frame("changes").query("measure == 'clean accuracy' and group == 'b'").iloc[0]
    own = KIND == "b"
    assert change.p == paired(plain[own], flat[own], weight[own], seeded())  # few: all signs
    assert change.low <= change.change <= change.high
    report = robustness_report(
        models, X, y, radii=[0.2], groups=KIND, sample_weight=weight, diagnostics=False,
        features=False, explain=False, random_state=0,
    )  # fmt: skip
    assert report.frame("groups").equals(found.frame())
    html = report._repr_html_()
    assert "random signs" in html and "McNemar" not in html
