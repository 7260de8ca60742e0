"""Choices of many entries at once: the least of runs of numbers, the best of a few."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Choices", "Runs", "Sums", "most"]

FEW = 16  # choices that are compared one after the other


class _Sum(torch.autograd.Function):
    """``matrix @ values`` for a sparse matrix that is no variable; its transpose is at hand."""

    @staticmethod
    def forward(ctx, values: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ values

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return ctx.transpose @ gradient, None, None


class Sums:
    """Sums over the columns of rows (n, d) whose entries are one of a few numbers.

    ``which`` (n * d,) says which of ``n_numbers`` each entry is.
    """

    def __init__(self, which: Tensor, n_rows: int, n_columns: int, n_numbers: int):
        row = torch.arange(n_rows, device=which.device).repeat_interleave(n_columns)
        self.matrix = _ones(row, which, (n_rows, n_numbers))
        order = torch.argsort(which, stable=True)
        self.transpose = _ones(which[order], row[order], (n_numbers, n_rows))

    def __call__(self, values: Tensor) -> Tensor:
        """(n_numbers, c) -> (n_rows, c)."""
        return _Sum.apply(values, self.matrix, self.transpose)


class Runs:
    """Where the least entry of each run ``first .. last`` of a table stands, by doubling.

    Runs of 1, 2, 4, ... numbers are known from halves, and two of those cover any run.
    """

    def __init__(self, first: Tensor, last: Tensor):
        self.first = first
        self.level = torch.log2((last - first + 1).double()).floor().long()
        self.second = last - 2**self.level + 1
        self.at = [torch.nonzero(self.level == k).flatten() for k in range(most(self.level) + 1)]

    def places(self, table: Tensor) -> Tensor:
        """Of each column of ``table`` (n_numbers, c), by itself: (n_runs, c)."""
        value = table
        place = torch.arange(len(table), device=table.device)[:, None].expand_as(table)
        found = torch.empty(len(self.first), table.shape[1], dtype=torch.long, device=table.device)
        for level, at in enumerate(self.at):
            one, other = self.first[at], self.second[at]
            found[at] = torch.where(value[other] < value[one], place[other], place[one])
            half = 2**level
            if level + 1 < len(self.at):  # runs of twice the length; those that pass the end are
                lower = value[half:] < value[:-half]  # not asked for
                place = torch.where(lower, place[half:], place[:-half])
                value = torch.where(lower, value[half:], value[:-half])
        return found


def most(values: Tensor) -> int:
    """The largest of some numbers, 0 where there is none."""
    return int(values.amax()) if len(values) else 0


def _ones(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix of ones; ``rows`` never fall."""
    ends = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    ones = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.nn.functional.pad(ends, (1, 0)), columns, ones, shape, check_invariants=False
        )


class Choices:
    """What each entry of some rows can become, and which of it is best.

    Most entries have few choices, and some many: those with equally many stand together, one choice
    after the other, so that looking at all of them is a pass over memory without gaps.

    Parameters
    ----------
    near : Tensor of bool of shape (n, d, w)
        Which of ``w`` places hold a choice; one at least of each entry.
    parts : Tensors of shape (n, d, w)
        What is known of each choice.
    """

    def __init__(self, near: Tensor, *parts: Tensor):
        self.n_rows, self.n_columns, width = near.shape
        order = near.to(torch.int8).argsort(dim=2, descending=True, stable=True)
        count = near.sum(dim=2).flatten()
        parts = tuple(part.gather(2, order).view(-1, width) for part in parts)
        slot = torch.arange(width, device=near.device)
        parts = tuple(  # what is no choice is the first choice again
            torch.where(slot < count[:, None], part, part[:, :1]) for part in parts
        )
        self.groups, sizes = [], _sizes(width)
        for below, size in zip([0, *sizes], sizes, strict=False):
            entry = torch.nonzero((count > below) & (count <= size)).flatten()
            if len(entry):
                kept = [part[entry, :size].T.contiguous() for part in parts]
                self.groups.append((entry, entry // self.n_columns, kept))

    def best(self, judge: Callable) -> list[Tensor]:
        """What is known (n, d) of the best choice of each entry.

        ``judge(row, *parts)`` of some entries, ``row`` (n_entries,) and parts (k, n_entries), says
        how good each choice is, and what is to be known of it.
        """
        found: list[Tensor] = []
        for entry, row, parts in self.groups:
            worth, known = judge(row, *parts)
            picked = known if len(worth) == 1 else _first_largest(worth, *known)
            if not found:
                size = self.n_rows * self.n_columns
                found = [torch.empty(size, dtype=k.dtype, device=k.device) for k in known]
            for whole, part in zip(found, picked, strict=True):
                whole[entry] = part.view(-1)
        return [part.view(self.n_rows, self.n_columns) for part in found]


def _first_largest(worth: Tensor, *parts: Tensor) -> list[Tensor]:
    """Each part (k, n) where ``worth`` (k, n) is largest, the first of equals.

    Of few rows a pass over them is ten times quicker than torch's argmax across rows.
    """
    if len(worth) > FEW:
        best = worth.argmax(dim=0, keepdim=True)
        return [part.gather(0, best)[0] for part in parts]
    top, found = worth[0], [part[0] for part in parts]
    for number in range(1, len(worth)):
        better = worth[number] > top
        top = torch.maximum(top, worth[number])
        found = [
            torch.where(better, part[number], old) for part, old in zip(parts, found, strict=True)
        ]
    return found


def _sizes(most: int) -> list[int]:
    """Sizes of groups of entries: few, and none much larger than what is in it.

    >>> _sizes(14)
    [1, 2, 3, 4, 6, 8, 12, 16]
    """
    sizes = [1, 2, 3]
    while sizes[-1] < most:
        sizes.append(2 * sizes[-2])
    return sizes
