"""Fitted trees, read once and searched from within."""

from skrobust.trees._attack import TreeSearch, WorstRows, worst_rows
from skrobust.trees._bounds import Clock, upper_bounds
from skrobust.trees._build import tree_view
from skrobust.trees._forest import Forest, link_of
from skrobust.trees._read import Model, Nodes
from skrobust.trees._sums import as_sum, is_separable, one_of_each_cell

__all__ = [
    "Clock",
    "Forest",
    "Model",
    "Nodes",
    "TreeSearch",
    "WorstRows",
    "as_sum",
    "is_separable",
    "link_of",
    "one_of_each_cell",
    "tree_view",
    "upper_bounds",
    "worst_rows",
]
