"""One model, measured for a report: scores by radius and by part of the rows, weak spots, doubts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust._torch import to_numpy, to_tensor
from skrobust.inspection._finding import Finding
from skrobust.inspection._fragility import Sensitivity, judge, sensitivity, smallest_radius
from skrobust.inspection._lab import random_from
from skrobust.inspection._rows import take_rows
from skrobust.metrics import RobustnessCurve
from skrobust.metrics._certified import Proven, proof_of
from skrobust.metrics._curve import per_row, population
from skrobust.metrics._evaluation import Evaluation, Found
from skrobust.metrics._intervals import majority_share
from skrobust.metrics._rows import Rows

__all__ = [
    "Measured",
    "Settings",
    "Slice",
    "example_rows",
    "measure",
    "moved_rows",
    "weak_columns",
]


@dataclass(frozen=True)
class Settings:
    """What all models of a report share."""

    X: Any
    y: np.ndarray
    radii: np.ndarray
    threat: Any
    attack: Any
    weight: Any
    groups: np.ndarray | None
    baselines: bool
    random_state: Any
    confidence: float
    loss: Any
    certify: bool | str | None = None


@dataclass(frozen=True, eq=False)
class Slice:
    """Scores of some of the rows: all, one class, or one group.

    ``clean`` and ``attacked`` (one per radius) with their intervals; ``majority`` is what a model
    that ignores X would score, ``random`` (one per radius) what is left when rows move at random,
    ``certified``, ``at_most``, ``variation`` and ``variation_at_most`` (one per radius) what is
    proven, as in a RobustnessCurve.
    """

    part: str
    value: Any
    n_rows: int
    clean: float
    clean_interval: tuple[float, float]
    attacked: np.ndarray
    interval: np.ndarray
    majority: float | None
    random: np.ndarray | None
    certified: np.ndarray | None = None
    at_most: np.ndarray | None = None
    variation: np.ndarray | None = None
    variation_at_most: np.ndarray | None = None


@dataclass(eq=False)
class Measured:
    """All that a report knows of one model."""

    name: str
    estimator: Any
    curve: RobustnessCurve
    slices: list[Slice]
    first: np.ndarray  # per row: radius at which it was first found broken, inf if never
    smallest: np.ndarray  # per row: how far it must go at most
    nearest: np.ndarray  # per row: where it is broken then; of a regressor the worst place
    clean: Found
    worst: Found
    n_forward: float
    n_backward: float
    seconds: float
    source: str
    path: np.ndarray  # (n_radii, n): 1 where a row is right, or its loss
    features: Sensitivity | None = None
    findings: list[Finding] = field(default_factory=list)
    proof: Proven | None = None

    def right_or_loss(self, radius: float) -> dict[str, np.ndarray]:
        """Per row: whether it is right, clean and within one of the radii; of a regressor its losses."""
        k = int(np.flatnonzero(self.curve.radii == radius)[0])
        if self.curve.quantity == "accuracy":
            right = self.first > 0
            return {"clean accuracy": right, "robust accuracy": self.first > radius}
        return {"clean loss": self.clean.value, "robust loss": self.path[k]}


def measure(name: str, estimator: Any, settings: Settings) -> Measured:
    """Attack at all radii, each search going on from the rows of the one before."""
    began = time.perf_counter()
    evaluation = _evaluation(estimator, settings, settings.attack)
    generator = evaluation.generator(settings.random_state)
    found, path = evaluation.clean, []
    first = np.where(found.broken & evaluation.task.is_margin, 0.0, np.inf)
    for radius in settings.radii:
        found = evaluation.worst(float(radius), generator, start=found)
        first = np.where(np.isinf(first) & found.broken, radius, first)
        path.append(found)
    smallest, nearest = first, found.z
    if evaluation.task.is_margin:
        smallest, nearest = smallest_radius(evaluation, found, first)
    luck = _random_moves(estimator, settings) if settings.baselines else None
    rows = [per_row(one, evaluation.task.is_margin) for one in path]
    proof = proof_of(evaluation, settings.certify, settings.radii, np.array(rows))
    slices = _slices(evaluation, settings, path, luck, proof)
    return Measured(
        name=name,
        estimator=estimator,
        curve=_curve(evaluation, settings, slices[0], proof),
        slices=slices,
        first=first,
        smallest=smallest,
        nearest=nearest,
        clean=evaluation.clean,
        worst=found,
        n_forward=float(found.n_forward.mean()),
        n_backward=float(found.n_backward.mean()),
        seconds=time.perf_counter() - began,
        source=evaluation.task.view.source,
        path=np.array(rows),
        proof=proof,
    )


def weak_columns(estimator: Any, settings: Settings, radius: float, max_rows: int) -> Sensitivity:
    """What each column does alone at one radius."""
    return sensitivity(
        estimator,
        settings.X,
        settings.y,
        radius=radius,
        threat=settings.threat,
        loss=settings.loss,
        max_rows=max_rows,
        random=random_from(settings.random_state),
    )


def _evaluation(estimator: Any, settings: Settings, attack: Any) -> Evaluation:
    return Evaluation(
        estimator,
        settings.X,
        settings.y,
        threat=settings.threat,
        attack=attack,
        sample_weight=settings.weight,
        loss=settings.loss,
    )


def _random_moves(estimator: Any, settings: Settings) -> list[np.ndarray]:
    """Per radius and row: how good the row is, on average, at five random places."""
    evaluation = _evaluation(estimator, settings, "noise")
    generator = evaluation.generator(settings.random_state)
    found = []
    for radius in settings.radii:
        draws = [_at_random(evaluation, float(radius), generator) for _ in range(5)]
        found.append(np.mean(draws, axis=0))
    return found


def _at_random(evaluation: Evaluation, radius: float, generator) -> np.ndarray:
    """The rows at a random place, good or bad; wrong rows may become right there."""
    x = to_tensor(evaluation.rows.values, device=generator.device)
    z = evaluation.threat.region(x, radius).sample(generator) if radius else x
    verdict = judge(evaluation, to_numpy(z))
    return _good(verdict.broken, verdict.value, evaluation.task.is_margin)


def _good(broken: np.ndarray, value: np.ndarray, accuracy: bool) -> np.ndarray:
    return 1.0 - broken if accuracy else value


def _curve(evaluation, settings: Settings, whole: Slice, proof: Proven | None) -> RobustnessCurve:
    return RobustnessCurve(
        radii=settings.radii,
        clean=whole.clean,
        attacked=whole.attacked,
        certified=whole.certified,
        interval=whole.interval,
        majority=evaluation.task.majority(evaluation.weight),
        confidence=settings.confidence,
        quantity="accuracy" if evaluation.task.is_margin else "loss",
        at_most=whole.at_most,
        variation=whole.variation,
        variation_at_most=whole.variation_at_most,
        method="" if proof is None else proof.method,
    )


def _slices(evaluation, settings: Settings, path, luck, proof) -> list[Slice]:
    """All rows, then each class, then each group."""
    masks = [("all", "all", np.ones(len(evaluation.weight), dtype=bool))]
    if evaluation.task.is_margin:
        masks += [("class", label, settings.y == label) for label in np.unique(settings.y)]
    if settings.groups is not None:
        masks += [("group", g, settings.groups == g) for g in np.unique(settings.groups)]
    weighted = [(part, value, mask & (evaluation.weight > 0)) for part, value, mask in masks]
    return [
        _slice(evaluation, settings, path, luck, proof, part, value, mask)
        for part, value, mask in weighted
        if mask.any()
    ]


def _slice(evaluation, settings: Settings, path, luck, proof, part, value, mask) -> Slice:
    accuracy, weight = evaluation.task.is_margin, evaluation.weight[mask]
    rows = np.array([per_row(f, accuracy) for f in (evaluation.clean, *path)])
    means = [float(np.average(values[mask], weights=weight)) for values in rows]
    options = evaluation.weight, accuracy, settings.confidence, mask
    majority = evaluation.task.majority(evaluation.weight) if part == "all" else None
    if part == "group" and accuracy:
        majority = majority_share(settings.y[mask], weight)
    random = None
    if luck is not None:
        random = np.array([np.average(values[mask], weights=weight) for values in luck])
    return Slice(
        part=part,
        value=value,
        n_rows=int(mask.sum()),
        clean=means[0],
        clean_interval=tuple(population(rows[:1], None, *options)["interval"][0]),
        attacked=np.array(means[1:]),
        majority=majority,
        random=random,
        **population(rows[1:], proof, *options),
    )


def example_rows(report: Any, model: Measured, at_most: int) -> np.ndarray:
    """Rows that were right and break first, by number; of a regressor those that lose most."""
    if model.curve.quantity == "accuracy":
        reached = (model.first > 0) & np.isfinite(model.first)
        order = np.argsort(model.smallest, kind="stable")
        return order[reached[order]][:at_most]
    growth = model.worst.value - model.clean.value
    order = np.argsort(-growth, kind="stable")
    return order[growth[order] > 0][:at_most]


def moved_rows(report: Any, model: Measured, rows: np.ndarray) -> tuple[Any, Any]:
    """Those rows as they were given and as they were moved, in the user's own container."""
    settings = report.settings
    known = Rows(settings.X, settings.threat.categories).categories
    given = take_rows(settings.X, rows)
    return given, Rows(given, known).like_given(model.nearest[rows])
