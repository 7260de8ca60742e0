"""What each row's last perturbation was, from epoch to epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.nets._loader import Batch, Chunk, Rows
from skrobust.threats import Region

__all__ = ["Memory"]


class Memory:
    """The last perturbation of each row, where the next epoch's search begins (ATTA, 1912.11969).

    Kept in shares of the radius as float16, two bytes a number, so that a radius that grows takes
    them along. A row that was never moved begins at a random point of its region.
    """

    def __init__(self, rows: Rows, generator: torch.Generator):
        self.kept = torch.zeros(rows.x.shape, dtype=torch.float16, device=rows.x.device)
        self.generator, self.fresh = generator, True
        self._chunk: Chunk | None = None
        self._start: Tensor | None = None

    @staticmethod
    def n_bytes(rows: Rows) -> int:
        return 2 * rows.x.numel()

    def start(self, batch: Batch) -> Tensor:
        """Where the search for the rows of a batch begins; inside the region that they were given."""
        if batch.chunk is not self._chunk:
            self.close()
            self._chunk, whole = batch.chunk, batch.chunk.last_region
            if self.fresh:
                self._start = whole.sample(self.generator)
            else:
                index = batch.chunk.index.to(self.kept.device)
                share = self.kept.index_select(0, index).to(whole.x)
                self._start = whole.project(whole.x + share * self._reach(whole))
        return self._start[batch.place]

    def keep(self, batch: Batch, z: Tensor) -> None:
        """Remember where the rows of a batch went."""
        self._start[batch.place] = z

    def close(self) -> None:
        """Write back what is still in hand."""
        if self._chunk is None:
            return
        whole = self._chunk.last_region
        share = (self._start - whole.x) / self._reach(whole)
        share = torch.nan_to_num(share, nan=0.0, posinf=0.0, neginf=0.0).half()
        index = self._chunk.index.to(self.kept.device)
        self.kept.index_copy_(0, index, share.to(self.kept.device))
        self._chunk = self._start = None

    def end_epoch(self) -> None:
        self.close()
        self.fresh = False

    @staticmethod
    def _reach(region: Region) -> Tensor:
        radius = region.radius.reshape(-1, *[1] * (region.x.ndim - 1))
        return radius * region.scale
