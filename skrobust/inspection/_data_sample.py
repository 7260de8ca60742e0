"""What the checks of a sample share: the rows as numbers, and the tables that they fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust.inspection._finding import Finding

__all__ = ["DataFinding", "Sample"]


@dataclass(frozen=True)
class DataFinding(Finding):
    """One check of a sample, see :func:`skrobust.inspection.check_data`.

    Attributes
    ----------
    code, ok, value, advice, title
        As of :class:`skrobust.inspection.Finding`; ``code`` is ``"R1"`` to ``"R11"``.
    severity : str
        ``"ok"``, ``"note"``, ``"warning"``, ``"serious"``, or ``"n/a"``: does not apply.

    Examples
    --------
    >>> from skrobust.inspection import DataFinding
    >>> print(
    ...     DataFinding("R1", False, 0.4, "Ask why.", "Few values are missing", severity="serious")
    ... )
    R1  serious  Few values are missing: Ask why.
    """

    severity: str = ""

    def __str__(self) -> str:
        return f"{self.code}  {self.severity}  {self.title}: {self.advice}"


@dataclass(eq=False)
class Sample:
    """Rows as numbers (text as codes, gaps as NaN), and what is known of each column and row."""

    names: list[str]
    categories: np.ndarray
    values: np.ndarray
    operation: np.ndarray | None
    test: np.ndarray | None
    y: np.ndarray | None
    groups: np.ndarray | None
    alpha: float
    min_effect: float
    near: float
    max_rows: int
    random: np.random.RandomState
    columns: dict[str, Any] = field(default_factory=dict)
    group_records: list[dict[str, Any]] = field(default_factory=list)
    row_records: list[dict[str, Any]] = field(default_factory=list)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Records of columns, groups and rows."""
        keys = list(self.columns)
        records = [
            {"column": name} | {key: self.columns[key][j] for key in keys}
            for j, name in enumerate(self.names)
        ]
        return {"columns": records, "groups": self.group_records, "rows": self.row_records}

    @property
    def classes(self) -> np.ndarray | None:
        """The labels, if they are classes: text, or at most 20 whole numbers; else None."""
        if self.y is None or len(self.y) == 0:
            return None
        found = np.unique(self.y)
        if self.y.dtype.kind in "fc" and (found != np.round(found)).any():
            return None
        return found if self.y.dtype.kind in "OUSb" or len(found) <= 20 else None

    def some(self, values: np.ndarray) -> np.ndarray:
        """Numbers of at most ``max_rows`` rows, ascending."""
        if len(values) <= self.max_rows:
            return np.arange(len(values))
        return np.sort(self.random.permutation(len(values))[: self.max_rows])

    def named(
        self, mask: np.ndarray, values: np.ndarray | None = None, form: str = "{:.0%}"
    ) -> str:
        """The columns of a mask in words, the largest values first."""
        places = np.flatnonzero(mask)
        if values is not None:
            places = places[np.argsort(-values[places], kind="stable")]
        shown = [
            self.names[j] + ("" if values is None else f" ({form.format(values[j])})")
            for j in places[:5]
        ]
        more = f" and {len(places) - 5} more" if len(places) > 5 else ""
        return ", ".join(shown) + more
