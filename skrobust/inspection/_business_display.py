"""A business case as a picture: yearly cost by attack rate, and what each assumption does."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_name
from skrobust.inspection._curve_display import draw
from skrobust.inspection._style import COLORS, DARK, GRAY, in_percent, own_axes
from skrobust.risk import BusinessCase

__all__ = ["BusinessCaseDisplay"]

LINES = ("-", "--", "-.", ":")
MOST_BARS = 10


class BusinessCaseDisplay:
    """Where a candidate becomes the cheaper one, and on which assumption that hangs.

    Parameters
    ----------
    curves : dict of str to (rates, cost, low, high)
        Of each candidate, yearly cost by attack rate, with its interval.
    breaks : dict of str to (rate, cost)
        Where a candidate costs as much as the baseline.
    attack_rate : (low, likely, high)
        What the attack rate is thought to be.
    bars : dict of str to list of dict
        Of each candidate but the baseline: records with ``assumption``, ``low``, ``high``,
        ``saving_low`` and ``saving_high``.
    savings : dict of str to float
        The saving where all assumptions are at their likely value.
    baseline, currency : str

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    Examples
    --------
    >>> import numpy as np
    >>> from skrobust import business_case
    >>> from skrobust.inspection import BusinessCaseDisplay
    >>> row = np.arange(40)
    >>> costs = {"plain": (row < 2, row < 20), "robust": (row < 3, row < 4)}
    >>> case = business_case(costs, volume=1000, attack_rate=(0, 0.2), random_state=0)
    >>> display = BusinessCaseDisplay(**BusinessCaseDisplay.parts_of(case))
    >>> [float(round(part, 3)) for part in display.breaks["robust"]]
    [0.059, 76.471]
    """

    def __init__(
        self,
        curves: dict[str, tuple[np.ndarray, ...]],
        breaks: dict[str, tuple[float, float]],
        *,
        attack_rate: tuple[float, float, float],
        bars: dict[str, list[dict[str, Any]]],
        savings: dict[str, float],
        baseline: str,
        currency: str = "",
    ):
        self.curves, self.breaks, self.attack_rate = curves, breaks, attack_rate
        self.bars, self.savings = bars, savings
        self.baseline, self.currency = baseline, currency

    @staticmethod
    def parts_of(case: BusinessCase) -> dict[str, Any]:
        """What the constructor takes, from a case."""
        table, bars = case.frame("curve"), case.frame("sensitivity")
        columns = ["attack_rate", "yearly_cost", "low", "high"]
        found = {name: case.break_even(name).rate for name in case.others}
        places = {n: r for n, r in found.items() if r <= table["attack_rate"].max()}
        return {
            "curves": {
                name: tuple(part[columns].to_numpy().T)
                for name, part in table.groupby("candidate", sort=False)
            },
            "breaks": {
                n: (r, float(case.yearly_cost(r)[case.number()])) for n, r in places.items()
            },
            "attack_rate": tuple(case.attack_rate),
            "bars": {
                name: part.to_dict("records")
                for name, part in bars.groupby("candidate", sort=False)
            },
            "savings": {name: case.saving(name) for name in case.others},
            "baseline": case.baseline,
            "currency": case.currency,
        }

    @classmethod
    def from_case(
        cls, case: BusinessCase, *, kind: str = "cost", candidate: str | None = None, ax: Any = None
    ) -> BusinessCaseDisplay:
        """Draw what :func:`skrobust.business_case` found.

        Parameters
        ----------
        case : BusinessCase
        kind, candidate, ax
            As for :meth:`plot`.
        """
        display = cls(**cls.parts_of(case))
        if kind == "cost" and candidate is None:
            return draw(display, ax)
        return display.plot(ax, kind=kind, candidate=candidate)

    def frame(self) -> Any:
        """The curves as a pandas DataFrame."""
        pandas = import_extra("pandas", "frames")
        return pandas.concat(
            pandas.DataFrame(
                {"candidate": n, "attack_rate": r, "yearly_cost": c, "low": low, "high": high}
            )
            for n, (r, c, low, high) in self.curves.items()
        )

    def plot(
        self, ax: Any = None, *, kind: str = "cost", candidate: str | None = None
    ) -> BusinessCaseDisplay:
        """Draw yearly cost by attack rate, or one bar for each assumption.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.
        kind : {"cost", "sensitivity"}
            Which of the two pictures.
        candidate : str, optional
            Whose sensitivity; of the first one that is not the baseline by default.

        Returns
        -------
        BusinessCaseDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        check_name("kind", kind, ["cost", "sensitivity"])
        ax = own_axes(ax, (6.4, 4.4))
        if kind == "cost":
            self._costs(ax)
        else:
            candidate = next(iter(self.bars)) if candidate is None else candidate
            check_name("candidate", candidate, self.bars)
            self._tornado(ax, candidate)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _costs(self, ax: Any) -> None:
        low, likely, high = self.attack_rate
        if high > low:
            ax.axvspan(low, high, color=GRAY, alpha=0.13, linewidth=0, label="attack rate assumed")
        ax.axvline(likely, color=GRAY, linewidth=0.8, linestyle=":")
        for k, (name, (rates, cost, down, up)) in enumerate(self.curves.items()):
            color = COLORS[k % len(COLORS)]
            ax.fill_between(rates, down, up, color=color, alpha=0.14, linewidth=0)
            ax.plot(rates, cost, color=color, linestyle=LINES[k % len(LINES)], label=name)
        for rate, cost in self.breaks.values():
            ax.plot([rate], [cost], "o", color=DARK, markersize=6, zorder=5)
            ax.annotate(
                f"{100 * rate:.2g}%",
                (rate, cost),
                xytext=(5, -14),
                textcoords="offset points",
                color=DARK,
                fontweight="bold",
            )
        if self.breaks:
            ax.plot([], [], "o", color=DARK, label=f"costs as much as {self.baseline}")
        ax.set(xlabel="share of the decisions under attack", ylabel=self._unit("cost of a year"))
        ax.set_ylim(bottom=min(0.0, *(c[2].min() for c in self.curves.values())))
        ax.margins(x=0)
        in_percent(ax.xaxis)
        _grouped(ax.yaxis)
        ax.grid(alpha=0.3)
        ax.legend(loc="upper left", fontsize="small", framealpha=0.85)

    def _tornado(self, ax: Any, candidate: str) -> None:
        bars, center = self.bars[candidate][:MOST_BARS], self.savings[candidate]
        for k, bar in enumerate(bars):
            for end, color in (("low", COLORS[5]), ("high", COLORS[0])):
                width = bar[f"saving_{end}"] - center
                label = f"assumption at its {end} end" if k == 0 else None
                ax.barh(k, width, left=center, color=color, height=0.62, label=label)
        ax.axvline(center, color=DARK, linewidth=1)
        ax.axvline(0, color=COLORS[1], linewidth=1.2, linestyle="--")
        texts = [f"{bar['assumption']}\n{_ends(bar)}" for bar in bars]
        ax.set_yticks(range(len(bars)), texts, fontsize="small")
        ax.invert_yaxis()
        ax.set_title(candidate, fontsize="medium", fontweight="bold")
        ax.set(xlabel=self._unit("saving in a year") + "; dashed: none")
        _grouped(ax.xaxis)
        ax.grid(axis="x", alpha=0.3)
        ax.legend(loc="best", fontsize="x-small", framealpha=0.85)

    def _unit(self, text: str) -> str:
        return f"{text} ({self.currency})" if self.currency else text


def _ends(bar: dict[str, Any]) -> str:
    """The two ends of an assumption, as people write them."""
    low, high, what = bar["low"], bar["high"], bar["assumption"]
    if what.startswith("attacks as bad"):
        return "found \u2013 proven"
    if what == "attack rate" or what == "choice of the rows":
        return f"{100 * low:.3g}% \u2013 {100 * high:.3g}%"
    if what.startswith("price of mistakes"):
        return f"\u00d7 {low:.3g} \u2013 {high:.3g}"
    return f"{low:,.4g} \u2013 {high:,.4g}" if high < 1000 else f"{low:,.0f} \u2013 {high:,.0f}"


def _grouped(axis: Any) -> None:
    ticker = import_extra("matplotlib.ticker", "plot")
    axis.set_major_locator(ticker.MaxNLocator(5))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
