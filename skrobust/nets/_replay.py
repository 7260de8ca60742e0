"""The attacked network as a CUDA graph: small batches leave a GPU waiting for Python, not for numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from skrobust.exceptions import RobustnessWarning

__all__ = ["Replayed"]


class Replayed:
    """A frozen network whose forward and backward passes are recorded once and replayed.

    Recorded are batches of the size that comes first; others (the last of an epoch) are computed as
    ever. The recording reads the weights where they lie, so that it follows their updates.

    Parameters
    ----------
    forward : callable
        Rows (n, ...) to outputs (n, k), in an arithmetic that it brings along.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor]):
        self.forward = forward
        self._key: tuple | None = None
        self._replay: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        key = x.shape, x.dtype
        if self._key is None and x.requires_grad:
            self._key, self._replay = key, self._record(x)
        if self._replay is None or key != self._key:
            return self.forward(x)
        # what a recording writes its next replay overwrites: gradients and outputs leave as copies
        return self._replay(x.mul(1)).clone()

    def _record(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        try:
            with torch.autocast(x.device.type, enabled=False):
                sample = x.detach().clone().requires_grad_()
                return torch.cuda.make_graphed_callables(self.forward, (sample,))
        except RuntimeError as error:
            warnings.warn(
                "cuda_graphs=True is not possible for this network, which is trained without: "
                f"{str(error).splitlines()[0]}",
                RobustnessWarning,
                stacklevel=2,
            )
            return None
