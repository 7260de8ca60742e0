"""Additive models: each column finds its worst by itself."""

from __future__ import annotations

from typing import Any

from skrobust.certificates._trees import TreeProver
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.trees import Forest, as_sum

__all__ = ["AdditiveProver"]


class AdditiveProver(TreeProver):
    """Sums of functions of single columns: exact in boxes, nearly so in l1 and l2 balls.

    ``module="additive"``, boosted stumps, and any other trees that ask for one column each. In a box (linf, with any scales, bounds, frozen and one-way columns) the
    worst margin is the sum of each column's worst, exactly. In l1 and l2 balls the columns share a
    budget; the best price of it gives a lower bound (weak duality), which is off by no more than
    what one column can give. ``exact`` says of which rows the answer is settled all the same.
    """

    name = "additive"

    @classmethod
    def _suited(cls, forest: Forest, estimator: Any) -> Forest:
        found = as_sum(forest)
        if found is None:
            raise UnsupportedEstimatorError(
                f"The trees of {type(estimator).__name__} ask for several columns each: it is no sum "
                "of functions of single columns."
            )
        return found
