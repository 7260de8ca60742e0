"""One model or several, each with a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skrobust.exceptions import invalid

__all__ = ["name_of", "named_estimators"]


def named_estimators(estimators: Any) -> dict[str, Any]:
    """Name to estimator, from one, a list (named by class) or a dict.

    >>> from sklearn.linear_model import LinearRegression
    >>> sorted(named_estimators([LinearRegression(), LinearRegression()]))
    ['LinearRegression', 'LinearRegression 2']
    """
    if isinstance(estimators, Mapping):
        found = {str(name): model for name, model in estimators.items()}
    elif isinstance(estimators, (list, tuple)):
        found = {}
        for part in estimators:
            pair = isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str)
            name, model = part if pair else (name_of(part), part)
            found[_unused(name, found)] = model
    else:
        found = {name_of(estimators): estimators}
    if not found:
        raise invalid("estimators", estimators, "a fitted estimator, or a list or dict of some")
    return found


def name_of(estimator: Any) -> str:
    """The class; of a Pipeline that of its last step, of a search that of what it found."""
    steps = getattr(estimator, "steps", None)
    if steps:
        return name_of(steps[-1][1])
    best = getattr(estimator, "best_estimator_", None)
    return type(estimator).__name__ if best is None else name_of(best)


def _unused(name: str, taken: dict) -> str:
    numbers = [f"{name} {k}" for k in range(2, len(taken) + 2)]
    return next(candidate for candidate in [name, *numbers] if candidate not in taken)
