"""What each row costs each candidate of a business case, and means over resampled rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skrobust.exceptions import UnsupportedEstimatorError, invalid
from skrobust.risk._money import Range, check_range
from skrobust.risk._rows import RowCosts, row_costs

__all__ = ["Question", "by_class", "means_of", "measure", "proven_means", "resampled"]


class Question(NamedTuple):
    """What all candidates are asked."""

    X: Any
    y: Any
    cost_matrix: Any
    radius: Range | None
    exposed: Any
    certify: bool | str
    options: dict[str, Any]

    def checked(self) -> Question:
        if self.certify not in (True, False, "auto"):
            raise invalid("certify", self.certify, 'True, False or "auto"')
        radius = None if self.radius is None else check_range("radius", self.radius, low=0)
        rate = 1.0 if self.exposed is None else dict.fromkeys(self.exposed, 1.0)
        return self._replace(radius=radius, options=dict(self.options, attack_rate=rate))


def measure(candidates: Any, question: Question) -> dict[str, dict[str, RowCosts]]:
    """Costs of the rows at the likely radius, and at the ends where there is a range.

    ``{"likely": {name: RowCosts}, "low": ..., "high": ...}``
    """
    found: dict[str, dict[str, RowCosts]] = {"likely": {}}
    for name, candidate in candidates.items():
        likely = found["likely"][str(name)] = _likely(candidate, question)
        if question.radius is None or question.radius.known or _is_measured(candidate):
            continue
        for end, keep in (("low", np.minimum), ("high", np.maximum)):
            costs = _search(candidate, question, getattr(question.radius, end), "attacked")
            # what a smaller radius found is there at a larger one
            worst = keep(costs.attacked, likely.attacked)
            found.setdefault(end, {})[str(name)] = _with(costs, worst, None)
    sizes = sorted({len(costs.clean) for costs in found["likely"].values()})
    if len(sizes) > 1 or sizes[0] < 2:
        raise invalid("candidates", sizes, "measured on the same rows, two or more, in one order")
    if any(len(costs) < len(candidates) for costs in found.values()):  # some were measured before
        found = {"likely": found["likely"]}
    return found


def _likely(candidate: Any, question: Question) -> RowCosts:
    if _is_measured(candidate):
        return _given(candidate)
    needed = ("X", "y", "cost_matrix", "radius")
    for what in needed:
        if getattr(question, what) is None:
            raise invalid(what, None, "given, where a candidate is an estimator")
    bounds = ("both", "attacked") if question.certify else ("attacked",)
    try:
        return _search(candidate, question, question.radius.likely, bounds[0])
    except UnsupportedEstimatorError:
        if question.certify != "auto":
            raise
        return _search(candidate, question, question.radius.likely, bounds[1])


def _search(candidate: Any, question: Question, radius: float, bound: str) -> RowCosts:
    costs = row_costs(
        candidate,
        question.X,
        question.y,
        cost_matrix=question.cost_matrix,
        radius=radius,
        bound=bound,
        **question.options,
    )
    return _exposed_only(costs)


def _is_measured(candidate: Any) -> bool:
    return isinstance(candidate, (RowCosts, tuple))


def _given(candidate: Any) -> RowCosts:
    """Costs that the user brings: RowCosts, or (clean, attacked[, certified])."""
    if isinstance(candidate, RowCosts):
        if candidate.attacked is None:
            raise invalid("candidates", candidate, "costs that have been attacked, too")
        return _exposed_only(candidate)
    arrays = [np.asarray(part, dtype=np.float64) for part in candidate]
    shapes = {part.shape for part in arrays}
    if len(arrays) not in (2, 3) or len(shapes) != 1 or arrays[0].ndim != 1:
        raise invalid("candidates", candidate, "(clean, attacked[, certified]), each of shape (n,)")
    clean, attacked, *proven = arrays
    if not all(np.isfinite(part).all() for part in arrays) or (attacked < clean).any():
        raise invalid("candidates", candidate, "finite costs, under attack no lower than without")
    ones = np.ones(len(clean))
    return RowCosts(
        clean, attacked, proven[0] if proven else None, ones, ones, np.full(len(ones), -1)
    )


def _exposed_only(costs: RowCosts) -> RowCosts:
    """Rows that nobody attacks cost under attack what they cost without."""
    worst = [
        None if part is None else (1 - costs.rate) * costs.clean + costs.rate * part
        for part in (costs.attacked, costs.certified)
    ]
    return _with(costs, *worst)


def _with(costs: RowCosts, attacked: np.ndarray, certified: np.ndarray | None) -> RowCosts:
    return RowCosts(costs.clean, attacked, certified, costs.rate, costs.weight, costs.decision)


def _table(costs: dict[str, RowCosts]) -> tuple[np.ndarray, np.ndarray]:
    """Costs of the rows (n, n_candidates, 2), and their weights."""
    parts = [np.stack([c.clean, c.attacked], axis=1) for c in costs.values()]
    return np.stack(parts, axis=1), next(iter(costs.values())).weight


def means_of(costs: dict[str, RowCosts]) -> np.ndarray:
    values, weight = _table(costs)
    return np.average(values, axis=0, weights=weight)


def proven_means(costs: dict[str, RowCosts]) -> np.ndarray:
    """Mean cost under attack that no attack exceeds, NaN where nothing is proven."""
    return np.array(
        [
            np.nan if c.certified is None else np.average(c.certified, weights=c.weight)
            for c in costs.values()
        ]
    )


def resampled(costs: dict[str, RowCosts], times: int, random: np.random.RandomState) -> np.ndarray:
    values, weight = _table(costs)
    n, shape = len(values), values.shape[1:]
    flat, found = values.reshape(n, -1), []
    for _ in range(times):
        count = weight * np.bincount(random.randint(n, size=n), minlength=n)
        found.append((count @ flat / max(count.sum(), 1e-300)).reshape(shape))
    return np.array(found)


def by_class(costs: dict[str, RowCosts], y: Any) -> dict[Any, np.ndarray]:
    """What the rows of each true class add to the means; {} for numbers and many classes."""
    if y is None:
        return {}
    labels, (values, weight) = np.asarray(y), _table(costs)
    classes = np.unique(labels[labels == labels])
    if labels.shape != weight.shape or not 2 <= len(classes) <= 5:
        return {}
    share = weight / weight.sum()
    return {
        label: np.tensordot(share * (labels == label), values, axes=1) for label in classes.tolist()
    }
