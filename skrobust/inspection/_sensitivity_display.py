"""Which single columns break rows, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_integer, check_number
from skrobust.inspection._curve_display import draw
from skrobust.inspection._fragility import sensitivity
from skrobust.inspection._lab import random_from
from skrobust.inspection._rows import feature_names
from skrobust.inspection._style import COLORS, DARK, in_percent, own_axes, split_axes
from skrobust.metrics._tasks import is_regression

__all__ = ["FeatureSensitivityDisplay"]


class FeatureSensitivityDisplay:
    """Share of the rows that flip when one column alone moves within the threat.

    Tables come out as bars, series as lines over time, images as maps.

    Parameters
    ----------
    share : ndarray of the shape of one row
        Share of the rows that were right and are lost when this entry alone moves; of a regressor,
        the mean growth of the loss.
    up, down : ndarray of the shape of one row
        The same when the entry may only grow, or only fall.
    names : sequence of str
        Of the columns (of the channels of series and images).
    radius : float
    n_rows : int
        How many rows were tried.
    quantity : {"accuracy", "loss"}
        Whether ``share`` is a share of rows or a growth of the loss.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    axes_ : ndarray of matplotlib Axes
        One per channel for series and images, else just ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.inspection import FeatureSensitivityDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> display = FeatureSensitivityDisplay.from_estimator(model, X, y, radius=0.5)
    >>> display.frame().head(2).round(2)
                 feature  share    up  down
    2  petal length (cm)   0.15  0.07  0.08
    3   petal width (cm)   0.14  0.07  0.08
    """

    def __init__(
        self,
        share: np.ndarray,
        up: np.ndarray,
        down: np.ndarray,
        names: Sequence[str],
        *,
        radius: float,
        n_rows: int,
        quantity: str = "accuracy",
    ):
        self.share, self.up, self.down = (np.asarray(part) for part in (share, up, down))
        self.names, self.radius = [str(name) for name in names], radius
        self.n_rows, self.quantity = n_rows, quantity

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        radius: float,
        threat: Any = "linf",
        loss: Any = None,
        max_rows: int | None = 200,
        random_state: Any = None,
        ax: Any = None,
    ) -> FeatureSensitivityDisplay:
        """Move each column alone, as far as the threat allows, and draw.

        Parameters
        ----------
        estimator, X, y, radius, threat, loss
            As for :func:`skrobust.worst_case`. Needs predictions only.
        max_rows : int or None
            How many of the rows that the model gets right to draw; None takes all.
        random_state : int, RandomState or None
            Draws the rows.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        FeatureSensitivityDisplay
            Drawn, unless matplotlib is not installed.
        """
        radius = check_number("radius", radius, low=0)
        if max_rows is not None:
            max_rows = check_integer("max_rows", max_rows, low=1)
        random = random_from(random_state)
        options = dict(radius=radius, threat=threat, loss=loss, max_rows=max_rows, random=random)
        found = sensitivity(estimator, X, y, **options)
        return draw(
            cls(
                found.share,
                found.up,
                found.down,
                feature_names(X, found.share.shape[0]),
                radius=radius,
                n_rows=found.n_rows,
                quantity="loss" if is_regression(estimator) else "accuracy",
            ),
            ax,
        )

    def frame(self) -> Any:
        """The numbers as a pandas DataFrame, most fragile entry first."""
        pandas = import_extra("pandas", "frames")
        columns = {"feature": self._entry_names()}
        columns |= {name: getattr(self, name).ravel() for name in ("share", "up", "down")}
        return pandas.DataFrame(columns).sort_values("share", ascending=False, kind="stable")

    def plot(self, ax: Any = None, *, max_features: int = 15) -> FeatureSensitivityDisplay:
        """Draw bars, lines or maps.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.
        max_features : int
            How many columns of a table to show, the most fragile first; columns that break
            nothing are left out.

        Returns
        -------
        FeatureSensitivityDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.
        """
        n_shown = max(1, min(max_features, int((self.share > 0).sum())))
        height = 1.2 + 0.3 * n_shown if self.share.ndim == 1 else 3.6
        ax = own_axes(ax, (6.0, height))
        self.ax_, self.figure_, self.axes_ = ax, ax.figure, np.array([ax])
        draw_as = {1: self._bars, 2: self._lines, 3: self._maps}[min(self.share.ndim, 3)]
        draw_as(ax, n_shown)
        return self

    def _bars(self, ax: Any, n_shown: int) -> None:
        order = np.argsort(-self.share, kind="stable")[:n_shown][::-1]
        share = np.nan_to_num(self.share[order])
        places = np.arange(len(order))
        ax.barh(places, share, color=COLORS[0], height=0.72)
        # where no column flips anything, an axis of thousandths of a percent would say nothing
        least = 0.01 if self.quantity == "accuracy" else 1e-12
        top = max(share.max(initial=0.0), least)
        for place, value in zip(places, share, strict=True):
            text = f"{value:.1%}" if self.quantity == "accuracy" else f"{value:.3g}"
            ax.text(value + 0.015 * top, place, text, va="center", fontsize="small", color=DARK)
        ax.set_yticks(places, [_clip(self.names[j]) for j in order])
        ax.set(xlabel=self._label(), xlim=(0, 1.14 * top), ylim=(-0.6, len(order) - 0.4))
        self._percent(ax.xaxis)
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)

    def _lines(self, ax: Any, n_shown: int) -> None:
        for k, series in enumerate(self.share[: len(COLORS)]):
            ax.plot(series, color=COLORS[k], linewidth=1.5, label=self.names[k])
        ax.set(xlabel="time step", ylabel=self._label())
        ax.set_ylim(bottom=0)
        self._percent(ax.yaxis)
        ax.grid(alpha=0.3)
        if len(self.share) > 1:
            ax.legend(fontsize="small")

    def _maps(self, ax: Any, n_shown: int) -> None:
        images = self.share.reshape(-1, *self.share.shape[-2:])[:4]
        self.axes_ = split_axes(ax, 1, len(images)).ravel()
        top = max(np.nan_to_num(images).max(), 1e-12)
        for k, (one, image) in enumerate(zip(self.axes_, images, strict=True)):
            shown = one.imshow(image, cmap="viridis", vmin=0, vmax=top)
            one.set(xticks=[], yticks=[], title=self.names[k] if len(images) > 1 else "")
        bar = ax.figure.colorbar(shown, ax=list(self.axes_), shrink=0.85)
        bar.set_label(self._label(), color=DARK, fontsize="small")
        self._percent(bar.ax.yaxis)

    def _label(self) -> str:
        if self.quantity == "loss":
            return f"growth of the mean loss, radius {self.radius:g}"
        return f"share of {self.n_rows} rows that flip, radius {self.radius:g}"

    def _percent(self, axis: Any) -> None:
        if self.quantity == "accuracy":
            in_percent(axis)

    def _entry_names(self) -> list[str]:
        if self.share.ndim == 1:
            return self.names
        inner = np.ndindex(*self.share.shape)
        return [f"{self.names[place[0]]}[{', '.join(map(str, place[1:]))}]" for place in inner]


def _clip(name: str) -> str:
    return name if len(name) <= 28 else name[:25] + "..."
