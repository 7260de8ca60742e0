"""Sound bounds of tree ensembles: no place of a region has a larger sum of leaves."""

from __future__ import annotations

import time

import numpy as np
import torch

from skrobust.threats import Region
from skrobust.trees._climb import TOLERANCE, Ascent
from skrobust.trees._exact import solve, tree_bounds
from skrobust.trees._forest import Forest
from skrobust.trees._reach import Reach, Space, reach
from skrobust.trees._rules import changed, is_enumerated, leaps_of

__all__ = ["Clock", "is_separable", "upper_bounds"]

MOST_PAIRS = 30_000  # boxes that one merging of two groups of trees may give


class Clock:
    """Seconds that exact proofs may take in all."""

    def __init__(self, seconds: float | None):
        self.end = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        return 0.0 if self.end is None else max(0.0, self.end - time.monotonic())


def is_separable(forest: Forest) -> bool:
    """Whether each tree asks for one column that no other tree asks for: an additive model.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skrobust.trees import tree_view
    >>> X, y = load_iris(return_X_y=True)
    >>> is_separable(tree_view(DecisionTreeClassifier(max_depth=1).fit(X, y)))
    True
    """
    inner = np.flatnonzero(forest.feature >= 0)
    tree = np.searchsorted(forest.roots, inner, side="right") - 1
    pairs = np.unique(np.stack([tree, forest.feature[inner]], axis=1), axis=0)
    return len(np.unique(pairs[:, 0])) == len(pairs) == len(np.unique(pairs[:, 1]))


def upper_bounds(
    forest: Forest, aims: np.ndarray, region: Region, levels: int = 2, clock: Clock | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n, n_aims) of ``aim . scores`` within the region, and which of them are exact.

    ``aims`` (n, n_aims, n_outputs) weigh the scores (before the link). Level 0 adds up the largest
    reachable leaf of each tree; each further level first joins groups of trees two by two, keeping
    the pairs of leaves whose boxes meet within the region (Chen et al. 2019, "Robustness
    verification of tree-based models", arXiv:1906.03849). While the ``clock`` runs, bounds that
    are not below 0 are settled by mixed-integer programming.

    Categories that may change are gone through one by one; where several may at once, or rules tie
    columns together, the bound is that of the trees wherever the row goes.
    """
    every = np.arange(len(aims))
    bounds, exact = _within(forest, aims, region, None, every, levels, clock)
    for leap in leaps_of(region):
        base, rows = changed(region, region.x, leap)
        rows = rows.cpu().numpy()
        if len(rows):
            there, sure = _within(forest, aims, region, base, rows, levels, clock)
            bounds[rows] = np.maximum(bounds[rows], there)
            exact[rows] &= sure
    if not is_enumerated(region):
        bounds, exact = _anywhere(forest, aims), np.zeros_like(exact)
    return bounds, exact


def _anywhere(forest: Forest, aims: np.ndarray) -> np.ndarray:
    """The largest sum of all, wherever the row."""
    most = np.einsum("nak,lk->nal", aims, forest.values)
    tree = np.searchsorted(forest.roots, np.flatnonzero(forest.leaf >= 0), "right") - 1
    starts = np.searchsorted(tree, np.arange(forest.n_trees))
    most = np.maximum.reduceat(most, starts, axis=2).sum(axis=2)
    return (aims @ forest.base + most) / forest.divisor


def _within(forest, aims, region, base, rows, levels, clock):
    """Bounds of ``rows``, as they are or as they are in ``base``, a few at a time."""
    size = int(np.clip(2**18 // max(1, len(forest.values)), 1, 1024))
    separable, box = is_separable(forest), _is_box(region)
    alone = forest.n_trees == 1 or (separable and box)
    bounds, exact = [], []
    for low in range(0, len(rows), size):
        part = rows[low : low + size]
        index = torch.as_tensor(part, device=region.x.device)
        given = None if base is None else base[low : low + size]
        found = reach(forest, Space(region.take(index), given))
        bound = _summed(forest, aims[part], found)
        sure = np.full(bound.shape, alone)
        if separable and not alone:
            bound, sure = _priced(forest, aims[part], found)
            _settle(forest, aims[part], found, bound, sure, clock)
        elif not alone:
            _tighten(forest, aims[part], found, bound, sure, levels, clock)
        bounds.append(bound)
        exact.append(sure)
    shape = (0, aims.shape[1])
    return (
        np.concatenate([np.empty(shape), *bounds]),
        np.concatenate([np.empty(shape, dtype=bool), *exact]),
    )


def _is_box(region: Region) -> bool:
    norm = getattr(getattr(region, "ball", region), "norm", None)
    return norm is None or norm.is_box


def _gains(forest: Forest, aims: np.ndarray, part: Reach, aim: int) -> np.ndarray:
    return np.einsum("lk,lk->l", forest.values[part.leaf], aims[part.row, aim])


def _summed(forest: Forest, aims: np.ndarray, part: Reach) -> np.ndarray:
    sums = [tree_bounds(part, _gains(forest, aims, part, a)) for a in range(aims.shape[1])]
    return (aims @ forest.base + np.stack(sums, axis=1)) / forest.divisor


def _tighten(forest, aims, found: Reach, bound, sure, levels, clock) -> None:
    """Joined trees, row by row, where a bound is not below 0 yet."""
    offset = aims @ forest.base
    for row in np.flatnonzero((bound >= 0).any(axis=1)):
        part = found.take(np.array([row]))
        if not len(part.slot_row):  # nothing can change
            sure[row] = True
            continue
        open_ = np.flatnonzero(bound[row] >= 0)
        gains = forest.values[part.leaf] @ aims[row, open_].T
        best = (offset[row, open_] + joined(part, gains, levels)) / forest.divisor
        bound[row, open_] = np.minimum(bound[row, open_], best)
    _settle(forest, aims, found, bound, sure, clock)


def _settle(forest, aims, found: Reach, bound, sure, clock: Clock | None) -> None:
    """What is still open, by mixed-integer programming, as long as the clock runs."""
    if clock is None:
        return
    offset = aims @ forest.base
    for row, aim in zip(*np.nonzero((bound >= 0) & ~sure), strict=True):
        if not clock.left:
            return
        part = found.take(np.array([row]))
        gains = forest.values[part.leaf] @ aims[row, aim]
        solved = solve(part, gains, min(clock.left, 10.0))
        slack = TOLERANCE * np.abs(gains).max() * forest.n_trees  # of the solver's arithmetic
        proven = solved.bound + slack
        bound[row, aim] = min(bound[row, aim], (offset[row, aim] + proven) / forest.divisor)
        if solved.cells is not None:
            value = Ascent(part, gains[None]).value(solved.cells[None])[0]
            sure[row, aim] = offset[row, aim] + value >= 0 or solved.bound <= value + slack


def _priced(forest: Forest, aims: np.ndarray, part: Reach) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of an additive model in a ball, and which of them have a sign that is the truth.

    Columns share the budget of a row. For any price t of the way,

        max of the sum  <=  t * budget + sum over columns of max over leaves of gain - t * cost

    and the smallest such bound is found by bisection on what would be spent at a price. What can be
    had for the budget is a true value, so that a bound whose sign it shares is settled.
    """
    near = part.cell_starts[part.slot] + np.clip(part.home[part.slot], part.low, part.high)
    cost = np.bincount(part.side_leaf, part.cost[near], len(part.leaf))
    budget = part.budget[part.row] * (1 + 1e-12)
    new = np.flatnonzero(np.r_[True, (np.diff(part.tree) != 0) | (np.diff(part.row) != 0)])
    group = np.cumsum(np.r_[False, (np.diff(part.tree) != 0) | (np.diff(part.row) != 0)])
    share = np.where(budget > 0, cost / np.where(budget > 0, budget, 1.0), np.where(cost > 0, 2, 0))
    bounds, values = [], []
    for aim in range(aims.shape[1]):
        gains = np.where(share <= 1, _gains(forest, aims, part, aim), -np.inf)
        found = _least_price(gains, share, part, new, group)
        bounds.append(found[0])
        values.append(found[1])
    offset = aims @ forest.base
    bound, value = ((offset + np.stack(sums, axis=1)) / forest.divisor for sums in (bounds, values))
    return bound, (value >= 0) | (bound <= value)


def _least_price(gains, share, part: Reach, new, group):
    """The least bound (n_rows,) over prices, and the largest sum that was within the budget."""
    rows = part.row[new]
    stay = np.maximum.reduceat(np.where(share == 0, gains, -np.inf), new)[group]
    with np.errstate(divide="ignore", invalid="ignore"):
        steep = np.where(share > 0, (gains - stay) / share, 0.0)
    high = np.zeros(part.n_rows)
    np.maximum.at(high, part.row, np.nan_to_num(steep, neginf=0.0))
    low, bound = np.zeros(part.n_rows), np.full(part.n_rows, np.inf)
    value = np.full(part.n_rows, -np.inf)
    for turn in range(40):
        price = high if turn == 1 else np.zeros_like(high) if turn == 0 else (low + high) / 2
        worth = gains - price[part.row] * share
        top = np.maximum.reduceat(worth, new)
        best = np.flatnonzero(worth == top[group])
        best = best[np.r_[True, np.diff(group[best]) != 0]]  # the first of each group
        spent = np.bincount(rows, share[best], part.n_rows)
        bound = np.minimum(bound, price + np.bincount(rows, top, part.n_rows))
        fits = spent <= 1
        total = np.bincount(rows, gains[best], part.n_rows)
        value = np.where(fits, np.maximum(value, total), value)
        high, low = np.where(fits, np.minimum(high, price), high), np.where(fits, low, price)
    return bound, value


class _Group:
    """Boxes of one or several trees within one row's region: cells of each slot, and gains."""

    def __init__(self, low: np.ndarray, high: np.ndarray, gains: np.ndarray):
        self.low, self.high, self.gains = low, high, gains


def joined(part: Reach, gains: np.ndarray, levels: int) -> np.ndarray:
    """Sum over groups of ``2 ** levels`` trees of the largest gain (n_aims,) of boxes that meet.

    ``part`` is the reach of one row, ``gains`` (n_leaves, n_aims).
    """
    groups = _groups(part, gains)
    for _ in range(levels):
        if len(groups) < 2:
            break
        pairs = zip(groups[::2], groups[1::2], strict=False)
        merged = [_merged(one, other, part) for one, other in pairs]
        if all(done is None for done in merged):
            break
        left = [[groups[-1]]] if len(groups) % 2 else []
        both = [
            [done] if done is not None else [groups[2 * k], groups[2 * k + 1]]
            for k, done in enumerate(merged)
        ]
        groups = [group for some in both + left for group in some]
    return sum(group.gains.max(axis=0) for group in groups)


def _groups(part: Reach, gains: np.ndarray) -> list[_Group]:
    """The trees one by one, those without choice as one."""
    n_slots, n_leaves = len(part.slot_row), len(part.leaf)
    top = (np.diff(part.cell_starts) - 1).astype(np.int32)
    low = np.zeros((n_leaves, n_slots), dtype=np.int32)
    high = np.tile(top, (n_leaves, 1))
    low[part.side_leaf, part.slot], high[part.side_leaf, part.slot] = part.low, part.high
    starts = np.flatnonzero(np.r_[True, np.diff(part.tree) != 0])
    sizes = np.diff(np.r_[starts, n_leaves])
    single = starts[sizes == 1]
    found = []
    for start, size in zip(starts, sizes, strict=True):
        if size > 1:
            rows = slice(start, start + size)
            found.append(_Group(low[rows], high[rows], gains[rows]))
    found.sort(key=lambda group: -np.ptp(group.gains, axis=0).max())
    if len(single):
        whole = np.zeros((1, n_slots), dtype=np.int32)
        found.append(_Group(whole, top[None], gains[single].sum(axis=0, keepdims=True)))
    return found


def _merged(one: _Group, other: _Group, part: Reach) -> _Group | None:
    """Pairs of boxes that meet within the budget; None where there would be too many."""
    n_one, n_other = len(one.gains), len(other.gains)
    if n_one * n_other > MOST_PAIRS:
        return None
    meet = np.ones((n_one, n_other), dtype=bool)
    for slot in range(one.low.shape[1]):
        meet &= one.low[:, slot, None] <= other.high[None, :, slot]
        meet &= other.low[None, :, slot] <= one.high[:, slot, None]
    i, j = np.nonzero(meet)
    low, high = np.maximum(one.low[i], other.low[j]), np.minimum(one.high[i], other.high[j])
    kept = np.ones(len(i), dtype=bool)
    near = np.clip(part.home, low, high)
    cost = part.cost[part.cell_starts[:-1] + near]
    kept = (cost.sum(axis=1) <= part.budget[0] * (1 + 1e-12)) if cost.size else kept
    kept &= np.isfinite(cost).all(axis=1) if cost.size else True
    return _Group(low[kept], high[kept], (one.gains[i] + other.gains[j])[kept])
