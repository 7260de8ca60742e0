"""One estimator, rows and targets, made ready to be proven at any radius."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrobust._params import check_number
from skrobust._torch import to_numpy
from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._check import find_prover
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows
from skrobust.metrics._tasks import (
    _answers,
    _classes,
    _coded,
    _labels,
    _same_length,
    _values,
    is_regression,
)
from skrobust.threats import check_threat

__all__ = ["Proof", "search"]

FARTHEST, NEAREST = 2.0**50, 2.0**-50


class Proof:
    """What ``certify`` and the scores share.

    Attributes
    ----------
    rows, threat, prover
        The parsed arguments.
    prediction : ndarray of shape (n,) or (n, n_outputs)
        The estimator's own.
    codes : Tensor of shape (n,)
        Class numbers of the predictions (classifiers).
    right : ndarray of bool of shape (n,)
        Whether the prediction is the label given; all True without labels.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        threat: Any,
        method: Any,
        settings: Settings,
        tolerance: float | None = None,
    ):
        if isinstance(estimator, type):
            raise TypeError(f"{estimator.__name__} is a class: pass a fitted instance of it.")
        self.threat = check_threat(threat)
        self.rows = Rows(X, self.threat.categories)
        self.threat = self.threat.holding(sorted(self.rows.categories))
        self.X = torch.as_tensor(self.rows.values.astype(np.float64))
        self.threat.region(self.X, 0.0)  # an unbound threat, or rows outside, are errors first
        self.is_regression = is_regression(estimator)
        if tolerance is not None:
            self._check_tolerance(tolerance)
        self.tolerance = np.inf if tolerance is None else float(tolerance)
        self.prover: Prover = find_prover(method, estimator, self.threat, self.rows, settings)
        answers = _answers(estimator, self.rows.given)
        if self.is_regression:
            self._read_values(answers, y)
        else:
            self._read_labels(estimator, answers, y)

    def margin(self, radius: float | Tensor, rows: Tensor | None = None) -> Tensor:
        """What is positive for rows that are proven: logit margin, or tolerance that is left."""
        rows = torch.arange(len(self.X)) if rows is None else rows
        radius = torch.as_tensor(radius, dtype=torch.float64).expand(len(rows))
        if not self.is_regression:
            return self.prover.margin(self.X[rows], self.codes[rows], radius)
        low, high = self.prover.outputs(self.X[rows], radius)
        center = self.center[rows]
        return self.tolerance - torch.maximum(high - center, center - low).amax(dim=1)

    def largest(self) -> np.ndarray:
        """The largest radius (n,) proven for each prediction (NaN: nothing is asked to hold)."""
        if self.is_regression:
            if not np.isfinite(self.tolerance):
                return np.full(len(self.X), np.nan)
        else:
            known = self.prover.largest(self.X, self.codes)
            if known is not None:
                return to_numpy(known)
        return search(
            lambda rows, radius: self.margin(radius, rows), len(self.X), self.prover.precision
        )

    def outputs(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        given = torch.full((len(self.X),), radius, dtype=torch.float64)
        return tuple(map(to_numpy, self.prover.outputs(self.X, given)))

    def exact(self, radius: float) -> np.ndarray:
        """Of which rows the answer is the truth, not a lower bound of it."""
        given = torch.full((len(self.X),), radius, dtype=torch.float64)
        codes = torch.zeros(len(self.X)).long() if self.is_regression else self.codes
        return to_numpy(self.prover.exact_rows(self.X, codes, given))

    def _read_values(self, answers: np.ndarray | None, y: Any) -> None:
        if answers is None:
            answers = self.outputs(0.0)[0]
        self.prediction = answers
        self.y = None if y is None else _values(y)
        self.center = torch.as_tensor(answers.reshape(len(self.X), -1).astype(np.float64))
        if self.y is not None:
            _same_length(self.rows, self.y)
            if self.y.shape != self.center.shape:
                raise ValueError(
                    f"y has {self.y.shape[1]} output(s) for each row, but the model predicts "
                    f"{self.center.shape[1]}."
                )
            self.center = torch.as_tensor(self.y)
        self.right = np.ones(len(self.X), dtype=bool)

    def _read_labels(self, estimator: Any, answers: np.ndarray | None, y: Any) -> None:
        self.labels = None if y is None else _labels(y)
        if self.labels is not None:
            _same_length(self.rows, self.labels)
        logits = self.outputs(0.0)[0] if answers is None or _classes(estimator) is None else None
        classes = _classes(estimator) or list(range(logits.shape[1]))
        if answers is None:
            answers = np.asarray(classes)[logits.argmax(axis=1)]
        self.classes, self.prediction = classes, answers
        codes = _coded(answers, classes)
        self.codes = torch.as_tensor(codes)
        self.right = np.ones(len(codes), dtype=bool)
        if self.labels is not None:
            self.right = codes == _coded(self.labels, classes)

    def _check_tolerance(self, tolerance: Any) -> None:
        if not self.is_regression:
            raise invalid("tolerance", tolerance, "None for a classifier", "It is for regressors.")
        check_number("tolerance", tolerance, low=0)


def search(margin: Callable[[Tensor, Tensor], Tensor], n: int, precision: float) -> np.ndarray:
    """The largest radius found at which each row's margin is positive.

    ``margin(rows, radius)`` is asked for the rows that are not settled. 0 where it is not positive
    at 0, infinity where it is at 2^50. What is returned was itself proven, however the margin
    behaves in between.

    >>> margin = lambda rows, radius: torch.tensor([1.0, 9.0]).double()[rows] - radius**2
    >>> search(margin, 2, 1e-6).round(4)
    array([1., 3.])
    """
    low, high = torch.zeros(n, dtype=torch.float64), torch.full((n,), torch.inf).double()
    inner = margin(torch.arange(n), low)  # the margins at low and at high
    outer, active, turn = torch.full_like(inner, -torch.inf), inner > 0, 0
    while bool(active.any()):
        rows = torch.nonzero(active)[:, 0]
        trial = _trial(low[rows], high[rows], inner[rows], outer[rows], precision, turn)
        value, turn = margin(rows, trial), turn + 1
        found = value > 0
        kept, lost = rows[found], rows[~found]
        low[kept], inner[kept] = trial[found], value[found]
        high[lost], outer[lost] = trial[~found], value[~found]
        active = active & (high > low * (1 + precision)) & (low < FARTHEST) & (high > NEAREST)
    return to_numpy(torch.where(low >= FARTHEST, torch.inf, low))


def _trial(low: Tensor, high: Tensor, inner: Tensor, outer: Tensor, precision, turn) -> Tensor:
    """Where to look next: far out first, then a little beyond the root of the secant, a little
    before it, and in the middle, in turns."""
    if turn % 3 == 2:
        trial = torch.where(low > 0, (low * high).sqrt(), high / 4)
    else:
        root = low + (high - low) * inner / (inner - outer)
        trial = root * (1 + 0.4 * precision * (-1) ** turn)
        fine = torch.isfinite(trial) & (trial > low) & (trial < high)
        trial = torch.where(fine, trial, torch.where(low > 0, (low * high).sqrt(), high / 4))
    outwards = torch.where(low > 0, 4 * low, 1.0)
    return torch.where(torch.isinf(high), outwards, trial)
