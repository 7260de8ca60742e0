"""One HTML page from texts, tables, pictures and reports: everything inside, for mail and paper."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_name
from skrobust.exceptions import invalid
from skrobust.inspection._html_style import STYLE
from skrobust.inspection._words import number

__all__ = ["PAGE_STYLE", "Page", "document"]

KINDS = {"go": "Go", "no": "No go", "open": "Not yet decided"}
SIZE = (6.4, 4.2)

PAGE_STYLE = """
.skrobust-report .box { border: 2px solid #767676; border-radius: .5rem; padding: .8rem 1rem;
  margin: 1rem 0; break-inside: avoid; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.skrobust-report .box strong.head { display: block; font-size: 1.3rem; margin-bottom: .3rem; }
.skrobust-report .box ul { margin: .4rem 0 0; padding-left: 1.2rem; }
.skrobust-report .box.go { border-color: #009e73; background: #eef8f4; }
.skrobust-report .box.no { border-color: #d55e00; background: #fdf5ef; }
.skrobust-report .box.open { border-color: #e69f00; background: #fef9ec; }
.skrobust-report .skrobust-report h1, .skrobust-report .skrobust-report h1 + .sub { display: none; }
.skrobust-report .skrobust-report h2 { font-size: 1.05rem; border-bottom: 0; margin-top: 1.2rem; }
.skrobust-report .skrobust-report { padding: 0; max-width: none; font-size: 1em; }
.skrobust-report td.num, .skrobust-report th.num { text-align: right; white-space: nowrap; }
.skrobust-report details > summary { cursor: pointer; color: #0072b2; margin: .6rem 0; }
@media print {
  .skrobust-report table { font-size: 8.5pt; }
  .skrobust-report th, .skrobust-report td { padding-right: .35rem; }
  .skrobust-report td small { white-space: normal; }
  .skrobust-report details::details-content { content-visibility: visible; block-size: auto; }
}
"""


class Page:
    """A page to be read by those who decide, and checked by those who know.

    Parameters
    ----------
    title : str
        Heading of the page.
    subtitle : str
        A line below it.

    Examples
    --------
    >>> from skrobust.inspection import Page
    >>> page = Page("Proof of concept", "143 rows")
    >>> page.box("go", "Deploy the robust model", ["It is cheaper at every attack rate."])
    Page('Proof of concept', 1 parts)
    >>> page.section("Costs", "Two candidates were compared.")
    Page('Proof of concept', 2 parts)
    >>> "<h2>Costs</h2>" in page._repr_html_()
    True
    """

    def __init__(self, title: str, subtitle: str = ""):
        self.title, self.subtitle = str(title), str(subtitle)
        self._parts: list[str] = []

    def box(self, kind: str, headline: str, reasons: Any = ()) -> Page:
        """Add a box with a decision.

        Parameters
        ----------
        kind : {"go", "no", "open"}
            Its colour, and the word that it begins with.
        headline : str
            The decision in a few words.
        reasons : list of str
            Why.
        """
        check_name("kind", kind, KINDS)
        items = "".join(f"<li>{escape(str(reason))}</li>" for reason in reasons)
        items = f"<ul>{items}</ul>" if items else ""
        head = f'<strong class="head">{KINDS[kind]}: {escape(headline)}</strong>'
        self._parts.append(f'<div class="box {kind}">{head}{items}</div>')
        return self

    def section(self, title: str, *parts: Any, fold: str = "") -> Page:
        """Add a heading and what stands below it.

        Parameters
        ----------
        title : str
        *parts
            Text; a list of texts; a pandas DataFrame; a display of ours, or ``(display, options of its
            plot)``; anything that shows itself in notebooks (``_repr_html_``).
        fold : str, optional
            A line to click on, below which the parts are at first hidden.
        """
        inner = "\n".join(render(part, f"{title} {k}") for k, part in enumerate(parts))
        if fold:
            inner = f"<details><summary>{escape(fold)}</summary>{inner}</details>"
        self._parts.append(f"<section>\n<h2>{escape(title)}</h2>\n{inner}\n</section>")
        return self

    def save(self, path: str | Path) -> Path:
        """Write one HTML file that needs nothing else.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html``.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise invalid("path", str(path), "the name of an .html file")
        path.write_text(document(self.title, self._repr_html_()), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        head = f"<h1>{escape(self.title)}</h1>\n<p class='sub'>{escape(self.subtitle)}</p>"
        return wrapped("\n".join([head, *self._parts]))

    def __repr__(self) -> str:
        return f"Page({self.title!r}, {len(self._parts)} parts)"


def document(title: str, body: str) -> str:
    """A whole HTML document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n</head>\n"
        f'<body style="margin:0">\n{body}\n</body>\n</html>\n'
    )


def wrapped(inner: str) -> str:
    """An element with our style, for notebooks and pages."""
    return f'<div class="skrobust-report">\n<style>{STYLE}{PAGE_STYLE}</style>\n{inner}\n</div>'


def render(part: Any, label: str = "") -> str:
    """HTML of one part of a page."""
    if isinstance(part, str):
        return f"<p>{escape(part)}</p>"
    if isinstance(part, list):
        return f"<ul>{''.join(f'<li>{escape(str(item))}</li>' for item in part)}</ul>"
    if hasattr(part, "iloc") and hasattr(part, "columns"):
        return table(part)
    display, options = part if isinstance(part, tuple) else (part, {})
    if hasattr(display, "plot"):
        return f"<figure>{picture(display, label, **options)}</figure>"
    if hasattr(part, "_repr_html_"):
        return part._repr_html_()
    allowed = "text, a list, a data frame, a display, or what shows itself in notebooks"
    raise invalid("parts", part, allowed, error=TypeError)


def table(frame: Any) -> str:
    """A data frame, numbers to the right."""
    kinds = [' class="num"' if kind.kind in "iuf" else "" for kind in map(_kind, frame.dtypes)]
    head = "".join(
        f"<th{kind}>{escape(str(name))}</th>"
        for kind, name in zip(kinds, frame.columns, strict=True)
    )
    lines = [
        "<tr>"
        + "".join(f"<td{k}>{escape(_cell(v))}</td>" for k, v in zip(kinds, row, strict=True))
        + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    ]
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def picture(display: Any, label: str, size: tuple[float, float] = SIZE, **options: Any) -> str:
    """A display as SVG inside the page; a line of text where there is no matplotlib."""
    from skrobust.inspection._pictures import _svg

    try:
        import_extra("matplotlib.figure", "plot")
    except ImportError as error:
        return f"<p class='note'>No picture: {escape(str(error))}</p>"
    return _svg(display, size, label, **options)


def _kind(dtype: Any) -> Any:
    return dtype if hasattr(dtype, "kind") else np.dtype(object)


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return "\u2013" if np.isnan(value) else number(float(value))
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    return "\u2013" if value is None else str(value)


MARKS = {
    "ok": '<span class="good">ok</span>',
    "note": '<span class="warn">note</span>',
    "warning": '<span class="warn">warning</span>',
    "serious": '<span class="bad">serious</span>',
    "n/a": '<span class="none">n/a</span>',
}


def data_html(report: Any) -> str:
    """The findings about a sample."""
    lines = [
        f"<tr><td><b>{finding.code}</b> {escape(finding.title)}</td><td>{MARKS[finding.severity]}</td>"
        f"<td>{escape(finding.advice)}</td></tr>"
        for finding in report.findings
    ]
    head = "<thead><tr><th>check</th><th></th><th>what was seen</th></tr></thead>"
    return wrapped(
        f'<div class="scroll"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'
        f"<p class='note'>{report.n_rows:,} rows.</p>"
    )
