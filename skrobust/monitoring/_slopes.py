"""By how much the answer of a row leads, and the slope of that lead, from a torch view or a matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust.bridge import affine_map, is_affine
from skrobust.metrics._view import View
from skrobust.threats import BallRegion

__all__ = ["Map", "Pushes", "lead", "map_of", "slope_of"]

FEW = 12  # classes of which all pairs are worked out beforehand


class Map(NamedTuple):
    """An affine model: ``x @ weight.T + bias`` (weight (n_outputs, n_features))."""

    weight: Tensor
    bias: Tensor


def map_of(view: View | None, n_features: int) -> Map | None:
    """The model as a matrix; None if it is none, or if its numbers may still be trained."""
    if view is None or view.module is None or any(True for _ in view.module.parameters()):
        return None
    if not is_affine(view.module):
        return None
    weight, bias = affine_map(view.module, n_features)
    return Map(*(_both(part) for part in (weight, bias)))


def _both(part: Tensor) -> Tensor:
    """Two classes have one logit: that of the first is 0."""
    part = part.detach()
    return torch.cat([torch.zeros_like(part), part]) if len(part) == 1 else part


def lead(outputs: Tensor, answer: np.ndarray | None) -> Tensor:
    """Logit of the answer minus the best other one; of a regressor (None) the sum of its outputs."""
    outputs = outputs.reshape(len(outputs), -1)
    if answer is None:
        return outputs.sum(dim=1)
    if outputs.shape[1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    own, other = _pair(outputs, answer)
    return (outputs.gather(1, own) - outputs.gather(1, other))[:, 0]


def _pair(outputs: Tensor, answer: np.ndarray) -> tuple[Tensor, Tensor]:
    """Places (n, 1) of the answer, and of the best other output."""
    own = torch.as_tensor(np.maximum(answer, 0), device=outputs.device)[:, None]
    if outputs.shape[1] == 2:
        return own, 1 - own
    return own, outputs.detach().scatter(1, own, -torch.inf).argmax(dim=1, keepdim=True)


def slope_of(
    view: View, known: Map | None, x: Tensor, answer: np.ndarray | None
) -> tuple[Tensor, Tensor]:
    """The lead (n,) and its gradient (n, ...) at ``x``; one pass forward and one back."""
    if known is not None and answer is not None:
        outputs = torch.addmm(known.bias, x.flatten(1).double(), known.weight.T)
        own, other = (places[:, 0] for places in _pair(outputs, answer))
        slope = known.weight[own] - known.weight[other]
        return lead(outputs, answer), slope.to(x.dtype).view_as(x)
    x = x.detach().requires_grad_(True)
    value = lead(view.forward(x), answer)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), torch.nan_to_num(slope)


class Pushes:
    """How a threat without walls pushes the rows of an affine classifier: alike for each pair of classes.

    So the movements are worked out once, around a row of zeros, and a look needs one product of rows
    and weights: no gradient, no region around each row.

    Parameters
    ----------
    known : Map
    region : BallRegion
        Around one row of zeros.
    """

    def __init__(self, known: Map, region: BallRegion):
        n, d = known.weight.shape
        self.weight, self.bias = known.weight.T.cpu().numpy().copy(), known.bias.cpu().numpy()
        slopes = (known.weight[:, None] - known.weight[None]).reshape(n * n, d)
        pairs = region.around(torch.zeros(n * n, *region.x.shape[1:], dtype=torch.float64))
        slopes = slopes.cpu().view_as(pairs.x)
        away, towards = pairs.steepest(slopes), pairs.steepest(-slopes)
        self.away = away.numpy()  # from the boundary: what speaks for the answer
        self.loss = -(slopes * towards).flatten(1).sum(dim=1).numpy()
        self.moved = towards.flatten(1).numpy() @ self.weight

    @classmethod
    def of(cls, known: Map | None, region: BallRegion | None) -> Pushes | None:
        """None where rows are not pushed alike."""
        if known is None or region is None or region.room.low is not None:
            return None
        if region.x.dtype != torch.float64 or region.x.device.type != "cpu":
            return None
        if not 2 <= len(known.weight) <= FEW:
            return None
        return cls(known, region.around(torch.zeros_like(region.x[:1])))

    def of_rows(self, values: np.ndarray, answer: np.ndarray, asked: np.ndarray) -> tuple:
        """(lead, what a push takes from it, push, whether a push of rows ``asked`` changes the class)."""
        outputs = values.reshape(len(values), -1) @ self.weight + self.bias
        own, rows = np.maximum(answer, 0), np.arange(len(values))
        other = _best_other(outputs, own)
        pair = own * len(self.bias) + other
        near = np.full(len(values), np.nan)
        if asked.any():
            there, own_there = outputs[asked] + self.moved[pair[asked]], own[asked]
            places = np.arange(len(there))
            best = there[places, _best_other(there, own_there)]
            near[asked] = there[places, own_there] <= best
        return outputs[rows, own] - outputs[rows, other], self.loss[pair], self.away[pair], near


def _best_other(outputs: np.ndarray, own: np.ndarray) -> np.ndarray:
    if outputs.shape[1] == 2:
        return 1 - own
    others = outputs.copy()
    others[np.arange(len(own)), own] = -np.inf
    return others.argmax(axis=1)
