"""Rows as tensors, cut into batches by indexing: no per-row work, no copies through numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from skrobust.threats import Region, Threat

__all__ = ["Batch", "BatchLoader", "Chunk", "Rows"]


class Rows(Dataset):
    """Rows, targets and weights; on the device of training if they fit there.

    ``weight`` may be None: every row weighs 1.
    """

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor | None = None):
        self.x, self.y, self.weight = x, y, weight

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows]

    def select(self, rows: Tensor) -> Rows:
        weight = None if self.weight is None else self.weight.index_select(0, rows)
        return Rows(self.x.index_select(0, rows), self.y.index_select(0, rows), weight)

    def to(self, device) -> Rows:
        weight = None if self.weight is None else self.weight.to(device, non_blocking=True)
        move = dict(device=device, non_blocking=True)
        return Rows(self.x.to(**move), self.y.to(**move), weight)


class Chunk:
    """A few batches that are gathered together, and whatever is worked out for all of them.

    What costs the same few tensor operations for one batch as for sixteen is done once: indexing,
    the region around the rows, the perturbations that rows come with.
    """

    def __init__(self, rows: Rows, index: Tensor):
        self.rows, self.index = rows, index
        self._region: tuple[Any, Region] | None = None

    def region(self, threat: Threat, radius: float) -> Region:
        """Where the rows of the chunk may go."""
        key = (id(threat), radius)
        if self._region is None or self._region[0] != key:
            self._region = key, threat.region(self.rows.x, radius)
        return self._region[1]

    @property
    def last_region(self) -> Region:
        """The region that was asked for last."""
        return self._region[1]


class Batch(NamedTuple):
    """Rows ``x`` (n, ...), targets, weights (or None), and where in which chunk they are."""

    x: Tensor
    y: Tensor
    weight: Tensor | None
    place: slice
    chunk: Chunk

    def region(self, threat: Threat, radius: float) -> Region:
        region = self.chunk.region(threat, radius)
        whole = self.place.stop - self.place.start == len(self.chunk.rows)
        return region if whole else region.take(self.place)


class BatchLoader:
    """Batches of :class:`Rows`, shuffled each epoch by a generator of its own.

    A last batch of one row joins the batch before it: batch normalisation has no variance there.
    Rows that live elsewhere than on ``device`` (pinned, because they do not fit there) follow
    chunk by chunk, the next one while the device works on this one.

    ``augment`` is a function ``(x, generator) -> x`` of gathered rows; the generator is on their device.
    """

    chunk_numbers = 2**20  # numbers of X gathered at a time

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        generator: torch.Generator | None,
        shuffle: bool,
        device: str | torch.device | None = None,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ):
        self.rows, self.generator, self.shuffle = rows, generator, shuffle
        self.device = rows.x.device if device is None else torch.device(device)
        self.augment, self.noise = augment, generator
        if augment is not None and self.device.type != "cpu":
            self.noise = torch.Generator(self.device).manual_seed(generator.initial_seed())
        n = len(rows)
        self.batch_size = n if batch_size < 0 else min(batch_size, n)
        self.edges = list(range(0, n, self.batch_size)) + [n]
        if n > 1 and len(self.edges) > 2 and self.edges[-1] - self.edges[-2] == 1:
            del self.edges[-2]

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Batch]:
        n, home = len(self.rows), self.rows.x.device
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        order = order.to(home)
        size = self.rows.x[0].numel() * self.batch_size
        per_chunk = max(1, self.chunk_numbers // max(1, size))
        spans = [self.edges[i : i + per_chunk + 1] for i in range(0, len(self), per_chunk)]
        ahead = None
        for number, edges in enumerate(spans):
            chunk = ahead or self._gather(order, edges)
            more = number + 1 < len(spans) and self.device.type != home.type
            ahead = self._gather(order, spans[number + 1]) if more else None
            for low, high in pairwise(edges):
                place = slice(low - edges[0], high - edges[0])
                yield Batch(*chunk.rows[place], place, chunk)

    def _gather(self, order: Tensor, edges: list[int]) -> Chunk:
        index = order[edges[0] : edges[-1]]
        rows = self.rows.select(index)
        if self.device.type != rows.x.device.type:
            if self.device.type == "cuda":
                pins = [
                    None if t is None else t.pin_memory() for t in (rows.x, rows.y, rows.weight)
                ]
                rows = Rows(*pins)
            rows, index = rows.to(self.device), index.to(self.device)
        if self.augment is not None:
            rows.x = self.augment(rows.x, self.noise)
        return Chunk(rows, index)
