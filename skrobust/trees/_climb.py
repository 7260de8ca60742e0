"""Ascent over cells: all moves of one column are known at once, the best is made, again and again."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skrobust.trees._boxes import ranges
from skrobust.trees._reach import Reach

__all__ = ["Ascent", "largest_of"]

TOLERANCE = 1e-9  # in units of what leaves differ by: smaller gains are rounding


def largest_of(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Position of the largest entry of each group along the last axis, the first among equals.

    Groups begin at ``starts``; none is empty.
    """
    n = values.shape[-1]
    top = np.maximum.reduceat(values, starts, axis=-1)
    sizes = np.diff(np.r_[starts, n])
    at = np.where(values == np.repeat(top, sizes, axis=-1), np.arange(n), n)
    return np.minimum.reduceat(at, starts, axis=-1)


class Ascent:
    """The sum of leaves' ``gains`` made as large as moves of single columns can make it.

    A leaf counts where no side of it is broken. A leaf with one broken side begins to count when
    that slot moves inside; a leaf that counts stops when a slot moves out. So one pass over the
    sides gives the exact change of the sum for every cell of every slot of every row.

    Several states of the same rows are carried side by side: ``cells`` is (n_states, n_slots),
    ``gains`` (n_states, n_leaves).

    All rows must have slots.
    """

    def __init__(self, reach: Reach, gains: np.ndarray):
        self.reach, self.gains = reach, gains
        has_sides = np.diff(reach.starts) > 0
        self.sided = np.flatnonzero(has_sides)
        self.side_starts = reach.starts[self.sided]
        # one more cell behind each slot takes what ends with its last one
        widths = np.diff(reach.cell_starts)
        self.at = reach.cell_starts[:-1] + np.arange(len(widths))
        self.cell_slot = np.repeat(np.arange(len(widths)), widths + 1)
        self.cell_cost = np.full(len(self.cell_slot), np.inf)
        self.cell_cost[np.arange(len(reach.cost)) + np.repeat(np.arange(len(widths)), widths)] = (
            reach.cost
        )
        self.cell_row = reach.slot_row[self.cell_slot]
        self.row_cells = np.searchsorted(self.cell_row, np.arange(reach.n_rows))
        self.row_slots = np.searchsorted(reach.slot_row, np.arange(reach.n_rows))
        self.enter, self.leave = (
            self.at[reach.slot] + reach.low,
            self.at[reach.slot] + reach.high + 1,
        )
        new = np.r_[True, (np.diff(reach.tree) != 0) | (np.diff(reach.row) != 0)]
        self.tree_starts = np.flatnonzero(new)
        self.tree_sizes = np.diff(np.r_[self.tree_starts, len(reach.leaf)])
        self.row_leaves = np.searchsorted(reach.row, np.arange(reach.n_rows))
        size = np.abs(gains).max() if gains.size else 1.0
        self.tolerance = TOLERANCE * max(size, np.finfo(float).tiny)
        self.finite_cost = np.where(np.isfinite(self.cell_cost), self.cell_cost, 0.0)
        self.has_budget = bool(np.isfinite(reach.budget).any())

    def broken(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which sides are broken (n_states, n_sides), and how many of each leaf."""
        reach = self.reach
        here = cells[:, reach.slot]
        out = (here < reach.low) | (here > reach.high)
        count = np.zeros((len(cells), len(reach.leaf)), dtype=np.int16)
        if len(self.sided):
            count[:, self.sided] = np.add.reduceat(out, self.side_starts, axis=1, dtype=np.int16)
        return out, count

    def value(self, cells: np.ndarray) -> np.ndarray:
        """The sum of the gains of the leaves that count, (n_states, n_rows)."""
        _, count = self.broken(cells)
        state, leaf = np.nonzero(count == 0)
        at = state * self.reach.n_rows + self.reach.row[leaf]
        total = np.bincount(at, self.gains[state, leaf], len(cells) * self.reach.n_rows)
        return total.reshape(len(cells), -1)

    def changes(self, cells: np.ndarray) -> np.ndarray:
        """What moving to each cell would add, (n_states, n_cells); minus infinity if it may not."""
        reach, n_cells = self.reach, len(self.cell_slot)
        out, count = self.broken(cells)
        state, side = np.nonzero(count[:, reach.side_leaf] == out)  # no other side is broken
        gain = self.gains[state, reach.side_leaf[side]]
        size = len(cells) * n_cells
        steps = np.bincount(state * n_cells + self.enter[side], gain, size)
        steps -= np.bincount(state * n_cells + self.leave[side], gain, size)
        sums = np.cumsum(steps.reshape(len(cells), n_cells), axis=1)
        here = self.at + cells
        states = np.arange(len(cells))[:, None]
        change = sums - sums[states, here][:, self.cell_slot]
        cost = self.cell_cost
        if self.has_budget:
            left = reach.budget - self.spent(cells)
            cost = cost - self.cell_cost[here][:, self.cell_slot] - left[:, self.cell_row]
            return np.where(cost > 0, -np.inf, change)
        return np.where(np.isinf(cost), -np.inf, change)

    def spent(self, cells: np.ndarray) -> np.ndarray:
        """Cost of the states of all rows (n_states, n_rows)."""
        return np.add.reduceat(self.cell_cost[self.at + cells], self.row_slots, axis=1)

    def climb(
        self,
        cells: np.ndarray,
        price: np.ndarray | None = None,
        barred: np.ndarray | None = None,
        n_steps: int = 200,
    ) -> np.ndarray:
        """The best move of each row and state, until no move helps.

        With a ``price`` (n_states, n_rows), moves must be worth what they cost; no move goes to
        a cell that is ``barred`` (n_states, n_cells).
        """
        cells = cells.copy()
        for _ in range(n_steps):
            change = self.changes(cells)
            if price is not None:
                here = self.cell_cost[self.at + cells][:, self.cell_slot]
                change = change - price[:, self.cell_row] * (self.finite_cost - here)
            if barred is not None:
                change[barred] = -np.inf
            best = largest_of(change, self.row_cells)
            gain = np.take_along_axis(change, best, axis=1)
            state, row = np.nonzero(gain > self.tolerance)
            if not len(state):
                break
            place = best[state, row]
            slot = self.cell_slot[place]
            cells[state, slot] = place - self.at[slot]
        return cells

    def climb_at(
        self, cells: np.ndarray, price: np.ndarray, barred: np.ndarray | None = None
    ) -> np.ndarray:
        """A climb; first one with a price (n_states, n_rows) where ways have a budget, and bars.

        A price of 1 is what the trees could give at most, spread over the budget.
        """
        if self.has_budget:
            cells = self.climb(cells, price * self.worth, barred)
        elif barred is not None:
            cells = self.climb(cells, barred=barred)
        return self.climb(cells)

    @cached_property
    def worth(self) -> np.ndarray:
        """What the trees could give at most more than at home, per budget (n_rows,)."""
        reach, gains = self.reach, self.gains[0]
        most = np.maximum.reduceat(gains, self.tree_starts)
        most = np.bincount(reach.row[self.tree_starts], most, reach.n_rows)
        home = self.value(np.repeat(reach.home[None], len(self.gains), axis=0))[0]
        return (most - home) / np.maximum(reach.budget, np.finfo(float).tiny)

    def kick(self, cells: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Each row and state moves into a leaf at random that gives more than its tree gives now.

        Where that costs too much, other columns go home, some of them first, then all. Returned
        too: the cells (n_states, n_cells) that would leave the leaf again.
        """
        reach = self.reach
        _, count = self.broken(cells)
        counting = np.where(count == 0, self.gains, 0.0)
        trees = np.add.reduceat(counting, self.tree_starts, axis=1)
        more = self.gains - np.repeat(trees, self.tree_sizes, axis=1)
        with np.errstate(divide="ignore"):
            key = np.log(np.where(more > self.tolerance, more, 0.0)) + random.gumbel(
                size=more.shape
            )
        leaf = largest_of(key, self.row_leaves)
        state, row = np.nonzero(np.isfinite(np.take_along_axis(key, leaf, axis=1)))
        leaf = leaf[state, row]
        counts = np.diff(reach.starts)[leaf]
        side = ranges(reach.starts[leaf], counts)
        state = np.repeat(state, counts)
        slot = reach.slot[side]
        moved = cells.copy()
        moved[state, slot] = np.clip(cells[state, slot], reach.low[side], reach.high[side])
        barred = self._outside(state, side, len(cells))
        if not self.has_budget:
            return moved, barred
        held = np.zeros(cells.shape, dtype=bool)
        held[state, slot] = True
        for share in (0.5, 0.5, 1.0):
            over = (self.spent(moved) > reach.budget)[:, reach.slot_row]
            back = over & ~held & (random.random(cells.shape) < share)
            moved = np.where(back, reach.home, moved)
        over = (self.spent(moved) > reach.budget)[:, reach.slot_row]  # from afar, not from home
        return np.where(over, cells, moved), barred & ~over[:, self.cell_slot]

    def _outside(self, state: np.ndarray, side: np.ndarray, n_states: int) -> np.ndarray:
        """Cells that break one of the sides, each in its own state."""
        n_cells = len(self.cell_slot)
        size = n_states * (n_cells + 1)
        slot = self.reach.slot[side]
        first, after = self.at[slot], self.at[slot] + np.diff(self.reach.cell_starts)[slot]
        row = state * (n_cells + 1)
        steps = np.zeros(size, dtype=np.int64)
        for begin, end in ((first, self.enter[side]), (self.leave[side], after)):
            steps += np.bincount(row + begin, minlength=size)
            steps -= np.bincount(row + end, minlength=size)
        return steps.reshape(n_states, -1).cumsum(axis=1)[:, :-1] > 0
