"""The numbers of a report, as records for tidy tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust.inspection._rows import feature_names, row_labels

__all__ = ["RECORDS"]

PROVEN = ("certified", "at_most", "variation", "variation_at_most")


def scores(report: Any) -> list[dict]:
    found = []
    for name, model in report.models.items():
        for part in model.slices:
            for k, radius in enumerate(model.curve.radii):
                record = {
                    "estimator": name,
                    "part": part.part,
                    "value": part.value,
                    "n_rows": part.n_rows,
                    "radius": float(radius),
                    "clean": part.clean,
                    "clean_low": part.clean_interval[0],
                    "clean_high": part.clean_interval[1],
                    "attacked": float(part.attacked[k]),
                    "low": float(part.interval[k][0]),
                    "high": float(part.interval[k][1]),
                    **{name: _at(getattr(part, name), k) for name in PROVEN},
                    "majority": part.majority,
                    "quantity": model.curve.quantity,
                }
                if part.random is not None:
                    record["random"] = float(part.random[k])
                found.append(record)
    return found


def _at(values: Any, k: int) -> float | None:
    return None if values is None else float(values[k])


def features(report: Any) -> list[dict]:
    found = []
    for name, model in report.models.items():
        if model.features is None:
            continue
        names = feature_names(report.settings.X, len(model.features.share))
        for j in np.argsort(-model.features.share, axis=0, kind="stable"):
            one = {
                part: float(getattr(model.features, part)[j]) for part in ("share", "up", "down")
            }
            found.append({"estimator": name, "feature": names[j], "radius": report.focus, **one})
    return found


def rows(report: Any) -> list[dict]:
    found = []
    labels = row_labels(report.settings.X, report.info["n_rows"])
    for name, model in report.models.items():
        proven = None if model.proof is None else model.proof.radius
        for i, label in enumerate(labels):
            found.append(
                {
                    "estimator": name,
                    "row": label,
                    "y": report.settings.y[i],
                    "proven_radius": None if proven is None else float(proven[i]),
                    "smallest_radius": float(model.smallest[i]),
                    "clean_value": float(model.clean.value[i]),
                    "worst_value": float(model.worst.value[i]),
                }
            )
    return found


def diagnostics(report: Any) -> list[dict]:
    return [
        {
            "estimator": finding.estimator,
            "code": finding.code,
            "title": finding.title,
            "ok": finding.ok,
            "value": finding.value,
            "advice": finding.advice,
        }
        for finding in report.diagnostics
    ]


def budget(report: Any) -> list[dict]:
    return [
        {
            "estimator": name,
            "forward_per_row": model.n_forward,
            "backward_per_row": model.n_backward,
            "seconds": model.seconds,
            "seen_through": model.source,
        }
        for name, model in report.models.items()
    ]


def groups(report: Any) -> list[dict]:
    return [] if report.groups is None else list(report.groups.groups)


def changes(report: Any) -> list[dict]:
    return [] if report.groups is None else list(report.groups.changes)


def sensitivity(report: Any) -> list[dict]:
    found = None if report.explained is None else report.explained.sensitivity
    return [] if found is None else found.frame().to_dict("records")


def _explained(report: Any, part: str, *kind: str) -> list[dict]:
    found = {} if report.explained is None else getattr(report.explained, part)
    return [
        {"estimator": name, **record}
        for name, one in found.items()
        for record in one.frame(*kind).to_dict("records")
    ]


def stability(report: Any) -> list[dict]:
    return _explained(report, "stability")


def counterfactuals(report: Any) -> list[dict]:
    return _explained(report, "counterfactuals", "rows")


def reasons(report: Any) -> list[dict]:
    return _explained(report, "reasons")


RECORDS = {
    "scores": scores,
    "features": features,
    "rows": rows,
    "diagnostics": diagnostics,
    "budget": budget,
    "groups": groups,
    "changes": changes,
    "sensitivity": sensitivity,
    "stability": stability,
    "counterfactuals": counterfactuals,
    "reasons": reasons,
}
