"""Costs as scores: greater is better, so that their sign is turned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skrobust.exceptions import invalid
from skrobust.metrics._schedule import attack_for
from skrobust.metrics._scorer import ALIASES, METRICS
from skrobust.risk._rows import RowCosts, row_costs

__all__ = []
OPTIONS = (
    "amount",
    "gain",
    "price_per_step",
    "price_per_attack",
    "method",
    "confidence",
    "time_budget",
)


def _costs(run: Any, bound: str) -> RowCosts:
    """Costs of the rows, once for all metrics of a call."""
    if bound not in run.kept:
        scorer, (X, y, sample_weight) = run.scorer, run.given
        run.kept[bound] = row_costs(
            run.estimator,
            X,
            y,
            cost_matrix=scorer.cost_matrix,
            radius=run.radius,
            threat=scorer.threat,
            attack_rate=scorer.attack_rate,
            bound=bound,
            attack=attack_for(scorer.attack, run.estimator),
            sample_weight=sample_weight,
            random_state=scorer.random_state,
            batch_size=scorer.batch_size,
            **_options(scorer.cost_options),
        )
    return run.kept[bound]


def _options(given: Any) -> Mapping:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not set(given) <= set(OPTIONS):
        raise invalid("cost_options", given, f"None or a dict with some of {list(OPTIONS)}")
    return given


def _robust(run: Any) -> float:
    return -_costs(run, "attacked").mean("attacked")


def _certified(run: Any) -> float:
    return -_costs(run, "certified").mean("certified")


def _clean(run: Any) -> float:
    costs = _costs(run, next(iter(run.kept), "clean"))
    return -float(np.average(costs.clean, weights=costs.weight))


METRICS.update(neg_robust_cost=_robust, neg_clean_cost=_clean, neg_certified_cost=_certified)
ALIASES["cost"] = "neg_robust_cost"
