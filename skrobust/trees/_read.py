"""Trees as their libraries keep them, read into one form; one reader per class of estimators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Model", "Nodes", "Step", "read", "reads"]


class Step(NamedTuple):
    """A map of columns before the trees: each output column comes of one input column.

    ``apply`` is the map itself, from rows to rows; ``sources`` (n_out,) the input column of each
    output; ``rises`` (n_out,) whether it never falls. Other outputs are constant between
    ``knots``, pairs of an input column and sorted numbers. ``refuses`` says which entries of
    rows (n, n_in) the map would raise an error for. ``text`` names the output columns that are
    codes of text still, with the values that the codes count.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    n_in: int
    sources: np.ndarray
    rises: np.ndarray
    knots: tuple[tuple[int, np.ndarray], ...] = ()
    refuses: Callable[[np.ndarray], np.ndarray] | None = None
    text: Mapping[int, Sequence[Any]] = {}


class Nodes(NamedTuple):
    """One tree. A row goes left where its column is <= the threshold, or one of the ``codes``.

    ``feature`` is -1 at leaves; ``missing_left`` says where missing values go; ``codes`` maps
    nodes that split categories to those that go left; ``values`` (n_nodes, n_outputs) are what
    leaves add to the outputs.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    values: np.ndarray
    codes: dict[int, np.ndarray]


class Model(NamedTuple):
    """Outputs are ``link((base + sum of the trees' leaves) / divisor)``, ``steps`` before them.

    ``whole_codes``: categories are whole numbers, and others are cut down to them.
    """

    trees: list[Nodes]
    base: np.ndarray
    n_features: int
    is_classifier: bool
    divisor: float = 1.0
    link: str = "identity"
    steps: tuple[Any, ...] = ()
    whole_codes: bool = False


_readers: list[tuple[type, Callable[[Any], Model | None]]] = []
_lazy: dict[str, Callable[[Any], Model | None]] = {}
_ANSWERS = ("predict", "predict_proba", "decision_function", "_raw_predict")


def reads(*classes: type | str) -> Callable:
    """Decorator: ``fn(estimator)`` gives the trees of these classes, None where it cannot.

    A class of a library that may be missing is named as text, ``"module.Class"``.
    """

    def add(fn: Callable) -> Callable:
        for cls in classes:
            if isinstance(cls, str):
                _lazy[cls] = fn
            else:
                _readers.append((cls, fn))
        return fn

    return add


def read(estimator: Any) -> Model | None:
    """The trees of a fitted estimator; None if it has none, or is more than its trees."""
    kind = type(estimator)
    hook = getattr(kind, "__skrobust_trees__", None)
    if hook is not None:  # an object that knows that it is made of trees
        owner = next(cls for cls in kind.__mro__ if "__skrobust_trees__" in vars(cls))
        return hook(estimator) if _same_answers(kind, owner) else None
    for cls, fn in _readers:
        if issubclass(kind, cls):
            return fn(estimator) if _same_answers(kind, cls) else None
    for parent in kind.__mro__:
        fn = _lazy.get(f"{parent.__module__.partition('.')[0]}.{parent.__name__}")
        if fn is not None:
            return fn(estimator) if _same_answers(kind, parent) else None
    return None


def _same_answers(kind: type, cls: type) -> bool:
    """Whether a subclass predicts as its parent does."""
    return all(
        inspect.getattr_static(kind, name, None) is inspect.getattr_static(cls, name, None)
        for name in _ANSWERS
    )
