"""What every attack shares: the objective it maximises, the best rows seen, the verb.

A new attack overrides one method, :meth:`Attack.search`, and reports every point it evaluates
to ``best``; budget, bookkeeping, counting and the best-seen law are kept here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skrobust._torch import per_row
from skrobust.exceptions import invalid
from skrobust.threats import Region, Threat

__all__ = ["Attack", "Best", "Moved", "Objective", "as_objective"]


class Moved(NamedTuple):
    """What an attack returns; all fields are per row, in the order of the rows given.

    ``z`` (n, ...) the best moved rows, ``value`` (n,) the objective there, ``n_forward`` and
    ``n_backward`` (n,) how often the model was evaluated and differentiated for the row.
    """

    z: Tensor
    value: Tensor
    n_forward: Tensor
    n_backward: Tensor


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
    value : callable
        ``value(z, *row_args) -> (n,)`` for moved rows ``z`` (n, ...). Row ``i`` of the result may
        depend on row ``i`` of ``z`` alone.
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
    """

    def __init__(
        self,
        value: Callable[..., Tensor],
        *row_args: Tensor,
        pieces: Callable[..., Tensor] | None = None,
        goal: float | None = None,
        differentiable: bool = True,
    ):
        self.value, self.row_args = value, row_args
        self.pieces, self.goal, self.differentiable = pieces, goal, differentiable
        self._index: Tensor | None = None
        self._n_rows = len(row_args[0]) if row_args else 0
        self._forward, self._backward = _Counter(), _Counter()

    def __call__(self, z: Tensor) -> Tensor:
        """Values (n,) without gradients."""
        self._count(self._forward, z)
        with torch.no_grad():
            return self.value(z, *self.row_args)

    def gradient(self, z: Tensor, piece: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Values (n,) at ``z`` and the gradient of the value, or of each row's ``piece`` (n,)."""
        self._count(self._forward, z)
        self._count(self._backward, z)
        z = z.detach().requires_grad_(True)
        with torch.enable_grad():
            if piece is None:
                value = climbed = self.value(z, *self.row_args)
            else:
                pieces = self.pieces(z, *self.row_args)
                climbed = pieces.gather(1, piece[:, None])[:, 0]
                value = pieces.amax(dim=1)
            if not climbed.requires_grad:  # a model that cuts the graph gives no direction
                return value.detach(), torch.zeros_like(z)
            total = torch.where(torch.isfinite(climbed), climbed, 0.0).sum()
            (gradient,) = torch.autograd.grad(total, z, allow_unused=True)
        if gradient is None:
            gradient = torch.zeros_like(z)
        return value.detach(), torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)

    def take(self, rows: Tensor) -> Objective:
        """The same objective for some of the rows; evaluations count towards the same totals."""
        part = copy.copy(self)
        part.row_args = tuple(argument[rows] for argument in self.row_args)
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

    def _count(self, counter: _Counter, z: Tensor) -> None:
        if self._index is None:
            self._n_rows = len(z)
        counter.add(self._index, self._n_rows)


def as_objective(fn: Callable[[Tensor], Tensor] | Objective) -> Objective:
    """An objective as it is; any other callable ``fn(z) -> (n,)`` wrapped as one.

    A wrapped callable cannot be asked for some rows only, so its rows never leave the batch
    (its ``goal`` is None).
    """
    return fn if isinstance(fn, Objective) else Objective(fn)


class Best:
    """The best point seen for each row. ``update`` is the only way in."""

    def __init__(self, z: Tensor, value: Tensor, goal: float | None):
        self.z, self.goal = z.clone(), goal
        self.value = torch.nan_to_num(value, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def update(self, z: Tensor, value: Tensor, rows: Tensor | None = None) -> Tensor:
        """Keep ``z`` where its value is larger; return which rows (n,) improved."""
        old = self.value if rows is None else self.value[rows]
        better = value > old  # false for NaN
        if rows is None:
            self.z = torch.where(per_row(better, z), z, self.z)
            self.value = torch.where(better, value, self.value)
        else:
            self.z[rows[better]] = z[better]
            self.value[rows[better]] = value[better]
        return better

    def unfinished(self) -> Tensor:
        """Indices of the rows whose value has not yet passed the goal."""
        if self.goal is None:
            return torch.arange(len(self.value), device=self.value.device)
        return torch.nonzero(self.value <= self.goal).flatten()

    def finished(self) -> bool:
        return self.goal is not None and bool((self.value > self.goal).all())


class Attack(BaseEstimator):
    """A searcher: finds a moved row inside the threat whose value is large.

    Subclasses store their options in ``__init__`` and override :meth:`search`.
    """

    needs_gradient = True

    def maximize(
        self,
        fn: Callable[[Tensor], Tensor] | Objective,
        x: Tensor,
        threat: Threat,
        radius: float | Tensor,
        start: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Moved:
        """Search ball and bounds around each row for the largest value of ``fn``.

        Parameters
        ----------
        fn : Objective or callable
            Per-row function of moved rows, ``fn(z) -> (n,)``.
        x : Tensor of shape (n, ...)
            The rows.
        threat : Threat
            Where each row may move; must be bound to numbers (``threat.bind(X)``).
        radius : float or Tensor of shape (n,)
            How far, in units of the threat's ``scale``.
        start : Tensor of shape (n, ...), optional
            Moved rows to go on from; projected back if they lie outside.
        generator : torch.Generator, optional
            Source of randomness; without one a fixed seed is used.

        Returns
        -------
        Moved
            The best point seen per row, ``x`` and ``start`` included, and its value.
        """
        fn = as_objective(fn)
        if self.needs_gradient and not fn.differentiable:
            raise invalid(
                "attack",
                self,
                "an attack that needs values only, for this model has no gradient",
                "Use attack='search' or attack='auto'.",
            )
        if generator is None:
            generator = torch.Generator(device=x.device).manual_seed(0)
        region = threat.region(x.detach(), radius)
        best = Best(region.x, fn(region.x), fn.goal)
        if start is not None:
            start = region.project(start.detach())
            best.update(start, fn(start))
        if not best.finished():
            self.search(fn, region, best, start, generator)
        return Moved(region.settle(best.z), best.value, *fn.counts(region.x))

    def search(
        self,
        fn: Objective,
        region: Region,
        best: Best,
        start: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        """Evaluate points of ``region`` with ``fn`` and report each to ``best``."""
        raise NotImplementedError(f"{type(self).__name__} must override search().")
