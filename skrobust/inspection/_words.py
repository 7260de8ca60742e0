"""Numbers and sentences as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skrobust.inspection._worst_case_display import answers

__all__ = ["answers_of", "number", "percent", "sentence", "span"]


def percent(value: float) -> str:
    """
    >>> percent(0.6549)
    '65.5%'
    """
    return f"{100 * value:.1f}%"


def number(value: float) -> str:
    """
    >>> number(1234567.8), number(0.0123456), number(float("inf"))
    ('1,234,568', '0.01235', 'inf')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def span(low: float, high: float, form: Callable = number, between: str = " &rarr; ") -> str:
    """
    >>> span(0.5, 0.75, percent, " to ")
    '50.0% to 75.0%'
    """
    return f"{form(low)}{between}{form(high)}"


def sentence(curve: Any, radius: float) -> str:
    """What a curve says, in plain words.

    >>> from skrobust.metrics import RobustnessCurve
    >>> interval = np.array([[0.5, 0.7]])
    >>> curve = RobustnessCurve(np.array([0.2]), 0.9, np.array([0.6]), None, interval, 0.5)
    >>> sentence(curve, 0.2)
    'Right on 90.0% of the rows as they are; 60.0% stay right under attack within radius 0.2 \
(95% interval 50.0% to 70.0%). Always answering the most frequent class: 50.0%.'
    """
    if radius == 0:
        return f"Clean: {percent(curve.clean) if curve.quantity == 'accuracy' else number(curve.clean)}."
    k = int(np.flatnonzero(curve.radii == radius)[0])
    form = percent if curve.quantity == "accuracy" else number
    sure = f"({curve.confidence:.0%} interval {span(*curve.interval[k], form, ' to ')})"
    proven = "" if curve.at_most is None else f" {curve.statement(radius)}"
    if curve.quantity == "accuracy":
        return (
            f"Right on {form(curve.clean)} of the rows as they are; {form(curve.attacked[k])} stay "
            f"right under attack within radius {radius:g} {sure}. Always answering the most "
            f"frequent class: {form(curve.majority)}.{proven}"
        )
    return (
        f"Mean loss {form(curve.clean)} as the rows are; {form(curve.attacked[k])} under attack "
        f"within radius {radius:g} {sure}. Always answering the mean: {form(curve.majority)}.{proven}"
    )


def answers_of(estimator: Any, X: Any) -> list[str]:
    """Predictions as text."""
    found = answers(estimator, X)
    return [number(a) if isinstance(a, (float, np.floating)) else str(a) for a in found]
