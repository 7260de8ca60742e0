"""Averages of several models: voting, bagging, one model per output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.multioutput import MultiOutputRegressor
from torch import Tensor, nn

from skrobust.bridge._as_torch import PREDICT, PROBA, part_view, register, unsupported
from skrobust.bridge._views import Beside, Chain, Take, View, is_affine
from skrobust.bridge._votes import Ballot, Shares


class Mean(View):
    """Weighted mean of the outputs of several modules on the same rows."""

    def __init__(self, parts: Sequence[nn.Module], weights=None):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        weights = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=float)
        self.keep("weights", weights / weights.sum())

    def forward(self, x: Tensor) -> Tensor:
        outputs = torch.stack([part(x) for part in self.parts], dim=-1)
        return outputs @ self.like("weights", x)

    @property
    def affine(self) -> bool:
        return all(is_affine(part) for part in self.parts)


class LogMean(View):
    """Logarithm of the weighted mean of the probabilities of modules that return logits.

    ``log sum_t w_t softmax(logits_t)``, computed without leaving the logarithm.
    """

    def __init__(self, parts: Sequence[nn.Module], weights=None):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        weights = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=float)
        with np.errstate(divide="ignore"):
            self.keep("log_weights", np.log(weights / weights.sum()))

    def forward(self, x: Tensor) -> Tensor:
        logs = torch.stack([part(x).log_softmax(dim=1) for part in self.parts], dim=-1)
        return (logs + self.like("log_weights", x)).logsumexp(dim=-1)


class Spread(View):
    """Logits of some classes as logits of all; the others get minus infinity."""

    def __init__(self, columns, n_classes: int):
        super().__init__()
        self.keep("columns", columns, dtype=np.int64)
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        # Minus infinity proper would make NaN gradients of softmax; this is probability zero.
        wide = x.new_full((len(x), self.n_classes), torch.finfo(x.dtype).min / 4)
        return wide.index_copy(1, self.columns, x)


@register(VotingClassifier, role=(PREDICT, PROBA))
def voting(estimator, role: str) -> nn.Module:
    if estimator.voting != "soft":
        if role == PROBA:
            raise unsupported(estimator, "with voting='hard' has no torch view", role)
        return Ballot(_voters(estimator, PREDICT), _weights(estimator))
    return LogMean(_voters(estimator, PROBA), _weights(estimator))


@register(VotingRegressor, role=PREDICT)
def voting_values(estimator) -> nn.Module:
    return Mean(_voters(estimator, PREDICT), _weights(estimator))


def _voters(estimator, role: str) -> list[nn.Module]:
    where = f"{{}} of {type(estimator).__name__}"
    named = estimator.named_estimators_
    return [
        part_view(part, role, where.format(name)) for name, part in named.items() if part != "drop"
    ]


def _weights(estimator) -> list[float] | None:
    if estimator.weights is None:
        return None
    pairs = zip(estimator.estimators, estimator.weights, strict=True)
    return [weight for (_, part), weight in pairs if part != "drop"]


@register(BaggingClassifier, role=(PREDICT, PROBA))
def bagging(estimator, role: str) -> nn.Module:
    """A mean of probabilities; the shares of the votes of members that have none."""
    parts, counts = [], not hasattr(estimator.estimators_[0], "predict_proba")
    for member, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        module = part_view(member, PREDICT if counts else PROBA, "member of BaggingClassifier")
        missing = len(member.classes_) < len(estimator.classes_)
        spread = [Spread(member.classes_, len(estimator.classes_))] if missing else []
        parts.append(Chain(Take(columns), module, *spread))
    return Shares(parts) if counts else LogMean(parts)


@register(BaggingRegressor, role=PREDICT)
def bagging_values(estimator) -> nn.Module:
    pairs = zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    return Mean(
        [
            Chain(Take(columns), part_view(member, PREDICT, "member of BaggingRegressor"))
            for member, columns in pairs
        ]
    )


@register(MultiOutputRegressor, role=PREDICT)
def multi_output(estimator) -> nn.Module:
    where = "member of MultiOutputRegressor"
    return Beside([part_view(part, PREDICT, where) for part in estimator.estimators_])
