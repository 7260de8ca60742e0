"""What decisions cost, as users write it, becomes one array per row."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from skrobust._costs import cost_array, named_classes
from skrobust._params import check_number
from skrobust.exceptions import invalid
from skrobust.metrics._losses import CONVEX, LOSSES, ErrorPrice

__all__ = ["Attacker", "check_amount", "check_rate", "decision_costs", "error_price"]

ALLOWED = "an array of finite numbers, a dict {(true class, decision): cost} or a function of X"
ORDER = "Rows are true classes and columns are decisions, both in the order of classes_: {}."


def decision_costs(
    name: str, cost_matrix: Any, X: Any, codes: np.ndarray, classes: list, amount: np.ndarray
) -> np.ndarray:
    """What each decision about each row costs, (n, n_classes), from its true class ``codes`` (n,)."""
    given = cost_matrix(X) if callable(cost_matrix) else cost_matrix
    costs = cost_array(name, given, classes, ALLOWED)
    n, k = len(codes), len(classes)
    if costs.shape == (k, k):
        per_row = costs[codes]
    elif costs.shape == (n, k, k):
        per_row = costs[np.arange(n), codes]
    else:
        shape = f"<array of shape {costs.shape}>"
        allowed = f"a matrix of shape ({k}, {k}), or one for each row, ({n}, {k}, {k})"
        raise invalid(name, shape, allowed, ORDER.format(named_classes(classes)))
    return per_row * amount[:, None]


def error_price(cost_matrix: Any) -> Any:
    """The price of a regressor's errors: an object as it is, a dict of the options of one."""
    if isinstance(cost_matrix, CONVEX):
        return cost_matrix
    if isinstance(cost_matrix, str) and cost_matrix in LOSSES:
        return LOSSES[cost_matrix]
    options = {"over", "under", "tolerance"}
    if isinstance(cost_matrix, Mapping) and set(cost_matrix) <= options:
        return ErrorPrice(**cost_matrix)
    allowed = (
        "a dict of 'over', 'under' and 'tolerance', a skrobust.metrics.ErrorPrice or Pinball, or "
    )
    allowed += f"one of {list(LOSSES)}, for a regressor"
    raise invalid("cost_matrix", cost_matrix, allowed, "Example: {'over': 1, 'under': 4}.")


def check_amount(amount: Any, X: Any, n: int) -> np.ndarray:
    """What is at stake in each row (n,); ones for None."""
    if amount is None:
        return np.ones(n)
    given = amount(X) if callable(amount) else amount
    allowed = f"one finite number >= 0 for each of the {n} rows, or a function of X that gives them"
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid("amount", amount, allowed, error=TypeError) from error
    if values.shape == (n, 1):
        values = values[:, 0]
    if values.shape != (n,):
        raise invalid("amount", f"<array of shape {values.shape}>", allowed)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise invalid("amount", given, allowed)
    return values


def check_rate(attack_rate: Any, classes: list | None) -> np.ndarray | float:
    """The share of inputs under attack: one number, or an array with one for each class."""
    if isinstance(attack_rate, Real) or classes is None:
        return check_number("attack_rate", attack_rate, low=0, high=1)
    if isinstance(attack_rate, Mapping):
        unknown = [label for label in attack_rate if label not in classes]
        if unknown:
            allowed = f"a dict of classes the model knows, {named_classes(classes)}"
            raise invalid("attack_rate", attack_rate, allowed, f"{unknown} are none.")
        rates = [attack_rate.get(label, 0.0) for label in classes]
    else:
        rates = np.asarray(attack_rate).tolist()
    allowed = f"a number from 0 to 1, a dict {{class: rate}}, or {len(classes)} numbers"
    if not isinstance(rates, list) or len(rates) != len(classes):
        hint = f"In the order of classes_: {named_classes(classes)}."
        raise invalid("attack_rate", attack_rate, allowed, hint)
    return np.array([check_number("attack_rate", rate, low=0, high=1) for rate in rates])


class Attacker(NamedTuple):
    """What pays for whoever attacks: nobody moves a row at a loss.

    ``gain``: matrix (or None: what the wrong decision costs us) of what a decision is worth to the
    attacker; a move of length d costs ``price_per_attack + price_per_step * d``, in the same currency.
    """

    gain: Any = None
    price_per_step: float = 0.0
    price_per_attack: float = 0.0

    def checked(self) -> Attacker:
        check_number("price_per_step", self.price_per_step, low=0)
        check_number("price_per_attack", self.price_per_attack, low=0)
        return self

    def limits(self, gains: np.ndarray, decided: np.ndarray, radius: float) -> np.ndarray:
        """The radius (n, k) within which it pays to move a row to each decision; 0: never.

        ``min(radius, (gain - gain now - price_per_attack) / price_per_step)``

        >>> gains, now = np.array([[0.0, 5.0, 1.0]]), np.array([0])
        >>> Attacker(None, 10.0, 2.0).limits(gains, now, 1.0)
        array([[0. , 0.3, 0. ]])
        """
        left = gains - gains[np.arange(len(gains)), decided][:, None] - self.price_per_attack
        if self.price_per_step == 0:
            return np.where(left > 0, radius, 0.0)
        return np.minimum(radius, np.maximum(left, 0.0) / self.price_per_step)
