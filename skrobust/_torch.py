"""The border between numpy and torch: tensors, modes, generators, margins.

Nothing here knows of threats, attacks or estimators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

__all__ = [
    "Frozen",
    "differences",
    "evaluating",
    "generator_from",
    "margins",
    "per_row",
    "seeded",
    "to_numpy",
    "to_tensor",
]


def to_tensor(values, *, dtype: torch.dtype | None = None, device: str = "cpu") -> Tensor:
    """Tensor of an array; floats keep their width, everything else becomes float64."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.dtype == np.float16 or array.dtype.itemsize > 8:
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    if not array.flags.writeable:
        array = array.copy()
    return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)


def to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def generator_from(random_state, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator of its own, seeded from scikit-learn's ``random_state``.

    An int gives the same stream each time; ``None`` gives a fresh one; the global torch
    generator is never read or written.
    """
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return torch.Generator(device=device).manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run code that draws from torch's global generator (initialisation, dropout); leave no trace."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode with frozen parameters; each submodule's mode and each flag come back.

    ``module.train()`` afterwards would not do: it also wakes the layers that the user froze.
    """
    modes = [(part, part.training) for part in module.modules()]
    flags = [(p, p.requires_grad) for p in module.parameters()]
    try:
        for part, mode in modes:
            if mode:
                part.training = False
        for parameter, flag in flags:
            if flag:
                parameter.requires_grad_(False)
        yield module
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


class Frozen:
    """:func:`evaluating` for a module that enters it a thousand times: looked through once.

    Modes are left alone where ``modes`` is false: no layer of the module cares.
    """

    def __init__(self, module: nn.Module, modes: bool = True):
        self.module = module
        self.parts = [part for part in module.modules() if part.training] if modes else []
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    def __enter__(self) -> nn.Module:
        self._set(False)
        return self.module

    def __exit__(self, *error) -> None:
        self._set(True)

    def _set(self, flag: bool) -> None:
        for part in self.parts:
            part.training = flag
        for parameter in self.parameters:
            parameter.requires_grad = flag


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Reshape per-row ``values`` (n,) so that they broadcast against ``like`` (n, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def differences(logits: Tensor, y: Tensor) -> Tensor:
    """Logit differences ``f_k - f_y`` of shape (n, k), minus infinity at ``k = y``.

    One column of logits means two classes with logits ``(0, f)``.

    >>> differences(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([[-2., -inf, -1.]])
    >>> differences(torch.tensor([[0.5]]), torch.tensor([0]))
    tensor([[  -inf, 0.5000]])
    """
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    own = logits.gather(1, y[:, None])
    mine = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, y[:, None], True)
    return (logits - own).masked_fill(mine, -torch.inf)


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """Logit margin ``f_y - max_{k != y} f_k`` of each row: negative means wrong.

    Unlike cross-entropy it neither saturates nor depends on the logits' temperature.
    """
    return -differences(logits, y).amax(dim=1)
