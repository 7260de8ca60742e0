"""Quantile smoothing of any regressor."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import check_consistent_length

from skrobust._params import check_number
from skrobust.certificates._doc import document
from skrobust.certificates._noise import median_shares, ranks_within
from skrobust.certificates._smoothed import BaseSmoothed
from skrobust.metrics._rows import Rows

__all__ = ["SmoothedRegressor"]


@document
class SmoothedRegressor(RegressorMixin, BaseSmoothed):
    """A regressor that predicts the median over noisy copies of a row, and so can bound its jumps.

    With ``e`` standard normal and ``std = noise * scale``, the prediction is a quantile of what the
    estimator ``f`` says around the row,

        h_q(x) = the q-quantile of f(x + std * e),    q = 1/2.

    Wherever a move of length ``l`` (in units of ``std``) leads, the quantile stays between those of
    levels ``Phi(Phi^-1(q) - l)`` and ``Phi(Phi^-1(q) + l)`` at the row itself [1]_. They are
    estimated by order statistics whose ranks leave room for chance. :meth:`certify` gives these
    bounds row by row; they need no Lipschitz constant and no gradient of the estimator.

    Parameters
    ----------
    estimator : estimator with ``predict``
        It is cloned and fitted to noisy rows; a fitted model is kept as it is inside
        ``sklearn.frozen.FrozenEstimator(model)``.
    noise : float, default=0.25
        Standard deviation, in steps of the threat's ``scale``; > 0. Bounds are finite up to
        about 2.2 times the noise (with 1000 samples).
    threat : {"l2", "linf", "l1"} or threat object, default="l2"
        Whose ``scale`` the noise follows and whose ``frozen`` columns get none; and what
        :meth:`certify` proves unless told otherwise.
    quantile : float, default=0.5
        Which quantile is predicted.
    n_samples : int, default=1000
        Noisy copies of each row.
    confidence : float, default=0.999
        With what probability all bounds of a row hold.
    promise : {"predict", "limit"}, default="predict"
        What stays within the bounds: what ``predict`` would give at the moved row, a quantile of a
        sample; or the limit h of infinitely many copies, as in the literature, with tighter bounds.
    {training}
    {sampling}

    Attributes
    ----------
    estimator_ : estimator
        Fitted.
    {attributes}

    References
    ----------
    .. [1] Chiang et al. "Detection as Regression: Certified Object Detection by Median Smoothing".
       NeurIPS 2020. arXiv:2007.03730

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrobust import SmoothedRegressor
    >>> X = np.linspace(0, 1, 50)[:, None]
    >>> model = SmoothedRegressor(LinearRegression(), noise=0.1, random_state=0).fit(X, X[:, 0])
    >>> bool(model.score(X, X[:, 0]) > 0.9)
    True
    >>> certificate = model.certify(X, radius=0.05)
    >>> float((certificate.upper - certificate.lower).max().round(1))  # 0.1, and room for chance
    0.2
    """

    def __init__(
        self,
        estimator,
        *,
        noise=0.25,
        threat="l2",
        quantile=0.5,
        n_samples=1000,
        confidence=0.999,
        promise="predict",
        n_augment=4,
        batch_size=None,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.noise = noise
        self.threat = threat
        self.quantile = quantile
        self.n_samples = n_samples
        self.confidence = confidence
        self.promise = promise
        self.n_augment = n_augment
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _check_params(self) -> None:
        super()._check_params()
        check_number("quantile", self.quantile, low=0, high=1, open_low=True, open_high=True)

    def _check_targets(self, y, rows: Rows):
        if y is None and self._is_frozen:
            return None
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
        check_consistent_length(rows.values, y)
        return y

    def _remember(self, y) -> None:
        pass

    def _coded(self, answers: np.ndarray) -> np.ndarray:
        return answers.astype(np.float64, copy=False)

    @property
    def _rank(self) -> int:
        """The answer that is the prediction, counted from the smallest."""
        return min(self.n_samples, max(1, math.ceil(self.quantile * self.n_samples)))

    def predict(self, X) -> np.ndarray:
        """The quantile of the estimator's answers to noisy copies of each row.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
        """
        rows = self._rows(X)
        reduce = partial(_ranked, rank=self._rank)
        return self._sampled(rows, rows.values, "estimate", self.n_samples, reduce)

    # What the answers prove -------------------------------------------------------------------

    def _answers(self, rows: Rows, values: np.ndarray) -> np.ndarray:
        """Sorted answers (n, n_samples, n_outputs)."""
        return self._sampled(rows, values, "estimate", self.n_samples, _sorted)

    def _within(self, answers: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds (n, n_outputs) of the prediction anywhere ``length`` (n,) away."""
        n, doubt = self.n_samples, (1 - self.confidence) / answers.shape[2]
        if self.promise == "predict":
            shares = median_shares(self._rank, n, doubt / 4)
            low, high = ranks_within(shares, length, n, doubt / 4)
        else:
            low, high = ranks_within((self.quantile, self.quantile), length, n, doubt / 2)
        return _at(answers, low, -np.inf), _at(answers, high, np.inf)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.target_tags.multi_output = inner.target_tags.multi_output
        if inner.regressor_tags is not None:
            tags.regressor_tags.poor_score = inner.regressor_tags.poor_score
        return tags


def _ranked(answers: np.ndarray, rank: int) -> np.ndarray:
    return np.partition(answers, rank - 1, axis=1)[:, rank - 1]


def _sorted(answers: np.ndarray) -> np.ndarray:
    return np.sort(answers.reshape(*answers.shape[:2], -1), axis=1)


def _at(answers: np.ndarray, rank: np.ndarray, beyond: float) -> np.ndarray:
    """The answers of a rank (n,); ``beyond`` where there is no such rank."""
    n = answers.shape[1]
    inside = (rank >= 1) & (rank <= n)
    found = answers[np.arange(len(answers)), np.where(inside, rank, 1) - 1]
    return np.where(inside[:, None], found, beyond)
