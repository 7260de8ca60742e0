"""Where is a model weak? Single columns that break rows, and the rows that break first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from skrobust._torch import to_numpy, to_tensor
from skrobust.inspection._rows import as_array, some_rows, take_rows
from skrobust.metrics._evaluation import Evaluation, Found
from skrobust.metrics._rows import Rows
from skrobust.threats import Region

__all__ = [
    "Sensitivity",
    "influence",
    "judge",
    "sensitivity",
    "single_moves",
    "smallest_radius",
]

INNER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # places on a column's way from one end to the other
ENDS = (0.0, 1.0)
MANY = 128  # columns; above it only the ends are tried


class Sensitivity(NamedTuple):
    """What one column alone does; arrays have the shape of a row.

    ``share`` of the rows that were right and are lost when only this column moves (of a regressor:
    the mean growth of the loss); ``up`` and ``down`` the same for a column that grows or falls.
    """

    share: np.ndarray
    up: np.ndarray
    down: np.ndarray
    n_rows: int


def sensitivity(
    estimator, X, y, *, radius: float, threat, loss=None, max_rows: int | None, random
) -> Sensitivity:
    """Move each column alone, to both ends of its way and to places between them."""
    evaluation = Evaluation(estimator, X, y, threat=threat, attack="search", loss=loss)
    chosen = np.flatnonzero(~evaluation.clean.broken & evaluation.task.searchable())
    chosen = chosen[some_rows(len(chosen), max_rows, random)]
    shape = evaluation.rows.values.shape[1:]
    if len(chosen) == 0:
        return Sensitivity(*np.full((3, *shape), np.nan), 0)
    evaluation = Evaluation(
        estimator,
        take_rows(X, chosen),
        as_array(y)[chosen],
        threat=threat,
        attack="search",
        loss=loss,
    )
    probe = _Probe(evaluation, radius)
    found = np.array([probe.column(j) for j in range(int(np.prod(shape)))])
    return Sensitivity(*found.T.reshape(3, *shape), len(chosen))


class _Probe:
    """Rows that are right, and how far each of their columns may go."""

    def __init__(self, evaluation: Evaluation, radius: float):
        self.evaluation, self.classifies = evaluation, evaluation.task.is_margin
        self.x = to_tensor(evaluation.rows.values)
        self.region: Region = evaluation.threat.region(self.x, radius)

    def column(self, j: int) -> tuple[float, float, float]:
        """What is lost when column ``j`` moves: either way, up, down."""
        here = self.x.flatten(1)[:, j]
        low = self.region.low.expand_as(self.x).flatten(1)[:, j]
        high = self.region.high.expand_as(self.x).flatten(1)[:, j]
        if not bool((high > low).any()):
            return 0.0, 0.0, 0.0
        up, down = (np.zeros(len(self.x)) for _ in range(2))
        for z in single_moves(self.region, j):
            loss = self._lost(judge(self.evaluation, to_numpy(z)))
            way = to_numpy(z.flatten(1)[:, j] - here)
            up = np.where(way > 0, np.fmax(up, loss), up)
            down = np.where(way < 0, np.fmax(down, loss), down)
        return tuple(float(part.mean()) for part in (np.fmax(up, down), up, down))

    def _lost(self, verdict) -> np.ndarray:
        if self.classifies:
            return verdict.broken.astype(np.float64)
        return verdict.value - self.evaluation.clean.value


def single_moves(region: Region, j: int):
    """The rows with entry ``j`` (flat) moved, to one place of its way after the other."""
    x = region.x
    if region.leaps(j):
        one = torch.zeros_like(x)
        one[:, j] = 1
        for slope in (one, -one):
            yield region.realize(region.steepest(slope))
        return
    here = x.flatten(1)[:, j]
    low, high = (end.expand_as(x).flatten(1)[:, j] for end in (region.low, region.high))
    for place in INNER if x[0].numel() <= MANY else ENDS:
        z = x.flatten(1).clone()
        z[:, j] = torch.where(here.isnan(), here, low + place * (high - low))
        yield region.realize(region.project(z.view_as(x)))


def influence(estimator, X, z: np.ndarray, y, loss=None, known=None) -> np.ndarray:
    """How much less bad each moved row (n, d) becomes when one column goes back to where it was.

    In units of the value that was made worst (minus the margin, or the loss); tables only.
    """
    given = Rows(X, known)
    x = given.values
    n_rows, n_columns = x.shape
    back = np.repeat(z[:, None], n_columns + 1, axis=1)
    columns = np.arange(n_columns)
    back[:, columns, columns] = x
    everything = np.repeat(np.arange(n_rows), n_columns + 1)
    rows = Rows(take_rows(X, everything), given.categories).like_given(back.reshape(-1, n_columns))
    evaluation = Evaluation(estimator, rows, as_array(y)[everything], attack="search", loss=loss)
    value = evaluation.clean.value.reshape(n_rows, n_columns + 1)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(value[:, -1:] - value[:, :-1])


def judge(evaluation: Evaluation, z: np.ndarray):
    """What became of all rows, by the estimator's own word."""
    moved = evaluation.rows.like_given(z)
    return evaluation.task.judge(moved, evaluation.rows.read(moved))


def smallest_radius(
    evaluation: Evaluation, found: Found, first: np.ndarray, n_halvings: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """How far each broken row must go, at most, along the way on which it was broken.

    ``first`` (n,) is the radius at which a row was first found broken, infinity if it never was.
    Returns that distance (n,), 0 for rows that were wrong as they stand, and the rows there.
    Halving the way keeps to points that are broken.
    """
    clean, x, nearest = evaluation.task.clean.broken, evaluation.rows.values, found.z.copy()
    reached = np.isfinite(first) & ~clean
    smallest = np.where(clean, 0.0, first)
    if not reached.any():
        return smallest, nearest
    radius = to_tensor(np.where(reached, first, 0.0)).to(to_tensor(x).dtype)
    region = evaluation.threat.region(to_tensor(x), radius)
    low, high = np.zeros(len(x)), np.ones(len(x))
    for _ in range(n_halvings):
        middle = (low + high) / 2
        share = middle.reshape(-1, *[1] * (x.ndim - 1))
        z = region.project(to_tensor(x + share * (found.z - x), dtype=region.x.dtype))
        z = region.realize(z)
        broken = judge(evaluation, to_numpy(z)).broken
        way = to_numpy(region.distance(z))
        better = reached & broken & (way < smallest)
        smallest = np.where(better, way, smallest)
        nearest[better] = to_numpy(z)[better]
        low, high = np.where(broken, low, middle), np.where(broken, middle, high)
    return smallest, nearest
