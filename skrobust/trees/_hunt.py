"""The search for the worst leaves, row by row: climbs first, kicks next, proofs last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from skrobust.attacks import Best, Objective
from skrobust.threats import Region
from skrobust.trees._climb import TOLERANCE, Ascent, largest_of
from skrobust.trees._exact import solve, tree_bounds
from skrobust.trees._forest import Forest
from skrobust.trees._reach import Reach, Space, reach
from skrobust.trees._rules import changed, is_enumerated, leaps_of

__all__ = ["Effort", "hunt"]

N_LOOKS = 4  # changed categories of a row that are searched closely


@dataclass(frozen=True)
class Effort:
    """How hard to search: states per row, rounds of kicks, classes, and what to prove.

    ``n_targets``: classes that kicks aim at, the most promising first; None: all of them.
    ``exact``: True for all rows, or the largest number of leaves in reach; seconds per proof.
    """

    n_states: int = 8
    n_rounds: int = 5
    n_targets: int | None = 3
    exact: bool | int = False
    time_limit: float = 10.0


def hunt(
    forest: Forest,
    aims: np.ndarray,
    fn: Objective,
    region: Region,
    best: Best,
    effort: Effort,
    random: np.random.Generator,
) -> np.ndarray:
    """Report the worst rows that can be found to ``best``; return proven bounds.

    ``aims`` (n, n_aims, n_outputs) are weights of the outputs: the sum that each aim weighs out of
    a row's scores is made as large as possible, one aim after the other, and ``fn`` judges.
    Categories are changed one by one, and each such row searched like the row itself.

    Returns
    -------
    ndarray of shape (n, n_aims)
        No place of the region has a larger sum of scores, by each aim.
    """
    every = np.arange(len(aims))
    bounds, _ = _hunt_from(forest, aims, fn, region, best, effort, random, every)
    for base, rows in _leaping(forest, aims, fn, region, best, effort, random):
        there, _ = _hunt_from(forest, aims, fn, region, best, effort, random, rows, base)
        bounds[rows] = np.maximum(bounds[rows], there)
    if is_enumerated(region):
        return bounds
    most = np.einsum("nak,lk->nal", aims, forest.values)  # whatever the rows become
    tree = np.searchsorted(forest.roots, np.flatnonzero(forest.leaf >= 0), "right") - 1
    starts = np.searchsorted(tree, np.arange(forest.n_trees))
    most = np.maximum.reduceat(most, starts, axis=2).sum(axis=2)
    return (aims @ forest.base + most) / forest.divisor


def _hunt_from(
    forest: Forest, aims, fn, region, best, effort, random, rows: np.ndarray, base=None
) -> tuple[np.ndarray, np.ndarray]:
    """Search ``rows`` as they are, or as they are in ``base``; bounds and the best sums found."""
    size = int(np.clip(2**18 // max(1, len(forest.values)), 1, 1024))
    bounds, found = [np.empty((0, aims.shape[1]))], [np.empty((0, aims.shape[1]))]
    for low in range(0, len(rows), size):
        part = rows[low : low + size]
        index = torch.as_tensor(part, device=region.x.device)
        given = None if base is None else base[low : low + size]
        own = best.take(index)
        chunk = _Hunt(forest, aims[part], fn.take(index), region.take(index), own, given)
        chunk.run(effort, random)
        best.put(index, own)
        bounds.append(chunk.bounds / forest.divisor)
        found.append(chunk.found)
    return np.concatenate(bounds), np.concatenate(found)


def _leaping(forest: Forest, aims, fn, region, best, effort, random):
    """Rows with other categories, (rows, their numbers), the most promising of each row first.

    All single changes are climbed from; the best few are given out for a closer look (all of
    them, where proofs are wanted), and are where further changes start.
    """
    leaps = leaps_of(region)
    n_changes = region.rules.leaps.most if leaps else 0
    starts = [(region.x, np.arange(len(aims)))]
    for _ in range(n_changes):
        tried = []
        for base, rows in starts:
            for leap in leaps:
                tried.append(_tried(leap, base, rows, forest, aims, fn, region, best, random))
        base = torch.cat([one[0] for one in tried])
        rows, value = (np.concatenate([one[i] for one in tried]) for i in (1, 2))
        order = np.lexsort((-value, rows))
        rank = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])
        n_kept = len(leaps) if effort.exact and n_changes == 1 else N_LOOKS
        waves = [order[rank == k] for k in range(min(n_kept, rank.max(initial=-1) + 1))]
        starts = [(base[torch.as_tensor(wave)], rows[wave]) for wave in waves]
        for base, rows in starts:
            stay = _unbroken(best, rows)
            yield base[torch.as_tensor(stay)], rows[stay]


def _tried(leap, base, rows, forest, aims, fn, region, best, random):
    """A change of category, and the best sums that a climb finds from there."""
    stay = _unbroken(best, rows)
    base, rows = base[torch.as_tensor(stay)], rows[stay]
    moved, which = changed(region.take(torch.as_tensor(rows)), base, leap)
    rows = rows[which.cpu().numpy()]
    glance = Effort(n_rounds=0)
    _, found = _hunt_from(forest, aims, fn, region, best, glance, random, rows, moved)
    return moved, rows, found.max(axis=1, initial=-np.inf)


def _unbroken(best: Best, rows: np.ndarray) -> np.ndarray:
    left = np.zeros(len(best), dtype=bool)
    left[best.unfinished().cpu().numpy()] = True
    return np.flatnonzero(left[rows])


class _Hunt:
    """Some rows, what they can reach, and the best sums so far (before the divisor)."""

    def __init__(self, forest: Forest, aims, fn: Objective, region: Region, best: Best, base=None):
        self.forest, self.aims, self.fn, self.region, self.best = forest, aims, fn, region, best
        self.space = Space(region, base)
        self.reach = reach(forest, self.space)
        self.offsets = aims @ forest.base
        n_aims = aims.shape[1]
        every = [tree_bounds(self.reach, self.gains(self.reach, aim)) for aim in range(n_aims)]
        self.bounds = self.offsets + np.stack(every, axis=1)
        self.found = np.full(self.bounds.shape, -np.inf)
        if base is not None:
            best.update(base, fn(base).to(best.value.dtype))
            scores = forest.divisor * forest.scores(base.cpu().numpy())
            self.found = np.einsum("nak,nk->na", aims, scores)
        # margins pass their goal where the scores do, whatever the link
        self.goal = 0.0 if fn.goal == 0 and forest.is_classifier else None
        self.slack = TOLERANCE * max(1e-300, float(np.abs(forest.values).max(initial=0.0)))
        self.gaps = self.slack, 1e5 * self.slack
        self.given_up = np.zeros(len(aims), dtype=bool)
        self.can_move = np.zeros(len(aims), dtype=bool)
        self.can_move[self.reach.slot_row] = True

    def run(self, effort: Effort, random: np.random.Generator) -> None:
        one_tree = self.forest.n_trees == 1
        self._each_aim(self._choose if one_tree else self._climb, self.bounds)
        if one_tree:
            self.bounds = np.where(self.can_move[:, None], self.found, self.bounds)
            return
        if effort.n_rounds:
            n_targets = effort.n_targets if self.forest.is_classifier else None
            kick = lambda aim, rows: self._kick(aim, rows, effort, random)
            self._each_aim(kick, self.found, n_targets)
        if effort.exact:
            self._each_aim(lambda aim, rows: self._solve(aim, rows, effort), self.found)

    def gains(self, part: Reach, aim: int, rows: np.ndarray | None = None) -> np.ndarray:
        """What each leaf adds to the sum of an aim."""
        weights = self.aims[:, aim] if rows is None else self.aims[rows, aim]
        return np.einsum("lk,lk->l", self.forest.values[part.leaf], weights[part.row])

    def _each_aim(self, work, promise: np.ndarray, n_targets: int | None = None) -> None:
        """Do ``work(aim, rows)``, for each row with its most promising aim first."""
        order = np.argsort(-promise, axis=1, kind="stable")[:, :n_targets]
        for rank in range(order.shape[1]):
            rows = np.flatnonzero(self._open(order[:, rank]))
            for aim in np.unique(order[rows, rank]):
                work(int(aim), rows[order[rows, rank] == aim])

    def _open(self, aim: np.ndarray) -> np.ndarray:
        """Rows in which an aim (of its own for each row) may still give something better."""
        at = np.arange(len(aim))
        bound, found = self.bounds[at, aim], self.found[at, aim]
        open_ = self.can_move & (bound > found + self.slack)
        if self.goal is None:
            return open_
        lost = (self.best.value > self.fn.goal).cpu().numpy()
        return open_ & ~lost & (bound >= self.goal - self.slack)

    def _choose(self, aim: int, rows: np.ndarray) -> None:
        """One tree: each leaf can be had, so the best one is the answer."""
        part = self.reach.take(rows)
        gains = self.gains(part, aim, rows)
        first = np.searchsorted(part.row, np.arange(len(rows)))
        leaf = largest_of(gains, first)
        cells = part.home.copy()
        side = np.flatnonzero(np.isin(part.side_leaf, leaf))
        slot = part.slot[side]
        cells[slot] = np.clip(cells[slot], part.low[side], part.high[side])
        self._report(aim, rows, part, cells, gains[leaf])

    def _climb(self, aim: int, rows: np.ndarray) -> None:
        part = self.reach.take(rows)
        ascent = Ascent(part, self.gains(part, aim, rows)[None])
        cells = ascent.climb(part.home[None])
        self._report(aim, rows, part, cells[0], ascent.value(cells)[0])

    def _kick(self, aim: int, rows: np.ndarray, effort: Effort, random) -> None:
        """Climbs from many places; where ways have a price, at several prices first."""
        sides = np.bincount(self.reach.row[self.reach.side_leaf], minlength=len(self.aims))
        limit = max(2**20 // effort.n_states, int(sides[rows].max(initial=0)))
        batch = (np.cumsum(sides[rows]) - 1) // limit
        for number in np.unique(batch):
            self._kick_some(aim, rows[batch == number], effort, random)

    def _kick_some(self, aim: int, rows: np.ndarray, effort: Effort, random) -> None:
        part = self.reach.take(rows)
        gains = self.gains(part, aim, rows)
        ascent = Ascent(part, np.repeat(gains[None], effort.n_states, axis=0))
        cells = np.repeat(part.home[None], effort.n_states, axis=0)
        steps = np.linspace(0, 2, effort.n_states)[:, None]
        cells = ascent.climb_at(cells, steps * np.ones(len(rows)))
        value = ascent.value(cells)
        for _ in range(effort.n_rounds):
            self._report_best(aim, rows, part, cells, value)
            stay = self._open(np.full(len(self.aims), aim))[rows]
            if not stay.any():
                return
            if 2 * stay.sum() < len(rows):
                slots = stay[part.slot_row]
                rows, cells, value = rows[stay], cells[:, slots], value[:, stay]
                part = part.take(np.flatnonzero(stay))
                gains = self.gains(part, aim, rows)
                ascent = Ascent(part, np.repeat(gains[None], effort.n_states, axis=0))
            price = 1.5 * random.random(value.shape)
            kicked, barred = ascent.kick(cells, random)
            new = ascent.climb_at(kicked, price, barred)
            there = ascent.value(new)
            better = there >= value
            value = np.where(better, there, value)
            cells = np.where(better[:, part.slot_row], new, cells)
        self._report_best(aim, rows, part, cells, value)

    def _solve(self, aim: int, rows: np.ndarray, effort: Effort) -> None:
        if effort.exact is not True:
            n_leaves = np.bincount(self.reach.row, minlength=len(self.aims))
            rows = rows[n_leaves[rows] <= effort.exact]
        for row in rows[~self.given_up[rows]]:
            self._solve_one(aim, np.array([row]), effort.time_limit)
            # one class that cannot be settled leaves the row unproven, whatever the others say
            self.given_up[row] = (
                self.goal is not None and self._open(np.full(len(self.aims), aim))[row]
            )

    def _solve_one(self, aim: int, row: np.ndarray, time_limit: float) -> None:
        part = self.reach.take(row)
        gains = self.gains(part, aim, row)
        offset, at = self.offsets[row, aim][0], (row[0], aim)
        # a place that ties with the goal passes for one above it, within the solver's tolerance
        floors = [None] if self.goal is None else [self.goal - offset + gap for gap in self.gaps]
        for floor in floors:
            solved = solve(part, gains, time_limit, floor)
            if solved.cells is not None:
                value = Ascent(part, gains[None]).value(solved.cells[None])[0]
                self._report(aim, row, part, solved.cells, value)
            bound = min(self.bounds[at], solved.bound + offset)
            self.bounds[at] = max(bound, self.found[at])
            if solved.cells is None or self.goal is None or self.found[at] > self.goal + self.slack:
                return

    def _report_best(self, aim: int, rows, part: Reach, cells, value) -> None:
        top = value.argmax(axis=0)
        each = np.arange(len(rows))
        self._report(
            aim, rows, part, cells[top[part.slot_row], np.arange(len(part.home))], value[top, each]
        )

    def _report(self, aim: int, rows, part: Reach, cells, value) -> None:
        """Move rows to their cells where that is better, and let the objective judge."""
        value = value + self.offsets[rows, aim]
        better = value > self.found[rows, aim]
        self.found[rows[better], aim] = value[better]
        if not better.any():
            return
        z = part.moved(self.space.x[rows], cells)[better]
        x = self.region.x
        where = torch.as_tensor(rows[better], device=x.device)
        settled = self.region.take(where).settle(torch.as_tensor(z).to(x.dtype).to(x.device))
        self.best.update(settled, self.fn.take(where)(settled).to(self.best.value.dtype), where)
