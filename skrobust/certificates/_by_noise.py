"""The prover of smoothed models: bounds from votes and order statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrobust._torch import to_numpy
from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._gaussian import reach
from skrobust.certificates._noise import lower_share, shifted
from skrobust.certificates._smoothed import BaseSmoothed
from skrobust.certificates._smoothed_classifier import SmoothedClassifier
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._rows import Rows
from skrobust.threats import Threat

__all__ = ["ByNoise"]

ROOM = 1 - 1e-9  # radii are rounded down by more than floats lose


class ByNoise(Prover):
    """What a :class:`SmoothedClassifier` or :class:`SmoothedRegressor` promises of itself.

    Outputs of a classifier are its smoothed probabilities. All statements about one row hold
    together with probability ``confidence``.
    """

    name = "noise"

    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        if not isinstance(estimator, BaseSmoothed):
            last = getattr(estimator, "steps", [(None, None)])[-1][1]
            if isinstance(last, BaseSmoothed):
                raise UnsupportedEstimatorError(
                    f"{type(last).__name__} inside a Pipeline adds its noise to transformed rows, "
                    "and the radius speaks of raw ones: smooth the whole Pipeline instead."
                )
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} is no smoothed model: wrap it in SmoothedClassifier "
                "or SmoothedRegressor."
            )
        self.model = copy.copy(estimator)
        self.model.confidence = self.confidence = settings.confidence
        self.rows = rows
        self.reach = reach(threat, rows.values, self.model.noise_.std)
        self._seen: dict[tuple[str, bytes], np.ndarray] = {}

    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        values, length = to_numpy(X), self.reach * to_numpy(radius)
        if isinstance(self.model, SmoothedClassifier):
            votes = self._once("votes", values, partial(self._votes, "estimate"))
            bounds = self.model._shares_within(votes, length)
        else:
            answers = self._once("answers", values, partial(self.model._answers, self.rows))
            bounds = self.model._within(answers, length)
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in bounds)
        return low, high

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        """Twice what is left of the share of the class after all that a majority needs; -1 for
        every class but the chosen one."""
        chosen, share = self._chosen(to_numpy(X))
        kept = shifted(share, -self.reach * to_numpy(radius))
        left = 2 * (kept - self.model._needed())
        return torch.as_tensor(np.where(chosen == to_numpy(label), left, -1.0))

    def largest(self, X: Tensor, label: Tensor) -> Tensor | None:
        """``noise length / reach``: how long a move must be, in steps of this threat."""
        if not isinstance(self.model, SmoothedClassifier):
            return None
        chosen, share = self._chosen(to_numpy(X))
        length = self.model._length(share)
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = np.where(length > 0, ROOM * length / self.reach, 0.0)
        return torch.as_tensor(np.where(chosen == to_numpy(label), radius, 0.0))

    def _votes(self, stream: str, values: np.ndarray) -> np.ndarray:
        return self.model._votes(self.rows, values, stream)

    def _chosen(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class that the first sample chose, and the limit of its share by the second."""
        first = self._once("first votes", values, partial(self._votes, "select"))
        votes = self._once("votes", values, partial(self._votes, "estimate"))
        chosen = first.argmax(axis=1)
        count = votes[np.arange(len(chosen)), chosen]
        return chosen, lower_share(count, self.model.n_samples, self.model._doubts()[0])

    def _once(self, what: str, values: np.ndarray, sample: Callable[[np.ndarray], Any]) -> Any:
        """``sample`` of each row; a row is asked about once, for it would answer the same again."""
        keys = [(what, row.tobytes()) for row in np.ascontiguousarray(values)]
        fresh = [i for i, key in enumerate(keys) if key not in self._seen]
        if fresh:
            found = sample(values[fresh])
            self._seen.update((keys[i], one) for i, one in zip(fresh, found, strict=True))
        return np.stack([self._seen[key] for key in keys])
