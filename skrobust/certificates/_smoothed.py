"""What the smoothed classifier and the smoothed regressor share: noise, training, sampling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from skrobust._compat import check_sample_weight
from skrobust._params import check_integer, check_name, check_number
from skrobust.certificates._gaussian import Gaussian, step_sizes
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows, quiet_names
from skrobust.threats import check_threat

__all__ = ["BaseSmoothed", "relabelled"]

PROMISES = ("predict", "limit")


class BaseSmoothed(MetaEstimatorMixin, BaseEstimator):
    """See :class:`SmoothedClassifier` and :class:`SmoothedRegressor`."""

    def fit(self, X, y=None, sample_weight=None):
        """Fit a clone of the estimator to noisy copies of the rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features) or (n_samples, ...)
            Rows in the units that ``threat`` speaks of.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; None is allowed for a ``FrozenEstimator``, which is not fitted again.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row, for estimators that take weights.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, rows or targets that can't be used.
        """
        self._check_params()
        threat = check_threat(self.threat)
        rows = self._read(X, threat, reset=True)
        y = self._check_targets(y, rows)
        names = getattr(self, "feature_names_in_", None)
        bound = threat.bind(rows.given, feature_names=names)
        held = bound.holding(sorted(rows.categories))
        std = self.noise * step_sizes(held, rows.values)
        if not std.any():
            raise invalid("threat", self.threat, "one in which something can move")
        self.threat_ = bound
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        self.noise_ = Gaussian(std, int(seed))
        self.estimator_ = self._trained(rows, y, sample_weight)
        self._remember(y)
        return self

    @abstractmethod
    def _check_targets(self, y, rows: Rows):
        """Targets fit for training, or None for a frozen estimator without any."""

    @abstractmethod
    def _remember(self, y) -> None:
        """Fitted attributes of the task."""

    @abstractmethod
    def _coded(self, answers: np.ndarray) -> np.ndarray:
        """The estimator's answers as numbers: class codes, or values (n, k)."""

    def _check_params(self) -> None:
        check_number("noise", self.noise, low=0, open_low=True)
        check_integer("n_samples", self.n_samples, low=10)
        hint = "It is the chance that the statement about one row holds."
        check_number(
            "confidence", self.confidence, low=0, high=1, open_low=True, open_high=True, hint=hint
        )
        check_name("promise", self.promise, PROMISES)
        check_integer("n_augment", self.n_augment, low=0)
        if self.batch_size is not None:
            check_integer("batch_size", self.batch_size, low=1)
        if not hasattr(self.estimator, "predict") or isinstance(self.estimator, type):
            raise invalid("estimator", self.estimator, "an object with predict", error=TypeError)

    @property
    def _is_frozen(self) -> bool:
        return isinstance(self.estimator, FrozenEstimator)

    def _trained(self, rows: Rows, y, sample_weight):
        """The estimator, fitted to ``n_augment`` noisy copies of each row (0: to the rows)."""
        estimator = clone(self.estimator)
        if self._is_frozen:
            return estimator
        X, copies = rows.given, max(1, self.n_augment)
        if self.n_augment:
            X = rows.wrap(self.noise_.copies(rows.values, copies))
            y = np.concatenate([y] * copies)
        options = {}
        if sample_weight is not None:
            if not has_fit_parameter(estimator, "sample_weight"):
                name = type(estimator).__name__
                raise ValueError(f"Underlying estimator {name} does not support sample weights.")
            weight = check_sample_weight(sample_weight, rows.values)
            options["sample_weight"] = np.tile(weight, copies)
        return estimator.fit(X, y, **options)

    def _read(self, X, threat, reset: bool) -> Rows:
        """Frames as they are, for the estimator knows their columns by name; the rest as floats."""
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=reset)
            return Rows(X, threat.categories)
        kinds = [np.float64, np.float32]
        options = dict(dtype=kinds, allow_nd=True, ensure_all_finite="allow-nan")
        return Rows(validate_data(self, X, reset=reset, **options), threat.categories)

    # Sampling ---------------------------------------------------------------------------------

    def _rows(self, X) -> Rows:
        check_is_fitted(self)
        rows = self._read(X, self.threat_, reset=False)
        if rows.values.shape[1:] != self.noise_.std.shape:
            raise ValueError(
                f"X has rows of shape {rows.values.shape[1:]}, but {type(self).__name__} was "
                f"fitted on rows of shape {self.noise_.std.shape}."
            )
        return rows

    def _sampled(self, rows: Rows, values: np.ndarray, stream: str, n: int, reduce: Callable):
        """``reduce`` of the answers (rows, n, ...) to noisy copies, for all rows."""
        n_chunks = max(1, min(len(values), effective_n_jobs(self.n_jobs)))
        work = delayed(_chunk)
        found = Parallel(n_jobs=self.n_jobs)(
            work(self, rows, part, stream, n, reduce) for part in np.array_split(values, n_chunks)
        )
        return np.concatenate(found)

    # Proofs -----------------------------------------------------------------------------------

    def certify(self, X, y=None, *, radius=None, threat=None, tolerance=None):
        """Prove, row by row, how far a row may move before the prediction can change.

        ``skrobust.certify(self, X, y, ...)`` with this model's ``threat`` and ``confidence``.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.
        y : array-like of shape (n,) or (n, n_outputs), optional
            The right answers: what is predicted wrongly is then not certified.
        radius : float, optional
            Where ``certified``, ``lower`` and ``upper`` are wanted, in steps of the threat.
        threat : {"linf", "l2", "l1"} or threat object, optional
            Where rows may move; by default as in ``fit``.
        tolerance : float, optional
            Of a regressor: how far the output may lie from the prediction (from y, if given).

        Returns
        -------
        Certificate
            ``lower`` and ``upper`` bound the smoothed probabilities of a classifier, the
            predictions of a regressor.

        Raises
        ------
        UnsupportedEstimatorError
            If columns may move that get no noise, or change without a length (categories).
        """
        from skrobust.certificates._certify import certify  # it knows this class

        check_is_fitted(self)
        threat = self.threat_ if threat is None else threat
        return certify(
            self, X, y, radius=radius, threat=threat, method="noise",
            confidence=self.confidence, tolerance=tolerance,
        )  # fmt: skip

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.input_tags.three_d_array = inner.input_tags.three_d_array
        tags.target_tags.positive_only = inner.target_tags.positive_only
        return tags


def _chunk(model: BaseSmoothed, rows: Rows, values: np.ndarray, stream, n: int, reduce: Callable):
    """The work of one process."""

    def ask(noisy: np.ndarray) -> np.ndarray:
        return model._coded(np.asarray(model.estimator_.predict(rows.wrap(noisy))))

    with quiet_names():
        parts = model.noise_.answers(ask, values, n, stream, model.batch_size)
        return np.concatenate([reduce(answers) for _, answers in parts])


def relabelled(labels: np.ndarray, where: np.ndarray, label: Any) -> np.ndarray:
    """Labels with another one, of whatever type, in some places.

    >>> relabelled(np.array([0, 1]), np.array([True, False]), -1)
    array([-1,  1])
    >>> relabelled(np.array([0, 1]), np.array([True, False]), "ask")
    array(['ask', 1], dtype=object)
    """
    one = np.asarray(label)
    fits = np.result_type(labels, one)
    if (labels.dtype.kind in "US") != (one.dtype.kind in "US"):
        fits = np.dtype(object)  # never "1" for 1
    labels = labels.astype(fits)
    labels[where] = label
    return labels
