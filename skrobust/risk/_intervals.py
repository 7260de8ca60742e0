"""Between which two numbers the score of the second class can be moved, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit

from skrobust._torch import to_numpy
from skrobust.certificates._base import Prover, Settings
from skrobust.certificates._check import find_prover
from skrobust.exceptions import UnsupportedEstimatorError, invalid
from skrobust.metrics._climbs import Climb
from skrobust.metrics._decisions import Pieces
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._rows import quiet_names

__all__ = ["Intervals", "climbed", "score_intervals", "scores_of"]

RESPONSES = ("predict_proba", "decision_function")
AGREES = 1e-5  # how far a proof's own score of a row may be from that of the model


class Intervals(NamedTuple):
    """Scores of the second class: of the rows as they are, and the smallest and largest they can have.

    ``low`` and ``high`` (n,) were reached by an attack, or are not passed by any; where a direction was
    not asked for, they are the score itself.
    """

    score: np.ndarray
    low: np.ndarray
    high: np.ndarray


def scores_of(estimator: Any, response_method: str = "auto") -> tuple[str, Callable]:
    """The response that is compared with a threshold, and a function from rows to it.

    (n,) of two classes, the score of the second; (n, n_classes) of more.
    """
    names = RESPONSES if response_method == "auto" else (response_method,)
    name = next((name for name in names if hasattr(estimator, name)), None)
    if name is None:
        raise invalid(
            "estimator",
            type(estimator).__name__,
            f"a classifier with {' or '.join(names)}: a threshold needs a score",
            "Wrap it in sklearn.calibration.CalibratedClassifierCV to give it one.",
            AttributeError,
        )

    def score(X: Any) -> np.ndarray:
        with quiet_names():
            values = np.asarray(getattr(estimator, name)(X), dtype=np.float64)
        if values.ndim == 2 and values.shape[1] > 2:
            return values
        return values[:, 1] if values.ndim == 2 and values.shape[1] == 2 else values.reshape(-1)

    return name, score


def score_intervals(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    down: np.ndarray,
    up: np.ndarray,
    threat: Any,
    bound: str,
    attack: Any = "auto",
    method: str = "auto",
    response_method: str = "auto",
    settings: Settings | None = None,
    random_state: Any = None,
    batch_size: int | None = None,
) -> Intervals:
    """The smallest and the largest score of the second class within a radius of each row.

    Parameters
    ----------
    estimator : fitted classifier of two classes
    X, y : rows and labels
    down, up : ndarray of shape (n,) or (n, m)
        The radius within which to look for the smallest, and for the largest; 0: not at all. With m
        of them, ``low`` and ``high`` are (n, m).
    threat : {"linf", "l2", "l1"} or bound threat
    bound : {"attacked", "certified"}
        Found by a search, or proven.
    attack, method, response_method, settings, random_state, batch_size
        How.
    """
    evaluation = Evaluation(estimator, X, y, threat=threat, attack=attack, batch_size=batch_size)
    name, score = scores_of(estimator, response_method)
    here = score(evaluation.rows.given)
    if bound == "attacked":
        generator = evaluation.generator(random_state)

        def find(far: np.ndarray, k: int) -> np.ndarray:
            return _searched(evaluation, score, here, far, k, generator)

    else:
        rows, held = evaluation.rows, evaluation.threat
        prover = find_prover(method, estimator, held, rows, settings or Settings())
        read = _units(prover, rows.values, here, name, estimator)

        def find(far: np.ndarray, k: int) -> np.ndarray:
            return _proven(prover, rows.values, here, far, k, read)

    return Intervals(
        here,
        _ends(lambda far: find(far, 0), np.minimum, here, down),
        _ends(lambda far: find(far, 1), np.maximum, here, up),
    )


def _ends(find: Callable, furthest: Callable, here: np.ndarray, far: np.ndarray) -> np.ndarray:
    """The furthest score within each radius (n,) or (n, m): what less of it reached counts, too."""
    if far.ndim == 1:
        return furthest(here, find(far))
    order = np.argsort(far, axis=1)
    sorted_, found = np.take_along_axis(far, order, axis=1), np.empty(far.shape)
    end, last = here, np.zeros(len(here))
    for place, radius in zip(order.T, sorted_.T, strict=True):
        end = furthest(end, find(np.where(radius > last, radius, 0.0)))
        found[np.arange(len(here)), place], last = end, radius
    return found


def climbed(evaluation, marks: np.ndarray, index, far: np.ndarray, generator) -> np.ndarray:
    """All rows, those of ``index`` moved to where ``marks`` (n, K) times the outputs is largest."""
    task = evaluation.task
    marks = torch.as_tensor(marks, device=task.view.device)
    climb = Climb(None, Pieces(task), None)
    z, _, _ = evaluation.search(
        lambda part: climb.objective(marks, part, task.view),
        evaluation.rows.values,
        index,
        far,
        generator,
    )
    return z


def _searched(evaluation, score, here: np.ndarray, far: np.ndarray, k: int, generator):
    """The score of each row, moved towards class k as far as a search could."""
    index = np.flatnonzero(far > 0)
    if len(index) == 0:
        return here
    marks = np.zeros((len(here), 2), dtype=np.int64)
    marks[:, k], marks[:, 1 - k] = 1, -1
    z = climbed(evaluation, marks, index, far, generator)
    return score(evaluation.rows.like_given(z))


def _proven(prover: Prover, values: np.ndarray, here, far: np.ndarray, k: int, read: Callable):
    """A bound that the score of no moved row passes, towards class k."""
    index = np.flatnonzero(far > 0)
    found = here.copy()
    if len(index):
        gap = _gap(prover, values[index], far[index], 1 - k)
        found[index] = read(gap if k == 0 else -gap)
    return found


def _gap(prover: Prover, values: np.ndarray, radius: np.ndarray, label: int) -> np.ndarray:
    """Lower bounds (n,) of ``f_label - f_other`` of two classes."""
    X = torch.as_tensor(values.astype(np.float64))
    codes = torch.full((len(X),), label)
    return to_numpy(prover.gaps(X, codes, torch.as_tensor(radius)))[:, 1 - label]


def _units(prover: Prover, values: np.ndarray, here: np.ndarray, name: str, estimator: Any):
    """How a difference of the prover's outputs is the model's score: log odds, shares, or itself."""
    gap = _gap(prover, values, np.zeros(len(values)), 1)
    ways = {
        "predict_proba": (expit, lambda gap: np.clip((1 + gap) / 2, 0, 1)),
        "decision_function": (lambda gap: gap,),
    }
    for read in ways[name]:
        if np.all(np.abs(read(gap) - here) <= AGREES * np.maximum(1.0, np.abs(here))):
            return read
    raise UnsupportedEstimatorError(
        f"method={prover.name!r} proves decisions of {type(estimator).__name__}, but not its "
        f"{name}, so that other thresholds cannot be proven. Use bound='attacked'."
    )
