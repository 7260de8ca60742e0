"""Rows as tensors, cut into batches by indexing: no per-row work, no copies through numpy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["BatchLoader", "Rows"]


class Rows(Dataset):
    """Rows, targets and weights on one device."""

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor):
        self.x, self.y, self.weight = x, y, weight

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows) -> tuple[Tensor, Tensor, Tensor]:
        return self.x[rows], self.y[rows], self.weight[rows]


class BatchLoader:
    """Batches of :class:`Rows`, shuffled each epoch by a generator of its own.

    A last batch of one row joins the batch before it: batch normalisation has no variance there.
    """

    def __init__(
        self, rows: Rows, batch_size: int, generator: torch.Generator | None, shuffle: bool
    ):
        self.rows, self.generator, self.shuffle = rows, generator, shuffle
        n = len(rows)
        self.batch_size = n if batch_size < 0 else min(batch_size, n)
        self.edges = list(range(0, n, self.batch_size)) + [n]
        if n > 1 and len(self.edges) > 2 and self.edges[-1] - self.edges[-2] == 1:
            del self.edges[-2]

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if not self.shuffle:
            for low, high in zip(self.edges, self.edges[1:], strict=False):
                yield self.rows[low:high]
            return
        order = torch.randperm(len(self.rows), generator=self.generator).to(self.rows.x.device)
        for low, high in zip(self.edges, self.edges[1:], strict=False):
            yield self.rows[order[low:high]]
