"""A business case as HTML."""

from __future__ import annotations

from html import escape
from typing import Any

from skrobust.inspection._business_display import BusinessCaseDisplay
from skrobust.inspection._page import document, picture, wrapped
from skrobust.risk._case import page_by
from skrobust.risk._case_words import rate, years
from skrobust.risk._money import Range, money

__all__ = ["case_page"]

WORDS = {"go": ("go", "good"), "no": ("no", "bad"), "open": ("open", "warn")}
MOST_PICTURES = 4  # candidates whose sensitivity is drawn


@page_by
def case_page(case: Any, whole: bool) -> str:
    """The case, as a document or as an element for notebooks."""
    sections = [
        "<h1>Business case</h1>",
        f"<p class='sub'>{case.info['n_rows']:,} rows &middot; baseline {escape(case.baseline)} &middot; "
        f"{case.confidence:.0%} intervals</p>",
        _verdicts(case),
        "<h2>Cost of a year</h2>",
        _table(case),
        _pictures(case),
        "<h2>What was assumed</h2>",
        _assumptions(case),
    ]
    html = wrapped("\n".join(sections))
    return document("Business case", html) if whole else html


def _verdicts(case: Any) -> str:
    items = []
    for name in case.others:
        word, kind = WORDS[case.verdict(name)]
        doubt = "" if word == "go" else ' class="doubt"'
        items.append(
            f"<li{doubt}><strong>{escape(name)}</strong> <span class='{kind}'>{word}</span><br>"
            f"{escape(case.sentence(name))}</li>"
        )
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _table(case: Any) -> str:
    """One line per candidate: what a decision and a year cost, and against the baseline."""
    form = lambda value: "&ndash;" if value != value else money(value)
    head = ["", "decision", "attacked", "a year", "saving", "break-even", "payback", "chance"]
    lines = []
    for record in case.frame().to_dict("records"):
        name = record["candidate"]
        proven = record["certified"]
        most = "" if proven != proven else f"<small>proven at most {form(proven)}</small>"
        cells = [
            escape(name),
            form(record["clean"]),
            form(record["attacked"]) + most,
            _between(form, record["yearly_cost"], record["low"], record["high"]),
        ]
        if name == case.baseline:
            cells += ["baseline", "", "", ""]
        else:
            cells += [
                _between(form, record["saving"], record["saving_low"], record["saving_high"]),
                _rate(record),
                years(record["payback"]),
                f"{record['chance']:.0%}",
            ]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    top = "".join(f"<th>{cell}</th>" for cell in head)
    unit = f" All amounts in {escape(case.currency)}." if case.currency else ""
    note = (
        f"At the likely attack rate of {rate(case.attack_rate.likely)}; below it the "
        f"{case.confidence:.0%} interval over the rows and over all attack rates assumed.{unit} "
        "<em>decision</em>, <em>attacked</em>: mean cost of one decision. <em>break-even</em>: attack rate "
        "at which it costs as much as the baseline. <em>chance</em>: share of the resampled rows "
        "and attack rates at which it is the cheaper one."
    )
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody>'
        f"</table></div><p class='note'>{note}</p>"
    )


def _between(form: Any, value: float, low: float, high: float) -> str:
    return f"{form(value)}<small>{form(low)} &ndash; {form(high)}</small>"


def _rate(record: dict[str, Any]) -> str:
    if record["break_even"] != record["break_even"]:
        return f"{record['cheaper']} cheaper".replace("never cheaper", "never").strip()
    low, high = rate(record["break_even_low"]), rate(record["break_even_high"])
    return f"{rate(record['break_even'])}<small>{low} &ndash; {high}</small>"


def _pictures(case: Any) -> str:
    display = BusinessCaseDisplay(**BusinessCaseDisplay.parts_of(case))
    drawn = [picture(display, "Cost of a year by attack rate", (6.0, 4.4))]
    for name in case.others[:MOST_PICTURES]:
        options = dict(kind="sensitivity", candidate=name)
        height = 1.2 + 0.42 * min(10, len(display.bars[name]))
        drawn.append(picture(display, f"Sensitivity of {name}", (6.0, height), **options))
    return f'<div class="pictures">{"".join(f"<figure>{svg}</figure>" for svg in drawn)}</div>'


def _assumptions(case: Any) -> str:
    info = case.info
    form = lambda value: f"{value:,.12g} {escape(case.currency)}".strip()
    lines = [
        ("attack rate", _range(case.attack_rate, rate)),
        ("decisions a year", _range(case.volume, lambda v: f"{v:,.12g}")),
        ("years of use", _range(case.horizon, lambda v: f"{v:g}")),
        ("discount rate", rate(case.plan.discount_rate)),
    ]
    if info["radius"] is not None:
        lines.append(("radius", _range(info["radius"], lambda v: f"{v:.3g}")))
        lines.append(("threat", f"<code>{escape(info['threat'])}</code>"))
    if info["exposed"] is not None:
        lines.append(("attacked classes", escape(", ".join(map(str, info["exposed"])))))
    for kind in ("training_price", "running_price"):
        priced = [f"{escape(n)} {_range(p, form)}" for n, p in info[kind].items() if any(p)]
        lines.append((kind.replace("_", " "), ", ".join(priced) or "none"))
    body = "".join(f"<tr><td>{what}</td><td>{value}</td></tr>" for what, value in lines)
    note = (
        "Attacked costs are what a search found: the truth is at least that. Single numbers were varied "
        f"by {info['uncertainty']:.0%} in the picture of the assumptions."
    )
    return f'<div class="scroll"><table class="method"><tbody>{body}</tbody></table></div><p class="note">{note}</p>'


def _range(given: Range, form: Any) -> str:
    if given.known:
        return form(given.likely)
    return f"{form(given.low)} to {form(given.high)}, likely {form(given.likely)}"
