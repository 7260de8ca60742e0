"""Cost against threshold, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skrobust.inspection._curve_display import draw
from skrobust.inspection._style import COLORS, GRAY, own_axes, place_legend
from skrobust.risk import CostCurve, cost_curve

__all__ = ["CostCurveDisplay"]

WORDS = {"attacked": "under attack", "certified": "at most (proven)"}


class CostCurveDisplay:
    """What each threshold costs: when nobody attacks, and when rows are moved to their worst.

    Parameters
    ----------
    curve : CostCurve
        Of :func:`skrobust.risk.cost_curve`, or ``cost_curve_`` of a
        :class:`skrobust.RobustThresholdClassifier`.
    marks : dict of str -> float, optional
        Thresholds to mark, by name. By default the two of least cost, and 0.5 of probabilities.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrobust import LpBall
    >>> from skrobust.inspection import CostCurveDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[::2], y[::2])
    >>> threat = LpBall(scale="std").bind(X[::2])
    >>> options = dict(cost_matrix=[[0, 10], [1, 0]], radius=0.2, threat=threat)
    >>> display = CostCurveDisplay.from_estimator(model, X[1::2], y[1::2], **options)
    >>> list(display.frame().columns)
    ['threshold', 'clean', 'attacked']
    """

    def __init__(self, curve: CostCurve, marks: Mapping[str, float] | None = None):
        self.curve = curve
        self.marks = self._least() if marks is None else dict(marks)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        radius: float,
        cost_matrix: Any = None,
        ax: Any = None,
        **options: Any,
    ) -> CostCurveDisplay:
        """Compute the curve of a fitted classifier of two classes on held-out rows, and draw.

        Parameters
        ----------
        estimator, X, y, radius, cost_matrix, **options
            As for :func:`skrobust.risk.cost_curve`. Of a fitted
            :class:`skrobust.RobustThresholdClassifier`, its threshold is marked.
        ax : matplotlib Axes, optional
            Where to draw.
        """
        curve = cost_curve(estimator, X, y, cost_matrix=cost_matrix, radius=radius, **options)
        found = cls(curve)
        if hasattr(estimator, "threshold_"):
            found.marks["chosen"] = float(estimator.threshold_)
        return draw(found, ax)

    @classmethod
    def from_curve(
        cls, curve: CostCurve, *, marks: Mapping[str, float] | None = None, ax: Any = None
    ) -> CostCurveDisplay:
        """Draw a curve that is there already."""
        return draw(cls(curve, marks), ax)

    def frame(self) -> Any:
        """The numbers as a pandas DataFrame, one row per threshold."""
        return self.curve.frame()

    def plot(self, ax: Any = None) -> CostCurveDisplay:
        """Draw both costs as steps, and the marked thresholds.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.

        Returns
        -------
        CostCurveDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = own_axes(ax, (6.4, 4.2))
        curve = self.curve
        low, high = self._ends()
        edges = np.concatenate([[low], curve.edges, [high]])
        worst = WORDS[curve.bound]
        for values, label, color, style in (
            (curve.worst, worst, COLORS[1], "-"),
            (curve.clean, "nobody attacks", COLORS[0], "--"),
        ):
            ax.stairs(values, edges, baseline=None, color=color, linestyle=style, label=label)
        for number, (name, threshold) in enumerate(self.marks.items()):
            clean, attacked = curve.at(threshold)
            at = np.clip(threshold, low, high)
            ax.plot([at, at], [clean, attacked], color=GRAY, linewidth=1)
            ax.plot(
                at, attacked, "osD^v"[number % 5], color=COLORS[2 + number % 4], zorder=3,
                label=f"{name}: {threshold:.3g}, costs {attacked:.3g} ({clean:.3g} clean)",
            )  # fmt: skip
        ax.set(xlabel="threshold", ylabel="mean cost per row", xlim=(low, high))
        self._limit(ax)
        ax.grid(alpha=0.3)
        place_legend(ax, 1)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _limit(self, ax: Any) -> None:
        """Far too low and far too high thresholds cost so much that nothing else could be seen."""
        least = min(self.curve.clean.min(), self.curve.worst.min())
        if least < 0 or not self.marks:  # right decisions earn
            return
        dearest = max(self.curve.at(threshold)[1] for threshold in self.marks.values())
        ax.set_ylim(0, min(1.05 * self.curve.worst.max(), 2 * dearest) or None)

    def _ends(self) -> tuple[float, float]:
        edges = self.curve.edges
        if edges[0] >= 0 and edges[-1] <= 1:
            return 0.0, 1.0
        room = 0.05 * (edges[-1] - edges[0]) or 1.0
        return float(edges[0] - room), float(edges[-1] + room)

    def _least(self) -> dict[str, float]:
        curve = self.curve
        marks = {
            "least under attack": float(curve.thresholds[curve.best]),
            "least when nobody attacks": float(curve.thresholds[curve.best_clean]),
        }
        if self._ends() == (0.0, 1.0):
            marks["usual"] = 0.5
        return marks
