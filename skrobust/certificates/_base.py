"""What a prover is: sound bounds of one fitted model under one threat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrobust.metrics._rows import Rows
from skrobust.threats import Threat

__all__ = ["Prover", "Settings"]


class Settings(NamedTuple):
    """What a user may tell every prover; each takes what it needs.

    ``confidence`` of statistical statements (others hold without any), ``time_budget`` seconds for
    the whole of the rows (None: no limit of its own), ``random_state`` for those that draw.
    """

    confidence: float = 0.999
    time_budget: float | None = None
    random_state: Any = None


class Prover(ABC):
    """Sound bounds of one fitted model under one bound threat.

    Rows ``X`` (n, ...) are float64 tensors on the CPU, in the raw units of the model's input (text
    columns as codes, missing values NaN); ``label`` (n,) are class numbers in the order of
    ``classes_``; ``radius`` (n,) are steps of the threat, one number per row. Nothing here depends
    on the other rows. Infinities are honest bounds: "nothing is known".

    Parameters
    ----------
    estimator : fitted estimator
    threat : Threat
        All numbers (bound), text columns held.
    rows : Rows
        The rows to be proven: their types and text columns, and ``wrap`` back to the user's container
        for models that are asked and not read.
    settings : Settings

    Raises
    ------
    UnsupportedEstimatorError
        If the estimator or the threat is none of those it can prove; the message says which part.
        ``method="auto"`` then tries the next prover.

    Attributes
    ----------
    name : str
        The word for it, ``method=``.
    exact : bool
        Whether :meth:`margin` is the true worst case, up to rounding.
    confidence : float or None
        None: the bounds hold without exception. Otherwise each row's with this probability.
    precision : float
        How finely the largest radius is searched, relative to itself.
    """

    name: str
    exact: bool = False
    confidence: float | None = None
    precision: float = 1e-3

    @abstractmethod
    def __init__(self, estimator: Any, threat: Threat, rows: Rows, settings: Settings):
        """Read the model."""

    @abstractmethod
    def outputs(self, X: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (n, k) of each output: logits, one per class, or values."""

    def margin(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        """Lower bound (n,) of ``min f_label - max_{k != label} f_k``; > 0 proves the label.

        It never rises with the radius by more than rounding. This default compares the bounds of
        :meth:`outputs`; whoever can bound the differences themselves, should.
        """
        low, high = self.outputs(X, radius)
        own = low.gather(1, label[:, None])[:, 0]
        other = high.scatter(1, label[:, None], -torch.inf).amax(dim=1)
        return own - other

    def gaps(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        """Lower bounds (n, k) of ``max_j f_j - f_k``; > 0 proves that k is never the answer.

        Of two classes that is ``f_label - f_k``. This default knows :meth:`margin` alone. The entry of
        the label itself is infinity.
        """
        margin = self.margin(X, label, radius)[:, None]
        n_classes = self.outputs(X[:1], radius[:1])[0].shape[1]
        return margin.expand(-1, n_classes).scatter(1, label[:, None], torch.inf)

    def largest(self, X: Tensor, label: Tensor) -> Tensor | None:
        """The largest proven radius (n,) where a formula gives it; None: found by bisection.

        0 where the label is not that of the row itself; infinity where no movement changes it.
        """
        return None

    def exact_rows(self, X: Tensor, label: Tensor, radius: Tensor) -> Tensor:
        """Of which rows (n,) :meth:`margin` (or, at this radius, its sign) is the truth."""
        return torch.full((len(X),), self.exact)
