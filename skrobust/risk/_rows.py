"""What each row costs: as it is, at the worst an attack found, and at the worst not excluded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_name
from skrobust.certificates._certify import settings_of
from skrobust.certificates._classes import open_classes
from skrobust.certificates._proof import Proof
from skrobust.exceptions import caution, invalid
from skrobust.metrics._certified import largest_loss
from skrobust.metrics._decisions import worst_decisions
from skrobust.metrics._evaluation import Evaluation, check_radius
from skrobust.metrics._tasks import is_regression
from skrobust.risk._prices import (
    Attacker,
    check_amount,
    check_rate,
    decision_costs,
    error_price,
)

__all__ = ["BOUNDS", "RowCosts", "row_costs"]

BOUNDS = ("clean", "attacked", "certified", "both")
MANY = 0.01  # share of rows about which no proof should be wrong
N_RINGS = 8  # of the ball of a regressor's row, where moves have a price


@dataclass(frozen=True, eq=False)
class RowCosts:
    """What each row costs; every array is per row, in the order of the rows given.

    Attributes
    ----------
    clean : ndarray of shape (n,)
        Cost of the decision about the row as it is.
    attacked, certified : ndarray of shape (n,) or None
        Cost of the worst decision that an attack reached, and of the worst that is not excluded. None
        if not asked for.
    rate : ndarray of shape (n,)
        Probability that the row is attacked.
    weight : ndarray of shape (n,)
        Sample weights.
    decision : ndarray of shape (n,)
        The decision about the row as it is.
    """

    clean: np.ndarray
    attacked: np.ndarray | None
    certified: np.ndarray | None
    rate: np.ndarray
    weight: np.ndarray
    decision: np.ndarray = field(repr=False)

    def expected(self, bound: str = "attacked") -> np.ndarray:
        """``(1 - rate) clean + rate worst`` (n,), with the worst of one of the bounds."""
        check_name("bound", bound, ("clean", "attacked", "certified"))
        worst = getattr(self, bound)
        if worst is None:
            raise invalid("bound", bound, "one of those that were asked for")
        return (1 - self.rate) * self.clean + self.rate * worst

    def mean(self, bound: str = "attacked") -> float:
        """The weighted mean of :meth:`expected`."""
        return float(np.average(self.expected(bound), weights=self.weight))

    def frame(self) -> Any:
        """All of it as a pandas DataFrame, one row per row."""
        pandas = import_extra("pandas", "frames")
        names = ("decision", "clean", "attacked", "certified", "rate", "weight")
        fields = {name: getattr(self, name) for name in names}
        return pandas.DataFrame({k: v for k, v in fields.items() if v is not None})


def row_costs(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cost_matrix: Any,
    radius: float = 0,
    threat: Any = "linf",
    attack_rate: Any = 1.0,
    bound: str = "both",
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
) -> RowCosts:
    """What each row costs, before and after the worst move: see :func:`skrobust.expected_cost`.

    Parameters
    ----------
    estimator, X, y, cost_matrix, radius, threat, attack_rate, amount, gain, price_per_step, \
price_per_attack, attack, method, sample_weight, random_state, confidence, time_budget, batch_size
        As for :func:`skrobust.expected_cost`.
    bound : {"clean", "attacked", "certified", "both"}
        Which worst decisions to find.

    Returns
    -------
    RowCosts

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.risk import row_costs
    >>> X, y = np.array([[-2.0], [-0.5], [0.5], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = LogisticRegression().fit(X, y)
    >>> costs = row_costs(model, X, y, cost_matrix=[[0, 1], [5, 0]], radius=1.0)
    >>> costs.attacked
    array([0., 1., 5., 0.])
    """
    check_name("bound", bound, BOUNDS)
    radius = check_radius(radius)
    attacker = Attacker(gain, price_per_step, price_per_attack).checked()
    evaluation = Evaluation(
        estimator,
        X,
        y,
        threat=threat,
        attack=attack,
        sample_weight=sample_weight,
        loss=None if _classifies(estimator) else error_price(cost_matrix),
        batch_size=batch_size,
    )
    settings = settings_of(confidence, time_budget, random_state)
    prove = lambda: Proof(estimator, X, y, threat=threat, method=method, settings=settings)
    generator = evaluation.generator(random_state)
    stake = check_amount(amount, evaluation.rows.given, len(evaluation.rows))
    if _classifies(estimator):
        case = _Decisions(evaluation, cost_matrix, attacker, stake, radius)
        rate = check_rate(attack_rate, evaluation.task.classes)
        rate = rate[evaluation.task.codes] if np.ndim(rate) else rate
    else:
        case = _Errors(evaluation, attacker, stake, radius)
        rate = check_rate(attack_rate, None)
    attacked = certified = None
    if bound in ("attacked", "both"):
        attacked = case.attacked(generator) if case.moves else case.clean
    if bound in ("certified", "both"):
        certified = case.certified(prove()) if case.moves else case.clean
    if bound == "both":
        certified = _at_least(certified, attacked)
    rate = np.broadcast_to(np.asarray(rate, dtype=np.float64), case.clean.shape)
    return RowCosts(case.clean, attacked, certified, rate, evaluation.weight, case.decision)


def _at_least(certified: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """What is proven, but for rows about which an attack found it wrong: statistical proofs may be."""
    wrong = attacked > certified + 1e-9 * np.maximum(1.0, np.abs(attacked))
    if wrong.mean() > MANY:
        caution(
            f"{int(wrong.sum())} of {len(wrong)} rows cost more under the attack than was proven "
            "possible. They count as found. Do not rely on this certificate."
        )
    return np.maximum(certified, attacked)


def _classifies(estimator: Any) -> bool:
    return isinstance(estimator, type) or not is_regression(estimator)


class _Decisions:
    """Costs of classes."""

    def __init__(self, evaluation: Evaluation, cost_matrix, attacker: Attacker, stake, radius):
        task = self.task = evaluation.task
        self.evaluation = evaluation
        if not task.known.all():
            unknown = np.unique(task.labels[~task.known]).tolist()
            hint = "A class that is not in classes_ has no row in the matrix."
            raise invalid("y", f"<labels {unknown}>", f"labels of classes {task.classes}", hint)
        if (task.predicted < 0).any():
            raise ValueError(
                f"{type(task.estimator).__name__} predicts labels that are not in its classes_ "
                f"({task.classes}): the cost matrix has no column for them."
            )
        given, codes, rows = evaluation.rows.given, task.codes, np.arange(len(task.codes))
        read = (given, codes, task.classes, stake)
        self.costs = decision_costs("cost_matrix", cost_matrix, *read)
        gains = self.costs
        if attacker.gain is not None:
            gains = decision_costs("gain", attacker.gain, *read)
        self.limits = attacker.limits(gains, task.predicted, radius)
        self.clean = self.costs[rows, task.predicted]
        self.decision = np.asarray(task.classes)[task.predicted]

    @property
    def moves(self) -> bool:
        """Whether any row can be moved to what costs more."""
        return bool(((self.costs > self.clean[:, None]) & (self.limits > 0)).any())

    def attacked(self, generator) -> np.ndarray:
        return worst_decisions(self.evaluation, self.costs, self.limits, generator).cost

    def certified(self, proof: Proof) -> np.ndarray:
        worse = self.costs > self.clean[:, None]
        open_ = open_classes(proof, np.where(worse, self.limits, 0.0))
        return np.where(open_, self.costs, -np.inf).max(axis=1)


class _Errors:
    """Costs of a regressor's errors."""

    def __init__(self, evaluation: Evaluation, attacker: Attacker, stake, radius: float):
        if attacker.gain is not None:
            hint = "The attacker gains what the error costs us."
            raise invalid("gain", attacker.gain, "None for a regressor", hint)
        self.evaluation, self.attacker, self.stake = evaluation, attacker, stake
        self.clean = stake * evaluation.clean.value
        self.decision = np.asarray(evaluation.task.predicted)
        free = attacker.price_per_step == 0
        self.radii = radius * (np.ones(1) if free else np.arange(1, N_RINGS + 1) / N_RINGS)
        self.moves = radius > 0

    def attacked(self, generator) -> np.ndarray:
        """The worst of the searches that pay."""
        worst, found = self.clean, None
        for radius in self.radii:
            found = self.evaluation.worst(float(radius), generator, found)
            worst = np.maximum(worst, self._paid(self.stake * found.value, float(radius)))
        return worst

    def certified(self, proof: Proof) -> np.ndarray:
        """The worst that moves of each length could cost, where the shortest of them would pay."""
        worst, nearer = self.clean, 0.0
        loss = self.evaluation.task.loss
        for radius in self.radii:
            bound = largest_loss(loss, *proof.outputs(float(radius)), proof.y)
            worst = np.maximum(worst, self._paid(self.stake * bound, nearer))
            nearer = float(radius)
        return worst

    def _paid(self, cost: np.ndarray, length: float) -> np.ndarray:
        price = self.attacker.price_per_attack + self.attacker.price_per_step * length
        return np.where(cost - self.clean > price, cost, self.clean)
