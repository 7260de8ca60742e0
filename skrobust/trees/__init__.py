"""Fitted trees, read once and searched from within."""

from skrobust.trees._attack import TreeSearch, WorstRows, worst_rows
from skrobust.trees._build import tree_view
from skrobust.trees._forest import Forest

__all__ = ["Forest", "TreeSearch", "WorstRows", "tree_view", "worst_rows"]
