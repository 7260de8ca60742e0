"""Sound bounds of tree ensembles: no place of a region has a larger sum of leaves."""

from __future__ import annotations

import time

import numpy as np
import torch

from skrobust.threats import Region
from skrobust.trees._exact import solve, tree_bounds
from skrobust.trees._forest import Forest
from skrobust.trees._reach import Reach, Space, reach
from skrobust.trees._rules import changed, is_enumerated, leaps_of

__all__ = ["Clock", "is_separable", "upper_bounds"]

MOST_PAIRS = 100_000  # boxes that one merging of two groups of trees may give


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
    alone = forest.n_trees == 1 or (is_separable(forest) and _is_box(region))
    bounds, exact = [], []
    for low in range(0, len(rows), size):
        part = rows[low : low + size]
        index = torch.as_tensor(part, device=region.x.device)
        given = None if base is None else base[low : low + size]
        found = reach(forest, Space(region.take(index), given))
        bound = _summed(forest, aims[part], found)
        sure = np.full(bound.shape, alone)
        if not alone:
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
    """Joined trees, row by row; only where a bound is not below 0 yet and another may help."""
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
        for column, aim in enumerate(open_):
            if clock is None or bound[row, aim] < 0 or not clock.left:
                continue
            solved = solve(part, gains[:, column], min(clock.left, 10.0))
            proven = (offset[row, aim] + solved.bound) / forest.divisor
            sure[row, aim] = clock.left > 0 and solved.cells is not None
            bound[row, aim] = min(bound[row, aim], proven)


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
