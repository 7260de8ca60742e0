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
    "ranks",
]

# Ranks are seen through cells that are finer at both ends, where attacks and broken sensors live.
TAIL = np.array([0.005, 0.01, 0.02, 0.05])
CELLS = np.concatenate([[0.0], TAIL, np.linspace(0.1, 0.9, 17), 1 - TAIL[::-1], [1.0]])
N_CELLS = len(CELLS) - 1
MASS = np.diff(CELLS)
BLOCK = 32  # rows that are compared with each other directly
MEMORY = 0.8  # per look, of the bet that learns
SIDES = ("both", "up", "down")


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
    size = min(BLOCK, n)
    padded = np.full((n_streams, -(-n // size) * size), -1, dtype=np.int64)
    padded[:, :n] = codes.T
    blocks = padded.reshape(n_streams, -1, size)
    known = _known_before(blocks, pools)
    below = np.cumsum(known, axis=2) - known
    stream, block = np.ogrid[:n_streams, : blocks.shape[1]]
    place = (stream[..., None], block[..., None], np.maximum(blocks, 0))
    # rows before this one in the same block: (n_streams, n_blocks, size, size), which is small
    short = np.where(blocks >= 0, blocks, np.iinfo(np.int16).max).astype(np.int16)
    earlier = np.tri(size, k=-1, dtype=bool)
    smaller = (short[..., None, :] < short[..., None]) & earlier
    equal = (short[..., None, :] == short[..., None]) & earlier
    flat = lambda part: part.reshape(n_streams, -1)[:, :n].T
    less = flat(below[place] + np.count_nonzero(smaller, axis=3))
    same = flat(known[place] + np.count_nonzero(equal, axis=3)) + 1
    seen = codes >= 0
    total = pools.sum(axis=1) + np.cumsum(seen, axis=0) - seen + 1
    found = np.where(seen, (less + random * same) / total, np.nan)
    row, column = np.nonzero(seen)
    np.add.at(pools, (column, codes[row, column]), 1)
    return found


def _known_before(blocks: np.ndarray, pools: np.ndarray) -> np.ndarray:
    """How often each code was seen before each block (n_streams, n_blocks, n_codes)."""
    n_streams, n_blocks, _ = blocks.shape
    width = pools.shape[1] + 1  # code -1 gets a place too, and loses it at once
    first = (np.arange(n_streams)[:, None] * n_blocks + np.arange(n_blocks)) * width + 1
    times = np.bincount((blocks + first[..., None]).ravel(), minlength=n_streams * n_blocks * width)
    times = times.reshape(n_streams, n_blocks, width)[..., 1:]
    return pools[:, None] + np.cumsum(times, axis=1) - times


def cells_of(ranks: np.ndarray) -> np.ndarray:
    """How many ranks of each stream fall into each cell, (n_streams, N_CELLS); NaN is skipped."""
    cell = np.clip(np.searchsorted(CELLS, ranks, side="right") - 1, 0, N_CELLS - 1)
    n_streams = ranks.shape[1]
    flat = (np.arange(n_streams) * N_CELLS + cell)[np.isfinite(ranks)]
    return np.bincount(flat, minlength=n_streams * N_CELLS).reshape(n_streams, N_CELLS)


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

    def absorb(self, counts: np.ndarray) -> None:
        """Bet on the ranks of one look, given as :func:`cells_of`; empty streams don't move."""
        logs, _ = bets()
        counted = counts.sum(axis=1)
        expected = np.log(0.3 + 0.7 * self.learned / MASS)
        won = np.column_stack([counts @ logs.T, (counts * expected).sum(axis=1)])
        weight = np.where(counted > 0, _start_weight(self.looks), 0.0)
        with np.errstate(divide="ignore"):
            start = np.log(weight)[:, None]
        self.log_sum = np.logaddexp(self.log_sum, start) + won
        self.placed = self.placed + weight
        self.looks = self.looks + (counted > 0)
        shares = (counts + 20 * MASS) / (counted[:, None] + 20)
        keep = np.where(counted > 0, MEMORY, 1.0)[:, None]
        self.learned = keep * self.learned + (1 - keep) * shares

    def log_value(self) -> np.ndarray:
        """Logarithm of the evidence of each stream: 0 at the start, about 0 or less for ever."""
        weights = bets()[1][self.side]
        learning = np.where(self.side == 0, self.LEARNING, 0.0)
        with np.errstate(divide="ignore"):
            all_weights = np.column_stack([weights, np.log(learning)])
            rest = np.log1p(-self.placed)
        terms = np.column_stack([all_weights + self.log_sum, rest])
        top = terms.max(axis=1)
        return top + np.log(np.exp(terms - top[:, None]).sum(axis=1))


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
