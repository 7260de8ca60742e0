"""A fitted tree model as plain arrays, the same for every library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from skrobust.trees._boxes import Boxes, boxes_of
from skrobust.trees._cells import Cells

__all__ = ["Forest", "link_of"]

LINKS = {
    "identity": lambda scores: scores,
    "exp": np.exp,
    # votes of 0 are common in forests: the smallest normal number stands for them
    "log": lambda scores: np.log(np.clip(scores, np.finfo(np.float64).tiny, None)),
}


def link_of(forest: Forest):
    """From scores to outputs, number by number; it never falls."""
    return LINKS[forest.link]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees over cells: a row is located in the cells of each column, and a node asks for one.

    ``outputs = link((base + sum over trees of the leaf's values) / divisor)``

    Attributes
    ----------
    cells : Cells
        The cells of each column of X; scalers, imputers and encoders before the trees are
        already part of their borders.
    feature : ndarray of int of shape (n_nodes,)
        Column that a node asks for; -1 at leaves.
    cut : ndarray of int of shape (n_nodes,)
        A row goes left where its cell is <= the cut.
    subset : ndarray of int of shape (n_nodes,)
        Row of ``subsets`` (n_subsets, n_cells), the cells that go left, for nodes that split
        categories; -1 for others.
    missing_left : ndarray of bool of shape (n_nodes,)
    left, right : ndarray of int of shape (n_nodes,)
        Children; a leaf is its own child.
    leaf : ndarray of int of shape (n_nodes,)
        Number of the leaf; -1 at inner nodes.
    roots : ndarray of int of shape (n_trees,)
    values : ndarray of shape (n_leaves, n_outputs)
        What each leaf adds; a classifier has one column per class.
    base : ndarray of shape (n_outputs,)
    divisor : float
        Number of trees where they are averaged, 1 where they are added.
    link : {"identity", "exp", "log"}
    is_classifier : bool
    """

    cells: Cells
    feature: np.ndarray
    cut: np.ndarray
    subset: np.ndarray
    subsets: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    leaf: np.ndarray
    roots: np.ndarray
    values: np.ndarray
    base: np.ndarray
    divisor: float
    link: str
    is_classifier: bool

    @property
    def n_trees(self) -> int:
        return len(self.roots)

    @property
    def n_outputs(self) -> int:
        return len(self.base)

    @property
    def n_features(self) -> int:
        return len(self.cells)

    @cached_property
    def boxes(self) -> Boxes:
        """Which cells lead to each leaf."""
        return boxes_of(self)

    def searcher(self, n_queries: int = 1000):
        """The attack that reads trees, about as thorough as that many queries of a black box."""
        from skrobust.trees._attack import TreeSearch

        n_rounds = max(1, n_queries // 200)
        if n_queries < 5000:
            return TreeSearch(n_rounds=n_rounds)
        return TreeSearch(n_rounds=n_rounds, n_targets=None, exact=1000, time_limit=2.0)

    def __repr__(self) -> str:
        return f"Forest({self.n_trees} trees, {len(self.values)} leaves)"

    def goes_left(self, nodes: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Whether a row in the cell (of the node's column) goes left."""
        left = cells <= self.cut[nodes]
        missing = cells == self.cells.counts[self.feature[nodes]]
        left = np.where(missing, self.missing_left[nodes], left)
        if len(self.subsets):
            asked = np.flatnonzero((self.subset[nodes] >= 0) & ~missing)
            left[asked] = self.subsets[self.subset[nodes[asked]], cells[asked]]
        return left

    def leaves(self, X: np.ndarray) -> np.ndarray:
        """Number of the leaf that each row takes in each tree, (n_trees, n)."""
        cells = self.cells.of(np.asarray(X))
        at = np.repeat(self.roots, len(cells))
        rows = np.tile(np.arange(len(cells)), len(self.roots))
        on = np.flatnonzero(self.leaf[at] < 0)
        while len(on):
            nodes = at[on]
            left = self.goes_left(nodes, cells[rows[on], self.feature[nodes]])
            at[on] = np.where(left, self.left[nodes], self.right[nodes])
            on = on[self.leaf[at[on]] < 0]
        return self.leaf[at].reshape(len(self.roots), len(cells))

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Outputs before the link (n, n_outputs); trees are added in their order."""
        total = np.tile(self.base, (len(X), 1))
        for leaves in self.leaves(X):
            total += self.values[leaves]
        return total / self.divisor

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Values (n, n_outputs), or logits: log shares of votes, or decision values."""
        return LINKS[self.link](self.scores(X))

    def forward(self, z: Tensor) -> Tensor:
        """:meth:`outputs` of rows that are tensors."""
        return torch.as_tensor(self.outputs(z.detach().cpu().numpy()))
