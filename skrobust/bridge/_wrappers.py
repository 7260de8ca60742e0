"""Estimators that answer through one fitted estimator inside: searches, frozen estimators."""

from __future__ import annotations

from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from torch import nn

from skrobust.bridge._as_torch import (
    DECISION,
    INVERSE,
    PREDICT,
    PROBA,
    TRANSFORM,
    part_view,
    register,
    unsupported,
)

SEARCH = GridSearchCV.__base__  # what all searches share, halving ones included


FACES = (PREDICT, TRANSFORM, PROBA, DECISION, INVERSE)


@register(SEARCH, role=FACES)
def best_found(estimator, role: str) -> nn.Module:
    if not hasattr(estimator, "best_estimator_"):
        raise unsupported(estimator, "has no best_estimator_ (refit=False); without it, it")
    where = f"best_estimator_ of {type(estimator).__name__}"
    return part_view(estimator.best_estimator_, role, where)


@register(FrozenEstimator, role=FACES)
def frozen(estimator, role: str) -> nn.Module:
    return part_view(estimator.estimator, role, "estimator of FrozenEstimator")
