"""Gaussian noise around rows: how wide it is, how it is drawn, how far a threat reaches in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from skrobust._torch import to_numpy, to_tensor
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.threats import LpBall, Threat
from skrobust.threats._geometry import find_norm

__all__ = ["Gaussian", "reach", "step_sizes"]

# What the noise is drawn for. Streams never share a number, so that a class chosen by one sample
# is judged by another.
STREAMS = ("augment", "select", "estimate")
CALL = 4_000_000  # numbers in one call of the model


class Gaussian(NamedTuple):
    """Noise that a fitted smoothed model adds to rows.

    Every row has streams of its own, keyed by the seed and by the row's content. So its noise does
    not depend on the rows beside it, on their order, on the batches or on the processes; and at
    another place it is another noise, which is what statements about moved rows need.

    Attributes
    ----------
    std : ndarray of the shape of a row
        In the units of X; 0 for what gets no noise.
    seed : int
    """

    std: np.ndarray
    seed: int

    @property
    def moves(self) -> np.ndarray:
        """Which entries of a row get noise."""
        return self.std > 0

    def generator(self, row: np.ndarray, stream: str) -> np.random.Generator:
        """The stream of one row."""
        seen = np.ascontiguousarray(row[self.moves], dtype=np.float64) + 0.0  # -0. is 0.
        key = f"{self.seed} {STREAMS.index(stream)} ".encode()
        digest = hashlib.blake2b(key + seen.tobytes(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    def around(self, rows: np.ndarray, generators: list, n: int) -> np.ndarray:
        """The next ``n`` noisy copies of each row, (rows, n, ...)."""
        moves = self.moves
        size = (len(generators), n, int(moves.sum()))
        draws = np.empty(size)
        for generator, out in zip(generators, draws, strict=True):
            generator.standard_normal(out=out)
        draws *= self.std[moves]
        if moves.all():
            noisy = draws.reshape(len(rows), n, *rows.shape[1:])
            noisy += rows[:, None]
            return noisy
        noisy = np.repeat(rows[:, None].astype(np.float64, copy=False), n, axis=1)
        noisy[:, :, moves] += draws
        return noisy

    def copies(self, rows: np.ndarray, n: int) -> np.ndarray:
        """``n`` noisy copies of all rows to train on, in their type: first one of each, and so on."""
        found, block = np.empty((n, *rows.shape), dtype=rows.dtype), 1000
        for low in range(0, len(rows), block):
            part = rows[low : low + block]
            noisy = self.around(part, [self.generator(row, "augment") for row in part], n)
            found[:, low : low + block] = np.swapaxes(noisy, 0, 1)
        return found.reshape(-1, *rows.shape[1:])

    def answers(
        self,
        model: Callable[[np.ndarray], np.ndarray],
        rows: np.ndarray,
        n_samples: int,
        stream: str,
        batch_size: int | None,
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """What ``model`` (rows to one answer each) says of noisy copies, a block of rows at a time.

        Yields which rows, and their answers (rows, n_samples, ...). At most ``batch_size`` copies
        go into one call of the model.
        """
        size = batch_size or max(1, min(100_000, CALL // max(1, self.std.size)))
        block, at_once = max(1, size // n_samples), min(size, n_samples)
        for low in range(0, len(rows), block):
            part = slice(low, min(low + block, len(rows)))
            generators = [self.generator(row, stream) for row in rows[part]]
            found = []
            for first in range(0, n_samples, at_once):
                n = min(at_once, n_samples - first)
                noisy = self.around(rows[part], generators, n)
                answers = model(noisy.reshape(-1, *rows.shape[1:]))
                found.append(answers.reshape(len(generators), n, *answers.shape[1:]))
            yield part, np.concatenate(found, axis=1)


def step_sizes(threat: Threat, values: np.ndarray) -> np.ndarray:
    """One step of each entry of a row, in the units of X; 0 where no row can move.

    >>> step_sizes(LpBall(scale=[1.0, 5.0, 1.0], frozen=[2]), np.zeros((4, 3)))
    array([1., 5., 0.])
    """
    region = threat.region(to_tensor(values), 1.0)
    free = to_numpy((region.high > region.low).any(dim=0))
    leaps = [place for place in range(free.shape[0]) if region.leaps(place)]
    free[leaps] = False
    return np.where(free, to_numpy(region.scale.expand_as(region.x)[0]), 0.0).astype(np.float64)


def reach(threat: Threat, values: np.ndarray, std: np.ndarray) -> float:
    """The longest move that one step of radius allows, in the length of the noise.

    ``max over ||u||_p <= 1 of ||u * scale / std||_2``: for linf the root of the number of columns
    that move, if scale and std are 1. Bounds, directions and rules only make the set of moves
    smaller.

    >>> reach(LpBall("linf"), np.zeros((1, 4)), np.full(4, 0.5))
    4.0
    >>> reach(LpBall("l2"), np.zeros((1, 4)), np.full(4, 0.5))
    2.0
    """
    _refuse(threat, std.shape)
    steps = step_sizes(threat, values)
    uncovered = np.argwhere((steps > 0) & (std == 0))
    if len(uncovered):
        raise UnsupportedEstimatorError(
            f"{len(uncovered)} columns may move that get no noise, such as "
            f"{uncovered[0].tolist()}: nothing is proven about them. Freeze them in the threat, "
            "or fit with a threat in which they move."
        )
    covered = std > 0
    stretch = to_tensor(steps[covered] / std[covered], dtype=torch.float64).reshape(1, -1)
    return float(find_norm(threat.norm).stretched(stretch)[0])


def _refuse(threat: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(threat, LpBall):
        raise UnsupportedEstimatorError(
            f"Smoothing proves moves within balls; {type(threat).__name__} is no LpBall."
        )
    for rule in ("repair", "groups", "categorical"):
        given = getattr(threat, rule)
        if given is not None and np.size(given):
            raise UnsupportedEstimatorError(
                f"The threat has {rule}={given!r}: changes without a length, which noise of a "
                "length proves nothing about. Leave the option out and freeze these columns."
            )
