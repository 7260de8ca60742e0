"""What the answers hang on, model beside model, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust._params import check_integer
from skrobust.inspection._curve_display import draw
from skrobust.inspection._input_sensitivity import InputSensitivity, input_sensitivity
from skrobust.inspection._style import COLORS, DARK, GRAY, own_axes, place_legend, split_axes
from skrobust.inspection._worst_case_display import picture
from skrobust.metrics._rows import Rows

__all__ = ["InputSensitivityDisplay"]


class InputSensitivityDisplay:
    """How much of each answer one entry alone takes away, for models side by side.

    Tables: bars, the median row (a line reaches to the 90% quantile), one colour per model. Series:
    one panel per row, a line per model over the series itself. Images: one line of maps per row, one
    map per model on the same scale, and the sum of its shares below.

    Parameters
    ----------
    found : InputSensitivity
        What :func:`skrobust.input_sensitivity` returned.
    x : ndarray of shape (n, ...)
        The rows themselves, drawn beside the maps of images and under the lines of series.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes given, or those of the figure.
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.inspection import InputSensitivityDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> models = {c: LogisticRegression(C=c, max_iter=5000).fit(X, y) for c in (0.01, 100)}
    >>> display = InputSensitivityDisplay.from_estimators(models, X, radius=0.2)
    >>> list(display.found.values)
    ['0.01', '100']
    """

    def __init__(self, found: InputSensitivity, x: np.ndarray):
        self.found, self.x = found, np.asarray(x)

    @classmethod
    def from_estimators(
        cls,
        estimators: Any,
        X: Any,
        *,
        radius: float,
        threat: Any = "linf",
        method: str = "auto",
        ax: Any = None,
    ) -> InputSensitivityDisplay:
        """Measure, and draw.

        Parameters
        ----------
        estimators, X, radius, threat, method
            As for :func:`skrobust.input_sensitivity`.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        InputSensitivityDisplay
            Drawn, unless matplotlib is not installed.
        """
        found = input_sensitivity(estimators, X, radius=radius, threat=threat, method=method)
        return draw(cls(found, Rows(X).values), ax)

    def frame(self) -> Any:
        """The numbers as a pandas DataFrame, one row per model and entry."""
        return self.found.frame()

    def plot(
        self, ax: Any = None, *, max_features: int = 10, max_rows: int = 3
    ) -> InputSensitivityDisplay:
        """Draw bars, lines or maps.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.
        max_features : int
            How many columns of a table to show, those that matter most to any model first.
        max_rows : int
            How many series or images to show.

        Returns
        -------
        InputSensitivityDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.
        """
        n_features = check_integer("max_features", max_features, low=1)
        n_rows = min(check_integer("max_rows", max_rows, low=1), len(self.x))
        n_models, kind = len(self.found.values), self.x.ndim
        n_features = min(n_features, self.x.shape[1])
        size = {2: (6.4, 1.3 + n_features * (0.14 + 0.16 * n_models)), 3: (6.4, 2.0 * n_rows + 0.6)}
        ax = own_axes(ax, size.get(kind, (2.0 * (1 + n_models), 1.9 * n_rows + 0.6)))
        self.ax_, self.figure_, self.axes_ = ax, ax.figure, np.array([ax])
        if n_rows == 0:
            ax.set_axis_off()
            return self
        {2: self._bars, 3: self._lines}.get(kind, self._maps)(ax, n_features, n_rows)
        return self

    def _bars(self, ax: Any, n_features: int, n_rows: int) -> None:
        summaries = {name: self.found.summary(name) for name in self.found.values}
        medians = np.nan_to_num(np.array([part[0] for part in summaries.values()]))
        order = np.argsort(-medians.max(axis=0), kind="stable")[:n_features][::-1]
        places, width = np.arange(len(order)), 0.8 / len(summaries)
        for k, (name, (median, high, _)) in enumerate(summaries.items()):
            at = places + 0.4 - width * (k + 0.5)
            color = COLORS[k % len(COLORS)]
            ax.barh(at, median[order], height=0.9 * width, color=color, label=name)
            ax.hlines(at, median[order], high[order], color=color, linewidth=1)
        top = np.quantile([part[1][order] for part in summaries.values()], 0.9)
        top = max(1.3 * medians.max(), min(top, 4 * medians.max()), 1e-12)
        ax.set_yticks(places, [_clip(self.found.names[j]) for j in order])
        ax.set(xlim=(0, top), ylim=(-0.6, len(order) - 0.4), xlabel=self._label())
        if self.found.quantity == "margin" and top > 1:
            ax.axvline(1, color=GRAY, linewidth=0.8, linestyle=":")
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
        if len(summaries) > 1:
            place_legend(ax)

    def _lines(self, ax: Any, n_features: int, n_rows: int) -> None:
        self.axes_ = split_axes(ax, n_rows, 1, sharex=True).ravel()
        for i, one in enumerate(self.axes_):
            behind = one.twinx()
            behind.plot(self.x[i].T, color=GRAY, linewidth=0.8, alpha=0.6)
            behind.set(yticks=[])
            for k, (name, values) in enumerate(self.found.values.items()):
                color = COLORS[k % len(COLORS)]
                one.plot(values[i].sum(axis=0), color=color, linewidth=1.6, label=name)
            one.set_title(f"row {self.found.labels[i]} (gray: the series)", fontsize="small")
            one.set_ylim(bottom=0)
            one.grid(alpha=0.3)
        self.axes_[-1].set_xlabel("time step")
        self.axes_[0].legend(fontsize="x-small", loc="upper right")
        ax.figure.supylabel(self._label(), fontsize="small")

    def _maps(self, ax: Any, n_features: int, n_rows: int) -> None:
        maps = {
            name: np.nan_to_num(values[:n_rows], posinf=0).sum(axis=1)
            for name, values in self.found.values.items()
        }
        self.axes_ = split_axes(ax, n_rows, 1 + len(maps))
        low, high = np.nanmin(self.x[:n_rows]), np.nanmax(self.x[:n_rows])
        for i, line in enumerate(self.axes_):
            image = picture(np.clip((self.x[i] - low) / max(high - low, 1e-12), 0, 1))
            line[0].imshow(image, cmap="gray", vmin=0, vmax=1)
            line[0].set_title(f"row {self.found.labels[i]}", fontsize="small")
            top = max(*(part[i].max() for part in maps.values()), 1e-12)
            for one, (name, values) in zip(line[1:], maps.items(), strict=True):
                one.imshow(values[i], cmap="magma", vmin=0, vmax=top)
                one.set_title(_clip(name) if i == 0 else "", fontsize="small")
                one.set_xlabel(f"in sum {values[i].sum():.3g}", fontsize="x-small", color=DARK)
            for one in line:
                one.set(xticks=[], yticks=[])

    def _label(self) -> str:
        if self.found.quantity == "output":
            return f"moves the prediction by, radius {self.found.radius:g}"
        return f"share of the margin that one entry takes, radius {self.found.radius:g}"


def _clip(name: str) -> str:
    return name if len(name) <= 28 else name[:25] + "..."
