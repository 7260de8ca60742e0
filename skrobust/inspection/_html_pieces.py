"""What reports in HTML are made of: sections, tables, figures."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from skrobust.inspection._words import number, percent, span

__all__ = [
    "accuracy",
    "at_focus",
    "escaped",
    "figures",
    "form_of",
    "line",
    "section",
    "table",
    "with_interval",
]


def escaped(*words: Any) -> list[str]:
    return [escape(str(word)) for word in words]


def section(title: str, inner: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{inner}\n</section>" if inner else ""


def table(head: list[str], lines: list[str], kind: str = "") -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    top = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<div class="scroll"><table class="{kind}">{top}<tbody>{"".join(lines)}</tbody></table></div>'


def line(cells: Any, kind: str = "") -> str:
    return f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def with_interval(value: float, interval: Any, form: Any) -> str:
    low, high = interval
    return f"{form(value)} <small>{span(low, high, form, '&ndash;')}</small>"


def figures(drawn: dict[str, list[str]], kind: str) -> str:
    found = "".join(f"<figure>{svg}</figure>" for svg in drawn.get(kind, []))
    return f'<div class="pictures">{found}</div>' if found else ""


def accuracy(report: Any) -> bool:
    return next(iter(report.curves.values())).quantity == "accuracy"


def form_of(report: Any) -> Any:
    return percent if accuracy(report) else number


def at_focus(report: Any) -> int:
    return int(np.flatnonzero(report.settings.radii == report.focus)[0])
