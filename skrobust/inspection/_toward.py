"""Another question than "wrong?": is an answer that was asked for reached?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrobust._torch import differences, to_tensor
from skrobust.attacks import Objective
from skrobust.exceptions import invalid
from skrobust.metrics._climbs import Climb, InParts
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._tasks import (
    Classification,
    Regression,
    Verdict,
    _outputs,
    is_regression,
)

__all__ = ["Toward"]


class Toward(Evaluation):
    """Rows that are to reach a class, or a value: "broken" are those that do.

    Parameters
    ----------
    y : ndarray of shape (n,)
        The model's own answers to the rows.
    target : ndarray of shape (n,)
        The class that each row is to reach; of a regressor the value that it is to reach or pass.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, target: np.ndarray, **options: Any):
        self._target = target
        super().__init__(estimator, X, y, **options)

    def _task(self, estimator: Any, y: Any, loss: Any, tolerance: float | None):
        if is_regression(estimator):
            return _Crossing(estimator, self.rows, y, self._target)
        return _Reaching(estimator, self.rows, y, self._target)


class _Reaching(Classification):
    """The class ``target`` is to win: the smallest of its margins over the others is climbed."""

    aim: np.ndarray | None = None  # numbers of the classes, once they are known

    def __init__(self, estimator: Any, rows: Any, y: Any, target: np.ndarray):
        super().__init__(estimator, rows, y, None)
        numbers = {label: number for number, label in enumerate(self.classes)}
        codes = [numbers.get(label, -1) for label in np.asarray(target).tolist()]
        if min(codes, default=0) < 0:
            given = np.asarray(target).tolist()[int(np.argmin(codes))]
            raise invalid("target", given, f"one of the classes {self.classes}")
        self.aim = np.array(codes)
        self._aim = to_tensor(self.aim, device=self.view.device).long()
        self.clean = self._verdict(rows.values, self.codes)

    def climbs(self) -> list[Climb]:
        return [Climb(self._lead, None, 0.0)]

    def objective(self, index: np.ndarray, climb: Climb) -> Objective:
        at = torch.as_tensor(index, device=self._aim.device)
        # the first argument is the class left behind: readers of trees aim away from it
        return InParts(
            climb.value,
            self._targets[at],
            self._aim[at],
            goal=climb.goal,
            differentiable=self.view.differentiable,
            model=self.view.model,
        )

    def _verdict(self, values: np.ndarray, predicted: np.ndarray) -> Verdict:
        if self.aim is None:
            return super()._verdict(values, predicted)
        lead = _outputs(self.view, values, self._lead, self._targets, self._aim)
        return Verdict(lead.astype(np.float64), predicted == self.aim)

    def _lead(self, z: Tensor, left: Tensor, aim: Tensor) -> Tensor:
        return -differences(self.logits(z), aim).amax(dim=1)


class _Crossing(Regression):
    """The prediction is to reach a value, from whichever side it stands."""

    is_margin = True  # what counts is whether, not by how much
    way: np.ndarray | None = None  # 1 where the value lies above, -1 where below

    def __init__(self, estimator: Any, rows: Any, y: Any, target: np.ndarray):
        super().__init__(estimator, rows, y, None, None)
        if self.y.shape[1] != 1:
            raise invalid("estimator", estimator, "a regressor of one output")
        self.way = np.where(self.y[:, 0] < target, 1.0, -1.0)
        self.target = np.asarray(target, dtype=np.float64)
        self._aim = to_tensor(np.stack([self.way, self.target], axis=1), device=self.view.device)
        self.clean = self._verdict(self.y)

    def climbs(self) -> list[Climb]:
        return [Climb(None, self._gap, 0.0)]

    def objective(self, index: np.ndarray, climb: Climb) -> Objective:
        return climb.objective(self._aim, index, self.view)

    def _verdict(self, predicted: np.ndarray) -> Verdict:
        if self.way is None:
            return super()._verdict(predicted)
        value = self.way * (predicted[:, 0].astype(np.float64) - self.target)
        return Verdict(value, value >= 0)

    def _gap(self, z: Tensor, aim: Tensor) -> Tensor:
        outputs = self.view.forward(z)[:, :1]
        aim = aim.to(outputs.dtype)
        return aim[:, :1] * (outputs - aim[:, 1:])
