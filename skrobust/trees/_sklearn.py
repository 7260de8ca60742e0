"""Decision trees, forests, boosting, bagging of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from skrobust.trees._floats import before
from skrobust.trees._read import Model, Nodes, Step, reads

__all__ = ["Encoding", "as_float32", "codes_of", "spread", "standing_alone", "widened"]


def as_float32(n_features: int) -> Step:
    """Columns rounded to single precision, as most trees see them."""
    return Step(_rounded, n_features, np.arange(n_features), np.ones(n_features, dtype=bool))


def _rounded(X: np.ndarray) -> np.ndarray:
    return X.astype(np.float32).astype(np.float64)


def _nodes(tree, values: np.ndarray, columns: np.ndarray | None = None) -> Nodes:
    """A ``tree_`` of scikit-learn; ``columns`` are those of X that it sees."""
    feature, leaf = tree.feature.astype(np.int64), tree.children_left < 0
    if columns is not None:
        feature = np.asarray(columns)[np.where(leaf, 0, feature)]
    itself = np.arange(tree.node_count)
    missing_left = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count))
    return Nodes(
        np.where(leaf, -1, feature),
        tree.threshold,
        np.where(leaf, itself, tree.children_left),
        np.where(leaf, itself, tree.children_right),
        np.asarray(missing_left).astype(bool),
        values,
        {},
    )


def _shares(tree) -> np.ndarray:
    return np.asarray(tree.value[:, 0, :], dtype=np.float64)


def _model(estimator, trees: list[Nodes], base, is_classifier: bool, **how) -> Model:
    width = estimator.n_features_in_
    steps = (as_float32(width),)
    return Model(trees, np.asarray(base, float), width, is_classifier, steps=steps, **how)


@reads(DecisionTreeClassifier, RandomForestClassifier, ExtraTreesClassifier)
def voting_trees(estimator: Any) -> Model | None:
    """Shares of the classes, averaged."""
    if estimator.n_outputs_ > 1:
        return None
    members = getattr(estimator, "estimators_", [estimator])
    trees = [_nodes(one.tree_, _shares(one.tree_)) for one in members]
    base = np.zeros(estimator.n_classes_)
    return _model(estimator, trees, base, True, divisor=len(trees), link="log")


@reads(DecisionTreeRegressor, RandomForestRegressor, ExtraTreesRegressor)
def averaging_trees(estimator: Any) -> Model:
    members = getattr(estimator, "estimators_", [estimator])
    trees = [_nodes(one.tree_, one.tree_.value[:, :, 0]) for one in members]
    return _model(estimator, trees, np.zeros(estimator.n_outputs_), False, divisor=len(trees))


@reads(BaggingClassifier)
def bagged_trees(estimator: Any) -> Model | None:
    trees = []
    for one, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        if type(one) not in _SINGLE:
            return None
        values = np.zeros((one.tree_.node_count, estimator.n_classes_))
        values[:, np.asarray(one.classes_, dtype=int)] = _shares(one.tree_)
        trees.append(_nodes(one.tree_, values, columns))
    base = np.zeros(estimator.n_classes_)
    return _model(estimator, trees, base, True, divisor=len(trees), link="log")


@reads(BaggingRegressor)
def bagged_regression_trees(estimator: Any) -> Model | None:
    trees = []
    for one, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        if type(one) not in _SINGLE:
            return None
        trees.append(_nodes(one.tree_, one.tree_.value[:, :, 0], columns))
    return _model(estimator, trees, np.zeros(trees[0].values.shape[1]), False, divisor=len(trees))


@reads(AdaBoostClassifier)
def boosted_votes(estimator: Any) -> Model | None:
    """Weighted votes: a class wins the weight, the others share its negative."""
    n_classes, trees = estimator.n_classes_, []
    if n_classes == 1:
        return None
    weights = estimator.estimator_weights_[: len(estimator.estimators_)]
    for one, weight in zip(estimator.estimators_, weights, strict=True):
        if type(one) not in _SINGLE:
            return None
        votes = np.searchsorted(estimator.classes_, one.classes_)[_shares(one.tree_).argmax(axis=1)]
        chosen = votes[:, None] == np.arange(n_classes)
        trees.append(_nodes(one.tree_, np.where(chosen, weight, -1 / (n_classes - 1) * weight)))
    # predict_proba is the softmax of the decision values over (K - 1)
    divisor = float(estimator.estimator_weights_.sum()) * max(1, n_classes - 1)
    return _model(estimator, trees, np.zeros(n_classes), True, divisor=divisor)


@reads(GradientBoostingClassifier, GradientBoostingRegressor)
def boosted_trees(estimator: Any) -> Model | None:
    start = estimator.init_
    constant = isinstance(start, (DummyClassifier, DummyRegressor)) or str(start) == "zero"
    if not constant:  # another model underneath
        return None
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))[0]
    is_classifier, trees = hasattr(estimator, "classes_"), []
    for stage in estimator.estimators_:
        for output, one in enumerate(stage):
            leaves = estimator.learning_rate * one.tree_.value[:, 0, 0]
            trees.append(_nodes(one.tree_, spread(leaves, output, len(base), is_classifier)))
    # with loss="exponential" the sigmoid of twice the decision value is the probability
    divisor = 0.5 if estimator.loss == "exponential" else 1.0
    return _model(estimator, trees, widened(base, is_classifier), is_classifier, divisor=divisor)


@reads(HistGradientBoostingClassifier, HistGradientBoostingRegressor)
def histogram_trees(estimator: Any) -> Model | None:
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
    is_classifier = hasattr(estimator, "classes_")
    link = "identity"
    if not is_classifier:
        link = {"IdentityLink": "identity", "LogLink": "exp"}.get(
            type(estimator._loss.link).__name__
        )
    steps = () if estimator.is_categorical_ is None else (Encoding(estimator),)
    if link is None:
        return None
    trees = [
        _histogram_nodes(tree, spread(tree.nodes["value"], output, len(base), is_classifier))
        for stage in estimator._predictors
        for output, tree in enumerate(stage)
    ]
    width = estimator.n_features_in_
    return Model(
        trees, widened(base, is_classifier), width, is_classifier, link=link, steps=steps
    )  # fmt: skip


def _histogram_nodes(tree, values: np.ndarray) -> Nodes:
    nodes = tree.nodes
    leaf, itself = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    sets = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf):
        words = tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
        sets[int(node)] = np.flatnonzero(bits.ravel()).astype(np.float64)
    return Nodes(
        np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)),
        nodes["num_threshold"].astype(np.float64),
        np.where(leaf, itself, nodes["left"].astype(np.int64)),
        np.where(leaf, itself, nodes["right"].astype(np.int64)),
        nodes["missing_go_to_left"].astype(bool),
        values,
        sets,
    )


class Encoding(NamedTuple):
    """What a histogram booster does first: it numbers categories, and puts their columns first."""

    estimator: Any

    def step(self, text: Mapping[int, Sequence[Any]]) -> Step | None:
        categorical = self.estimator.is_categorical_
        encoder = self.estimator._preprocessor.named_transformers_["encoder"]
        columns = np.flatnonzero(categorical)
        known = [
            codes_of(own, text.get(int(column)))
            for column, own in zip(columns, encoder.categories_, strict=True)
        ]
        if any(own is None for own in known) or not set(text) <= set(columns.tolist()):
            return None

        def apply(X: np.ndarray) -> np.ndarray:
            given = zip(known, columns, strict=True)
            codes = [_place(own, X[:, column]) for own, column in given]
            return np.column_stack([*codes, X[:, ~categorical]])

        sources = np.concatenate([columns, np.flatnonzero(~categorical)])
        knots = zip(sources.tolist(), map(standing_alone, known), strict=False)
        return Step(apply, len(sources), sources, ~np.sort(categorical)[::-1], tuple(knots))


def _place(known: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The place of each number among those known (n,); NaN for others."""
    found = np.full(len(given), np.nan)
    for place, value in enumerate(known):
        found[given == value] = place
    return found


def codes_of(categories: np.ndarray, text: Sequence[Any] | None) -> np.ndarray | None:
    """Categories as numbers: themselves, or the codes of text; None if they are neither.

    Text that no row has gets a number that no row has, missing values are NaN.

    >>> codes_of(np.array(["b", "c", None], dtype=object), ("a", "b"))
    array([ 1., -2., nan])
    """
    if text is None:
        return categories.astype(np.float64) if categories.dtype.kind in "iufb" else None
    codes = {value: float(code) for code, value in enumerate(text)}
    missing = [value is None or value != value for value in categories]
    never = -1.0 - np.arange(len(categories))
    known = [codes.get(v, other) for v, other in zip(categories, never, strict=True)]
    return np.where(missing, np.nan, known)


def standing_alone(categories: np.ndarray) -> np.ndarray:
    """Ends of cells such that each category has one of its own."""
    known = np.asarray(categories, dtype=np.float64)
    known = known[~np.isnan(known)]
    return np.sort(np.concatenate([known, before(known, np.dtype(np.float64))]))


def spread(leaves: np.ndarray, output: int, n_outputs: int, is_classifier: bool) -> np.ndarray:
    """Leaves of one output as a column among all; one decision value is the second of two."""
    if is_classifier and n_outputs == 1:
        output, n_outputs = 1, 2
    values = np.zeros((len(leaves), n_outputs))
    values[:, output] = leaves
    return values


def widened(base: np.ndarray, is_classifier: bool) -> np.ndarray:
    """(d) becomes (0, d) for two classes."""
    return np.array([0.0, base[0]]) if is_classifier and len(base) == 1 else base


_SINGLE = {DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor}
