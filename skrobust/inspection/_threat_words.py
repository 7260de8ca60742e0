"""A threat and a radius in words: what may move, by how much, in the units of the columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust._torch import to_numpy, to_tensor
from skrobust.inspection._words import number
from skrobust.metrics._rows import Rows

__all__ = ["frozen_columns", "norm_of", "steps_of", "threat_in_words"]

ADDS_UP = {
    "linf": "each entry of a row may move by at most that much, all of them at once (largest movement)",
    "l2": "the euclidean length of the movement of a row is at most that",
    "l1": "the movements of all entries of a row add up to at most that",
}
NORMS = {"linf": "largest movement (linf)", "l2": "euclidean length (l2)", "l1": "sum (l1)"}
MANY = 40  # columns that are listed one by one


def threat_in_words(threat: Any, X: Any, radii: np.ndarray) -> list[str]:
    """Sentences, without full stops missing and without formulas."""
    region, names, x = _region(threat, X)
    norm = norm_of(region)
    said = [
        f"Radius {_list(f'{radius:g}' for radius in radii)}, in steps: "
        f"{ADDS_UP.get(norm, f'as {threat!r} says')}."
    ]
    scale = steps_of(threat, X)
    if np.ptp(scale) == 0:
        said.append(f"One step is {number(float(scale.flat[0]))} in the units of the rows.")
    elif scale.ndim == 1:
        said.append("One step differs from column to column; the table below gives it.")
    else:
        said.append(f"One step is {number(float(scale.min()))} to {number(float(scale.max()))}.")
    said += _limits(threat, region, names, x)
    return said


def _limits(threat: Any, region: Any, names: list[str], x: np.ndarray) -> list[str]:
    said = []
    held = frozen_columns(threat, x, names)
    if held:
        said.append(f"Frozen, so never moved: {_list(held)}.")
    for option, words in (
        ("direction", "Move one way only: {}."),
        ("bounds", "Rows stay within the bounds given or learned from training rows."),
        ("integer", "Some columns stay whole numbers."),
        ("levels", "Some columns keep to a list of values."),
        ("groups", "One-hot columns change as a group; a change of category has no length."),
        ("categorical", "Some columns of categories may change; a change has no length."),
        ("band", "Series move by slow waves only."),
        ("repair", "Some columns are computed anew from the others after each move."),
    ):
        value = getattr(threat, option, None)
        if _is_given(value):
            said.append(words.format(_ways(value, names)) if "{}" in words else words)
    return said


def _is_given(option: Any) -> bool:
    if isinstance(option, np.ndarray):
        return bool(option.any())
    return (
        option is not None
        and option is not False
        and not (hasattr(option, "__len__") and len(option) == 0)
    )


def _ways(direction: dict, names: list[str]) -> str:
    return _list(
        f"{names[k] if isinstance(k, (int, np.integer)) else k} ({way})"
        for k, way in direction.items()
    )


def frozen_columns(threat: Any, x: np.ndarray, names: list[str]) -> list[str]:
    """Columns (channels) that no row can move in."""
    region = threat.region(to_tensor(x), 1.0)
    low, high = (to_numpy(end.expand_as(region.x)) for end in (region.low, region.high))
    moves = (high > low).reshape(*x.shape[:2], -1).any(axis=(0, 2))
    known = ~np.isnan(x).reshape(*x.shape[:2], -1).all(axis=(0, 2))
    return [names[j] for j in np.flatnonzero(~moves & known)]


def steps_of(threat: Any, X: Any) -> np.ndarray:
    """Units of X in one step, in the shape of a row."""
    region, _, x = _region(threat, X)
    return np.broadcast_to(to_numpy(region.scale).astype(np.float64), (1, *x.shape[1:]))[0]


def norm_of(region: Any) -> str:
    """The name of the norm; that of the class for threats of another kind."""
    norm = getattr(getattr(region, "ball", region), "norm", None)
    return getattr(norm, "name", type(region).__name__)


def _region(threat: Any, X: Any):
    from skrobust.inspection._rows import feature_names

    rows = Rows(X, threat.categories)
    held = threat.holding(sorted(rows.categories))
    names = feature_names(X, rows.values.shape[1])
    return held.region(to_tensor(rows.values), 1.0), names, rows.values


def _list(words: Any) -> str:
    words = [str(word) for word in words]
    if len(words) > MANY:
        words = [*words[:MANY], f"and {len(words) - MANY} more"]
    return ", ".join(words) if words else "none"
