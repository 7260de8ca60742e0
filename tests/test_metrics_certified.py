"""Proofs beside attacks: what curves and reports say of all rows like those given."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from skrobust import RobustClassifier, certified_accuracy_score
from skrobust.certificates import population_statement
from skrobust.exceptions import RobustnessWarning
from skrobust.inspection import RobustnessCurveDisplay, robustness_report
from skrobust.metrics import Pinball, _certified, robustness_curve
from skrobust.metrics._certified import Proven, largest_loss, without_contradictions
from skrobust.metrics._intervals import (
    clopper_pearson,
    normal_high,
    normal_interval,
    proven_low,
    sandwich,
    tolerance,
)
from skrobust.metrics._losses import check_loss

X, y = load_iris(return_X_y=True)
X, y = X[::2], (y[::2] == 1).astype(int)
MODEL = LogisticRegression().fit(X, y)
RADII = np.array([0.0, 0.1, 0.3])


# Statements about all rows --------------------------------------------------------------------


@pytest.mark.parametrize("doubt", [0.0, 0.01])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.85, 0.999])
@pytest.mark.parametrize("n", [20, 300])
def test_proven_low_covers_whatever_the_share(n, share, doubt):
    """Summed over all counts: rows that cannot be broken are proven, and a few others by chance."""
    counts = np.arange(n + 1)
    seen = share + (1 - share) * doubt
    low = np.array([proven_low(count / n, n, 0.95, doubt) for count in counts])
    assert stats.binom.pmf(counts, n, seen)[low > share].sum() <= 0.05 + 1e-9


def test_the_sandwich_covers_what_lies_between():
    """Of 200 rows a tenth is never proven and a twentieth never broken, though it could be."""
    rng, truth, inside = np.random.default_rng(0), 0.8, 0
    for _ in range(400):
        kind = rng.choice(4, size=200, p=[0.7, 0.1, 0.05, 0.15])
        robust = kind <= 1
        assert abs(robust.mean() - truth) < 0.2
        low, high = sandwich((kind == 0).mean(), (kind <= 2).mean(), 200, 0.9)
        inside += low <= truth <= high
    assert inside >= 0.95 * 400
    assert sandwich(0.5, 0.5, 100) == pytest.approx(clopper_pearson(0.5, 100))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_tolerance_covers(share):
    rng = np.random.default_rng(0)
    bounds = [tolerance(rng.exponential(size=60), share, 0.9) for _ in range(2000)]
    enough = stats.expon.cdf(bounds) >= share
    assert 0.9 - 3 * np.sqrt(0.09 / 2000) <= enough.mean() < 0.99


@pytest.mark.parametrize("loss", ["squared", "absolute", "over", "under", Pinball(0.3)])
def test_largest_loss_is_that_of_a_grid(loss):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(30, 1))
    high, target = low + rng.exponential(size=(30, 1)), rng.normal(size=(30, 1))
    of = check_loss(loss)
    grid = [
        of(torch.tensor(low + share * (high - low)), torch.tensor(target)).numpy()
        for share in np.linspace(0, 1, 101)
    ]
    np.testing.assert_allclose(largest_loss(of, low, high, target), np.max(grid, axis=0))


# Curves -----------------------------------------------------------------------------------------


def margins(estimator, rows, labels):
    """Signed distance of a linear model's rows in linf."""
    signs = np.where(labels == 1, 1, -1)
    return signs * estimator.decision_function(rows) / np.abs(estimator.coef_).sum()


@pytest.fixture
def proven(monkeypatch):
    """Proofs of linear models by their closed form, some of them withheld or wrong."""
    asked = {"withhold": 0.0, "doubt": 0.0}

    def prove(estimator, rows, targets, radii, threat, method, loss):
        asked.update(method=method, threat=threat)
        if loss is None:
            room, varies = margins(estimator, rows, targets) - asked["withhold"], None
            values = np.array([(room > r).astype(float) for r in radii])
        else:
            center, slope = estimator.predict(rows)[:, None], np.abs(estimator.coef_).sum()
            values = [
                largest_loss(loss, center - r * slope, center + r * slope, targets) for r in radii
            ]
            room, varies = None, np.array([np.full(len(rows), r * slope) for r in radii])
        return Proven(np.array(values), room, varies, asked["doubt"], "by hand")

    monkeypatch.setattr(_certified, "_provers", [prove])
    return asked


def test_curve_of_a_linear_model_meets_its_proof(proven):
    curve = robustness_curve(MODEL, X, y, radii=RADII, certify=True)
    np.testing.assert_allclose(curve.certified, curve.attacked)
    expected = [clopper_pearson(share, len(X)) for share in curve.attacked]
    np.testing.assert_allclose(curve.interval, expected)
    assert proven["method"] == "auto" and curve.method == "by hand"
    at_most = [1 - clopper_pearson(share, len(X), 0.9)[0] for share in curve.attacked]
    np.testing.assert_allclose(curve.at_most, at_most)


def test_certify_itself_proves_for_curves():
    curve = robustness_curve(MODEL, X, y, radii=RADII, certify=True)
    np.testing.assert_allclose(curve.certified, curve.attacked)
    assert curve.method == "linear"
    rows, target = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(rows, target)
    curve = robustness_curve(model, rows[:50], target[:50], radii=[0.0, 0.01], certify=True)
    np.testing.assert_allclose(curve.certified, curve.attacked, rtol=1e-6)
    slope = np.abs(model.coef_).sum()
    np.testing.assert_allclose(curve.variation, [0, 0.01 * slope], atol=1e-6, rtol=1e-6)
    report = robustness_report(
        model, rows[:50], target[:50], radii=[0.01], certify=True, diagnostics=False, features=False
    )
    assert report.frame()["variation"][0] == pytest.approx(0.01 * slope)
    assert "predictions move by at most" in report._repr_html_()


def test_rows_proven_one_radius_after_the_other():
    net = RobustClassifier(radius=0.1, max_epochs=5, random_state=0).fit(X, y)
    curve = robustness_curve(net, X, y, radii=RADII, certify="interval")
    one_by_one = [
        certified_accuracy_score(net, X, y, radius=r, method="interval") for r in RADII[1:]
    ]
    np.testing.assert_allclose(curve.certified[1:], one_by_one)
    assert curve.certified[0] == curve.clean
    assert (curve.certified <= curve.attacked).all()


def test_what_is_not_proven_lowers_the_interval_alone(proven):
    whole = robustness_curve(MODEL, X, y, radii=RADII, certify="mine")
    assert proven["method"] == "mine"
    proven["withhold"] = 0.1
    part = robustness_curve(MODEL, X, y, radii=RADII, certify=True)
    assert (part.certified <= part.attacked).all() and (
        part.certified[1:] < whole.certified[1:]
    ).all()
    assert (part.attacked == whole.attacked).all()
    assert (part.interval[1:, 0] < whole.interval[1:, 0]).all()
    np.testing.assert_array_equal(part.interval[:, 1], whole.interval[:, 1])
    assert (np.diff(part.certified) <= 0).all() and (np.diff(part.at_most) >= 0).all()
    text = part.statement(0.3)
    assert f"at most {part.at_most[2]:.1%}" in text and "95% confidence" in text
    assert {"certified", "at_most"} <= set(part.frame().columns)


def test_doubt_of_a_proof_is_taken_off(proven):
    sure = robustness_curve(MODEL, X, y, radii=[0.1], certify=True)
    proven["doubt"] = 0.05
    unsure = robustness_curve(MODEL, X, y, radii=[0.1], certify=True)
    assert unsure.interval[0, 0] == pytest.approx(sure.interval[0, 0] - 0.05)
    assert unsure.at_most[0] == pytest.approx(sure.at_most[0] + 0.05)


def test_without_a_proof_nothing_changes(proven):
    curve = robustness_curve(MODEL, X, y, radii=RADII)
    assert curve.certified is None and curve.at_most is None
    assert "Nothing is proven" in curve.statement(0.1)
    assert "at_most" not in curve.frame().columns
    with pytest.raises(ValueError, match="radius=0.7"):
        curve.statement(0.7)


def test_weights_count(proven):
    weight = np.where(margins(MODEL, X, y) > 0.2, 1.0, 0.0)
    curve = robustness_curve(MODEL, X, y, radii=[0.1], sample_weight=weight, certify=True)
    assert curve.certified == [1.0]
    assert curve.interval[0, 0] == pytest.approx(clopper_pearson(1.0, weight.sum())[0])


def test_a_proof_that_an_attack_breaks_is_reported(proven):
    proven["withhold"] = -0.2  # claims too much
    with pytest.warns(RobustnessWarning, match="although method 'by hand' had proven them"):
        curve = robustness_curve(MODEL, X, y, radii=RADII, certify=True)
    assert (curve.certified <= curve.attacked).all()


def test_chance_explains_a_few_contradictions():
    values = np.ones((1, 1000))
    attacked = np.ones((1, 1000))
    attacked[0, :2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = without_contradictions(Proven(values, None, None, 0.001, "noise"), attacked, True)
    assert kept.values.sum() == 998
    with pytest.warns(RobustnessWarning, match="2 of 1000"):
        without_contradictions(Proven(values, None, None, 0.0, "noise"), attacked, True)


def test_loss_of_a_regressor(proven):
    rows, target = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(rows, target)
    for loss in ("absolute", "squared", Pinball(0.8)):
        curve = robustness_curve(
            model, rows[:60], target[:60], radii=[0.0, 0.01], loss=loss, certify=True
        )
        np.testing.assert_allclose(curve.certified, curve.attacked, rtol=1e-6)
        assert (curve.at_most > curve.certified).all()
        assert curve.interval[1, 0] < curve.attacked[1] < curve.interval[1, 1]
    assert f"at most {curve.at_most[1]:.4g}" in curve.statement(0.01)
    np.testing.assert_allclose(curve.variation, [0, 0.01 * np.abs(model.coef_).sum()])
    assert f"move by at most {curve.variation_at_most[1]:.4g} on average" in curve.statement(0.01)
    values, weight = np.random.default_rng(0).exponential(size=50), np.ones(50)
    assert normal_high(values, weight, 0.975) == pytest.approx(normal_interval(values, weight)[1])
    with pytest.raises(ValueError, match="between two bounds"):
        robustness_curve(
            model, rows[:9], target[:9], radii=[0.1], certify=True, loss=lambda f, y: (f - y)[:, 0]
        )


def test_what_cannot_be_certified(proven):
    with pytest.raises(TypeError, match="certify"):
        robustness_curve(MODEL, X, y, radii=[0.1], certify=3)
    with pytest.raises(ValueError, match="loss"):
        robustness_curve(MODEL, X, y, radii=[0.1], certify=True, loss="log")


# Reports and displays ---------------------------------------------------------------------------


def test_display_draws_the_certified_band(proven):
    proven["withhold"] = 0.1
    display = RobustnessCurveDisplay.from_estimator(MODEL, X, y, radii=RADII, certify=True)
    labels = display.ax_.get_legend_handles_labels()[1]
    assert any("certified" in label for label in labels)
    (line,) = [line for line in display.ax_.lines if "certified" in str(line.get_label())]
    np.testing.assert_allclose(line.get_ydata(), display.frame()["certified"])
    display.figure_.canvas.draw()
    bare = RobustnessCurveDisplay.from_estimator(MODEL, X, y, radii=RADII)
    assert len(display.ax_.collections) == len(bare.ax_.collections) + 1  # what isn't known


def test_report_tells_what_is_proven(proven):
    proven["withhold"] = 0.1
    report = robustness_report(
        {"logistic": MODEL}, X, y, radii=[0.1, 0.3], groups=np.arange(len(X)) % 2, certify=True,
        diagnostics=False, features=False, random_state=0,
    )  # fmt: skip
    curve = report.curves["logistic"]
    direct = robustness_curve(MODEL, X, y, radii=[0.1, 0.3], certify=True, random_state=0)
    np.testing.assert_allclose(curve.certified, direct.certified)
    np.testing.assert_allclose(curve.interval, direct.interval)
    scores = report.frame()
    assert (scores["certified"] <= scores["attacked"]).all()
    whole = scores[scores["part"] == "all"]
    np.testing.assert_allclose(whole["certified"], curve.certified)
    np.testing.assert_allclose(whole["at_most"], curve.at_most)
    parts = scores[scores["part"] == "class"]
    mixed = np.average(
        parts[parts["radius"] == 0.1]["certified"], weights=parts[parts["radius"] == 0.1]["n_rows"]
    )
    assert mixed == pytest.approx(curve.certified[0])
    rows = report.frame("rows")
    np.testing.assert_allclose(rows["proven_radius"], margins(MODEL, X, y) - 0.1)
    html = report._repr_html_()
    assert "certified (by hand)" in html and f"at most {curve.at_most[1]:.1%}" in html
    assert "certified" in repr(report)


def test_report_says_where_a_proof_is_statistical(proven):
    proven["doubt"] = 0.001
    report = robustness_report(
        MODEL, X, y, radii=[0.1], certify=True, diagnostics=False, features=False, random_state=0
    )
    assert "certified (by hand, each row with probability 0.999)" in report._repr_html_()


def test_report_without_a_proof_is_as_before():
    report = robustness_report(
        MODEL, X, y, radii=[0.1], diagnostics=False, features=False, random_state=0
    )
    assert report.frame()["certified"].isna().all() and report.frame()["at_most"].isna().all()
    assert report.frame("rows")["proven_radius"].isna().all()
    assert "certified" not in repr(report) and "With 95% confidence" not in report._repr_html_()


# Statements from certificates -------------------------------------------------------------------


def certificate(certified=None, lower=None, upper=None, prediction=None, confidence=None):
    n = len(certified if certified is not None else lower)
    prediction = np.zeros(n, dtype=int) if prediction is None else prediction
    return SimpleNamespace(
        prediction=prediction, certified=certified, lower=lower, upper=upper, confidence=confidence
    )


def test_statement_about_shares():
    certified = np.arange(200) >= 30
    said = population_statement(certificate(certified))
    assert said.certified == pytest.approx(0.85)
    assert said.at_most == pytest.approx(1 - clopper_pearson(0.85, 200, 0.9)[0])
    assert said.interval == (pytest.approx(clopper_pearson(0.85, 200)[0]), 1.0)
    assert f"at most {said.at_most:.1%} of such rows can be made wrong" in str(said)
    unsure = population_statement(certificate(certified, confidence=0.99))
    assert unsure.at_most == pytest.approx(said.at_most + 0.01)
    worst = SimpleNamespace(broken=np.arange(200) < 20)
    both = population_statement(certificate(certified), worst)
    assert both.interval[1] == pytest.approx(clopper_pearson(0.9, 200)[1])
    halved = population_statement(certificate(certified), sample_weight=np.arange(200) % 2)
    assert halved.n_rows == 100 and halved.at_most > said.at_most


def test_statement_about_the_output():
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=300)
    down, up = rng.exponential(size=(2, 300))
    low, high = (prediction - down)[:, None], (prediction + up)[:, None]
    said = population_statement(certificate(None, low, high, prediction))
    varies = np.maximum(down, up)
    assert said.variation == pytest.approx(varies.mean())
    assert said.variation_at_most == pytest.approx(normal_high(varies, np.ones(300)))
    assert said.share_at_most == pytest.approx(tolerance(varies, 0.9))
    assert said.at_most is None and "on average" in str(said)
    classes = population_statement(certificate(np.ones(300, dtype=bool), low, high))
    assert classes.variation == pytest.approx((down + up).mean())
    few = population_statement(certificate(None, low[:10], high[:10], prediction[:10]))
    assert np.isinf(few.share_at_most)


def test_statement_needs_a_radius():
    empty = SimpleNamespace(prediction=np.zeros(3), certified=None, lower=None, upper=None)
    with pytest.raises(ValueError, match="radius="):
        population_statement(empty)
