"""Fitted trees, read once and searched from within."""

from skrobust.trees._attack import TreeSearch, WorstRows, worst_rows
from skrobust.trees._bounds import Clock, is_separable, upper_bounds
from skrobust.trees._build import tree_view
from skrobust.trees._forest import Forest, link_of
from skrobust.trees._read import Model, Nodes

__all__ = [
    "Clock",
    "Forest",
    "Model",
    "Nodes",
    "TreeSearch",
    "WorstRows",
    "is_separable",
    "link_of",
    "tree_view",
    "upper_bounds",
    "worst_rows",
]
