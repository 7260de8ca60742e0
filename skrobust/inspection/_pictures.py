"""The pictures of a report, as SVG that needs nothing from outside."""

from __future__ import annotations

import io
import re
from typing import Any

from skrobust._compat import import_extra
from skrobust.inspection._counterfactual_display import CounterfactualDisplay
from skrobust.inspection._curve_display import RobustnessCurveDisplay
from skrobust.inspection._input_sensitivity_display import InputSensitivityDisplay
from skrobust.inspection._measure import example_rows, moved_rows
from skrobust.inspection._rows import feature_names, row_labels, take_rows
from skrobust.inspection._sensitivity_display import FeatureSensitivityDisplay
from skrobust.inspection._style import new_figure
from skrobust.inspection._words import answers_of
from skrobust.inspection._worst_case_display import WorstCaseDisplay, step_of
from skrobust.metrics._rows import Rows

__all__ = ["pictures"]

MOST_MODELS = 6  # pictures of columns and rows for more models than these would bury the report


def pictures(report: Any) -> dict[str, list[str]]:
    """``"curve"``, ``"features"``, ``"rows"``: lists of SVG elements; empty without matplotlib."""
    try:
        import_extra("matplotlib.figure", "plot")
    except ImportError:
        return {}
    models = list(report.models.values())[:MOST_MODELS]
    return {
        "curve": [_svg(RobustnessCurveDisplay(report.curves), (6.0, 4.3), "Curves by radius")],
        "features": [_features(report, model) for model in models if model.features is not None],
        "rows": [svg for model in models for svg in _rows(report, model)],
        "sensitivity": _sensitivity(report),
        "counterfactuals": _counterfactuals(report),
    }


def _sensitivity(report: Any) -> list[str]:
    found = None if report.explained is None else report.explained.sensitivity
    if found is None or len(found.values) > MOST_MODELS:
        return []
    rows = take_rows(report.settings.X, report.explained.rows)
    x = Rows(rows, report.settings.threat.categories).values
    if x.ndim == 2:
        size = (6.2, 1.3 + min(10, x.shape[1]) * (0.12 + 0.15 * len(found.values)))
    else:
        size = (1.7 * (1 + len(found.values)) + 0.6, 5.6) if x.ndim == 4 else (6.2, 5.6)
    return [_svg(InputSensitivityDisplay(found, x), size, "What the answers hang on")]


def _counterfactuals(report: Any) -> list[str]:
    """Images and series, as for rows."""
    if report.explained is None:
        return []
    return [
        _svg(CounterfactualDisplay(found), (5.0, 2.0 * len(found.radius)), f"{name}: nearest", name)
        for name, found in report.explained.counterfactuals.items()
        if found.picture.x.ndim > 2
    ][:MOST_MODELS]


def _features(report: Any, model: Any) -> str:
    share = model.features.share
    display = FeatureSensitivityDisplay(
        *model.features[:3],
        feature_names(report.settings.X, share.shape[0]),
        radius=report.focus,
        n_rows=model.features.n_rows,
        quantity=model.curve.quantity,
    )
    n_bars = max(1, min(10, int((share > 0).sum())))
    height = 1.3 + 0.27 * n_bars if share.ndim == 1 else 3.4
    return _svg(display, (4.6, height), f"{model.name}: columns", model.name, max_features=10)


def _rows(report: Any, model: Any) -> list[str]:
    """Images and series are worth a picture; tables are told in words."""
    rows = example_rows(report, model, 2)
    if model.worst.z.ndim == 2 or len(rows) == 0:
        return []
    given, moved = moved_rows(report, model, rows)
    labels = row_labels(report.settings.X, report.info["n_rows"])
    display = WorstCaseDisplay(
        model.clean.z[rows],
        model.nearest[rows],
        labels=[labels[i] for i in rows],
        before=answers_of(model.estimator, given),
        after=answers_of(model.estimator, moved),
        names=feature_names(report.settings.X, model.worst.z.shape[1]),
        scale=step_of(report.settings.threat, model.worst.z),
        radius=report.focus,
    )
    return [_svg(display, (5.0, 2.1 * len(rows)), f"{model.name}: rows", model.name)]


def _svg(display: Any, size: tuple[float, float], label: str, title: str = "", **options) -> str:
    """The display as an SVG element as wide as the page lets it be."""
    figure = new_figure(size)
    display.plot(ax=figure.subplots(), **options)
    if title:
        figure.suptitle(title, fontsize="medium", fontweight="bold")
    matplotlib = import_extra("matplotlib", "plot")
    stream = io.StringIO()
    # a salt of its own keeps the ids of several pictures on one page apart, and stable
    with matplotlib.rc_context({"svg.hashsalt": label, "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _inline(stream.getvalue(), label)


def _inline(svg: str, label: str) -> str:
    """Without what only a file of its own needs: declarations, namespaces, metadata, a size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'{head} role="img" aria-label="{safe}">{rest.strip()}'
