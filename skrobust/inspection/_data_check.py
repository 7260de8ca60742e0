"""Is the data what the model will meet? Checks to make before any figure is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skrobust._categories import text_categories, with_codes
from skrobust._compat import import_extra
from skrobust._params import check_integer, check_name, check_number
from skrobust.exceptions import invalid
from skrobust.inspection import _data_judges as judges
from skrobust.inspection._data_sample import DataFinding, Sample
from skrobust.inspection._rows import as_array

__all__ = ["DataReport", "check_data"]

_CHECKS: dict[str, tuple[str, Callable[[Sample], judges.Judged]]] = {
    "R1": ("Few values are missing", judges.missing),
    "R2": ("Every column says something", judges.constants),
    "R3": ("Every class has enough rows", judges.class_balance),
    "R4": ("Every group has enough rows", judges.group_sizes),
    "R5": ("Every group spans the columns", judges.group_ranges),
    "R6": ("Operation stays in the range of the sample", judges.out_of_range),
    "R7": ("Each column is distributed as in operation", judges.column_shift),
    "R8": ("Nothing tells the sample from operation", judges.sample_shift),
    "R9": ("No row is there twice", judges.repeated),
    "R10": ("No test row is among the rows to learn from", judges.leaked),
    "R11": ("Labels are not in doubt", judges.labels),
}
KINDS = ("findings", "columns", "groups", "rows")
NO_RECORDS = {"groups": ["group", "n_rows", "share"], "rows": ["row", "why", "other"]}


@dataclass(eq=False)
class DataReport:
    """What :func:`check_data` found.

    Attributes
    ----------
    findings : list of DataFinding
        R1 to R11: what was checked, how bad it is, what to do.
    tables : dict of str to list of dict
        The numbers behind them: ``"columns"``, ``"groups"``, ``"rows"``.
    n_rows : int
    """

    findings: list[DataFinding]
    tables: dict[str, list[dict[str, Any]]]
    n_rows: int

    @property
    def ok(self) -> bool:
        """Whether no finding is serious."""
        return not any(finding.severity == "serious" for finding in self.findings)

    @property
    def failed(self) -> list[DataFinding]:
        """The findings to read, the serious ones first."""
        order = {"serious": 0, "warning": 1, "note": 2}
        some = [finding for finding in self.findings if finding.ok is False]
        return sorted(some, key=lambda finding: order[finding.severity])

    def frame(self, kind: str = "findings") -> Any:
        """The numbers as a pandas DataFrame.

        Parameters
        ----------
        kind : {"findings", "columns", "groups", "rows"}
            The findings; what is missing, constant or shifted in each column; rows of each group and
            how much of the columns' ranges they cover; rows that are there twice or have a label in
            doubt.
        """
        check_name("kind", kind, KINDS)
        pandas = import_extra("pandas", "frames")
        if kind != "findings":
            found = self.tables[kind]
            return pandas.DataFrame(found, columns=None if found else NO_RECORDS[kind])
        fields = ("code", "title", "severity", "value", "advice")
        return pandas.DataFrame([{f: getattr(x, f) for f in fields} for x in self.findings])

    def _repr_html_(self) -> str:
        from skrobust.inspection._page import data_html

        return data_html(self)

    def __repr__(self) -> str:
        lines = [str(finding) for finding in self.failed]
        passed = sum(finding.ok is True for finding in self.findings)
        applied = sum(finding.ok is not None for finding in self.findings)
        return "\n".join([f"{passed} of {applied} checks of {self.n_rows} rows passed", *lines])


def check_data(
    X: Any,
    y: Any = None,
    *,
    operation: Any = None,
    test: Any = None,
    groups: Any = None,
    alpha: float = 0.05,
    min_effect: float = 0.1,
    near: float = 0.01,
    max_rows: int = 5000,
    random_state: Any = None,
) -> DataReport:
    """Look at a sample before a figure of it is believed: is it what the model will meet?

    Parameters
    ----------
    X : array or DataFrame of shape (n, n_features)
        The sample to learn from. Columns may be text; NaN is a missing value.
    y : array-like of shape (n,), optional
        Labels; those of regression have no balance and no doubtful rows.
    operation : array or DataFrame, optional
        Rows as they come where the model will work; no labels needed.
    test : array or DataFrame, optional
        Rows on which the model will be measured.
    groups : array-like of shape (n,) or name of a column of X, optional
        Sites, devices, kinds of customers.
    alpha : float
        Level of each family of tests (Holm's correction among the columns).
    min_effect : float
        Differences smaller than that are not reported, however sure: the distance of two
        distribution functions, or Cramer's V, from 0 to 1.
    near : float
        Rows that differ by less in every column, in standard deviations, are near duplicates.
    max_rows : int
        Drawn at random for duplicates, the classifier and labels.
    random_state : int, RandomState or None

    Returns
    -------
    DataReport
        ``findings``, ``ok``, ``failed``, ``frame()``; notebooks show it as it is.

    Raises
    ------
    ValueError, TypeError
        For rows that are no table, or tables with other columns.

    Notes
    -----
    ====  ========================================================  ==========================
    code  what is measured (``value``)                              serious; warning; note
    ====  ========================================================  ==========================
    R1    largest share of missing values in a column               > 30%; > 5%; any
    R2    number of columns with one value (or nearly)              ; any constant; any nearly
    R3    rows of the smallest class                                < 30; < 100; share < 5%
    R4    rows of the smallest group                                < 30; < 100
    R5    smallest share of the tenths of a column's values that    ; < 60%
          a group of 50 rows or more has
    R6    largest share of operation outside a column's range       > 10%; > 1%, and Holm
    R7    largest effect of a shift (Kolmogorov-Smirnov,            > 3 min_effect;
          chi-square)                                               > min_effect, and Holm
    R8    held-out AUC of a model that tells sample from operation  > .75; > .6, and binomial
    R9    share of rows that repeat another                         ; > 5%; any
    R10   share of test rows that are in the sample, or nearly      > 1%; any
    R11   share of labels in doubt, or against an equal row         > 10%; > 3%; any
    ====  ========================================================  ==========================

    Examples
    --------
    >>> import numpy as np
    >>> from skrobust.inspection import check_data
    >>> random = np.random.RandomState(0)
    >>> X = random.normal(size=(300, 3))
    >>> y = (X[:, 0] + X[:, 1] > 0).astype(int)
    >>> later = random.normal(size=(300, 3)) + [0, 0, 1]
    >>> report = check_data(X, y, operation=later, test=X[:30], random_state=0)
    >>> [finding.code for finding in report.failed if finding.severity == "serious"]
    ['R7', 'R10']
    >>> report.ok
    False
    """
    random = check_random_state(random_state)
    number = dict(low=0, high=1, open_low=True, open_high=True)
    tables = {"X": X} | {
        name: given
        for name, given in (("operation", operation), ("test", test))
        if given is not None
    }
    names, categories, values = _read(tables)
    labels = None if y is None else as_array(y)
    if labels is not None and labels.shape != (len(values["X"]),):
        raise invalid("y", y, f"one label for each of the {len(values['X'])} rows of X")
    sample = Sample(
        names=names,
        categories=categories,
        values=values["X"],
        operation=values.get("operation"),
        test=values.get("test"),
        y=labels,
        groups=_groups(groups, X),
        alpha=check_number("alpha", alpha, **number),
        min_effect=check_number("min_effect", min_effect, **number),
        near=check_number("near", near, low=0),
        max_rows=check_integer("max_rows", max_rows, low=50),
        random=random,
    )
    findings = [_finding(code, *check, sample) for code, check in _CHECKS.items()]
    return DataReport(findings, sample.tables(), len(sample.values))


def _finding(code: str, title: str, judge: Callable, sample: Sample) -> DataFinding:
    severity, value, advice = judge(sample)
    ok = {"ok": True, "n/a": None}.get(severity, False)
    return DataFinding(code, ok, value, advice, title, severity=severity)


def _read(tables: dict[str, Any]) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Names, which columns are categories, and numbers of all tables with codes in common."""
    codes: dict[int, tuple] = {}
    for given in tables.values():
        codes |= text_categories(given, codes)
    values = {}
    for name, given in tables.items():
        coded = with_codes(given, codes) if codes and hasattr(given, "columns") else given
        try:
            values[name] = np.asarray(coded, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise invalid(
                name, type(given), "a table of numbers and text", "Encode dates first.", TypeError
            ) from error
        shape = values[name].shape
        if len(shape) != 2 or 0 in shape:
            raise invalid(name, f"<array of shape {shape}>", "a table (n, n_features) with rows")
        if shape[1] != values["X"].shape[1]:
            raise invalid(
                name, f"<{shape[1]} columns>", f"{values['X'].shape[1]} columns, as X has"
            )
    d = values["X"].shape[1]
    columns = getattr(tables["X"], "columns", None)
    names = [str(c) for c in columns] if columns is not None else [f"x{j}" for j in range(d)]
    return names, np.isin(np.arange(d), list(codes)), values


def _groups(groups: Any, X: Any) -> np.ndarray | None:
    if groups is None:
        return None
    if isinstance(groups, str):
        known = [str(name) for name in getattr(X, "columns", [])]
        if groups not in known:
            raise invalid("groups", groups, f"a column of X (one of {known[:10]}), or an array")
        groups = X[groups]
    found = as_array(groups)
    if found.shape != (len(X),):
        raise invalid("groups", groups, f"one group for each of the {len(X)} rows")
    return found.astype(str)
