"""A report as a model card: what was measured, on what, against what, and what was not.

The sections are those of Mitchell et al. (2019), "Model cards for model reporting", arXiv:1810.03993.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from skrobust.exceptions import invalid
from skrobust.inspection._groups import FEW
from skrobust.inspection._threat_words import (
    NORMS,
    frozen_columns,
    norm_of,
    steps_of,
    threat_in_words,
)
from skrobust.inspection._words import number, percent, sentence
from skrobust.metrics._rows import Rows

__all__ = ["SECTIONS", "card_of", "hash_of_rows", "not_tested"]

SECTIONS = (
    "Model Details",
    "Intended Use",
    "Factors",
    "Metrics",
    "Evaluation Data",
    "Training Data",
    "Quantitative Analyses",
    "Ethical Considerations",
    "Caveats and Recommendations",
)
BLANK = "*Not stated. Whoever releases the model should fill this in.*"


def card_of(report: Any, model: Any, path: Any, when: Any, texts: dict[str, Any]) -> str:
    """The card that ``RobustnessReport.model_card`` asks for, its arguments checked."""
    known = {section.lower().replace(" ", "_"): section for section in SECTIONS}
    wrong = sorted(set(texts) - set(known)) or [k for k, v in texts.items() if type(v) is not str]
    if wrong:
        raise invalid("texts", wrong, f"text for one of the sections {list(known)}")
    if (model is None and len(report.models) > 1) or (
        model is not None and model not in report.models
    ):
        raise invalid("model", model, f"the name of one of the models {list(report.models)}")
    if path is not None and Path(path).suffix.lower() not in (".md", ".markdown"):
        raise invalid("path", str(path), "the name of an .md file")
    name = next(iter(report.models)) if model is None else model
    text = _card(report, name, when, {known[key]: said for key, said in texts.items()})
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _card(report: Any, model: str, when: Any, texts: dict[str, str]) -> str:
    """The card of one model of a report, in Markdown."""
    parts = {
        "Model Details": _details(report, model, _day(when)),
        "Intended Use": BLANK,
        "Factors": _factors(report, model),
        "Metrics": _metrics(report, model),
        "Evaluation Data": _data(report),
        "Training Data": BLANK,
        "Quantitative Analyses": _figures(report, model),
        "Ethical Considerations": _fairness(report, model),
        "Caveats and Recommendations": _caveats(report, model),
    }
    for section, text in texts.items():
        own = parts[section]
        parts[section] = text.strip() if own == BLANK else f"{text.strip()}\n\n{own}"
    body = "\n\n".join(f"## {section}\n\n{parts[section]}" for section in SECTIONS)
    return f"# Model card: {_plain(model)}\n\n{body}\n"


def _details(report: Any, name: str, day: str) -> str:
    estimator = report.models[name].estimator
    versions = report.info["versions"]
    return _bullets(
        f"Model: `{type(estimator).__name__}`, {_code(_one_line(estimator))}",
        f"Date of this card: {day}; measured {report.info['date']}",
        f"Versions: {', '.join(f'{package} {number}' for package, number in versions.items())}",
        f"Seed: {report.info['seed']}",
        f"Others in the same report: {', '.join(map(_plain, _others(report, name))) or 'none'}",
    )


def _factors(report: Any, name: str) -> str:
    settings = report.settings
    slices = report.models[name].slices
    classes = [str(s.value) for s in slices if s.part == "class"]
    groups = [str(s.value) for s in slices if s.part == "group"]
    lines = []
    if classes:
        lines.append(f"Classes: {', '.join(map(_plain, classes))}")
    if settings.groups is None:
        lines.append("Groups: none were given. Whether some are served worse is not known.")
    else:
        lines.append(f"Groups: {', '.join(map(_plain, groups))}")
        lines.append("Groups were looked at one at a time, not in combination.")
    lines.append("What may move (the threat):")
    words = [
        f"    - {said}" for said in threat_in_words(_bound(report), settings.X, settings.radii)
    ]
    return "\n".join([_bullets(*lines), *words, "", _steps(report)]).rstrip()


def _steps(report: Any) -> str:
    """What the radius means, column by column."""
    from skrobust.inspection._rows import feature_names

    settings = report.settings
    steps = steps_of(_bound(report), settings.X)
    if steps.ndim != 1 or np.ptp(steps) == 0:
        return ""
    names = feature_names(settings.X, len(steps))
    head = ["column", "one step", *[f"radius {radius:g}" for radius in settings.radii]]
    lines = [
        [_plain(label), number(step), *[number(step * radius) for radius in settings.radii]]
        for label, step in zip(names, steps, strict=True)
    ]
    return "\n" + _table(head, lines)


def _metrics(report: Any, name: str) -> str:
    model, info = report.models[name], report.info
    good = model.curve.quantity == "accuracy"
    what = (
        "Accuracy: the share of rows answered right, as they are (clean) and when each row is moved to "
        "the worst place that the attack finds (attacked). The truth is at most the attacked figure."
        if good
        else "Loss per row, as they are (clean) and at the worst place that the attack finds (attacked). "
        "The truth is at least the attacked figure."
    )
    lines = [what, f"Attack: {_code(info['attack'])}"]
    lines.append(
        f"Intervals: {info['confidence']:.0%}, "
        + ("Clopper and Pearson" if good else "normal approximation")
    )
    if model.proof is not None:
        doubt = model.proof.doubt
        sure = f", each statement with probability {1 - doubt:g}" if doubt else ""
        lines.append(
            f"Certified: proven against every attack, by method {model.proof.method}{sure}"
        )
    else:
        lines.append("Certified: nothing was proven in this report")
    lines.append(
        f"Work: {model.n_forward:,.0f} evaluations and {model.n_backward:,.0f} gradients per row"
    )
    return _bullets(*lines)


def _data(report: Any) -> str:
    settings = report.settings
    shape = np.shape(settings.X)
    lines = [
        f"Rows: {shape[0]}",
        f"Columns: {shape[1]}" if len(shape) == 2 else f"Shape: {' x '.join(map(str, shape[1:]))}",
        f"SHA-256 of rows and answers: `{hash_of_rows(settings)}`",
    ]
    for part, word in (("class", "Classes"), ("group", "Groups")):
        slices = [s for s in next(iter(report.models.values())).slices if s.part == part]
        if slices:
            counts = ", ".join(f"{_plain(str(s.value))} {s.n_rows}" for s in slices)
            lines.append(f"{word} (rows): {counts}")
    if settings.weight is not None:
        lines.append("Rows were weighted.")
    return _bullets(*lines)


def hash_of_rows(settings: Any) -> str:
    """Of the numbers, the order of the rows, and the answers: the same rows give the same hash."""
    rows = Rows(settings.X, settings.threat.categories)
    digest = hashlib.sha256()
    values = np.ascontiguousarray(rows.values, dtype="<f8")
    values = np.where(np.isnan(values), np.nan, values) + 0.0  # one NaN, one zero
    digest.update(repr((values.shape, sorted(rows.categories.items()))).encode())
    digest.update(values.tobytes())
    digest.update("\n".join(map(str, np.asarray(settings.y).tolist())).encode())
    return digest.hexdigest()


def _figures(report: Any, name: str) -> str:
    model = report.models[name]
    accuracy = model.curve.quantity == "accuracy"
    form = percent if accuracy else number
    summary = sentence(model.curve, report.focus)
    blocks = [summary, "### Unitary results"]
    for one in model.slices:
        title = (
            "All rows" if one.part == "all" else f"{one.part.capitalize()} {_plain(str(one.value))}"
        )
        blocks.append(f"**{title}** ({one.n_rows} rows)\n\n{_slice(report, model, one, form)}")
    blocks.append("### Intersectional results")
    blocks.append("Not measured: classes and groups were looked at one at a time.")
    return "\n\n".join(blocks)


def _slice(report: Any, model: Any, one: Any, form: Any) -> str:
    head = ["radius", "figure", f"{report.settings.confidence:.0%} interval"]
    extra = {
        "moved at random": one.random,
        "certified": one.certified,
        "of all such rows at most"
        + (" wrong or breakable" if form is percent else ""): one.at_most,
        "predictions move by at most": one.variation,
        "of all such rows by at most": one.variation_at_most,
    }
    extra = {word: values for word, values in extra.items() if values is not None}
    still = ["" for _ in extra]
    lines = [["0 (clean)", form(one.clean), _span(one.clean_interval, form), *still]]
    for k, radius in enumerate(model.curve.radii):
        more = [
            number(values[k]) if "move by" in word or "rows by" in word else form(values[k])
            for word, values in extra.items()
        ]
        lines.append([f"{radius:g}", form(one.attacked[k]), _span(one.interval[k], form), *more])
    text = _table([*head, *extra], lines)
    if one.majority is not None:
        alone = "the most frequent class" if form is percent else "the mean of y"
        text += f"\n\nAlways answering {alone}: {form(one.majority)}."
    return text


def _fairness(report: Any, name: str) -> str:
    found = report.groups
    if found is None:
        return (
            "No groups were given, so nothing is known about who bears the errors. Give `groups=` and "
            "read the comparison before the model decides about people."
        )
    lines = []
    own = [r for r in found.groups if r["estimator"] == name]
    head = ["measure", "group", "rows", "figure", "interval", "all others", "p (Holm)"]
    table = [
        [
            r["measure"],
            _plain(str(r["group"])),
            str(r["n_rows"]),
            _form(r)(r["value"]),
            _span((r["low"], r["high"]), _form(r)),
            _form(r)(r["rest"]),
            f"{r['p_holm']:.2g}",
        ]
        for r in own
    ]
    lines.append(f"At radius {report.focus:g}, group by group, tested against all other rows:")
    lines.append(_table(head, table))
    changes = [r for r in found.changes if r["estimator"] == name]
    if changes:
        head = ["measure", "group", "rows", "before", "now", "change", "p (Holm)", "verdict"]
        table = [
            [
                r["measure"],
                _plain(str(r["group"])),
                str(r["n_rows"]),
                _form(r)(r["before"]),
                _form(r)(r["value"]),
                _span((r["low"], r["high"]), _form(r)),
                f"{r['p_holm']:.2g}",
                r["verdict"],
            ]
            for r in changes
        ]
        lines.append(f"Against {_plain(found.reference)} on the same rows:")
        lines.append(_table(head, table))
    mine = [text for text in found.warnings if text.startswith(f"{name}: ")]
    lines.append(
        _bullets(*map(_plain, mine)) if mine else "No test and no estimate points to a harm."
    )
    lines.append(
        "A test that finds nothing does not show that there is no difference, least of all in small "
        "groups: read the intervals. Groups that were not named were not looked at."
    )
    return "\n\n".join(lines)


def _caveats(report: Any, name: str) -> str:
    model = report.models[name]
    failed = [finding for finding in model.findings if finding.ok is False]
    lines = [f"Check {f.code} failed: {f.advice}" for f in failed]
    if not model.findings:
        lines.append("The measurement itself was not checked (`diagnostics=False`).")
    text = "Limits of the figures above:\n\n" + _bullets(*lines) + "\n\n" if lines else ""
    return f"{text}**What was not tested:**\n\n{_bullets(*not_tested(report, name))}"


def not_tested(report: Any, name: str) -> list[str]:
    """What nobody may conclude from the report."""
    from skrobust.inspection._rows import feature_names

    settings, model = report.settings, report.models[name]
    rows = Rows(settings.X, settings.threat.categories)
    threat = _bound(report)
    own = norm_of(threat.region(_tensor(rows.values[:1]), 1.0))
    others = [words for key, words in NORMS.items() if key != own]
    names = feature_names(settings.X, rows.values.shape[1])
    held = frozen_columns(threat, rows.values, names)
    found = [
        f"Movements measured in another way: {', '.join(others)}; and movements larger than radius "
        f"{max(settings.radii):g}.",
        "Other rows than these: distribution shift, other places, other times. Intervals hold for "
        "rows drawn as these were.",
        "Training data that somebody tampered with (poisoning, backdoors).",
        f"Attackers who adapt beyond the attack used ({report.info['attack']}): "
        + (
            "what is certified holds against them too, what is only attacked does not."
            if model.proof is not None
            else "the attacked figures hold against that attack only; nothing was proven."
        ),
        "Theft of the model, and what its answers reveal about training rows.",
    ]
    if held:
        found.append(f"Movement of the frozen columns: {', '.join(map(_plain, held))}.")
    if getattr(threat, "direction", None) is not None:
        found.append("Movement of one-way columns against their way.")
    if getattr(threat, "bounds", None) is not None:
        found.append("Values outside the bounds of the threat.")
    small = [s for s in model.slices if s.part != "all" and s.n_rows < FEW]
    if small:
        few = ", ".join(f"{_plain(str(s.value))} ({s.n_rows})" for s in small)
        found.append(f"Parts with fewer than {FEW} rows say little: {few}.")
    if settings.groups is None:
        found.append("Groups of people or things: none were given.")
    found.append("Combinations of groups.")
    if model.curve.quantity == "accuracy":
        found.append("Whether probabilities are calibrated, before or after a move.")
    return found


# Pieces ---------------------------------------------------------------------------------------


def _tensor(values: np.ndarray) -> Any:
    from skrobust._torch import to_tensor

    return to_tensor(values)


def _bound(report: Any) -> Any:
    """The threat as it was used: text columns held."""
    threat = report.settings.threat
    return threat.holding(sorted(Rows(report.settings.X, threat.categories).categories))


def _day(when: Any) -> str:
    if when is None:
        return datetime.now(UTC).date().isoformat()
    if isinstance(when, date):
        return when.isoformat()[:10]
    if isinstance(when, str) and when.strip():
        return when
    raise invalid("date", when, "a date, a text such as '2026-01-31', or None for today")


def _others(report: Any, name: str) -> list[str]:
    return [other for other in report.models if other != name]


def _one_line(estimator: Any) -> str:
    text = " ".join(repr(estimator).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    for sign in "\\`*_[]<>#|":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\n", " ")


def _form(record: dict) -> Any:
    return percent if record["measure"].endswith("accuracy") else number


def _span(interval: Any, form: Any) -> str:
    return f"{form(interval[0])} to {form(interval[1])}"


def _bullets(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
