"""Consistency under noise: training for models that are smoothed afterwards."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from skrobust._params import check_integer, check_number
from skrobust._torch import per_row
from skrobust.smoothing._base import Divergence, Setting

__all__ = ["Consistency"]


class Consistency(Divergence):
    """How differently noisy copies of a row are answered; no attack, two more copies of each row.

    With ``m`` copies ``z_i = x + radius * scale * e_i``, ``e_i`` standard normal, ``p_i`` their
    probabilities and ``p`` the mean of these::

        mean_i loss(z_i) - loss(x)  +  pull * mean_i KL(p || p_i)  +  sharpness * entropy(p)

    So with ``smoothing=1`` the clean loss cancels, and what is minimised is the loss of noisy rows
    with the consistency regulariser of Jeong & Shin (2020, arXiv 2006.04062): a majority under
    noise that is clear, and therefore a large radius in :class:`skrobust.SmoothedClassifier`. Of a
    regressor the middle term is the variance of the answers, and there is no last one.

    The radius is here the standard deviation of the noise, in steps of the threat: set it to the
    ``noise`` that the model will be smoothed with. Columns that cannot move get none. Noise is no
    movement within the ball: it passes the radius and the bounds.

    Parameters
    ----------
    n_copies : int, default=2
        ``m``, at least 2.
    pull : float, default=5.0
        Weight of the disagreement.
    sharpness : float, default=0.5
        Weight of the entropy.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrobust import RobustClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RobustClassifier(divergence="consistency", radius=0.3, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    searches = False

    def __init__(self, n_copies: int = 2, pull: float = 5.0, sharpness: float = 0.5):
        self.n_copies = n_copies
        self.pull = pull
        self.sharpness = sharpness

    def penalty(self, x: Tensor, output: Tensor, y: Tensor, setting: Setting) -> Tensor:
        m = check_integer("n_copies", self.n_copies, low=2)
        pull = check_number("pull", self.pull, low=0)
        sharpness = check_number("sharpness", self.sharpness, low=0)
        noisy = setting.forward(_noisy(x, setting, m))  # the copies in one pass
        loss = setting.loss(noisy, torch.cat([y] * m)).view(m, -1).mean(dim=0)
        noisy = noisy.view(m, len(x), -1)
        gap = loss - setting.loss(output, y)
        if y.is_floating_point():
            return gap + pull * noisy.var(dim=0, correction=0).sum(dim=1)
        logs = log_softmax(noisy, dim=2)
        middle = torch.logsumexp(logs, dim=0) - math.log(m)
        apart = kl_div(logs, middle.expand_as(logs), reduction="none", log_target=True)
        entropy = -(middle.exp() * middle).sum(dim=1)
        return gap + pull * apart.sum(dim=2).mean(dim=0) + sharpness * entropy


def _noisy(x: Tensor, setting: Setting, copies: int) -> Tensor:
    """Copies of the rows, one after the other, with noise where rows can move."""
    region = setting.region()
    std = region.scale * per_row(region.radius, x) * (region.high > region.low)
    size = (copies, *x.shape)
    draws = torch.randn(size, dtype=x.dtype, device=x.device, generator=setting.generator)
    return (x + std * draws).flatten(0, 1)
