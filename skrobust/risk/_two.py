"""Two classes: a threshold on one score, or two of them with a human in between."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust.certificates._certify import settings_of
from skrobust.exceptions import RobustnessWarning, caution
from skrobust.risk._band import best_band, costs_at
from skrobust.risk._intervals import score_intervals, scores_of
from skrobust.risk._stakes import Stakes, stakes_of
from skrobust.risk._sweep import sweep

__all__ = ["answers", "costs", "look", "refers", "settle", "stakes_of", "warn_of_one"]


def look(
    model: Any, estimator: Any, X: Any, y: np.ndarray, case: Stakes, threat: Any, offsets=None
) -> Stakes:
    """The same rows with their scores, and how far these can be moved."""
    ends = score_intervals(
        estimator,
        X,
        y,
        down=case.low,
        up=case.high,
        threat=threat,
        bound=model.bound,
        attack=model.attack,
        method=model.method,
        response_method=model.response_method,
        settings=settings_of(0.999, None, model.random_state),
        random_state=model.random_state,
    )
    return case.moved(ends)


def _join(parts: list[Stakes]) -> Stakes:
    """Rows of several folds."""
    joined = (None if of[0] is None else np.concatenate(of) for of in zip(*parts, strict=True))
    return Stakes(*joined)


def settle(model: Any, cases: list, look: Any) -> None:
    """Choose the thresholds, and write them down."""
    case = _join(cases)
    curve = sweep(case, model.bound)
    low = high = float(curve.thresholds[curve.best])
    clean, worst = float(curve.clean[curve.best]), float(curve.worst[curve.best])
    model.cost_curve_, model.threshold_ = curve, low
    if model.refer_cost is not None:
        low, high, clean, worst = best_band(case)
        model.threshold_ = float(np.clip(model.threshold_, low, high))
    model.refer_band_, model.clean_cost_, model.cost_ = (low, high), clean, worst
    if low == high and np.isinf(low):
        warn_of_one(model, int(low < 0))


def warn_of_one(model: Any, code: int) -> None:
    """Say that one class is always decided for."""
    only = model.classes_.tolist()[code]
    caution(
        f"No threshold costs less under this attack than always deciding {only!r} "
        f"({model.cost_:.4g} per row). Lower radius ({model.radius:g} now) or attack_rate, or "
        "train a more robust estimator.",
        RobustnessWarning,
    )


def costs(model: Any, case: Stakes) -> tuple[np.ndarray, np.ndarray]:
    """Clean and worst cost (n,) with the thresholds that were chosen."""
    return costs_at(case, *model.refer_band_)


def refers(model: Any) -> bool:
    """Whether any row may be referred."""
    return model.refer_band_[0] < model.refer_band_[1]


def answers(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """The class that each row leans to, and which rows are referred."""
    score = scores_of(model.estimator_, model.response_method)[1](X)
    low, high = model.refer_band_
    return (score >= model.threshold_).astype(int), (score >= low) & (score < high)
