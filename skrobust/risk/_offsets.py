"""Many classes: an offset for each, and the offsets of least worst cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skrobust.risk._sweep import choose, gaps_of, rounding, steps

__all__ = ["Chances", "Offsets", "best_offsets", "costs_of", "decide", "is_always"]

MOST_ROUNDS = 50
N_STARTS = 6
ALWAYS = 1e9  # an offset that no score makes up for


class Chances(NamedTuple):
    """What is at stake in each of n rows, and which scores it can be moved to.

    The decision is ``argmax_k score_k + offset_k`` among D: the classes, and (last, with a score of 0)
    the human, if there is one.

    ``costs`` (n, D). ``limits`` (n, D, D): the length within which it pays to move a row from one
    decision to another (0: never). ``score`` (n, D). ``moved`` (n, M, D): scores of rows that an attack
    reached, ``length`` (n, M): within which radius. ``gaps`` (n, D, D), instead of both: lower bounds of
    ``score_j - score_k`` that a proof gave. ``rate``, ``weight`` (n,).
    """

    costs: np.ndarray
    limits: np.ndarray
    score: np.ndarray
    moved: np.ndarray | None
    length: np.ndarray | None
    gaps: np.ndarray | None
    rate: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> Chances:
        """Some of the rows."""
        return Chances(*(None if part is None else part[rows] for part in self))

    def padded(self, most: int) -> Chances:
        """As many moved rows for each, the last of them out of reach."""
        more = ((0, 0), (0, most - self.moved.shape[1]))
        moved = np.pad(self.moved, (*more, (0, 0)))
        return self._replace(moved=moved, length=np.pad(self.length, more, constant_values=np.inf))

    def with_worse(self, new: Chances, offsets: np.ndarray) -> Chances:
        """With those moved rows of ``new`` that cost more, at these offsets, than all known ones."""
        rows = np.arange(len(self.costs))[:, None]
        known = costs_of(self._replace(rate=np.ones(len(rows))), offsets)[1]
        now, then = decide(self.score, offsets)[:, None], decide(new.moved, offsets)
        worse = self.costs[rows, then] > known[:, None]
        worse &= new.length <= self.limits[rows, now, then]
        moved = np.concatenate([self.moved, new.moved], axis=1)
        length = np.concatenate([self.length, np.where(worse, new.length, np.inf)], axis=1)
        order = np.argsort(np.isinf(length), axis=1, kind="stable")
        order = order[:, : np.isfinite(length).sum(axis=1).max()]
        return self._replace(moved=moved[rows, order], length=length[rows, order])

    def alone(self) -> Chances:
        """The same without the human."""
        k = self.costs.shape[1] - 1
        moved = None if self.moved is None else self.moved[:, :, :k]
        gaps = None if self.gaps is None else self.gaps[:, :k, :k]
        return self._replace(
            costs=self.costs[:, :k],
            limits=self.limits[:, :k, :k],
            score=self.score[:, :k],
            moved=moved,
            gaps=gaps,
        )


class Offsets(NamedTuple):
    """Offsets (D,) of the decisions, and what they cost on average."""

    values: np.ndarray
    clean: float
    worst: float


def is_always(offsets: np.ndarray) -> bool:
    """Whether one decision is made about all rows."""
    return bool(np.ptp(offsets) > ALWAYS / 2)


def decide(score: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The decisions (...) for scores (..., D)."""
    return (score + offsets).argmax(axis=-1)


def costs_of(case: Chances, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clean and expected worst cost (n,) of each row."""
    now = decide(case.score, offsets)
    if case.gaps is None:
        return _costs(case, now, _nearest(case, decide(case.moved, offsets)))
    excluded = case.gaps + offsets[:, None] - offsets > 0
    return _costs(case, now, np.where(excluded.any(axis=1), np.inf, 0.0))


def _costs(case: Chances, now: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs of decisions (n,), where others can be reached within lengths (n, D), infinity: not."""
    rows = np.arange(len(now))
    clean, limits = case.costs[rows, now], case.limits[rows, now]
    reached = (limits > 0) & (length <= limits)
    worst = np.maximum(clean, np.where(reached, case.costs, -np.inf).max(axis=1))
    return clean, (1 - case.rate) * clean + case.rate * worst


def _nearest(case: Chances, decisions: np.ndarray) -> np.ndarray:
    """The least length (n, D) at which the moved rows (n, M) are decided each way."""
    found, rows = np.full(case.costs.shape, np.inf), np.arange(len(decisions))
    for place, length in zip(decisions.T, case.length.T, strict=True):
        found[rows, place] = np.minimum(found[rows, place], length)
    return found


def best_offsets(case: Chances, seed: int, most: float = np.inf) -> Offsets:
    """Offsets of small worst cost: one after the other exactly, until none of them helps.

    No two of them differ by more than ``most``, unless one decision is best for all rows.

    Given all others, the cost is a sum of steps in one offset, whose least value one sort finds. That ends
    where no single offset can be improved, which need not be the best of all: it starts from no
    offsets, from what mistakes cost, and from some at random, and the best end counts.
    """
    n_decisions, random = case.costs.shape[1], np.random.RandomState(seed)
    spread = np.std(case.score, axis=0).mean() + 1e-3
    starts = [np.zeros(n_decisions), _by_cost(case)]
    starts += [spread * random.normal(size=n_decisions) for _ in range(N_STARTS - len(starts))]
    found = [_descend(case, np.clip(start, -most / 2, most / 2), most) for start in starts]
    found += [_measured(case, offsets) for offsets in ALWAYS * np.eye(n_decisions)]
    return min(found, key=lambda offsets: (offsets.worst, offsets.clean))


def _by_cost(case: Chances) -> np.ndarray:
    """The log of what it costs to miss each class, from the rows for which it is right."""
    right = case.costs.argmin(axis=1)
    lost = case.costs.mean(axis=1) - case.costs.min(axis=1)
    price = [
        np.average(lost[right == k], weights=case.weight[right == k] + 1e-12)
        if (right == k).any()
        else 1.0
        for k in range(case.costs.shape[1])
    ]
    return np.log(np.maximum(price, 1e-6))


def _descend(case: Chances, offsets: np.ndarray, most: float) -> Offsets:
    best = _measured(case, offsets)
    for _ in range(MOST_ROUNDS):
        before = best.worst
        for k in range(len(offsets)):
            values = best.values.copy()
            values[k] = _sweep(case, values, k, most)
            new = _measured(case, values - values.mean())
            better = new.worst < best.worst - rounding(case.costs)
            if better or (new.worst <= best.worst and new.clean < best.clean):
                best = new
        if best.worst >= before - rounding(case.costs):
            break
    return best


def _measured(case: Chances, offsets: np.ndarray) -> Offsets:
    parts = costs_of(case, offsets)
    return Offsets(offsets, *(float(np.average(part, weights=case.weight)) for part in parts))


def _sweep(case: Chances, offsets: np.ndarray, k: int, most: float) -> float:
    """The best offset of one decision, given the others.

    Each row's cost is constant between few breaks: where the row, a moved one, or what is proven of it
    changes to (or from) this decision.
    """
    flips, other = _flip(case.score, offsets, k)
    breaks, length_at = _reach(case, offsets, k)
    breaks = np.vstack([flips, breaks])
    order = np.sort(breaks, axis=0)
    tables = []
    for above in np.vstack([np.full((1, len(flips)), -np.inf), order]):
        tables.append(_costs(case, np.where(flips <= above, k, other), length_at(above)))
    edges = np.unique(order[np.isfinite(order)])
    places = gaps_of(edges)
    places[0], places[-1] = edges[0] - 1, edges[-1] + 1
    others = np.delete(offsets, k)
    places = np.clip(places, others.max() - most, others.min() + most)
    clean, worst = (
        (table[0] @ case.weight) + _rising(places, order, np.diff(table, axis=0) * case.weight)
        for table in (np.array(part) for part in zip(*tables, strict=True))
    )
    return float(places[choose(worst / case.weight.sum(), clean / case.weight.sum(), edges)])


def _rising(places: np.ndarray, breaks: np.ndarray, jump: np.ndarray) -> np.ndarray:
    """``sum of jump over breaks < place`` for each place."""
    return steps(-places, -breaks.ravel(), jump.ravel())


def _flip(score: np.ndarray, offsets: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Above which offset the decision of scores (..., D) is k, and what it is below."""
    lifted = score + offsets
    lifted[..., k] = -np.inf
    return lifted.max(axis=-1) - score[..., k], lifted.argmax(axis=-1)


def _reach(case: Chances, offsets: np.ndarray, k: int):
    """Breaks (B, n), and the lengths (n, D) just above a value (n,) of offset k."""
    if case.gaps is None:
        flips, other = _flip(case.moved, offsets, k)
        return flips.T, lambda above: _nearest(case, np.where(flips <= above[:, None], k, other))
    shifted = case.gaps + offsets[:, None] - offsets
    shifted[:, range(len(offsets)), range(len(offsets))] = -np.inf
    rest = np.delete(np.arange(len(offsets)), k)
    until = offsets - case.gaps[:, k]  # k excludes the others above
    since = (case.gaps[:, rest, k] + offsets[rest]).max(axis=1)
    open_ = ~(shifted[:, rest] > 0).any(axis=1)

    def length_at(above: np.ndarray) -> np.ndarray:
        found = open_ & ~(until <= above[:, None])
        found[:, k] = since <= above
        return np.where(found, 0.0, np.inf)

    until = np.where(np.arange(len(offsets)) == k, since[:, None], until)
    return until.T, length_at
