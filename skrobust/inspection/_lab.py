"""The experiments that diagnostics judge: attacks of several kinds on the same rows.

Every experiment is made once, when the first check asks for it, from a random stream of its own, so
that its outcome does not depend on which checks were made before.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from torch import Tensor

from skrobust._torch import generator_from, to_numpy, to_tensor
from skrobust.attacks import APGD, PGD, Attack, Auto, Noise, Objective, Search, check_attack
from skrobust.inspection._rows import as_array, some_rows, take_rows
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._tasks import Classification
from skrobust.threats import LpBall

__all__ = ["Lab", "Outcome", "random_from"]


class Outcome(NamedTuple):
    """What an attack did to the rows of a lab: the moved rows, and how bad each is (n,)."""

    z: np.ndarray
    value: np.ndarray


class Lab:
    """A model and rows that it gets right, ready for experiments.

    Attributes
    ----------
    n_rows : int
        Rows drawn, those that the model gets wrong included.
    rows : ndarray
        Numbers of the rows to experiment with, among those drawn.
    x : ndarray of shape (len(rows), ...)
    clean : ndarray of shape (len(rows),)
        How bad the rows are as they stand: minus the margin, or the loss.
    """

    def __init__(self, estimator, X, y, *, radius, threat, attack, max_rows, random_state, loss):
        random = random_from(random_state)
        rows = some_rows(len(X), max_rows, random)
        self.evaluation = _evaluation(estimator, X, y, rows, threat, loss)
        if max_rows is not None and not self.evaluation.task.view.differentiable:
            rows = rows[: max_rows // 2]  # searching a black box costs many times more
            self.evaluation = _evaluation(estimator, X, y, rows, threat, loss)
        self.estimator, self.radius, self.attack = estimator, radius, check_attack(attack)
        self.threat, self.task = self.evaluation.threat, self.evaluation.task
        self.view, self.n_rows = self.task.view, len(rows)
        self.classifies = isinstance(self.task, Classification)
        self.white = self.view.differentiable
        self._seed = int(random.randint(2**31 - 1))
        able = self.task.searchable()
        if self.classifies:
            able = able & ~self.evaluation.clean.broken & (self.evaluation.clean.value <= 0)
        self.rows = np.flatnonzero(able)
        self.x = self.evaluation.rows.values[self.rows]
        self.clean = self.evaluation.clean.value[self.rows]

    # Experiments ------------------------------------------------------------------------------

    @cached_property
    def one_step(self) -> Outcome:
        """One full step from the row itself."""
        return self.run(PGD(n_steps=1, random_start=False))

    def path(self, radius: float) -> np.ndarray:
        """How bad the rows are at a random start and after each of twenty steps, (21, n)."""
        with self.view.evaluating():
            x = self.tensor(self.x)
            region = self.threat.region(x, radius)
            fn = self.objective(self.rows).within(region)
            z = region.sample(self.generator("path"))
            return np.nan_to_num(to_numpy(_ascend(fn.over(len(x)), region, z, 20)), nan=-np.inf)

    @cached_property
    def twenty(self) -> np.ndarray:
        """The worst of twenty steps from a random start, and of twenty from the row itself."""
        again = self.run(PGD(n_steps=20, random_start=False))
        return np.fmax(again.value, self.path(self.radius).max(axis=0))

    @cached_property
    def base(self) -> Outcome:
        """The attack whose convergence is in question."""
        return self.run(self.base_attack, salt="base")

    @cached_property
    def base_attack(self) -> Attack:
        """The user's attack; of a cascade on gradients the part that follows them, made cheap."""
        if self.white and isinstance(self.attack, Auto):
            few = min(3, self.attack.n_targets)
            return clone(self.attack).set_params(n_targets=few, n_restarts=1, n_queries=0)
        return self.attack

    @cached_property
    def full(self) -> np.ndarray:
        """What the user's attack finds, nothing left out."""
        if self.base_attack is self.attack:
            return self.base.value
        rest = self.run(self.attack, unless=self.base.value, salt="full")
        return np.fmax(self.base.value, rest.value)

    @cached_property
    def doubled(self) -> np.ndarray | None:
        """The base attack with twice the steps or queries; None if it has neither."""
        options = self.base_attack.get_params()
        names = ("n_steps",) if self.white else ("n_queries_black_box",)
        for name in (*names, "n_queries", "n_draws"):
            if options.get(name):
                longer = clone(self.base_attack).set_params(**{name: 2 * options[name]})
                found = self.run(longer, unless=self.base.value, salt="base").value
                return np.fmax(found, self.base.value)
        return None

    @cached_property
    def restarts(self) -> np.ndarray:
        """The worst of four more runs of the base attack, from other random starts."""
        worst = self.base.value
        for k in range(4):
            worst = np.fmax(worst, self.run(self._elsewhere, unless=worst, salt=f"r{k}").value)
        return worst

    @cached_property
    def white_box(self) -> np.ndarray:
        """The worst that all attacks with gradients found."""
        found = [self.one_step.value, self.twenty, self.base.value, self.restarts]
        if self.doubled is not None:
            found.append(self.doubled)
        worst = np.fmax.reduce(found)
        if self.classifies and len(self.task.classes) > 2:
            targeted = APGD(n_steps=30, targeted=True)
            worst = np.fmax(worst, self.run(targeted, unless=worst, salt="targeted").value)
        return worst

    @cached_property
    def black_box(self) -> np.ndarray:
        """A search without gradients, on the rows that gradients did not break."""
        return self.run(Search(n_queries=500), unless=self.white_box, salt="search").value

    @cached_property
    def stubborn(self) -> np.ndarray:
        """The white box once more, with many restarts, on the rows that the black box broke."""
        attack = APGD(n_steps=50, n_restarts=4, targeted=True)
        known = np.where(self.black_box > 0, self.white_box, np.inf)
        rest = self.run(attack, unless=known if self.classifies else None, salt="stubborn")
        return np.fmax(self.white_box, rest.value)

    def noise(self, radius: float) -> np.ndarray:
        """The worst of twenty random points."""
        return self.run(Noise(n_draws=20), radius=radius, salt="noise").value

    def guided(self, radius: float) -> np.ndarray:
        """As many points as :meth:`noise`, chosen by gradients (or by search), from the row."""
        attack = PGD(n_steps=20, random_start=False) if self.white else Search(n_queries=60)
        return self.run(attack, radius=radius, salt="guided").value

    def everywhere(self, attack: Attack) -> Outcome:
        """The attack in the smallest box that holds all rows: there each can become any other."""
        values = self.evaluation.rows.values
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        scale = np.where(high > low, high - low, 1.0)
        threat = LpBall("linf", scale=scale, bounds=(low, high)).bind(values)
        return self.run(attack, radius=1.0, threat=threat, salt="everywhere")

    # Tools ------------------------------------------------------------------------------------

    def run(
        self,
        attack: Attack,
        *,
        radius: float | None = None,
        threat: Any = None,
        unless: np.ndarray | None = None,
        salt: str = "",
    ) -> Outcome:
        """Attack all rows, or only those that ``unless`` (values found before) has not broken."""
        part = np.arange(len(self.rows))
        if unless is not None and self.classifies:
            part = np.flatnonzero(~(unless > 0))
        z, value = self.x.copy(), self.clean.copy()
        if len(part) == 0:
            return Outcome(z, value)
        generator, size = self.generator(salt), max(32, 2**20 // self.x[0].size)
        with self.view.evaluating():
            for low in range(0, len(part), size):
                some = part[low : low + size]
                moved = attack.maximize(
                    self.objective(self.rows[some], stop=True),
                    self.tensor(self.x[some]),
                    self.threat if threat is None else threat,
                    self.radius if radius is None else radius,
                    generator=generator,
                )
                z[some], value[some] = to_numpy(moved.z), to_numpy(moved.value)
        return Outcome(z, value)

    def objective(self, rows: np.ndarray, stop: bool = False) -> Objective:
        """What makes the rows bad: minus the margin, or the loss."""
        climb = self.task.climbs()[0]
        goal = 0.0 if stop and self.classifies else None
        return self.task.objective(rows, climb._replace(goal=goal))

    def outputs(self) -> np.ndarray:
        """Outputs of the model for all rows drawn, asked now."""
        with self.view.evaluating(), torch.no_grad():
            return to_numpy(self.view.forward(self.tensor(self.evaluation.rows.values)))

    def tensor(self, values: np.ndarray) -> Tensor:
        return to_tensor(values, device=self.view.device)

    def generator(self, salt: str) -> torch.Generator:
        seed = [self._seed, *salt.encode()]
        return generator_from(np.random.RandomState(seed), self.view.device)

    def growth(self, before: np.ndarray, after: np.ndarray) -> float:
        """How much more ``after`` found than ``before``.

        Of a classifier in points of accuracy, of a regressor in percent of the mean loss.
        """
        if self.classifies:
            return 100 * float((after > 0).sum() - (before > 0).sum()) / self.n_rows
        return 100 * float(np.mean(after) / max(np.mean(before), 1e-300) - 1)

    def beyond(self, growth: float, points: float) -> bool:
        """Whether a growth is more than ``points`` allow (losses: four times as many percent).

        Two rows more or less are never enough: they would be the luck of a start.
        """
        if self.classifies:
            return growth > max(points, 250 / self.n_rows)
        return growth > 4 * points

    @property
    def unit(self) -> str:
        return "points of accuracy" if self.classifies else "% of the mean loss"

    @cached_property
    def _elsewhere(self) -> Attack:
        """The base attack, made to begin at a random point."""
        attack = clone(self.base_attack)
        return attack.set_params(random_start=True) if hasattr(attack, "random_start") else attack


def _ascend(fn: Objective, region, z: Tensor, n_steps: int) -> Tensor:
    """Values along projected gradient ascent, the last one included."""
    size, values = region.radius * (2.5 / n_steps), []
    for _ in range(n_steps):
        value, _, gradient = fn.gradient(z)
        values.append(value)
        z = region.step(z, gradient, size)
    return torch.stack([*values, fn(z)])


def _evaluation(estimator, X, y, rows: np.ndarray, threat, loss) -> Evaluation:
    search = Search()  # needs no gradient and says nothing of black boxes
    part = take_rows(X, rows)
    return Evaluation(estimator, part, as_array(y)[rows], threat=threat, attack=search, loss=loss)


def random_from(random_state: Any) -> np.random.RandomState:
    """A stream of its own for None and for an int: numpy's global one is left alone."""
    if random_state is None or isinstance(random_state, (int, np.integer)):
        return np.random.RandomState(random_state)
    return check_random_state(random_state)
