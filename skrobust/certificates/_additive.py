"""Additive models: each column finds its worst by itself."""

from __future__ import annotations

from typing import Any

from skrobust.certificates._base import Settings
from skrobust.certificates._trees import TreeProver
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.threats import Threat
from skrobust.trees import is_separable

__all__ = ["AdditiveProver"]


class AdditiveProver(TreeProver):
    """Sums of functions of single columns: exact in boxes, nearly so in l1 and l2 balls.

    ``module="additive"``, boosted stumps, and any other trees that ask for one column each, no two
    of them for the same. In a box (linf, with any scales, bounds, frozen and one-way columns) the
    worst margin is the sum of each column's worst, exactly. In l1 and l2 balls the columns share a
    budget; the best price of it gives a lower bound (weak duality), which is off by no more than
    what one column can give. ``exact`` says of which rows the answer is settled all the same.
    """

    name = "additive"

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        super().__init__(estimator, threat, rows, settings)
        if not is_separable(self.forest):
            raise UnsupportedEstimatorError(
                f"The trees of {type(estimator).__name__} ask for several columns each, or for the "
                "same ones: it is no sum of functions of single columns."
            )
