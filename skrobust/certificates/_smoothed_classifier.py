"""Randomised smoothing of any classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skrobust._params import check_integer
from skrobust.certificates._doc import document
from skrobust.certificates._noise import (
    deciding_share,
    lower_share,
    shifted,
    tied,
    upper_share,
)
from skrobust.certificates._smoothed import BaseSmoothed, relabelled
from skrobust.metrics._rows import Rows

__all__ = ["SmoothedClassifier"]


@document
class SmoothedClassifier(ClassifierMixin, BaseSmoothed):
    """A classifier that lets noisy copies of a row vote, and so can prove what moves cannot change.

    With ``e`` standard normal and ``std = noise * scale``, the class predicted is the one that the
    estimator ``f`` gives most often,

        g(x) = argmax_k P[f(x + std * e) = k],

    whatever the estimator is: its trees, rules and thresholds need no gradient and no bound. If
    the class has at least probability ``p`` (a lower confidence limit of its share of votes), no
    move shorter than ``noise * Phi^-1(p)`` in the steps of the threat can take the majority away
    [1]_. :meth:`certify` gives this radius row by row.

    Parameters
    ----------
    estimator : estimator with ``predict``
        What votes. It is cloned and fitted to noisy rows; a fitted model is kept as it is inside
        ``sklearn.frozen.FrozenEstimator(model)``.
    noise : float, default=0.25
        Standard deviation, in steps of the threat's ``scale``; > 0. About the radius that is to be
        proven: provable radii end near 2.3 times the noise (with 1000 samples), and accuracy falls
        as it grows.
    threat : {"l2", "linf", "l1"} or threat object, default="l2"
        Whose ``scale`` the noise follows and whose ``frozen`` columns get none; and what
        :meth:`certify` proves unless told otherwise. Proofs for linf go through the dimension:
        the radius is divided by the root of the number of columns that move.
    n_samples : int, default=1000
        Votes per row. The limit of the share, and so the radius, rises with it.
    n_samples_select : int, default=100
        Further votes that only choose the class to be proven: a class chosen by the votes that
        also judge it would look better than it is.
    confidence : float, default=0.999
        With what probability the statement about a row holds.
    promise : {"predict", "limit"}, default="predict"
        What keeps its class within the radius: the label that ``predict`` would give there, which
        is itself a vote and may err where it is close; or the limit g of infinitely many votes, as
        in the literature, with a larger radius (by 0.13 times the noise with 1000 samples, 0.04
        with 10,000).
    {training}
    abstain_label : label, optional
        What ``predict`` answers where the votes do not tell which class leads (see
        :meth:`abstains`). None: the class that leads, however close.
    {sampling}

    Attributes
    ----------
    estimator_ : estimator
        Fitted.
    classes_ : ndarray of shape (n_classes,)
    {attributes}
    Of 10,000 certified rows about 10 may be wrong at .999.

    References
    ----------
    .. [1] Cohen, Rosenfeld & Kolter. "Certified Adversarial Robustness via Randomized Smoothing".
       ICML 2019. arXiv:1902.02918

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skrobust import SmoothedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(20, random_state=0)
    >>> model = SmoothedClassifier(forest, noise=0.3, n_samples=200, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    >>> certificate = model.certify(X, y, radius=0.1)
    >>> bool(certificate.certified.mean() > 0.7)
    True
    """

    def __init__(
        self,
        estimator,
        *,
        noise=0.25,
        threat="l2",
        n_samples=1000,
        n_samples_select=100,
        confidence=0.999,
        promise="predict",
        n_augment=4,
        abstain_label=None,
        batch_size=None,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.noise = noise
        self.threat = threat
        self.n_samples = n_samples
        self.n_samples_select = n_samples_select
        self.confidence = confidence
        self.promise = promise
        self.n_augment = n_augment
        self.abstain_label = abstain_label
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.random_state = random_state

    # Fitting ----------------------------------------------------------------------------------

    def _check_params(self) -> None:
        super()._check_params()
        check_integer("n_samples_select", self.n_samples_select, low=1)

    def _check_targets(self, y, rows: Rows):
        if y is None and self._is_frozen:
            return None
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(y)
        check_consistent_length(rows.values, y)
        return y

    def _remember(self, y) -> None:
        classes = getattr(self.estimator_, "classes_", None)
        if classes is None and y is None:
            raise ValueError(
                f"{type(self.estimator_).__name__} has no classes_: pass y, to name the classes."
            )
        self.classes_ = np.unique(y) if classes is None else np.asarray(classes)

    def _coded(self, answers: np.ndarray) -> np.ndarray:
        """Class numbers; one more than the last for a label that is none of the classes."""
        answers = answers.reshape(len(answers))
        order = np.argsort(self.classes_, kind="stable")
        place = np.searchsorted(self.classes_, answers, sorter=order).clip(max=len(order) - 1)
        codes = order[place]
        return np.where(self.classes_[codes] == answers, codes, len(order))

    # Votes ------------------------------------------------------------------------------------

    def _votes(self, rows: Rows, values: np.ndarray, stream: str) -> np.ndarray:
        """How many noisy copies of each row fall into each class, (n, n_classes)."""
        n = self.n_samples if stream == "estimate" else self.n_samples_select
        reduce = _Count(len(self.classes_))
        return self._sampled(rows, values, stream, n, reduce)

    def predict_proba(self, X) -> np.ndarray:
        """Shares of the votes, (n, n_classes): estimates of the smoothed probabilities.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of ``classes_``.
        """
        rows = self._rows(X)
        votes = self._votes(rows, rows.values, "estimate")
        return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)

    def predict(self, X) -> np.ndarray:
        """The class with most votes; ``abstain_label``, if there is one, where it is too close.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of shape (n,)
            Labels.
        """
        rows = self._rows(X)
        votes = self._votes(rows, rows.values, "estimate")
        labels = self.classes_[votes.argmax(axis=1)]
        if self.abstain_label is None:
            return labels
        return relabelled(labels, self._unsure(votes), self.abstain_label)

    def abstains(self, X) -> np.ndarray:
        """Where the votes do not tell which class leads, at the ``confidence`` asked for.

        Parameters
        ----------
        X : array-like or DataFrame of the shape seen in ``fit``
            Rows.

        Returns
        -------
        ndarray of bool of shape (n,)
        """
        rows = self._rows(X)
        return self._unsure(self._votes(rows, rows.values, "estimate"))

    def _unsure(self, votes: np.ndarray) -> np.ndarray:
        if votes.shape[1] < 2:
            return np.zeros(len(votes), dtype=bool)
        second, first = np.sort(votes, axis=1)[:, -2:].T
        return tied(first, second, 1 - self.confidence)

    # What the votes prove ---------------------------------------------------------------------

    def _doubts(self) -> tuple[float, float]:
        """Doubt about the share at the row, and about the vote at the moved row."""
        doubt = 1 - self.confidence
        return (doubt / 2, doubt / 2) if self.promise == "predict" else (doubt, 0.0)

    def _needed(self) -> float:
        """The share that a class must keep."""
        doubt = self._doubts()[1]
        return deciding_share(self.n_samples, doubt) if doubt else 0.5

    def _length(self, share: np.ndarray) -> np.ndarray:
        """How long a move must be to change a class with this share (0: nothing is proven)."""
        return np.maximum(ndtri(share) - ndtri(self._needed()), 0.0)

    def _shares_within(self, votes: np.ndarray, length: np.ndarray):
        """Limits (n, n_classes) of the smoothed probabilities at any place ``length`` away."""
        doubt = (1 - self.confidence) / (2 * votes.shape[1])
        away = np.asarray(length)[:, None]
        low = shifted(lower_share(votes, self.n_samples, doubt), -away)
        return low, shifted(upper_share(votes, self.n_samples, doubt), away)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = get_tags(self.estimator).classifier_tags.multi_class
        return tags


class _Count:
    """Codes (rows, n) to counts (rows, n_classes); codes that are no class are not counted."""

    def __init__(self, n_classes: int):
        self.n_classes = n_classes

    def __call__(self, codes: np.ndarray) -> Any:
        width = self.n_classes + 1
        flat = codes + width * np.arange(len(codes))[:, None]
        counts = np.bincount(flat.ravel(), minlength=width * len(codes))
        return counts.reshape(-1, width)[:, :-1]
