"""Two numbers per model: accuracy and error that no movement can go below, or beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skrobust._compat import check_sample_weight
from skrobust._torch import to_numpy
from skrobust.certificates._base import Settings
from skrobust.certificates._certify import settings_of
from skrobust.certificates._proof import Proof
from skrobust.exceptions import invalid
from skrobust.metrics._evaluation import check_radius, mean
from skrobust.metrics._losses import LOSSES, Pinball

__all__ = ["certified_accuracy_score", "certified_loss"]


def certified_accuracy_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    radius: float,
    threat: Any = "linf",
    method: str = "auto",
    sample_weight: Any = None,
    confidence: float = 0.999,
    time_budget: float | None = None,
    random_state: Any = None,
) -> float:
    """Share of rows that are right and proven to stay so, wherever they move within the radius.

    ``sum_i w_i 1[f(z) = y_i proven for every z within the radius of x_i] / sum_i w_i``

    No attack can press the accuracy below this number, and
    :func:`skrobust.robust_accuracy_score` is never below it: the truth lies between the two.

    Parameters
    ----------
    estimator, X, threat, method, confidence, time_budget, random_state
        As for :func:`skrobust.certify`.
    y : array-like of shape (n,)
        The right answers.
    radius : float
        In steps of the threat's ``scale``.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the mean.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    UnsupportedEstimatorError
        As for :func:`skrobust.certify`.
    ValueError, TypeError
        As for :func:`skrobust.certify`; TypeError for a regressor.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import certified_accuracy_score
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> [round(certified_accuracy_score(model, X, y, radius=r), 3) for r in (0, 0.2, 0.4)]
    [0.973, 0.867, 0.64]
    """
    settings = settings_of(confidence, time_budget, random_state)
    proof = _proof(estimator, X, y, radius, threat, method, settings, False)
    held = proof.right.copy()
    rows = torch.as_tensor(np.flatnonzero(held))  # the others need no proof
    if len(rows):
        held[rows] = to_numpy(proof.margin(radius, rows) > 0)
    return mean(held, check_sample_weight(sample_weight, proof.rows.values))


def certified_loss(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    radius: float,
    threat: Any = "linf",
    loss: str | Pinball = "squared",
    method: str = "auto",
    sample_weight: Any = None,
    confidence: float = 0.999,
    time_budget: float | None = None,
    random_state: Any = None,
) -> float:
    """Mean error of a regressor that no movement within the radius can exceed.

    ``sum_i w_i max(loss(lower_i, y_i), loss(upper_i, y_i)) / sum_i w_i``, where lower and upper
    bound the outputs within the radius: a convex loss is largest at one of the ends.
    :func:`skrobust.robust_loss` is never above it.

    Parameters
    ----------
    estimator, X, threat, method, confidence, time_budget, random_state
        As for :func:`skrobust.certify`.
    y : array-like of shape (n,) or (n, n_outputs)
        The right answers.
    radius : float
        In steps of the threat's ``scale``.
    loss : {"squared", "absolute", "over", "under"} or Pinball
        The error of a row, a mean over its outputs.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the mean.

    Returns
    -------
    float
        In the units of the loss; infinity where nothing is known of some output.

    Raises
    ------
    UnsupportedEstimatorError
        As for :func:`skrobust.certify`.
    ValueError, TypeError
        As for :func:`skrobust.certify`; TypeError for a classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrobust.certificates import certified_loss
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = LinearRegression().fit(X, [0.0, 3.0, 6.0])
    >>> round(certified_loss(model, X, [0.0, 3.0, 6.0], radius=0.5), 6)  # (3 * 0.5) ** 2
    2.25
    """
    if not (isinstance(loss, Pinball) or isinstance(loss, str) and loss in LOSSES):
        raise invalid("loss", loss, f"one of {list(LOSSES)} or a Pinball(alpha)")
    settings = settings_of(confidence, time_budget, random_state)
    proof = _proof(estimator, X, y, radius, threat, method, settings, True)
    loss = LOSSES[loss] if isinstance(loss, str) else loss
    y = torch.as_tensor(proof.y).reshape(-1, 1)
    ends = [torch.as_tensor(end).reshape(-1, 1) for end in proof.outputs(radius)]
    worst = torch.maximum(*(loss(end, y) for end in ends)).view(len(proof.X), -1).mean(dim=1)
    return mean(to_numpy(worst), check_sample_weight(sample_weight, proof.rows.values))


def _proof(
    estimator, X, y, radius, threat, method, settings: Settings, is_regression: bool
) -> Proof:
    """The rows ready to be proven, for a score of that kind of estimator."""
    if y is None:
        raise ValueError("y is None: a score needs the right answer of each row.")
    check_radius(radius)
    proof = Proof(estimator, X, y, threat=threat, method=method, settings=settings)
    if proof.is_regression != is_regression:
        wanted = "a regressor" if is_regression else "a classifier: a regressor has no accuracy"
        other = (
            "certified_accuracy_score" if is_regression else "skrobust.certificates.certified_loss"
        )
        raise invalid("estimator", type(estimator).__name__, wanted, f"Use {other}.", TypeError)
    return proof
