"""What is at stake in each row of two classes, and how far it pays to move its score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skrobust.exceptions import invalid
from skrobust.risk._prices import Attacker, check_amount, check_rate, decision_costs

__all__ = ["Prices", "Stakes", "prices_of", "stakes_of"]

NO, REFER, YES = range(3)  # decisions, in the order of the scores that lead to them
# what an attack changes a decision from and to: upwards, and downwards
MOVES = (((NO, YES), (YES, NO)), ((NO, REFER), (YES, REFER)), ((REFER, YES), (REFER, NO)))


class Stakes(NamedTuple):
    """What is at stake in each row, and where its score can be moved to; all arrays (n,).

    ``no``, ``yes``: costs of deciding for the first and for the second class. ``refer``: cost of
    referring the row, or None. ``score``, ``low``, ``high``: its score, and the interval that it can
    be moved in (the ends that matter; the others may be the score). Where there is a human and the
    attacker has prices, ``low`` and ``high`` are (n, 3): as far as it pays between the classes, from a
    class to the human, and from the human to a class. ``rate``: probability that it is attacked.
    ``weight``: sample weight.
    """

    no: np.ndarray
    yes: np.ndarray
    refer: np.ndarray | None
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rate: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> Stakes:
        """Some of the rows."""
        return Stakes(*(None if part is None else part[rows] for part in self))

    def moved(self, ends: tuple) -> Stakes:
        """The same rows with their scores and intervals."""
        return self._replace(score=ends[0], low=ends[1], high=ends[2])

    def ends(self, move: int) -> tuple[np.ndarray, np.ndarray]:
        """The interval (n,), (n,) of one of the ``MOVES``."""
        if self.low.ndim == 1:
            return self.low, self.high
        return self.low[:, move], self.high[:, move]

    @property
    def worst(self) -> np.ndarray:
        """The end of the interval at which the row costs most: high where yes is the dear mistake."""
        low, high = self.ends(0)
        return np.where(self.yes > self.no, high, np.where(self.yes < self.no, low, self.score))


class Prices(NamedTuple):
    """Per row (n, k): what decisions cost, and what they are worth to the attacker; (n,): what asking
    costs and is worth (or None), and the probability of an attack."""

    costs: np.ndarray
    gains: np.ndarray
    refer: np.ndarray | None
    worth: np.ndarray | None
    rate: np.ndarray
    attacker: Attacker


def prices_of(model: Any, X: Any, y: np.ndarray, classes: list, amount: Any) -> Prices:
    """What the rows are about, as the parameters of a RobustThresholdClassifier say (checked ones)."""
    n, codes = len(y), np.searchsorted(classes, y)
    stake = check_amount(amount, X, n)
    matrix = 1.0 - np.eye(len(classes)) if model.cost_matrix is None else model.cost_matrix
    costs = decision_costs("cost_matrix", matrix, X, codes, classes, stake)
    gains, attacker = costs, Attacker(model.gain, model.price_per_step, model.price_per_attack)
    if model.gain is not None:
        gains = decision_costs("gain", model.gain, X, codes, classes, stake)
    rate = check_rate(model.attack_rate, classes)
    rate = rate[codes] if np.ndim(rate) else np.full(n, rate)
    if model.refer_cost is None:
        return Prices(costs, gains, None, None, rate, attacker)
    refer = _price_of_asking(model.refer_cost, costs)
    # the human decides rightly: where a gain is given, that is what asking is worth to the attacker
    worth = refer if model.gain is None else gains[np.arange(n), codes]
    return Prices(costs, gains, refer, worth, rate, attacker)


def stakes_of(model: Any, X: Any, y: np.ndarray, classes: list, weight: Any, amount: Any) -> Stakes:
    """Costs of the rows, and (for the time being as intervals) how far each end may be sought."""
    costs, gains, refer, worth, rate, attacker = prices_of(model, X, y, classes, amount)
    n = len(costs)
    weight = np.ones(n) if weight is None else weight
    radius = np.where(rate > 0, float(model.radius), 0.0)
    if refer is None:
        low, high = _limits(costs[:, [0, 0, 1]], gains[:, [0, 0, 1]], attacker, radius, 0)
        return Stakes(*costs.T, None, np.zeros(n), low, high, rate, weight)
    costs, gains = (
        np.insert(of, 1, asked, axis=1) for of, asked in ((costs, refer), (gains, worth))
    )
    ends = [_limits(costs, gains, attacker, radius, move) for move in range(len(MOVES))]
    low, high = (np.stack(part, axis=1) for part in zip(*ends, strict=True))
    if attacker == Attacker():  # each move that is worth it may go as far as any other
        low, high = low.max(axis=1), high.max(axis=1)
    return Stakes(costs[:, NO], costs[:, YES], refer, np.zeros(n), low, high, rate, weight)


def _price_of_asking(refer_cost: float, costs: np.ndarray) -> np.ndarray:
    refer = np.full(len(costs), float(refer_cost))
    if (refer < costs.min(axis=1)).any():
        allowed = "no less than what the right decisions cost"
        hint = "Or refer all rows: no model is needed for that."
        raise invalid("refer_cost", refer_cost, allowed, hint)
    return refer


def _limits(costs, gains, attacker: Attacker, radius: np.ndarray, move: int):
    """The radius (n,) within which a move downwards pays, and one upwards, if it costs us anything."""
    found = []
    for before, after in reversed(MOVES[move]):
        far = attacker.limits(gains, np.full(len(costs), before), radius[:, None])[:, after]
        found.append(np.where(costs[:, after] > costs[:, before], far, 0.0))
    return tuple(found)
