"""First-order divergence: no attack, one gradient with respect to the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.smoothing._base import Divergence, Setting

__all__ = ["Gradient"]


class Gradient(Divergence):
    """Largest first-order growth of the loss inside the region, ``max_z <grad, z - x>``.

    Without bounds that is ``radius * ||scale * grad||_q`` with the dual norm q: the double
    backpropagation of Drucker & LeCun (1992) in the geometry of the threat. It costs one extra
    backward pass and sees no curvature, so it suits small radii and smooth models.
    """

    searches = False

    def penalty(self, x: Tensor, output: Tensor, y: Tensor, setting: Setting) -> Tensor:
        x = x.detach().requires_grad_(True)
        value = setting.loss(setting.forward(x), y)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        move = setting.region().steepest(gradient.detach()) - x.detach()
        return (gradient * torch.nan_to_num(move)).flatten(1).sum(dim=1)
