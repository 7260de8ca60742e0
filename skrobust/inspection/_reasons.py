"""Why an additive model answers as it does, and what no single column can change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skrobust._compat import import_extra
from skrobust._params import check_number
from skrobust._torch import to_numpy, to_tensor
from skrobust.bridge import is_affine
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.inspection._rows import feature_names, row_labels
from skrobust.inspection._worst_case_display import answers
from skrobust.metrics._evaluation import Evaluation
from skrobust.metrics._rows import Rows
from skrobust.metrics._tasks import is_regression
from skrobust.threats import Threat, check_threat
from skrobust.trees import Forest, as_sum, one_of_each_cell, tree_view

__all__ = ["CertifiedReasons", "certified_reasons"]


@dataclass(frozen=True, eq=False)
class CertifiedReasons:
    """What :func:`certified_reasons` says; per row and column, in the order given.

    Attributes
    ----------
    prediction : ndarray of shape (n,)
        The model's own.
    rival : ndarray of shape (n,)
        The class that comes closest within the radius; contributions are towards the prediction and
        against it. Of a regressor all None.
    contribution : ndarray of shape (n, n_columns)
        What the column adds to the margin of the prediction over the rival (of a regressor, to the
        output), against its mean over the rows given.
    least, most : ndarray of shape (n, n_columns)
        The smallest and the largest that the column can be made to add by moving alone.
    base : ndarray of shape (n,)
        The margin (output) is ``base + contribution.sum(axis=1)``.
    margin, worst_margin : ndarray of shape (n,)
        Of the row itself, and the smallest within the radius over all other classes, all columns
        moving at once. Of a regressor: the output, and the smallest that it can be made.
    decides : ndarray of bool of shape (n, n_columns) or None
        Whether the column can change the answer by itself. None for a regressor.
    exact : bool
        Whether ``worst_margin`` is the truth (boxes without rules) and not a lower limit of it.
    """

    prediction: np.ndarray
    rival: np.ndarray
    contribution: np.ndarray
    least: np.ndarray
    most: np.ndarray
    base: np.ndarray
    margin: np.ndarray
    worst_margin: np.ndarray
    decides: np.ndarray | None
    exact: bool
    names: list
    labels: list

    @property
    def certified(self) -> np.ndarray:
        """Which answers no move within the radius can change."""
        return self.worst_margin > 0

    def frame(self) -> Any:
        """One row per row and column, those that matter most first."""
        pandas = import_extra("pandas", "frames")
        parts = []
        for i, label in enumerate(self.labels):
            order = np.argsort(-np.abs(self.contribution[i]), kind="stable")
            columns = {
                "row": label,
                "prediction": self.prediction[i],
                "rival": self.rival[i],
                "feature": [self.names[j] for j in order],
                "contribution": self.contribution[i][order],
                "least": self.least[i][order],
                "most": self.most[i][order],
            }
            if self.decides is not None:
                columns["decides"] = self.decides[i][order]
            parts.append(pandas.DataFrame(columns))
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()

    def __repr__(self) -> str:
        n, d = self.contribution.shape
        said = f"CertifiedReasons({n} rows, {d} columns, {int(self.certified.sum())} certified"
        if self.decides is None:
            return f"CertifiedReasons({n} rows, {d} columns)"
        return f"{said}, {int((~self.decides.any(axis=1)).sum())} that no single column changes)"


def certified_reasons(
    estimator: Any, X: Any, *, radius: float, threat: Any = "linf"
) -> CertifiedReasons:
    """Say what each column adds to each answer, and how far an attacker can push it.

    For a model that is a sum of functions of single columns, margin(x) = base + sum_j c_j(x_j), each
    column finds its worst by itself: ``least_j = min c_j(z_j)`` over its way within the radius. So

        worst_margin = base + sum_j least_j                     (in a box: exactly the worst case)
        column j changes the answer alone  iff  margin - (c_j(x_j) - least_j) <= 0  for some rival

    and "no single column can change this answer" is a proof, not the outcome of a search.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        ``module="additive"``, boosted stumps, or a linear model; scalers and encoders before them are
        part of the functions.
    X : array or DataFrame of shape (n, n_features)
        The rows.
    radius : float
        How far each column moves, in steps of the threat's ``scale``.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move. In l1 and l2 balls each column alone may use all of the radius, so that
        statements about single columns are exact; ``worst_margin`` is then a lower limit.

    Returns
    -------
    CertifiedReasons
        ``contribution``, ``least``, ``decides``, ``worst_margin``, ...; ``frame()``.

    Raises
    ------
    UnsupportedEstimatorError
        If the estimator is no sum of functions of single columns.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrobust import RobustClassifier, certified_reasons
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = RobustClassifier("additive", radius=0.3).fit(X, y == 2)
    >>> reasons = certified_reasons(model, X, radius=0.3)
    >>> reasons.frame().query("row == 100")[["feature", "decides"]].head(2)
                   feature  decides
    400  petal length (cm)    False
    401   petal width (cm)    False
    """
    radius, threat = check_number("radius", radius, low=0), check_threat(threat)
    rows = Rows(X, threat.categories)
    threat = threat.holding(sorted(rows.categories))
    terms = _terms(estimator, X, rows, threat, radius)
    prediction = answers(estimator, X)
    ruled, box = _kind(threat, rows, radius)
    names, labels = feature_names(X, rows.values.shape[1]), row_labels(X, len(rows))
    exact = box and not ruled
    if is_regression(estimator):
        return _of_regressor(terms, prediction, exact, names, labels)
    classes = np.asarray(getattr(estimator, "classes_", range(terms.at.shape[1])))
    return _of_classifier(terms, prediction, classes, exact, names, labels)


class _Terms:
    """Per row, output and column: what is added, the least and the most of every output difference.

    ``at`` (n, k, d): ``outputs = base + at.sum(axis=2)``; ``ends(weights)`` gives the smallest and
    the largest of ``sum_k weights_k term_k`` within the radius, per row and column.
    """

    def __init__(self, at: np.ndarray, base: np.ndarray, ends):
        self.at, self.base, self.ends = at, base, ends


def _terms(estimator: Any, X: Any, rows: Rows, threat: Threat, radius: float) -> _Terms:
    if rows.values.ndim == 2:
        forest = tree_view(estimator, rows.values.dtype, rows.column_types, rows.categories)
        forest = None if forest is None else as_sum(forest)
        region = threat.region(to_tensor(rows.values), radius)
        if forest is not None and forest.link == "identity":
            return _of_sum(forest, rows, region)
        found = _of_plane(estimator, X, rows, threat, region)
        if found is not None:
            return found
    raise UnsupportedEstimatorError(
        f"{type(estimator).__name__} is no sum of functions of single columns, so that no column's "
        "part in an answer can be told apart. RobustClassifier('additive') and linear models are."
    )


def _of_sum(forest: Forest, rows: Rows, region) -> _Terms:
    cells, columns = forest.cells, {}
    leaves = forest.leaves(one_of_each_cell(forest))
    inner = np.flatnonzero(forest.feature >= 0)
    owner = np.searchsorted(forest.roots, inner, side="right") - 1
    for node, tree in zip(inner, owner, strict=True):
        column = int(forest.feature[node])
        count = int(cells.counts[column])
        columns[column] = forest.values[leaves[tree]][: count + 1] / forest.divisor
    constant = [t for t in range(forest.n_trees) if t not in set(owner.tolist())]
    base = forest.base + sum(forest.values[leaves[t, 0]] for t in constant)
    n, d = rows.values.shape
    here = cells.of(rows.values)
    low, high = (cells.of(to_numpy(end.expand_as(region.x))) for end in (region.low, region.high))
    at = np.zeros((n, forest.n_outputs, d))
    for column, table in columns.items():
        at[:, :, column] = table[here[:, column]]

    def ends(weights: np.ndarray):
        least, most = np.zeros((2, n, d))
        for column, table in columns.items():
            values = weights @ table.T  # (n, n_cells + 1)
            cell = np.arange(table.shape[0])
            within = (low[:, [column]] <= cell) & (cell <= high[:, [column]])
            within &= cell != here[:, [column]]
            within[:, :-1] &= cells.allowed[cells.starts[column] :][: table.shape[0] - 1]
            within[np.arange(n), here[:, column]] = True
            least[:, column] = np.where(within, values, np.inf).min(axis=1)
            most[:, column] = np.where(within, values, -np.inf).max(axis=1)
        return least, most

    return _Terms(at, np.broadcast_to(base / forest.divisor, (n, forest.n_outputs)), ends)


def _of_plane(estimator: Any, X: Any, rows: Rows, threat: Threat, region) -> _Terms | None:
    """A linear model: each row's gradients, which are the same for all but missing values."""
    view = Evaluation(estimator, X, answers(estimator, X), threat=threat).task.view
    if view.module is None or not is_affine(view.module):
        return None
    x = to_tensor(rows.values).requires_grad_(True)
    with view.evaluating(), torch.enable_grad():
        outputs = view.forward(x)
        if outputs.shape[1] == 1 and not is_regression(estimator):
            outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        slopes = []
        for k in range(outputs.shape[1]):
            (slope,) = torch.autograd.grad(
                outputs[:, k].sum(), x, retain_graph=True, allow_unused=True
            )
            slopes.append(torch.zeros_like(x) if slope is None else torch.nan_to_num(slope))
    slope = to_numpy(torch.stack(slopes, dim=1)).astype(np.float64)
    values = np.nan_to_num(rows.values.astype(np.float64))
    at = slope * values[:, None]
    base = to_numpy(outputs).astype(np.float64) - at.sum(axis=2)
    down, up = (
        np.nan_to_num(to_numpy(end.expand_as(region.x) - region.x))
        for end in (region.low, region.high)
    )

    def ends(weights: np.ndarray):
        way = np.einsum("nk,nkd->nd", weights, slope)
        here = way * values
        return here + np.minimum(way * down, way * up), here + np.maximum(way * down, way * up)

    return _Terms(at, base, ends)


def _of_regressor(terms: _Terms, prediction, exact: bool, names, labels) -> CertifiedReasons:
    n = len(prediction)
    if terms.at.shape[1] != 1:
        raise UnsupportedEstimatorError("Reasons are those of one output: fit one model for each.")
    least, most = terms.ends(np.ones((n, 1)))
    center = terms.at[:, 0].mean(axis=0)
    at, base = terms.at[:, 0], terms.base[:, 0]
    return CertifiedReasons(
        prediction,
        np.full(n, None),
        at - center,
        least - center,
        most - center,
        base + center.sum(),
        base + at.sum(axis=1),
        base + least.sum(axis=1),
        None,
        exact,
        names,
        labels,
    )


def _of_classifier(terms: _Terms, prediction, classes, exact, names, labels) -> CertifiedReasons:
    n, k, d = terms.at.shape
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    own = np.array([numbers[label] for label in prediction.tolist()])
    eye = np.eye(k)
    decides, worst = np.zeros((n, d), dtype=bool), np.full(n, np.inf)
    rival = np.zeros(n, dtype=int)
    for other in range(k):
        weights = eye[own] - eye[other]
        least, _ = terms.ends(weights)
        at, base = np.einsum("nk,nkd->nd", weights, terms.at), (weights * terms.base).sum(axis=1)
        asked = own != other
        margin = base + at.sum(axis=1)
        decides |= (margin[:, None] - (at - least) <= 0) & asked[:, None]
        low = np.where(asked, base + least.sum(axis=1), np.inf)
        rival, worst = np.where(low < worst, other, rival), np.minimum(worst, low)
    weights = eye[own] - eye[rival]
    least, most = terms.ends(weights)
    at, base = np.einsum("nk,nkd->nd", weights, terms.at), (weights * terms.base).sum(axis=1)
    center = np.einsum("nk,kd->nd", weights, terms.at.mean(axis=0))
    return CertifiedReasons(
        prediction,
        classes[rival],
        at - center,
        least - center,
        most - center,
        base + center.sum(axis=1),
        base + at.sum(axis=1),
        worst,
        decides,
        exact,
        names,
        labels,
    )


def _kind(threat: Threat, rows: Rows, radius: float) -> tuple[bool, bool]:
    """Whether rows obey rules, and whether columns move independently of each other."""
    region = threat.region(to_tensor(rows.values[:1]), max(radius, 1e-300))
    norm = getattr(getattr(region, "ball", region), "norm", None)
    return region.ruled, norm is None or norm.is_box
