"""From values to evidence: one look at a window of rows, and the record that stays of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from skrobust.monitoring._bins import coded
from skrobust.monitoring._sequential import N_CELLS, Evidence, cells_of, ranks
from skrobust.monitoring._setup import Setup

__all__ = ["Record", "State", "looks", "windows_of"]

AT_ONCE = 32  # windows that are ranked together
COUNTERS = ("n_given", "n_watched", "n_looks", "n_updates", "n_judged", "n_labels")


@dataclass
class State:
    """Everything that moves. A few ten thousand bytes, whatever the age of the monitor."""

    pools: np.ndarray
    evidence: Evidence
    peak: np.ndarray  # highest log evidence of each stream so far
    peak_all: float  # of the weighted average over streams
    alarmed: np.ndarray
    count: dict[str, int]

    @classmethod
    def fresh(cls, setup: Setup) -> State:
        n = len(setup.streams)
        evidence = Evidence.fresh([stream.side for stream in setup.streams])
        nothing = np.zeros(n, dtype=bool)
        return cls(
            setup.pools.copy(), evidence, np.zeros(n), 0.0, nothing, dict.fromkeys(COUNTERS, 0)
        )

    def _parts(self) -> list[np.ndarray]:
        e = self.evidence
        parts = [self.pools, e.log_sum, e.learned, e.looks, e.placed, self.peak, self.alarmed]
        return [*parts, [self.peak_all], list(self.count.values())]

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
        state.pools, e.log_sum, e.learned, e.looks, e.placed, state.peak, state.alarmed = found[:7]
        state.peak_all = float(found[7][0])
        state.count = dict(zip(COUNTERS, map(int, found[8]), strict=True))
        return state


@dataclass(frozen=True)
class Record:
    """What is kept of one window, per stream: numbers (n_streams, 5) and rank cells."""

    numbers: np.ndarray  # rows seen, mean, share missing, share of the most frequent value, log E
    cells: np.ndarray  # (n_streams, N_CELLS)

    def to_bytes(self) -> bytes:
        return self.numbers.astype(np.float32).tobytes() + self.cells.astype(np.uint16).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, n_streams: int) -> Record:
        cut = 4 * 5 * n_streams
        numbers = np.frombuffer(data[:cut], dtype=np.float32).reshape(n_streams, 5)
        cells = np.frombuffer(data[cut:], dtype=np.uint16).reshape(n_streams, N_CELLS)
        return cls(numbers.astype(np.float64), cells.astype(np.int64))


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
) -> Iterator[Record]:
    """Take in windows ``parts`` of ``values`` and ``seen`` (n, n_streams), one look after the other.

    Changes ``state``. ``random_of(number of the look)`` breaks ties.
    """
    for low in range(0, len(parts), AT_ONCE):
        some = parts[low : low + AT_ONCE]
        whole = slice(some[0].start, some[-1].stop)
        places = np.flatnonzero(seen[whole].any(axis=0))
        first = state.count["n_looks"]
        ties = [
            random_of(first + k).random((part.stop - part.start, len(places)))
            for k, part in enumerate(some)
        ]
        codes = coded([setup.bins[k] for k in places], values[whole, places], seen[whole, places])
        pools = state.pools[places]
        found = ranks(codes, pools, np.concatenate(ties))
        state.pools[places] = pools
        for part in some:
            here = found[part.start - whole.start : part.stop - whole.start]
            yield _look(setup, state, values[part], seen[part], places, cells_of(here))


def _look(setup: Setup, state: State, values, seen, places, cells) -> Record:
    """Bet on the ranks of one window, given as ``cells`` of the streams ``places``."""
    n_streams = len(setup.streams)
    counts = np.zeros((n_streams, N_CELLS), dtype=np.int64)
    counts[places] = cells
    state.evidence.absorb(counts)
    value = state.evidence.log_value()
    state.peak = np.maximum(state.peak, value)
    state.peak_all = max(state.peak_all, float(np.logaddexp.reduce(setup.log_weights + value)))
    state.count["n_looks"] += 1
    numbers = np.full((n_streams, 5), np.nan)
    numbers[:, 0], numbers[:, 4] = counts.sum(axis=1), value
    there = np.flatnonzero(numbers[:, 0])
    numbers[there, 1:4] = _summary(values[:, there], seen[:, there])
    return Record(numbers, counts)


def _summary(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean, share missing, share of the most frequent value, of what was seen of each stream."""
    n = np.maximum(seen.sum(axis=0), 1)
    missing = (np.isnan(values) & seen).sum(axis=0)
    present = np.where(np.isnan(values) | ~seen, 0.0, values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = present.sum(axis=0) / (n - missing)
    ordered = np.sort(np.where(seen, values, np.nan), axis=0)
    change = np.vstack([np.ones(values.shape[1], dtype=bool), ordered[1:] != ordered[:-1]])
    index = np.arange(len(values))[:, None]
    begin = np.maximum.accumulate(np.where(change, index, 0), axis=0)
    return np.column_stack([mean, missing / n, (index - begin + 1).max(axis=0) / n])
