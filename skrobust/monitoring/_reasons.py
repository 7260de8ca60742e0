"""Why an alarm was raised, which columns did it, since when, and what to do next."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from skrobust.monitoring._sequential import SIDES, bets, effect_of
from skrobust.monitoring._setup import Setup

__all__ = ["CAUSES", "Reason", "explain", "number", "start_of"]

# cause: (what to do, in one word; in a sentence). What may explain others comes first.
CAUSES = {
    "sensor failure": (
        "repair",
        "Look at the source of the column first. Don't retrain on these rows: the model would "
        "learn the fault.",
    ),
    "attack campaign": (
        "relabel",
        "Look at the flagged rows, block their source, have them labelled, and retrain on them.",
    ),
    "covariate shift": (
        "relabel",
        "Have the flagged and some recent rows labelled: a shift does harm only where the error "
        "grows. If it does, retrain on the new rows; if not, wait and start over with a reference "
        "of recent rows.",
    ),
    "prediction shift": (
        "relabel",
        "The answers have moved while no single column has: have recent rows labelled.",
    ),
    "margin shrinkage": (
        "retrain",
        "More rows lie near the boundary. Label them (frame('rows') has them) and retrain with a "
        "radius no smaller than now; until then treat unsure answers with care.",
    ),
    "concept drift": (
        "retrain",
        "The same rows have other answers now. Retrain on recent labelled rows, and compare with "
        "compare() before the swap.",
    ),
    "calibration loss": (
        "relabel",
        "Probabilities no longer mean what they say. Recalibrate on recent labelled rows; thresholds "
        "set on the reference are off until then.",
    ),
}
OF_GROUP = {
    "input": "covariate shift",
    "output": "prediction shift",
    "margin": "margin shrinkage",
    "suspicion": "attack campaign",
    "error": "concept drift",
    "robust error": "concept drift",
    "calibration": "calibration loss",
}
FEWER = 8  # looks of which a stuck column is told


class Reason(str):
    """A sentence, with its parts as attributes.

    Attributes
    ----------
    cause : str
        "covariate shift", "sensor failure", "prediction shift", "margin shrinkage", "attack
        campaign", "concept drift" or "calibration loss".
    features : tuple of str
        The columns (or streams) that did it.
    effect : float
        How far their recent values are from the reference, 0 to 1: the largest difference of two
        cumulative distributions.
    since : int
        Number of rows given before the change began, as estimated: until the last look before it.
    action : str
        "wait", "relabel", "retrain", "repair" or "widen the radius".
    advice : str
        What to do next, in a sentence or two.
    """

    cause: str
    features: tuple[str, ...]
    effect: float
    since: int
    action: str
    advice: str

    def __new__(cls, text: str, **parts: Any) -> Reason:
        reason = super().__new__(cls, text)
        reason.__dict__.update(parts)
        reason.features = tuple(reason.features)
        return reason

    def __getnewargs_ex__(self):
        return (str(self),), self.__dict__

    def to_json(self) -> str:
        return json.dumps({"text": str(self), **self.__dict__, "features": list(self.features)})

    @classmethod
    def from_json(cls, text: str) -> Reason:
        return cls(**json.loads(text))


def number(value: float) -> str:
    """
    >>> number(0.123456), number(41.42), number(123456.7)
    ('0.123', '41.4', '123,457')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def explain(
    setup: Setup,
    numbers: np.ndarray,
    cells: np.ndarray,
    before: np.ndarray,
    k: int,
    pushed: float,
    radius: float,
) -> Reason:
    """The reason of stream ``k``, of whose looks there are ``numbers`` (n_looks, 5) and ``cells``.

    ``before``: rows given before each look. ``pushed`` is how many times the radius the suspicious rows seem
    to have been moved.
    """
    stream = setup.streams[k]
    side = SIDES.index(stream.side)
    start = start_of(cells, side)
    after = numbers[start:]
    mean = float(np.average(after[:, 1], weights=after[:, 0])) if len(after) else float("nan")
    since = int(before[start])
    cause, words = OF_GROUP[stream.group], ""
    if stream.group == "input":
        cause, words = _of_column(setup, k, numbers, mean)
    elif stream.group == "suspicion":
        words = "more rows than before lie off the data in the direction that fools the model"
    elif stream.needs_labels:
        words = f"{stream.name} went from {number(setup.center[k])} to {number(mean)}"
        if cause == "concept drift":
            words = f"{_pace(numbers, setup.center[k])}: {words}"
    elif stream.is_category:
        words = "the shares of the answers have moved"
    else:
        words = f"its mean went from {number(setup.center[k])} to {number(mean)}"
    effect = effect_of(cells, side)
    action, advice = CAUSES[cause]
    if cause == "attack campaign" and pushed > 1.1:
        action = "widen the radius"
        advice += (
            f" They seem to have been moved by about {number(pushed * radius)} steps: "
            f"widen the radius from {number(radius)} to that when you retrain."
        )
    text = f"{cause} in {stream.name!r}: {words} (since about row {since})"
    return Reason(
        text, cause=cause, features=(stream.name,), effect=effect, since=since, action=action,
        advice=advice,
    )  # fmt: skip


def _of_column(setup: Setup, k: int, numbers: np.ndarray, mean: float) -> tuple[str, str]:
    """Stuck, gone, or moved."""
    recent = numbers[-FEWER:]
    for length in (1, 2, 4, FEWER):  # the fault may be young
        part = numbers[-length:]
        mode = float(np.average(part[:, 3], weights=part[:, 0]))
        gone = float(np.average(part[:, 2], weights=part[:, 0]))
        if gone > setup.missing[k] + 0.2:
            return "sensor failure", (
                f"{gone:.0%} of its values are missing ({setup.missing[k]:.0%} in the reference)"
            )
        # a repeated value is no news in columns that know few of them
        if not setup.bins[k].is_category and mode > 0.3 + 1.5 * setup.mode[k] and mode > 0.5:
            return "sensor failure", (
                f"it is stuck: {mode:.0%} of its values are the same ({setup.mode[k]:.0%} in the "
                "reference)"
            )
    if setup.bins[k].is_category:
        return "covariate shift", "the shares of its values have moved"
    gap = mean - setup.center[k]
    if abs(gap) < 1e-12 or not len(recent):
        return "covariate shift", "its distribution has changed"
    return "covariate shift", f"its mean went from {number(setup.center[k])} to {number(mean)}"


def start_of(cells: np.ndarray, side: int) -> int:
    """The look since which some one bet has made most: the likeliest beginning of the change."""
    logs, weights = bets()
    made = (cells @ logs[np.isfinite(weights[side])].T)[::-1].cumsum(axis=0)[::-1]
    return int(np.argmax(made.max(axis=1)))


def _pace(numbers: np.ndarray, before: float) -> str:
    """Whether a step or a ramp from the reference explains the means of the looks better."""
    seen = numbers[:, 0] > 0
    mean, n = numbers[seen, 1], numbers[seen, 0]
    if len(mean) < 4:
        return "sudden"
    time = np.arange(len(mean), dtype=float)

    def misfit(shape: np.ndarray) -> float:
        size = (n * shape * (mean - before)).sum() / max((n * shape**2).sum(), 1e-12)
        return float((n * (mean - before - size * shape) ** 2).sum())

    steps = min(misfit((time >= s).astype(float)) for s in range(len(mean)))
    ramps = min(misfit(np.maximum(time - s, 0.0)) for s in range(-1, len(mean) - 2))
    return "gradual" if ramps < steps else "sudden"
