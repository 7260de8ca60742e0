"""The part of a report that explains: what applies is there, what does not is not, rows keep their names."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge

from skrobust import InputSensitivityDisplay, RobustClassifier, robustness_report
from skrobust.inspection import certified_reasons, input_sensitivity

X, y = load_iris(return_X_y=True, as_frame=True)
X, y = X.iloc[40:120], y.iloc[40:120]
X.index = [f"flower {i}" for i in range(80)]
MODELS = {
    "line <1>": LogisticRegression(max_iter=2000).fit(X, y),
    "forest": RandomForestClassifier(10, random_state=0).fit(X, y),
    "net": RobustClassifier("mlp", radius=0.2, max_epochs=8, random_state=0).fit(X, y),
}
QUICK = dict(diagnostics=False, features=False, baselines=False, random_state=0)


@pytest.fixture(scope="module")
def report():
    return robustness_report(MODELS, X, y, radii=[0.2, 0.4], **QUICK)


def test_what_applies_is_explained(report):
    found = report.explained
    assert set(found.sensitivity.values) == {"line <1>", "net"}  # the forest has no gradient
    assert set(found.stability) == {"line <1>", "net"}
    assert set(found.counterfactuals) == set(MODELS)
    assert set(found.reasons) == {"line <1>"}
    assert (found.stability["line <1>"].overlap == 1).all()
    expected = input_sensitivity(MODELS["net"], X, radius=report.focus)
    np.testing.assert_allclose(
        found.sensitivity.values["net"], expected.values["RobustClassifier"], rtol=1e-6
    )
    reasons = certified_reasons(MODELS["line <1>"], X, radius=report.focus)
    np.testing.assert_allclose(found.reasons["line <1>"].worst_margin, reasons.worst_margin)


def test_nearest_other_answers_are_no_further_than_the_scores_found(report):
    frame = report.frame("counterfactuals")
    smallest = report.frame("rows").set_index(["estimator", "row"]).smallest_radius
    assert len(frame) == 9 and set(frame.estimator) == set(MODELS)
    for record in frame.itertuples():
        assert record.before != record.after and record.row in X.index
        known = smallest[record.estimator, record.row]
        assert 0 < record.radius <= known * (1 + 1e-6) and record.proven <= record.radius
    line = frame[frame.estimator == "line <1>"]
    np.testing.assert_allclose(line.proven, line.radius, rtol=3e-3)  # exact: they meet


def test_frames(report):
    assert set(report.frame("sensitivity").estimator) == {"line <1>", "net"}
    stability = report.frame("stability")
    assert list(stability.columns) == ["estimator", "row", "overlap", "correlation", "cosine"]
    assert set(stability.row) <= set(X.index)
    assert set(report.frame("reasons").row) == set(X.index)
    none = robustness_report(MODELS["forest"], X, y, radii=0.2, explain=False, **QUICK)
    for kind in ("sensitivity", "stability", "counterfactuals", "reasons", "groups", "changes"):
        assert len(none.frame(kind)) == 0
    assert "What the answers hang on" not in none._repr_html_()


def test_page(report, monkeypatch):
    html = report._repr_html_()
    for title in (
        "What the answers hang on", "Do the reasons hold still?", "What would change the answer",
        "Certified reasons",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in html
    assert "http" not in html and "line <1>" not in html and "line &lt;1&gt;" in html
    assert "flower" in html and "cannot be changed by any single column" in html
    ids = set(re.findall(r'\sid="([^"]+)"', html))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= ids
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    bare = report._repr_html_()
    assert "<svg" not in bare and "<h2>What the answers hang on</h2>" in bare


def test_everything_on_demand():
    models = {name: MODELS[name] for name in ("line <1>", "forest")}
    whole = robustness_report(models, X, y, radii=[0.3], explain=True, **QUICK)
    found = whole.explained
    assert found.sensitivity.method == {"line <1>": "gradient", "forest": "moves"}
    assert len(found.counterfactuals["forest"].radius) == 6
    assert (found.counterfactuals["forest"].proven > 0).all()  # trees are proven, too


def test_regressors():
    model = Ridge().fit(X, X.iloc[:, 0] * 2)
    found = robustness_report(model, X, X.iloc[:, 0] * 2, radii=[0.2], **QUICK)
    assert found.explained.counterfactuals == {} and set(found.explained.reasons) == {"Ridge"}
    html = found._repr_html_()
    assert "moves the prediction" in html and "Certified reasons" in html


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 4)], ids=["images", "series"])
def test_images_and_series(shape):
    values = X.to_numpy(dtype="float32").reshape(-1, *shape).copy()
    name = {3: "cnn", 2: "conv1d"}[len(shape)]
    models = {
        k: RobustClassifier(name, radius=0.1, max_epochs=2, random_state=k).fit(values, y == 1)
        for k in (0, 1)
    }
    found = robustness_report(models, values, y == 1, radii=[0.5], **QUICK)
    html = found._repr_html_()
    assert "Certified reasons" not in html and "<h2>What the answers hang on</h2>" in html
    assert html.count("<svg") == html.count("</svg>") >= 2
    display = InputSensitivityDisplay.from_estimators(models, values[:2], radius=0.1)
    assert len(display.axes_) == 2 and len(display.frame()) == 2 * 4


def test_bars_show_what_the_frame_says():
    models = {name: MODELS[name] for name in ("line <1>", "net")}
    display = InputSensitivityDisplay.from_estimators(models, X, radius=0.2)
    drawn = sorted(bar.get_width() for bar in display.ax_.patches)
    np.testing.assert_allclose(drawn, sorted(display.frame()["median"]))
    display.plot(max_features=1)
    assert len(display.ax_.get_yticks()) == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [({"explain": "all"}, "explain"), ({"reference": "other"}, "name of one of the models")],
)
def test_bad_input(options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        robustness_report(MODELS, X, y, radii=[0.1], **options)
