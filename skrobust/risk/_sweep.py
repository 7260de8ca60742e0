"""What every threshold costs: one sort, and sums of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from skrobust._compat import import_extra

__all__ = ["Band", "CostCurve", "Stakes", "best_band", "costs_at", "sweep"]


class Stakes(NamedTuple):
    """What is at stake in each row, and where its score can be moved to; all arrays (n,).

    ``no``, ``yes``: costs of deciding for the first and for the second class. ``refer``: cost of
    referring the row, or None. ``score``, ``low``, ``high``: its score, and the interval that it can
    be moved in (the ends that matter; the others may be the score). ``rate``: probability that it is
    attacked. ``weight``: sample weight.
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

    @property
    def worst(self) -> np.ndarray:
        """The end of the interval at which the row costs most: high where yes is the dear mistake."""
        return np.where(
            self.yes > self.no, self.high, np.where(self.yes < self.no, self.low, self.score)
        )


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
        near = np.flatnonzero(self.clean <= least + _rounding(self.clean))
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


class Band(NamedTuple):
    """No below ``low``, yes from ``high`` on, and in between a human decides."""

    low: float
    high: float
    clean: float
    worst: float


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
    edges, thresholds = _candidates(stakes)
    total = stakes.weight.sum()
    jump = stakes.weight * (stakes.yes - stakes.no)
    base = (stakes.weight * stakes.no).sum()
    clean = (base + _steps(thresholds, stakes.score, jump)) / total
    calm, attacked = (1 - stakes.rate) * jump, stakes.rate * jump
    worst = _steps(thresholds, stakes.score, calm) + _steps(thresholds, stakes.worst, attacked)
    worst = (base + worst) / total
    best = _choose(worst, clean, edges)
    return CostCurve(thresholds, clean, worst, best, bound, edges)


def best_band(stakes: Stakes) -> Band:
    """The two thresholds with the least worst cost, a human in between; equal ones: no human.

    With costs of a row in order (referring between right and wrong) both thresholds act on their
    own: ``no + (refer - no) 1[s >= low] + (yes - refer) 1[s >= high]``. Where referring costs more than
    either decision, the worst is to be moved into the band: into it from below counts for ``low``,
    out of it downwards for ``high``.
    """
    _edges, thresholds = _candidates(stakes)
    total, base = stakes.weight.sum(), (stakes.weight * stakes.no).sum()
    dear = stakes.refer > np.maximum(stakes.no, stakes.yes)
    ends = np.where(dear, stakes.high, stakes.worst), np.where(dear, stakes.low, stakes.worst)
    jumps = stakes.refer - stakes.no, stakes.yes - stakes.refer
    clean, worst = [], []
    for jump, end in zip(jumps, ends, strict=True):
        jump = stakes.weight * jump / total
        clean.append(_steps(thresholds, stakes.score, jump))
        calm = _steps(thresholds, stakes.score, (1 - stakes.rate) * jump)
        worst.append(calm + _steps(thresholds, end, stakes.rate * jump))
    floor = np.minimum.accumulate(worst[0])
    high = int((floor + worst[1]).argmin())
    low = int(worst[0][: high + 1].argmin())
    found = [float(base / total + part[0][low] + part[1][high]) for part in (clean, worst)]
    alone = sweep(stakes)
    if alone.worst[alone.best] <= found[1] + _rounding(alone.worst):  # no human is worth it
        place = float(thresholds[alone.best])
        return Band(place, place, float(alone.clean[alone.best]), float(alone.worst[alone.best]))
    return Band(float(thresholds[low]), float(thresholds[high]), *found)


def costs_at(stakes: Stakes, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Clean and expected worst cost (n,) of each row, with a human between two thresholds."""
    refer = stakes.no if stakes.refer is None or low == high else stakes.refer
    dear = refer > np.maximum(stakes.no, stakes.yes)

    def cost(first: np.ndarray, last: np.ndarray) -> np.ndarray:
        found = stakes.no + np.where(first >= low, refer - stakes.no, 0.0)
        return found + np.where(last >= high, stakes.yes - refer, 0.0)

    clean = cost(stakes.score, stakes.score)
    worst = cost(
        np.where(dear, stakes.high, stakes.worst), np.where(dear, stakes.low, stakes.worst)
    )
    return clean, (1 - stakes.rate) * clean + stakes.rate * worst


def _candidates(stakes: Stakes) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores (m - 1,), and a threshold (m,) below, between and above them."""
    edges = np.unique(np.concatenate([stakes.score, stakes.low, stakes.high]))
    middle = edges[:-1] + (edges[1:] - edges[:-1]) / 2
    middle = np.where(middle > edges[:-1], middle, edges[1:])
    return edges, np.concatenate([[-np.inf], middle, [np.inf]])


def _steps(thresholds: np.ndarray, scores: np.ndarray, jump: np.ndarray) -> np.ndarray:
    """``sum_i jump_i 1[score_i >= t]`` for each threshold t."""
    order = np.argsort(scores, kind="stable")
    tail = np.append(np.cumsum(jump[order][::-1])[::-1], 0.0)
    return tail[np.searchsorted(scores[order], thresholds, side="left")]


def _choose(worst: np.ndarray, clean: np.ndarray, edges: np.ndarray) -> int:
    """The least worst cost; of equal ones the least clean cost, then the widest gap of scores."""
    near = np.flatnonzero(worst <= worst.min() + _rounding(worst))
    near = near[clean[near] <= clean[near].min() + _rounding(clean)]
    width = np.diff(edges, prepend=edges[0], append=edges[-1])
    return int(near[width[near].argmax()])


def _rounding(values: np.ndarray) -> float:
    return 1e-12 * max(1e-300, float(np.abs(values).max()))
