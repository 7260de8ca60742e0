"""What all pictures share: colours that everybody can tell apart, axes, legends."""

from __future__ import annotations

from typing import Any

from skrobust._compat import import_extra

__all__ = [
    "COLORS",
    "DARK",
    "GRAY",
    "MARKERS",
    "in_percent",
    "new_figure",
    "own_axes",
    "place_legend",
    "split_axes",
]

# Okabe and Ito's palette; markers differ too, so that print in grey stays readable
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GRAY = "#767676"
DARK = "#333333"


def own_axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    pyplot = import_extra("matplotlib.pyplot", "plot")
    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def new_figure(figsize: tuple[float, float]) -> Any:
    """A figure that no window and no list of open figures knows of."""
    figure = import_extra("matplotlib.figure", "plot").Figure(figsize=figsize, layout="constrained")
    return figure


def split_axes(ax: Any, n_rows: int, n_columns: int, **options: Any) -> Any:
    """Replace ``ax`` by a grid of axes in the same place, ndarray (n_rows, n_columns)."""
    ax.set_axis_off()
    place = ax.get_subplotspec()
    if place is None:  # axes put somewhere by hand
        left, bottom, width, height = ax.get_position().bounds
        gridspec = import_extra("matplotlib.gridspec", "plot")
        grid = gridspec.GridSpec(
            n_rows, n_columns, ax.figure, left, bottom, left + width, bottom + height
        )
    else:
        grid = place.subgridspec(n_rows, n_columns)
    return grid.subplots(squeeze=False, **options)


def place_legend(ax: Any, n_columns: int = 2) -> None:
    """Below the axes where the figure makes room for it, where there is space otherwise."""
    handles, _ = ax.get_legend_handles_labels()
    if not handles:
        return
    engine = ax.figure.get_layout_engine()
    if engine is not None and type(engine).__name__ == "ConstrainedLayoutEngine":
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=n_columns,
            frameon=False,
            fontsize="small",
        )
    else:
        ax.legend(loc="best", fontsize="small")


def in_percent(*axes: Any) -> None:
    """Few tick labels, in percent, with as many decimals as they need."""
    ticker = import_extra("matplotlib.ticker", "plot")
    for axis in axes:
        axis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
