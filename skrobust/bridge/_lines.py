"""Sums of piecewise linear functions, read from a torch view in raw columns, and their worst places."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skrobust.attacks import APGD, Attack, Best, Objective, WorstOf
from skrobust.bridge._views import Chain, affine_map, is_affine
from skrobust.nets import LineSum
from skrobust.nets._worst import is_box, stepped_rows
from skrobust.threats import Region

__all__ = ["Dual", "LineSearch", "Lines", "against", "lines_of"]

TURNS = 40  # halvings of the range of prices


class Dual(NamedTuple):
    """Upper bounds (n,), values that were reached, and where: places (n, d)."""

    bound: Tensor
    value: Tensor
    z: Tensor


class Lines:
    """A model that is a sum of piecewise linear functions of single raw columns.

    Attributes
    ----------
    module : LineSum
        Raw rows to outputs, in float64.
    """

    def __init__(self, module: LineSum):
        self.module = module.requires_grad_(False)

    def searcher(self, n_queries: int = 1000) -> Attack:
        """The attack that reads the functions, and one along gradients for what it leaves."""
        steps = 10 if n_queries < 5000 else 50
        return WorstOf([LineSearch(self), APGD(steps, n_restarts=2)])

    @torch.no_grad()
    def worst(self, region: Region, directions: Tensor, goal: float | None = None) -> Dual:
        """The most that ``direction . f`` (n,) can be within a region, a direction (n, k) per row.

        In boxes bound and value are one. In balls the bound is that of the best price of the way:
        any price t gives ``t + sum_j max (gain_j - t way_j)``, convex in t and found by halving.
        Rows whose bound is below the goal, or whose value is not, are not looked at to the end.
        """
        rows, every = stepped_rows(self.module, region), torch.arange(len(region.x))
        different, which = directions.unique(dim=0, return_inverse=True)
        if is_box(region):
            bound = rows.most(different)[every, which]
            z = rows.places(different)[every, :, which]
            return Dual(bound, bound, z)
        table = rows._table(different).T.contiguous()  # (n_directions, n_numbers)
        return _at_best_price(
            rows, table, which * table.shape[1], directions @ self.module.bias, goal
        )


def _at_best_price(rows, table: Tensor, offset: Tensor, bias: Tensor, goal: float | None) -> Dual:
    low = torch.zeros(len(rows.x), dtype=torch.float64)
    high = low + float(table.abs().max()) + 1e-300
    reached, best = low > 0, None  # whether a price is known at which the budget is enough
    for turn in range(TURNS):
        price = torch.where(reached, (low + high) / 2, high) if turn else low
        gain, way, z = rows.at_price(table.flatten(), price, offset)
        fits = way <= 1
        value = torch.where(fits, bias + gain, -torch.inf)
        found = Dual(bias + gain + price * (1 - way), value, z)
        best = found if best is None else _better(best, found)
        reached = reached | fits
        low, high = torch.where(fits, low, price), torch.where(fits, price, high)
        high = torch.where(reached, high, 4 * high)
        done = best.bound <= best.value
        if goal is not None:
            done = done | (best.bound < goal) | (best.value >= goal)
        if bool(done.all()):
            break
    return best


def _better(one: Dual, other: Dual) -> Dual:
    more = other.value > one.value
    z = torch.where(more[:, None], other.z, one.z)
    return Dual(one.bound.minimum(other.bound), one.value.maximum(other.value), z)


class LineSearch(Attack):
    """Worst rows of a sum of lines: exact in boxes, within a hair in l1 and l2 balls."""

    needs_gradient = False

    def __init__(self, lines: Lines):
        self.lines = lines

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        y, units = fn.row_args[0], torch.eye(self.lines.module.n_outputs, dtype=torch.float64)
        if y.is_floating_point():
            aims = torch.cat([units, -units]).expand(len(y), -1, -1)
        else:
            aims = against(y, len(units))
        for directions in aims.unbind(dim=1):
            z = self.lines.worst(region, directions).z.to(region.x)
            z = region.realize(region.project(z))
            best.update(z, fn(z))


def against(y: Tensor, k: int) -> Tensor:
    """Directions ``e_j - e_y`` of every other class (n, k - 1, k)."""
    others = torch.arange(k - 1)
    others = others + (others >= y[:, None]).long()
    units = torch.eye(k, dtype=torch.float64)
    return units[others] - units[y][:, None]


def lines_of(module: nn.Module, n_features: int) -> Lines | None:
    """The functions of raw columns that a torch view adds up; None where it is no such sum.

    Affine steps in front must not mix columns. Several inputs may come of one raw column.
    """
    flat = _flat(module)
    read = getattr(flat[-1], "as_lines", None) if flat else None
    lines = read() if read is not None else None
    front = Chain(*flat[:-1])
    if lines is None or not is_affine(front):
        return None
    weight, bias = affine_map(front.double(), n_features)
    if bool(((weight != 0).sum(dim=1) > 1).any()):
        return None
    return Lines(_in_raw_columns(lines, weight.cpu().numpy(), bias.detach().cpu().numpy()))


def _flat(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Chain):
        return [leaf for part in module for leaf in _flat(part)]
    return [module]


def _in_raw_columns(lines: LineSum, weight: np.ndarray, bias: np.ndarray) -> LineSum:
    n_inputs, n_features = weight.shape
    if n_inputs == n_features and (weight == np.eye(n_features)).all() and not bias.any():
        return lines
    moves = [np.flatnonzero(weight[:, column]) for column in range(n_features)]
    edges = [lines.edges[i][torch.isfinite(lines.edges[i])].numpy() for i in range(n_inputs)]
    knots = [
        np.unique(np.concatenate([(edges[i] - bias[i]) / weight[i, j] for i in own] or [[]]))
        for j, own in enumerate(moves)
    ]
    found = LineSum(n_features, lines.n_outputs)
    found.set_edges(knots)
    with torch.no_grad():
        found.bias.copy_(lines.bias)
        for i in np.flatnonzero(~(weight != 0).any(axis=1)):  # nothing of the row arrives here
            found.bias += _one(lines, i, bias[i : i + 1])[0]
        for j, own in enumerate(moves):
            for i in own:
                at = knots[j] if len(knots[j]) else np.zeros(1)
                found.values[:, j, : len(at)] += _one(lines, i, weight[i, j] * at + bias[i]).T
                found.values[:, j, -1] += lines.values[:, i, -1]
    return found


def _one(lines: LineSum, column: int, x: np.ndarray) -> Tensor:
    """What a column adds (n, n_outputs) at the numbers x."""
    column = torch.full((len(x),), int(column))
    left, right, share = lines.locate(torch.as_tensor(x, dtype=torch.float64), column)
    table, start = lines.values.flatten(1).T, column * lines.n_values
    return torch.lerp(table[left + start], table[right + start], share[:, None])
