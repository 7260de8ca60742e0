"""Pipelines, unions and column transformers: views of their parts, put together."""

from __future__ import annotations

from collections import UserList
from numbers import Integral

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from torch import nn

from skrobust.bridge._as_torch import (
    DECISION,
    PREDICT,
    PROBA,
    TRANSFORM,
    part_view,
    register,
    unsupported,
)
from skrobust.bridge._views import Beside, Chain, Stretch, Take


@register(Pipeline, role=(PREDICT, TRANSFORM, PROBA, DECISION))
def pipeline(estimator, role: str) -> nn.Module:
    """Every step transforms but the last, which plays the role of the whole."""
    last = len(estimator.steps) - 1
    parts = [
        part_view(step, role if i == last else TRANSFORM, f"step {name!r} of Pipeline")
        for i, (name, step) in enumerate(estimator.steps)
        if not _is_identity(step)
    ]
    return Chain(*parts)


@register(FeatureUnion, role=TRANSFORM)
def union(estimator) -> nn.Module:
    weights = estimator.transformer_weights or {}
    parts = []
    for name, part in estimator.transformer_list:
        if isinstance(part, str) and part == "drop":
            continue
        where = f"transformer {name!r} of FeatureUnion"
        module = Chain() if _is_identity(part) else part_view(part, TRANSFORM, where)
        parts.append(_weighed(module, weights.get(name)))
    return Beside(parts)


@register(ColumnTransformer, role=TRANSFORM)
def columns(estimator) -> nn.Module:
    weights = estimator.transformer_weights or {}
    parts = []
    for name, part, given in estimator.transformers_:
        index = positions(estimator, given)
        if (isinstance(part, str) and part == "drop") or not len(index):
            continue
        where = f"transformer {name!r} of ColumnTransformer"
        module = Chain() if _is_identity(part) else part_view(part, TRANSFORM, where)
        parts.append(Chain(Take(index), _weighed(module, weights.get(name))))
    return Beside(parts)


def positions(estimator, given) -> list[int]:
    """Columns named, numbered, sliced or masked, as positions among the columns seen at fit."""
    numbers = np.arange(estimator.n_features_in_)
    if isinstance(given, slice):
        start, stop = given.start, given.stop
        if isinstance(start, str) or isinstance(stop, str):  # of names, the last one included
            start = None if start is None else _position(estimator, start)
            stop = None if stop is None else _position(estimator, stop) + 1
        return numbers[slice(start, stop, given.step)].tolist()
    if isinstance(given, str | Integral):
        given = [given]
    # scikit-learn 1.6 warns whoever looks at the list of remaining columns, except at its data.
    given = list(given.data if isinstance(given, UserList) else given)
    if given and all(isinstance(one, bool | np.bool_) for one in given):
        return np.flatnonzero(given).tolist()
    return [_position(estimator, one) for one in given]


def _position(estimator, one) -> int:
    if not isinstance(one, str):
        return int(np.arange(estimator.n_features_in_)[one])  # counts from the end if negative
    names = list(getattr(estimator, "feature_names_in_", ()))
    if one not in names:
        raise unsupported(estimator, f"selects the column {one!r}, which has no known position: it")
    return names.index(one)


def _is_identity(part) -> bool:
    return part is None or (isinstance(part, str) and part == "passthrough")


def _weighed(module: nn.Module, weight: float | None) -> nn.Module:
    return module if weight is None else Chain(module, Stretch(weight))
