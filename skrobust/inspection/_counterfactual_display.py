"""The smallest moves that change an answer, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust.inspection._counterfactual import Counterfactuals, nearest_counterfactual
from skrobust.inspection._curve_display import draw
from skrobust.inspection._worst_case_display import WorstCaseDisplay

__all__ = ["CounterfactualDisplay"]


class CounterfactualDisplay(WorstCaseDisplay):
    """Rows, the nearest rows with another answer, and the differences.

    Rows of tables come out as bars, images (n, channels, height, width) side by side, series
    (n, channels, length) on top of each other, as in a :class:`skrobust.WorstCaseDisplay`. Each title
    says from which answer to which, how far that is, and how far is proven not to do.

    Parameters
    ----------
    found : Counterfactuals
        What :func:`skrobust.nearest_counterfactual` returned.

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
    >>> from skrobust.inspection import CounterfactualDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> display = CounterfactualDisplay.from_estimator(model, X.iloc[[70, 100]], threat="l1")
    >>> display.titles
    ['row 70: 2 → 1 at 0.0784 (proven: none below)', 'row 100: 2 → 1 at 1.86 (proven: none below)']
    """

    def __init__(self, found: Counterfactuals):
        of = found.picture
        super().__init__(
            of.x,
            of.z,
            labels=of.labels,
            before=of.before,
            after=of.after,
            names=of.names,
            scale=of.scale,
            radius=of.radius,
            influence=of.influence,
            categories=of.categories,
            leaps=of.leaps,
        )
        self.found = found

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, ax: Any = None, **options: Any
    ) -> CounterfactualDisplay:
        """Search, and draw.

        Parameters
        ----------
        estimator, X, **options
            As for :func:`skrobust.nearest_counterfactual`; a line of panels for each row of X.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        CounterfactualDisplay
            Drawn, unless matplotlib is not installed.
        """
        return draw(cls(nearest_counterfactual(estimator, X, **options)), ax)

    @property
    def titles(self) -> list[str]:
        """What is said of each row."""
        return [self._title(i) for i in range(len(self.x))]

    def _moved(self, i: int) -> str:
        far = self.found.radius[i]
        return f"{self.after[i]} at {far:.3g}" if np.isfinite(far) else "none found"

    def _title(self, i: int) -> str:
        far, proven = self.found.radius[i], self.found.proven[i]
        if not np.isfinite(far):
            sure = "proven: none" if np.isposinf(proven) else f"proven: none below {proven:.3g}"
            return f"row {self.labels[i]}: stays {self.before[i]} ({sure})"
        if far == 0:
            return f"row {self.labels[i]}: {self.before[i]} already"
        said = f"row {self.labels[i]}: {self.before[i]} → {self.after[i]} at {far:.3g}"
        if proven <= 0:
            return said
        below = "none below" if proven > 0.99 * far else f"none below {proven:.3g}"
        return f"{said} (proven: {below})"
