"""A row, its moved twin, and the difference, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._torch import to_numpy, to_tensor
from skrobust.exceptions import invalid
from skrobust.inspection._curve_display import draw
from skrobust.inspection._fragility import influence
from skrobust.inspection._rows import as_array, feature_names, row_labels, take_rows
from skrobust.inspection._style import COLORS, GRAY, own_axes, split_axes
from skrobust.metrics import worst_case
from skrobust.metrics._rows import Rows
from skrobust.threats import check_threat

__all__ = ["WorstCaseDisplay", "answers", "picture", "step_of"]


class WorstCaseDisplay:
    """Rows, their moved twins, and the differences.

    Rows of tables come out as bars, the columns that matter most first, images (n, channels, height,
    width) side by side, series (n, channels, length) on top of each other.

    Parameters
    ----------
    x, z : ndarray of shape (n, ...)
        The rows and their moved twins, in the units of X.
    labels, before, after : sequences of length n
        What the rows are called; the answers to the rows and to their twins.
    names : sequence of str
        Of the columns, or channels.
    scale : ndarray that broadcasts against a row
        Units of X in one step of the threat; bars are drawn in steps.
    radius : float
    influence : ndarray of shape (n, n_columns), optional
        Of tables: how much better off a moved row is when one column goes back. Orders the bars.
    categories : dict of position -> sequence of str, optional
        Text columns of tables, which ``x`` and ``z`` hold as codes.
    leaps : sequence of int
        Columns of tables that change without any distance: their steps are NaN, their bars gray.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes given, or those of the figure; divided into ``axes_``.
    axes_ : ndarray of matplotlib Axes
        One line per row.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.inspection import WorstCaseDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> display = WorstCaseDisplay.from_estimator(model, X, y, radius=0.3, rows=[52])
    >>> display.before, display.after
    (['1'], ['2'])
    """

    def __init__(
        self,
        x: np.ndarray,
        z: np.ndarray,
        *,
        labels: Sequence[Any],
        before: Sequence[Any],
        after: Sequence[Any],
        names: Sequence[str],
        scale: Any = 1.0,
        radius: float,
        influence: np.ndarray | None = None,
        categories: Mapping[int, Sequence[str]] | None = None,
        leaps: Sequence[int] = (),
    ):
        self.influence = influence
        self.categories, self.leaps = dict(categories or {}), list(leaps)
        self.x, self.z = np.asarray(x), np.asarray(z)
        self.labels = [str(label) for label in labels]
        self.before, self.after = [str(a) for a in before], [str(a) for a in after]
        self.names, self.radius = [str(name) for name in names], radius
        self.scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), self.x.shape[1:])

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
        rows: int | Sequence[int] = 3,
        random_state: Any = None,
        loss: Any = None,
        ax: Any = None,
    ) -> WorstCaseDisplay:
        """Attack, choose rows, and draw.

        Parameters
        ----------
        estimator, X, y, radius, threat, attack, random_state, loss
            As for :func:`skrobust.worst_case`.
        rows : int or sequence of int
            Numbers of the rows to show, or how many: those that were right and are lost most
            clearly (of a regressor, those with the largest loss).
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        WorstCaseDisplay
            Drawn, unless matplotlib is not installed.
        """
        threat = check_threat(threat)
        if isinstance(rows, (int, np.integer)):
            chosen, few = None, int(rows)
        else:
            chosen, few = np.asarray(rows, dtype=int), 0
            X, y = take_rows(X, chosen), as_array(y)[chosen]
        if few < 0 or (chosen is not None and len(chosen) == 0) or (chosen is None and few == 0):
            raise invalid("rows", rows, "a number of rows >= 1, or a sequence of row numbers")
        worst = worst_case(
            estimator,
            X,
            y,
            radius=radius,
            threat=threat,
            attack=attack,
            random_state=random_state,
            loss=loss,
        )
        before, after = (answers(estimator, part) for part in (X, worst.X))
        if chosen is None:
            pick = _most_telling(worst, before, after)[:few]
        else:
            pick = np.arange(len(chosen))
        names = row_labels(X, len(before))
        rows = Rows(X, threat.categories)
        x, z = rows.values, rows.read(worst.X)
        threat = threat.holding(sorted(rows.categories))
        region = threat.region(to_tensor(x[:1]), 0.0)
        return draw(
            cls(
                x[pick],
                z[pick],
                labels=[names[i] for i in pick] if chosen is None else _given(X, chosen),
                before=[_word(before[i]) for i in pick],
                after=[_word(after[i]) for i in pick],
                names=feature_names(X, x.shape[1]),
                scale=step_of(threat, x),
                radius=float(radius),
                influence=_influence(estimator, X, y, pick, z, loss, rows.categories),
                categories=rows.categories,
                leaps=[j for j in range(x.shape[1]) if region.leaps(j)],
            ),
            ax,
        )

    def frame(self) -> Any:
        """The entries that moved, as a pandas DataFrame: one row per row and entry."""
        pandas = import_extra("pandas", "frames")
        records = []
        for i, label in enumerate(self.labels):
            moved = (self.x[i] != self.z[i]) & ~np.isnan(self.x[i])
            for place in map(tuple, np.argwhere(moved)):
                given, there = self.x[i][place], self.z[i][place]
                leaps = place[0] in self.leaps
                records.append(
                    {
                        "row": label,
                        "feature": self._name(place),
                        "given": self._value(place[0], given),
                        "moved": self._value(place[0], there),
                        "difference": np.nan if leaps else there - given,
                        "steps": np.nan if leaps else self._steps(i)[place],
                    }
                )
        columns = ["row", "feature", "given", "moved", "difference", "steps"]
        return pandas.DataFrame(records, columns=columns)

    def plot(self, ax: Any = None, *, max_features: int = 10) -> WorstCaseDisplay:
        """Draw one line of panels per row.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Divided into panels; a new figure by default.
        max_features : int
            How many columns of a table to show, those that matter most first.

        Returns
        -------
        WorstCaseDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.
        """
        n_rows, kind = len(self.x), self.x.ndim
        panels = {2: 1, 3: 2}.get(kind, 3)
        shown = min(max_features, self.x.shape[1])
        height = {2: 1.0 + 0.3 * shown, 3: 2.4}.get(kind, 2.3)
        ax = own_axes(ax, (6.4, height * max(n_rows, 1)))
        self.ax_, self.figure_ = ax, ax.figure
        if n_rows == 0:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "No row was broken.", ha="center", va="center")
            self.axes_ = np.empty((0, panels), dtype=object)
            return self
        self.axes_ = split_axes(ax, n_rows, panels)
        draw_as = {2: self._bars, 3: self._series}.get(kind, self._images)
        for i, line in enumerate(self.axes_):
            draw_as(i, line, shown)
        return self

    def _title(self, i: int) -> str:
        change = f"{self.before[i]} → {self.after[i]}"
        same = self.before[i] == self.after[i]
        return f"row {self.labels[i]}: " + (f"stays {self.before[i]}" if same else change)

    def _moved(self, i: int) -> str:
        return f"moved: {self.after[i]}"

    def _bars(self, i: int, line: Any, shown: int) -> None:
        ax, steps = line[0], np.nan_to_num(self._steps(i))
        changed = [j for j in self.leaps if steps[j] != 0]
        steps[changed] = self.radius
        weight = np.abs(steps) if self.influence is None else self.influence[i]
        order = np.argsort(-np.where(steps == 0, -np.inf, weight), kind="stable")[:shown][::-1]
        order = order[steps[order] != 0] if (steps != 0).any() else order[-1:]
        places = np.arange(len(order))
        colors = [COLORS[1] if steps[j] > 0 else COLORS[0] for j in order]
        colors = [GRAY if j in changed else color for j, color in zip(order, colors, strict=True)]
        ax.barh(places, steps[order], color=colors, height=0.7)
        ax.axvline(0, color=GRAY, linewidth=0.8)
        ax.set_yticks(places, [_clip(self.names[j]) for j in order])
        ax.tick_params(axis="y", length=0)
        right = ax.secondary_yaxis("right")
        values = [
            " → ".join(_word(self._value(j, row[i][j])) for row in (self.x, self.z)) for j in order
        ]
        right.set_yticks(places, values)
        right.tick_params(length=0, labelsize="small")
        right.spines["right"].set_visible(False)
        most = max(np.abs(steps).max(), 1e-12)
        ax.set(
            title=self._title(i), xlim=(-1.08 * most, 1.08 * most), ylim=(-0.6, len(order) - 0.4)
        )
        ax.title.set_fontsize("medium")
        ax.set_xlabel("movement (steps of the threat)" if i == len(self.x) - 1 else "")
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)

    def _series(self, i: int, line: Any, shown: int) -> None:
        above, below = line
        for k in range(min(len(self.x[i]), 3)):
            color = COLORS[k]
            name = f" {self.names[k]}" if len(self.x[i]) > 1 else ""
            above.plot(self.x[i][k], color=color, linewidth=1.6, label=f"given{name}")
            above.plot(
                self.z[i][k], color=color, linewidth=1.2, linestyle="--", label=f"moved{name}"
            )
            below.plot(self.z[i][k] - self.x[i][k], color=color, linewidth=1.2)
        above.set_title(self._title(i), fontsize="medium")
        below.set_title("difference", fontsize="medium")
        below.axhline(0, color=GRAY, linewidth=0.8)
        for one in line:
            one.grid(alpha=0.3)
        if i == 0:
            above.legend(fontsize="x-small", loc="best")
        if i == len(self.x) - 1:
            for one in line:
                one.set_xlabel("time step")

    def _images(self, i: int, line: Any, shown: int) -> None:
        low, high = self.x.min(), self.x.max()
        change = picture(self.z[i] - self.x[i], average=True)
        most = max(np.abs(change).max(), 1e-12)
        titles = (
            f"row {self.labels[i]}: {self.before[i]}",
            self._moved(i),
            "difference",
        )
        for one, title, image in zip(line, titles, (self.x[i], self.z[i], None), strict=True):
            if image is None:
                shown_ = one.imshow(change, cmap="PuOr", vmin=-most, vmax=most)
                bar = one.figure.colorbar(shown_, ax=one, shrink=0.8)
                bar.ax.tick_params(labelsize="x-small")
            else:
                grey = picture(np.clip((image - low) / max(high - low, 1e-12), 0, 1))
                one.imshow(grey, cmap="gray", vmin=0, vmax=1)
            one.set_title(title, fontsize="small")
            one.set(xticks=[], yticks=[])

    def _steps(self, i: int) -> np.ndarray:
        return (self.z[i] - self.x[i]) / self.scale

    def _value(self, column: int, value: float) -> Any:
        """A number as it is, a code as the text it stands for."""
        if column not in self.categories or np.isnan(value):
            return value
        return self.categories[column][round(value)]

    def _name(self, place: tuple[int, ...]) -> str:
        inner = f"[{', '.join(map(str, place[1:]))}]" if len(place) > 1 else ""
        return self.names[place[0]] + inner


def answers(estimator: Any, X: Any) -> np.ndarray:
    """The estimator's predictions; of an object that is all torch, the largest output or value."""
    if hasattr(estimator, "predict"):
        found = np.asarray(estimator.predict(X))
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    from skrobust.bridge import as_torch
    from skrobust.metrics._tasks import is_regression

    outputs = to_numpy(as_torch(estimator)(to_tensor(Rows(X).values)))
    outputs = outputs.reshape(len(outputs), -1)
    if is_regression(estimator):
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
    return (outputs[:, 0] > 0).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def step_of(threat: Any, x: np.ndarray) -> np.ndarray:
    """Units of X in one step, in the shape of a row."""
    region = threat.region(to_tensor(x[:1]), 0.0)
    scale = to_numpy(region.scale).astype(np.float64)
    return np.broadcast_to(scale, (1, *x.shape[1:]))[0]


def _most_telling(worst: Any, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rows whose answer changed, the clearest first; of a regressor the largest losses."""
    value = np.where(np.isfinite(worst.value), worst.value, -np.inf)
    changed = worst.broken & (before != after).reshape(len(before), -1).any(axis=1)
    order = np.argsort(-value, kind="stable")
    return order[changed[order]]


def _influence(estimator, X, y, pick, z: np.ndarray, loss, known=None) -> np.ndarray | None:
    if z.ndim != 2 or len(pick) == 0 or len(pick) * z.shape[1] > 20_000:
        return None
    return influence(estimator, take_rows(X, pick), z[pick], as_array(y)[pick], loss, known)


def _given(X: Any, chosen: np.ndarray) -> list:
    return list(X.index) if hasattr(X, "iloc") else chosen.tolist()


def _word(answer: Any) -> str:
    return _number(answer) if isinstance(answer, (float, np.floating)) else str(answer)


def _number(value: float) -> str:
    return f"{value:.4g}"


def picture(image: np.ndarray, average: bool = False) -> np.ndarray:
    """(channels, height, width) as matplotlib wants it: grey or RGB."""
    if average or len(image) not in (3, 4):
        return image.mean(axis=0) if len(image) > 1 else image[0]
    return np.moveaxis(image, 0, -1)


def _clip(name: str) -> str:
    return name if len(name) <= 24 else name[:21] + "..."
