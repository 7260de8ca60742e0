"""Group by group: is one served worse, and does a robust model take from some what it gives others?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skrobust._compat import check_sample_weight, import_extra
from skrobust._params import check_name, check_number
from skrobust.exceptions import invalid
from skrobust.inspection._exact_tests import holm
from skrobust.inspection._lab import random_from
from skrobust.inspection._named import named_estimators
from skrobust.inspection._rows import as_array
from skrobust.inspection._weighted_tests import interval_of, paired, paired_interval, unpaired
from skrobust.metrics._evaluation import Evaluation, check_radius

__all__ = ["GroupComparison", "check_groups", "compare_groups", "group_comparison"]

FEW = 30  # rows; below it a group says little
KINDS = ("groups", "changes")


@dataclass(frozen=True, eq=False)
class GroupComparison:
    """What :func:`group_comparison` found.

    Attributes
    ----------
    groups : list of dict
        One per model, measure and group: its figure with an interval, that of all other rows, the
        difference, the p-value of the test and the same after Holm's correction.
    changes : list of dict
        One per model (but the reference), measure and group: what changed against the reference on
        the very same rows, with an interval, p-values, and a verdict.
    reference : str or None
        The model that the others are compared with.
    confidence : float
    """

    groups: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    reference: str | None
    confidence: float

    def frame(self, kind: str = "groups") -> Any:
        """``"groups"`` or ``"changes"`` as a pandas DataFrame."""
        check_name("kind", kind, KINDS)
        pandas = import_extra("pandas", "frames")
        return pandas.DataFrame(getattr(self, kind))

    @property
    def warnings(self) -> list[str]:
        """What somebody should look at, in plain words."""
        return [*map(self._behind, self._worse()), *map(self._harm, self._harmed())]

    def _worse(self) -> list[dict]:
        doubt = 1 - self.confidence
        return [r for r in self.groups if r["p_holm"] <= doubt and _worse_by(r) > 0]

    def _harmed(self) -> list[dict]:
        return [r for r in self.changes if r["verdict"] in ("harmed", "perhaps harmed")]

    def _behind(self, r: dict) -> str:
        return (
            f"{r['estimator']}: {r['measure']} of group {r['group']} is {_said(r, 'value')}, that of "
            f"all other rows {_said(r, 'rest')} ({_p(r)} after Holm's correction)."
        )

    def _harm(self, r: dict) -> str:
        text = (
            f"{r['estimator']}: {r['measure']} of group {r['group']} ({r['n_rows']} rows) is "
            f"{_said(r, 'value')}, under {r['reference']} it was {_said(r, 'before')}"
        )
        if r["verdict"] == "harmed":
            return f"{text}: harmed ({_p(r)} after Holm's correction)."
        low, high = (_form(r, r[end]) for end in ("low", "high"))
        return (
            f"{text}. So few rows do not prove that it is harmed, nor that it is not: the change lies "
            f"between {low} and {high}."
        )

    def __repr__(self) -> str:
        names = list(dict.fromkeys(str(r["group"]) for r in self.groups))
        return f"GroupComparison(groups {names}, {len(self.warnings)} warnings)"


def group_comparison(
    estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any,
    radius: float,
    threat: Any = "linf",
    attack: Any = "auto",
    reference: str | None = None,
    costs: Mapping[str, Any] | None = None,
    confidence: float = 0.95,
    tolerance: float = 0.02,
    loss: Any = None,
    sample_weight: Any = None,
    random_state: Any = None,
) -> GroupComparison:
    """Compare groups of rows, and models within each group, with tests that hold for few rows.

    Two questions. *Is a group served worse than all others?* Rows of different groups are different
    rows: Fisher's exact test (of losses and costs, permutations). *Does a model take from a group what
    another one gave it?* Both models answer the same rows: the exact test of McNemar (of losses and
    costs, random signs of the differences). P-values of one model and measure are corrected after Holm
    for the number of groups.

    Parameters
    ----------
    estimators : fitted estimator, or list or dict of some
        Classifiers or regressors, not both.
    X, y, radius, threat, attack, loss, random_state
        As for :func:`skrobust.worst_case`.
    groups : array-like of shape (n,) or name of a column of X
        The group of each row.
    reference : str, optional
        Name of the model that the others are compared with: the first by default.
    costs : dict of str to array-like of shape (n,) or RowCosts, optional
        Per model the cost of each row, as one more measure (small is good):
        :func:`skrobust.risk.row_costs` gives it.
    confidence : float
        Of intervals; 1 minus it is the level of the tests.
    tolerance : float
        A group that loses more than this without being proven to is "perhaps harmed": a share, or a
        share of the reference's mean loss or cost.
    sample_weight : array-like of shape (n,), optional
        How much each row counts. Means are weighted then, intervals of shares take the effective number
        of rows, and tests are permutations and random signs of rows with their weights.

    Returns
    -------
    GroupComparison
        ``groups``, ``changes``, ``warnings``; ``frame()``.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`.

    Notes
    -----
    A test that finds nothing does not show that there is no difference: with 10 rows it finds only
    gross ones. Read the interval of the change. The groups are those you name; others may be harmed.

    Tests of weighted rows: studentized permutations between groups (Chung & Romano 2013), and signs of
    ``w (b - a)`` within. Where all weights are equal these are the tests without weights. The weights
    are taken as they are: that they themselves are estimates is not in the p-values.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from skrobust import group_comparison
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> size, X = np.where(X[:, 0] > 14, "large", "small"), scale(X)
    >>> models = {
    ...     "weak": LogisticRegression(C=0.01).fit(X, y),
    ...     "strong": LogisticRegression().fit(X, y),
    ... }
    >>> found = group_comparison(models, X, y, groups=size, radius=0.1, reference="strong")
    >>> columns = ["measure", "group", "n_rows", "before", "value", "p_holm", "verdict"]
    >>> found.frame("changes")[columns].round(3)
               measure  group  n_rows  before  value  p_holm          verdict
    0   clean accuracy  large     232   0.987  0.931   0.002           harmed
    1   clean accuracy  small     337   0.988  0.970   0.031           harmed
    2  robust accuracy  large     232   0.888  0.897   1.000  no sign of harm
    3  robust accuracy  small     337   0.950  0.955   1.000  no sign of harm
    """
    radius, named = check_radius(radius), named_estimators(estimators)
    confidence = check_number(
        "confidence", confidence, low=0, high=1, open_low=True, open_high=True
    )
    tolerance = check_number("tolerance", tolerance, low=0, high=1)
    groups, known = check_groups(groups, X), check_costs(costs, named, len(X))
    measures: dict[str, dict[str, np.ndarray]] = {}
    for name, estimator in named.items():
        evaluation = Evaluation(estimator, X, y, threat=threat, attack=attack, loss=loss)
        found = evaluation.worst(radius, evaluation.generator(random_state))
        if evaluation.task.is_margin:
            before, after = ~evaluation.clean.broken, ~found.broken
            measures[name] = {"clean accuracy": before, "robust accuracy": after}
        else:
            measures[name] = {"clean loss": evaluation.clean.value, "robust loss": found.value}
        measures[name] |= known.get(name, {})
    weight = None if sample_weight is None else check_sample_weight(sample_weight, X)
    return compare_groups(measures, groups, reference, confidence, tolerance, random_state, weight)


def compare_groups(
    measures: Mapping[str, Mapping[str, np.ndarray]],
    groups: np.ndarray,
    reference: str | None = None,
    confidence: float = 0.95,
    tolerance: float = 0.02,
    random_state: Any = None,
    weight: np.ndarray | None = None,
) -> GroupComparison:
    """The comparison of what is known per row: name of the model -> measure -> (n,) booleans (right
    or not, more is better) or numbers (losses, costs, less is better)."""
    names = list(measures)
    if reference is None and len(names) > 1:
        reference = names[0]
    if reference is not None and reference not in names:
        raise invalid("reference", reference, f"the name of one of the models {names}")
    if len({tuple(sorted(set(part) - {"cost"})) for part in measures.values()}) > 1:
        raise invalid("estimators", names, "classifiers only, or regressors only")
    random = random_from(random_state)
    weight = np.ones(len(groups)) if weight is None else weight
    found: list[dict] = []
    changes: list[dict] = []
    for name in names:
        for measure, values in measures[name].items():
            about = {"estimator": name, "measure": measure}
            found += _against_rest(values, groups, weight, confidence, random, about)
            before = measures[reference].get(measure) if reference is not None else None
            if name == reference or before is None:
                continue
            about["reference"] = reference
            changes += _against_other(
                before, values, groups, weight, confidence, tolerance, random, about
            )
    return GroupComparison(found, changes, reference, confidence)


def _against_rest(values, groups, weight, confidence: float, random, about: dict) -> list[dict]:
    records, p = [], []
    kinds = np.unique(groups)
    for kind in kinds:
        own = groups == kind
        rows = values[own], values[~own], weight[own], weight[~own]
        low, high = interval_of(values[own], weight[own], confidence)
        # the test of one of two groups against the other is the test of the other against it
        p.append(p[0] if len(kinds) == 2 and p else unpaired(*rows, random))
        value, rest = (_mean(*part) for part in (rows[::2], rows[1::2]))
        records.append(
            {
                **about,
                "group": kind,
                "n_rows": int(own.sum()),
                "value": value,
                "low": low,
                "high": high,
                "rest": rest,
                "difference": value - rest,
                "p": p[-1],
            }
        )
    raised = np.array(p) if len(kinds) == 2 else holm(np.array(p))
    return [{**record, "p_holm": float(q)} for record, q in zip(records, raised, strict=True)]


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(values, weights=weight)) if weight.sum() > 0 else float("nan")


def _against_other(
    before, after, groups, weight, confidence, tolerance, random, about
) -> list[dict]:
    records = []
    for kind in np.unique(groups):
        own = groups == kind
        a, b, w = before[own], after[own], weight[own]
        low, high = paired_interval(a, b, w, confidence)
        record = {
            **about,
            "group": kind,
            "n_rows": int(own.sum()),
            "before": _mean(a, w),
            "value": _mean(b, w),
            "change": _mean(b, w) - _mean(a, w),
            "low": low,
            "high": high,
            "p": paired(a, b, w, random),
        }
        if a.dtype == bool:
            record |= {"n_lost": int((a & ~b).sum()), "n_gained": int((~a & b).sum())}
        records.append(record)
    raised = holm(np.array([record["p"] for record in records]))
    for record, q in zip(records, raised, strict=True):
        record["p_holm"] = float(q)
        record["verdict"] = _verdict(record, 1 - confidence, tolerance)
    return records


def _verdict(record: dict, level: float, tolerance: float) -> str:
    """``"harmed"``, ``"better"``: shown. ``"perhaps harmed"``: it looks so, and there are too few rows
    to say."""
    worse = _worse_by(record, "change")
    share = tolerance if _is_share(record) else tolerance * abs(record["before"])
    if worse > 0 and record["p_holm"] <= level:
        return "harmed"
    if worse < 0 and record["p_holm"] <= level:
        return "better"
    return "perhaps harmed" if worse > share else "no sign of harm"


def _worse_by(record: dict, key: str = "difference") -> float:
    return -record[key] if _is_share(record) else record[key]


def _is_share(record: dict) -> bool:
    return record["measure"].endswith("accuracy")


def _said(record: dict, key: str) -> str:
    return _form(record, record[key])


def _p(record: dict) -> str:
    return f"p = {record['p_holm']:.2g}" if record["p_holm"] >= 0.001 else "p < 0.001"


def _form(record: dict, value: float) -> str:
    return f"{100 * value:.1f}%" if _is_share(record) else f"{value:.4g}"


def check_groups(groups: Any, X: Any) -> np.ndarray:
    """Group of each row, from the groups themselves or from a column of X."""
    if isinstance(groups, str):
        columns = list(getattr(X, "columns", []))
        if groups not in columns:
            raise invalid("groups", groups, f"a column of X (one of {columns[:10]}), or an array")
        groups = X[groups]
    found = as_array(groups)
    if found.shape != (len(X),):
        raise invalid("groups", groups, f"one group for each of the {len(X)} rows")
    missing = found != found
    return np.where(missing, "missing", found.astype(str)) if missing.any() else found


def check_costs(costs: Any, names: Any, n_rows: int) -> dict[str, dict[str, np.ndarray]]:
    """Per model the measure "cost" (n,), from numbers or from the RowCosts of ``skrobust.risk``."""
    if costs is not None and not isinstance(costs, Mapping):
        raise invalid("costs", costs, "a dict, name of a model -> costs", error=TypeError)
    unknown = sorted(set(costs or {}) - set(names))
    if unknown:
        raise invalid("costs", unknown, f"a dict with names of the models {list(names)}")
    return {name: {"cost": _numbers(values, n_rows)} for name, values in (costs or {}).items()}


def _numbers(values: Any, n_rows: int) -> np.ndarray:
    if hasattr(values, "expected"):  # RowCosts: the worst that was found, or else proven
        known = [b for b in ("attacked", "certified", "clean") if getattr(values, b) is not None]
        values = values.expected(known[0]) if known[0] != "clean" else values.clean
    found = as_array(values)
    if found.shape != (n_rows,) or found.dtype.kind not in "iufb":
        raise invalid("costs", values, f"one number for each of the {n_rows} rows")
    return found.astype(np.float64)
