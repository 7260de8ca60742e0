"""Everything about the robustness of one or several models, on one page."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from skrobust._compat import check_sample_weight, import_extra
from skrobust._params import check_bool, check_integer, check_name, check_number
from skrobust.attacks import check_attack
from skrobust.exceptions import invalid
from skrobust.inspection._diagnostics import diagnose
from skrobust.inspection._explain import Explained, explain_models
from skrobust.inspection._finding import Finding
from skrobust.inspection._groups import GroupComparison, check_costs, check_groups, compare_groups
from skrobust.inspection._lab import random_from
from skrobust.inspection._measure import Measured, Settings, measure, weak_columns
from skrobust.inspection._named import named_estimators
from skrobust.inspection._records import RECORDS
from skrobust.inspection._rows import as_array
from skrobust.metrics import RobustnessCurve
from skrobust.metrics._curve import _check_radii
from skrobust.threats import check_threat

__all__ = ["RobustnessReport", "robustness_report"]

MANY_COLUMNS = 128  # beyond it single columns are pixels: see FeatureSensitivityDisplay
PACKAGES = ("skrobust", "scikit-learn", "skorch", "torch", "numpy", "scipy")


@dataclass(eq=False)
class RobustnessReport:
    """What :func:`robustness_report` found.

    Attributes
    ----------
    models : dict of str to object
        Per model: its curve, slices of rows, weak columns, per-row radii, findings, budget.
    settings : object
        What was asked: rows, radii, threat, attack, weights, groups.
    focus : float
        The radius at which columns and diagnostics were examined: the one at which about half of
        the right answers are lost.
    info : dict
        Threat, attack, seed, date, versions, time.
    groups : GroupComparison or None
        Tests between groups, and between models within groups, at ``focus``.
    explained : Explained or None
        What the answers hang on, how still reasons hold, what would change some answers.

    Examples
    --------
    See :func:`robustness_report`.
    """

    models: dict[str, Measured]
    settings: Settings
    focus: float
    info: dict[str, Any]
    groups: GroupComparison | None = None
    explained: Explained | None = None

    @property
    def diagnostics(self) -> list[Finding]:
        """All findings, model by model, D1 to D12; empty if they were switched off."""
        return [finding for model in self.models.values() for finding in model.findings]

    @property
    def curves(self) -> dict[str, RobustnessCurve]:
        """Name of a model and its curve."""
        return {name: model.curve for name, model in self.models.items()}

    def frame(self, kind: str = "scores") -> Any:
        """The numbers as a tidy pandas DataFrame.

        Parameters
        ----------
        kind : {"scores", "features", "rows", "diagnostics", "budget", "groups", "changes", \
"sensitivity", "stability", "counterfactuals", "reasons"}
            ``"scores"``: one row per model, part of the rows (all, each class, each group) and
            radius, with intervals. ``"features"``: what each column does alone. ``"rows"``: the
            smallest radius that breaks each row. ``"diagnostics"``: the findings. ``"budget"``:
            evaluations per row, and time. ``"groups"``, ``"changes"``: tests between groups, and
            against the reference model within each. ``"sensitivity"``, ``"stability"``,
            ``"counterfactuals"``, ``"reasons"``: why; empty where nothing was explained.
        """
        check_name("kind", kind, RECORDS)
        pandas = import_extra("pandas", "frames")
        return pandas.DataFrame(RECORDS[kind](self))

    def save(self, path: str | Path) -> Path:
        """Write the report as one HTML file that needs nothing else: pictures are inside.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html``.

        Returns
        -------
        Path
        """
        from skrobust.inspection._html import page

        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise invalid("path", str(path), "the name of an .html file")
        path.write_text(page(self), encoding="utf-8")
        return path

    def model_card(
        self,
        model: str | None = None,
        *,
        path: str | Path | None = None,
        date: Any = None,
        **texts: str,
    ) -> str:
        """The figures of one model as a model card in Markdown.

        What was measured, on which rows, against which threat, and what was not tested, in the
        sections of Mitchell et al. (2019), "Model cards for model reporting", arXiv:1810.03993.

        Parameters
        ----------
        model : str, optional
            Name of the model; needed where the report has several.
        path : str or Path, optional
            Where to write it, too; ends in ``.md``.
        date : date, str or None
            Of the card; None: today.
        **texts : str
            Your own words for a section, by its name in small letters: ``intended_use``,
            ``training_data``, ``model_details``, ``ethical_considerations``, ...; they come before
            what was measured.

        Returns
        -------
        str
        """
        from skrobust.inspection._model_card import card_of

        return card_of(self, model, path, date, texts)

    def _repr_html_(self) -> str:
        from skrobust.inspection._html import fragment

        return fragment(self)

    def __repr__(self) -> str:
        lines = [f"RobustnessReport of {self.info['n_rows']} rows, threat {self.info['threat']}"]
        width = max(map(len, self.models))
        for name, model in self.models.items():
            curve, bad = model.curve, sum(finding.ok is False for finding in model.findings)
            scores = "  ".join(
                f"{score:.3f} at {radius:g}"
                for radius, score in zip(curve.radii, curve.attacked, strict=True)
            )
            if curve.certified is not None:
                proven = [f"{share:.3f}" for share in curve.certified]
                scores += f"  certified {'  '.join(proven)}"
            doubt = f"  ({bad} of {len(model.findings)} checks failed)" if bad else ""
            lines.append(f"{name:{width}s}  clean {curve.clean:.3f}  attacked {scores}{doubt}")
        curve = next(iter(self.curves.values()))
        what = "most frequent class" if curve.quantity == "accuracy" else "mean of y"
        return "\n".join([*lines, f"{what} alone: {curve.majority:.3f}"])


def robustness_report(
    estimators: Any,
    X: Any,
    y: Any,
    *,
    radii: float | Sequence[float],
    threat: Any = "linf",
    attack: Any = "auto",
    sample_weight: Any = None,
    groups: Any = None,
    baselines: bool = True,
    diagnostics: bool = True,
    features: bool | str = "auto",
    random_state: Any = None,
    confidence: float = 0.95,
    loss: Any = None,
    max_rows: int = 200,
    certify: bool | str | None = None,
    explain: bool | str = "auto",
    reference: str | None = None,
    costs: Mapping[str, Any] | None = None,
) -> RobustnessReport:
    """Measure robustness, find the weak spots, and say whether the figures can be trusted.

    Parameters
    ----------
    estimators : fitted estimator, or list or dict of some
        Classifiers or regressors, not both; a dict names them.
    X, y, threat, attack, loss
        As for :func:`skrobust.worst_case`; all models see the same rows and the same threat.
    radii : float or sequence of float
        In steps of the threat's ``scale``.
    sample_weight : array-like of shape (n,), optional
        Weight of each row in the scores.
    groups : array-like of shape (n,) or name of a column of X, optional
        Scores are given for each group too.
    baselines : bool
        Whether to measure rows that move at random as well, as a yardstick.
    diagnostics : bool
        Whether to run :func:`skrobust.inspection.diagnose`.
    features : bool or "auto"
        Whether to move each column alone; "auto": for tables of at most 128 columns.
    random_state : int, RandomState or None
        None draws a seed and writes it into the report.
    confidence : float
        Of all intervals.
    max_rows : int
        Rows for diagnostics and single columns; scores use all rows.
    certify : bool or str, optional
        Whether to prove, too, which rows nothing within a radius can break, as for
        :func:`skrobust.robustness_curve`.
    explain : bool or "auto"
        Whether to say what the answers hang on, how still the reasons hold, and what would change
        some answers; "auto" does what costs little, True all of it, with proofs and more rows.
    reference : str, optional
        Name of the model that the others are compared with, group by group: the first by default.
    costs : dict of str to array-like of shape (n,) or RowCosts, optional
        Per model what each row costs, for the comparison of groups; :func:`skrobust.risk.row_costs`
        gives it.

    Returns
    -------
    RobustnessReport
        ``frame()``, ``diagnostics``, ``save("report.html")``; notebooks show it as it is.

    Raises
    ------
    ValueError, TypeError
        As for :func:`skrobust.worst_case`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skrobust.inspection import robustness_report
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> report = robustness_report(model, X, y, radii=[0.2, 0.4], random_state=0)
    >>> report
    RobustnessReport of 150 rows, threat LpBall()
    LogisticRegression  clean 0.973  attacked 0.867 at 0.2  0.640 at 0.4
    most frequent class alone: 0.333
    >>> report.frame().columns[:6].tolist()
    ['estimator', 'part', 'value', 'n_rows', 'radius', 'clean']
    """
    began = time.perf_counter()
    named = named_estimators(estimators)
    settings = Settings(
        X=X,
        y=as_array(y),
        radii=_check_radii([radii] if np.ndim(radii) == 0 else radii),
        threat=check_threat(threat),
        attack=check_attack(attack),
        weight=sample_weight,
        groups=None if groups is None else check_groups(groups, X),
        baselines=check_bool("baselines", baselines),
        random_state=_seed(random_state),
        confidence=check_number(
            "confidence", confidence, low=0, high=1, open_low=True, open_high=True
        ),
        loss=loss,
        certify=certify,
    )
    max_rows = check_integer("max_rows", max_rows, low=10)
    diagnostics = check_bool("diagnostics", diagnostics)
    wanted = _wants_features(features, X)
    if not (isinstance(explain, str) and explain == "auto"):
        explain = check_bool("explain", explain)
    if reference is not None and reference not in named:
        raise invalid("reference", reference, f"the name of one of the models {list(named)}")
    costs = check_costs(costs, named, len(X))
    models = {name: measure(name, model, settings) for name, model in named.items()}
    _check_same_task(models)
    focus = _focus([model.curve for model in models.values()])
    for model in models.values():
        _examine(model, settings, focus, diagnostics, wanted, max_rows)
    compared = _compared(models, settings, focus, reference, costs)
    explained = explain_models(models, settings, focus, explain) if explain and focus else None
    info = _info(settings, time.perf_counter() - began, len(X))
    return RobustnessReport(models, settings, focus, info, compared, explained)


def _examine(model: Measured, settings: Settings, focus, diagnostics, features, max_rows) -> None:
    """Weak columns and doubts, at the radius that tells most."""
    if focus == 0:
        return
    if features:
        model.features = weak_columns(model.estimator, settings, focus, max_rows)
    if diagnostics:
        found = diagnose(
            model.estimator,
            settings.X,
            settings.y,
            radius=focus,
            threat=settings.threat,
            attack=settings.attack,
            random_state=settings.random_state,
            max_rows=max_rows,
            loss=settings.loss,
        )
        model.findings = [
            Finding(f.code, f.ok, f.value, f.advice, f.title, model.name) for f in found
        ]


def _focus(curves: list[RobustnessCurve]) -> float:
    """The radius at which, on average, about half of the right answers are lost.

    Of regressors the one in the middle. 0 if there is no other.
    """
    radii = curves[0].radii
    if not (radii > 0).any():
        return 0.0
    if curves[0].quantity != "accuracy":
        positive = radii[radii > 0]
        return float(positive[len(positive) // 2])
    kept = np.mean([curve.attacked / max(curve.clean, 1e-9) for curve in curves], axis=0)
    off = np.where(radii > 0, np.abs(kept - 0.5), np.inf)
    return float(radii[np.flatnonzero(off == off.min())[-1]])


def _compared(models: dict[str, Measured], settings: Settings, focus, reference, costs):
    """The groups, at the radius in focus; None without groups."""
    if settings.groups is None or focus == 0:
        return None
    measures = {
        name: model.right_or_loss(focus) | costs.get(name, {}) for name, model in models.items()
    }
    weight = settings.weight
    weight = None if weight is None else check_sample_weight(weight, np.zeros((len(settings.y), 1)))
    options = dict(
        confidence=settings.confidence, random_state=settings.random_state, weight=weight
    )
    return compare_groups(measures, settings.groups, reference, **options)


def _wants_features(features: Any, X: Any) -> bool:
    if isinstance(features, str) and features == "auto":
        shape = np.shape(X)
        return len(shape) == 2 and shape[1] <= MANY_COLUMNS
    return check_bool("features", features)


def _seed(random_state: Any) -> int:
    """A number that can be written down."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(random_from(random_state).randint(2**31 - 1))


def _check_same_task(models: dict[str, Measured]) -> None:
    kinds = {model.curve.quantity for model in models.values()}
    if len(kinds) > 1:
        allowed = "classifiers only, or regressors only"
        raise invalid("estimators", list(models), allowed, "Make a report for each kind.")


def _info(settings: Settings, seconds: float, n_rows: int) -> dict[str, Any]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "n_rows": n_rows,
        "threat": repr(settings.threat),
        "attack": repr(settings.attack),
        "seed": settings.random_state,
        "confidence": settings.confidence,
        "seconds": seconds,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"python": platform.python_version(), **found},
    }
