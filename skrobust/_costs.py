"""A matrix of what decisions cost, as users write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skrobust._params import check_number
from skrobust.exceptions import invalid

__all__ = ["class_costs", "cost_array", "named_classes"]

ALLOWED = "an array of finite numbers or a dict {(true class, decision): cost}"


def cost_array(name: str, given: Any, classes: list, allowed: str = ALLOWED) -> np.ndarray:
    """Numbers as an array of any shape; ``{(true, decided): cost}`` as (k, k), pairs left out 0.

    >>> cost_array("cost_matrix", {("bad", "good"): 5}, ["bad", "good"])
    array([[0., 5.],
           [0., 0.]])
    """
    if isinstance(given, Mapping):
        return _from_pairs(name, given, classes)
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid(name, given, allowed, error=TypeError) from error
    if given is None or array.ndim == 0:
        raise invalid(name, given, allowed, error=TypeError)
    if not np.isfinite(array).all():
        raise invalid(name, given, allowed, "NaN and infinite costs have no mean.")
    return array


def _from_pairs(name: str, given: Mapping, classes: list) -> np.ndarray:
    number = {label: code for code, label in enumerate(classes)}
    costs = np.zeros((len(classes), len(classes)))
    for pair, cost in given.items():
        if not isinstance(pair, tuple) or len(pair) != 2 or any(e not in number for e in pair):
            allowed = "a dict {(true class, decision): cost} of classes the model knows"
            hint = f"{pair!r} is no such pair; classes: {named_classes(classes)}."
            raise invalid(name, given, allowed, hint)
        costs[number[pair[0]], number[pair[1]]] = check_number(f"{name}[{pair!r}]", cost)
    return costs


def class_costs(given: Any, classes: list) -> tuple[np.ndarray, np.ndarray]:
    """What mistakes cost beyond the right decision: the mean (k,) of each class, and each pair's
    share of it (k, k), 1 where all mistakes about a class cost the same.

    >>> class_costs([[0, 2, 4], [1, 0, 1], [0, 0, 0]], [0, 1, 2])[1]
    array([[1.        , 0.66666667, 1.33333333],
           [1.        , 1.        , 1.        ],
           [1.        , 1.        , 1.        ]])
    """
    costs, k = cost_array("cost_matrix", given, classes), len(classes)
    order = f"Rows are true classes, columns decisions, in the order {named_classes(classes)}."
    if costs.shape != (k, k):
        raise invalid(
            "cost_matrix", f"<array of shape {costs.shape}>", f"of shape ({k}, {k})", order
        )
    costs = costs - np.diag(costs)[:, None]
    if (costs < 0).any() or not costs.any():
        allowed = "a matrix in which no mistake costs less than the right decision, and one more"
        raise invalid("cost_matrix", given, allowed, order)
    mean = costs.sum(axis=1) / (k - 1)
    share = np.divide(costs, mean[:, None], out=np.ones_like(costs), where=mean[:, None] > 0)
    np.fill_diagonal(share, 1.0)
    return mean, share


def named_classes(classes: list) -> str:
    return str(classes if len(classes) <= 10 else [*classes[:10], "..."])
