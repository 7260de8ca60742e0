"""From values to evidence: one look at a window of rows, and the record that stays of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skrobust.monitoring._sequential import N_CELLS, Evidence, cells_of, ranks
from skrobust.monitoring._setup import Setup

__all__ = ["LIVE", "Record", "State", "joined", "looks", "windows_of"]

AT_ONCE = 32  # windows that are ranked together
LIVE = ("n_given", "n_updates", "n_labels", "n_waiting")  # move at every update that is watched
# move at looks; accounts of suspicion after the first, the look before the last of them, the columns
# that it leaves out
COUNTERS = ("n_watched", "n_looks", "n_judged", "n_accounts", "account_from", "n_columns")


@dataclass
class State:
    """Everything that moves. A few ten thousand bytes, whatever the age of the monitor."""

    pools: np.ndarray
    evidence: Evidence
    value: np.ndarray  # log evidence of each stream
    peak: np.ndarray  # the highest so far
    peak_all: float  # of the weighted average over streams
    alarmed: np.ndarray
    count: dict[str, int]

    @classmethod
    def fresh(cls, setup: Setup) -> State:
        n = len(setup.streams)
        evidence = Evidence.fresh([stream.side for stream in setup.streams])
        nothing = np.zeros(n, dtype=bool)
        return cls(
            setup.pools.copy(), evidence, np.zeros(n), np.zeros(n), 0.0, nothing,
            dict.fromkeys((*COUNTERS, *LIVE, "n_passed"), 0),
        )  # fmt: skip

    @property
    def price(self) -> float:
        """Logarithm of what the present account of suspicion begins with less than 1."""
        j = self.count["n_accounts"]
        return np.log(j * (j + 1.0)) if j else 0.0

    def open_account(self, k: int) -> None:
        """Stream ``k`` begins anew, with an empty pool: each rank is one among the rows since."""
        self.pools[k] = 0
        self.evidence.begin_anew(k)
        self.value[k] = self.peak[k] = -self.price

    def _parts(self) -> list[np.ndarray]:
        e = self.evidence
        parts = [self.pools, e.log_sum, e.learned, e.looks, e.placed]
        parts += [self.value, self.peak, self.alarmed]
        return [*parts, [self.peak_all], [self.count[name] for name in COUNTERS]]

    def to_bytes(self) -> bytes:
        """All numbers as float64, which holds counts exactly up to 2^53."""
        flat = [np.asarray(part, dtype=np.float64).ravel() for part in self._parts()]
        return np.concatenate(flat).tobytes()

    @classmethod
    def from_bytes(cls, setup: Setup, data: bytes) -> State:
        state, numbers = cls.fresh(setup), np.frombuffer(data)
        found, low = [], 0
        for part in state._parts():
            part = np.asarray(part)
            found.append(numbers[low : low + part.size].reshape(part.shape).astype(part.dtype))
            low += part.size
        e = state.evidence
        state.pools, e.log_sum, e.learned, e.looks, e.placed = found[:5]
        state.value, state.peak, state.alarmed = found[5:8]
        state.peak_all = float(found[8][0])
        state.count.update(zip(COUNTERS, map(int, found[9]), strict=True))
        return state


@dataclass(frozen=True)
class Record:
    """What is kept of one window, per stream; of several windows they come first in each shape."""

    numbers: np.ndarray  # (n_streams, 5): rows seen, mean, shares missing and most frequent, log E
    cells: np.ndarray  # (n_streams, N_CELLS)

    def to_bytes(self) -> bytes:
        return self.numbers.astype(np.float32).tobytes() + self.cells.astype(np.uint16).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, n_streams: int) -> Record:
        whole = joined([data], n_streams)
        return cls(whole.numbers[0], whole.cells[0])


def joined(blobs: list[bytes], n_streams: int) -> Record:
    """Records of several windows as one."""
    kinds = np.dtype(
        [("numbers", np.float32, (n_streams, 5)), ("cells", np.uint16, (n_streams, N_CELLS))]
    )
    read = np.frombuffer(b"".join(blobs), dtype=kinds)
    return Record(read["numbers"].astype(np.float64), read["cells"].astype(np.int64))


def windows_of(n: int, size: int) -> list[slice]:
    """Cut n >= size rows into windows of ``size``; the last takes what is left too.

    >>> windows_of(120, 50)
    [slice(0, 50, None), slice(50, 120, None)]
    """
    starts = list(range(0, n - size + 1, size)) or [0]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n], strict=True)]


def looks(
    setup: Setup,
    state: State,
    values: np.ndarray,
    seen: np.ndarray,
    parts: list[slice],
    random_of: Callable[[int], np.random.Generator],
) -> list[Record]:
    """Take in windows ``parts`` of ``values`` and ``seen`` (n, n_streams), one look after the other.

    Changes ``state``. ``random_of(number of the look)`` breaks ties.
    """
    found = []
    for low in range(0, len(parts), AT_ONCE):
        some = parts[low : low + AT_ONCE]
        whole = slice(some[0].start, some[-1].stop)
        random = random_of(state.count["n_looks"])
        found += _together(setup, state, values[whole], seen[whole], _sizes(some), random)
    return found


def _sizes(parts: list[slice]) -> list[int]:
    return [part.stop - part.start for part in parts]


def _together(setup: Setup, state: State, values, seen, sizes: list[int], random) -> list[Record]:
    """Windows of ``sizes`` rows in one pass: all but the last are equally long."""
    n_streams = len(setup.streams)
    there = seen.any(axis=0)
    every = len(there) == n_streams and there.all()
    places = slice(None) if every else np.flatnonzero(there)
    values, seen = values[:, places], seen[:, places]
    codes = setup.coder.codes(values, seen, places)
    pools = state.pools[places]
    found = ranks(codes, pools, random.random(codes.shape))
    state.pools[places] = pools
    counts = np.zeros((len(sizes), n_streams, N_CELLS), dtype=np.int64)
    numbers = np.full((len(sizes), n_streams, 5), np.nan)
    for group, part in _alike(sizes):
        shape = (len(range(*group.indices(len(sizes)))), -1, values.shape[1])
        counts[group, places] = cells_of(found[part].reshape(shape))
        numbers[group, places, 1:4] = _summary(
            values[part].reshape(shape), seen[part].reshape(shape)
        )
    numbers[:, :, 0] = counts.sum(axis=2)
    if not (every and seen.all()):
        numbers[numbers[:, :, 0] == 0, 1:4] = np.nan
    numbers[:, :, 4] = _bet(setup, state, counts)
    return [Record(*both) for both in zip(numbers, counts, strict=True)]


def _alike(sizes: list[int]) -> list[tuple[slice, slice]]:
    """(windows, their rows) for windows of one size; the last may be longer."""
    n, cut = len(sizes), len(sizes) if sizes[-1] == sizes[0] else len(sizes) - 1
    rows = sum(sizes[:cut])
    both = [(slice(0, cut), slice(0, rows)), (slice(cut, n), slice(rows, None))]
    return [pair for pair in both if pair[0].stop > pair[0].start]


def _bet(setup: Setup, state: State, counts: np.ndarray) -> np.ndarray:
    """Log evidence (n_looks, n_streams) after each look at ``counts``."""
    value = state.evidence.absorb(counts)
    value[:, setup.place("suspicion")] -= state.price
    state.value = value[-1]
    state.peak = np.maximum(state.peak, value.max(axis=0))
    together = np.logaddexp.reduce(setup.log_weights + value, axis=1)
    state.peak_all = max(state.peak_all, float(together.max()))
    state.count["n_looks"] += len(counts)
    return value


def _summary(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean, share missing, share of the most frequent value, of what was seen of each stream.

    (n_windows, n, n_streams) to (n_windows, n_streams, 3).
    """
    size = values.shape[1]
    if whole := bool(seen.all()) and not np.isnan(
        values.sum()
    ):  # a sum is the cheapest way to tell
        n, missing, mean = size, np.zeros(values[:, 0].shape), values.mean(axis=1)
    else:
        gone, n = np.isnan(values), np.maximum(seen.sum(axis=1), 1)
        missing = (gone & seen).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(gone | ~seen, 0.0, values).sum(axis=1) / (n - missing)
    # what is missing sorts to the end, and is equal to nothing
    ordered = (values if whole else np.where(seen, values, np.nan)).swapaxes(1, 2).copy()
    ordered.sort(axis=2)
    again = ordered[..., 1:] == ordered[..., :-1]
    longest = np.ones(missing.shape)
    repeated = np.flatnonzero(again.any(axis=(0, 2)))
    if len(repeated):
        index = np.arange(1, size)
        begin = np.where(again[:, repeated], 0, index)
        longest[:, repeated] += (index - np.maximum.accumulate(begin, axis=2)).max(
            axis=2, initial=0
        )
    return np.stack([mean, missing / n, longest / n], axis=2)
