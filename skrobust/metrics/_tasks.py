"""What is asked of a model: the right class, or a small loss.

A task knows the estimator, the rows and the targets. It gives the objective that an attack climbs,
and it judges moved rows by the estimator's own ``predict``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from skrobust._torch import differences, to_numpy, to_tensor
from skrobust.attacks import Objective
from skrobust.bridge import is_affine
from skrobust.exceptions import UnsupportedEstimatorError, invalid
from skrobust.metrics._climbs import Climb
from skrobust.metrics._intervals import majority_share
from skrobust.metrics._losses import check_loss
from skrobust.metrics._rows import Rows, quiet_names
from skrobust.metrics._view import View, black_box, forest_view, seen_within, torch_view

__all__ = ["Classification", "Regression", "Verdict", "is_regression", "task_of"]

BATCH = 4096


class Verdict(NamedTuple):
    """Per-row judgment of moved rows: the number made worst, and whether the row is broken."""

    value: np.ndarray
    broken: np.ndarray


def task_of(estimator: Any, rows: Rows, y: Any, loss, tolerance) -> Classification | Regression:
    """The task that an estimator was made for."""
    if isinstance(estimator, type):
        raise TypeError(f"{estimator.__name__} is a class: pass a fitted instance of it.")
    if is_regression(estimator):
        return Regression(estimator, rows, y, loss, tolerance)
    if tolerance is not None:
        raise invalid("tolerance", tolerance, "None for a classifier", "It is for regressors.")
    return Classification(estimator, rows, y, loss)


def is_regression(estimator: Any) -> bool:
    """Whether an estimator predicts numbers; an error if it predicts neither them nor classes."""
    if _kind(estimator, is_regressor, "regressor"):
        return True
    speaks = hasattr(estimator, "__skrobust_torch__") or hasattr(estimator, "classes_")
    if speaks or _kind(estimator, is_classifier, "classifier"):
        return False
    raise UnsupportedEstimatorError(
        f"{type(estimator).__name__} is neither a classifier nor a regressor: there is no right "
        "answer that a moved row could lose."
    )


def _kind(estimator: Any, asks: Callable, word: str) -> bool:
    try:
        return asks(estimator)
    except (AttributeError, TypeError):  # not an object of scikit-learn's
        return getattr(estimator, "_estimator_type", None) == word


def _outputs(view: View, values: np.ndarray, of: Callable[..., Tensor], *args) -> np.ndarray:
    """``of(rows, *args)`` for all rows, a batch at a time."""
    found = []
    with view.evaluating(), torch.no_grad():
        for low in range(0, len(values), BATCH):
            part = slice(low, low + BATCH)
            z = to_tensor(values[part], device=view.device)
            found.append(to_numpy(of(z, *(argument[part] for argument in args))))
    return np.concatenate(found)


def _refuse_nan(outputs: np.ndarray, rows: Rows, estimator: Any) -> None:
    """Outputs that are not numbers: the rows' missing values went through, or the model broke."""
    if not np.isnan(outputs).any():
        return
    name = type(estimator).__name__
    if np.isnan(rows.values).any():
        raise ValueError(
            f"Input X contains NaN. {name} does not accept missing values: its outputs there are "
            "NaN too. Put an imputer in front of it."
        )
    raise ValueError(f"The outputs of {name} are NaN on the rows given: nothing can be measured.")


class Classification:
    """Rows are to keep their class; ``loss`` None climbs minus the logit margin."""

    def __init__(self, estimator: Any, rows: Rows, y: Any, loss):
        allowed = (None, "margin", "log")
        if not callable(loss) and not (loss is None or isinstance(loss, str) and loss in allowed):
            raise invalid("loss", loss, "None, 'margin', 'log' or a function for a classifier")
        self.estimator, self.loss = estimator, None if loss == "margin" else loss
        self.labels = labels = _labels(y)
        _same_length(rows, labels)
        answers = _answers(estimator, rows.given)
        self.view = torch_view(estimator, rows)
        classes = _classes(estimator)
        if classes is None and self.view is None:
            classes = np.unique(np.concatenate([labels, answers])).tolist()
        if self.view is None:
            order = ("predict_proba", "decision_function")
            order = order if loss == "log" else order[::-1]
            codes = _coded(answers, classes)
            self.view = forest_view(estimator, rows, codes, len(classes))
            self.view = self.view or black_box(estimator, rows, codes, classes, order)
        elif answers is not None and classes is not None:
            codes = _coded(answers, classes)
            self.view = seen_within(self.view, estimator, rows, codes, len(classes))
        outputs = _outputs(self.view, rows.values, self.logits)
        _refuse_nan(outputs, rows, estimator)
        self.classes = self._named(classes, outputs.shape[1])
        self.codes = _coded(labels, self.classes)
        self.known = self.codes >= 0
        self._targets = to_tensor(self.codes.clip(min=0), device=self.view.device).long()
        predicted = outputs.argmax(axis=1) if answers is None else _coded(answers, self.classes)
        self.predicted = predicted
        self.clean = self._verdict(rows.values, predicted)

    def logits(self, z: Tensor) -> Tensor:
        """One column per class."""
        outputs = self.view.forward(z)
        if outputs.shape[1] != 1:
            return outputs
        if self.view.differentiable:  # two classes with logits (0, f)
            return torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        return torch.cat([outputs, torch.full_like(outputs, -torch.inf)], dim=1)  # one class

    @property
    def is_margin(self) -> bool:
        return self.loss is None

    def searchable(self) -> np.ndarray:
        """Rows that a search could make worse: not those of classes the model cannot name."""
        return self.known & (len(self.classes) > 1)

    def climbs(self) -> list[Climb]:
        """The searches to make, one after the other, each from where the one before ended."""
        if callable(self.loss):
            return [Climb(self._loss, None, None)]
        # a row is done when it is lost; affine models are solved to the end, for that is free
        module = self.view.module
        goal = None if module is not None and is_affine(module) else 0.0
        if self.is_margin:
            return [Climb(None, self._pieces, goal)]
        if len(self.classes) == 2:  # cross-entropy grows with the one logit difference there is
            return [Climb(None, self._pieces, None)]
        return [Climb(None, self._pieces, goal), Climb(self._odds, None, None)]

    def objective(self, index: np.ndarray, climb: Climb) -> Objective:
        """What an attack makes large on rows ``index``."""
        return climb.objective(self._targets, index, self.view)

    def judge(self, moved: Any, values: np.ndarray) -> Verdict:
        """What became of all rows: ``moved`` in the user's container, ``values`` as numbers."""
        return self._verdict(values, self.decide(moved, values))

    def decide(self, moved: Any, values: np.ndarray) -> np.ndarray:
        """The model's own decisions as class numbers."""
        with quiet_names():
            answers = _answers(self.estimator, moved)
        if answers is None:
            return _outputs(self.view, values, self.logits).argmax(axis=1)
        return _coded(answers, self.classes)

    def majority(self, weight: np.ndarray) -> float:
        """What a model that ignores X would score: share of the most frequent class, or loss of
        the shares of the classes."""
        if self.is_margin:
            return majority_share(self.labels, weight)
        shares = np.bincount(self.codes[self.known], weight[self.known], len(self.classes))
        with np.errstate(divide="ignore"):
            logits = torch.as_tensor(np.log(shares / weight.sum())).expand(len(self.codes), -1)
        loss = to_numpy(self._of(logits, self._targets.cpu()))
        return float(np.average(np.where(self.known, loss, np.inf), weights=weight))

    def _verdict(self, values: np.ndarray, predicted: np.ndarray) -> Verdict:
        climbed = self._margin_lost if self.is_margin else self._loss
        value = _outputs(self.view, values, climbed, self._targets).astype(np.float64)
        return Verdict(np.where(self.known, value, np.inf), ~self.known | (predicted != self.codes))

    def _pieces(self, z: Tensor, y: Tensor) -> Tensor:
        return differences(self.logits(z), y)

    def _margin_lost(self, z: Tensor, y: Tensor) -> Tensor:
        return self._pieces(z, y).amax(dim=1)

    def _odds(self, z: Tensor, y: Tensor) -> Tensor:
        """Log of the odds against y: the cross-entropy grows with it, but it never saturates."""
        return torch.logsumexp(self._pieces(z, y), dim=1)

    def _loss(self, z: Tensor, y: Tensor) -> Tensor:
        return self._of(self.logits(z), y)

    def _of(self, logits: Tensor, y: Tensor) -> Tensor:
        if callable(self.loss):
            return _per_row(self.loss(logits, y), len(y))
        # cross-entropy as softplus(log odds against y) keeps its digits where it is tiny
        return torch.nn.functional.softplus(torch.logsumexp(differences(logits, y), dim=1))

    def _named(self, classes: list | None, n_logits: int) -> list:
        """The label of each logit."""
        if classes is None:
            return list(range(n_logits))
        if n_logits != len(classes) and len(classes) > 1:
            raise ValueError(
                f"The torch view of {type(self.estimator).__name__} gives {n_logits} logits, but "
                f"classes_ names {len(classes)} classes."
            )
        return classes


class Regression:
    """Predictions are to stay near the target; the worst per-row loss is sought."""

    is_margin = False

    def __init__(self, estimator: Any, rows: Rows, y: Any, loss, tolerance):
        self.estimator, self.loss, self.tolerance = estimator, check_loss(loss), tolerance
        self.y = _values(y)
        _same_length(rows, self.y)
        predicted = self._predict(rows.given)
        view = torch_view(estimator, rows)
        if view is not None and predicted is not None:
            view = seen_within(view, estimator, rows, predicted)
        self.view = view or forest_view(estimator, rows, predicted)
        self.view = self.view or black_box(estimator, rows, self.y, None)
        outputs = _outputs(self.view, rows.values, self.view.forward)
        predicted = outputs if predicted is None else predicted
        for found in (predicted, outputs):
            _refuse_nan(found, rows, estimator)
            self._check_width(found)
        self._targets = to_tensor(self.y, device=self.view.device)
        self.predicted = predicted
        self._before = self._losses(predicted)
        self.clean = self._verdict(predicted)

    def searchable(self) -> np.ndarray:
        return np.ones(len(self.y), dtype=bool)

    def climbs(self) -> list[Climb]:
        """The searches to make."""
        # the loss of one output is largest where the residual or minus the residual is
        one = self.y.shape[1] == 1 and hasattr(self.loss, "pieces")
        return [Climb(self._climb, self._pieces if one else None, None)]

    def objective(self, index: np.ndarray, climb: Climb) -> Objective:
        """What an attack makes large on rows ``index``."""
        return climb.objective(self._targets, index, self.view)

    def judge(self, moved: Any, values: np.ndarray) -> Verdict:
        """What became of all rows: ``moved`` in the user's container, ``values`` as numbers."""
        with quiet_names():
            predicted = self._predict(moved)
        if predicted is None:
            predicted = _outputs(self.view, values, self.view.forward)
        return self._verdict(predicted)

    def majority(self, weight: np.ndarray) -> float:
        """What a model that ignores X would score: the loss of the mean of y."""
        constant = np.average(self.y, axis=0, weights=weight)
        return float(
            np.average(self._losses(np.broadcast_to(constant, self.y.shape)), weights=weight)
        )

    def _predict(self, X: Any) -> np.ndarray | None:
        answers = _answers(self.estimator, X)
        return None if answers is None else answers.reshape(len(answers), -1)

    def _verdict(self, predicted: np.ndarray) -> Verdict:
        value = self._losses(predicted)
        limit = self._before if self.tolerance is None else self.tolerance
        return Verdict(value, value > limit)

    def _losses(self, predicted: np.ndarray) -> np.ndarray:
        prediction = to_tensor(predicted, dtype=torch.float64)
        return to_numpy(self._of(prediction, to_tensor(self.y))).astype(np.float64)

    def _check_width(self, predicted: np.ndarray) -> None:
        if predicted.shape != self.y.shape:
            raise ValueError(
                f"y has {self.y.shape[1]} output(s) for each row, but "
                f"{type(self.estimator).__name__} predicts {predicted.shape[1]}."
            )

    def _of(self, prediction: Tensor, y: Tensor) -> Tensor:
        if prediction.shape != y.shape:  # never let (n,) meet (n, 1)
            raise ValueError(f"Predictions {prediction.shape} do not match targets {y.shape}.")
        return _per_row(self.loss(prediction, y), len(y))

    def _climb(self, z: Tensor, y: Tensor) -> Tensor:
        outputs = self.view.forward(z)
        return self._of(outputs, y.to(outputs.dtype))

    def _pieces(self, z: Tensor, y: Tensor) -> Tensor:
        residual = self.view.forward(z)
        return self.loss.pieces(residual - y.to(residual.dtype))


def _per_row(values: Any, n_rows: int) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != (n_rows,):
        given = tuple(values.shape) if isinstance(values, Tensor) else values
        raise invalid("loss(...)", given, f"a tensor of one number per row, shape ({n_rows},)")
    return values


def _labels(y: Any) -> np.ndarray:
    """Labels (n,); errors are scikit-learn's."""
    if y is None:
        raise ValueError("y is None: a row can only be lost when its right answer is known.")
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError(
            f"y has shape {np.shape(y)}: several labels per row (multi-output, multi-label) are "
            "not supported. Measure one output at a time."
        )
    labels = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"))
    check_classification_targets(labels)
    return labels


def _values(y: Any) -> np.ndarray:
    """Targets (n, n_outputs), float64."""
    if y is None:
        raise ValueError("y is None: a loss needs the right answer of each row.")
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    return y[:, None] if y.ndim == 1 else y


def _same_length(rows: Rows, y: np.ndarray) -> None:
    if len(rows) != len(y):
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {len(rows)} rows, "
            f"y has {len(y)}."
        )


def _answers(estimator: Any, X: Any) -> np.ndarray | None:
    """The estimator's own predictions; None for an object that is all torch."""
    if not hasattr(estimator, "predict"):
        return None
    answers = np.asarray(estimator.predict(X))
    return answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers


def _classes(estimator: Any) -> list | None:
    """``classes_`` as a list; None where labels are the numbers of the outputs."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list) and any(np.ndim(part) for part in classes):
        raise ValueError(
            f"{type(estimator).__name__} predicts several labels per row (multi-output), which is "
            "not supported. Measure one output at a time."
        )
    return np.asarray(classes).tolist()


def _coded(labels: np.ndarray, classes: list) -> np.ndarray:
    """Class numbers; -1 for a label that the model cannot name."""
    numbers = {label: number for number, label in enumerate(classes)}
    return np.array([numbers.get(label, -1) for label in labels.tolist()], dtype=np.int64)
