"""Checks of a sample: planted defects are found, sound samples are left alone, statistics are right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer

from skrobust.inspection import DataFinding, check_data
from skrobust.inspection._data_rows import duplicates, in_steps, near_pairs
from skrobust.inspection._data_tests import chi_square, classifier_test, holm, ks, outside


def sample(n=400, seed=0, flipped=0.0, apart=4):
    """Two separate classes in four columns."""
    random = np.random.RandomState(seed)
    y = random.randint(2, size=n)
    X = random.normal(size=(n, 4))
    X[:, 0] += apart * y
    wrong = random.rand(n) < flipped
    return X, np.where(wrong, 1 - y, y), wrong


def severities(report):
    return {finding.code: finding.severity for finding in report.findings}


def test_a_sound_sample_raises_nothing():
    X, y, _ = sample()
    later, test = sample(seed=1)[0], sample(seed=2)[0]
    sites = np.array(["a", "b"])[np.arange(400) % 2]
    report = check_data(X, y, operation=later, test=test, groups=sites, random_state=0)
    assert severities(report) == {f"R{k}": "ok" for k in range(1, 12)}
    assert report.ok and report.failed == [] and "11 of 11" in repr(report)
    assert report.frame("rows").columns.tolist() == ["row", "why", "other"]


def test_false_alarms_of_the_shift_tests_are_rare():
    """20 pairs of alike samples: at level .05, more than 4 alarms of a test have chance .003."""
    alarms = {"R6": 0, "R7": 0, "R8": 0}
    for seed in range(20):
        random = np.random.RandomState(seed)
        X, later = random.normal(size=(2, 150, 6))
        report = check_data(X, operation=later, min_effect=1e-6, random_state=seed)
        for finding in report.findings:
            if finding.code in alarms:
                alarms[finding.code] += finding.ok is False
    assert max(alarms.values()) <= 4


def frame_with_defects():
    X, y, _ = sample()
    X = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    X["kind"] = np.where(np.arange(len(X)) % 3 == 0, "red", "blue")
    later = X.copy()
    X["fixed"], later["fixed"] = 1.0, 1.0
    later["b"] += 1.0
    later["kind"] = np.where(np.arange(len(X)) % 3 == 0, "blue", "red")
    later.loc[later.index[:80], "c"] = 50.0
    X.loc[X.index[:150], "d"] = np.nan
    return X, y, later


def test_defects_are_found_and_named():
    X, y, later = frame_with_defects()
    report = check_data(X, y, operation=later, random_state=0)
    found = {finding.code: finding for finding in report.findings}
    assert found["R1"].severity == "serious" and found["R1"].value == 150 / 400
    assert "Missing: d (37.5%)." in found["R1"].advice
    assert "In operation other shares are missing: d (0%)." in found["R1"].advice
    assert found["R2"].severity == "warning" and "fixed" in found["R2"].advice
    assert found["R6"].severity == "serious" and found["R6"].value >= 0.2
    assert "c (" in found["R6"].advice
    assert found["R7"].severity == "serious" and "b (" in found["R7"].advice
    assert "kind (0.33)" in found["R7"].advice  # shares 1/3 and 2/3: Cramer's V is 1/3
    assert found["R8"].severity == "serious" and found["R8"].value > 0.75
    assert found["R10"].ok is None and found["R4"].ok is None
    columns = report.frame("columns").set_index("column")
    assert columns.loc["d", "missing"] == 0.375 and columns.loc["c", "outside"] >= 0.2
    assert report.failed[0].severity == "serious" and not report.ok
    assert set(report.frame().severity) >= {"serious", "warning", "n/a"}


def test_the_kinds_of_copies():
    X, y, _ = sample()
    X[10], X[11] = X[3], X[4] + 0.001
    test = np.vstack([X[:20], sample(seed=5)[0][:180]])
    test[1] += 0.0005
    report = check_data(X, y, test=test, random_state=0)
    found = {finding.code: finding for finding in report.findings}
    assert found["R9"].severity == "note" and found["R9"].value == 2 / 400
    assert found["R10"].severity == "serious" and found["R10"].value == 20 / 200
    rows = report.frame("rows")
    assert rows[rows.why == "equal to"][["row", "other"]].to_numpy().tolist() == [[10, 3]]
    assert rows[rows.why == "nearly equal to"][["row", "other"]].to_numpy().tolist() == [[11, 4]]
    assert (rows.why == "test row equal to").sum() == 19
    assert "20 test rows (10.0%) are in the sample, 19 exactly" in found["R10"].advice


def test_copies_by_brute_force():
    random = np.random.RandomState(0)
    values = random.randint(3, size=(200, 4)).astype(float)
    values[random.rand(*values.shape) < 0.05] = np.nan
    kinds = np.array([False, False, True, False])
    steps = in_steps(values, kinds, values)
    equal = duplicates(steps)
    for i in range(200):
        earlier = [
            j
            for j in range(i)
            if all(a == b or (a != a and b != b) for a, b in zip(values[i], values[j], strict=True))
        ]
        assert equal[i] == (earlier[0] if earlier else -1)
    spread = random.normal(size=(150, 3))
    near = near_pairs(spread, None, 0.3)
    for i in range(150):
        close = [j for j in range(i) if np.abs(spread[i] - spread[j]).max() <= 0.3]
        assert (near[i] >= 0) == bool(close) and (not close or near[i] in close)


def test_categories_are_never_near():
    frame = pd.DataFrame({"x": [1.0, 1.0, 5.0], "kind": ["a", "b", "a"]})
    values = np.column_stack([frame.x, [0.0, 1.0, 0.0]])
    steps = in_steps(values, np.array([False, True]), values)
    assert near_pairs(steps, None, 0.5).tolist() == [-1, -1, -1]


def test_flipped_labels_are_found():
    X, y, wrong = sample(n=600, flipped=0.06, apart=6)
    report = check_data(X, y, random_state=0)
    finding = report.findings[-1]
    rows = report.frame("rows")["row"].to_numpy()
    assert finding.severity == "warning" and finding.value == pytest.approx(wrong.mean(), abs=0.02)
    assert wrong[rows].mean() > 0.9 and wrong[rows].sum() > 0.8 * wrong.sum()


def test_equal_rows_of_two_labels_are_in_doubt():
    X, y, _ = sample()
    X[50], y[50] = X[7], 1 - y[7]
    report = check_data(X, y, random_state=0)
    rows = report.frame("rows")
    assert rows[rows.why == "label against an equal row"].row.tolist() == [50]


def test_classes_and_groups_of_few_rows():
    X, y, _ = sample()
    y = np.where(np.arange(400) < 20, "rare", "common")
    sites = np.where(np.arange(400) < 60, "small", "large")
    X[sites == "small", 1] = 0.01 * X[sites == "small", 1]  # this site knows values about 0 only
    report = check_data(X, y, groups=sites, random_state=0)
    found = {finding.code: finding for finding in report.findings}
    assert (found["R3"].severity, found["R3"].value) == ("serious", 20)
    assert "about 2,000 rows" in found["R3"].advice
    assert (found["R4"].severity, found["R4"].value) == ("warning", 60)
    assert found["R5"].severity == "warning" and "x1" in found["R5"].advice
    groups = report.frame("groups").set_index("group")
    assert groups.loc["small", "narrowest"] == "x1" and groups.loc["large", "covered"] == 1
    assert groups.n_rows.to_dict() == {"large": 340, "small": 60}


def test_columns_of_repeated_values_have_fewer_tenths():
    X, _, _ = sample()
    X[:320, 2] = 0.0  # four fifths of the values are one
    sites = np.array(["a", "b"])[np.arange(400) % 2]
    report = check_data(X, groups=sites, random_state=0)
    assert severities(report)["R5"] == "ok" and report.frame("groups").covered.tolist() == [1, 1]


def test_targets_of_regression_and_no_targets():
    X, _, _ = sample()
    for y in (None, X[:, 0] + 0.5):
        report = check_data(X, y, random_state=0)
        assert [f.code for f in report.findings if f.ok is None] == [
            "R3", "R4", "R5", "R6", "R7", "R8", "R10", "R11",
        ]  # fmt: skip


def test_holm_by_hand():
    # .01 x 4, .02 x 3, .03 x 2 (not below the one before), .5 x 1
    p = np.array([0.03, 0.01, 0.5, 0.02])
    assert holm(p) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def test_statistics_of_columns_are_scipys():
    random = np.random.RandomState(0)
    first, second = random.normal(size=80), random.normal(0.4, 1, size=60)
    theirs = stats.ks_2samp(first, second)
    assert ks(np.append(first, np.nan), second) == pytest.approx((theirs.statistic, theirs.pvalue))
    one, two = random.randint(3, size=90).astype(float), random.randint(4, size=70).astype(float)
    table = [[(part == k).sum() for k in range(4)] for part in (one, two)]
    theirs = stats.chi2_contingency(table, correction=False)
    assert chi_square(one, two).p_value == pytest.approx(theirs.pvalue)
    assert chi_square(one, two).effect == pytest.approx(stats.contingency.association(table))


def test_law_of_rows_outside_the_range():
    """Beta-binomial, against simulation: exact however few rows there are."""
    random, n, m = np.random.RandomState(0), 30, 20
    old, new = random.rand(20_000, n), random.rand(20_000, m)
    out = ((new < old.min(1)[:, None]) | (new > old.max(1)[:, None])).sum(axis=1)
    place = np.linspace(0.0, 1.0, n)
    for count in (1, 3, 6):
        rows = np.append(np.full(m - count, 0.5), np.full(count, 2.0))
        share, p_value = outside(place, rows)
        assert share == count / m
        assert p_value == pytest.approx((out >= count).mean(), abs=0.01)


def test_classifier_sees_what_no_column_shows():
    """Same margins, other correlation."""
    random = np.random.RandomState(0)
    X, later = random.normal(size=(2, 1500, 2))
    later[:, 1] = 0.9 * later[:, 0] + np.sqrt(1 - 0.81) * later[:, 1]
    report = check_data(X, operation=later, random_state=0)
    assert severities(report)["R7"] == "ok" and severities(report)["R8"] in ("warning", "serious")
    area, p_value, held_out = classifier_test(X, later, np.random.RandomState(0))
    assert area > 0.65 and p_value < 1e-6 and held_out == 1500


def test_bundled_data_and_html():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    first, second = np.arange(569) % 2 == 0, np.arange(569) % 2 == 1
    report = check_data(X[first], y[first], test=X[second], operation=X[second], random_state=0)
    assert report.ok
    html = report._repr_html_()
    assert "R8" in html and "src=" not in html and "http" not in html
    again = check_data(X[first], y[first], test=X[second], operation=X[second], random_state=0)
    assert again.frame().equals(report.frame())


def test_finding_speaks():
    finding = DataFinding("R1", True, 0.0, "Fine.", "Nothing is missing", severity="ok")
    assert str(finding) == "R1  ok  Nothing is missing: Fine." and finding.verdict == "passed"


X0, Y0, _ = sample(60)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (X0, dict(y=Y0[:10]), "one label for each of the 60 rows"),
        (X0, dict(operation=X0[:, :2]), "4 columns, as X has"),
        (X0[:, 0], {}, "a table"),
        (X0[:0], {}, "a table"),
        (X0, dict(groups="site"), "a column of X"),
        (X0, dict(groups=[1, 2]), "one group for each"),
        (X0, dict(alpha=0), "alpha=0.0 is not valid"),
        (X0, dict(max_rows=3), "max_rows=3 is not valid"),
        (
            pd.DataFrame({"when": pd.to_datetime(["2020-01-01"] * 3)}),
            dict(test=X0),
            "4 columns|dates",
        ),
        (np.array([[object()]]), {}, "a table of numbers and text"),
    ],
)
def test_errors_say_what_to_do(given, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_data(given, **options)
