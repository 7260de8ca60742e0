"""A report as HTML: plain tables and pictures in one file, for screens, phones and paper."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from skrobust.inspection._html_explain import explained, group_tests
from skrobust.inspection._html_pieces import (
    accuracy,
    at_focus,
    figures,
    form_of,
    line,
    section,
    table,
    with_interval,
)
from skrobust.inspection._html_style import STYLE
from skrobust.inspection._measure import example_rows, moved_rows
from skrobust.inspection._pictures import pictures
from skrobust.inspection._rows import as_array, feature_names, row_labels
from skrobust.inspection._words import answers_of, number, sentence, span

__all__ = ["fragment", "page"]

N_COLUMNS, N_ROWS = 10, 8  # how many weak columns and rows are listed for each model


def page(report: Any) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>Robustness report</title>\n</head>\n"
        f'<body style="margin:0">\n{fragment(report)}\n</body>\n</html>\n'
    )


def fragment(report: Any) -> str:
    """The report as one element, its style included, for notebooks."""
    drawn = pictures(report)
    sections = [
        _head(report),
        _verdicts(report),
        section("Accuracy by radius" if accuracy(report) else "Loss by radius", _scores(report)),
        figures(drawn, "curve"),
        section("Can these figures be trusted?", _checks(report)) if report.diagnostics else "",
        _parts(report, "class", "Class by class"),
        _parts(report, "group", "Group by group"),
        group_tests(report),
        _columns(report, drawn),
        _rows(report, drawn),
        *explained(report, drawn),
        section("How it was measured", _method(report)),
        _appendix(report),
    ]
    body = "\n".join(part for part in sections if part)
    return f'<div class="skrobust-report">\n<style>{STYLE}</style>\n{body}\n</div>'


# Sections -------------------------------------------------------------------------------------


def _head(report: Any) -> str:
    info = report.info
    radii = ", ".join(f"{radius:g}" for radius in report.settings.radii)
    what = f"{info['n_rows']} rows &middot; threat <code>{escape(info['threat'])}</code>"
    return (
        f"<h1>Robustness report</h1>\n<p class='sub'>{what} &middot; radius {radii} &middot; "
        f"{escape(info['date'])}</p>"
    )


def _verdicts(report: Any) -> str:
    """One line of plain words per model."""
    items = []
    for name, model in report.models.items():
        failed = [finding.code for finding in model.findings if finding.ok is False]
        marks = []
        if failed:
            word = "check" if len(failed) == 1 else "checks"
            marks.append(f'<span class="bad">{word} {", ".join(failed)} failed</span>')
        elif model.findings:
            marks.append('<span class="good">all checks passed</span>')
        if _below_majority(model.curve, report.focus):
            marks.append('<span class="warn">below the majority figure</span>')
        text = sentence(model.curve, report.focus)
        if failed:
            text += " <em>Do not rely on this figure before you have read the failed checks.</em>"
        kind = ' class="doubt"' if failed else ""
        items.append(f"<li{kind}><strong>{escape(name)}</strong> {' '.join(marks)}<br>{text}</li>")
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _scores(report: Any) -> str:
    radii = report.settings.radii
    head = ["model", "clean", *[f"radius {radius:g}" for radius in radii]]
    lines = []
    for name, model in report.models.items():
        whole, form = model.slices[0], form_of(report)
        cells = [with_interval(whole.clean, whole.clean_interval, form)]
        cells += [
            with_interval(value, interval, form)
            for value, interval in zip(whole.attacked, whole.interval, strict=True)
        ]
        lines.append(line([escape(name), *cells]))
        if whole.random is not None:
            moved = [form(value) for value in whole.random]
            lines.append(line(["moved at random", "", *moved], "aside"))
        if model.curve.certified is not None:
            proven = [form(value) for value in model.curve.certified]
            lines.append(line([_certified_by(model), "", *proven], "aside"))
        if model.curve.variation is not None:
            moves = [number(value) for value in model.curve.variation]
            lines.append(line(["predictions move by at most", "", *moves], "aside"))
    curve = next(iter(report.curves.values()))
    alone = form_of(report)(curve.majority)
    what = "always the most frequent class" if accuracy(report) else "always the mean of y"
    lines.append(line([what, alone, *[alone] * len(radii)], "base"))
    note = (
        f"Under each figure its {report.settings.confidence:.0%} interval. The truth is at most the "
        "attacked figure: a better search may find more."
        if accuracy(report)
        else f"Under each figure its {report.settings.confidence:.0%} interval. The truth is at least "
        "the attacked figure: a better search may find more."
    )
    if any(model.curve.certified is not None for model in report.models.values()):
        note += (
            " Certified: proven against every attack. The interval then reaches from the limit of "
            "the certified figure to that of the attacked one."
        )
    return table(head, lines) + f"<p class='note'>{note}</p>"


def _certified_by(model: Any) -> str:
    """The method, and that it is a statistical one where it is."""
    doubt = model.proof.doubt
    sure = f", each row with probability {1 - doubt:g}" if doubt else ""
    return f"certified ({escape(model.proof.method)}{sure})"


def _checks(report: Any) -> str:
    names = list(report.models)
    first = next(iter(report.models.values())).findings
    symbols = {
        True: '<span class="good">passed</span>',
        False: '<span class="bad">FAILED</span>',
        None: '<span class="none">n/a</span>',
    }
    lines = []
    for k, finding in enumerate(first):
        cells = [symbols[report.models[name].findings[k].ok] for name in names]
        lines.append(line([f"<b>{finding.code}</b> {escape(finding.title)}", *cells]))
    failed = [f for f in report.diagnostics if f.ok is False]
    words = "".join(
        f"<li><b>{escape(f.estimator)}, {f.code}.</b> {escape(f.advice)}</li>" for f in failed
    )
    said = f'<ul class="advice">{words}</ul>' if failed else "<p>No check failed.</p>"
    intro = f"<p class='note'>Checked at radius {report.focus:g}.</p>"
    return said + table(["check", *map(escape, names)], lines, "checks") + intro


def _parts(report: Any, part: str, title: str) -> str:
    """Clean and attacked scores of each class or group, at the radius in focus."""
    models = report.models
    slices = {name: [s for s in m.slices if s.part == part] for name, m in models.items()}
    first = next(iter(slices.values()))
    if not first or report.focus == 0:
        return ""
    k, form = at_focus(report), form_of(report)
    lowest = {
        name: (min if accuracy(report) else max)(s.attacked[k] for s in some)
        for name, some in slices.items()
    }
    lines = []
    for i, one in enumerate(first):
        cells = []
        for name in models:
            here = slices[name][i]
            mark = " class='lowest'" if here.attacked[k] == lowest[name] and len(first) > 1 else ""
            inner = with_interval(here.attacked[k], here.interval[k], form)
            cells.append(f"<span{mark}>{form(here.clean)} &rarr; {inner}</span>")
        lines.append(line([escape(str(one.value)), str(one.n_rows), *cells]))
    note = f"<p class='note'>Clean &rarr; attacked at radius {report.focus:g}; weakest in bold.</p>"
    return section(title, table([part, "rows", *map(escape, models)], lines) + note)


def _columns(report: Any, drawn: dict[str, list[str]]) -> str:
    if all(model.features is None for model in report.models.values()):
        return ""
    unit = (
        "flips this share of the rows" if accuracy(report) else "raises the mean loss by this much"
    )
    note = (
        f"<p class='note'>One column at a time, moved by at most radius {report.focus:g}, {unit}. "
        "Columns that do nothing alone may still matter together.</p>"
    )
    shown = figures(drawn, "features")
    return section("Most fragile columns", (shown or _column_tables(report)) + note)


def _column_tables(report: Any) -> str:
    """Where no picture can be drawn."""
    found = []
    for name, model in report.models.items():
        names = feature_names(report.settings.X, len(model.features.share))
        order = np.argsort(-model.features.share, kind="stable")[:N_COLUMNS]
        lines = [
            line([escape(names[j]), form_of(report)(model.features.share[j])])
            for j in order
            if model.features.share[j] > 0
        ]
        found.append(table([escape(name), "alone"], lines))
    return "".join(found)


def _rows(report: Any, drawn: dict[str, list[str]]) -> str:
    """The rows that break first, and how they moved."""
    labels = row_labels(report.settings.X, report.info["n_rows"])
    parts = []
    for name, model in report.models.items():
        rows = example_rows(report, model, N_ROWS)
        if len(rows) == 0:
            continue
        given, moved = moved_rows(report, model, rows)
        before, after = (answers_of(model.estimator, part) for part in (given, moved))
        changes = _changes(report, model, given, moved, rows)
        lines = []
        for k, i in enumerate(rows):
            if accuracy(report):
                how = f"{model.smallest[i]:.3g}"
            else:
                how = span(model.clean.value[i], model.worst.value[i])
            flip = f"{escape(str(before[k]))} &rarr; {escape(str(after[k]))}"
            lines.append(line([escape(str(labels[i])), flip, how, changes[k]]))
        far = "smallest radius" if accuracy(report) else "loss"
        head = ["row", "answer", far, "what moved, most important first" if any(changes) else ""]
        parts.append(f"<h3>{escape(name)}</h3>" + table(head, lines, "rows"))
    if not parts:
        return ""
    note = (
        "<p class='note'>Rows that were right and break first. The smallest radius is an upper "
        "estimate, found by walking back from the broken row.</p>"
        if accuracy(report)
        else "<p class='note'>Rows whose loss grows most.</p>"
    )
    return section("Most fragile rows", "".join(parts) + figures(drawn, "rows") + note)


def _changes(report: Any, model: Any, given: Any, moved: Any, rows: np.ndarray) -> list[str]:
    """The three columns that matter most to each moved row, before and after."""
    from skrobust.inspection._fragility import influence
    from skrobust.metrics._rows import Rows

    rows_given = Rows(given, Rows(report.settings.X, report.settings.threat.categories).categories)
    x, z = rows_given.values, rows_given.read(moved)
    if x.ndim != 2 or x.size > 20_000:
        return [""] * len(rows)
    settings, names = report.settings, feature_names(report.settings.X, x.shape[1])
    known = rows_given.categories
    weight = influence(model.estimator, given, z, as_array(settings.y)[rows], settings.loss, known)
    found = []
    for i in range(len(rows)):
        order = np.argsort(-np.where(x[i] == z[i], -np.inf, weight[i]), kind="stable")[:3]
        some = [j for j in order if x[i, j] != z[i, j] and not np.isnan(x[i, j])]
        found.append(
            ", ".join(f"{escape(names[j])} {_span(known, j, x[i, j], z[i, j])}" for j in some)
        )
    return found


def _span(known: Any, j: int, before: float, after: float) -> str:
    """From where to where a value went; text in words."""
    if j not in known:
        return span(before, after)
    return escape(f"{known[j][round(before)]} \u2192 {known[j][round(after)]}")


def _method(report: Any) -> str:
    info = report.info
    rows = [
        ("threat", f"<code>{escape(info['threat'])}</code>"),
        ("attack", f"<code>{escape(info['attack'])}</code>"),
        ("seed", str(info["seed"])),
        ("time", f"{info['seconds']:.1f} s in all"),
        ("versions", escape(", ".join(f"{k} {v}" for k, v in info["versions"].items()))),
    ]
    setup = table(["", ""], [line(pair) for pair in rows], "method")
    through = {"torch": "gradients", "trees": "its trees"}
    lines = [
        line(
            [
                escape(name),
                escape(through.get(model.source, f"{model.source} only")),
                f"{model.n_forward:,.0f}",
                f"{model.n_backward:,.0f}",
                f"{model.seconds:.1f} s",
            ]
        )
        for name, model in report.models.items()
    ]
    head = ["model", "searched through", "evaluations per row", "gradients per row", "time"]
    return table(head, lines) + setup


def _appendix(report: Any) -> str:
    """What every check measured."""
    parts = []
    for name, model in report.models.items():
        lines = [
            line([f"<b>{f.code}</b>", f"{escape(f.title)}: {f.verdict}. {escape(f.advice)}"])
            for f in model.findings
        ]
        parts.append(f"<h3>{escape(name)}</h3>" + table(["", ""], lines, "appendix"))
    return section("All checks in full", "".join(parts)) if report.diagnostics else ""


def _below_majority(curve: Any, focus: float) -> bool:
    if focus == 0:
        return False
    attacked = curve.attacked[np.flatnonzero(curve.radii == focus)[0]]
    if curve.quantity == "accuracy":
        return bool(attacked < curve.majority)
    return bool(attacked > curve.majority)
