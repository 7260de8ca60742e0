"""Models that count votes: hard voting, one-versus-one, output codes.

A vote has no slope. Where scikit-learn breaks ties of votes by a squashed sum of the decision
values, so do these views everywhere: it is the lead of a class that no vote contradicts, and an
attack can climb it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import torch
from sklearn.multiclass import OneVsOneClassifier, OutputCodeClassifier
from torch import Tensor, nn

from skrobust._compat import ConstantPredictor
from skrobust.bridge._as_torch import DECISION, PREDICT, PROBA, part_view, register, unsupported
from skrobust.bridge._views import Affine, Beside, Chain, Take, View

# Logits (0, d) of two classes as the one column d, which is the log-odds or the decision value.
DIFFERENCE = [[-1.0, 1.0]]


def response(estimator, where: str, prefer: tuple[str, ...] = (DECISION, PROBA)):
    """The first of the methods that a classifier has, and the view of it."""
    role = next((role for role in prefer if hasattr(estimator, role)), None)
    if role is None:
        raise unsupported(estimator, f"({where}) has none of {', '.join(prefer)}, so that it")
    return role, part_view(estimator, role, where)


def first_wins(votes: Tensor, bonus: float) -> Tensor:
    """What to add (n, k) so that of several classes with most votes the first is on top."""
    most = votes == votes.amax(dim=1, keepdim=True)
    tied = most.sum(dim=1, keepdim=True) > 1
    first = most & (most.cumsum(dim=1) == 1)
    return bonus * (first & tied).to(votes.dtype)


class Votes(View):
    """One-versus-one decision values (n, k (k-1) / 2) to one column per class.

    Votes of the pairs plus a squashed sum of the decision values in (-1/3, 1/3). A value above
    ``center`` is a vote for the first class of its pair. With ``first_wins``, the first of the
    classes with most votes is put on top, as libsvm has it; the column differs from
    ``decision_function`` in rows with a tie only.
    """

    steps = True

    def __init__(self, n_classes: int, first_wins: bool, center: float = 0.0):
        super().__init__()
        signs = np.zeros((n_classes, n_classes * (n_classes - 1) // 2))
        for pair, (i, j) in enumerate(combinations(range(n_classes), 2)):
            signs[i, pair], signs[j, pair] = 1, -1
        self.keep("signs", signs)
        self.first_wins, self.center = first_wins, center

    def forward(self, x: Tensor) -> Tensor:
        signs = self.like("signs", x)
        confidence = x @ signs.T
        won = torch.where(x < self.center, -1, 1).to(x.dtype)
        votes = ((won @ signs.T) + signs.abs().sum(dim=1)) / 2
        columns = votes + confidence / (3 * (confidence.abs() + 1))
        return columns + first_wins(votes, 0.7) if self.first_wins else columns


class Ballot(View):
    """Each of several classifiers votes for its class, with a weight; one column per class.

    The votes, plus the weighted mean lead of a class over the others, each squashed by
    ``x / (1 + |x|)`` and too small to outweigh a vote. Of equals the first wins.
    """

    steps = True

    def __init__(self, parts: Sequence[nn.Module], weights=None):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        weights = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=float)
        self.keep("weights", weights)
        self.say = smallest_lead(weights) / 3

    def forward(self, x: Tensor) -> Tensor:
        votes, lead = self.count(x)
        return votes + self.say * lead + first_wins(votes, 2.1 * self.say)

    def count(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Votes and mean leads in (-1, 1), one column per class."""
        votes, lead, weights = 0.0, 0.0, self.like("weights", x)
        for part, weight in zip(self.parts, weights, strict=True):
            logits = part(x)
            best = logits.argmax(dim=1)
            votes = votes + weight * nn.functional.one_hot(best, logits.shape[1]).to(x.dtype)
            logits = logits.clamp(-1e9, 1e9)  # classes a member does not know are far below
            ahead = logits - logits.mean(dim=1, keepdim=True)
            lead = lead + weight * ahead / (1 + ahead.abs())
        return votes, lead / weights.sum()


def smallest_lead(weights: np.ndarray) -> float:
    """The least by which one sum of votes can be ahead of another.

    >>> smallest_lead(np.array([1.0, 3.0, 1.5]))
    0.5
    """
    heavy = weights[weights > 0]
    if len(set(heavy)) == 1:
        return float(heavy[0])
    if len(heavy) > 10:  # too many sums to look at; a smaller say is no harm
        return float(1e-3 * heavy.min())
    leads = np.array(list(product((-1, 0, 1), repeat=len(heavy)))) @ heavy
    return float(leads[leads > 1e-9 * heavy.sum()].min())


class Winner(View):
    """Logits to the number of the class predicted, as one column."""

    steps = True

    def __init__(self, numbers):
        super().__init__()
        self.keep("numbers", numbers)

    def forward(self, x: Tensor) -> Tensor:
        return self.like("numbers", x)[x.argmax(dim=1)][:, None]


class Shares(Ballot):
    """Logarithms of the shares of the votes, with the gradient of the leads as a guide."""

    def forward(self, x: Tensor) -> Tensor:
        votes, lead = self.count(x)
        tiny = torch.finfo(x.dtype).tiny  # no vote is common, and has no logarithm
        return (votes / len(self.parts)).clamp(min=tiny).log() + (lead - lead.detach())


def confidences(estimator) -> tuple[list[nn.Module], bool]:
    """Of members that tell two classes apart, the confidence in the second as one column.

    A decision value, or else a probability; also whether it is one.
    """
    where, parts, role = f"member of {type(estimator).__name__}", [], DECISION
    for member in estimator.estimators_:
        role, module = response(member, where)
        last = [nn.Softmax(dim=1), Take([1])] if role == PROBA else [Affine(DIFFERENCE)]
        parts.append(Chain(module, *last))
    return parts, role == PROBA


@register(OneVsOneClassifier, role=(PREDICT, DECISION))
def one_vs_one(estimator, role: str) -> nn.Module:
    if estimator.pairwise_indices_ is not None:
        raise unsupported(estimator, "of precomputed kernels has no torch view; it")
    parts, is_share = confidences(estimator)
    return duels(parts, is_share, len(estimator.classes_), role)


def duels(parts: list[nn.Module], is_share: bool, n_classes: int, role: str) -> nn.Module:
    """The votes of one model per pair of classes: ``parts`` favour the second of each pair."""
    first_favoured = Chain(Beside(parts), Affine(-np.eye(len(parts))))
    votes = Votes(n_classes, False, -0.5 if is_share else 0.0)
    if n_classes > 2:
        return Chain(first_favoured, votes)
    # scikit-learn has the second column as the decision value, and compares it with a threshold.
    threshold = 0.5 if is_share and role == PREDICT else 0.0
    return Chain(first_favoured, votes, Affine([[0.0, 0.0], [0.0, 1.0]], [0.0, -threshold]))


@register(ConstantPredictor, role=(PREDICT, PROBA, DECISION))
def constant(estimator, role: str) -> nn.Module:
    """Stands for a classifier of rows that were all of one class, 0 or 1."""
    (label,) = np.ravel(estimator.y_)
    value = float(label)
    if role == PROBA:
        with np.errstate(divide="ignore"):
            bias = np.log(np.clip([1 - value, value], np.finfo(float).tiny, 1))
    else:
        bias = np.array([0.0, value])
    return Affine(np.zeros((2, estimator.n_features_in_)), bias)


@register(OutputCodeClassifier, role=PREDICT)
def output_codes(estimator) -> nn.Module:
    """Minus squared distances to the codes, less what no class owes more than another."""
    parts, _ = confidences(estimator)
    codes = estimator.code_book_
    return Chain(Beside(parts), Affine(2 * codes, -(codes**2).sum(axis=1)))
