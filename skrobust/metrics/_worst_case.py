"""The moved rows themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skrobust.metrics._evaluation import Evaluation, check_radius

__all__ = ["WorstCase", "worst_case"]


@dataclass(frozen=True, eq=False)
class WorstCase:
    """Worst rows found; every field is per row, in the order of the rows given.

    Attributes
    ----------
    X : same container as the rows given
        The moved rows, in the units of X. Integer columns have become float.
    value : ndarray of shape (n,)
        Classification: minus the logit margin, ``max_{k != y} f_k - f_y``, positive where the row
        is lost (with ``loss="log"`` the cross-entropy). Regression: the loss of the prediction.
    broken : ndarray of bool of shape (n,)
        Whether ``estimator.predict`` is wrong on ``X``, or was wrong before; for regression
        whether the loss grew (or passed ``tolerance``).
    n_forward, n_backward : ndarray of int of shape (n,)
        How often the attack evaluated and differentiated the model for the row.
    seconds : float
        How long it took in all.
    """

    X: Any
    value: np.ndarray
    broken: np.ndarray
    n_forward: np.ndarray
    n_backward: np.ndarray
    seconds: float = float("nan")

    def __repr__(self) -> str:
        n = len(self.broken)
        return f"WorstCase({n} rows, {int(self.broken.sum())} broken)"


def worst_case(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    radius: float,
    threat: Any = "linf",
    attack: Any = "auto",
    sample_weight: Any = None,
    random_state: Any = None,
    loss: str | Callable | None = None,
    tolerance: float | None = None,
    batch_size: int | None = None,
) -> WorstCase:
    """Move each row within its threat to where the model does worst.

    For row (x, y) the attack searches

        max over z in {x + scale * u : ||u|| <= radius} and the threat's bounds of objective(z, y)

    where the objective of a classifier is minus its logit margin, which neither saturates nor
    depends on the temperature of the logits, and that of a regressor its loss. What is found is a
    lower bound of the true worst case; for linear models it is the worst case itself.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        Anything with ``predict``: scikit-learn's and Pipelines (the rows move in the raw columns),
        skrobust's own, fitted skorch nets, objects with ``__skrobust_torch__()``. Without a torch
        view (see :func:`skrobust.as_torch`) it is searched as a black box.
    X : array, tensor or DataFrame of shape (n, ...)
        The rows. Missing values (NaN) are allowed where the estimator allows them, and stay.
    y : array-like of shape (n,), or (n, n_outputs) for regression
        The right answers. A row whose label the model does not know is broken at any radius, with
        value infinity.
    radius : float
        How far rows may move, in steps of the threat's ``scale``.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move; one with data-dependent options must be bound to training rows first.
    attack : {"auto", "thorough", "exact", "pgd", "apgd", "search", "noise"} or attack object
        How the worst case is searched.
    sample_weight : array-like of shape (n,), optional
        Checked and otherwise unused: results are per row.
    random_state : int, RandomState or None
        An int gives the same rows each time.
    loss : str or callable, optional
        Classification: None (the margin; a row that is lost is not searched on) or ``"log"``
        (cross-entropy, climbed to the end). Regression: ``"squared"`` (the default), ``"absolute"``,
        ``"over"`` or ``"under"`` (how far the prediction lies above, or below, the target), all means
        over the outputs, or :class:`skrobust.metrics.Pinball` of a quantile. A callable takes the outputs (n, k) and the targets ((n,) class
        numbers, or (n, k)) as tensors and returns (n,) numbers.
    tolerance : float, optional
        Regression: the loss up to which a row is not broken. By default its loss before the move.
    batch_size : int, optional
        Rows per call of the attack; by default some millions of numbers.

    Returns
    -------
    WorstCase
        ``X``, ``value``, ``broken``, ``n_forward``, ``n_backward``, per row; ``seconds``. A row that was wrong
        before any move counts as broken.

    Raises
    ------
    ValueError, TypeError
        For rows, labels, weights or options that can't be used; the message says what can.
    skrobust.exceptions.ThreatNotBoundError
        If the threat still has options to learn from data: call ``threat.bind(X_train)``.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Warns
    -----
    skrobust.exceptions.BlackBoxWarning
        Once per class of estimator, when ``attack="auto"`` finds no torch view.

    Notes
    -----
    The margin is what counts, but with three classes and more gradient attacks follow a soft
    maximum of the logit differences, in units of their spread: as telling as cross-entropy,
    blind to no scale of the logits. Rows are judged by ``estimator.predict`` on ``X`` as returned;
    where the torch view calls a row lost and ``predict`` does not, the search goes on.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import worst_case
    >>> X, y = np.array([[-2.0], [-0.5], [0.5], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = LogisticRegression().fit(X, y)
    >>> worst = worst_case(model, X, y, radius=1.0)
    >>> worst.X.ravel()
    array([-1. ,  0.5, -0.5,  1. ])
    >>> worst.broken
    array([False,  True,  True, False])
    """
    began = time.perf_counter()
    radius = check_radius(radius)
    evaluation = Evaluation(
        estimator,
        X,
        y,
        threat=threat,
        attack=attack,
        sample_weight=sample_weight,
        loss=loss,
        tolerance=tolerance,
        batch_size=batch_size,
    )
    found = evaluation.worst(radius, evaluation.generator(random_state))
    moved = evaluation.rows.like_given(found.z)
    return WorstCase(moved, *found[1:], seconds=time.perf_counter() - began)
