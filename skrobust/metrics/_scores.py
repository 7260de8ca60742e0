"""Two numbers per model: accuracy and mean loss at the worst rows found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skrobust.exceptions import invalid
from skrobust.metrics._evaluation import Evaluation, check_radius, mean
from skrobust.metrics._tasks import is_regression

__all__ = ["robust_accuracy_score", "robust_loss"]


def robust_accuracy_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    radius: float,
    threat: Any = "linf",
    attack: Any = "auto",
    sample_weight: Any = None,
    random_state: Any = None,
    batch_size: int | None = None,
) -> float:
    """Share of rows that stay right however they move within the radius, as far as searched.

    ``sum_i w_i 1[estimator.predict(z_i) = y_i for every z_i tried] / sum_i w_i``

    The truth is at most this number, for a better search may find more. It is never above the
    clean accuracy; compare it with the share of the most frequent class.

    Parameters
    ----------
    estimator, X, y, radius, threat, attack, random_state, batch_size
        As for :func:`skrobust.worst_case`.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the mean.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`; TypeError for a regressor.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import robust_accuracy_score
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> [round(robust_accuracy_score(model, X, y, radius=r), 3) for r in (0, 0.2, 0.4)]
    [0.973, 0.867, 0.64]
    """
    radius = check_radius(radius)
    if not isinstance(estimator, type) and is_regression(estimator):
        raise invalid(
            "estimator",
            type(estimator).__name__,
            "a classifier: a regressor has no accuracy",
            "Use robust_loss.",
            TypeError,
        )
    evaluation = Evaluation(
        estimator,
        X,
        y,
        threat=threat,
        attack=attack,
        sample_weight=sample_weight,
        batch_size=batch_size,
    )
    found = evaluation.worst(radius, evaluation.generator(random_state))
    return mean(~found.broken, evaluation.weight)


def robust_loss(
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
    batch_size: int | None = None,
) -> float:
    """Mean over the rows of the largest loss found within the radius.

    ``sum_i w_i max_z loss(f(z_i), y_i) / sum_i w_i``

    At ``radius=0`` this is scikit-learn's ``log_loss`` of a logistic model and the
    ``mean_squared_error`` of a regressor.

    Parameters
    ----------
    estimator, X, y, radius, threat, attack, random_state, batch_size
        As for :func:`skrobust.worst_case`.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the mean.
    loss : str or callable, optional
        ``"log"`` (cross-entropy of the logits; the default for classifiers) or ``"margin"``;
        ``"squared"`` (the default for regressors), ``"absolute"``, ``"over"``, ``"under"`` or
        :class:`skrobust.metrics.Pinball`; or a function of outputs and
        targets, see :func:`skrobust.worst_case`.

    Returns
    -------
    float
        Infinity when y holds a label that the classifier does not know.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrobust import robust_loss
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = LinearRegression().fit(X, [0.0, 3.0, 6.0])
    >>> round(robust_loss(model, X, [0.0, 3.0, 6.0], radius=0.5), 6)  # (3 * 0.5) ** 2
    2.25
    """
    radius = check_radius(radius)
    evaluation = Evaluation(
        estimator,
        X,
        y,
        threat=threat,
        attack=attack,
        sample_weight=sample_weight,
        loss=default_loss(estimator) if loss is None else loss,
        batch_size=batch_size,
    )
    found = evaluation.worst(radius, evaluation.generator(random_state))
    return mean(found.value, evaluation.weight)


def default_loss(estimator: Any) -> str:
    """The loss that an estimator is usually trained with."""
    regression = not isinstance(estimator, type) and is_regression(estimator)
    return "squared" if regression else "log"
