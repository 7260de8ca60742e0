"""How strongly an output hangs on each entry of a row: gradients, counted in steps of the threat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrobust._torch import differences, to_numpy, to_tensor
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.inspection._worst_case_display import answers
from skrobust.metrics._evaluation import Evaluation

__all__ = ["Slopes"]

BATCH = 2**20  # numbers of moved rows in one pass


class Slopes:
    """A model's own answers to some rows, and the gradient of what speaks for them.

    Of a classifier that is the logit margin of the answer given to the row, ``f_c - max f_k``, also
    where the row has moved; of a regressor its output.

    Attributes
    ----------
    evaluation : Evaluation
        The rows with the model's answers as labels.
    margin : ndarray of shape (n,)
        At the rows themselves; of a regressor the prediction.
    """

    def __init__(self, estimator: Any, X: Any, threat: Any):
        self.evaluation = Evaluation(estimator, X, answers(estimator, X), threat=threat)
        self.task, self.view = self.evaluation.task, self.evaluation.task.view
        self.x = to_tensor(self.evaluation.rows.values, device=self.view.device)
        self.classifies = self.task.is_margin
        if self.classifies:
            self.margin = -self.evaluation.clean.value
            self.codes = to_tensor(self.task.codes, device=self.view.device).long()
        else:
            if self.task.y.shape[1] != 1:
                raise UnsupportedEstimatorError(
                    f"{type(estimator).__name__} predicts several numbers: attributions are those "
                    "of one. Look at one output at a time."
                )
            self.margin = self.task.y[:, 0]

    @property
    def smooth(self) -> bool:
        """Whether the model has a gradient that says something: no trees, no bins, no black box."""
        return self.view.differentiable and not self.view.jumps

    def need(self, estimator: Any) -> None:
        if not self.smooth:
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} has no gradient, or one that is 0 nearly everywhere: "
                "there is no attribution by gradients. Of sums of functions of single columns, "
                "certified_reasons tells what counts; input_sensitivity moves columns instead."
            )

    def at(self, z: Tensor, rows: Tensor | None = None, graph: bool = False):
        """Gradient at moved rows (in steps of nothing yet), and whether the answer is the same."""
        found = []
        size = max(1, BATCH // max(1, z[0].numel()))
        codes = self.codes if self.classifies else None
        if rows is not None and codes is not None:
            codes = codes[rows]
        with self.view.evaluating(), torch.enable_grad():
            for low in range(0, len(z), size):
                part = slice(low, low + size)
                found.append(self._at(z[part], None if codes is None else codes[part], graph))
        return tuple(torch.cat(part) for part in zip(*found, strict=True))

    def _at(self, z: Tensor, codes: Tensor | None, graph: bool):
        z = z if graph and z.requires_grad else z.detach().requires_grad_(True)
        if codes is None:
            value = self.view.forward(z)[:, 0]
            same = torch.ones(len(z), dtype=torch.bool, device=z.device)
        else:
            value = -differences(self.task.logits(z), codes).amax(dim=1)
            same = value.detach() > 0
        if not value.requires_grad:
            return torch.zeros_like(z), same
        (slope,) = torch.autograd.grad(value.sum(), z, create_graph=graph, allow_unused=True)
        slope = torch.zeros_like(z) if slope is None else torch.nan_to_num(slope)
        return slope, same

    def lost(self, radius: float) -> np.ndarray:
        """What each entry alone takes from the margin within the radius, by the slope (n, ...).

        Of a regressor, how far it moves the prediction, whichever way is further.
        """
        slope, _ = self.at(self.x)
        region = self.evaluation.threat.region(self.x, radius)
        down, up = slope * (self.x - region.low), -slope * (region.high - self.x)
        both = (down, up) if self.classifies else (down.abs(), up.abs())
        return np.nan_to_num(to_numpy(torch.maximum(*both).clamp(min=0)))
