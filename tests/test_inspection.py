"""Reports: figures that are those of the scores, weak spots that are true, a page that stands alone."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skrobust import LpBall, RobustClassifier, robust_accuracy_score, robust_loss, robustness_curve
from skrobust.exceptions import ThreatNotBoundError
from skrobust.inspection import RobustnessReport, robustness_report
from skrobust.inspection._fragility import influence, sensitivity, smallest_radius
from skrobust.inspection._named import named_estimators
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._intervals import clopper_pearson

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
NAMES = [name.replace(" ", "_") for name in X.columns]
X = pd.DataFrame(StandardScaler().fit_transform(X), columns=NAMES).iloc[:120]
y = y.iloc[:120].map({0: "malignant", 1: "benign"})
MODEL = LogisticRegression().fit(X, y)
RADII = [0.1, 0.3]
GROUPS = np.where(X["mean_radius"] > 0.2, "large", "small")


@pytest.fixture(scope="module")
def report() -> RobustnessReport:
    return robustness_report(
        {"logistic": MODEL, "ridge <b>": LogisticRegression(C=0.01).fit(X, y)},
        X,
        y,
        radii=RADII,
        groups=GROUPS,
        random_state=0,
        max_rows=60,
    )


# Figures --------------------------------------------------------------------------------------


def test_scores_are_those_of_the_functions(report):
    curve = robustness_curve(MODEL, X, y, radii=RADII, random_state=0)
    np.testing.assert_array_equal(report.curves["logistic"].attacked, curve.attacked)
    np.testing.assert_allclose(report.curves["logistic"].interval, curve.interval)
    assert report.curves["logistic"].majority == curve.majority
    frame = report.frame()
    whole = frame[(frame.estimator == "logistic") & (frame.part == "all")]
    np.testing.assert_array_equal(whole.attacked, curve.attacked)
    assert (whole.certified.isna()).all() and (whole.n_rows == len(X)).all()
    low, high = clopper_pearson(curve.clean, len(X))
    assert whole.clean_low.iloc[0] == low and whole.clean_high.iloc[0] == high


def test_parts_are_those_of_their_rows(report):
    frame = report.frame().query("estimator == 'logistic' and radius == 0.3")
    parts = [(y == label, "class", label) for label in ("benign", "malignant")]
    parts += [(GROUPS == group, "group", group) for group in ("large", "small")]
    for mask, part, value in parts:
        one = frame[(frame.part == part) & (frame.value == value)].iloc[0]
        expected = robust_accuracy_score(MODEL, X[mask], y[mask], radius=0.3)
        assert one.attacked == pytest.approx(expected)
        assert one.n_rows == mask.sum() and one.low <= one.attacked <= one.high
        assert one.clean == pytest.approx(MODEL.score(X[mask], y[mask]))
    largest = y[GROUPS == "large"].value_counts(normalize=True).max()
    assert frame[frame.value == "large"].majority.iloc[0] == pytest.approx(largest)


def test_random_movement_harms_less_than_the_worst(report):
    frame = report.frame().query("part == 'all'")
    assert (frame.random > frame.attacked).all()
    bare = robustness_report(
        MODEL, X, y, radii=0.1, baselines=False, diagnostics=False, features=False, random_state=0
    )
    assert "random" not in bare.frame() and bare.diagnostics == []


def test_weights_count():
    weight = np.where(y == "benign", 3.0, 1.0)
    found = robustness_report(
        MODEL, X, y, radii=[0.3], sample_weight=weight, diagnostics=False, random_state=0
    )
    expected = robust_accuracy_score(MODEL, X, y, radius=0.3, sample_weight=weight)
    assert found.curves["LogisticRegression"].attacked[0] == pytest.approx(expected)
    whole = found.frame().query("part == 'all'").iloc[0]
    unweighted = robust_accuracy_score(MODEL, X, y, radius=0.3)
    assert whole.attacked != unweighted and whole.high - whole.low > 0.1


def test_regression():
    numbers, target = load_diabetes(return_X_y=True, as_frame=True)
    model = Ridge(0.1).fit(numbers, target)
    threat = LpBall(scale="std").bind(numbers)
    found = robustness_report(
        model, numbers[:80], target[:80], radii=[0.1, 0.2], threat=threat, random_state=0
    )
    expected = robust_loss(model, numbers[:80], target[:80], radius=0.2, threat=threat)
    assert found.curves["Ridge"].attacked[1] == pytest.approx(expected)
    assert found.focus == 0.2 and set(found.frame().part) == {"all"}
    assert [f.code for f in found.diagnostics if f.ok is False] == []
    html = found._repr_html_()
    assert "Loss by radius" in html and "always the mean of y" in html


# Weak spots -----------------------------------------------------------------------------------


def test_weak_columns_of_a_linear_model_are_exact():
    """One column flips a row exactly when its weight times the radius exceeds the margin."""
    found = sensitivity(
        MODEL, X, y, radius=0.9, threat="linf", max_rows=None, random=np.random.RandomState(0)
    )
    right = MODEL.predict(X) == y
    margin = np.abs(MODEL.decision_function(X))[right]
    expected = (margin[:, None] < 0.9 * np.abs(MODEL.coef_)).mean(axis=0)
    np.testing.assert_allclose(found.share, expected)
    assert found.n_rows == right.sum() and expected.max() > 0.02
    np.testing.assert_allclose(found.up + found.down, found.share)  # a line crosses once


def test_frozen_and_one_way_columns_are_respected():
    strong = [str(name) for name in X.columns[np.argsort(-np.abs(MODEL.coef_[0]))[:2]]]
    threat = LpBall(frozen=strong[:1], direction={strong[1]: "up"}).bind(X)
    found = sensitivity(
        MODEL, X, y, radius=2.0, threat=threat, max_rows=None, random=np.random.RandomState(0)
    )
    columns = dict(zip(X.columns, zip(*found[:3], strict=True), strict=True))
    assert columns[strong[0]] == (0, 0, 0)
    share, up, down = columns[strong[1]]
    assert down == 0 and share == up > 0


def test_smallest_radius_of_a_linear_model():
    evaluation = Evaluation(MODEL, X, y)
    found = evaluation.worst(1.0, evaluation.generator(0))
    first = np.where(found.broken, 1.0, np.inf)
    first[evaluation.clean.broken] = 0.0
    smallest, nearest = smallest_radius(evaluation, found, first)
    exact = np.abs(MODEL.decision_function(X)) / np.abs(MODEL.coef_).sum()
    broken = found.broken & ~evaluation.clean.broken
    np.testing.assert_allclose(smallest[broken], exact[broken], atol=1.0 / 1000)
    assert (smallest[broken] >= exact[broken] - 1e-12).all()
    assert (MODEL.predict(pd.DataFrame(nearest, columns=X.columns))[broken] != y[broken]).all()
    assert (smallest[evaluation.clean.broken] == 0).all() and np.isinf(
        smallest[~found.broken]
    ).all()


def test_influence_is_what_going_back_saves():
    rows = X.iloc[:5]
    z = rows.to_numpy() + 0.5
    found = influence(MODEL, rows, z, y.iloc[:5])
    sign = np.where(y.iloc[:5] == MODEL.classes_[1], -1, 1)
    np.testing.assert_allclose(found, sign[:, None] * 0.5 * MODEL.coef_, atol=1e-9)


def test_rows_of_a_report(report):
    rows = report.frame("rows").query("estimator == 'logistic'").set_index("row")
    assert list(rows.index) == list(X.index)
    wrong = MODEL.predict(X) != y
    assert (rows.smallest_radius[wrong] == 0).all() and (rows.smallest_radius[~wrong] > 0).all()
    attacked = (rows.smallest_radius > 0.3).mean()
    assert attacked == pytest.approx(report.curves["logistic"].attacked[-1])


# What a caller relies on ----------------------------------------------------------------------


def test_frames(report):
    features = report.frame("features")
    assert set(features.feature) == set(NAMES) and (features.radius == report.focus).all()
    findings = report.frame("diagnostics")
    assert list(findings.code[:12]) == [f"D{k}" for k in range(1, 13)]
    assert list(findings.estimator.unique()) == ["logistic", "ridge <b>"]
    budget = report.frame("budget").set_index("estimator")
    assert (budget.forward_per_row > 0).all() and (budget.seen_through == "torch").all()
    with pytest.raises(ValueError, match="kind='score'"):
        report.frame("score")
    assert len(report.diagnostics) == 24
    assert "attacked" in repr(report) and "most frequent class alone" in repr(report)


def test_page_stands_alone(report, tmp_path):
    path = report.save(tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>") and 'name="viewport"' in html
    assert "http" not in html and "<script" not in html and "src=" not in html
    assert all(target.startswith(("#", "data:")) for target in re.findall(r'href="([^"]*)"', html))
    assert html.count("<svg") == html.count("</svg>") >= 3
    ids = re.findall(r'\sid="([^"]+)"', html)
    clipped = set(re.findall(r"url\(#([^)]+)\)", html))
    assert clipped <= set(ids)
    assert len(clipped) == len([i for i in ids if i in clipped]), "pictures share ids"
    assert "ridge &lt;b&gt;" in html and "ridge <b>" not in html
    for word in (
        "@media print",
        "D12",
        "large",
        "malignant",
        "seed",
        "scikit-learn",
        "mean_radius",
    ):
        assert word in html
    with pytest.raises(ValueError, match="html"):
        report.save(tmp_path / "report.pdf")


def test_notebook_fragment_has_its_style_and_no_page(report):
    html = report._repr_html_()
    assert html.startswith('<div class="skrobust-report">') and "<body" not in html
    style = html.split("<style>")[1].split("</style>")[0]
    selectors = re.findall(r"^\s*([.\w][^{@]*)\{", style, re.M)
    assert selectors and all(".skrobust-report" in selector for selector in selectors)


def test_without_matplotlib_tables_remain(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    html = report._repr_html_()
    assert "<svg" not in html and "Most fragile columns" in html and "mean_radius" in html


class Cut:
    """A linear model whose graph is cut."""

    def __skrobust_torch__(self):
        weight, module = torch.tensor(MODEL.coef_[0]), torch.nn.Module()
        module.forward = lambda x: x.detach() @ weight.to(x.dtype)
        return module


def test_failed_checks_are_told():
    codes = (y == MODEL.classes_[1]).astype(int).to_numpy()
    found = robustness_report(
        {"cut": Cut()}, X.to_numpy(), codes, radii=0.2, attack="pgd", random_state=0, max_rows=60
    )
    assert "D3" in [finding.code for finding in found.diagnostics if finding.ok is False]
    html = found._repr_html_()
    assert "Do not rely on this figure" in html and 'class="doubt"' in html
    assert "checks failed" in repr(found)


def test_images():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    model = RobustClassifier(smoothing=0, max_epochs=2, random_state=0).fit(
        images[:500], labels[:500]
    )
    found = robustness_report(
        model, images[500:540], labels[500:540], radii=[0.1], diagnostics=False, random_state=0
    )
    html = found._repr_html_()
    assert "Most fragile rows" in html and "Most fragile columns" not in html
    assert html.count("<svg") == 4 and "data:image/png;base64" in html


def test_seed_is_written_down_and_enough():
    forest = RandomForestClassifier(10, random_state=0).fit(X, y)
    options = dict(radii=[0.2], diagnostics=False, max_rows=40)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = robustness_report(forest, X, y, **options)
    assert np.array_equal(before, np.random.get_state()[1])
    again = robustness_report(forest, X, y, random_state=first.info["seed"], **options)
    assert first.frame().equals(again.frame())
    assert first.frame("features").equals(again.frame("features"))


def test_groups_by_column_and_missing_groups():
    with pytest.raises(ValueError, match="groups"):
        robustness_report(MODEL, X, y, radii=0.1, groups="nobody")
    with pytest.raises(ValueError, match="one group for each"):
        robustness_report(MODEL, X, y, radii=0.1, groups=[1, 2])
    bare = dict(radii=0.1, diagnostics=False, features=False)
    groups = pd.Series(np.where(X["mean_radius"] > 0, 1.0, np.nan), index=X.index)
    found = robustness_report(MODEL, X, y, groups=groups, **bare)
    assert set(found.frame().query("part == 'group'").value) == {"1.0", "missing"}
    rounded = X.round(0)
    named = robustness_report(MODEL, rounded, y, groups="mean_radius", **bare)
    assert set(named.frame().query("part == 'group'").value) == set(rounded["mean_radius"])


def test_radius_0_alone():
    found = robustness_report(MODEL, X, y, radii=0, random_state=0)
    assert found.focus == 0 and found.diagnostics == []
    assert "Robustness report" in found._repr_html_()


def test_named_estimators():
    named = named_estimators([MODEL, ("mine", MODEL), MODEL])
    assert list(named) == ["LogisticRegression", "mine", "LogisticRegression 2"]
    with pytest.raises(ValueError, match="estimators"):
        named_estimators({})


def test_bad_input():
    with pytest.raises(ThreatNotBoundError):
        robustness_report(MODEL, X, y, radii=0.1, threat=LpBall(scale="std"))
    with pytest.raises(ValueError, match="radii"):
        robustness_report(MODEL, X, y, radii=[])
    target = np.arange(len(X), dtype=float) % 2
    both = [Ridge().fit(X, target), LogisticRegression().fit(X, target)]
    with pytest.raises(ValueError, match="classifiers only"):
        robustness_report(both, X, target, radii=0.1, features=False)
