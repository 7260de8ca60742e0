"""Which rows of cells reach a leaf: a box, an interval of cells for each column on its path."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from skrobust.trees._forest import Forest

__all__ = ["Boxes", "boxes_of", "ranges"]


class Boxes(NamedTuple):
    """Sides of all leaves' boxes; those of leaf ``l`` are numbered ``starts[l] : starts[l + 1]``.

    A side (column, low, high) asks for a cell from low to high. Where a path asks for a set of
    categories, the side has several runs of cells, ``runs`` (low, high), numbered
    ``run_starts[side] : run_starts[side + 1]``.
    """

    starts: np.ndarray
    column: np.ndarray
    run_starts: np.ndarray
    runs: np.ndarray


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers of all ranges ``start, ..., start + count - 1``, one range after the other."""
    ends = np.cumsum(counts)
    shift = np.repeat(starts - ends + counts, counts)
    return shift + np.arange(ends[-1] if len(ends) else 0)


def boxes_of(forest: Forest) -> Boxes:
    """The boxes of a forest's leaves, by walking from each leaf up to its root."""
    leaf, column, low, high, subset = _paths(forest)
    order = np.lexsort((column, leaf))
    leaf, column, low, high, subset = (a[order] for a in (leaf, column, low, high, subset))
    new = np.flatnonzero(np.r_[True, (np.diff(leaf) != 0) | (np.diff(column) != 0)][: len(leaf)])
    if len(new):
        low, high = np.maximum.reduceat(low, new), np.minimum.reduceat(high, new)
    runs = np.stack([low, high], axis=1)
    counts = np.ones(len(new), dtype=np.int64)
    if len(forest.subsets):
        runs, counts = _with_sets(forest, new, subset, runs, column[new])
    starts = np.searchsorted(leaf[new], np.arange(len(forest.values) + 1))
    return Boxes(starts, column[new], np.r_[0, np.cumsum(counts)], runs)


def _paths(forest: Forest):
    """One entry per leaf and node above it: what the node asks of rows that reach the leaf.

    ``subset`` is the number of a set of cells, its complement counted down from -2; -1 for none.
    """
    nodes = np.arange(len(forest.leaf))
    inner = nodes[forest.leaf < 0]
    parent = np.full(len(nodes), -1)
    parent[forest.left[inner]] = parent[forest.right[inner]] = inner
    below = nodes[forest.leaf >= 0]
    leaf = forest.leaf[below]
    found: list[tuple] = []
    while len(below):
        above = parent[below]
        keep = above >= 0
        below, above, leaf = below[keep], above[keep], leaf[keep]
        column, cut, subset = forest.feature[above], forest.cut[above], forest.subset[above]
        left, most = forest.left[above] == below, forest.cells.counts[column] - 1
        low = np.where(left | (subset >= 0), 0, cut + 1)
        high = np.where(left & (subset < 0), np.minimum(cut, most), most)
        subset = np.where(subset < 0, -1, np.where(left, subset, -2 - subset))
        found.append((leaf, column, low, high, subset))
        below = above
    return [np.concatenate(parts).astype(np.int64) for parts in zip(*found, strict=True)]


def _with_sets(forest: Forest, new: np.ndarray, subset, runs: np.ndarray, column: np.ndarray):
    """Runs of cells that lie in a side's interval and in all of its sets."""
    ends = np.r_[new[1:], len(subset)]
    found, counts = [], np.ones(len(new), dtype=np.int64)
    for side, (first, last) in enumerate(zip(new, ends, strict=True)):
        sets = subset[first:last]
        sets = sets[sets != -1]
        if not len(sets):
            found.append(runs[side : side + 1])
            continue
        inside = np.zeros(forest.cells.counts[column[side]], dtype=bool)
        inside[runs[side, 0] : runs[side, 1] + 1] = True
        for number in sets:
            members = forest.subsets[number if number >= 0 else -2 - number][: len(inside)]
            inside &= members if number >= 0 else ~members
        edges = np.flatnonzero(np.diff(np.r_[False, inside, False].astype(np.int8)))
        found.append(np.stack([edges[::2], edges[1::2] - 1], axis=1))
        counts[side] = len(found[-1])
    return np.concatenate(found).astype(np.int64), counts
