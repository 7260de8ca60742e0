"""The model as an attack sees it: a torch function where there is one, its answers otherwise."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skrobust._torch import evaluating, to_numpy, to_tensor
from skrobust.bridge import as_torch, has_steps, lines_of
from skrobust.exceptions import BlackBoxWarning, UnsupportedEstimatorError
from skrobust.metrics._rows import Rows, quiet_names
from skrobust.trees import tree_view

__all__ = ["View", "black_box", "forest_view", "say_black_box", "seen_within", "torch_view"]

# Fewer rows than this share on which scores and predictions agree: the scores are not the model's
# decision (thresholds moved, one-versus-one votes), and climbing them would be in vain.
AGREEMENT = 0.95


@dataclass(frozen=True)
class View:
    """``forward`` maps moved rows (n, ...) to logits or values (n, k), as tensors.

    ``module`` is the torch view, ``None`` for a black box; ``source`` says what was asked;
    ``model`` is what an attack may read from within (a forest of trees).
    """

    forward: Callable[[Tensor], Tensor]
    source: str
    module: nn.Module | None = None
    model: Any = None

    @property
    def differentiable(self) -> bool:
        return self.module is not None

    @property
    def jumps(self) -> bool:
        """Whether parts of the torch view are step functions (bins, encoders)."""
        return self.module is not None and has_steps(self.module)

    @property
    def device(self) -> torch.device:
        if self.module is None:
            return torch.device("cpu")
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @contextmanager
    def evaluating(self):
        """Evaluation mode, frozen parameters, and everything as before afterwards."""
        if self.module is None:
            yield
            return
        with evaluating(self.module):
            yield


def torch_view(estimator: Any, rows: Rows) -> View | None:
    """The estimator as a torch function; None if it has no such view."""
    text = {rows.given.columns[place]: values for place, values in rows.categories.items()}
    try:
        module = as_torch(estimator, categories=text)
    except UnsupportedEstimatorError:
        if hasattr(estimator, "predict"):
            return None
        raise
    return View(lambda z: _columns(module(z)), "torch", module)


def forest_view(
    estimator: Any, rows: Rows, predicted: np.ndarray, n_classes: int | None = None
) -> View | None:
    """Trees read from within; None where there are none, or predict does not answer as they do.

    ``predicted`` are the estimator's own predictions of ``rows``: class numbers, or values.
    """
    if rows.values.ndim != 2 or rows.values.dtype == np.float16:
        return None
    forest = tree_view(estimator, rows.values.dtype, rows.column_types, rows.categories)
    if forest is None:
        return None
    outputs = forest.outputs(rows.values)
    if n_classes is None:
        same = np.isclose(outputs, predicted.reshape(len(outputs), -1), rtol=1e-4, atol=1e-6)
        same = same.all(axis=1) if same.shape == outputs.shape else np.zeros(1)
    else:
        same = (outputs.argmax(axis=1) == predicted) & (outputs.shape[1] == n_classes)
    return View(forest.forward, "trees", model=forest) if same.mean() >= AGREEMENT else None


def seen_within(
    view: View, estimator: Any, rows: Rows, predicted: np.ndarray, n_classes: int | None = None
) -> View:
    """A torch view with what it is made of, where attacks read it: lines, or trees where it jumps."""
    lines = None if view.module is None else lines_of(view.module, rows.values[0].size)
    if lines is not None:
        return replace(view, model=lines)
    if not view.jumps:
        return view
    found = forest_view(estimator, rows, predicted, n_classes)
    return view if found is None else replace(view, model=found.model)


def say_black_box(estimator: Any) -> None:
    """Say once per process and class that no gradient was to be had."""
    kind = _telling(estimator)
    if kind in _said:
        return
    _said.add(kind)
    warnings.warn(
        f"{kind} has no torch view: it is attacked through its outputs alone, by black-box search. "
        "Such a search misses worst cases that gradients would find, so read the robust score as "
        "an upper estimate. Ask for attack='search' to agree, or see "
        "skrobust.bridge.supported_estimators() for models that can be differentiated.",
        BlackBoxWarning,
        stacklevel=_depth(),
    )


_said: set[str] = set()


def _depth() -> int:
    """How many frames up the caller's own code is, for a warning that points there."""
    frame, depth = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("skrobust."):
        frame, depth = frame.f_back, depth + 1
    return depth


def _telling(estimator: Any) -> str:
    """The class of an estimator; of a Pipeline's last step too."""
    name = type(estimator).__name__
    steps = getattr(estimator, "steps", None)
    return f"{name}(... {_telling(steps[-1][1])})" if steps else name


def _columns(outputs: Tensor) -> Tensor:
    return outputs[:, None] if outputs.ndim == 1 else outputs


def black_box(
    estimator: Any,
    rows: Rows,
    predicted: np.ndarray,
    classes: list | None,
    responses: Sequence[str] = ("predict",),
) -> View:
    """The first of the ``responses`` whose decision is the model's own, as a function of rows.

    ``predicted`` are the estimator's own predictions of ``rows`` (class numbers); with ``classes``
    None it predicts numbers. Its predictions are the last resort.
    """
    for name in responses:
        if classes is None or not hasattr(estimator, name):
            continue
        with quiet_names():
            scores = _RESPONSES[name](estimator, rows.given, classes)
        if scores.shape != (len(rows), len(classes)):
            continue  # one-versus-one votes
        if np.mean(scores.argmax(axis=1) == predicted) >= AGREEMENT:
            return View(_numeric(estimator, rows, _RESPONSES[name], classes), name)
    return View(_numeric(estimator, rows, _prediction, classes), "predict")


def _numeric(estimator, rows: Rows, respond, classes) -> Callable[[Tensor], Tensor]:
    def forward(z: Tensor) -> Tensor:
        with quiet_names():
            answer = respond(estimator, rows.wrap(to_numpy(z)), classes)
        return to_tensor(answer, dtype=torch.float64)

    return forward


def _decision(estimator, X, classes) -> np.ndarray:
    values = np.asarray(estimator.decision_function(X), dtype=np.float64)
    if values.ndim == 1 or values.shape[1] == 1:
        values = values.reshape(-1)
        return np.stack([np.zeros_like(values), values], axis=1)
    return values


def _log_probabilities(estimator, X, classes) -> np.ndarray:
    # votes of 0 are common in forests: the smallest normal number stands for them
    shares = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    return np.log(np.clip(shares, np.finfo(np.float64).tiny, None))


def _prediction(estimator, X, classes: list | None) -> np.ndarray:
    """Values (n, k), or +1 at the class predicted and 0 elsewhere."""
    predicted = np.asarray(estimator.predict(X))
    if classes is None:
        return predicted.reshape(len(predicted), -1).astype(np.float64)
    numbers = {label: number for number, label in enumerate(classes)}
    found = np.zeros((len(predicted), len(classes)))
    for row, label in enumerate(predicted.tolist()):
        if label in numbers:
            found[row, numbers[label]] = 1.0
    return found


_RESPONSES: dict[str, Callable[..., np.ndarray]] = {
    "decision_function": _decision,
    "predict_proba": _log_probabilities,
}
