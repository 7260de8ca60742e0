"""Per row: how far it may move before the prediction can change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_number
from skrobust.certificates._base import Settings
from skrobust.certificates._proof import Proof

__all__ = ["Certificate", "certify", "settings_of"]


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proven about a model near each row; per row, in the order of the rows given.

    Attributes
    ----------
    prediction : ndarray of shape (n,) or (n, n_outputs)
        The estimator's own.
    radius : ndarray of shape (n,)
        The largest radius within which the prediction is proven to stay, in steps of the threat's
        ``scale``: 0 where nothing is proven, infinity where no movement changes it. Of a
        regressor, within which its outputs stay within ``tolerance``; NaN without one.
    certified : ndarray of bool of shape (n,) or None
        Whether that holds within the radius that was asked for, and the prediction is right where
        y was given. None when no radius was asked for.
    lower, upper : ndarray of shape (n, n_outputs) or None
        Bounds of the outputs within the radius asked for: logits, one column per class, or values
        in the units of y.
    exact : ndarray of bool of shape (n,)
        Whether the answer is the truth itself. Otherwise it is on the safe side of it: rows that are
        not certified may still be robust.
    method : str
        The prover.
    confidence : float or None
        None: no exception is possible. Otherwise the probability with which each row's statement
        holds.
    """

    prediction: np.ndarray
    radius: np.ndarray
    certified: np.ndarray | None
    lower: np.ndarray | None
    upper: np.ndarray | None
    exact: np.ndarray
    method: str
    confidence: float | None
    names: tuple = field(default=(), repr=False)

    def frame(self) -> Any:
        """The certificate as a pandas DataFrame, one row per row."""
        pandas = import_extra("pandas", "frames")
        columns = {"prediction": self.prediction, "radius": self.radius}
        if self.prediction.ndim == 2:
            columns = {f"prediction {k}": v for k, v in enumerate(self.prediction.T)}
            columns["radius"] = self.radius
        if self.certified is not None:
            columns["certified"] = self.certified
            for number, name in enumerate(self.names or range(self.lower.shape[1])):
                columns[f"lower {name}"] = self.lower[:, number]
                columns[f"upper {name}"] = self.upper[:, number]
        columns["exact"] = self.exact
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        found = f"Certificate({len(self.radius)} rows, method={self.method!r}"
        if self.certified is not None:
            found += f", {int(self.certified.sum())} certified"
        if self.confidence is not None:
            found += f", confidence={self.confidence:g}"
        return found + ")"


def certify(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    radius: float | None = None,
    threat: Any = "linf",
    method: str = "auto",
    confidence: float = 0.999,
    tolerance: float | None = None,
    time_budget: float | None = None,
    random_state: Any = None,
) -> Certificate:
    """Prove, row by row, how far a row may move before the prediction can change.

    Where :func:`skrobust.worst_case` searches for one bad place and may miss it, this encloses all
    places: for row x with prediction c it finds the largest r with

        f_c(z) - max_{k != c} f_k(z) > 0   for every z in {x + scale * u : ||u|| <= r} within the threat

    by bisection on a sound lower bound of the left side. What lies between the proven radius and
    that of the nearest attack is not known.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        As for :func:`skrobust.worst_case`. Scalers, encoders and imputers of a Pipeline are part of
        the proof; rows move in the raw columns.
    X : array, tensor or DataFrame of shape (n, ...)
        The rows. Missing values are allowed where the estimator allows them, and stay.
    y : array-like of shape (n,), or (n, n_outputs) for regression, optional
        The right answers: what is predicted wrongly is then not certified. Of a regressor, the values
        that ``tolerance`` is measured from.
    radius : float, optional
        Where ``certified``, ``lower`` and ``upper`` are wanted, in steps of the threat's ``scale``.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move; one with data-dependent options must be bound to training rows first.
    method : {"auto", "linear", "crown", "interval", "lipschitz", ...}
        ``"auto"`` takes the first that can read the model, the exact ones before the others; the
        guide has the table of all.
    confidence : float, between 0 and 1
        Of statistical methods; the others need none.
    tolerance : float, optional
        Regression: how far the outputs may lie from the prediction (from y, where it is given), in
        the units of y.
    time_budget : float, optional
        Seconds that methods without an end of their own may take for all rows.
    random_state : int, RandomState or None
        For methods that draw.

    Returns
    -------
    Certificate
        ``prediction``, ``radius``, ``certified``, ``lower``, ``upper``, ``exact`` per row;
        ``method``, ``confidence``.

    Raises
    ------
    UnsupportedEstimatorError
        If no method, or not the one asked for, can read the model; the message names the part.
    ValueError, TypeError
        For rows, labels or options that can't be used; the message says what can.
    skrobust.exceptions.ThreatNotBoundError
        If the threat still has options to learn from data: call ``threat.bind(X_train)``.

    Notes
    -----
    Proven is the model as a function of real numbers. Bounds are computed in float64 and the margin
    must exceed 1e-11 of the size of the outputs (64 units in the last place, for models that predict
    in float32), so that rounding does not undo a proof. Rounding is not enclosed operation by
    operation: a model that loses more than these digits is outside of the promise. Dropout is off
    and batch norm uses its statistics, as in ``predict``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import certify
    >>> X, y = np.array([[-2.0], [-0.5], [0.5], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = LogisticRegression().fit(X, y)
    >>> certificate = certify(model, X, y, radius=1.0)
    >>> certificate.radius.round(4)
    array([2. , 0.5, 0.5, 2. ])
    >>> certificate.certified
    array([ True, False, False,  True])
    """
    if radius is not None:
        radius = check_number("radius", radius, low=0)
    proof = Proof(
        estimator,
        X,
        y,
        threat=threat,
        method=method,
        settings=settings_of(confidence, time_budget, random_state),
        tolerance=tolerance,
    )
    largest = proof.largest()
    certified = lower = upper = None
    if radius is not None:
        held = proof.margin(radius).numpy() > 0
        lower, upper = proof.outputs(radius)
        if proof.is_regression and tolerance is None:
            held = np.isfinite(lower).all(axis=1) & np.isfinite(upper).all(axis=1)
        else:  # each of the two may be proven first, within the precision of the search
            held = held | (largest >= radius)
            largest = np.where(held, np.maximum(largest, radius), largest)
        certified = held & proof.right
    return Certificate(
        prediction=proof.prediction,
        radius=largest,
        certified=certified,
        lower=lower,
        upper=upper,
        exact=proof.exact(0.0 if radius is None else radius),
        method=proof.prover.name,
        confidence=proof.prover.confidence,
        names=() if proof.is_regression else tuple(proof.classes),
    )


def settings_of(confidence: float, time_budget: float | None, random_state: Any) -> Settings:
    confidence = check_number(
        "confidence", confidence, low=0, high=1, open_low=True, open_high=True
    )
    if time_budget is not None:
        time_budget = check_number("time_budget", time_budget, low=0, open_low=True)
    return Settings(confidence, time_budget, random_state)
