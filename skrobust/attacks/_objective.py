"""The per-row number that an attack makes as large as it can, and how often it was asked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrobust.exceptions import invalid
from skrobust.threats import Region

__all__ = ["Climb", "Objective", "as_objective"]


class Climb(NamedTuple):
    """The objective (n,) at some points, the function that is climbed (n,), and its gradient."""

    value: Tensor
    climbed: Tensor
    gradient: Tensor


class _Counter:
    """Evaluations per row: a plain number while whole batches are asked, an array after that."""

    def __init__(self):
        self.common, self.single = 0, None

    def add(self, index: Tensor | None, n_rows: int) -> None:
        if index is None:
            self.common += 1
            return
        if self.single is None:
            self.single = torch.zeros(n_rows, dtype=torch.long, device=index.device)
        self.single.index_add_(0, index, torch.ones_like(index))

    def per_row(self, n_rows: int, device) -> Tensor:
        common = torch.full((n_rows,), self.common, dtype=torch.long, device=device)
        return common if self.single is None else common + self.single


class Objective:
    """Per-row number that an attack makes as large as it can, and the rows it belongs to.

    Parameters
    ----------
    value : callable or None
        ``value(z, *row_args) -> (n,)`` for moved rows ``z`` (n, ...). Row ``i`` of the result may
        depend on row ``i`` of ``z`` alone. None: the largest of the ``pieces``.
    *row_args : Tensor
        Arrays whose first axis runs over the rows (labels, clean outputs, ...).
    pieces : callable, optional
        ``pieces(z, *row_args) -> (n, n_pieces)``: functions such that a maximiser of the value is
        a maximiser of one of them (logit differences to each other class). Targeted attacks
        climb them one by one; -inf marks a piece that a row does not have.
    goal : float, optional
        A row is finished as soon as its value exceeds the goal (0 for a negative margin).
    differentiable : bool
        False when only values can be had (a model that is no torch function).
    slope : callable, optional
        ``slope(z)`` gives the model's outputs (n, k) at points of all rows, and the gradient of the
        value with respect to them, where that is known in closed form: :meth:`ascent` is quicker
        with it.
    at_x : Tensor of shape (n,), optional
        The value at the rows themselves, where it is known already: saves one evaluation.
    model : object, optional
        What the values come from, for attacks that read it from within. Its
        ``searcher(n_queries)`` is the attack that Auto leaves the work to.

    Examples
    --------
    >>> import torch
    >>> fn = Objective(lambda z, y: (z[:, 0] - y) ** 2, torch.tensor([1.0, 0.0]))
    >>> fn(torch.tensor([[3.0], [2.0]]))
    tensor([4., 4.])
    >>> fn.gradient(torch.tensor([[3.0], [2.0]])).gradient.flatten()
    tensor([4., 4.])
    """

    def __init__(
        self,
        value: Callable[..., Tensor] | None,
        *row_args: Tensor,
        pieces: Callable[..., Tensor] | None = None,
        goal: float | None = None,
        differentiable: bool = True,
        at_x: Tensor | None = None,
        model: Any = None,
        slope: Callable[..., tuple[Tensor, Tensor]] | None = None,
    ):
        if value is None and pieces is None:
            raise invalid("value", None, "a function, or None where pieces= are given")
        self.is_largest_piece = value is None
        self.value = self._largest_piece if value is None else value
        self.row_args, self.pieces, self.at_x, self.slope = row_args, pieces, at_x, slope
        self.goal, self.differentiable, self.model = goal, differentiable, model
        self.divisible = True
        self._region: Region | None = None
        self._index: Tensor | None = None
        self._n_rows: int | None = None
        self._forward, self._backward = _Counter(), _Counter()

    def _largest_piece(self, z: Tensor, *row_args: Tensor) -> Tensor:
        return self.pieces(z, *row_args).amax(dim=1)

    def _rows(self, z: Tensor) -> Tensor:
        """The rows that points of a region stand for."""
        return z if self._region is None else self._region.realize(z)

    def __call__(self, z: Tensor) -> Tensor:
        """Values (n,) without gradients."""
        self._forward.add(self._index, self._n_rows)
        with torch.no_grad():
            return self.value(self._rows(z), *self.row_args)

    def ranked_pieces(self, z: Tensor) -> Tensor:
        """The numbers of each row's pieces at ``z``, the largest first; absent ones are left out.

        Rows that have fewer pieces than others name absent ones at the end, which have no slope.
        """
        self._forward.add(self._index, self._n_rows)
        with torch.no_grad():
            pieces = self.pieces(self._rows(z), *self.row_args)
        most = int((pieces > -torch.inf).sum(dim=1).amax())
        return pieces.topk(most, dim=1).indices

    def gradient(self, z: Tensor, piece: Tensor | None = None) -> Climb:
        """Value at ``z``, and the function climbed with its gradient.

        What is climbed is the value or, where ``piece`` (n,) is given, each row's piece of that
        number. A gradient that is not a number is 0: it names no direction.
        """
        self._forward.add(self._index, self._n_rows)
        self._backward.add(self._index, self._n_rows)
        z = z.detach().requires_grad_(True)
        with torch.enable_grad():
            value, climbed = self._graph(z, piece)
            gradient = None
            if climbed.requires_grad:  # a model that cuts the graph gives no direction
                ones = torch.ones_like(climbed)  # faster than the gradient of a sum
                (gradient,) = torch.autograd.grad(climbed, z, ones, allow_unused=True)
        gradient = torch.zeros_like(z) if gradient is None else torch.nan_to_num(gradient)
        climbed = climbed.detach()
        if piece is None:
            return Climb(climbed, climbed, gradient)
        return Climb(self(z.detach()) if value is None else value.detach(), climbed, gradient)

    def ascent(self, z: Tensor) -> Tensor:
        """The gradient of the value at ``z`` alone, for whoever does not look at values.

        Entries that are not a number stay: a region's step takes them for no direction.
        """
        if self.slope is None:
            return self.gradient(z).gradient
        self._forward.add(self._index, self._n_rows)
        self._backward.add(self._index, self._n_rows)
        z = z.detach().requires_grad_(True)
        with torch.enable_grad():
            outputs, slope = self.slope(self._rows(z))
            if not outputs.requires_grad:  # as in gradient()
                return torch.zeros_like(z)
            (gradient,) = torch.autograd.grad(outputs, z, slope, allow_unused=True)
        return torch.zeros_like(z) if gradient is None else gradient

    def _graph(self, z: Tensor, piece: Tensor | None) -> tuple[Tensor | None, Tensor]:
        z = self._rows(z)
        if piece is None:
            return None, self.value(z, *self.row_args)
        pieces = self.pieces(z, *self.row_args)
        value = pieces.amax(dim=1) if self.is_largest_piece else None
        return value, pieces.gather(1, piece[:, None])[:, 0]

    def over(self, n_rows: int) -> Objective:
        """The objective of ``n_rows`` rows, as every attack first asks for."""
        if self._index is None:
            self._n_rows = n_rows
        return self

    def within(self, region: Region) -> Objective:
        """The objective of a region's points: each is realized before it is evaluated."""
        if not region.ruled:
            return self
        part = copy.copy(self)
        part._region = region
        return part

    def take(self, rows: Tensor) -> Objective:
        """The same objective for some of the rows; evaluations count towards the same totals."""
        part = copy.copy(self)
        part._region = None if self._region is None else self._region.take(rows)
        part.row_args = tuple(argument[rows] for argument in self.row_args)
        part.slope = None  # that of all rows
        part.at_x = None if self.at_x is None else self.at_x[rows]
        part._index = rows if self._index is None else self._index[rows]
        return part

    def counts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Forward and backward evaluations of each row so far."""
        found = []
        for counter in (self._forward, self._backward):
            if self._index is None:
                found.append(counter.per_row(len(z), z.device))
            else:
                found.append(counter.per_row(self._n_rows, z.device)[self._index])
        return found[0], found[1]


def as_objective(fn: Callable[[Tensor], Tensor] | Objective) -> Objective:
    """An objective as it is; any other callable ``fn(z) -> (n,)`` wrapped as one.

    A wrapped callable cannot be asked for some rows only, so its rows never leave the batch
    (its ``goal`` is None).
    """
    if isinstance(fn, Objective):
        return fn
    if not callable(fn):
        raise invalid("fn", fn, "an Objective or a callable fn(z) -> (n,)", error=TypeError)
    fn = Objective(fn)
    fn.divisible = False
    return fn
