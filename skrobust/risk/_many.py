"""Three classes and more: an offset for the score of each, and one for the human."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils import check_random_state

from skrobust._torch import to_numpy
from skrobust.certificates._certify import settings_of
from skrobust.certificates._check import find_prover
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.metrics._evaluation import Evaluation
from skrobust.risk._intervals import AGREES, climbed, scores_of
from skrobust.risk._offsets import Chances, best_offsets, costs_of, decide
from skrobust.risk._stakes import prices_of
from skrobust.risk._sweep import rounding
from skrobust.risk._two import warn_of_one

__all__ = ["answers", "costs", "look", "refers", "settle", "stakes_of"]

LEAST = 1e-12  # a probability of 0 has a logarithm all the same,
FURTHEST = 20.0  # and no offset is so large that it would ever win
N_ROUNDS = 4


def stakes_of(
    model: Any, X: Any, y: np.ndarray, classes: list, weight: Any, amount: Any
) -> Chances:
    """Costs of the rows, and how far it pays to move them from one decision to another."""
    costs, gains, refer, worth, rate, attacker = prices_of(model, X, y, classes, amount)
    if refer is not None:
        costs, gains = np.column_stack([costs, refer]), np.column_stack([gains, worth])
    n, n_decisions = costs.shape
    radius = np.where(rate > 0, float(model.radius), 0.0)[:, None]
    limits = np.zeros((n, n_decisions, n_decisions))
    for now in range(n_decisions):
        far = attacker.limits(gains, np.full(n, now), radius)
        limits[:, now] = np.where(costs > costs[:, [now]], far, 0.0)
    weight = np.ones(n) if weight is None else weight
    return Chances(costs, limits, np.zeros(costs.shape), None, None, None, rate, weight)


def look(
    model: Any, estimator: Any, X: Any, y: np.ndarray, case: Chances, threat: Any, offsets=None
) -> Chances:
    """The same rows with their scores, and scores of rows moved towards each class, or bounds.

    With offsets, ``case`` was looked at before: rows are moved against a model that has these.
    """
    if model.bound == "certified":
        return _proven(model, estimator, X, y, case, threat) if offsets is None else case
    seen = estimator if offsets is None else _with(model, estimator, offsets)
    evaluation = Evaluation(seen, X, y, threat=threat, attack=model.attack)
    score = _score(model, estimator, case)
    here, generator = score(evaluation.rows.given), evaluation.generator(model.random_state)
    moved, length = [here], [np.zeros(len(here))]
    for k, far in _searches(case, len(estimator.classes_)):
        z = _towards(evaluation, k, np.flatnonzero(far > 0), far, generator)
        moved.append(score(evaluation.rows.like_given(z)))
        length.append(np.where(far > 0, far, np.inf))
    new = case._replace(score=here, moved=np.stack(moved, axis=1), length=np.stack(length, axis=1))
    return new if offsets is None else case.with_worse(new, _all_offsets(model, case))


def _with(model: Any, estimator: Any, offsets: np.ndarray) -> Any:
    """A fitted model like this one, with given offsets and no human."""
    found = type(model)(estimator, response_method=model.response_method, cv="prefit")
    found.estimator_, found.classes_ = estimator, np.asarray(estimator.classes_)
    found.offsets_, found.refer_offset_ = offsets, -np.inf
    return found


def _searches(case: Chances, n_classes: int):
    """Classes to move rows to, and the radius (n,) of each row: one search per distinct one."""
    asking = case.limits[:, :, n_classes:].reshape(len(case.limits), -1)
    for k in range(n_classes):
        # whoever pays to be referred stops on the way to some class
        far = np.sort(np.hstack([case.limits[:, :, k], asking]), axis=1)
        far[:, 1:][far[:, 1:] == far[:, :-1]] = 0
        far.sort(axis=1)
        yield from ((k, radius) for radius in far.T if radius.any())


def _join(parts: list[Chances]) -> Chances:
    """Rows of several folds; what was not searched for in one of them is out of reach."""
    if parts[0].moved is not None:
        most = max(part.moved.shape[1] for part in parts)
        parts = [part.padded(most) for part in parts]
    joined = (None if of[0] is None else np.concatenate(of) for of in zip(*parts, strict=True))
    return Chances(*joined)


def _score(model: Any, estimator: Any, case: Chances) -> Callable:
    """A function from rows to the scores (n, D) of the decisions."""
    name, read = scores_of(estimator, model.response_method)
    human = case.costs.shape[1] > len(estimator.classes_)
    return lambda X: _with_human(_logs(name, read(X)), human)


def _logs(name: str, values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, LEAST)) if name == "predict_proba" else values


def _with_human(score: np.ndarray, human: bool) -> np.ndarray:
    return np.column_stack([score, np.zeros(len(score))]) if human else score


def _towards(evaluation: Evaluation, k: int, index, far, generator) -> np.ndarray:
    """All rows, those of ``index`` moved to where class k is ahead of the others by most."""
    marks = np.full((len(far), len(evaluation.task.classes)), -1, dtype=np.int64)
    marks[:, k] = 1
    return climbed(evaluation, marks, index, far, generator)


def _proven(model, estimator, X, y, case: Chances, threat) -> Chances:
    """The same with lower bounds of all differences of scores, within the longest move that pays."""
    evaluation = Evaluation(estimator, X, y, threat=threat)
    settings = settings_of(0.999, None, model.random_state)
    rows = evaluation.rows
    prover = find_prover(model.method, estimator, evaluation.threat, rows, settings)
    name, read = scores_of(estimator, model.response_method)
    here = read(rows.given)
    X = torch.as_tensor(rows.values.astype(np.float64))
    far = torch.as_tensor(case.limits.max(axis=(1, 2)))
    still, _ = (to_numpy(end) for end in prover.outputs(X, torch.zeros_like(far)))
    low, high = (to_numpy(end) for end in prover.outputs(X, far))
    seen = still - logsumexp(still, axis=1, keepdims=True) if name == "predict_proba" else still
    seen = np.exp(seen) if name == "predict_proba" else seen
    if not np.allclose(seen, here, atol=AGREES, rtol=AGREES):
        raise UnsupportedEstimatorError(
            f"method={prover.name!r} proves decisions of {type(estimator).__name__}, but not its "
            f"{name}, so that other offsets cannot be proven. Use bound='attacked'."
        )
    human = case.costs.shape[1] > low.shape[1]
    gaps = low[:, :, None] - high[:, None, :]
    if human:
        gaps = _beside_human(low, high, name == "predict_proba")
    own = np.arange(gaps.shape[1])
    gaps[:, own, own] = -np.inf
    return case._replace(score=_with_human(_logs(name, here), human), gaps=gaps)


def _beside_human(low: np.ndarray, high: np.ndarray, normed: bool) -> np.ndarray:
    """Bounds of differences, with a last decision whose score is 0.

    ``log p_j >= low_j - log(exp(low_j) + sum over k != j of exp(high_k))``, and the other way round.
    """
    n, k = low.shape
    least, most = low, high
    if normed:
        own = np.eye(k, dtype=bool)
        least = low - logsumexp(np.where(own, low[:, None], high[:, None]), axis=2)
        most = high - logsumexp(np.where(own, high[:, None], low[:, None]), axis=2)
    gaps = np.empty((n, k + 1, k + 1))
    gaps[:, :k, :k] = low[:, :, None] - high[:, None, :]
    gaps[:, :k, k], gaps[:, k, :k] = least, -most
    return gaps


def settle(model: Any, cases: list, look: Callable) -> None:
    """Choose the offsets, and write them down.

    Rows moved against the model as it is need not be the worst against the model with offsets. So it is
    attacked again with the offsets chosen, these rows are added to those known, and the choice is made
    anew, until the attack finds nothing worse.
    """
    seed = check_random_state(model.random_state).randint(2**31 - 1)
    case = _join(cases)
    _choose(model, case, seed)
    for _ in range(N_ROUNDS if model.bound == "attacked" else 0):
        case = _join(look(model.offsets_))
        worse = float(np.average(costs(model, case)[1], weights=case.weight))
        if worse <= model.cost_ + rounding(case.costs):
            break
        _choose(model, case, seed)
    decided = decide(case.score[:, : len(model.classes_)], model.offsets_)
    if not refers(model) and len(np.unique(decided)) == 1:
        warn_of_one(model, int(decided[0]))


def _choose(model: Any, case: Chances, seed: int) -> None:
    k, human = len(model.classes_), model.refer_cost is not None
    name, _ = scores_of(model.estimator_, model.response_method)
    most = FURTHEST if name == "predict_proba" else np.inf
    found = best_offsets(case.alone() if human else case, seed, most)
    model.refer_offset_ = -np.inf
    if human:
        asking = best_offsets(case, seed, most)
        if asking.worst < found.worst - rounding(case.costs):  # worth it
            found, model.refer_offset_ = asking, float(asking.values[-1])
    shift = found.values[:k].mean()
    model.offsets_ = found.values[:k] - shift
    model.refer_offset_ -= shift
    model.clean_cost_, model.cost_ = found.clean, found.worst


def costs(model: Any, case: Chances) -> tuple[np.ndarray, np.ndarray]:
    """Clean and worst cost (n,) with the offsets that were chosen."""
    return costs_of(case, _all_offsets(model, case))


def _all_offsets(model: Any, case: Chances) -> np.ndarray:
    """Those of the classes, and of the human, if there is one."""
    return np.append(model.offsets_, model.refer_offset_)[: case.costs.shape[1]]


def refers(model: Any) -> bool:
    """Whether any row may be referred."""
    return bool(np.isfinite(model.refer_offset_))


def answers(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """The class that each row leans to, and which rows are referred."""
    name, read = scores_of(model.estimator_, model.response_method)
    score = _logs(name, read(X)) + model.offsets_
    return score.argmax(axis=1), score.max(axis=1) < model.refer_offset_
