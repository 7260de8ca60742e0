"""Provers of tree models, read from within: single trees exactly, ensembles by joined trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrobust.certificates._base import Prover, Settings
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.threats import Threat
from skrobust.trees import Clock, Forest, is_separable, link_of, tree_view, upper_bounds

__all__ = ["TreeProver"]

SLACK = 1e-11  # what rounding of sums may cost, as a share of the largest possible sum


class TreeProver(Prover):
    """Leaves that a row can reach, and no others: one tree exactly, an ensemble from below.

    Single trees, random forests, gradient boosting (of histograms too), bagging and AdaBoost of
    trees, XGBoost and LightGBM, and additive models, in raw units through scalers, imputers and
    encoders. The margin of an ensemble is at least the sum over groups of four trees of the least
    that each can give (Chen et al. 2019, "Robustness verification of tree-based models",
    arXiv:1906.03849). With ``time_budget`` what this leaves open is settled exactly by
    mixed-integer programming (Kantchelian et al. 2016) as long as it lasts.

    Margins are differences of scores: shares of votes, or decision values.
    """

    name = "trees"
    levels = 2

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        self.threat = threat
        self.forest = self._suited(_read(estimator, rows), estimator)
        self.clock = None if settings.time_budget is None else Clock(settings.time_budget)
        one = self.forest.n_trees == 1
        self.exact = (one or (is_separable(self.forest) and _is_box(threat, rows))) and not (
            threat.ruled
        )
        largest = np.abs(self.forest.values).max(initial=0.0) * self.forest.n_trees
        self.slack = SLACK * (largest + np.abs(self.forest.base).max()) / self.forest.divisor

    @classmethod
    def _suited(cls, forest: Forest, estimator: Any) -> Forest:
        """The forest as it is proven; an error where it is none that the prover is for."""
        return forest

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        units = np.eye(self.forest.n_outputs)
        aims = np.broadcast_to(
            np.concatenate([units, -units]), (len(X), 2 * len(units), len(units))
        )
        bounds, _ = self._bounds(aims, X, radius, levels=0)
        high, low = bounds[:, : len(units)], -bounds[:, len(units) :]
        link = link_of(self.forest)
        return torch.as_tensor(link(low - self.slack)), torch.as_tensor(link(high + self.slack))

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        bounds, _ = self._bounds(self._aims(label), X, radius, self.levels)
        return torch.as_tensor(-bounds.max(axis=1) - self.slack)

    def gaps(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        aims, k = self._aims(label), self.forest.n_outputs
        if k > 2:  # where the label has lost, the mean of all others says more
            others = aims > 0
            aims = np.concatenate([aims, others - (1.0 - others) / (k - 1)], axis=1)
        bounds, _ = self._bounds(aims, X, radius, self.levels)
        bounds = bounds.reshape(len(X), -1, k - 1).min(axis=1)
        found = torch.full((len(X), k), torch.inf, dtype=torch.float64)
        places = torch.arange(k - 1)
        places = places + (places >= label[:, None]).long()
        return found.scatter(1, places, torch.as_tensor(-bounds - self.slack))

    def exact_rows(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        if self.exact or not self.forest.is_classifier:
            return torch.full((len(X),), self.exact)
        bounds, sure = self._bounds(self._aims(label), X, radius, self.levels)
        worst = bounds.argmax(axis=1)
        proven = bounds.max(axis=1) + self.slack < 0
        return torch.as_tensor(proven | sure[np.arange(len(X)), worst])

    def _aims(self, label: Tensor) -> np.ndarray:
        """Every other class against the label."""
        units, own = np.eye(self.forest.n_outputs), label.numpy()
        others = np.arange(self.forest.n_outputs - 1)
        others = others + (others >= own[:, None])
        return units[others] - units[own][:, None]

    def _bounds(self, aims, X: Tensor, radius: Tensor, levels: int):
        region = self.threat.region(X, radius)
        return upper_bounds(self.forest, aims, region, levels, self.clock)


def _read(estimator: Any, rows: Rows) -> Forest:
    if rows.values.ndim != 2 or rows.values.dtype == np.float16:
        raise UnsupportedEstimatorError("Trees are proven for tables of float32 or float64 rows.")
    forest = tree_view(estimator, rows.values.dtype, rows.column_types, rows.categories)
    if forest is None:
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__} is not made of trees, or a step before them mixes columns."
        )
    return forest


def _is_box(threat: Threat, rows: Rows) -> bool:
    region = threat.region(torch.as_tensor(rows.values[:1].astype(np.float64)), 1.0)
    norm = getattr(getattr(region, "ball", region), "norm", None)
    return norm is None or norm.is_box
