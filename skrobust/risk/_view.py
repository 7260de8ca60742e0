"""Thresholded models as attacks and proofs see them: logits shifted, trees with another base."""

from __future__ import annotations

import numpy as np
from scipy.special import logit
from sklearn.model_selection import FixedThresholdClassifier
from torch import nn

from skrobust.bridge._as_torch import (
    DECISION,
    PREDICT,
    PROBA,
    part_view,
    register,
    unsupported,
)
from skrobust.bridge._views import Affine, Chain
from skrobust.risk._intervals import scores_of
from skrobust.risk._offsets import is_always
from skrobust.risk._threshold import RobustThresholdClassifier
from skrobust.trees._read import Model, read, reads

__all__ = []
WHERE = "estimator of RobustThresholdClassifier"


@register(RobustThresholdClassifier, role=PREDICT)
def thresholded(estimator) -> nn.Module:
    _refuse_referring(estimator)
    name, _ = scores_of(estimator.estimator_, estimator.response_method)
    if len(estimator.classes_) > 2:  # decision values, or logits of the probabilities
        inner = part_view(
            estimator.estimator_, PROBA if name == "predict_proba" else DECISION, WHERE
        )
        slope = 0.0 if is_always(estimator.offsets_) else 1.0
        return Chain(inner, Affine(slope * np.eye(len(estimator.offsets_)), estimator.offsets_))
    if _is_constant(estimator):
        inner = part_view(estimator.estimator_, PREDICT, WHERE)
        sign = 1.0 if estimator.threshold_ < 0 else -1.0
        return Chain(inner, Affine([[0.0, 0.0], [0.0, 0.0]], [0.0, sign]))
    fixed = FixedThresholdClassifier(
        estimator.estimator_, threshold=estimator.threshold_, response_method=name
    )
    fixed.estimator_ = estimator.estimator_
    return part_view(fixed, PREDICT, WHERE)


@register(RobustThresholdClassifier, role=(PROBA, DECISION))
def below(estimator, role: str) -> nn.Module:
    return part_view(estimator.estimator_, role, WHERE)


@reads(RobustThresholdClassifier)
def thresholded_trees(estimator) -> Model | None:
    """The trees inside, with what the second class needs taken off its base."""
    model = read(estimator.estimator_)
    name, _ = scores_of(estimator.estimator_, estimator.response_method)
    k = len(estimator.classes_)
    if model is None or len(model.base) != k or name != "predict_proba" or _refers(estimator):
        return None
    if k > 2:
        return _lifted(model, estimator.offsets_)
    t = estimator.threshold_
    if model.link == "log":  # shares p: p_1 - p_0 = 2 p_1 - 1
        needed = np.clip(2 * t - 1, -3, 3)
    elif model.link == "identity":  # log odds
        needed = logit(t) if 0 < t < 1 else None
    else:
        return None
    if needed is None:
        return None
    base = model.base - np.array([0.0, needed * model.divisor])
    return model._replace(base=base, link="identity")


def _lifted(model: Model, offsets: np.ndarray) -> Model | None:
    """The same trees with an offset for each class: added to logits, a factor of shares."""
    if model.link == "identity":
        return model._replace(base=model.base + offsets * model.divisor)
    if is_always(offsets):
        return model._replace(base=np.maximum(offsets, 0.0), link="identity")
    if model.link != "log":
        return None
    times = np.exp(offsets - offsets.max())
    trees = [nodes._replace(values=nodes.values * times) for nodes in model.trees]
    return model._replace(trees=trees, base=model.base * times)


def _refuse_referring(estimator) -> None:
    if _refers(estimator):
        raise unsupported(
            estimator, "refers rows, which is a third answer (see worst_case_cost), and"
        )


def _refers(estimator) -> bool:
    return estimator.refer_label is not None and estimator._has_human


def _is_constant(estimator) -> bool:
    return bool(np.isinf(estimator.threshold_))
