"""Which estimators are fitted to the exact worst case, and how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from skrobust.attacks import Exact
from skrobust.exceptions import invalid
from skrobust.nets import EXACT, Additive, Recipe
from skrobust.smoothing import Divergence
from skrobust.threats import Threat
from skrobust.trees import Model, Nodes

__all__ = ["is_additive", "solves_exactly", "stepped_model", "to_the_end"]


def is_additive(module) -> bool:
    """Whether ``module=`` asks for an additive model."""
    return isinstance(module, Additive) or (isinstance(module, str) and module == "additive")


def solves_exactly(estimator, X: np.ndarray, threat: Threat, divergence: Divergence) -> bool:
    """Whether a fit minimises the exact worst-case loss of all rows at once.

    Additive models know no other way, and say so; a linear one can also be trained like a network,
    on small batches and against any attack.
    """
    attack, batch_size = estimator.attack, estimator.batch_size
    exact = isinstance(attack, Exact) or (isinstance(attack, str) and attack in ("auto", "exact"))
    whole = batch_size in ("auto", -1)
    if is_additive(estimator.module):
        _check_additive(estimator, exact, whole, divergence)
        return True
    if not isinstance(estimator.module, str) or estimator.module != "linear" or X.ndim != 2:
        return False
    return (
        exact
        and whole
        and estimator.preprocessor is None
        and isinstance(divergence, EXACT)
        and threat.region(torch.as_tensor(X[:1]), 0.0).exact_steepest
    )


def _check_additive(estimator, exact: bool, whole: bool, divergence: Divergence) -> None:
    why = "An additive model is fitted to its exact worst case, all rows at once."
    if not exact:
        raise invalid("attack", estimator.attack, "'auto' or 'exact' with module='additive'", why)
    if not whole:
        raise invalid(
            "batch_size", estimator.batch_size, "'auto' or -1 with module='additive'", why
        )
    if not isinstance(divergence, EXACT):
        allowed = "'loss', 'squared' or 'kl' with module='additive'"
        raise invalid("divergence", estimator.divergence, allowed, why)
    if estimator.preprocessor is not None:
        raise invalid(
            "preprocessor", estimator.preprocessor, "None with module='additive'",
            "It needs no scaling, and missing values have a bin; put encoders before it in a "
            "Pipeline.",
        )  # fmt: skip


def to_the_end(estimator, recipe: Recipe) -> Recipe:
    """The recipe with the defaults of a full-batch fit."""
    additive = is_additive(estimator.module)
    auto = lambda value: isinstance(value, str) and value == "auto"
    lr = 0.05 if auto(estimator.lr) else recipe.lr
    max_epochs = (15 if additive else 25) if auto(estimator.max_epochs) else recipe.max_epochs
    return replace(recipe, lr=lr, max_epochs=max_epochs, radius_warmup=0.0)


def stepped_model(network, is_classifier: bool, mean=0.0, spread=1.0) -> Model | None:
    """An additive model as trees, one for each column: what reads trees then reads it."""
    edges, values = network.body.edges.cpu().numpy(), network.body.values.detach().cpu().numpy()
    bias = network.body.bias.detach().cpu().numpy()
    trees = []
    for column in range(len(edges)):
        own = edges[column][np.isfinite(edges[column])]
        steps = values[:, column].T * spread
        trees.append(_tree(column, own, steps[: len(own) + 1], steps[-1]))
    return Model(trees, bias * spread + mean, len(edges), is_classifier)


def _tree(column: int, edges: np.ndarray, values: np.ndarray, missing: np.ndarray) -> Nodes:
    """A tree of one column: missing values to the right of its root, a search among edges left."""
    feature, threshold, left, right, out, gone = [], [], [], [], [], []

    def node(value=None) -> int:
        leaf = value is not None
        feature.append(-1 if leaf else column)
        threshold.append(0.0)
        left.append(len(left))
        right.append(len(right))
        out.append(value if leaf else np.zeros_like(missing))
        gone.append(True)
        return len(feature) - 1

    def grow(low: int, high: int) -> int:
        if low == high:
            return node(values[low])
        at, middle = node(), (low + high) // 2
        threshold[at] = edges[middle]
        left[at], right[at] = grow(low, middle), grow(middle + 1, high)
        return at

    root = node()
    threshold[root], gone[root] = np.inf, False
    left[root], right[root] = grow(0, len(edges)), node(missing)
    return Nodes(
        np.array(feature), np.array(threshold), np.array(left), np.array(right),
        np.array(gone), np.array(out), {},
    )  # fmt: skip
