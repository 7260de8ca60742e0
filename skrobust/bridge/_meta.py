"""Models that are asked through another model: one-vs-rest, stacking, calibration, thresholds."""

from __future__ import annotations

import math

import numpy as np
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from torch import Tensor, nn

from skrobust.bridge._as_torch import (
    DECISION,
    INVERSE,
    PREDICT,
    PROBA,
    part_view,
    register,
    unsupported,
)
from skrobust.bridge._ensemble import LogMean, Spread
from skrobust.bridge._isotonic import LogOfMean, Normalised, isotonic
from skrobust.bridge._views import Affine, Beside, Chain, Stretch, Take, View
from skrobust.bridge._votes import DIFFERENCE, Winner, response


class LogShifted(View):
    """``x -> log(x + 1e-12)``, scikit-learn's way from probabilities to logits."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 1e-12).log()


@register(OneVsRestClassifier, role=(PREDICT, PROBA, DECISION))
def one_vs_rest(estimator, role: str) -> nn.Module:
    if estimator.multilabel_:
        raise unsupported(estimator, "predicts several labels per row, which has no torch view,")
    where = "member of OneVsRestClassifier"
    if is_regressor(estimator.estimators_[0]):
        return _of_values(estimator, where)
    prefer = (DECISION, PROBA) if role == PREDICT else (role,)
    members = [response(member, where, prefer)[1] for member in estimator.estimators_]
    if len(members) == 1:
        return Chain(members[0], Affine([[0.0, 0.0], *DIFFERENCE]))
    if role == PROBA:
        members = [Chain(member, nn.LogSoftmax(dim=1), Take([1])) for member in members]
        return Beside(members)
    return Beside([Chain(member, Affine(DIFFERENCE)) for member in members])


def _of_values(estimator, where: str) -> nn.Module:
    """One regressor of 0 and 1 per class; of two classes one, compared with 1/2."""
    members = [part_view(member, PREDICT, where) for member in estimator.estimators_]
    if len(members) == 1:
        return Chain(members[0], Affine([[0.0], [1.0]], [0.0, -0.5]))
    return Beside(members)


@register(StackingClassifier, role=(PREDICT, PROBA, DECISION))
def stacking(estimator, role: str) -> nn.Module:
    last = part_view(estimator.final_estimator_, role, "final_estimator_ of StackingClassifier")
    return Chain(_first_layer(estimator), last)


@register(StackingRegressor, role=PREDICT)
def stacking_values(estimator) -> nn.Module:
    last = part_view(estimator.final_estimator_, PREDICT, "final_estimator_ of StackingRegressor")
    return Chain(_first_layer(estimator), last)


def _first_layer(estimator) -> nn.Module:
    parts = []
    pairs = zip(estimator.estimators_, estimator.stack_method_, strict=True)
    for number, (member, method) in enumerate(pairs):
        module = part_view(member, method, f"member {number} of {type(estimator).__name__}")
        if method == PREDICT and hasattr(member, "classes_"):
            module = Chain(module, Winner(member.classes_))  # numbers, as stacking encodes them
        if method == PROBA:
            module = Chain(module, nn.Softmax(dim=1))
        two = method != PREDICT and len(member.classes_) == 2
        parts.append(Chain(module, Take([1])) if two else module)
    return Beside([*parts, Chain()] if estimator.passthrough else parts)


@register(CalibratedClassifierCV, role=(PREDICT, PROBA))
def calibrated(estimator, role: str) -> nn.Module:
    parts = [_calibrated(part, estimator) for part in estimator.calibrated_classifiers_]
    return LogOfMean(parts) if estimator.method == "isotonic" else LogMean(parts)


def _calibrated(part, estimator) -> nn.Module:
    """Logits of one fitted model with its calibrators; probabilities of isotonic ones."""
    role, module = response(part.estimator, "estimator of CalibratedClassifierCV")
    two = len(part.estimator.classes_) == 2
    if role == PROBA:
        module = Chain(module, nn.Softmax(dim=1))
    if estimator.method == "temperature":
        (calibrator,) = part.calibrators
        to_logits = LogShifted() if role == PROBA else Stretch(2.0 if two else 1.0)
        return Chain(module, to_logits, Stretch(calibrator.beta_))
    if estimator.method == "isotonic":
        return Chain(module, _isotonic(part, two))
    slope = np.array([calibrator.a_ for calibrator in part.calibrators])
    offset = np.array([calibrator.b_ for calibrator in part.calibrators])
    if len(part.classes) == 2:
        return Chain(module, Take([1]), Stretch(-slope, -offset), nn.ZeroPad1d((1, 0)))
    sigmoids = [Take([1])] if two else []
    sigmoids += [Stretch(-slope, -offset), nn.LogSigmoid()]
    known = np.searchsorted(part.classes, part.estimator.classes_)[: len(slope)]
    spread = [Spread(known, len(part.classes))] if len(known) < len(part.classes) else []
    return Chain(module, *sigmoids, *spread)


def _isotonic(part, two: bool) -> nn.Module:
    """Probabilities of the classes that the model knows, divided by their sum."""
    taken = [1] if two else range(len(part.estimator.classes_))
    columns = [
        Chain(Take([column]), isotonic(calibrator))
        for column, calibrator in zip(taken, part.calibrators, strict=True)
    ]
    known = np.searchsorted(part.classes, part.estimator.classes_)[: len(columns)]
    if len(part.classes) == 2:
        return Chain(Beside(columns), Affine([[-1.0], [1.0]], [1.0, 0.0]))
    return Chain(Beside(columns), Normalised(known, len(part.classes)))


@register(FixedThresholdClassifier, role=PREDICT)
def fixed_threshold(estimator) -> nn.Module:
    inner = getattr(estimator, "estimator_", estimator.estimator)
    return _threshold(estimator, inner, estimator.threshold, estimator.pos_label)


@register(TunedThresholdClassifierCV, role=PREDICT)
def tuned_threshold(estimator) -> nn.Module:
    positive = estimator._curve_scorer._get_pos_label()
    return _threshold(estimator, estimator.estimator_, estimator.best_threshold_, positive)


def _threshold(estimator, inner, threshold, positive) -> nn.Module:
    """Logits (0, s - t) of a score s: a decision value, or log-odds for a probability."""
    method = estimator.response_method
    prefer = (PROBA, DECISION) if method == "auto" else (method,)
    role, module = response(inner, f"estimator of {type(estimator).__name__}", prefer)
    if threshold == "auto":
        threshold = 0.5 if role == PROBA else 0.0
    if role == PROBA:
        with np.errstate(divide="ignore"):
            threshold = float(np.log(threshold) - np.log1p(-threshold))
    if not math.isfinite(threshold):
        raise unsupported(estimator, "has a threshold that one class always passes: it")
    first = positive is not None and positive == inner.classes_[0]
    # The score of the first class is the other one's with its sign turned.
    return Chain(
        module, Affine([[0.0, 0.0], *DIFFERENCE], [0.0, threshold if first else -threshold])
    )


@register(FixedThresholdClassifier, TunedThresholdClassifierCV, role=(PROBA, DECISION))
def below_threshold(estimator, role: str) -> nn.Module:
    inner = getattr(estimator, "estimator_", estimator.estimator)
    return part_view(inner, role, f"estimator of {type(estimator).__name__}")


@register(TransformedTargetRegressor, role=PREDICT)
def transformed_target(estimator) -> nn.Module:
    where = "{} of TransformedTargetRegressor"
    values = part_view(estimator.regressor_, PREDICT, where.format("regressor_"))
    back = part_view(estimator.transformer_, INVERSE, where.format("transformer_"))
    return Chain(values, back)
