"""The part of a forest that rows can reach: what is left of it inside their regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from skrobust.threats import Region
from skrobust.trees._boxes import Boxes, ranges
from skrobust.trees._forest import Forest
from skrobust.trees._rules import steps_of

__all__ = ["Reach", "Space", "reach"]


class Space:
    """Regions of rows in numbers that are counted up column by column.

    The way of a row is the sum over columns of ``cost``, (movement / scale) ** order, and must
    not pass its ``budget``; for boxes each column only has its limits, and costs are 0.

    Parameters
    ----------
    region : Region
    base : Tensor of shape (n, d), optional
        The rows with other categories in columns that leap: there they are looked at as they
        stand, while all other columns move as ever.

    Attributes
    ----------
    x, low, high : ndarray of shape (n, d)
    budget : ndarray of shape (n,)
    steps : dict of column -> None or sorted values
        Columns that move from whole number to whole number, or among given values.
    """

    def __init__(self, region: Region, base: Tensor | None = None):
        as_double = lambda tensor: tensor.detach().cpu().double().numpy()
        ball = getattr(region, "ball", region)  # regions with rules have one inside
        self.steps = steps_of(region)
        x = region.x if base is None else base
        self.x, self.low, self.high = map(as_double, (x, ball.low, ball.high))
        if region.ruled and region.rules.leaps is not None:
            leaps = region.rules.leaps.mask.cpu().numpy()
            self.low = np.where(leaps, self.x, self.low)
            self.high = np.where(leaps, self.x, self.high)
        norm = getattr(ball, "norm", None)
        self.is_box = norm is None or norm.is_box
        self.order = 1.0 if self.is_box else float(norm.order)
        scale = as_double(region.scale)
        self.scale = np.broadcast_to(scale, self.x.shape)
        radius = as_double(region.radius)
        self.budget = np.full(len(self.x), np.inf) if self.is_box else radius**self.order

    def cost(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What it costs to move a column to a value; infinity where it may not go."""
        inside = (values >= self.low[rows, columns]) & (values <= self.high[rows, columns])
        if self.is_box:
            return np.where(inside, 0.0, np.inf)
        steps = np.abs(values - self.x[rows, columns]) / self.scale[rows, columns]
        return np.where(inside, steps**self.order, np.inf)

    def on_steps(self, columns: np.ndarray, values: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The values themselves, or the next ones that rules of their columns allow, up or down."""
        for column, known in self.steps.items():
            at = np.flatnonzero((columns == column) & np.isfinite(values))
            here, rising = values[at], up[at]
            if known is None:
                values[at] = np.where(rising, np.ceil(here), np.floor(here))
                continue
            padded = np.r_[-np.inf, known, np.inf]
            above = padded[np.searchsorted(known, here, "left") + 1]
            below = padded[np.searchsorted(known, here, "right")]
            values[at] = np.where(rising, above, below)
        return values


@dataclass(eq=False)
class Reach:
    """Leaves that rows can reach, and the few cells of each column that tell them apart.

    Leaves are listed row by row and tree by tree. A *slot* is a column of one row in which its
    leaves differ; its cells are counted afresh. A leaf asks for cells ``low`` to ``high`` of some
    slots: its sides, numbered ``starts[l] : starts[l + 1]`` (none, where no other leaf of the tree
    can be reached).

    Attributes
    ----------
    n_rows : int
    leaf, row, tree : ndarray of int of shape (n_leaves,)
    starts : ndarray of int of shape (n_leaves + 1,)
    slot, low, high : ndarray of int of shape (n_sides,)
    side_leaf : ndarray of int of shape (n_sides,)
    slot_row, slot_column, home : ndarray of int of shape (n_slots,)
        ``home`` is the cell of the row itself.
    cell_starts : ndarray of int of shape (n_slots + 1,)
        Where each slot's cells begin in the lists of cells.
    point, cost : ndarray of shape (n_cells,)
        The nearest number of each cell, and its cost.
    budget : ndarray of shape (n_rows,)
    """

    n_rows: int
    leaf: np.ndarray
    row: np.ndarray
    tree: np.ndarray
    starts: np.ndarray
    slot: np.ndarray
    low: np.ndarray
    high: np.ndarray
    side_leaf: np.ndarray
    slot_row: np.ndarray
    slot_column: np.ndarray
    home: np.ndarray
    cell_starts: np.ndarray
    point: np.ndarray
    cost: np.ndarray
    budget: np.ndarray

    def cell(self, slots: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Positions in the lists of cells."""
        return self.cell_starts[slots] + cells

    def moved(self, x: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Rows (n, d) moved to the cells (n_slots,) of their slots, as little as needed."""
        z = x.copy()
        z[self.slot_row, self.slot_column] = self.point[self.cell_starts[:-1] + cells]
        return z

    def take(self, rows: np.ndarray) -> Reach:
        """The same for some rows (sorted), which are counted afresh."""
        number = np.full(self.n_rows, -1)
        number[rows] = np.arange(len(rows))
        leaves = np.flatnonzero(number[self.row] >= 0)
        slots = np.flatnonzero(number[self.slot_row] >= 0)
        counts = np.diff(self.starts)[leaves]
        sides = ranges(self.starts[leaves], counts)
        widths = np.diff(self.cell_starts)[slots]
        cells = ranges(self.cell_starts[slots], widths)
        slot_number = np.full(len(self.slot_row), -1)
        slot_number[slots] = np.arange(len(slots))
        return Reach(
            n_rows=len(rows),
            leaf=self.leaf[leaves],
            row=number[self.row[leaves]],
            tree=self.tree[leaves],
            starts=np.r_[0, np.cumsum(counts)],
            slot=slot_number[self.slot[sides]],
            low=self.low[sides],
            high=self.high[sides],
            side_leaf=np.repeat(np.arange(len(leaves)), counts),
            slot_row=number[self.slot_row[slots]],
            slot_column=self.slot_column[slots],
            home=self.home[slots],
            cell_starts=np.r_[0, np.cumsum(widths)],
            point=self.point[cells],
            cost=self.cost[cells],
            budget=self.budget[rows],
        )


def reach(forest: Forest, space: Space) -> Reach:
    """What the rows of a space can reach of a forest."""
    home, low, high = (forest.cells.of(a) for a in (space.x, space.low, space.high))
    row, tree, leaf = _leaves(forest, home, low, high)
    copies, sides = _sides(forest.boxes, leaf, row, low, high, forest.cells.is_missing(home))
    row, tree, leaf = row[copies], tree[copies], leaf[copies]
    where, column, first, last = sides
    rows = row[where]
    point = _nearest(forest, space, home, rows, column, first, last)
    cost = np.bincount(where, space.cost(rows, column, point), len(leaf))
    near = np.isfinite(cost) & (cost <= space.budget[row])
    number = np.cumsum(near) - 1
    kept = near[where] & ((first > low[rows, column]) | (last < high[rows, column]))
    row, tree, leaf = row[near], tree[near], leaf[near]
    where, column, first, last = number[where[kept]], column[kept], first[kept], last[kept]
    slots = _slots(space, home, low, high, (row[where], column, first, last), forest)
    counts = np.bincount(where, minlength=len(leaf))
    return Reach(
        n_rows=len(home), leaf=leaf, row=row, tree=tree,
        starts=np.r_[0, np.cumsum(counts)], side_leaf=where, budget=space.budget, **slots,
    )  # fmt: skip


def _leaves(forest: Forest, home, low, high) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, tree, leaf) of all leaves between low and high, sorted by row and tree."""
    n_rows, n_trees = len(home), forest.n_trees
    row, tree = (
        a.ravel() for a in np.meshgrid(np.arange(n_rows), np.arange(n_trees), indexing="ij")
    )
    node, found = forest.roots[tree], []
    while len(node):
        ends = forest.leaf[node] >= 0
        found.append((row[ends], tree[ends], forest.leaf[node[ends]]))
        row, tree, node = row[~ends], tree[~ends], node[~ends]
        left, right = _ways(forest, node, home, low, high, row)
        row, tree = np.r_[row[left], row[right]], np.r_[tree[left], tree[right]]
        node = np.r_[forest.left[node[left]], forest.right[node[right]]]
    row, tree, leaf = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(row * n_trees + tree, kind="stable")
    return row[order], tree[order], leaf[order]


def _ways(forest: Forest, node, home, low, high, row) -> tuple[np.ndarray, np.ndarray]:
    """Whether some cell between low and high goes left, and whether some goes right."""
    column, cut = forest.feature[node], forest.cut[node]
    here = home[row, column]
    left, right = low[row, column] <= cut, high[row, column] > cut
    missing = here == forest.cells.counts[column]
    goes = forest.missing_left[node]
    left, right = np.where(missing, goes, left), np.where(missing, ~goes, right)
    sets = np.flatnonzero((forest.subset[node] >= 0) & ~missing)
    if len(sets):
        upto = np.cumsum(forest.subsets, axis=1, dtype=np.int64)
        upto = np.concatenate([np.zeros((len(upto), 1), dtype=np.int64), upto], axis=1)
        number, at, cells = forest.subset[node[sets]], row[sets], column[sets]
        first, last = low[at, cells], high[at, cells]
        members = upto[number, last + 1] - upto[number, first]
        left[sets], right[sets] = members > 0, members < last - first + 1
    return left, right


def _sides(boxes: Boxes, leaf, row, low, high, missing):
    """Copies of leaves, one for each choice of runs of categories, and the sides of all copies.

    Sides are (position of the copy, column, first, last cell), cut to low and high, without
    those of missing values.
    """
    counts = boxes.starts[leaf + 1] - boxes.starts[leaf]
    side, where = ranges(boxes.starts[leaf], counts), np.repeat(np.arange(len(leaf)), counts)
    run, n_runs = boxes.run_starts[side], np.ones(len(side), dtype=np.int64)
    copies = np.arange(len(leaf))
    if len(boxes.runs) > len(boxes.column):
        run, n_runs = _runs(boxes, side, row[where], low, high, missing)
        copies, where, side, run = _multiplied(where, side, run, n_runs, counts)
    rows, column = row[copies[where]], boxes.column[side]
    first = np.maximum(boxes.runs[run, 0], low[rows, column])
    last = np.minimum(boxes.runs[run, 1], high[rows, column])
    here = ~missing[rows, column]
    return copies, [a[here] for a in (where, column, first, last)]


def _runs(boxes: Boxes, side, rows, low, high, missing):
    """The first run of each side that meets low to high, and how many do."""
    column, far = boxes.column[side], 2**31
    owner = np.repeat(np.arange(len(boxes.column)), np.diff(boxes.run_starts)) * far
    first = np.searchsorted(owner + boxes.runs[:, 1], side * far + low[rows, column])
    last = np.searchsorted(owner + boxes.runs[:, 0], side * far + high[rows, column], "right")
    gone = missing[rows, column]
    return np.where(gone, boxes.run_starts[side], first), np.where(gone, 1, last - first)


def _multiplied(where, side, run, n_runs, counts):
    """A copy of each leaf for every choice of one run per side."""
    n_leaves = len(counts)
    starts = np.cumsum(counts) - counts
    n_copies, stride = np.ones(n_leaves, dtype=np.int64), np.empty(len(side), dtype=np.int64)
    for k in range(counts.max() if n_leaves else 0):
        has = np.flatnonzero(counts > k)
        stride[starts[has] + k] = n_copies[has]
        n_copies[has] *= n_runs[starts[has] + k]
    copies = np.repeat(np.arange(n_leaves), n_copies)
    choice = ranges(np.zeros(n_leaves, dtype=np.int64), n_copies)
    picked = ranges(starts[copies], counts[copies])
    where = np.repeat(np.arange(len(copies)), counts[copies])
    digit = choice[where] // stride[picked] % n_runs[picked]
    return copies, where, side[picked], run[picked] + digit


def _nearest(forest: Forest, space: Space, home, rows, columns, first, last) -> np.ndarray:
    """The number in cells first to last that is nearest to the row's own; infinity for none."""
    cells, here = forest.cells, home[rows, columns]
    start = cells.starts[columns]
    above = cells.next_allowed[start + first]
    below = cells.previous_allowed[start + last]
    none = above > below  # no cell of these is allowed: no number will do
    above, below = np.where(none, first, above), np.where(none, last, below)
    rises, falls = here < first, here > last
    nearest = np.where(falls, cells.last[start + below], space.x[rows, columns])
    nearest = np.where(rises, cells.first[start + above], nearest)
    if space.steps:
        away = np.flatnonzero(rises | falls)
        there = space.on_steps(columns[away], nearest[away], rises[away])
        none[away] |= there > cells.last[start[away] + below[away]]
        none[away] |= there < cells.first[start[away] + above[away]]
        nearest[away] = there
    return np.where(none & (rises | falls), np.inf, nearest)


def _slots(space: Space, home, low, high, sides, forest: Forest) -> dict[str, np.ndarray]:
    """Columns of rows in which leaves differ, and their cells counted afresh."""
    row, column, first, last = sides
    width = home.shape[1]
    keys, slot = np.unique(row * width + column, return_inverse=True)
    slot_row, slot_column = keys // width, keys % width
    far = int(forest.cells.counts.max()) + 2
    # a new cell begins at the lowest one, where a side begins, and after one ends
    begins = np.r_[np.arange(len(keys)) * far + low[slot_row, slot_column], slot * far + first]
    begins = np.unique(np.r_[begins, (slot * far + last + 1)[last < high[row, column]]])
    owner = begins // far
    cell_starts = np.searchsorted(owner, np.arange(len(keys) + 1))
    number = lambda slots, cells: (
        np.searchsorted(begins, slots * far + cells, "right") - 1 - cell_starts[slots]
    )
    own_row, own_column, cells = slot_row[owner], slot_column[owner], begins % far
    ends = np.r_[begins[1:] % far - 1, 0]
    ends[cell_starts[1:] - 1] = high[slot_row, slot_column]
    point = _nearest(forest, space, home, own_row, own_column, cells, ends)
    cost = space.cost(own_row, own_column, point)
    # cells without a number that may be taken are left out
    kept = np.r_[0, np.cumsum(np.isfinite(cost))]
    count = lambda slots, cells: kept[cell_starts[slots] + cells] - kept[cell_starts[slots]]
    every = np.arange(len(keys))
    return {
        "slot": slot,
        "low": count(slot, number(slot, first)),
        "high": count(slot, number(slot, last) + 1) - 1,
        "slot_row": slot_row,
        "slot_column": slot_column,
        "home": count(every, number(every, home[slot_row, slot_column])),
        "cell_starts": kept[cell_starts],
        "point": point[np.isfinite(cost)],
        "cost": cost[np.isfinite(cost)],
    }
