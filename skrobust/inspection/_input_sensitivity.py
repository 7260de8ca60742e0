"""How much of an answer hangs on each entry of a row, model beside model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_name, check_number
from skrobust._torch import to_numpy, to_tensor
from skrobust.exceptions import invalid
from skrobust.inspection._attributions import Slopes
from skrobust.inspection._fragility import single_moves
from skrobust.inspection._named import named_estimators
from skrobust.inspection._rows import feature_names, row_labels
from skrobust.inspection._worst_case_display import answers
from skrobust.threats import check_threat

__all__ = ["InputSensitivity", "input_sensitivity"]

METHODS = ("auto", "gradient", "moves")
QUANTILE = 0.9


@dataclass(frozen=True, eq=False)
class InputSensitivity:
    """What :func:`input_sensitivity` measured.

    Attributes
    ----------
    values : dict of str to ndarray of shape (n, ...)
        Per model, row and entry: the share of the row's margin that this entry takes away when it
        moves alone within the radius; 1 and more means that it changes the answer alone. Of
        regressors, how far it moves the prediction, in the units of y.
    method : dict of str to str
        ``"gradient"`` (to first order) or ``"moves"`` (the worst of six places).
    names : list of str
        Of the columns, or channels.
    labels : list
        Of the rows.
    radius : float
    quantity : {"margin", "output"}
    """

    values: dict[str, np.ndarray]
    method: dict[str, str]
    names: list[str]
    labels: list
    radius: float
    quantity: str

    def frame(self, kind: str = "features") -> Any:
        """The numbers as a pandas DataFrame.

        Parameters
        ----------
        kind : {"features", "rows"}
            ``"features"``: one row per model and entry: ``median`` and ``high`` (the 90% quantile)
            over the rows and, of classifiers, ``alone``: the share of the rows whose answer the
            entry can change alone. ``"rows"``: one row per model, row and entry.
        """
        check_name("kind", kind, ("features", "rows"))
        pandas = import_extra("pandas", "frames")
        return pandas.concat([self._of(name, kind) for name in self.values], ignore_index=True)

    def summary(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Median, 90% quantile and share of rows at 1 or above, each of the shape of a row."""
        values = self.values[name]
        if len(values) == 0:
            return (np.full(values.shape[1:], np.nan),) * 3
        return (
            np.median(values, axis=0),
            np.quantile(values, QUANTILE, axis=0, method="higher"),
            (values >= 1).mean(axis=0),
        )

    def _of(self, name: str, kind: str) -> Any:
        pandas = import_extra("pandas", "frames")
        values, entries = self.values[name], self._entries()
        if kind == "rows":
            rows = np.repeat(np.array(self.labels, dtype=object), len(entries))
            columns = {"row": rows, "feature": entries * len(values), "share": values.ravel()}
        else:
            median, high, alone = (part.ravel() for part in self.summary(name))
            columns = {"feature": entries, "median": median, "high": high, "alone": alone}
        if self.quantity == "output":
            columns.pop("alone", None)
            columns = {"moves" if key == "share" else key: part for key, part in columns.items()}
        frame = pandas.DataFrame({"estimator": name, **columns, "method": self.method[name]})
        if kind == "features":
            frame = frame.sort_values("median", ascending=False, kind="stable")
        return frame

    def _entries(self) -> list[str]:
        shape = next(iter(self.values.values())).shape[1:]
        if len(shape) == 1:
            return list(self.names)
        places = np.ndindex(*shape)
        return [f"{self.names[place[0]]}[{', '.join(map(str, place[1:]))}]" for place in places]

    def __repr__(self) -> str:
        shape = next(iter(self.values.values())).shape
        return f"InputSensitivity({list(self.values)}, {shape[0]} rows, radius {self.radius:g})"


def input_sensitivity(
    estimators: Any,
    X: Any,
    *,
    radius: float,
    threat: Any = "linf",
    method: str = "auto",
) -> InputSensitivity:
    """Measure how much of each answer hangs on each entry of a row, for models side by side.

    For row x with margin m(x) > 0 of the answer given, and entry j that moves alone within the radius,

        share_j = max over z_j of (m(x) - m(x with z_j)) / m(x)

    The share has no unit and does not change when logits are multiplied, so that models can be
    compared: 0.2 means that a fifth of the distance to another answer is gone, 1 that the answer
    changes. By the gradient it is ``max(g_j (x_j - low_j), -g_j (high_j - x_j)) / m`` with the ends of
    the column's way; frozen columns have 0, and of one-way columns that way counts.

    Parameters
    ----------
    estimators : fitted estimator, or list or dict of some
        Classifiers or regressors, not both. No labels are needed: answers are the models' own.
    X : array, tensor or DataFrame of shape (n, ...)
        The rows.
    radius : float
        How far each entry moves, in steps of the threat's ``scale``; > 0.
    threat : {"linf", "l2", "l1"} or threat object
        Where rows may move.
    method : {"auto", "gradient", "moves"}
        ``"moves"`` asks the model with one column moved to six places of its way, whatever the model;
        ``"auto"`` takes the gradient where there is one that says something.

    Returns
    -------
    InputSensitivity
        ``values`` per model, row and entry; ``frame()``.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`.
    UnsupportedEstimatorError
        Where ``method="gradient"`` and there is none.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import RobustClassifier, input_sensitivity
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> models = {
    ...     "plain": LogisticRegression(C=1e3, max_iter=5000).fit(X, y == 2),
    ...     "robust": RobustClassifier("linear", radius=0.3).fit(X, y == 2),
    ... }
    >>> found = input_sensitivity(models, X, radius=0.3)
    >>> frame = found.frame().set_index(["feature", "estimator"])["median"].unstack()
    >>> frame[["plain", "robust"]].loc[["petal width (cm)", "petal length (cm)"]].round(2)
    estimator          plain  robust
    feature
    petal width (cm)    0.34    0.00
    petal length (cm)   0.18    0.33
    """
    radius = check_number("radius", radius, low=0, open_low=True)
    threat, method = check_threat(threat), check_name("method", method, METHODS)
    values, how, kinds = {}, {}, set()
    for name, estimator in named_estimators(estimators).items():
        slopes = Slopes(estimator, X, threat)
        if method == "gradient":
            slopes.need(estimator)
        smooth = slopes.smooth and method != "moves"
        lost = slopes.lost(radius) if smooth else _moved(slopes, radius)
        values[name], how[name] = _share(slopes, lost), "gradient" if smooth else "moves"
        kinds.add("margin" if slopes.classifies else "output")
    if len(kinds) > 1:
        raise invalid("estimators", list(values), "classifiers only, or regressors only")
    shape = slopes.x.shape
    return InputSensitivity(
        values, how, feature_names(X, shape[1]), row_labels(X, shape[0]), radius, kinds.pop()
    )


def _share(slopes: Slopes, lost: np.ndarray) -> np.ndarray:
    if not slopes.classifies:
        return lost
    margin = np.maximum(slopes.margin, 0.0).reshape(-1, *[1] * (lost.ndim - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lost > 0, lost / margin, 0.0)  # a row on the edge: infinite


def _moved(slopes: Slopes, radius: float) -> np.ndarray:
    """The same by moving each column and asking the model; judged by its scores."""
    evaluation = slopes.evaluation
    x = evaluation.rows.values
    region = evaluation.threat.region(to_tensor(x), radius)
    lost = np.zeros((len(x), x[0].size))
    for j in range(x[0].size):
        for z in single_moves(region, j):
            lost[:, j] = np.fmax(lost[:, j], _loss(slopes, to_numpy(z)))
    return np.maximum(lost, 0.0).reshape(x.shape)


def _loss(slopes: Slopes, z: np.ndarray) -> np.ndarray:
    task, rows = slopes.task, slopes.evaluation.rows
    if slopes.classifies:
        return slopes.margin + task.judge(rows.like_given(z), z).value
    moved = answers(task.estimator, rows.like_given(z))
    return np.abs(moved.reshape(len(z)) - slopes.margin)
