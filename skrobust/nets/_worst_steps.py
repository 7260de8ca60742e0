"""Worst cases of sums of step functions, in boxes exactly, in balls by a price of the way."""

from __future__ import annotations

import torch
from torch import Tensor

from skrobust.nets._choices import Choices, Runs, Sums, most

__all__ = ["PricedRows", "SteppedRows", "leaping"]


class _Stretches:
    """Runs of bins, one per row and column, of which few are different."""

    def __init__(self, first: Tensor, last: Tensor, n_numbers: int):
        keys, which = torch.unique(first * n_numbers + last, return_inverse=True)
        self.runs = Runs(keys // n_numbers, keys % n_numbers)
        self.sums = Sums(which.flatten(), *first.shape, len(keys))

    def least(self, table: Tensor) -> Tensor:
        """Sum over columns of the least entry of each run, (n_numbers, c) -> (n_rows, c)."""
        with torch.no_grad():
            places = self.runs.places(table.detach())
        return self.sums(table.gather(0, places))


class SteppedRows:
    """Rows of an additive model in boxes: exact."""

    def __init__(self, module, low: Tensor, x: Tensor, high: Tensor):
        self.module = module
        starts = torch.arange(x.shape[1], device=x.device) * module.n_bins
        n_numbers = x.shape[1] * module.n_bins
        first, home, last = (module.bins(rows) + starts for rows in (low, x, high))
        self._box = _Stretches(first, last, n_numbers)
        self._home = _Stretches(home, home, n_numbers)

    def _table(self, directions: Tensor) -> Tensor:
        return self.module.values.flatten(1).T @ directions.T

    def most(self, directions: Tensor) -> Tensor:
        return directions @ self.module.bias - self._box.least(-self._table(directions))

    def here(self, directions: Tensor) -> Tensor:
        return directions @ self.module.bias + self._home.least(self._table(directions))


class PricedRows(SteppedRows):
    """Rows of an additive model in l1 and l2 balls: an upper bound, by a price of the way.

    Columns share the budget of a row: ``sum_j way_j <= radius ** p`` with ``way_j`` the movement in
    steps to the power p. For any price ``t >= 0``

        max f  <=  t * radius ** p + sum_j max over bins of v_j[bin] - t * way_j(bin)

    (weak duality). Prices are variables of the fit like the weights, and the bound is convex in both
    together.
    """

    def __init__(self, module, low: Tensor, x: Tensor, high: Tensor, region, order: float):
        super().__init__(module, low, x, high)
        ball, self.prices = getattr(region, "ball", region), {}
        first, last = module.bins(low), module.bins(high)
        width = most((last - first).flatten()) + 1
        bins = first[:, :, None] + torch.arange(width, device=x.device)
        inside = bins <= last[:, :, None]
        bins = torch.minimum(bins, last[:, :, None])
        way = _way(module.edges, x, bins) / ball.scale.expand_as(x)[:, :, None]
        radius = ball.radius[:, None, None].clamp(min=torch.finfo(way.dtype).tiny)
        way = (way / radius) ** order  # budget 1
        way = torch.where(leaping(region)[:, None], 0.0, way)
        places = bins + torch.arange(x.shape[1], device=x.device)[:, None] * module.n_bins
        # half as wide numbers are looked at twice as fast; which choice is best is all they tell
        self.choices = Choices(inside & (way <= 1), places.int(), way, way.float())

    def price_of(self, number: int) -> Tensor:
        """The prices of each row (n,) for a direction of that number; made where there are none."""
        if number not in self.prices:
            start = torch.full((self.choices.n_rows,), 0.5).to(self.module.values)
            self.prices[number] = torch.nn.Parameter(start)
        return self.prices[number]

    def most(self, directions: Tensor) -> Tensor:
        table = self._table(directions)
        found = []
        for number, worth in enumerate(table.unbind(dim=1)):
            price = self.price_of(number).abs()
            with torch.no_grad():
                place, way = self._best(worth.detach(), price.detach())
            gains = worth.index_select(0, place.flatten()).view_as(place).sum(dim=1)
            found.append(gains + price * (1 - way.sum(dim=1)))
        return torch.stack(found, dim=1) + directions @ self.module.bias

    def _best(self, worth: Tensor, price: Tensor) -> list[Tensor]:
        """Place and way (n, d) of the bin with the largest ``worth - price * way``."""

        worth, price = worth.float(), price.float()

        def judge(row: Tensor, places: Tensor, ways: Tensor, short: Tensor):
            gains = worth.index_select(0, places.view(-1)).view_as(short)
            return gains.addcmul_(short, price[row], value=-1), (places, ways)

        return self.choices.best(judge)


def _way(edges: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    """How far each entry of ``x`` (n, d) is from bins (n, d, w); 0 for missing values."""
    below = torch.nn.functional.pad(edges, (1, 1), value=-torch.inf)
    above = torch.nn.functional.pad(edges, (0, 2), value=torch.inf)
    columns = torch.arange(x.shape[1], device=x.device)[:, None]
    low, high = below[columns, bins], above[columns, bins]
    way = torch.maximum(low - x[:, :, None], x[:, :, None] - high).clamp(min=0)
    return torch.where(torch.isnan(x)[:, :, None], 0.0, way)


def leaping(region) -> Tensor:
    """Columns that change without any distance (categories), a mask (d,)."""
    leaps = [region.leaps(column) for column in range(region.x.shape[1])]
    return torch.tensor(leaps, dtype=torch.bool, device=region.x.device)
