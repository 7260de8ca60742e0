"""Losses of regressors: per row, and the pieces that an attack climbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skrobust._params import check_number
from skrobust.exceptions import invalid

__all__ = ["CONVEX", "ErrorPrice", "Loss", "Pinball", "check_loss"]


@dataclass(frozen=True)
class Loss:
    """A per-row loss of the residual ``r = prediction - y``, mean over the outputs.

    ``of`` maps residuals (n, n_outputs) to losses of the same shape. ``pieces`` maps those of one
    output (n, 1) to functions (n, n_pieces), linear in the residual, such that a row with the
    largest piece has the largest loss.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    pieces: Callable[[Tensor], Tensor]

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        return self.of(prediction - y).mean(dim=1)


@dataclass(frozen=True)
class Pinball:
    """The pinball loss: a quantile's own, where too low costs ``alpha`` and too high ``1 - alpha``.

    ``max(alpha * (y - f), (1 - alpha) * (f - y))``, mean over the outputs, as scikit-learn's
    ``mean_pinball_loss``. Hand it to ``loss=`` of :func:`skrobust.robust_loss` and its relatives.

    Parameters
    ----------
    alpha : float
        The quantile, between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrobust import robust_loss
    >>> from skrobust.metrics import Pinball
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = LinearRegression().fit(X, [0.0, 3.0, 6.0])
    >>> round(robust_loss(model, X, [0.0, 3.0, 6.0], radius=0.5, loss=Pinball(0.9)), 6)
    1.35
    """

    alpha: float

    def __post_init__(self):
        check_number("alpha", self.alpha, low=0, high=1)

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        return self.pieces((prediction - y).flatten()[:, None]).amax(1).view_as(y).mean(dim=1)

    def pieces(self, residual: Tensor) -> Tensor:
        """``(1 - alpha) r`` and ``-alpha r``: the loss is the larger one."""
        return torch.cat([(1 - self.alpha) * residual, -self.alpha * residual], dim=1)


@dataclass(frozen=True)
class ErrorPrice:
    """What an error of a regressor costs: so much per unit too high, so much per unit too low.

    ``max(over * (r - tolerance), under * (-r - tolerance), 0)`` with ``r = prediction - y``, mean
    over the outputs. Within the tolerance an error costs nothing. Hand it to ``cost_matrix=`` of
    :func:`skrobust.expected_cost`, or to ``loss=`` of :func:`skrobust.robust_loss` and its relatives.

    Parameters
    ----------
    over, under : float
        Price of one unit of y that the prediction is too high, or too low.
    tolerance : float
        Size of the errors that cost nothing, in the units of y.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skrobust import robust_loss
    >>> from skrobust.metrics import ErrorPrice
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), [0.0, 3.0, 6.0]
    >>> model = LinearRegression().fit(X, y)
    >>> price = ErrorPrice(over=1, under=4, tolerance=0.5)
    >>> round(robust_loss(model, X, y, radius=0.5, loss=price), 6)  # 4 * (1.5 - 0.5)
    4.0
    """

    over: float = 1.0
    under: float = 1.0
    tolerance: float = 0.0

    def __post_init__(self):
        for name in ("over", "under", "tolerance"):
            check_number(name, getattr(self, name), low=0)

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        worse = self.pieces((prediction - y).flatten()[:, None]).amax(1)
        return worse.clamp(min=0).view_as(y).mean(dim=1)

    def pieces(self, residual: Tensor) -> Tensor:
        """``over (r - tolerance)`` and ``under (-r - tolerance)``: where the larger one is positive,
        it is the cost."""
        high, low = residual - self.tolerance, -residual - self.tolerance
        return torch.cat([self.over * high, self.under * low], dim=1)


def _square(residual: Tensor) -> Tensor:
    return residual.square()


def _both(residual: Tensor) -> Tensor:
    return torch.cat([residual, -residual], dim=1)


def _positive(residual: Tensor) -> Tensor:
    return residual.clamp(min=0)


def _negative(residual: Tensor) -> Tensor:
    return (-residual).clamp(min=0)


def _itself(residual: Tensor) -> Tensor:
    return residual


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("squared", _square, _both),
        Loss("absolute", torch.abs, _both),
        Loss("over", _positive, _itself),
        Loss("under", _negative, torch.neg),
    )
}


CONVEX = (Loss, Pinball, ErrorPrice)  # largest between two bounds at one of them


def check_loss(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """A regressor's loss from its name (None: squared), or a function as it is."""
    if callable(loss):
        return loss
    if loss is None or (isinstance(loss, str) and loss in LOSSES):
        return LOSSES[loss or "squared"]
    raise invalid(
        "loss", loss, f"None, one of {list(LOSSES)}, a Pinball(alpha) or a function(f, y) -> (n,)"
    )
