"""Clean against robust, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust.exceptions import invalid
from skrobust.inspection._curve_display import draw
from skrobust.inspection._named import named_estimators
from skrobust.inspection._style import COLORS, GRAY, in_percent, own_axes
from skrobust.metrics import robustness_curve

__all__ = ["TradeoffDisplay", "pareto_front"]

MOST_NAMED = 8  # points that are explained below the picture


class TradeoffDisplay:
    """What robustness costs: each candidate's clean score against its robust score.

    The candidates that no other beats on both scores form the Pareto front: choose among them.

    Parameters
    ----------
    clean, robust : array-like of shape (n,)
        Scores of the candidates, larger is better.
    labels : sequence of str
        What each candidate is.
    clean_std, robust_std : array-like of shape (n,), optional
        How far the scores spread over the folds.
    names : (str, str)
        Names of the two scores.

    Attributes
    ----------
    front : ndarray of int
        Numbers of the candidates on the Pareto front, by ascending clean score.
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    Examples
    --------
    >>> from skrobust.inspection import TradeoffDisplay
    >>> results = {
    ...     "params": [{"radius": 0.0}, {"radius": 0.2}, {"radius": 0.4}],
    ...     "mean_test_clean_accuracy": [0.96, 0.95, 0.90],
    ...     "mean_test_robust_accuracy": [0.30, 0.70, 0.65],
    ... }
    >>> TradeoffDisplay.from_cv_results(results).front
    array([1, 0])
    """

    def __init__(
        self,
        clean: Any,
        robust: Any,
        labels: Sequence[str],
        *,
        clean_std: Any = None,
        robust_std: Any = None,
        names: tuple[str, str] = ("clean accuracy", "robust accuracy"),
    ):
        self.clean = np.asarray(clean, dtype=np.float64)
        self.robust = np.asarray(robust, dtype=np.float64)
        self.labels, self.names = [str(label) for label in labels], names
        none = np.full(len(self.clean), np.nan)
        self.clean_std = none if clean_std is None else np.asarray(clean_std, dtype=np.float64)
        self.robust_std = none if robust_std is None else np.asarray(robust_std, dtype=np.float64)
        self.front = pareto_front(self.clean, self.robust)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        clean: str = "clean_accuracy",
        robust: str = "robust_accuracy",
        ax: Any = None,
    ) -> TradeoffDisplay:
        """Draw the ``cv_results_`` of a search that scored two metrics.

        Parameters
        ----------
        cv_results : dict
            ``search.cv_results_``, of a search with several metrics, such as
            ``scoring=RobustScorer(metric=["clean_accuracy", "robust_accuracy"], ...)``.
        clean, robust : str
            Names of the two metrics.
        ax : matplotlib Axes, optional
            Where to draw.

        Raises
        ------
        ValueError
            If the search has no such metric; the message names those it has.
        """
        known = [key[10:] for key in cv_results if key.startswith("mean_test_")]
        for option, metric in (("clean", clean), ("robust", robust)):
            if metric not in known:
                hint = "Search with scoring=RobustScorer(metric=[...]) or a dict of scorers."
                raise invalid(option, metric, f"a metric of the search, one of {known}", hint)
        params = list(cv_results["params"])
        return draw(
            cls(
                cv_results[f"mean_test_{clean}"],
                cv_results[f"mean_test_{robust}"],
                _labels(params),
                clean_std=cv_results.get(f"std_test_{clean}"),
                robust_std=cv_results.get(f"std_test_{robust}"),
                names=(clean.replace("_", " "), robust.replace("_", " ")),
            ),
            ax,
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        radius: float,
        threat: Any = "linf",
        attack: Any = "auto",
        sample_weight: Any = None,
        random_state: Any = None,
        ax: Any = None,
    ) -> TradeoffDisplay:
        """Score several models as they are and under attack, and draw.

        Parameters
        ----------
        estimator : fitted classifier, or list or dict of some
        X, y, radius, threat, attack, sample_weight, random_state
            As for :func:`skrobust.robust_accuracy_score`.
        ax : matplotlib Axes, optional
            Where to draw.
        """
        named = named_estimators(estimator)
        options = dict(
            threat=threat, attack=attack, sample_weight=sample_weight, random_state=random_state
        )
        curves = [robustness_curve(m, X, y, radii=[radius], **options) for m in named.values()]
        sign = 1 if curves[0].quantity == "accuracy" else -1
        names = ("clean accuracy", "robust accuracy")
        return draw(
            cls(
                [sign * curve.clean for curve in curves],
                [sign * curve.attacked[0] for curve in curves],
                list(named),
                names=names if sign == 1 else ("minus clean loss", "minus robust loss"),
            ),
            ax,
        )

    def frame(self) -> Any:
        """The candidates as a pandas DataFrame, best robust score first."""
        pandas = import_extra("pandas", "frames")
        frame = pandas.DataFrame(
            {
                "candidate": self.labels,
                "clean": self.clean,
                "clean_std": self.clean_std,
                "robust": self.robust,
                "robust_std": self.robust_std,
                "on_front": np.isin(np.arange(len(self.clean)), self.front),
            }
        )
        return frame.sort_values("robust", ascending=False, kind="stable")

    def plot(self, ax: Any = None) -> TradeoffDisplay:
        """Draw the candidates, the Pareto front, and what the points of the front are.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.

        Returns
        -------
        TradeoffDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = own_axes(ax, (6.0, 5.0))
        self._spread(ax)
        rest = np.setdiff1d(np.arange(len(self.clean)), self.front)
        if len(rest):
            ax.scatter(self.clean[rest], self.robust[rest], s=26, color=GRAY, label="beaten")
        front = self.front
        style = {"color": COLORS[0], "linewidth": 1.4, "zorder": 3}
        ax.plot(self.clean[front], self.robust[front], marker="o", label="Pareto front", **style)
        ax.margins(0.09)
        self._diagonal(ax)
        self._number(ax)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        if self.clean.min() >= 0 and self.clean.max() <= 1:
            in_percent(ax.xaxis, ax.yaxis)
        ax.grid(alpha=0.3)
        self._legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _spread(self, ax: Any) -> None:
        if np.isfinite(self.robust_std).any():
            ax.errorbar(
                self.clean,
                self.robust,
                xerr=self.clean_std,
                yerr=self.robust_std,
                fmt="none",
                ecolor=GRAY,
                alpha=0.35,
                elinewidth=0.8,
            )

    def _diagonal(self, ax: Any) -> None:
        """Robust cannot exceed clean: the line is drawn where it passes through the picture."""
        x, y = ax.get_xlim(), ax.get_ylim()
        low, high = max(x[0], y[0]), min(x[1], y[1])
        if low < high:
            ax.plot([low, high], [low, high], color=GRAY, linestyle=":", label="robust = clean")
            ax.set(xlim=x, ylim=y)

    def _named(self) -> list[int]:
        """The points to explain: all if they are few, else those of the front."""
        rest = [k for k in range(len(self.clean)) if k not in self.front]
        everybody = [*self.front, *sorted(rest, key=lambda k: -self.robust[k])]
        return everybody if len(everybody) <= MOST_NAMED else list(self.front[:MOST_NAMED])

    def _number(self, ax: Any) -> None:
        """A number beside each point to explain; points in one place share theirs."""
        places: dict[tuple[float, float], list[int]] = {}
        for number, k in enumerate(self._named(), start=1):
            places.setdefault((self.clean[k], self.robust[k]), []).append(number)
        for place, numbers in places.items():
            ax.annotate(
                ", ".join(map(str, numbers)),
                place,
                xytext=(6, 5),
                textcoords="offset points",
                color=COLORS[0] if self._named()[numbers[0] - 1] in self.front else GRAY,
                fontweight="bold",
            )

    def _legend(self, ax: Any) -> None:
        """The usual entries, then the points by number."""
        handles, texts = ax.get_legend_handles_labels()
        blank = import_extra("matplotlib.lines", "plot").Line2D([], [], linestyle="none")
        for number, k in enumerate(self._named(), start=1):
            handles.append(blank)
            texts.append(f"{number}  {self.labels[k]}")
        if len(self.front) > MOST_NAMED:
            handles.append(blank)
            texts.append(f"... and {len(self.front) - MOST_NAMED} more, see frame()")
        ax.legend(
            handles,
            texts,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            frameon=False,
            fontsize="small",
            ncols=1 if max(map(len, texts)) > 30 else 2,
        )


def pareto_front(clean: np.ndarray, robust: np.ndarray) -> np.ndarray:
    """Numbers of the points that no other point beats, by ascending ``clean``.

    A point beats another if it is no worse on both and better on one.

    >>> pareto_front(np.array([0.9, 0.8, 0.7, 0.9]), np.array([0.5, 0.6, 0.5, 0.4]))
    array([1, 0])
    """
    points = np.stack([clean, robust], axis=1)
    no_worse = (points[:, None] >= points[None]).all(axis=2)
    better = (points[:, None] > points[None]).any(axis=2)
    beaten = (no_worse & better).any(axis=0) | ~np.isfinite(points).all(axis=1)
    front = np.flatnonzero(~beaten)
    return front[np.argsort(clean[front], kind="stable")]


def _labels(params: list[dict]) -> list[str]:
    """Candidates by what differs among them, without the names of pipeline steps."""
    keys = {key for candidate in params for key in candidate}
    varying = [k for k in keys if len({repr(candidate.get(k)) for candidate in params}) > 1]
    return [
        ", ".join(
            f"{key.split('__')[-1]}={_short(candidate[key])}"
            for key in sorted(varying or keys)
            if key in candidate
        )
        for candidate in params
    ]


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 30 else text[:27] + "..."
