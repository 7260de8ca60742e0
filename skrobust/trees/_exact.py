"""The exact worst case of an ensemble inside a region, by mixed-integer programming.

For one row, with ``y_l`` = 1 for the leaves taken and ``p_k`` = 1 where a column lies in cell k
or below::

    maximise    sum_l gain_l y_l
    subject to  sum of y over the leaves of a tree = 1
                sum of y over a tree's leaves that end at or below k <= p_k      for each cell k
                sum of y over a tree's leaves that begin above k     <= 1 - p_k
                p_k <= p_k+1  along a column;  cost of the cells <= budget

after Kantchelian, Tygar & Joseph (2016, "Evasion and hardening of tree ensemble classifiers"), with
leaves of a tree summed up, which makes the relaxation tighter. Costs of l1 and l2 balls are sums
over columns, so they are linear in p.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from skrobust.trees._boxes import ranges
from skrobust.trees._reach import Reach

__all__ = ["Solved", "solve", "tree_bounds"]


class Solved(NamedTuple):
    """Cells (n_slots,) of the best place found (None: none), and a bound on all of them."""

    cells: np.ndarray | None
    bound: float


def tree_bounds(reach: Reach, gains: np.ndarray) -> np.ndarray:
    """Sum over trees of the largest gain that each can give: nothing is above it, (n_rows,)."""
    new = np.flatnonzero(np.r_[True, (np.diff(reach.tree) != 0) | (np.diff(reach.row) != 0)])
    most = np.maximum.reduceat(gains, new) if len(gains) else gains
    return np.bincount(reach.row[new], most, reach.n_rows)


def solve(
    reach: Reach, gains: np.ndarray, time_limit: float = 10.0, floor: float | None = None
) -> Solved:
    """The largest sum of gains that one row can reach (``reach`` has one row only).

    With a ``floor``, any place with a sum of at least that will do, and a bound at the floor says
    that there is none. That is several times faster.
    """
    n_leaves, widths = len(reach.leaf), np.diff(reach.cell_starts)
    first = np.cumsum(widths - 1) - (widths - 1)  # where each slot's p begin
    n_p = int((widths - 1).sum())
    parts = _Rows(n_leaves + n_p)
    _, tree = np.unique(reach.tree, return_inverse=True)
    parts.add(tree, np.arange(n_leaves), np.ones(n_leaves), 1.0, 1.0)
    _link(parts, reach, tree, first, n_leaves)
    _order(parts, first, widths, n_leaves)
    _pay(parts, reach, first, n_leaves)
    if floor is not None:
        parts.add(np.zeros(n_leaves, dtype=int), np.arange(n_leaves), gains, floor, np.inf)
    result = milp(
        np.r_[-gains, np.zeros(n_p)],
        integrality=np.r_[np.zeros(n_leaves), np.ones(n_p)],
        bounds=Bounds(0, 1),
        constraints=parts.constraint(),
        options={"time_limit": time_limit, "mip_rel_gap": 0.0 if floor is None else 1e9},
    )
    bound = float(tree_bounds(reach, gains)[0])
    if result.status == 2 and floor is not None:  # infeasible
        bound = min(bound, floor)
    elif getattr(result, "mip_dual_bound", None) is not None:
        bound = min(bound, -float(result.mip_dual_bound))
    if result.x is None:
        return Solved(None, bound)
    above = 1 - np.round(result.x[n_leaves:]).astype(np.int64)  # 1 where the cell is above k
    slot = np.repeat(np.arange(len(widths)), widths - 1)
    return Solved(np.bincount(slot, above, len(widths)).astype(np.int64), bound)


def _link(parts: _Rows, reach: Reach, tree, first, n_leaves: int) -> None:
    """Leaves that end at or below a cell, or begin above it, need p to say so."""
    top = np.diff(reach.cell_starts)[reach.slot] - 1
    for below in (True, False):
        side = np.flatnonzero(reach.high < top if below else reach.low > 0)
        leaf, slot = reach.side_leaf[side], reach.slot[side]
        cell = reach.high[side] if below else reach.low[side] - 1
        # by tree and slot, then from the cell that the fewest leaves speak of
        order = np.lexsort((cell if below else -cell, slot, tree[leaf]))
        leaf, slot, cell = leaf[order], slot[order], cell[order]
        new = np.diff(tree[leaf]) != 0 if len(leaf) else np.zeros(0, dtype=bool)
        new = np.r_[True, new | (np.diff(slot) != 0)][: len(leaf)]
        group = np.flatnonzero(new)[np.cumsum(new) - 1]  # where the group of each leaf begins
        last = np.r_[(np.diff(cell) != 0) | new[1:], True][: len(leaf)]
        ends = np.flatnonzero(last)  # one constraint for each cell: all leaves up to here
        counts = ends - group[ends] + 1
        rows = np.repeat(np.arange(len(ends)), counts)
        p = n_leaves + first[slot[ends]] + cell[ends]
        sign = np.full(len(ends), -1.0 if below else 1.0)
        parts.add(
            np.r_[rows, np.arange(len(ends))],
            np.r_[leaf[ranges(group[ends], counts)], p],
            np.r_[np.ones(len(rows)), sign],
            -np.inf,
            0.0 if below else 1.0,
        )


def _order(parts: _Rows, first: np.ndarray, widths: np.ndarray, n_leaves: int) -> None:
    """Along a column p never falls."""
    slot = np.repeat(np.arange(len(widths)), np.maximum(widths - 2, 0))
    p = n_leaves + ranges(first, np.maximum(widths - 2, 0))
    rows, ones = np.arange(len(slot)), np.ones(len(slot))
    parts.add(np.r_[rows, rows], np.r_[p, p + 1], np.r_[ones, -ones], -np.inf, 0.0)


def _pay(parts: _Rows, reach: Reach, first: np.ndarray, n_leaves: int) -> None:
    """The cost of all cells keeps to the budget; cells that cannot be had are shut."""
    starts, cost = reach.cell_starts[:-1], reach.cost
    widths = np.diff(reach.cell_starts)
    slot = np.repeat(np.arange(len(widths)), widths - 1)
    at = ranges(starts, widths - 1)  # all cells but the last of each slot
    p = n_leaves + first[slot] + at - starts[slot]
    shut = np.isinf(cost)
    for cell in np.flatnonzero(shut):
        owner = np.searchsorted(reach.cell_starts, cell, side="right") - 1
        k, last = cell - starts[owner], widths[owner] - 1
        columns = [n_leaves + first[owner] + k] * (k < last) + [n_leaves + first[owner] + k - 1] * (
            k > 0
        )
        signs = [1.0] * (k < last) + [-1.0] * (k > 0)
        upper = 0.0 if k < last else -1.0  # p_k - p_(k-1) <= 0, where p of the last cell is 1
        parts.add(
            np.zeros(len(columns), dtype=int), np.array(columns), np.array(signs), -np.inf, upper
        )
    if np.isfinite(reach.budget[0]):
        paid = np.where(shut, 0.0, cost)
        paid = paid / max(reach.budget[0], np.finfo(float).tiny)
        total = 1 + 1e-12 - paid[reach.cell_starts[1:] - 1].sum()
        parts.add(np.zeros(len(p), dtype=int), p, paid[at] - paid[at + 1], -np.inf, total)


class _Rows:
    """Rows of constraints, collected."""

    def __init__(self, n_columns: int):
        self.n_columns, self.n_rows = n_columns, 0
        self.parts: list[tuple] = []

    def add(self, rows, columns, values, low: float, high: float) -> None:
        n = int(rows.max()) + 1 if len(rows) else 0
        limits = np.full(n, low), np.full(n, high)
        self.parts.append((rows + self.n_rows, columns, values, *limits))
        self.n_rows += n

    def constraint(self) -> LinearConstraint:
        rows, columns, values, low, high = map(np.concatenate, zip(*self.parts, strict=True))
        shape = (self.n_rows, self.n_columns)
        return LinearConstraint(coo_array((values, (rows, columns)), shape).tocsc(), low, high)
