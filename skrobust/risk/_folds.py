"""Rows that a model was not trained on: the folds of a cross-validation, or all rows of a fitted model."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedShuffleSplit, check_cv
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter

from skrobust._compat import some_rows
from skrobust.exceptions import invalid

__all__ = ["Fold", "Folds", "trained"]


class Fold(NamedTuple):
    """A model (None: still to be trained on ``train``), and the rows on which it is looked at."""

    estimator: Any
    train: np.ndarray | None
    test: np.ndarray
    case: Any


class Folds:
    """What ``look`` sees of held-out rows.

    Parameters
    ----------
    model : RobustThresholdClassifier
        With its parameters.
    X, y, weight
        All rows.
    case : object with ``take(rows)``
        What is at stake in them.
    look : callable
        ``look(model, estimator, X, y, case, threat, offsets)`` gives the case with what was seen.
    threat : bound threat
    """

    def __init__(self, model, X, y, weight, case, look: Callable, threat):
        self.model, self.X, self.y, self.weight = model, X, y, weight
        self.seen, self.threat = look, threat
        if isinstance(model.cv, str) and model.cv == "prefit":
            self.folds = [Fold(model.estimator, None, np.arange(len(y)), case)]
        else:
            self.folds = [Fold(None, *rows, case.take(rows[1])) for rows in self._splits()]

    def look(self, offsets: np.ndarray | None = None) -> list:
        """The cases of all folds; models that are not trained yet are trained first."""
        work = delayed(_look)
        self.folds = Parallel(n_jobs=self.model.n_jobs)(
            work(self.model, fold, self.X, self.y, self.weight, self.seen, self.threat, offsets)
            for fold in self.folds
        )
        return [fold.case for fold in self.folds]

    def final(self) -> Any:
        """The model itself, where it came fitted, or one trained on all rows."""
        if self.folds[0].train is None:
            return self.model.estimator
        return trained(self.model.estimator, self.X, self.y, self.weight)

    def _splits(self):
        cv = self.model.cv
        if isinstance(cv, Real) and not isinstance(cv, int) and 0 < cv < 1:
            seed = self.model.random_state
            return StratifiedShuffleSplit(1, test_size=cv, random_state=seed).split(self.X, self.y)
        return check_cv(cv, y=self.y, classifier=True).split(self.X, self.y)


def trained(estimator: Any, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """A clone, fitted; with weights where it takes some."""
    estimator = clone(estimator)
    if weight is None or not has_fit_parameter(estimator, "sample_weight"):
        return estimator.fit(X, y)
    return estimator.fit(X, y, sample_weight=weight)


def _look(model, fold: Fold, X, y, weight, look: Callable, threat, offsets) -> Fold:
    """The work of one process: train on a part of the rows, look at the others."""
    estimator, test = fold.estimator, fold.test
    if estimator is None:
        part = None if weight is None else weight[fold.train]
        estimator = trained(model.estimator, some_rows(X, fold.train), y[fold.train], part)
        missing = np.setdiff1d(y, y[fold.train]).tolist()
        if missing:
            hint = f"The training rows of one fold have no {missing[0]!r}; use fewer folds."
            raise invalid("cv", model.cv, "folds that leave rows of each class to train on", hint)
    case = look(model, estimator, some_rows(X, test), y[test], fold.case, threat, offsets)
    return fold._replace(estimator=estimator, case=case)
