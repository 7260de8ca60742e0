"""Fitted trees, read once and searched from within."""

from skrobust.trees._attack import TreeSearch, WorstRows, worst_rows
from skrobust.trees._build import tree_view
from skrobust.trees._forest import Forest
from skrobust.trees._read import Model, Nodes

__all__ = ["Forest", "Model", "Nodes", "TreeSearch", "WorstRows", "tree_view", "worst_rows"]
