"""The costliest decision that a row can be moved to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust._torch import to_tensor
from skrobust.attacks import Objective
from skrobust.metrics._climbs import Climb
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._tasks import Classification

__all__ = ["Decided", "worst_decisions"]


class Decided(NamedTuple):
    """What was reached of each row: its cost, the decision (a class number, -1: none of them),
    the row itself, and how far the search that found it was allowed to go."""

    cost: np.ndarray
    decision: np.ndarray
    z: np.ndarray
    radius: np.ndarray


def worst_decisions(
    evaluation: Evaluation, costs: np.ndarray, limits: np.ndarray, generator: torch.Generator
) -> Decided:
    """Move each row to the costliest class that a search can make the model decide for.

    ``max of costs[i, k] over the classes k that row i was brought to within limits[i, k]``

    Classes are wanted by their costs, the costliest first: those that cost as much are one target, and
    the search climbs ``max_{k wanted} f_k - max_{j not wanted} f_j``. Whatever class a moved row
    lands in counts. Decisions are those of ``estimator.predict``.

    Parameters
    ----------
    evaluation : Evaluation
        Of a classifier, ``loss`` None.
    costs, limits : ndarray of shape (n, n_classes)
        What each decision costs, and the radius within which it counts (0: not at all).
    """
    task, rows = evaluation.task, np.arange(len(costs))
    known = np.clip(task.predicted, 0, None)
    found = Decided(
        np.where(task.predicted >= 0, costs[rows, known], -np.inf),
        task.predicted,
        evaluation.rows.values,
        np.zeros(len(rows)),
    )
    left = limits > 0
    while True:
        left &= costs > found.cost[:, None]
        index = np.flatnonzero(left.any(axis=1))
        if len(index) == 0:
            return found
        wanted, radius = _next(costs, limits, left)
        found = _towards(evaluation, found, index, wanted, radius, costs, limits, generator)
        left &= ~wanted


def _next(costs: np.ndarray, limits: np.ndarray, left: np.ndarray):
    """The costliest decisions that are left (n, k), and within which radius (n,)."""
    top = np.where(left, costs, -np.inf).max(axis=1, keepdims=True)
    radius = np.where(left & (costs == top), limits, 0.0).max(axis=1)
    return (costs >= top) & (limits >= radius[:, None]) & left.any(axis=1)[:, None], radius


def _towards(evaluation, found: Decided, index, wanted, radius, costs, limits, generator):
    """One search of the rows ``index``, and a second of those that a view took for won too early."""
    task, start = evaluation.task, evaluation.rows.values
    marks = wanted.astype(np.int64)
    marks[index, np.clip(task.predicted[index], 0, None)] -= 1
    marks = torch.as_tensor(marks, device=task.view.device)
    for goal in (0.0, None):
        climb = Climb(None, Pieces(task), goal)

        def objective(part: np.ndarray, climb: Climb = climb) -> Objective:
            return climb.objective(marks, part, task.view)

        z, _, _ = evaluation.search(objective, start, index, radius, generator)
        moved = evaluation.rows.like_given(z)
        z = evaluation.rows.read(moved)
        decision = task.decide(moved, z)
        found = _better(found, Decided(found.cost, decision, z, radius), index, costs, limits)
        index, start = _undecided(task, climb, marks, z, index, wanted, decision), z
        if len(index) == 0:
            break
    return found


def _better(found: Decided, new: Decided, index: np.ndarray, costs, limits) -> Decided:
    """``new`` where it costs more, and was found within what that decision allows."""
    rows, known = np.arange(len(costs)), np.clip(new.decision, 0, None)
    cost = costs[rows, known]
    allowed = (new.decision >= 0) & (limits[rows, known] >= new.radius)
    better = np.zeros(len(costs), dtype=bool)
    better[index] = (allowed & (cost > found.cost))[index]
    pick = better.reshape(-1, *[1] * (new.z.ndim - 1))
    return Decided(
        np.where(better, cost, found.cost),
        np.where(better, new.decision, found.decision),
        np.where(pick, new.z, found.z),
        np.where(better, new.radius, found.radius),
    )


def _undecided(task, climb: Climb, marks: Tensor, z: np.ndarray, index, wanted, decision):
    """Rows that have passed the goal in the view's eyes, and not in those of ``predict``."""
    if climb.goal is None:
        return index[:0]
    won = wanted[np.arange(len(wanted)), np.clip(decision, 0, None)] & (decision >= 0)
    open_ = index[~won[index]]
    if len(open_) == 0:
        return open_
    with task.view.evaluating():
        value = climb.objective(marks, open_, task.view)(to_tensor(z[open_], device=marks.device))
    return open_[(value > 0).cpu().numpy()]


class Pieces:
    """``f_k - max_{j not wanted} f_j`` (n, k) of the classes k wanted, -inf for the others.

    A function of moved rows and marks (n, k): 1 for classes that are wanted.
    """

    def __init__(self, task: Classification):
        self.task = task

    def __call__(self, z: Tensor, marks: Tensor) -> Tensor:
        logits, wanted = self.task.logits(z), marks > 0
        rival = logits.masked_fill(wanted, -torch.inf).amax(dim=1, keepdim=True)
        return (logits - rival).masked_fill(~wanted, -torch.inf)
