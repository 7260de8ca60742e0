"""The best rows seen so far, and the rows that an attack still works on."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust._torch import per_row
from skrobust.attacks._objective import Objective
from skrobust.threats import Region

__all__ = ["Best", "Survivors"]


class Best:
    """The best point seen for each row. ``update`` is the only way in.

    Tensors are replaced, never written to, so that whoever holds ``best.z`` may keep it.
    """

    def __init__(self, z: Tensor, value: Tensor, goal: float | None):
        self.z, self.goal = z, goal
        self.value = torch.where(value.isnan(), -torch.inf, value)  # NaN is beaten by anything

    def __len__(self) -> int:
        return len(self.value)

    def update(self, z: Tensor, value: Tensor, rows: Tensor | None = None) -> Tensor:
        """Keep ``z`` where its value is larger; return which rows (n,) improved."""
        if rows is not None:
            part = self.take(rows)
            better = part.update(z, value)
            self.put(rows, part)
            return better
        better = value > self.value  # false for NaN
        self.z = torch.where(per_row(better, z), z, self.z)
        self.value = torch.where(better, value, self.value)
        return better

    def take(self, rows: Tensor) -> Best:
        return Best(self.z[rows], self.value[rows], self.goal)

    def put(self, rows: Tensor, part: Best) -> None:
        """Write back what ``take(rows)`` gave, improved since."""
        self.z = self.z.index_copy(0, rows, part.z)
        self.value = self.value.index_copy(0, rows, part.value)

    def unfinished(self) -> Tensor:
        """Indices of the rows whose value has not yet passed the goal."""
        if self.goal is None:
            return torch.arange(len(self), device=self.value.device)
        return torch.nonzero(self.value <= self.goal).flatten()


class Survivors:
    """The rows that an attack still works on: their objective, region and best points.

    ``prune`` lets finished rows leave; ``close`` writes what was found back into the ``best``
    that was given. Without a goal no row ever leaves, and nothing waits for the device.

    >>> # live = Survivors(fn, region, best)
    >>> # z, step = live.prune(z, step)      the state of the rows that stay
    >>> # live.best.update(z, live.fn(z))
    >>> # live.close()
    """

    def __init__(self, fn: Objective, region: Region, best: Best):
        self.fn, self.region, self.best = fn, region, best
        self._whole, self._rows = best, None

    def __len__(self) -> int:
        return len(self.best)

    def prune(self, *state: Tensor | None) -> tuple[Tensor | None, ...]:
        """Drop the finished rows; return the per-row ``state`` of those that stay."""
        if self.fn.goal is None:
            return state
        stay = self.best.unfinished()
        if len(stay) == len(self):
            return state
        self.close()
        self._rows = stay if self._rows is None else self._rows[stay]
        self.fn, self.region = self.fn.take(stay), self.region.take(stay)
        self.best = self.best.take(stay)
        return tuple(None if part is None else part[stay] for part in state)

    def close(self) -> None:
        if self._rows is not None:
            self._whole.put(self._rows, self.best)
