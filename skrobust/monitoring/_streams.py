"""The streams that are watched: columns, answers, margins, suspicion, and errors where labels come."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skrobust.monitoring._probe import Answers, Margins, Probe, Shape

__all__ = [
    "MANY",
    "SHARES",
    "Stream",
    "Watched",
    "block_cuts",
    "input_names",
    "input_values",
    "label_values",
    "output_values",
    "streams_of",
    "suspicion_of",
]

MANY = 128  # columns; images and long series are watched through means of neighbouring ones
BLOCKS = 64
# How the false-alarm rate is divided; a group that is not there leaves its share to the others.
SHARES = {
    "input": 0.35,
    "output": 0.15,
    "margin": 0.10,
    "suspicion": 0.15,
    "error": 0.10,
    "robust error": 0.05,
    "calibration": 0.10,
}


@dataclass(frozen=True)
class Stream:
    """One number per row that is watched.

    ``side``: "both", or "up" / "down" where only that is bad.
    """

    name: str
    group: str
    side: str = "both"
    is_category: bool = False
    weight: float = 1.0

    @property
    def needs_margins(self) -> bool:
        return self.group in ("margin", "suspicion", "robust error")

    @property
    def needs_labels(self) -> bool:
        return self.group in ("error", "robust error", "calibration")


@dataclass(frozen=True)
class Watched:
    """Values (n, n_streams) and which of them are there, and what is kept of each row.

    What was not asked for is NaN.
    """

    values: np.ndarray
    seen: np.ndarray
    answers: Answers
    near: np.ndarray
    distance: np.ndarray
    suspicion: np.ndarray
    pushed: np.ndarray

    @property
    def top(self) -> np.ndarray:
        return self.answers.score.max(axis=1)


def streams_of(
    names: list[str], categories: set[int], probe: Probe, n_outputs: int, labelled: bool
) -> list[Stream]:
    """All streams, with the weights that divide the false-alarm rate among them."""
    found = [Stream(name, "input", "both", k in categories) for k, name in enumerate(names)]
    if probe.regression:
        found += [Stream(f"prediction {k}".removesuffix(" 0"), "output") for k in range(n_outputs)]
        found += [Stream("sensitivity", "margin", "up")]
    else:
        found += [Stream("prediction", "output", "both", True), Stream("confidence", "output")]
        found += [Stream("margin", "margin", "down")]
    found += [Stream("suspicion", "suspicion", "up")]
    if labelled:
        found += [Stream("error", "error", "up"), Stream("robust error", "robust error", "up")]
        found += [Stream("residual" if probe.regression else "overconfidence", "calibration")]
    total = sum(SHARES[group] for group in {s.group for s in found})
    sizes = {group: sum(s.group == group for s in found) for group in SHARES}
    return [
        Stream(s.name, s.group, s.side, s.is_category, SHARES[s.group] / total / sizes[s.group])
        for s in found
    ]


def input_values(values: np.ndarray) -> np.ndarray:
    """The columns (n, d), or means of neighbouring columns where they are many."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    if flat.shape[1] <= MANY:
        return flat
    cuts = block_cuts(flat.shape[1])
    present = np.isfinite(flat)
    sums = np.add.reduceat(np.where(present, flat, 0.0), cuts[:-1], axis=1)
    sizes = np.add.reduceat(present.astype(float), cuts[:-1], axis=1)
    with np.errstate(invalid="ignore"):
        return sums / np.where(sizes > 0, sizes, np.nan)


def block_cuts(n: int) -> np.ndarray:
    """Where the blocks of ``n`` columns begin, and the end."""
    return np.linspace(0, n, BLOCKS + 1).astype(int)


def input_names(names: list[str]) -> list[str]:
    """Names of what :func:`input_values` gives."""
    if len(names) <= MANY:
        return names
    cuts = block_cuts(len(names))
    return [f"{names[a]}..{names[b - 1]}" for a, b in pairwise(cuts)]


def output_values(probe: Probe, answers: Answers) -> np.ndarray:
    if probe.regression:
        return answers.answer
    return np.column_stack([answers.answer.astype(float), answers.score.max(axis=1)])


def suspicion_of(
    values: np.ndarray, margins: Margins, shape: Shape, known: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(suspicion, how far off the data, how many times the radius it seems to have been moved).

    ``-log P(off the data so far) - log P(so near the boundary)`` by the shares among ``known``
    reference rows. Off the data means: in the very direction that an attacker would have pushed the
    row to get its present answer (of a regressor without a gradient: in any direction). Of a classifier
    without a gradient it is ``-log P(the score falls so much at random places close by)``.
    """
    none = np.zeros(len(values))
    if margins.drop is not None:
        off, pushed = margins.drop, none
    elif margins.push is None:
        off, pushed = shape.length(values), none
    else:
        off, pushed = shape.along(values, margins.push)
    if known is None:
        return none, off, pushed
    far, near = known  # sorted
    rarer = (len(far) - np.searchsorted(far, off, side="left") + 1) / (len(far) + 1)
    if margins.drop is not None:
        return -np.log(rarer), off, pushed
    nearer = (np.searchsorted(near, margins.distance, side="right") + 1) / (len(near) + 1)
    return -np.log(rarer) - np.log(nearer), off, pushed


def label_values(regression: bool, answers: Answers, near, reach, y: np.ndarray) -> np.ndarray:
    """(error, robust error, calibration) of rows whose label is known.

    Classification: wrong or not; wrong or within one step of it; confidence minus right or not.
    Regression: absolute error, that plus how far the output moves within the radius, signed error.
    """
    if regression:
        signed = answers.answer - y.reshape(answers.answer.shape)
        error = np.abs(signed).mean(axis=1)
        return np.column_stack([error, error + np.nan_to_num(reach), signed.mean(axis=1)])
    wrong = answers.answer != y
    top = answers.score.max(axis=1)
    return np.column_stack([wrong, wrong | (near > 0), top - ~wrong]).astype(float)
