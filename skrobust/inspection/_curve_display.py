"""Accuracy against radius, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skrobust._compat import check_sample_weight, import_extra
from skrobust.exceptions import invalid
from skrobust.inspection._named import named_estimators
from skrobust.inspection._rows import as_array
from skrobust.inspection._style import COLORS, GRAY, MARKERS, in_percent, own_axes, place_legend
from skrobust.metrics import RobustnessCurve, robustness_curve
from skrobust.metrics._intervals import clopper_pearson, effective_size, majority_share

__all__ = ["RobustnessCurveDisplay"]


class RobustnessCurveDisplay:
    """How the accuracy of models falls (or their loss grows) with the radius.

    Make one with :meth:`from_estimator`, :meth:`from_curves` or :meth:`from_predictions`.

    Parameters
    ----------
    curves : dict of str to RobustnessCurve
        Name of a model and its curve.

    Attributes
    ----------
    curves : dict of str to RobustnessCurve
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression, RidgeClassifier
    >>> from skrobust.inspection import RobustnessCurveDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> models = {"logistic": LogisticRegression(max_iter=1000), "ridge": RidgeClassifier()}
    >>> for model in models.values():
    ...     _ = model.fit(X, y)
    >>> display = RobustnessCurveDisplay.from_estimator(models, X, y, radii=[0, 0.2, 0.4])
    >>> display.frame().query("radius == 0.4")[["estimator", "attacked"]].round(2)
      estimator  attacked
    2  logistic      0.64
    5     ridge      0.35
    """

    def __init__(self, curves: Mapping[str, RobustnessCurve]):
        self.curves = dict(curves)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        radii: Sequence[float],
        threat: Any = "linf",
        attack: Any = "auto",
        sample_weight: Any = None,
        random_state: Any = None,
        confidence: float = 0.95,
        loss: Any = None,
        certify: bool | str | None = None,
        ax: Any = None,
    ) -> RobustnessCurveDisplay:
        """Attack one or several models at several radii, and draw.

        Parameters
        ----------
        estimator : fitted estimator, or list or dict of some
            Several models come out in one picture; a dict names them.
        X, y, radii, threat, attack, sample_weight, random_state, confidence, loss, \
certify
            As for :func:`skrobust.robustness_curve`.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        RobustnessCurveDisplay
            Drawn, unless matplotlib is not installed; :meth:`frame` has the numbers either way.
        """
        options = dict(
            radii=radii,
            threat=threat,
            attack=attack,
            sample_weight=sample_weight,
            random_state=random_state,
            confidence=confidence,
            loss=loss,
            certify=certify,
        )
        named = named_estimators(estimator)
        return cls(
            {name: robustness_curve(model, X, y, **options) for name, model in named.items()}
        )._drawn(ax)

    @classmethod
    def from_curves(
        cls, curves: RobustnessCurve | Mapping[str, RobustnessCurve], *, ax: Any = None
    ) -> RobustnessCurveDisplay:
        """Draw curves that were computed before.

        Parameters
        ----------
        curves : RobustnessCurve or dict of str to RobustnessCurve
            Results of :func:`skrobust.robustness_curve`.
        ax : matplotlib Axes, optional
            Where to draw.
        """
        if isinstance(curves, RobustnessCurve):
            curves = {"model": curves}
        wrong = not isinstance(curves, Mapping) or not curves
        if wrong or not all(isinstance(curve, RobustnessCurve) for curve in curves.values()):
            allowed = "a RobustnessCurve, or a dict of names and RobustnessCurves"
            raise invalid("curves", curves, allowed, error=TypeError)
        return cls(curves)._drawn(ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        predictions: Mapping[float, Any],
        *,
        name: str = "model",
        sample_weight: Any = None,
        confidence: float = 0.95,
        ax: Any = None,
    ) -> RobustnessCurveDisplay:
        """Draw the predictions that some attack got from a classifier, radius by radius.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            The right labels.
        predictions : dict of radius to array-like of shape (n,)
            Labels predicted for the moved rows; radius 0 holds those of the rows as they are. A
            row that was broken at a radius counts as broken at every larger one.
        name : str
            Of the model, in the legend.
        sample_weight, confidence
            As for :func:`skrobust.robustness_curve`.
        ax : matplotlib Axes, optional
            Where to draw.
        """
        if not isinstance(predictions, Mapping) or 0 not in predictions:
            allowed = "a dict of radius and predictions, with radius 0 among them"
            raise invalid("predictions", predictions, allowed, "Radius 0 gives the clean accuracy.")
        labels = as_array(y_true)
        weight = check_sample_weight(sample_weight, np.zeros((len(labels), 1)))
        right, shares, radii = np.ones(len(labels), dtype=bool), [], sorted(predictions)
        for radius in radii:
            right = right & (as_array(predictions[radius]) == labels)
            shares.append(float(np.average(right, weights=weight)))
        n_rows = effective_size(weight)
        curve = RobustnessCurve(
            radii=np.asarray(radii, dtype=np.float64),
            clean=shares[0],
            attacked=np.array(shares),
            certified=None,
            interval=np.array([clopper_pearson(share, n_rows, confidence) for share in shares]),
            majority=majority_share(labels, weight),
            confidence=confidence,
        )
        return cls({name: curve})._drawn(ax)

    def frame(self) -> Any:
        """The numbers as a pandas DataFrame: one row per model and radius."""
        pandas = import_extra("pandas", "frames")
        parts = [
            curve.frame().assign(estimator=name, quantity=curve.quantity)
            for name, curve in self.curves.items()
        ]
        frame = pandas.concat(parts, ignore_index=True)
        return frame[["estimator", *frame.columns.drop("estimator")]]

    def plot(self, ax: Any = None) -> RobustnessCurveDisplay:
        """Draw each curve with its interval, and what a model that ignores X would score.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Those of a new figure by default.

        Returns
        -------
        RobustnessCurveDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = own_axes(ax, (6.4, 4.4))
        for k, (name, curve) in enumerate(self.curves.items()):
            self._line(ax, name, curve, k)
        for level, label in self._levels():
            ax.axhline(level, color=GRAY, linestyle=":", linewidth=1.2, label=label)
        self._frame_axes(ax)
        place_legend(ax, 1 if max(map(len, self.curves)) > 28 else 2)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _line(self, ax: Any, name: str, curve: RobustnessCurve, number: int) -> None:
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        radii, attacked, interval = curve.radii, curve.attacked, curve.interval
        if radii[0] > 0:  # the curve begins with the rows as they are
            radii, attacked = np.r_[0.0, radii], np.r_[curve.clean, attacked]
            interval = np.vstack([[np.nan, np.nan], interval])
        style = {"color": color, "linewidth": 1.8, "markersize": 4.5}
        ax.plot(radii, attacked, marker=marker, label=name, **style)
        if len(self.curves) <= 2 and len(curve.radii) > 1:
            ax.fill_between(radii, *interval.T, color=color, alpha=0.14, linewidth=0)
        else:  # several bands would hide each other, and one radius has none
            ax.vlines(radii, *interval.T, color=color, alpha=0.45, linewidth=1.2)
        if curve.certified is not None:
            ax.plot(
                curve.radii,
                curve.certified,
                linestyle="--",
                marker=marker,
                markerfacecolor="white",
                label=f"{name}, certified",
                **style,
            )
            # between what is proven and what was found: not known
            ends = (curve.certified, curve.attacked)
            ax.fill_between(curve.radii, *ends, color=color, alpha=0.10, linewidth=0, hatch="///")

    def _levels(self) -> list[tuple[float, str]]:
        """What needs no X, once if it is the same for all."""
        what = "most frequent class" if self._accuracy else "mean of y"
        levels = {name: curve.majority for name, curve in self.curves.items()}
        if len({round(level, 9) for level in levels.values()}) == 1:
            return [(next(iter(levels.values())), what)]
        return [(level, f"{what} ({name})") for name, level in levels.items()]

    @property
    def _accuracy(self) -> bool:
        return all(curve.quantity == "accuracy" for curve in self.curves.values())

    def _frame_axes(self, ax: Any) -> None:
        if self._accuracy:
            ax.set(ylim=(-0.02, 1.02), ylabel="accuracy under attack")
            in_percent(ax.yaxis)
        else:
            ax.set(ylabel="mean loss under attack")
            ax.set_ylim(bottom=0)
        ax.set(xlabel="radius (steps of the threat)")
        ax.grid(alpha=0.3)

    def _drawn(self, ax: Any) -> RobustnessCurveDisplay:
        return draw(self, ax)


def draw(display: Any, ax: Any) -> Any:
    """Draw, where matplotlib is installed or axes were given."""
    if ax is None:
        try:
            import_extra("matplotlib.pyplot", "plot")
        except ImportError:
            return display
    return display.plot(ax=ax)
