"""What a model's decisions cost when rows are moved against it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skrobust._params import check_name
from skrobust.risk._rows import row_costs

__all__ = ["CostInterval", "cost_interval", "expected_cost"]


def expected_cost(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cost_matrix: Any,
    radius: float = 0,
    threat: Any = "linf",
    attack_rate: Any = 1.0,
    bound: str = "attacked",
    amount: Any = None,
    gain: Any = None,
    price_per_step: float = 0.0,
    price_per_attack: float = 0.0,
    attack: Any = "auto",
    method: str = "auto",
    sample_weight: Any = None,
    random_state: Any = None,
    confidence: float = 0.999,
    time_budget: float | None = None,
    batch_size: int | None = None,
) -> float:
    """What a decision costs on average, when a share of the rows is moved against the model.

    ``sum_i w_i a_i {(1 - rho) C[y_i, h(x_i)] + rho max_k C[y_i, k]} / sum_i w_i``

    where h is ``estimator.predict``, rho the share of inputs under attack, and k runs over the classes
    that row i can be brought to within the radius: those an attack reached (``bound="attacked"``, the
    truth is at least that) or those that no proof excludes (``bound="certified"``, at most that).

    Parameters
    ----------
    estimator : fitted classifier or regressor
        As for :func:`skrobust.worst_case`.
    X : array, tensor or DataFrame of shape (n, ...)
        The rows.
    y : array-like of shape (n,)
        The right answers; of a classifier, labels that it knows.
    cost_matrix : array-like of shape (n_classes, n_classes), or (n, n_classes, n_classes), dict, \
callable or ErrorPrice
        What decisions cost. Rows are true classes and columns what is decided, both in the order of
        ``classes_``; right decisions may cost too, and earn (negative). A dict names pairs,
        ``{(true, decided): cost}``, and those left out cost nothing. One matrix per row, or a
        function of X that gives them, says what each row costs by itself. For a regressor:
        ``{"over": .., "under": .., "tolerance": ..}`` or an
        :class:`skrobust.metrics.ErrorPrice`, per unit of y.
    radius : float
        How far rows may move, in steps of the threat's ``scale``. 0: the clean cost.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move; one with data-dependent options must be bound to training rows first.
    attack_rate : float, dict or array-like of shape (n_classes,)
        The share rho of inputs under attack, or one for each true class; classes that a dict leaves
        out are not attacked.
    bound : {"attacked", "certified"}
        Lower or upper value. :func:`skrobust.risk.cost_interval` gives both.
    amount : array-like of shape (n,) or callable, optional
        What is at stake in each row: multiplies its costs (and gains). A callable takes X.
    gain : as cost_matrix, optional
        What a decision is worth to whoever attacks. By default what it costs us.
    price_per_step, price_per_attack : float
        What moving a row by one step of the threat costs the attacker, and what each attack costs. A
        move to class k counts only where ``gain_k - gain now`` exceeds its price.
    attack, batch_size
        How the worst case is searched, see :func:`skrobust.worst_case`.
    method, confidence, time_budget
        How it is proven, see :func:`skrobust.certify`.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the mean.
    random_state : int, RandomState or None
        An int gives the same number each time.

    Returns
    -------
    float
        In the currency of the matrix, per row.

    Raises
    ------
    ValueError, TypeError
        For matrices, rates, labels or options that can't be used; the message says what can.
    UnsupportedEstimatorError
        For ``bound="certified"``, where no method can read the model.

    Notes
    -----
    Classes are wanted by what they cost: those that cost most are searched for first, all that cost
    as much together. With two classes this is the search of
    :func:`skrobust.robust_accuracy_score`, of the rows where being wrong costs more than being
    right. Of the moves that pay, the one that is worst for us counts, whichever the attacker prefers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import expected_cost
    >>> X, y = np.array([[-2.0], [-0.5], [0.5], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = LogisticRegression().fit(X, y)
    >>> matrix = [[0, 1], [5, 0]]  # missing a 1 is five times as bad as a false alarm
    >>> expected_cost(model, X, y, cost_matrix=matrix)
    0.0
    >>> expected_cost(model, X, y, cost_matrix=matrix, radius=1.0)  # (1 + 5) / 4
    1.5
    >>> expected_cost(model, X, y, cost_matrix=matrix, radius=1.0, attack_rate={1: 0.1})
    0.125
    """
    check_name("bound", bound, ("attacked", "certified"))
    costs = row_costs(
        estimator,
        X,
        y,
        cost_matrix=cost_matrix,
        radius=radius,
        threat=threat,
        attack_rate=attack_rate,
        bound=bound,
        amount=amount,
        gain=gain,
        price_per_step=price_per_step,
        price_per_attack=price_per_attack,
        attack=attack,
        method=method,
        sample_weight=sample_weight,
        random_state=random_state,
        confidence=confidence,
        time_budget=time_budget,
        batch_size=batch_size,
    )
    return costs.mean(bound)


class CostInterval(NamedTuple):
    """Between which two numbers the expected cost under attack lies.

    ``clean``: nobody attacks. ``attacked``: what an attack reached. ``certified``: what no attack can
    exceed (of a statistical method: row by row, with its confidence).
    """

    clean: float
    attacked: float
    certified: float


def cost_interval(estimator: Any, X: Any, y: Any, *, cost_matrix: Any, **options) -> CostInterval:
    """The expected cost under attack from both sides: found by an attack, and not excluded by a proof.

    Parameters
    ----------
    estimator, X, y, cost_matrix, **options
        As for :func:`skrobust.expected_cost`, without ``bound``.

    Returns
    -------
    CostInterval
        ``clean``, ``attacked``, ``certified``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.risk import cost_interval
    >>> X, y = np.array([[-2.0], [-0.5], [0.5], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = LogisticRegression().fit(X, y)
    >>> cost_interval(model, X, y, cost_matrix=[[0, 1], [5, 0]], radius=1.0)
    CostInterval(clean=0.0, attacked=1.5, certified=1.5)
    """
    costs = row_costs(estimator, X, y, cost_matrix=cost_matrix, bound="both", **options)
    clean = float(np.average(costs.clean, weights=costs.weight))
    return CostInterval(clean, costs.mean("attacked"), costs.mean("certified"))
