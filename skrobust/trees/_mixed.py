"""Several tree models that vote or are averaged: one model with the trees of all."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import VotingClassifier, VotingRegressor

from skrobust.trees._read import Model, read, reads

__all__ = ["averaged_models"]


@reads(VotingClassifier, VotingRegressor)
def averaged_models(estimator: Any) -> Model | None:
    """Shares of classes, or values, averaged with weights; None where members see other columns."""
    if getattr(estimator, "voting", "soft") != "soft":
        return None
    members = [read(one) for one in estimator.estimators_]
    if any(one is None for one in members) or not _are_alike(members):
        return None
    given = estimator.weights or np.ones(len(estimator.estimators))
    pairs = zip(estimator.estimators, given, strict=True)
    weights = np.array([weight for (_, one), weight in pairs if one != "drop"], dtype=np.float64)
    weights = weights / weights.sum()
    trees, base = [], np.zeros_like(members[0].base)
    for member, weight in zip(members, weights, strict=True):
        share = weight / member.divisor
        base = base + share * member.base
        trees += [tree._replace(values=share * tree.values) for tree in member.trees]
    return members[0]._replace(trees=trees, base=base, divisor=1.0)


def _are_alike(members: list[Model]) -> bool:
    """Whether outputs are averaged as they are, and columns seen in the same way."""
    first = members[0]
    kept = ("log",) if first.is_classifier else ("identity",)
    seen = [tuple(getattr(step, "apply", step) for step in one.steps) for one in members]
    return all(
        one.link in kept
        and steps == seen[0]
        and not one.whole_codes
        and len(one.base) == len(first.base)
        for one, steps in zip(members, seen, strict=True)
    )
