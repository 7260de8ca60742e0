"""Evidence that a stream has changed, valid at every moment at once.

Three steps, each exact for any finite reference:

1. The *rank* of a new value among the reference and all values before it, ties broken at random, is
   uniform and independent of all earlier ranks, as long as the values are exchangeable (Vovk et al.
   2005). Ranks in the reference alone are not: all of them would share its luck.
2. A *bet* is a density on [0, 1]. What it has multiplied to since a moment ``s`` is a martingale of
   mean 1; so is any average of bets over moments ``s`` and shapes, with weights that sum to 1.
3. By Ville's inequality a nonnegative martingale that starts at 1 ever reaches ``1 / rate`` with
   probability at most ``rate``; so does the weighted average over streams, however they depend on
   each other. No correction for repeated looks is left to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = [
    "CELLS",
    "MASS",
    "N_CELLS",
    "SIDES",
    "Evidence",
    "bets",
    "cells_of",
    "effect_of",
    "is_sure",
    "ranks",
]

# Ranks are seen through cells that are finer at both ends, where attacks and broken sensors live.
TAIL = np.array([0.005, 0.01, 0.02, 0.05])
CELLS = np.concatenate([[0.0], TAIL, np.linspace(0.1, 0.9, 17), 1 - TAIL[::-1], [1.0]])
N_CELLS = len(CELLS) - 1
MASS = np.diff(CELLS)
INNER = CELLS[1:-1]
# all cells begin at multiples of 1 / 200: a table tells the cell
CELL_OF = np.searchsorted(INNER, (np.arange(201) + 0.5) / 200)
BLOCK = 16  # rows that are compared with each other directly; of few rows half as many
MEMORY = 0.8  # per look, of the bet that learns
SIDES = ("both", "up", "down")
HUGE = 600.0  # logarithm of what a float holds with ease
DOUBT = 0.1  # that a change is no larger than min_effect


def ranks(codes: np.ndarray, pools: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Rank of each code among the pool and the codes before it, in [0, 1); NaN where code < 0.

    ``(how many are smaller + random * how many are equal, itself included) / how many``

    Parameters
    ----------
    codes : int array of shape (n, n_streams)
        Ordered codes, -1 where a stream has nothing for a row.
    pools : int array of shape (n_streams, n_codes)
        How often each code was seen before; updated in place.
    random : array of shape (n, n_streams)
        Uniform numbers that break ties.

    Examples
    --------
    >>> pools = np.array([[2, 2]])  # two values of code 0 and two of code 1
    >>> ranks(np.array([[0], [1]]), pools, np.full((2, 1), 0.5)).round(3).ravel()
    array([0.3 , 0.75])
    >>> pools
    array([[3, 3]])
    """
    n, n_streams = codes.shape
    size = min(BLOCK if n > 200 else BLOCK // 2, n)
    padded = np.full((-(-n // size) * size, n_streams), -1, dtype=np.int64)
    padded[:n] = codes
    blocks = padded.reshape(-1, size, n_streams)
    place, known = _known_before(blocks, pools)
    less, same = _earlier_in_block(blocks, pools.shape[1])
    less = less + (np.cumsum(known[:-1], axis=2) - known[:-1]).ravel()[place]
    same = same + known.ravel()[place]
    less, same = (part.reshape(-1, n_streams)[:n] for part in (less, same))
    seen, total = codes >= 0, pools.sum(axis=1)
    pools[:] = known[-1, :, 1:]
    if seen.all():
        return (less + random * (same + 1)) / (total + np.arange(1, n + 1)[:, None])
    total = total + np.cumsum(seen, axis=0) - seen + 1
    return np.where(seen, (less + random * (same + 1)) / total, np.nan)


def _earlier_in_block(blocks: np.ndarray, n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """How many rows before each one in its block (n_blocks, size, n_streams) are smaller, equal."""
    size, kind = blocks.shape[1], np.int8 if n_codes < 127 else np.int16
    codes = np.where(blocks >= 0, blocks, np.iinfo(kind).max).astype(kind)
    codes = np.ascontiguousarray(codes.swapaxes(0, 1))  # rows in front: neighbours are one slice
    less, same = np.zeros((2, *codes.shape), dtype=np.int8)
    for apart in range(1, size):
        before, after = codes[:-apart], codes[apart:]
        less[apart:] += (before < after).view(np.int8)
        same[apart:] += (before == after).view(np.int8)
    return less.swapaxes(0, 1), same.swapaxes(0, 1)


def _known_before(blocks: np.ndarray, pools: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each code is counted, and how often it was seen before each block, and in the end.

    The counts are (n_blocks + 1, n_streams, n_codes + 1): code -1 has a place too, always empty.
    """
    n_blocks, _, n_streams = blocks.shape
    width = pools.shape[1] + 1
    first = (np.arange(n_blocks)[:, None] * n_streams + np.arange(n_streams)) * width + 1
    place = blocks + first[:, None]
    times = np.bincount(place.ravel(), minlength=n_blocks * n_streams * width)
    times = times.reshape(n_blocks, n_streams, width)
    times[:, :, 0] = 0
    known = np.empty((n_blocks + 1, n_streams, width), dtype=np.int64)
    known[0, :, 0], known[0, :, 1:] = 0, pools
    for k in range(n_blocks):
        np.add(known[k], times[k], out=known[k + 1])
    return place, known


def cells_of(ranks: np.ndarray) -> np.ndarray:
    """How many ranks of each stream fall into each cell; NaN is skipped.

    ``ranks`` (..., n, n_streams); the result is (..., n_streams, N_CELLS).
    """
    *before, n, n_streams = ranks.shape
    ranks = ranks.reshape(-1, n, n_streams)
    first = np.arange(len(ranks))[:, None, None] * n_streams + np.arange(n_streams)
    steps = ranks * (len(CELL_OF) - 1)
    if there_is_nan := np.isnan(steps.sum()):
        missing = np.isnan(steps)
        steps[missing] = 0.0
    place = first * N_CELLS + CELL_OF[steps.astype(np.intp)]
    place = place[~missing] if there_is_nan else place.ravel()
    times = np.bincount(place, minlength=len(ranks) * n_streams * N_CELLS)
    return times.reshape(*before, n_streams, N_CELLS)


@lru_cache(1)
def bets() -> tuple[np.ndarray, np.ndarray]:
    """Log densities of the bets on the cells (n_bets, N_CELLS), log weights by side (3, n_bets)."""
    middle = (CELLS[1:] + CELLS[:-1]) / 2
    edge = np.abs(2 * middle - 1)
    tilts = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
    families = [  # (log density up to a constant, share of each side)
        ([t * middle for t in tilts], (0.25, 0.55, 0.0)),
        ([-t * middle for t in tilts], (0.25, 0.0, 0.55)),
        ([t * edge for t in (1.0, 2.0, 4.0, 8.0)], (0.10, 0.0, 0.0)),
        ([-t * edge for t in (1.0, 2.0, 4.0, 8.0)], (0.10, 0.0, 0.0)),
        (_spikes(CELLS[:-1] >= 0.9), (0.05, 0.45, 0.0)),
        (_spikes(CELLS[1:] <= 0.1), (0.05, 0.0, 0.45)),
        (_spikes(None), (0.10, 0.0, 0.0)),
    ]
    logs = np.array([log for family, _ in families for log in family])
    logs = logs - np.log(np.exp(logs) @ MASS)[:, None]
    shares = np.concatenate([np.tile(np.array(s) / len(f), (len(f), 1)) for f, s in families])
    with np.errstate(divide="ignore"):
        return logs, np.log(shares.T)


def _spikes(tail: np.ndarray | None) -> list[np.ndarray]:
    """More weight on the end of one tail, in several widths; without a tail, on any one cell."""
    if tail is None:
        parts, sizes = list(np.eye(N_CELLS, dtype=bool)), (0.15, 0.6)
    else:
        cells = np.flatnonzero(tail)
        inward = cells[::-1] if cells[-1] == N_CELLS - 1 else cells
        parts = [np.isin(np.arange(N_CELLS), inward[: k + 1]) for k in range(len(cells))]
        sizes = (0.03, 0.1, 0.4)
    return [
        np.log(1 - size + size * part / (MASS @ part)) for part in parts for size in sizes
    ]  # fmt: skip


def _start_weight(look: np.ndarray) -> np.ndarray:
    """Weights of the moments at which a change may have begun; they sum to less than 1."""
    time = look + np.e
    return 1 / (1.4 * time * np.log(time) ** 2)


@dataclass
class Evidence:
    """What betting against "nothing has changed" has earned, per stream.

    ``E = sum over starts s, bets b of weight(s) weight(b) product of b(rank) since s``, and what is
    not placed yet. It needs no memory of the past: ``S <- (S + weight(s)) * what the bet made``.

    Attributes
    ----------
    side : int array (n_streams,)
        0: any change counts, 1: only larger values, 2: only smaller ones.
    log_sum : array (n_streams, n_bets + 1)
        Logarithm of S for each bet, and for one that learns from the ranks it has seen.
    learned : array (n_streams, N_CELLS)
        Shares that the learning bet expects.
    looks : int array (n_streams,)
    placed : array (n_streams,)
        Sum of the weights of the starts up to now.
    """

    side: np.ndarray
    log_sum: np.ndarray
    learned: np.ndarray
    looks: np.ndarray
    placed: np.ndarray

    LEARNING = 0.10  # share of the learning bet, for streams where any change counts

    @classmethod
    def fresh(cls, sides: list[str]) -> Evidence:
        """Before the first look; ``sides`` are "both", "up" or "down"."""
        n = len(sides)
        side = np.array([SIDES.index(name) for name in sides])
        sums = np.full((n, len(bets()[0]) + 1), -np.inf)
        learned = np.tile(MASS, (n, 1))
        return cls(side, sums, learned, np.zeros(n, dtype=np.int64), np.zeros(n))

    def absorb(self, counts: np.ndarray) -> np.ndarray:
        """Bet on the ranks of looks (n_looks, n_streams, N_CELLS), one after the other.

        Streams without ranks don't move. Returned is the logarithm of the evidence after each look,
        (n_looks, n_streams). One look may be given as (n_streams, N_CELLS).

        ``S_t = (S_{t-1} + weight(t)) * what the bets win at t``.
        """
        counts = counts if counts.ndim == 3 else counts[None]
        counted = counts.sum(axis=2)
        there = counted > 0
        weight = np.where(there, _start_weight(self.looks + np.cumsum(there, axis=0) - there), 0.0)
        won = counts.reshape(-1, N_CELLS).astype(np.float64) @ _logs()
        won = won.reshape(*counted.shape, -1)
        won[:, :, -1] = self._learning(counts, counted)
        placed = self.placed + np.cumsum(weight, axis=0)
        most = np.maximum(won.max(axis=2), 0.0).sum(axis=0)
        far = most + np.maximum(self.log_sum.max(axis=1), 0.0) > HUGE
        if not far.any():
            value = self._grow(slice(None), won, weight, placed)
        else:
            value = np.empty(counted.shape)
            for part, grow in ((~far, self._grow), (far, self._grow_in_logs)):
                if part.any():
                    value[:, part] = grow(part, won[:, part], weight[:, part], placed[:, part])
        self.placed, self.looks = placed[-1], self.looks + there.sum(axis=0)
        return value

    def _grow(self, streams: Any, won: np.ndarray, weight, placed) -> np.ndarray:
        """Log evidence after each look, of ``streams`` whose evidence a float holds."""
        sums, now = np.exp(won), np.exp(self.log_sum[streams])
        for k in range(len(sums)):
            now = np.multiply(now + weight[k][:, None], sums[k], out=sums[k])
        with np.errstate(divide="ignore"):
            self.log_sum[streams] = np.log(now)
        share = np.exp(_weights(self.LEARNING))[self.side[streams]]
        return np.log(np.einsum("tkb,kb->tk", sums, share) + (1 - placed))

    def _grow_in_logs(self, streams: Any, won: np.ndarray, weight, placed) -> np.ndarray:
        """The same without a limit, slower."""
        now, value = self.log_sum[streams], np.empty(placed.shape)
        with np.errstate(divide="ignore"):
            weight = np.log(weight)
        for k in range(len(won)):
            now = np.logaddexp(now, weight[k][:, None]) + won[k]
            value[k] = self._log_value(now, placed[k], self.side[streams])
        self.log_sum[streams] = now
        return value

    def _learning(self, counts: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """What the bet that learns wins at each look (n_looks, n_streams)."""
        shares = (counts + 20 * MASS) / (counted + 20)[:, :, None]
        pace = np.where(counted > 0, 1 - MEMORY, 0.0)[:, :, None]
        keep, shares = 1 - pace, pace * shares
        expected = np.empty((len(counts) + 1, *counts.shape[1:]))
        expected[0] = self.learned
        for k in range(len(counts)):
            np.multiply(expected[k], keep[k], out=expected[k + 1])
            expected[k + 1] += shares[k]
        self.learned = expected[-1].copy()
        expected = expected[:-1]
        return np.einsum("tkc,tkc->tk", counts, np.log(0.3 + 0.7 * expected / MASS))

    def log_value(self) -> np.ndarray:
        """Logarithm of the evidence of each stream: 0 at the start, about 0 or less for ever."""
        return self._log_value(self.log_sum, self.placed, self.side)

    def _log_value(self, log_sum: np.ndarray, placed: np.ndarray, side: np.ndarray) -> np.ndarray:
        terms = log_sum + _weights(self.LEARNING)[side]
        with np.errstate(divide="ignore"):
            rest = np.log1p(-placed)
        top = np.maximum(terms.max(axis=-1), rest)
        return top + np.log(np.exp(terms - top[..., None]).sum(axis=-1) + np.exp(rest - top))

    def begin_anew(self, k: int) -> None:
        """Stream ``k`` as before its first look."""
        self.log_sum[k], self.learned[k], self.looks[k], self.placed[k] = -np.inf, MASS, 0, 0.0


@lru_cache(1)
def _logs() -> np.ndarray:
    """Log densities as :func:`bets`, (N_CELLS, n_bets + 1): a column of zeros for the bet that learns."""
    logs = bets()[0]
    return np.ascontiguousarray(np.concatenate([logs, np.zeros((1, N_CELLS))]).T)


@lru_cache(1)
def _weights(learning: float) -> np.ndarray:
    """Log weights of all bets by side, that of the learning bet last."""
    with np.errstate(divide="ignore"):
        return np.column_stack([bets()[1], np.log([learning, 0.0, 0.0])])


def effect_of(counts: np.ndarray, side: int = 0) -> float:
    """How far recent ranks are from even, 0 to 1, beyond what chance makes of so few.

    ``counts`` (n_looks, N_CELLS), newest last. The Kolmogorov distance of the ranks of the last 4,
    8, 16, ... looks from the uniform, less one standard error ``1 / (2 sqrt(n))``; the largest.
    ``side`` 1 takes only what moved up, 2 only what moved down.

    >>> even = np.tile(1000 * np.diff(CELLS), (8, 1))
    >>> effect_of(even)
    0.0
    """
    best, start = 0.0, len(counts)
    for length in (4, 8, 16, 32, 64):
        start = max(len(counts) - length, 0)
        part = counts[start:].sum(axis=0)
        n = part.sum()
        if n == 0:
            continue
        gap = CELLS[1:] - np.cumsum(part) / n
        gap = gap if side == 1 else -gap if side == 2 else np.abs(gap)
        best = max(best, float(gap.max() - 0.5 / np.sqrt(n)))
        if start == 0:
            break
    return best


def is_sure(counts: np.ndarray, pool: float, least: float, side: int = 0) -> bool:
    """Whether the change behind the ranks is larger than ``least``, with 90% confidence.

    ``counts`` (n_looks, N_CELLS): the ranks since the change began, as far as one can tell; ``pool``:
    how many values there were before. At one end of a cell at least, the share p of the ranks beyond
    it must be so large that a share of ``q = even share + least`` is out of the question: Chernoff's
    bound ``P(share >= p) <= exp(-n KL(p, q))`` at 0.1. Two corrections: the pool has luck of its own
    (n ranks are worth ``n pool / (n + pool)``), and it fills with changed values, which hides the part
    ``1 - f`` of the change, ``f = pool / n log(1 + n / pool)``: p is moved back, and n ranks are worth
    ``f^2`` as many.

    >>> even = np.tile(1000 * np.diff(CELLS), (8, 1))
    >>> is_sure(even, 1e4, 0.01), is_sure(even * np.linspace(1.3, 0.7, N_CELLS), 1e4, 0.01)
    (False, True)
    """
    if least <= 0:
        return True
    whole = counts.sum(axis=0)
    n = whole.sum()
    if n == 0:
        return False
    below, low = np.cumsum(whole)[:-1] / n, INNER
    shares = {0: (below, 1 - below), 1: (1 - below,), 2: (below,)}[side]
    chances = {0: (low, 1 - low), 1: (1 - low,), 2: (low,)}[side]
    seen = pool / n * np.log1p(n / pool) if pool > 0 else 0.0
    even = np.concatenate(chances)
    p, q = even + (np.concatenate(shares) - even) / max(seen, 1e-12), even + least
    p = np.clip(p, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(p > 0, p * np.log(p / q), 0.0)
        apart += np.where(p < 1, (1 - p) * np.log((1 - p) / (1 - q)), 0.0)
    enough = seen**2 * n * pool / (n + pool) * apart >= -np.log(DOUBT)
    return bool((enough & (p > q) & (q < 1)).any())
