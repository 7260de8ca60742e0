"""One estimator, rows and targets, made ready to be attacked at any radius.

The only place where evaluation calls an attack.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone

from skrobust._compat import check_sample_weight
from skrobust._params import check_integer, check_number
from skrobust._torch import generator_from, to_numpy, to_tensor
from skrobust.attacks import Auto, Objective, check_attack
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows
from skrobust.metrics._tasks import task_of
from skrobust.metrics._view import say_black_box
from skrobust.threats import check_threat

__all__ = ["Evaluation", "Found", "check_radius", "mean"]

WHY_RADIUS = (
    "Evaluation names its threat: a score that took the estimator's own radius would let a grid "
    "search win by choosing 0."
)


class Found(NamedTuple):
    """Worst rows found so far; per row, in the order given (``z`` as numbers)."""

    z: np.ndarray
    value: np.ndarray
    broken: np.ndarray
    n_forward: np.ndarray
    n_backward: np.ndarray

    def better(self, other: Found, take: np.ndarray) -> Found:
        """The rows of ``other`` where ``take`` says so; evaluations add up."""
        pick = take.reshape(-1, *[1] * (self.z.ndim - 1))
        return Found(
            np.where(pick, other.z, self.z),
            np.where(take, other.value, self.value),
            np.where(take, other.broken, self.broken),
            self.n_forward + other.n_forward,
            self.n_backward + other.n_backward,
        )


def check_radius(radius: Any) -> float:
    return check_number("radius", radius, low=0, hint=WHY_RADIUS)


class Evaluation:
    """What worst_case, the scores, curves and scorers share.

    Attributes
    ----------
    rows, task, threat, attack
        The parsed arguments.
    weight : ndarray of shape (n,)
        Row weights, ones if none were given.
    clean : Found
        The rows as they are, judged.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        threat: Any = "linf",
        attack: Any = "auto",
        sample_weight: Any = None,
        loss: Any = None,
        tolerance: float | None = None,
        batch_size: int | None = None,
    ):
        self.threat, self.attack = check_threat(threat), check_attack(attack)
        if tolerance is not None:
            tolerance = check_number("tolerance", tolerance, low=0)
        self.rows = Rows(X, self.threat.categories)
        self.threat = self.threat.holding(sorted(self.rows.categories))
        self.weight = check_sample_weight(sample_weight, self.rows.values)
        self.task = self._task(estimator, y, loss, tolerance)
        if (self.task.view.jumps or self.threat.ruled) and isinstance(self.attack, Auto):
            # gradients are 0, or point between whole numbers: search first, as without any
            self.attack = clone(self.attack).set_params(search_first=True)
        self._size = self._batch(batch_size)
        self._check_attack(estimator)
        self._check_threat()
        none = np.zeros(len(self.rows), dtype=np.int64)
        self.clean = Found(self.rows.values, *self.task.clean, none, none)

    def _task(self, estimator: Any, y: Any, loss: Any, tolerance: float | None):
        """What is asked of the model; whoever asks for something else overrides this."""
        return task_of(estimator, self.rows, y, loss, tolerance)

    def worst(
        self, radius: float | np.ndarray, generator: torch.Generator, start: Found | None = None
    ) -> Found:
        """The worst rows within ``radius`` (one for all, or one per row, each > 0), ``start``
        (found within a smaller one) included."""
        found = self.clean if start is None else start
        if np.ndim(radius) == 0 and radius == 0:
            return found
        task = self.task
        for climb in task.climbs():
            if task.is_margin and climb.goal is None and not self._exact:
                climb = climb._replace(goal=0.0)  # nothing to be had for free after all
            done = found.broken if climb.goal is not None else np.zeros_like(found.broken)
            index = np.flatnonzero(task.searchable() & ~done)
            found = self._improve(found, index, radius, climb, generator)
        if task.is_margin:
            # the torch view says lost, predict says kept (rounding, moved thresholds): go further
            undecided = task.searchable() & (found.value > 0) & ~found.broken
            climb = climb._replace(goal=None)
            found = self._improve(found, np.flatnonzero(undecided), radius, climb, generator)
        return found

    def _improve(self, found: Found, index: np.ndarray, radius, climb, generator) -> Found:
        """Search the rows ``index`` and keep what is worse than what was found before."""
        if len(index) == 0:
            return found
        objective = partial(self.task.objective, climb=climb)
        z, forward, backward = self.search(objective, found.z, index, radius, generator)
        moved = self.rows.like_given(z)
        z = self.rows.read(moved)
        new = Found(z, *self.task.judge(moved, z), forward, backward)
        worse = new.value > found.value
        if self.task.is_margin:
            worse = (new.broken & ~found.broken) | ((new.broken == found.broken) & worse)
        touched = np.zeros(len(z), dtype=bool)
        touched[index] = True
        kept = found.better(new, worse & touched)
        # rows that were wrong where they stand count as broken, once
        return kept._replace(broken=kept.broken | self.task.clean.broken)

    def search(
        self,
        objective_of: Callable[[np.ndarray], Objective],
        start: np.ndarray,
        index: np.ndarray,
        radius: float | np.ndarray,
        generator: torch.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows, those of ``index`` moved to where ``objective_of(part)`` is large, from ``start``;
        forward and backward passes of each. ``radius`` is one number, or one per row."""
        view, fresh = self.task.view, start is self.rows.values
        z = start.copy()
        forward, backward = (np.zeros(len(z), dtype=np.int64) for _ in range(2))
        with view.evaluating():
            for low in range(0, len(index), self._size):
                part = index[low : low + self._size]
                x = to_tensor(self.rows.values[part], device=view.device)
                begin = None if fresh else to_tensor(z[part], device=view.device)
                far = (
                    radius if np.ndim(radius) == 0 else to_tensor(radius[part], device=view.device)
                )
                moved = self.attack.maximize(
                    objective_of(part), x, self.threat, far, begin, generator=generator
                )
                z[part] = to_numpy(moved.z)
                forward[part] = to_numpy(moved.n_forward)
                backward[part] = to_numpy(moved.n_backward)
        return z, forward, backward

    def generator(self, random_state: Any) -> torch.Generator:
        if random_state is None:  # a stream of its own: measuring leaves no trace in numpy's
            random_state = np.random.RandomState()
        return generator_from(random_state, self.task.view.device)

    def _batch(self, size: int | None) -> int:
        """Rows per call of the attack: some millions of numbers, if the user has no other wish."""
        if size is not None:
            return check_integer("batch_size", size, low=1)
        return int(np.clip(2**20 // self.rows.values[0].size, 64, 8192))

    def _check_attack(self, estimator: Any) -> None:
        if self.task.view.differentiable:
            return
        if self.attack.needs_gradient:
            raise invalid(
                "attack",
                self.attack,
                f"one that needs values only: {type(estimator).__name__} has no torch view to "
                "differentiate",
                "Use attack='auto', 'search' or 'noise', or teach it one with "
                "skrobust.bridge.register_torch_view.",
            )
        if isinstance(self.attack, Auto) and self.task.view.model is None:
            say_black_box(estimator)

    def _check_threat(self) -> None:
        """An unbound threat, or rows outside its bounds, are errors before any search."""
        size = max(1, 2**24 // self.rows.values[0].size)
        for low in range(0, len(self.rows), size):
            region = self.threat.region(to_tensor(self.rows.values[low : low + size]), 0.0)
        self._exact = region.exact_steepest


def mean(values: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(values, weights=weight))
