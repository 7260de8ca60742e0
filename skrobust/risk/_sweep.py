"""What every threshold costs: one sort, and sums of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust.risk._stakes import Stakes

__all__ = ["CostCurve", "candidates", "choose", "gaps_of", "rounding", "steps", "sweep"]


@dataclass(frozen=True, eq=False)
class CostCurve:
    """What a threshold on the score of the second class costs, per row.

    Attributes
    ----------
    thresholds : ndarray of shape (m,)
        In ascending order: one between each two scores that rows have or can be moved to. The second
        class is decided for where ``score >= threshold``.
    clean : ndarray of shape (m,)
        Mean cost when nobody attacks.
    worst : ndarray of shape (m,)
        Mean cost with the share ``attack_rate`` of the rows moved to their worst.
    best : int
        Where ``worst`` is smallest.
    bound : str
        Whether the worst was found ("attacked") or proven ("certified").
    edges : ndarray of shape (m - 1,)
        The scores between which the thresholds lie.
    """

    thresholds: np.ndarray
    clean: np.ndarray
    worst: np.ndarray
    best: int
    bound: str
    edges: np.ndarray = field(repr=False)

    def at(self, threshold: float) -> tuple[float, float]:
        """Clean and worst cost at any threshold."""
        place = int(np.searchsorted(self.edges, threshold, side="left"))
        return float(self.clean[place]), float(self.worst[place])

    @property
    def best_clean(self) -> int:
        """Where ``clean`` is smallest (the lowest of such thresholds that costs least under attack)."""
        least = self.clean.min()
        near = np.flatnonzero(self.clean <= least + rounding(self.clean))
        return int(near[self.worst[near].argmin()])

    def frame(self) -> Any:
        """The curve as a pandas DataFrame, one row per threshold."""
        pandas = import_extra("pandas", "frames")
        columns = {"threshold": self.thresholds, "clean": self.clean, self.bound: self.worst}
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        clean, worst = self.clean[self.best], self.worst[self.best]
        return (
            f"CostCurve({len(self.thresholds)} thresholds, best {self.thresholds[self.best]:.4g}: "
            f"clean {clean:.4g}, {self.bound} {worst:.4g})"
        )


def sweep(stakes: Stakes, bound: str = "attacked") -> CostCurve:
    """Clean and worst mean cost of every threshold.

    A row costs ``no + (yes - no) 1[s >= t]`` with s its score, or the worst end of its interval, so
    that each curve is a sum of n steps: one sort, and no retraining.

    >>> stakes = Stakes(
    ...     no=np.array([0.0, 5.0]),
    ...     yes=np.array([1.0, 0.0]),
    ...     refer=None,
    ...     score=np.array([0.2, 0.6]),
    ...     low=np.array([0.1, 0.3]),
    ...     high=np.array([0.5, 0.9]),
    ...     rate=np.ones(2),
    ...     weight=np.ones(2),
    ... )
    >>> curve = sweep(stakes)
    >>> curve.worst
    array([0.5, 0.5, 0.5, 3. , 2.5, 2.5, 2.5])
    """
    edges, thresholds = candidates(stakes)
    total = stakes.weight.sum()
    jump = stakes.weight * (stakes.yes - stakes.no)
    base = (stakes.weight * stakes.no).sum()
    clean = (base + steps(thresholds, stakes.score, jump)) / total
    calm, attacked = (1 - stakes.rate) * jump, stakes.rate * jump
    worst = steps(thresholds, stakes.score, calm) + steps(thresholds, stakes.worst, attacked)
    worst = (base + worst) / total
    best = choose(worst, clean, edges)
    return CostCurve(thresholds, clean, worst, best, bound, edges)


def candidates(stakes: Stakes) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores (m - 1,), and a threshold (m,) below, between and above them."""
    edges = np.unique(np.concatenate([stakes.score, stakes.low.ravel(), stakes.high.ravel()]))
    return edges, gaps_of(edges)


def gaps_of(edges: np.ndarray) -> np.ndarray:
    """A number (m,) below, between and above sorted ones (m - 1,)."""
    middle = edges[:-1] + (edges[1:] - edges[:-1]) / 2
    middle = np.where(middle > edges[:-1], middle, edges[1:])
    return np.concatenate([[-np.inf], middle, [np.inf]])


def steps(thresholds: np.ndarray, scores: np.ndarray, jump: np.ndarray) -> np.ndarray:
    """``sum_i jump_i 1[score_i >= t]`` for each threshold t."""
    order = np.argsort(scores, kind="stable")
    tail = np.append(np.cumsum(jump[order][::-1])[::-1], 0.0)
    return tail[np.searchsorted(scores[order], thresholds, side="left")]


def choose(worst: np.ndarray, clean: np.ndarray, edges: np.ndarray) -> int:
    """The least worst cost; of equal ones the least clean cost, then the widest gap of scores."""
    near = np.flatnonzero(worst <= worst.min() + rounding(worst))
    near = near[clean[near] <= clean[near].min() + rounding(clean)]
    width = np.diff(edges, prepend=edges[0], append=edges[-1])
    return int(near[width[near].argmax()])


def rounding(values: np.ndarray) -> float:
    return 1e-12 * max(1e-300, float(np.abs(values).max()))
