"""Two thresholds with a human in between: what they cost, and the pair that costs least."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skrobust.risk._stakes import NO, REFER, YES, Stakes
from skrobust.risk._sweep import candidates, rounding, steps, sweep

__all__ = ["Band", "best_band", "costs_at"]


class Band(NamedTuple):
    """No below ``low``, yes from ``high`` on, and in between a human decides."""

    low: float
    high: float
    clean: float
    worst: float


def best_band(stakes: Stakes) -> Band:
    """The two thresholds with the least worst cost, a human in between; equal ones: no human."""
    _, thresholds = candidates(stakes)
    low, high = _apart(stakes, thresholds) if stakes.low.ndim == 1 else _together(stakes)
    parts = costs_at(stakes, thresholds[low], thresholds[high])
    found = [float(np.average(part, weights=stakes.weight)) for part in parts]
    alone = sweep(stakes)
    if alone.worst[alone.best] <= found[1] + rounding(alone.worst):  # no human is worth it
        place = float(alone.thresholds[alone.best])
        return Band(place, place, float(alone.clean[alone.best]), float(alone.worst[alone.best]))
    return Band(float(thresholds[low]), float(thresholds[high]), *found)


def costs_at(stakes: Stakes, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Clean and expected worst cost (n,) of each row, with a human between two thresholds."""
    return _costs(stakes, low, high, stakes.refer is not None and low < high)


def _costs(stakes: Stakes, low, high, banded: bool) -> tuple[np.ndarray, np.ndarray]:
    """The same for thresholds that may differ by row; ``banded``: there is a human."""
    refer = stakes.refer if banded else stakes.no
    costs, now = (stakes.no, refer, stakes.yes), _decided(stakes.score, low, high)
    clean = np.choose(now, costs)
    between, asking, answering = (stakes.ends(move) for move in range(3))
    ways = [(NO, YES, between[1] >= high), (YES, NO, between[0] < low)]
    if banded:
        ways += [(NO, REFER, asking[1] >= low), (YES, REFER, asking[0] < high)]
        ways += [(REFER, YES, answering[1] >= high), (REFER, NO, answering[0] < low)]
    worst = clean
    for before, after, reached in ways:
        dearer = (now == before) & reached & (costs[after] > worst)
        worst = np.where(dearer, costs[after], worst)
    return clean, (1 - stakes.rate) * clean + stakes.rate * worst


def _decided(score: np.ndarray, low, high) -> np.ndarray:
    return np.where(score < low, NO, np.where(score < high, REFER, YES))


def _apart(stakes: Stakes, thresholds: np.ndarray) -> tuple[int, int]:
    """Both thresholds act on their own where each move may go as far as any other.

    With costs of a row in order (referring between right and wrong) a row costs
    ``no + (refer - no) 1[s >= low] + (yes - refer) 1[s >= high]``. Where referring costs more than
    either decision, the worst is to be moved into the band: into it from below counts for ``low``,
    out of it downwards for ``high``.
    """
    dear = stakes.refer > np.maximum(stakes.no, stakes.yes)
    ends = np.where(dear, stakes.high, stakes.worst), np.where(dear, stakes.low, stakes.worst)
    jumps = stakes.refer - stakes.no, stakes.yes - stakes.refer
    worst = []
    for jump, end in zip(jumps, ends, strict=True):
        jump = stakes.weight * jump
        calm = steps(thresholds, stakes.score, (1 - stakes.rate) * jump)
        worst.append(calm + steps(thresholds, end, stakes.rate * jump))
    floor = np.minimum.accumulate(worst[0])
    high = int((floor + worst[1]).argmin())
    return int(worst[0][: high + 1].argmin()), high


def _together(stakes: Stakes) -> tuple[int, int]:
    """Where attackers count their prices, how far a row goes depends on both thresholds.

    Its cost is then a table over (low, high) with a few steps each way, and the sum of all tables a sum
    of corners: ``sum of mass over the corners with a <= low, b <= high``.
    """
    edges, thresholds = candidates(stakes)
    (between, asking, answering), score = (stakes.ends(k) for k in range(3)), stakes.score
    lows = np.sort([between[0], answering[0], score, asking[1]], axis=0)
    highs = np.sort([asking[0], score, answering[1], between[1]], axis=0)
    table = np.array([[_costs(stakes, a, b, True)[1] for b in _just_above(highs)]
                      for a in _just_above(lows)])  # fmt: skip
    mass = np.diff(np.diff(table, axis=0, prepend=0), axis=1, prepend=0) * stakes.weight
    a, b = (np.vstack([np.zeros(len(score), int), np.searchsorted(edges, at) + 1])
            for at in (lows, highs))  # fmt: skip
    a, b = np.broadcast_arrays(a[:, None], b[None])
    some = mass != 0
    return _least_corner(a[some], b[some], mass[some], len(thresholds))


def _just_above(breaks: np.ndarray) -> np.ndarray:
    """A threshold below all breaks of a row, and one above each."""
    below = np.full((1, breaks.shape[1]), -np.inf)
    return np.vstack([below, np.nextafter(breaks, np.inf)])


def _least_corner(a: np.ndarray, b: np.ndarray, mass: np.ndarray, m: int) -> tuple[int, int]:
    """``argmin over i < j < m of sum of mass where a <= i and b <= j``, in O(k log m).

    i goes up; a tree over j holds sums, and the least sum from the left of those j that are allowed.

    >>> a, b, mass = np.array([0, 1, 1]), np.array([0, 2, 3]), np.array([5.0, -2.0, 1.0])
    >>> _least_corner(a, b, mass, 4)
    (1, 2)
    """
    size = 1 << (m - 1).bit_length()
    total, least = [0.0] * 2 * size, [np.inf] * 2 * size
    least[size : size + m] = [0.0] * m
    for node in range(size - 1, 0, -1):
        least[node] = min(least[2 * node : 2 * node + 2])
    order = np.argsort(a, kind="stable")
    first = np.searchsorted(a[order], np.arange(m + 1)).tolist()
    places, masses = b[order].tolist(), mass[order].tolist()
    best, found = np.inf, 0
    for i in range(m - 1):
        for k in range(first[i], first[i + 1]):
            total[size + places[k]] += masses[k]
            least[size + places[k]] += masses[k]
        for leaf in {i, *places[first[i] : first[i + 1]]}:
            if leaf <= i:  # high thresholds are above low ones
                least[size + leaf] = np.inf
            _update(total, least, size + leaf)
        if least[1] < best:
            best, found = least[1], i
    own = a <= found
    sums = np.cumsum(np.bincount(b[own], mass[own], minlength=m))
    return found, found + 1 + int(sums[found + 1 :].argmin())


def _update(total: list, least: list, node: int) -> None:
    node >>= 1
    while node:
        left, right = 2 * node, 2 * node + 1
        total[node] = total[left] + total[right]
        least[node] = min(least[left], total[left] + least[right])
        node >>= 1
