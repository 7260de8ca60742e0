"""The checks of a sample, R1 to R11: each says how bad it is, what was measured, what to do."""

from __future__ import annotations

import numpy as np

from skrobust.inspection._data_rows import (
    contradictions,
    doubtful_labels,
    duplicates,
    in_steps,
    near_pairs,
)
from skrobust.inspection._data_sample import Sample
from skrobust.inspection._data_tests import chi_square, classifier_test, holm, ks, outside

__all__ = [
    "Judged",
    "class_balance",
    "column_shift",
    "constants",
    "group_ranges",
    "group_sizes",
    "labels",
    "leaked",
    "missing",
    "out_of_range",
    "repeated",
    "sample_shift",
]

Judged = tuple[str, float | None, str]

NEARLY = 0.995  # share of one value in a column that says next to nothing
FEW, SOME = 30, 100  # rows with which a share is known within 18 and within 10 points
FEWEST_FOR_TESTS = 40
NO_OPERATION: Judged = ("n/a", None, "Give operation= rows as they come where the model will work.")


def missing(sample: Sample) -> Judged:
    """R1."""
    share = np.isnan(sample.values).mean(axis=0)
    sample.columns["missing"] = share
    worst = float(share.max())
    there = ""
    if sample.operation is not None:
        later = np.isnan(sample.operation).mean(axis=0)
        sample.columns["missing_in_operation"] = later
        apart = np.abs(later - share)
        if apart.max() > 0.05:
            there = f" In operation other shares are missing: {sample.named(apart > 0.05, later)}."
    if worst == 0 and not there:
        return "ok", 0.0, "No value is missing."
    severity = "serious" if worst > 0.3 else "warning" if worst > 0.05 or there else "note"
    what = (
        f"Missing: {sample.named(share > 0, share, '{:.1%}')}." if worst else "Nothing is missing."
    )
    return (
        severity,
        worst,
        f"{what}{there} Ask why: values that are missing for a reason "
        "(a broken sensor, a question not asked) are missing differently tomorrow.",
    )


def constants(sample: Sample) -> Judged:
    """R2."""
    most = np.array([_share_of_most_frequent(column) for column in sample.values.T])
    sample.columns["most_frequent"] = most
    constant, nearly = most == 1, (most >= NEARLY) & (most < 1)
    count = int(constant.sum() + nearly.sum())
    if not count:
        return "ok", 0.0, "No column is constant."
    parts = []
    if constant.any():
        parts.append(f"Constant: {sample.named(constant)}.")
    if nearly.any():
        parts.append(f"Nearly constant: {sample.named(nearly, most, '{:.1%}')}.")
    advice = (
        " ".join(parts) + " A column that never moved cannot be learned from: drop it, or collect "
    )
    advice += "rows in which it moves."
    return ("warning" if constant.any() else "note"), float(count), advice


def _share_of_most_frequent(column: np.ndarray) -> float:
    column = column[~np.isnan(column)]
    if not len(column):
        return 1.0
    return float(np.unique(column, return_counts=True)[1].max() / len(column))


def class_balance(sample: Sample) -> Judged:
    """R3."""
    if sample.classes is None:
        return "n/a", None, "There are no classes."
    classes, count = np.unique(sample.y, return_counts=True)
    k, n = int(count.argmin()), len(sample.y)
    words = f"Class {classes[k]} has {count[k]} of {n} rows ({count[k] / n:.1%})."
    if len(classes) == 1:
        return "serious", float(count[k]), f"{words} It is the only one: nothing can be learned."
    need = 100 * n / count[k]
    more = f" 100 rows of it take a sample of about {need:,.0f} rows, or rows chosen for it."
    if count[k] < FEW:
        return "serious", float(count[k]), f"{words} No error rate of it can be known.{more}"
    if count[k] < SOME:
        return (
            "warning",
            float(count[k]),
            f"{words} Its error rate is known within 18 points.{more}",
        )
    if count[k] < 0.05 * n:
        advice = f"{words} Do not look at accuracy alone: give costs, and figures of each class."
        return "note", float(count[k]), advice
    return "ok", float(count[k]), words


def group_sizes(sample: Sample) -> Judged:
    """R4."""
    if sample.groups is None:
        return "n/a", None, "Give groups= (sites, devices, kinds of customers)."
    names, count = np.unique(sample.groups, return_counts=True)
    sample.group_records = [
        {"group": name, "n_rows": int(n), "share": n / len(sample.groups)}
        for name, n in zip(names.tolist(), count, strict=True)
    ]
    small = [f"{name} ({n})" for name, n in zip(names, count, strict=True) if n < SOME]
    if not small:
        return (
            "ok",
            float(count.min()),
            f"The smallest of {len(names)} groups has {count.min()} rows.",
        )
    severity = "serious" if count.min() < FEW else "warning"
    shown = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
    advice = (
        f"Groups of few rows: {shown}. A share is known within 10 points from 100 rows on: collect "
    )
    return (
        severity,
        float(count.min()),
        advice + "more of them before you promise anything to them.",
    )


def group_ranges(sample: Sample) -> Judged:
    """R5: in how many tenths of each column does each group have rows?"""
    if sample.groups is None:
        return "n/a", None, "Give groups= (sites, devices, kinds of customers)."
    numbers = [j for j in np.flatnonzero(~sample.categories) if _is_spread(sample.values[:, j])]
    names = [record["group"] for record in sample.group_records if record["n_rows"] >= 50]
    if not numbers or not names:
        return "n/a", None, "No group of 50 rows, or no column of numbers."
    tenths = np.stack([_tenth(sample.values[:, j]) for j in numbers], axis=1)
    there = np.array([len(np.unique(c[c >= 0])) for c in tenths.T])  # fewer where values repeat
    least, worst = 1.1, ""
    for record in sample.group_records:
        if record["group"] not in names:
            continue
        rows = tenths[sample.groups == record["group"]]
        covered = np.array([len(np.unique(c[c >= 0])) for c in rows.T]) / there
        record["covered"], record["narrowest"] = (
            float(covered.min()),
            sample.names[numbers[int(covered.argmin())]],
        )
        if covered.min() < least:
            least = float(covered.min())
            worst = (
                f"{record['group']} has rows in {least:.0%} of the tenths of {record['narrowest']}"
            )
    advice = f"{worst[:1].upper()}{worst[1:]}."
    if least >= 0.6:
        return "ok", least, advice
    return (
        "warning",
        least,
        f"{advice} Beyond them the model guesses from other groups: collect rows.",
    )


def _is_spread(column: np.ndarray) -> bool:
    return len(np.unique(column[~np.isnan(column)])) >= 20


def _tenth(column: np.ndarray) -> np.ndarray:
    edges = np.nanquantile(column, np.linspace(0.1, 0.9, 9))
    return np.where(np.isnan(column), -1, np.searchsorted(edges, np.nan_to_num(column), "left"))


def out_of_range(sample: Sample) -> Judged:
    """R6."""
    if sample.operation is None:
        return NO_OPERATION
    pairs = zip(sample.values.T, sample.operation.T, strict=True)
    found = np.array([outside(seen, new) for seen, new in pairs])
    share, p_value = found[:, 0], holm(found[:, 1])
    sample.columns["outside"] = share
    bad = (p_value < sample.alpha) & (share > 0.01)
    worst = float(np.nanmax(np.where(bad, share, 0.0)))
    if not bad.any():
        return "ok", float(np.nanmax(share)), "Operation keeps to the ranges of the sample."
    advice = f"Operation leaves the range of the sample: {sample.named(bad, share)}. There the model was "
    advice += "never taught: collect such rows, or refuse them."
    return ("serious" if worst > 0.1 else "warning"), worst, advice


def column_shift(sample: Sample) -> Judged:
    """R7."""
    if sample.operation is None:
        return NO_OPERATION
    tests = np.array(
        [
            (chi_square if kind else ks)(seen, new)
            for kind, seen, new in zip(
                sample.categories, sample.values.T, sample.operation.T, strict=True
            )
        ]
    )
    effect, p_value = tests[:, 0], holm(tests[:, 1])
    sample.columns["shift"], sample.columns["shift_p"] = effect, p_value
    bad = (p_value < sample.alpha) & (effect > sample.min_effect)
    if not bad.any():
        return "ok", float(np.nanmax(effect)), "No column is distributed otherwise in operation."
    worst = float(effect[bad].max())
    advice = f"Other values in operation: {sample.named(bad, effect, '{:.2f}')}. Find out why (time, place, "
    advice += "device, who was asked); draw the sample anew, or weigh its rows."
    return ("serious" if worst > 3 * sample.min_effect else "warning"), worst, advice


def sample_shift(sample: Sample) -> Judged:
    """R8."""
    if sample.operation is None:
        return NO_OPERATION
    if min(len(sample.values), len(sample.operation)) < FEWEST_FOR_TESTS:
        return "n/a", None, f"Fewer than {FEWEST_FOR_TESTS} rows cannot tell."
    first, second = (part[sample.some(part)] for part in (sample.values, sample.operation))
    area, p_value, held_out = classifier_test(first, second, sample.random)
    seen = f"A model that guesses where a row is from has an AUC of {area:.2f} on {held_out} held-out rows"
    if p_value >= sample.alpha or area <= 0.6:
        return "ok", area, f"{seen}: it cannot tell."
    advice = f"{seen} (p = {p_value:.2g}): the sample is not what operation brings, though single columns "
    advice += "may look alike. Scores of the sample do not carry over."
    return ("serious" if area > 0.75 else "warning"), area, advice


def repeated(sample: Sample) -> Judged:
    """R9."""
    rows = sample.some(sample.values)
    steps = in_steps(sample.values[rows], sample.categories, sample.values)
    equal, near = duplicates(steps), near_pairs(steps, None, sample.near)
    twice = (equal >= 0) | (near >= 0)
    for place in np.flatnonzero(twice):
        exact = equal[place] >= 0
        of = rows[equal[place] if exact else near[place]]
        why = "equal to" if exact else "nearly equal to"
        sample.row_records.append({"row": int(rows[place]), "why": why, "other": int(of)})
    share = float(twice.mean())
    if share == 0:
        return "ok", 0.0, "No row repeats another."
    advice = f"{int(twice.sum())} rows ({share:.1%}) repeat another, {int((equal >= 0).sum())} exactly. If they are the "
    advice += (
        "same item, keep one, or split by item (groups= in cross-validation): copies on both sides "
    )
    advice += "of a split make every score too good. Few distinct values make equal rows by chance."
    return ("warning" if share > 0.05 else "note"), share, advice


def leaked(sample: Sample) -> Judged:
    """R10."""
    if sample.test is None:
        return "n/a", None, "Give test= the rows on which the model will be measured."
    rows = sample.some(sample.test)
    steps = in_steps(sample.values, sample.categories, sample.values)
    tested = in_steps(sample.test[rows], sample.categories, sample.values)
    equal, near = duplicates(tested, steps), near_pairs(tested, steps, sample.near)
    found = (equal >= 0) | (near >= 0)
    for place in np.flatnonzero(found):
        exact = equal[place] >= 0
        of = equal[place] if exact else near[place]
        why = "test row equal to" if exact else "test row nearly equal to"
        sample.row_records.append({"row": int(rows[place]), "why": why, "other": int(of)})
    share = float(found.mean())
    if share == 0:
        return "ok", 0.0, "No test row is in the sample."
    advice = f"{int(found.sum())} test rows ({share:.1%}) are in the sample, {int((equal >= 0).sum())} exactly. Scores "
    advice += "on them are memory: take them out, and split by item."
    return ("serious" if share > 0.01 else "warning"), share, advice


def labels(sample: Sample) -> Judged:
    """R11."""
    if sample.classes is None:
        return "n/a", None, "There are no classes."
    rows = sample.some(sample.values)
    values, y = sample.values[rows], sample.y[rows]
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2 or np.bincount(codes).min() < 5 or len(y) < FEWEST_FOR_TESTS:
        return "n/a", None, "A class has fewer than 5 rows."
    steps = in_steps(values, sample.categories, sample.values)
    doubt, says = doubtful_labels(values, steps, codes, sample.random)
    against = contradictions(duplicates(steps), y)
    for place in np.flatnonzero(doubt | against):
        why = (
            "label against an equal row"
            if against[place]
            else f"label: rather {classes[says[place]]}"
        )
        sample.row_records.append({"row": int(rows[place]), "why": why, "other": None})
    share = float((doubt | against).mean())
    if share == 0:
        return "ok", 0.0, "No label is in doubt."
    advice = f"{share:.1%} of the labels are in doubt: a model that has not seen the row, and its "
    advice += (
        "neighbours, say otherwise. Have these rows labelled again (frame('rows')): no score is "
    )
    advice += "better than the labels. Where labels are right, the classes overlap, and no model can help."
    return ("serious" if share > 0.1 else "warning" if share > 0.03 else "note"), share, advice
