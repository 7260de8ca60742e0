"""From trees as their libraries keep them to one forest over cells of the raw columns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skrobust.trees import _boosters, _mixed  # noqa: F401  (their readers register themselves)
from skrobust.trees._cells import Cells
from skrobust.trees._floats import before
from skrobust.trees._forest import Forest
from skrobust.trees._read import Model, Step, read
from skrobust.trees._steps import chain, pulled_back, unwrapped

__all__ = ["tree_view"]


def tree_view(
    estimator: Any,
    dtype: Any = np.float64,
    column_types: Any = None,
    categories: Mapping[int, Sequence[Any]] | None = None,
) -> Forest | None:
    """A fitted tree model as a :class:`Forest` over the columns of X; None if it is none.

    Decision trees, random forests, extra trees, gradient boosting, histogram gradient boosting
    (missing values and categories too), bagged trees and AdaBoost of trees, XGBoost and LightGBM
    models; behind searches, frozen estimators and Pipelines whose other steps treat each column
    on its own and never fall (scalers, imputers, selectors, encoders of numbers, column
    transformers of those).

    Parameters
    ----------
    estimator : fitted estimator
    dtype : float type of the rows
        Thresholds are exact in it, through all casts and scalers: rows on a threshold and next
        to it take the leaf that they take in ``estimator.predict``.
    column_types : sequence of float types, optional
        Narrower types that single columns of a data frame have.
    categories : dict of column -> values, optional
        Columns of text. In rows, codes stand for it: the places of the values in that list.

    Returns
    -------
    Forest or None

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RandomForestClassifier(10, random_state=0).fit(X, y)
    >>> forest = tree_view(model)
    >>> bool((forest.scores(X) == model.predict_proba(X)).all())
    True
    """
    dtype = np.dtype(dtype)
    parts, last = unwrapped(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns without names
        model = read(last)
        if model is None or not model.trees or not hasattr(estimator, "predict"):
            return None
        n_features = getattr(estimator, "n_features_in_", model.n_features)
        steps = chain([*parts, *model.steps], n_features, dtype, categories or {})
        if steps is None or steps.text or int(steps.rises.shape[0]) != model.n_features:
            return None
        return _built(model, steps, dtype, column_types)


def _built(model: Model, steps: Step, dtype: np.dtype, column_types) -> Forest:
    nodes = _joined(model)
    cells, seen, missing = _cells(nodes, steps, dtype, model.whole_codes)
    if column_types is not None:
        cells = cells.narrowed(column_types)
    cut, subset, subsets = _splits(nodes, steps, cells, seen, model.whole_codes)
    inner = nodes["feature"] >= 0
    column = np.where(inner, nodes["feature"], 0)
    gone = missing[column]  # what the trees see of a missing value: missing, or a number
    goes = np.where(np.isnan(gone), nodes["missing_left"], gone <= nodes["threshold"])
    for node, codes in nodes["codes"].items():
        if not np.isnan(gone[node]):
            goes[node] = _in(gone[node : node + 1], codes, model.whole_codes)[0]
    return Forest(
        cells=cells,
        feature=np.where(inner, steps.sources[column], -1).astype(np.int32),
        cut=cut,
        subset=subset,
        subsets=subsets,
        missing_left=goes.astype(bool),
        left=nodes["left"],
        right=nodes["right"],
        leaf=np.where(inner, -1, np.cumsum(~inner) - 1).astype(np.int32),
        roots=nodes["roots"],
        values=nodes["values"][~inner],
        base=np.asarray(model.base, dtype=np.float64),
        divisor=float(model.divisor),
        link=model.link,
        is_classifier=model.is_classifier,
    )


def _joined(model: Model) -> dict[str, Any]:
    """All trees in one set of arrays."""
    sizes = [len(tree.feature) for tree in model.trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    found: dict[str, Any] = {"roots": roots}
    for name in ("feature", "threshold", "missing_left", "values"):
        found[name] = np.concatenate([getattr(tree, name) for tree in model.trees])
    for name in ("left", "right"):
        sides = [getattr(tree, name) + root for tree, root in zip(model.trees, roots, strict=True)]
        found[name] = np.concatenate(sides).astype(np.int32)
    found["codes"] = {
        int(root) + node: codes
        for tree, root in zip(model.trees, roots, strict=True)
        for node, codes in tree.codes.items()
    }
    return found


def _cells(nodes: dict, steps: Step, dtype: np.dtype, whole: bool):
    """Cells of the raw columns, and what the trees see in each (per column of theirs)."""
    ends: list[list[np.ndarray]] = [[] for _ in range(steps.n_in)]
    for column, found in steps.knots:
        ends[column].append(found)
    rising = np.flatnonzero(steps.rises)
    limits = {int(column): _limits(nodes, column, whole) for column in rising}
    for column, found in zip(rising, pulled_back(steps, limits, dtype), strict=True):
        ends[steps.sources[column]].append(found)
    borders = [np.unique(np.concatenate([*own, []])) for own in ends]
    borders = [own[np.isfinite(own)] for own in borders]
    shown = _samples(borders, dtype)
    seen = steps.apply(shown).astype(np.float64)
    missing = steps.apply(np.full((1, steps.n_in), np.nan, dtype=dtype)).astype(np.float64)[0]
    allowed = None
    if steps.refuses is not None:
        refused = steps.refuses(shown)
        allowed = [~refused[: len(own) + 1, column] for column, own in enumerate(borders)]
    return Cells(borders, dtype, allowed), seen, missing


def _limits(nodes: dict, column: int, whole: bool) -> np.ndarray:
    """Thresholds of a column that the trees see, and ends around its categories."""
    asked = nodes["feature"] == column
    sets = [codes for node, codes in nodes["codes"].items() if asked[node]]
    by_value = asked.copy()
    by_value[list(nodes["codes"])] = False
    limits = [nodes["threshold"][by_value]]
    for codes in sets:
        double = np.dtype(np.float64)
        limits += [before(codes, double), before(codes + 1, double) if whole else codes]
        if whole and 0 in codes:  # what lies between -1 and 0 is cut down to 0
            limits.append(np.array([-1.0]))
    return np.unique(np.concatenate(limits))


def _samples(borders: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Rows with a number of each cell of each column: its end; after the last end the next one."""
    depth = max((len(own) for own in borders), default=0) + 1
    rows = np.zeros((depth, len(borders)), dtype=dtype)
    for column, own in enumerate(borders):
        if len(own):
            last = np.nextafter(own[-1].astype(dtype), dtype.type(np.inf))
            rows[:, column] = last
            rows[: len(own), column] = own
    return rows


def _splits(nodes: dict, steps: Step, cells: Cells, seen: np.ndarray, whole: bool):
    """The last cell that goes left of each node; a set of cells where that does not say it."""
    cut = np.zeros(len(nodes["feature"]), dtype=np.int32)
    subset = np.full(len(cut), -1, dtype=np.int32)
    sets: list[np.ndarray] = []
    for column, source in enumerate(steps.sources):
        own = np.flatnonzero(nodes["feature"] == column)
        shown = seen[: cells.counts[source], column]
        if steps.rises[column]:
            cut[own] = np.searchsorted(shown, nodes["threshold"][own], side="right") - 1
            own = own[[int(node) in nodes["codes"] for node in own]]
        for node in own:
            codes = nodes["codes"].get(int(node))
            if codes is None:
                left = shown <= nodes["threshold"][node]
            else:
                left = _in(shown, codes, whole)
            left = np.where(np.isnan(shown), nodes["missing_left"][node], left)
            if (np.diff(left.astype(np.int8)) <= 0).all():  # the first cells and no others
                cut[node] = left.sum() - 1
            else:
                subset[node] = len(sets)
                sets.append(left)
    width = max((len(own) for own in sets), default=0)
    subsets = np.array([np.pad(own, (0, width - len(own))) for own in sets], dtype=bool)
    return cut, subset, subsets.reshape(len(sets), width)


def _in(values: np.ndarray, codes: np.ndarray, whole: bool) -> np.ndarray:
    return np.isin(np.trunc(values) if whole else values, codes)
