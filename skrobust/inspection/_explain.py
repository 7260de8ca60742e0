"""Why a model is safer than another: the part of a report that explains, as cheaply as it can."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.inspection._counterfactual import Counterfactuals, nearest_counterfactual
from skrobust.inspection._input_sensitivity import InputSensitivity, input_sensitivity
from skrobust.inspection._lab import random_from
from skrobust.inspection._reasons import CertifiedReasons, certified_reasons
from skrobust.inspection._rows import row_labels, some_rows, take_rows
from skrobust.inspection._stability import AttributionStability, attribution_stability

__all__ = ["Explained", "explain_models"]

FEW_EXAMPLES, MORE_EXAMPLES = 3, 6  # rows whose nearest other answer is shown


@dataclass(frozen=True, eq=False)
class Explained:
    """What a report says about the reasons of its models; names of models are the keys.

    Attributes
    ----------
    rows : ndarray
        Numbers of the rows that were looked at for sensitivity and reasons.
    sensitivity : InputSensitivity or None
    stability : dict of str to AttributionStability
    counterfactuals : dict of str to Counterfactuals
    reasons : dict of str to CertifiedReasons
    """

    rows: np.ndarray
    sensitivity: InputSensitivity | None = None
    stability: dict[str, AttributionStability] = field(default_factory=dict)
    counterfactuals: dict[str, Counterfactuals] = field(default_factory=dict)
    reasons: dict[str, CertifiedReasons] = field(default_factory=dict)


def explain_models(models: dict[str, Any], settings: Any, focus: float, effort: Any) -> Explained:
    """All that applies to each model: what has no gradient has no attributions, and so on.

    ``effort`` "auto" leaves out what would cost as much as the scores: columns of models without
    gradients one by one, proofs and searches for the nearest other answers.
    """
    whole = effort is True
    random = random_from(settings.random_state)
    wide = np.shape(settings.X)[1:] and int(np.prod(np.shape(settings.X)[1:])) > 128
    rows = some_rows(len(settings.X), 20 if wide else 200, random)
    found = Explained(rows, _sensitivity(models, settings, focus, rows, whole))
    for name, model in models.items():
        if model.source == "torch":
            _stability(found, name, model, settings, focus, rows, whole)
        if not wide and model.source in ("torch", "trees"):
            _reasons(found, name, model, settings, focus, rows)
        if model.curve.quantity == "accuracy":
            _counterfactuals(found, name, model, settings, whole)
    _name_rows(found, settings)
    return found


def _name_rows(found: Explained, settings: Any) -> None:
    """Rows are called what they are called in the whole table."""
    labels = row_labels(settings.X, len(settings.X))
    if found.sensitivity is not None:
        found.sensitivity.labels[:] = [labels[i] for i in found.rows]
    for one in (*found.stability.values(), *found.reasons.values()):
        one.labels[:] = [labels[i] for i in found.rows[: len(one.labels)]]


def _sensitivity(models, settings, focus, rows, whole: bool) -> InputSensitivity | None:
    given = take_rows(settings.X, rows)
    where = dict(radius=focus, threat=settings.threat)
    found: InputSensitivity | None = None
    for name, model in models.items():
        method = "auto" if whole else "gradient"
        if method == "gradient" and model.source != "torch":
            continue
        try:
            one = input_sensitivity({name: model.estimator}, given, method=method, **where)
        except UnsupportedEstimatorError:
            continue
        if found is None:
            found = one
        else:
            found.values.update(one.values)
            found.method.update(one.method)
    return found


def _stability(found, name, model, settings, focus, rows, whole: bool) -> None:
    few = rows[: 100 if whole else 24]
    try:
        found.stability[name] = attribution_stability(
            model.estimator,
            take_rows(settings.X, few),
            radius=focus,
            threat=settings.threat,
            n_looks=100 if whole else 24,
            random_state=settings.random_state,
        )
    except UnsupportedEstimatorError:
        return


def _reasons(found, name, model, settings, focus, rows) -> None:
    given = take_rows(settings.X, rows)
    try:
        found.reasons[name] = certified_reasons(
            model.estimator, given, radius=focus, threat=settings.threat
        )
    except UnsupportedEstimatorError:
        return


def _counterfactuals(found, name, model, settings, whole: bool) -> None:
    """Of rows that were right: from those that break early to those that break late."""
    reached = np.flatnonzero((model.first > 0) & np.isfinite(model.first))
    if len(reached) == 0:
        return
    order = reached[np.argsort(model.smallest[reached], kind="stable")]
    n = min(MORE_EXAMPLES if whole else FEW_EXAMPLES, len(order))
    rows = order[np.unique(np.linspace(0, len(order) - 1, n + 2).round().astype(int)[1:-1])]
    found.counterfactuals[name] = nearest_counterfactual(
        model.estimator,
        take_rows(settings.X, rows),
        threat=settings.threat,
        attack=settings.attack,
        certify=whole or name in found.reasons,  # of sums a proof costs nothing
        n_halvings=8 if whole else 0,
        random_state=settings.random_state,
        known=model.nearest[rows],
    )
    labels = row_labels(settings.X, len(settings.X))
    found.counterfactuals[name].picture.labels[:] = [str(labels[i]) for i in rows]
