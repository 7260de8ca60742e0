"""Trees that ask for one column each, added up: one tree for each column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skrobust.trees._forest import Forest

__all__ = ["as_sum", "is_separable", "one_of_each_cell"]


def columns_of(forest: Forest) -> list[np.ndarray]:
    """The columns that each tree asks for."""
    inner = np.flatnonzero(forest.feature >= 0)
    tree = np.searchsorted(forest.roots, inner, side="right") - 1
    return [np.unique(forest.feature[inner[tree == number]]) for number in range(forest.n_trees)]


def is_separable(forest: Forest) -> bool:
    """Whether each tree asks for one column that no other tree asks for: an additive model.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skrobust.trees import tree_view
    >>> X, y = load_iris(return_X_y=True)
    >>> is_separable(tree_view(DecisionTreeClassifier(max_depth=1).fit(X, y)))
    True
    """
    asked = columns_of(forest)
    every = np.concatenate(asked) if asked else np.empty(0)
    return all(len(own) <= 1 for own in asked) and len(np.unique(every)) == len(every)


def as_sum(forest: Forest) -> Forest | None:
    """The same model as one tree for each column, if each of its trees asks for one; else None.

    Boosted stumps are such models. Sums are rounded in another order than in ``forest``.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import GradientBoostingClassifier
    >>> from skrobust.trees import tree_view
    >>> X, y = load_iris(return_X_y=True)
    >>> stumps = GradientBoostingClassifier(max_depth=1, n_estimators=20, random_state=0)
    >>> as_sum(tree_view(stumps.fit(X, y == 1)))
    Forest(2 trees, 8 leaves)
    """
    if is_separable(forest):
        return forest
    asked = columns_of(forest)
    if any(len(own) > 1 for own in asked):
        return None
    leaves = forest.leaves(one_of_each_cell(forest))
    base, tables = forest.base.copy(), {}
    for tree, own in enumerate(asked):
        values = forest.values[leaves[tree]]
        if not len(own):
            base = base + values[0]
            continue
        count = int(forest.cells.counts[own[0]])
        column = int(own[0])
        tables[column] = tables.get(column, 0.0) + values[: count + 1]
    trees = _Trees()
    roots = [trees.of_column(column, table) for column, table in sorted(tables.items())]
    return replace(forest, roots=np.array(roots, dtype=np.int64), base=base, **trees.arrays())


def one_of_each_cell(forest: Forest) -> np.ndarray:
    """Rows that hold, down each column, a number of each of its cells, and then a missing value."""
    cells = forest.cells
    rows = np.full((int(cells.counts.max()) + 1, len(cells)), np.nan, dtype=cells.dtype)
    for column, (start, count) in enumerate(zip(cells.starts[:-1], cells.counts, strict=True)):
        last = cells.first[start + count - 1]  # the last cell has no end
        last = 0.0 if np.isinf(last) else last
        rows[:count, column] = np.r_[cells.last[start : start + count - 1], last]
    return rows


class _Trees:
    """Searches among the cells of columns, collected as the arrays of a forest."""

    def __init__(self):
        self.nodes: list[list] = []  # feature, cut, missing_left, left, right
        self.values: list[np.ndarray] = []
        self.leaf: list[int] = []

    def of_column(self, column: int, table: np.ndarray) -> int:
        """``table`` (n_cells + 1, n_outputs), missing values last; the number of the root."""
        top = len(table) - 2
        root = self._node(column, top, False)
        self.nodes[root][3] = self._grow(column, table, 0, top)
        self.nodes[root][4] = self._leaf(table[-1])
        return root

    def _grow(self, column: int, table: np.ndarray, low: int, high: int) -> int:
        if low == high:
            return self._leaf(table[low])
        middle = (low + high) // 2
        at = self._node(column, middle, True)
        self.nodes[at][3] = self._grow(column, table, low, middle)
        self.nodes[at][4] = self._grow(column, table, middle + 1, high)
        return at

    def _node(self, column: int, cut: int, missing_left: bool) -> int:
        self.nodes.append([column, cut, missing_left, len(self.nodes), len(self.nodes)])
        self.leaf.append(-1)
        return len(self.nodes) - 1

    def _leaf(self, value: np.ndarray) -> int:
        at = self._node(-1, 0, True)
        self.leaf[at] = len(self.values)
        self.values.append(value)
        return at

    def arrays(self) -> dict[str, np.ndarray]:
        feature, cut, missing, left, right = (
            np.array(part) for part in zip(*self.nodes, strict=True)
        )
        return {
            "feature": feature.astype(np.int32),
            "cut": cut.astype(np.int32),
            "missing_left": missing.astype(bool),
            "left": left.astype(np.int32),
            "right": right.astype(np.int32),
            "leaf": np.array(self.leaf, dtype=np.int32),
            "subset": np.full(len(feature), -1, dtype=np.int32),
            "values": np.array(self.values),
        }
