"""Is robust training worth its price? The yearly cost of candidates, with all that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skrobust._params import check_integer, check_name, check_number
from skrobust.exceptions import invalid
from skrobust.risk._case import BusinessCase
from skrobust.risk._case_rows import (
    Question,
    by_class,
    means_of,
    measure,
    proven_means,
    resampled,
)
from skrobust.risk._money import Plan, check_range, price_of_each

__all__ = ["business_case"]


def business_case(
    candidates: Mapping[str, Any],
    X: Any = None,
    y: Any = None,
    *,
    volume: Any,
    attack_rate: Any,
    cost_matrix: Any = None,
    radius: Any = None,
    threat: Any = "linf",
    training_price: Any = 0.0,
    running_price: Any = 0.0,
    horizon: Any = 1.0,
    discount_rate: float = 0.0,
    baseline: str | None = None,
    exposed: Any = None,
    certify: bool | str = "auto",
    sample_weight: Any = None,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    uncertainty: float = 0.2,
    currency: str = "",
    random_state: Any = None,
    **options: Any,
) -> BusinessCase:
    """Yearly cost of several candidates, and whether one pays for its price.

    ``yearly cost = volume x {(1 - rate) clean + rate attacked} + running + training / years``

    where *clean* and *attacked* are the mean costs of a decision as it is and under the worst move
    within the radius, and rate is the share of decisions that are attacked.

    Parameters
    ----------
    candidates : dict of str to fitted estimator, RowCosts or (clean, attacked)
        What to choose from, at least two. :class:`skrobust.risk.RowCosts`, or two (or three: certified)
        arrays, are costs of the rows that you have computed yourself, all in one order.
    X : array, tensor or DataFrame of shape (n, ...), optional
        Rows that no candidate was fitted on, like those that decisions will be about. Needed for
        estimators.
    y : array-like of shape (n,), optional
        The right answers.
    volume : number or range
        Decisions a year. A *range* is ``(low, high)`` or ``(low, likely, high)``.
    attack_rate : number or range
        Share of the decisions that are attacked, 0 to 1. Nobody knows it: give a range.
    cost_matrix : array-like, dict or callable
        What decisions cost, see :func:`skrobust.expected_cost`.
    radius : number or range
        How far rows are moved, in steps of the threat's ``scale``. A range costs two searches more.
    threat : str or threat object
        Where rows may move.
    training_price, running_price : number or range, or a dict of one for each candidate
        Paid once, and each year. Candidates that a dict leaves out pay nothing.
    horizon : number or range
        Years that the model will be used.
    discount_rate : float
        By how much money is worth less after a year; 0.05 is 5%.
    baseline : str, optional
        What the others are compared with; the first candidate by default.
    exposed : list of classes, optional
        True classes whose rows may be attacked; ``attack_rate`` is then a share of these. All by
        default. Nobody disguises an honest payment.
    certify : bool or "auto"
        Whether to bound the cost of attacks from above, too. ``"auto"``: of the candidates that can be
        proven.
    sample_weight : array-like of shape (n,), optional
        How many decisions each row stands for.
    confidence : float
        Of all intervals.
    n_bootstrap : int
        Resamples of the rows, >= 100; all candidates see the same rows.
    uncertainty : float
        By which share of itself an assumption is varied that was given as one number.
    currency : str
        Written after amounts.
    random_state : int, RandomState or None
        An int gives the same case each time.
    **options
        ``amount``, ``gain``, ``price_per_step``, ``price_per_attack``, ``attack``, ``method``,
        ``time_budget``, ``batch_size`` of :func:`skrobust.risk.row_costs`.

    Returns
    -------
    BusinessCase
        ``sentence(name)``, ``break_even(name)``, ``payback(name)``, ``frame()``,
        ``save("case.html")``; notebooks show it as it is.

    Raises
    ------
    ValueError, TypeError
        For numbers that make no sense, and as for :func:`skrobust.expected_cost`.

    Notes
    -----
    The costs of the rows are computed once; the rest is arithmetic. The saving of a candidate is linear in
    the attack rate, so that the break-even rate has a closed form,
    ``s0 / (s0 - s1)`` with the savings where nobody and where everybody attacks. Intervals are
    percentiles of a bootstrap over rows; those of a saving hold over the whole range of attack rates.
    Attacks give a cost that is reached: the truth is at least that. ``saving_at_least`` takes the
    candidate at what its proof allows.

    Examples
    --------
    Two candidates, a thousand decisions a year, 100 euros for each mistake. The first is wrong on 2 of
    40 rows, 20 under attack; the second on 3, and 4 under attack, and costs 1,000 euros to train:

    >>> import numpy as np
    >>> from skrobust import business_case
    >>> row = np.arange(40)
    >>> case = business_case(
    ...     {
    ...         "plain": (100.0 * (row < 2), 100.0 * (row < 20)),
    ...         "robust": (100.0 * (row < 3), 100.0 * (row < 4)),
    ...     },
    ...     volume=1000,
    ...     attack_rate=(0.05, 0.2),
    ...     training_price={"robust": 1000},
    ...     horizon=2,
    ...     currency="EUR",
    ...     random_state=0,
    ... )
    >>> case.yearly_cost(0.1)  # 1000 x 100 x (.9 x 2 + .1 x 20) / 40, and for the other + 1000 / 2
    array([9500., 8250.])
    >>> case.break_even("robust")  # 8000 - 5000 more at rate 0, 50000 - 10500 less at rate 1
    BreakEven(rate=0.07..., cheaper='above')
    """
    names = _names(candidates, baseline)
    asked = dict(options, threat=threat, sample_weight=sample_weight, random_state=random_state)
    question = Question(X, y, cost_matrix, radius, exposed, certify, asked).checked()
    thought = _assumptions(names, attack_rate, volume, horizon, training_price, running_price)
    discount = check_number("discount_rate", discount_rate, low=0)
    confidence = check_number(
        "confidence", confidence, low=0, high=1, open_low=True, open_high=True
    )
    n_bootstrap = check_integer("n_bootstrap", n_bootstrap, low=100)
    uncertainty = check_number("uncertainty", uncertainty, low=0, high=1, open_high=True)
    rows = measure(candidates, question)
    costs = rows.pop("likely")
    return BusinessCase(
        names=names,
        baseline=names[0] if baseline is None else baseline,
        attack_rate=thought["attack_rate"],
        volume=thought["volume"],
        horizon=thought["horizon"],
        plan=_plan(names, thought, discount),
        costs=costs,
        means=means_of(costs),
        draws=resampled(costs, n_bootstrap, check_random_state(random_state)),
        certified=proven_means(costs),
        confidence=confidence,
        currency=str(currency),
        info={
            "training_price": thought["training_price"],
            "running_price": thought["running_price"],
            "radius": question.radius,
            "threat": repr(threat),
            "n_rows": len(next(iter(costs.values())).clean),
            "exposed": exposed,
            "uncertainty": uncertainty,
            "at_radii": {end: means_of(found) for end, found in rows.items()},
            "by_class": by_class(costs, y),
            "seed": random_state,
        },
    )


def _assumptions(names, attack_rate, volume, horizon, training_price, running_price) -> dict:
    """All that nobody knows for sure, as ranges."""
    return {
        "attack_rate": check_range("attack_rate", attack_rate, low=0, high=1),
        "volume": check_range("volume", volume, low=0, open_low=True),
        "horizon": check_range("horizon", horizon, low=0, open_low=True),
        "training_price": price_of_each("training_price", training_price, names),
        "running_price": price_of_each("running_price", running_price, names),
    }


def _plan(names: list[str], thought: dict, discount_rate: float) -> Plan:
    training, running = (
        np.array([thought[kind][name].likely for name in names])
        for kind in ("training_price", "running_price")
    )
    return Plan(
        thought["volume"].likely, thought["horizon"].likely, discount_rate, training, running
    )


def _names(candidates: Any, baseline: Any) -> list[str]:
    if not isinstance(candidates, Mapping) or len(candidates) < 2:
        raise invalid(
            "candidates", candidates, "a dict of at least two, name -> fitted estimator",
            "The first is the baseline: what you do today.", TypeError,
        )  # fmt: skip
    names = [str(name) for name in candidates]
    if baseline is not None:
        check_name("baseline", baseline, names)
    return names
