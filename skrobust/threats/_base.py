"""What a threat is: the set of places where each row may move."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skrobust.exceptions import invalid

__all__ = ["Region", "Threat"]


class Region(ABC):
    """Where each of n given rows may go: ball around the row, cut by its bounds.

    Convex, and it contains the row. Every method is per row and exact, and what it returns is
    settled: :meth:`settle` would give it back unchanged. ``x`` (n, ...) are the rows; ``z`` moved
    rows of the same shape; a *displacement* is ``z - x`` in the units of ``x``.

    A region with rules that no convex set has (whole numbers, categories) is ``ruled``: it stands
    for a smaller set, and :meth:`realize` turns each of its points into one of that set.
    """

    ruled = False
    exact_steepest = True  # whether realize(steepest(g)) is the worst case of a linear function

    x: Tensor
    radius: Tensor  # (n,), in steps of the threat's scale
    scale: Tensor  # broadcasts against x: units of x in one step
    low: Tensor  # (n, ...), with high the smallest box around the region, in units of x
    high: Tensor

    @abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """The nearest point of the region (nearest in steps, euclidean); NaN goes to ``x``."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The point of the region with the largest ``<gradient, z>``: the exact linear worst case."""

    @abstractmethod
    def step(self, z: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        """A projected ascent step from ``z``; ``size`` ((n,) or number) is in steps of the scale."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor:
        """A random point of the region, independent per row."""

    @abstractmethod
    def distance(self, z: Tensor) -> Tensor:
        """How far each row has moved (n,), in steps; infinity if a frozen feature or a bound broke."""

    @abstractmethod
    def settle(self, z: Tensor) -> Tensor:
        """``z`` with rounding errors removed: inside ball and bounds to the last bit that counts."""

    def realize(self, z: Tensor) -> Tensor:
        """The moved row that a point of the region stands for: itself, unless there are rules.

        Differentiable, the same row for the same point, and ``realize(realize(z))`` is
        ``realize(z)``. Attacks needn't call it: every point they ask for is realized first.
        """
        return z

    def leaps(self, position: int) -> bool:
        """Whether a column changes without any distance (a category)."""
        return False

    @abstractmethod
    def take(self, rows: Tensor) -> Region:
        """The regions of some of the rows."""


class Threat(BaseEstimator, ABC):
    """Where rows may move: the shape of the movement, one step per feature, bounds, exceptions.

    A threat stores what it was given. Options that speak of data or of column names become numbers
    once, on training rows, by :meth:`bind`; only a threat of numbers gives regions.
    """

    ruled = False  # whether moved rows obey rules that no convex set has (see Region.ruled)

    @property
    @abstractmethod
    def is_bound(self) -> bool:
        """Whether the threat is all numbers (nothing left to learn from data)."""

    @abstractmethod
    def bind(self, X, *, feature_names=None) -> Threat:
        """A copy whose data-dependent options are numbers learned from the rows of ``X``."""

    @property
    def categories(self) -> dict[int, tuple]:
        """Text columns that may change, by position: their values, in the order of their codes."""
        return {}

    def holding(self, text: list[int]) -> Threat:
        """The threat for rows with columns of text at these positions, which ``region`` sees as
        codes: those that it says nothing about stay as they are."""
        if not text:
            return self
        raise invalid(
            "X", f"<text columns {text}>", f"all numbers: {type(self).__name__} does not know text",
            "Override Threat.holding, or encode the text first.",
        )  # fmt: skip

    @abstractmethod
    def region(self, x: Tensor, radius: float | Tensor) -> Region:
        """The regions of rows ``x`` (n, ...) at ``radius`` steps."""
