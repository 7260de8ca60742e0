"""The history of a monitor as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_integer
from skrobust.inspection._curve_display import draw
from skrobust.inspection._style import COLORS, DARK, GRAY, own_axes, place_legend, split_axes
from skrobust.monitoring._history import history

__all__ = ["DriftDisplay"]


class DriftDisplay:
    """Evidence against "nothing has changed", and what moved, by the number of rows given.

    Make one with :meth:`from_monitor`.

    Parameters
    ----------
    records : list of dict
        The history, one record per look and stream.
    reasons : list of Reason
    at_most : int
        Streams that are drawn: those with the most evidence.

    Attributes
    ----------
    ax_ : ndarray of two matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust import DriftDisplay, RobustnessMonitor
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> model = LogisticRegression().fit(X[:300], X[:300, 0] > 0)
    >>> monitor = RobustnessMonitor(model, radius=0.1, random_state=0).fit(X[300:700])
    >>> _ = monitor.update(X[700:]), monitor.update(X[700:] + [0.0, 1.0])
    >>> display = DriftDisplay.from_monitor(monitor)
    >>> display.streams[0]
    'x1'
    """

    def __init__(self, records: list[dict], reasons: list[Any], at_most: int = 6):
        self.records, self.reasons, self.at_most = records, reasons, at_most

    @classmethod
    def from_monitor(cls, monitor: Any, *, at_most: int = 6, ax: Any = None) -> DriftDisplay:
        """Read a monitor's history, and draw.

        Parameters
        ----------
        monitor : fitted RobustnessMonitor
        at_most : int
            Streams that are drawn.
        ax : matplotlib Axes, optional
            Is split into two.

        Returns
        -------
        DriftDisplay
        """
        check_integer("at_most", at_most, low=1)
        reasons = monitor.state().reasons
        return draw(cls(list(history(monitor)), reasons, at_most), ax)

    @property
    def streams(self) -> list[str]:
        """Those that are drawn, the one with the most evidence first."""
        peak: dict[str, float] = {}
        for record in self.records:
            peak[record["stream"]] = max(peak.get(record["stream"], -np.inf), record["evidence"])
        return sorted(peak, key=lambda name: -peak[name])[: self.at_most]

    def frame(self) -> Any:
        """The history as a pandas DataFrame, one row per look and stream."""
        return import_extra("pandas", "frames").DataFrame(self.records)

    def plot(self, ax: Any = None) -> DriftDisplay:
        """Draw the evidence above, the size of the change below.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default; it is split into two.

        Returns
        -------
        DriftDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = own_axes(ax, (7.2, 5.4))
        upper, lower = split_axes(ax, 2, 1, sharex=True)[:, 0]
        for k, name in enumerate(self.streams):
            part = [record for record in self.records if record["stream"] == name]
            rows = [record["rows"] for record in part]
            style = dict(color=COLORS[k % len(COLORS)], linewidth=1.6, label=name)
            upper.plot(rows, [max(record["evidence"], 0.0) for record in part], **style)
            lower.plot(rows, _smooth([record["effect"] for record in part]), **style)
        upper.axhline(1.0, color=DARK, linestyle="--", linewidth=1.2)
        upper.set_yscale("symlog", linthresh=1.0)
        upper.set_ylim(bottom=0)
        upper.set(ylabel="evidence\n(1: alarm)")
        for reason in self.reasons:
            for axes in (upper, lower):
                axes.axvline(reason.since, color=GRAY, linestyle=":", linewidth=1.2)
            upper.annotate(
                f" {reason.cause}", (reason.since, 0.96), xycoords=("data", "axes fraction"),
                va="top", fontsize="small", color=DARK,
            )  # fmt: skip
        lower.set(xlabel="rows given", ylabel="distance from\nthe reference")
        lower.set_ylim(bottom=0)
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
        place_legend(lower, 4)
        self.ax_, self.figure_ = np.array([upper, lower]), upper.figure
        return self


def _smooth(values: list[float], over: int = 4) -> np.ndarray:
    """Means of the last few looks."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - over, 0)
    return (total[end] - total[begin]) / (end - begin)
