"""What is proven of rows, as curves and reports take it.

Searching and proving know nothing of each other. This layer only says what it needs of a proof; the
layer of the certificates registers the function that gives it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from skrobust._torch import to_numpy
from skrobust.exceptions import RobustnessWarning, invalid
from skrobust.metrics._losses import CONVEX

__all__ = ["Proven", "largest_loss", "proof_of", "proven_by", "without_contradictions"]


class Proven(NamedTuple):
    """What is proven of each of n rows, at each radius.

    Attributes
    ----------
    values : ndarray of shape (n_radii, n)
        Of a classifier 1 where the row is right and stays so, else 0; of a regressor the largest
        loss that the row can have.
    radius : ndarray of shape (n,) or None
        Of a classifier the largest radius at which the row was proven to stay right; 0 if none.
    variation : ndarray of shape (n_radii, n) or None
        Of a regressor: how far the prediction can move from where it is.
    doubt : float
        The chance that the statement about a row is wrong: 0 unless it is a statistical one.
    method : str
        How it was proven.
    """

    values: np.ndarray
    radius: np.ndarray | None
    variation: np.ndarray | None
    doubt: float
    method: str


_provers: list[Callable[..., Proven]] = []


def proven_by(function: Callable[..., Proven]) -> Callable[..., Proven]:
    """Register what gives proofs: ``(estimator, X, y, radii, threat, method, loss) -> Proven``."""
    _provers[:] = [function]
    return function


def proof_of(evaluation: Any, certify: Any, radii: np.ndarray, attacked: np.ndarray):
    """The proof that ``certify=`` asks for, None for None and False.

    ``attacked`` (n_radii, n): 1 where a row withstood the attack, or the loss that was found.
    """
    if certify is None or certify is False:
        return None
    if certify is not True and not isinstance(certify, str):
        allowed = "True, False, None or the name of a method of skrobust.certify"
        raise invalid("certify", certify, allowed, error=TypeError)
    task, method = evaluation.task, "auto" if certify is True else certify
    classifies = hasattr(task, "labels")
    if classifies and not task.is_margin:
        raise invalid("loss", task.loss, "None where certify is asked for of a classifier")
    y = task.labels if classifies else task.y
    loss = None if classifies else check_bounded(task.loss)
    given = evaluation.rows.given
    proof = _provers[0](task.estimator, given, y, radii, evaluation.threat, method, loss)
    return without_contradictions(proof, attacked, classifies)


def without_contradictions(proof: Proven, attacked: np.ndarray, accuracy: bool) -> Proven:
    """The proof less what an attack has disproven, with a warning where chance allows no such."""
    wrong = proof.values > attacked if accuracy else _beyond(attacked, proof.values)
    if not wrong.any():
        return proof
    n_wrong, n_rows = int(wrong.any(axis=0).sum()), wrong.shape[1]
    if n_wrong > stats.binom.ppf(0.999, n_rows, proof.doubt):
        warnings.warn(
            f"{n_wrong} of {n_rows} rows were broken by an attack although method "
            f"{proof.method!r} had proven them (it may err with probability {proof.doubt:g}). "
            "They count as broken. Do not rely on this certificate.",
            RobustnessWarning,
            stacklevel=4,
        )
    return proof._replace(values=np.where(wrong, attacked, proof.values))


def _beyond(found: np.ndarray, bound: np.ndarray) -> np.ndarray:
    return found > bound + 1e-9 * np.maximum(1.0, np.abs(found))


def largest_loss(loss: Any, low: np.ndarray, high: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The largest loss (n,) of predictions between bounds (n, n_outputs).

    The losses with names are convex in each output, so their maximum lies at an end.

    >>> from skrobust.metrics._losses import check_loss
    >>> low, high = np.array([[0.0, 1.0]]), np.array([[2.0, 1.0]])
    >>> largest_loss(check_loss("squared"), low, high, np.array([[1.5, 0.0]]))
    array([1.625])
    """
    y = torch.as_tensor(np.asarray(y, dtype=np.float64))
    worst = []
    for k in range(y.shape[1]):
        ends = [torch.as_tensor(np.asarray(e, dtype=np.float64))[:, [k]] for e in (low, high)]
        worst.append(torch.maximum(*(loss(end, y[:, [k]]) for end in ends)))
    return to_numpy(torch.stack(worst, dim=1).mean(dim=1))


def check_bounded(loss: Any) -> Any:
    """A loss of which the largest value between two bounds is known."""
    if isinstance(loss, CONVEX):
        return loss
    allowed = "the name of a loss, or Pinball(alpha), where certify is asked for"
    raise invalid("loss", loss, allowed, "What a function does between two bounds isn't known.")
