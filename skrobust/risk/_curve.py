"""What each threshold of a fitted classifier would cost."""

from __future__ import annotations

import warnings
from typing import Any

from skrobust.exceptions import RobustnessWarning, invalid
from skrobust.risk._sweep import CostCurve
from skrobust.risk._threshold import RobustThresholdClassifier

__all__ = ["cost_curve"]


def cost_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cost_matrix: Any = None,
    radius: float,
    sample_weight: Any = None,
    amount: Any = None,
    **options: Any,
) -> CostCurve:
    """Clean and worst-case cost of a fitted classifier of two classes, threshold by threshold.

    Parameters
    ----------
    estimator : fitted classifier
        With ``predict_proba`` or ``decision_function``.
    X, y : rows and labels
        Not those that it was trained on.
    cost_matrix, radius, **options
        As for :class:`skrobust.RobustThresholdClassifier` (without ``refer_cost`` and ``cv``).
    sample_weight, amount : array-like of shape (n,), optional
        Weight of each row in the mean, and what is at stake in it.

    Returns
    -------
    CostCurve
        ``.thresholds``, ``.clean``, ``.worst``, ``.at(threshold)``, ``.frame()``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.risk import cost_curve
    >>> X, y = np.array([[-2.0], [-0.5], [0.5], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = LogisticRegression().fit(X, y)
    >>> curve = cost_curve(model, X, y, cost_matrix=[[0, 1], [5, 0]], radius=1.0)
    >>> curve.at(0.5)
    (0.0, 1.5)
    >>> curve
    CostCurve(7 thresholds, best 0.3348: clean 0.25, attacked 0.25)
    """
    classes = getattr(estimator, "classes_", ())
    if len(classes) > 2:
        given = f"<{type(estimator).__name__} of {len(classes)} classes>"
        hint = "RobustThresholdClassifier finds an offset for each of more classes."
        raise invalid("estimator", given, "a classifier of two classes", hint)
    model = RobustThresholdClassifier(
        estimator, cost_matrix=cost_matrix, radius=radius, cv="prefit", **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)  # nobody asked for the best threshold
        return model.fit(X, y, sample_weight=sample_weight, amount=amount).cost_curve_
