"""The functions that an additive model adds up, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from skrobust._compat import import_extra
from skrobust._params import check_integer, check_number
from skrobust.bridge import Lines, lines_of
from skrobust.exceptions import UnsupportedEstimatorError, invalid
from skrobust.inspection._curve_display import draw
from skrobust.inspection._rows import feature_names
from skrobust.inspection._style import COLORS, DARK, GRAY, own_axes, split_axes
from skrobust.metrics._rows import Rows
from skrobust.metrics._tasks import is_regression
from skrobust.metrics._view import torch_view
from skrobust.threats import check_threat
from skrobust.trees import Forest, as_sum, one_of_each_cell, tree_view

__all__ = ["AdditiveDisplay", "Shape"]


class Shape(NamedTuple):
    """One column's part of the sum: ``values[b]`` where b of the ``edges`` lie below the number.

    Of ``lines`` the edges are knots, and the values those at them. ``missing`` is what a missing
    value adds; ``grid`` are numbers over the range of the rows, with the least and the most that the
    function can be made within the radius around each.
    """

    name: str
    edges: np.ndarray
    values: np.ndarray
    missing: float
    grid: np.ndarray
    least: np.ndarray = np.empty(0)
    most: np.ndarray = np.empty(0)
    lines: bool = False

    def at(self, x: np.ndarray) -> np.ndarray:
        """The function at some numbers."""
        if self.lines:
            return np.interp(x, self.edges, self.values)
        return self.values[np.searchsorted(self.edges, x)]

    @property
    def weight(self) -> float:
        """How much of the output hangs on the column: the spread of its values over the range."""
        return float(np.ptp(self.at(self.grid)))


class AdditiveDisplay:
    """What each column adds to the output of an additive model, and how far that can be pushed.

    The line is the column's function; the band is what an attacker can make of it by moving the
    column within the radius. The worst case of a row is the sum of such ends: where bands are thin,
    nothing can be gained, and that is why the model is safe.

    Parameters
    ----------
    shapes : sequence of Shape
        The column with the most weight first.
    radius : float
    output : str
        Name of the quantity: what is added up.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    axes_ : ndarray of matplotlib Axes
        One per column shown.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrobust import RobustClassifier
    >>> from skrobust.inspection import AdditiveDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = RobustClassifier("additive", radius=0.3, max_epochs=5).fit(X, y == 2)
    >>> display = AdditiveDisplay.from_estimator(model, X, radius=0.3)
    >>> sorted(shape.name for shape in display.shapes[:2])
    ['petal length (cm)', 'petal width (cm)']
    """

    def __init__(self, shapes: Sequence[Shape], *, radius: float, output: str):
        self.shapes = sorted(shapes, key=lambda shape: -shape.weight)
        self.radius, self.output = radius, output

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        radius: float,
        threat: Any = "linf",
        label: Any = None,
        ax: Any = None,
    ) -> AdditiveDisplay:
        """Read the functions of a fitted model, and draw.

        Parameters
        ----------
        estimator : fitted estimator
            ``module="additive"``, boosted stumps, or whatever :func:`skrobust.certify` proves by
            ``method="additive"``; scalers and encoders before it are part of the functions.
        X : array or DataFrame of shape (n, n_features)
            Rows whose range is shown; functions are centred on their mean.
        radius : float
            How far an attacker moves each column, in steps of the threat's ``scale``.
        threat : {"linf", "l2", "l1"} or threat object
            Its scale, frozen and one-way columns and bounds shape the bands; each column may use all
            of the radius.
        label : optional
            Of a classifier of three classes or more, the one whose logit is shown (relative to the
            mean of all); of two the second is taken.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        AdditiveDisplay
            Drawn, unless matplotlib is not installed.

        Raises
        ------
        UnsupportedEstimatorError
            If the estimator is no sum of functions of single columns.
        """
        radius = check_number("radius", radius, low=0)
        rows = Rows(X)
        sums = _sum_of(estimator, rows)
        if sums is None:
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} is no sum of functions of single columns that could be "
                "drawn one by one. RobustClassifier('additive') is."
            )
        is_lines = isinstance(sums, Lines)
        aim, output = _aim(estimator, sums.module if is_lines else sums, label)
        threat = check_threat(threat).holding(sorted(rows.categories))
        names = feature_names(X, rows.values.shape[1])
        read = _line_shapes if is_lines else _shapes
        shapes = read(sums, aim, rows.values, names, threat, radius)
        return draw(cls(shapes, radius=radius, output=output), ax)

    def frame(self) -> Any:
        """The numbers as a pandas DataFrame, one row per bin that rows fall into, or per knot."""
        pandas = import_extra("pandas", "frames")
        parts = []
        for shape in self.shapes:
            low, high = np.r_[-np.inf, shape.edges], np.r_[shape.edges, np.inf]
            if shape.lines:
                low = high = shape.edges
            columns = {"feature": shape.name, "above": low, "up to": high, "adds": shape.values}
            parts.append(pandas.DataFrame(columns))
        return pandas.concat(parts, ignore_index=True)

    def plot(self, ax: Any = None, *, max_features: int = 6) -> AdditiveDisplay:
        """Draw one panel per column, those with the most weight first.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.
        max_features : int
            How many columns to show.

        Returns
        -------
        AdditiveDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.
        """
        shown = self.shapes[: check_integer("max_features", max_features, low=1)]
        n_columns = min(3, len(shown))
        n_rows = -(-len(shown) // n_columns)
        ax = own_axes(ax, (3.2 * n_columns, 2.4 * n_rows + 0.4))
        grid = split_axes(ax, n_rows, n_columns, sharey=True)
        self.ax_, self.figure_, self.axes_ = ax, ax.figure, grid.ravel()[: len(shown)]
        for one in grid.ravel()[len(shown) :]:
            one.set_axis_off()
        for shape, one in zip(shown, self.axes_, strict=True):
            _panel(one, shape, self.radius)
        for one in grid[:, 0]:
            one.set_ylabel(self.output, fontsize="small")
        self.axes_[0].legend(fontsize="x-small", frameon=False)
        return self


def _panel(ax: Any, shape: Shape, radius: float) -> None:
    line, step = shape.at(shape.grid), None if shape.lines else "mid"
    ax.axhline(0, color=GRAY, linewidth=0.8, linestyle=":")
    ax.fill_between(
        shape.grid, shape.least, shape.most, step=step, color=COLORS[1], alpha=0.25, linewidth=0,
        label=f"within radius {radius:g}",
    )  # fmt: skip
    ax.plot(
        shape.grid,
        line,
        color=COLORS[0],
        linewidth=1.6,
        drawstyle="default" if shape.lines else "steps-mid",
    )
    name = shape.name if len(shape.name) <= 28 else shape.name[:25] + "..."
    ax.set_title(name, fontsize="small", color=DARK)
    ax.tick_params(labelsize="x-small")
    ax.locator_params(axis="x", nbins=5)
    ax.grid(alpha=0.25)


def _sum_of(estimator: Any, rows: Rows) -> Forest | Lines | None:
    """The model as functions of single columns; None where it is no sum of them."""
    view = torch_view(estimator, rows) if rows.values.ndim == 2 else None
    lines = None if view is None else lines_of(view.module, rows.values.shape[1])
    if lines is not None:
        return lines
    forest = tree_view(estimator, rows.values.dtype, rows.column_types, rows.categories)
    return None if forest is None else as_sum(forest)


def _aim(estimator: Any, forest: Any, label: Any) -> tuple[np.ndarray, str]:
    """Weights of the scores, and what they are called."""
    n = forest.n_outputs
    if is_regression(estimator):
        if n > 1:
            raise invalid("estimator", estimator, "a regressor of one output")
        return np.ones(1), "added to the value"
    classes = list(np.asarray(estimator.classes_).tolist())
    if label is not None and label not in classes:
        raise invalid("label", label, f"one of the classes {classes}")
    if label is None and n > 2:
        raise invalid(
            "label", None, f"one of the classes {classes}", "Each has functions of its own."
        )
    at = n - 1 if label is None else classes.index(label)
    aim = np.eye(n)[at] - (1 / n if n > 2 else np.eye(n)[1 - at])
    return aim, f"added to the logit of {classes[at]!r}"


def _shapes(forest: Forest, aim, X: np.ndarray, names, threat, radius: float) -> list[Shape]:
    cells, found = forest.cells, []
    inner = np.flatnonzero(forest.feature >= 0)
    owner = np.searchsorted(forest.roots, inner, side="right") - 1
    leaves = forest.leaves(one_of_each_cell(forest))
    center = np.nanmedian(X, axis=0)
    for tree, column in sorted(
        {(int(t), int(forest.feature[i])) for t, i in zip(owner, inner, strict=True)}
    ):
        count = int(cells.counts[column])
        values = forest.values[leaves[tree]] @ aim / forest.divisor
        own = X[:, column][~np.isnan(X[:, column])]
        ends = np.asarray(cells.ends[column])
        shift = values[np.searchsorted(ends, own)].mean() if len(own) else 0.0
        values = values - shift
        grid = np.linspace(own.min(), own.max(), 400) if len(own) else np.zeros(1)
        least, most = _band(values[:count], ends, grid, column, center, threat, radius)
        found.append(
            Shape(names[column], ends, values[:count], float(values[count]), grid, least, most)
        )
    return found


def _line_shapes(lines: Lines, aim, X: np.ndarray, names, threat, radius: float) -> list[Shape]:
    module, found = lines.module, []
    edges, center = module.edges.numpy(), np.nanmedian(X, axis=0)
    table = np.einsum("kdv,k->dv", module.values.numpy(), aim)
    for column in np.flatnonzero(np.isfinite(edges).any(axis=1)):
        knots = edges[column][np.isfinite(edges[column])]
        values, own = table[column], X[:, column][~np.isnan(X[:, column])]
        at = lambda x, k=knots, v=values: np.interp(x, k, v[: len(k)])
        shift = at(own).mean() if len(own) else 0.0
        grid = np.linspace(own.min(), own.max(), 400) if len(own) else np.zeros(1)
        low, high = _reach(grid, column, center, threat, radius)
        ends = np.stack([at(grid), at(low), at(high)])
        inside = (knots > low[:, None]) & (knots < high[:, None])
        inner = [np.where(inside, values[: len(knots)], gone) for gone in (np.inf, -np.inf)]
        least = np.minimum(ends.min(axis=0), inner[0].min(axis=1)) - shift
        most = np.maximum(ends.max(axis=0), inner[1].max(axis=1)) - shift
        values = values - shift
        shape = Shape(names[column], knots, values[: len(knots)], float(values[-1]), grid)
        found.append(shape._replace(least=least, most=most, lines=True))
    return found


def _reach(grid: np.ndarray, column: int, center, threat, radius: float):
    """How far down and up a column can be moved from each number of the grid."""
    rows = np.tile(np.nan_to_num(center), (len(grid), 1))
    rows[:, column] = grid
    region = threat.region(torch.as_tensor(rows), radius)
    return region.low[:, column].numpy(), region.high[:, column].numpy()


def _band(values, ends, grid, column: int, center, threat, radius: float):
    """The least and the most of the values that each number of the grid can be moved to."""
    low, high = _reach(grid, column, center, threat, radius)
    first, last = np.searchsorted(ends, low), np.searchsorted(ends, high)
    pairs = list(zip(first.tolist(), last.tolist(), strict=True))
    least = np.array([values[low : high + 1].min() for low, high in pairs])
    return least, np.array([values[low : high + 1].max() for low, high in pairs])
