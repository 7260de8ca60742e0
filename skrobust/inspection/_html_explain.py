"""The sections of a report that explain, and those about groups."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from skrobust.inspection._html_pieces import escaped, figures, line, section, table
from skrobust.inspection._words import number, percent, span

__all__ = ["explained", "group_tests"]

N_FEATURES, N_REASON_ROWS, N_REASONS = 10, 3, 5


def explained(report: Any, drawn: dict[str, list[str]]) -> list[str]:
    """Why: what the answers hang on, how still reasons hold, what would change answers."""
    if report.explained is None:
        return []
    return [
        _sensitivity(report, drawn),
        _stability(report),
        _counterfactuals(report, drawn),
        _reasons(report),
    ]


def _sensitivity(report: Any, drawn: dict[str, list[str]]) -> str:
    found = report.explained.sensitivity
    if found is None:
        return ""
    n_rows = len(report.explained.rows)
    if next(iter(found.values.values())).ndim > 2:
        note = (
            f"How much of the distance to another answer each entry alone takes away within radius "
            f"{found.radius:g}, of some rows; all models of a row on the same scale. The less their "
            "sum, the safer the answer."
        )
    elif found.quantity == "margin":
        note = (
            f"How much of the distance to another answer one column alone takes away within radius "
            f"{found.radius:g}: the median of {n_rows} rows (lines reach to the 90% quantile); 1 would "
            "change the answer. The less all bars of a model come to together, the safer it is."
        )
    else:
        note = (
            f"How far one column alone moves the prediction within radius {found.radius:g}: the "
            f"median of {n_rows} rows (lines reach to the 90% quantile)."
        )
    if "moves" not in found.method.values():
        note += " By the gradient; models without one are left out."
    shown = figures(drawn, "sensitivity") or _sensitivity_table(found)
    return section("What the answers hang on", f"{shown}<p class='note'>{note}</p>")


def _sensitivity_table(found: Any) -> str:
    """Where no picture can be drawn."""
    medians = {name: found.summary(name)[0].ravel() for name in found.values}
    entries = found.frame()["feature"].drop_duplicates()
    names = found._entries()
    order = np.argsort(-np.nan_to_num(np.max(list(medians.values()), axis=0)), kind="stable")
    lines = [
        line([escape(names[j]), *[f"{medians[name][j]:.3g}" for name in medians]])
        for j in order[: min(N_FEATURES, len(entries))]
    ]
    return table(["column", *escaped(*medians)], lines)


def _stability(report: Any) -> str:
    found = report.explained.stability
    if not found:
        return ""
    lines = []
    for name, one in found.items():
        cosine = one.cosine[~np.isnan(one.cosine)]
        lines.append(
            line(
                [
                    escape(name),
                    str(len(one.overlap)),
                    f"{np.mean(one.overlap) * one.top:.1f} of {one.top}",
                    percent(float((one.overlap == 1).mean())),
                    f"{np.median(cosine):.2f}" if len(cosine) else "",
                    f"{cosine.min():.2f}" if len(cosine) else "",
                ]
            )
        )
    one = next(iter(found.values()))
    head = ["model", "rows", "reasons that stay", "rows that keep all", "median cosine", "smallest"]
    note = (
        f"<p class='note'>The strongest {one.top} reasons (entries of the gradient) of each row, compared "
        f"with those at the worst of {one.n_looks} places within radius {one.radius:g} where the answer "
        "is still the same. This is a search: reasons may change more than it found, never less.</p>"
    )
    return section("Do the reasons hold still?", table(head, lines) + note)


def _counterfactuals(report: Any, drawn: dict[str, list[str]]) -> str:
    found = report.explained.counterfactuals
    if not found:
        return ""
    parts = []
    for name, one in found.items():
        frame = one.frame("rows")
        changes = _changes(one) if one.picture.x.ndim == 2 else [""] * len(frame)
        lines = []
        proven = bool((one.proven > 0).any())
        for k, row in enumerate(frame.itertuples()):
            flip = f"{escape(str(row.before))} &rarr; {escape(str(row.after))}"
            least = [f"{row.proven:.3g}"] if proven else []
            lines.append(line([*escaped(row.row), flip, f"{row.radius:.3g}", *least, changes[k]]))
        least = ["none below"] if proven else []
        head = ["row", "answer", "found at", *least, "what changed" if any(changes) else ""]
        parts.append(f"<h3>{escape(name)}</h3>" + table(head, lines, "rows"))
    note = (
        "<p class='note'>Rows that were right, from those that break early to those that break late, and "
        "the smallest move found that changes the answer; it obeys the threat. Found at: in steps; the "
        "truth is at most that. None below: proven, where it stands.</p>"
    )
    pictures = figures(drawn, "counterfactuals")
    return section("What would change the answer", "".join(parts) + pictures + note)


def _changes(one: Any) -> list[str]:
    """Per row the three columns that matter most, before and after."""
    frame, found = one.frame(), []
    size = one.picture.influence
    names = {name: j for j, name in enumerate(one.picture.names)}
    places = {label: i for i, label in enumerate(one.picture.labels)}
    weights = [
        abs(r.steps) if size is None else size[places[r.row], names[r.feature]]
        for r in frame.itertuples()
    ]
    frame = frame.assign(weight=np.nan_to_num(np.array(weights, dtype=float), nan=np.inf))
    for label in one.picture.labels:
        part = frame[frame.row == label]
        order = np.argsort(-part.weight.to_numpy(), kind="stable")
        some = [part.iloc[j] for j in order[:3]]
        text = ", ".join(f"{escape(str(r.feature))} {_way(r.given, r.moved)}" for r in some)
        found.append(text + (f" and {len(part) - 3} more" if len(part) > 3 else ""))
    return found


def _way(given: Any, moved: Any) -> str:
    if isinstance(given, str) or isinstance(moved, str):
        return f"{escape(str(given))} &rarr; {escape(str(moved))}"
    return span(given, moved)


def _reasons(report: Any) -> str:
    found = report.explained.reasons
    if not found:
        return ""
    parts = [_reasons_of(name, one) for name, one in found.items()]
    note = (
        f"<p class='note'>For sums of functions of single columns, at radius {report.focus:g}: what each "
        "column adds to the margin of the answer (against its mean), and the range that it can be moved "
        "within. Proven, not searched.</p>"
    )
    return section("Certified reasons", "".join(parts) + note)


def _reasons_of(name: str, one: Any) -> str:
    said = ""
    if one.decides is not None:
        alone = float((~one.decides.any(axis=1)).mean())
        said = (
            f"<p>{percent(float(one.certified.mean()))} of {len(one.margin)} answers cannot be changed; "
            f"{percent(alone)} cannot be changed by any single column.</p>"
        )
    order = np.argsort(one.worst_margin, kind="stable")
    some = order[np.linspace(0, len(order) - 1, N_REASON_ROWS + 2).astype(int)[1:-1]]
    lines = []
    for i in np.unique(some):
        columns = np.argsort(-np.abs(one.contribution[i]), kind="stable")[:N_REASONS]
        against = "" if one.decides is None else f" against {escape(str(one.rival[i]))}"
        answer = one.prediction[i]
        answer = number(answer) if isinstance(answer, (float, np.floating)) else str(answer)
        inner = "<br>".join(_reason(one, i, j) for j in columns)
        worst = f"{number(one.margin[i])} &rarr; {number(one.worst_margin[i])}"
        lines.append(line([*escaped(one.labels[i]), escape(answer) + against, worst, inner]))
    head = ["row", "answer", "margin &rarr; worst", "column: adds (least to most)"]
    return f"<h3>{escape(name)}</h3>{said}" + table(head, lines, "rows")


def _reason(one: Any, i: int, j: int) -> str:
    ends = f"{one.least[i, j]:+.2f} to {one.most[i, j]:+.2f}"
    text = f"{escape(str(one.names[j]))}: {one.contribution[i, j]:+.2f} ({ends})"
    alone = one.decides is not None and one.decides[i, j]
    return f"<b>{text}, changes it alone</b>" if alone else text


def group_tests(report: Any) -> str:
    """Whether differences between groups, and within groups between models, are more than chance."""
    found = report.groups
    if found is None or not found.groups:
        return ""
    names = list(report.models)
    body = _warnings(found) + "<h3>Each group against all other rows</h3>"
    body += _by_group(found.groups, names, _against_rest, 1 - found.confidence)
    if found.changes:
        body += f"<h3>Against {escape(found.reference)}, on the same rows</h3>"
        others = [name for name in names if name != found.reference]
        body += _by_group(found.changes, others, _against_other, 1 - found.confidence)
    tests = (
        "Groups against all other rows: Fisher's exact test; models against each other on the same "
        "rows: McNemar's exact test (numbers: permutations)."
    )
    if report.settings.weight is not None:
        tests = (
            "Rows count by their weights. Groups against all other rows: studentized permutations; "
            "models against each other: random signs of the weighted differences."
        )
    note = (
        f"<p class='note'>{tests} P-values are corrected after "
        "Holm for the number of groups. A test that finds nothing does not show that there is no "
        f"difference: read the intervals of the change ({found.confidence:.0%}).</p>"
    )
    return section("Are the groups served alike?", body + note)


def _by_group(records: list[dict], names: list[str], cell: Any, level: float) -> str:
    """One line per measure and group, one column per model."""
    known = {(r["measure"], str(r["group"]), r["estimator"]): r for r in records}
    keys = dict.fromkeys((r["measure"], str(r["group"]), r["n_rows"]) for r in records)
    lines = []
    for measure, group, n_rows in keys:
        cells = [known.get((measure, group, name)) for name in names]
        shown = ["" if r is None else cell(r, level) for r in cells]
        lines.append(line([*escaped(measure, group, n_rows), *shown]))
    return table(["measure", "group", "rows", *escaped(*names)], lines)


def _against_rest(r: dict, level: float) -> str:
    form = percent if r["measure"].endswith("accuracy") else number
    return f"{form(r['value'])} against {form(r['rest'])}<small>{_p(r['p_holm'], level)}</small>"


def _against_other(r: dict, level: float) -> str:
    form = percent if r["measure"].endswith("accuracy") else number
    kind = {"harmed": "bad", "perhaps harmed": "warn", "better": "good"}.get(r["verdict"])
    word = f' <span class="{kind}">{r["verdict"]}</span>' if kind else ""
    return (
        f"{form(r['before'])} &rarr; {form(r['value'])}{word}"
        f"<small>{form(r['low'])} to {form(r['high'])}, {_p(r['p_holm'], level)}</small>"
    )


def _warnings(found: Any) -> str:
    if not found.warnings:
        return "<p>No test and no estimate points to a harm.</p>"
    items = "".join(f"<li>{escape(text)}</li>" for text in found.warnings)
    return f'<ul class="advice">{items}</ul>'


def _p(value: float, level: float) -> str:
    if np.isnan(value):
        return ""
    said = f"p {value:.2g}" if value >= 0.001 else "p &lt; 0.001"
    return f"<b>{said}</b>" if value <= level else said
