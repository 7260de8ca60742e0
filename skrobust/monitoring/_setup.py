"""What is learned from the reference rows, once: bins, pools, the shape of the data."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows
from skrobust.monitoring._bins import Bins, Coder, counted
from skrobust.monitoring._probe import Answers, Probe, Shape
from skrobust.monitoring._streams import (
    Stream,
    Watched,
    block_cuts,
    input_names,
    input_values,
    label_values,
    output_values,
    streams_of,
    suspicion_of,
)

__all__ = ["Setup", "coded_labels", "prepare", "watch"]

LEAST = 30  # reference rows
MOST = 20_000  # reference rows that are looked at
SUSPICIOUS = 0.99  # quantile of the reference from which a row is flagged
BATCH = 2000


@dataclass
class Setup:
    """Numbers and names that stay as they are for the whole life of a monitor.

    ``shape`` comes from one part of the reference, bins and the ranks of ``known`` from another, the
    pools from a third: so rows of the pools and rows to come are treated alike, whatever they are.
    """

    names: list[str]
    row_shape: tuple[int, ...]
    categories: dict[int, list]
    streams: list[Stream]
    bins: list[Bins]
    pools: np.ndarray
    center: np.ndarray  # mean of each stream in the reference
    mode: np.ndarray  # share of its most frequent value
    missing: np.ndarray  # share of missing values
    shape: Shape
    known: tuple[np.ndarray, np.ndarray]
    limit: float  # suspicion from which a row is flagged
    scaling: np.ndarray  # the rows that a threat with words is bound to
    response: str  # the method of the model that is asked
    classes: list | None  # None: a regressor
    _shapes: dict[bytes, Shape] = field(default_factory=dict, repr=False)

    def place(self, group: str) -> int:
        """The first stream of a group."""
        return [stream.group for stream in self.streams].index(group)

    def shape_without(self, broken: np.ndarray) -> Shape:
        """What off the data means where some columns (a mask) are left out."""
        key = np.packbits(broken).tobytes()
        if key not in self._shapes:
            self._shapes[key] = self.shape.without(broken)
        return self._shapes[key]

    def columns_of(self, streams: np.ndarray) -> np.ndarray | None:
        """Mask of the columns behind some input streams (a mask of all streams); None if none is."""
        if not streams.any():
            return None
        n = int(np.prod(self.row_shape))
        inputs = np.array([s.group == "input" for s in self.streams])
        chosen = np.asarray(streams, dtype=bool)[inputs]
        if not chosen.any():
            return None
        return chosen if len(chosen) == n else np.repeat(chosen, np.diff(block_cuts(n)))

    @property
    def regression(self) -> bool:
        return self.classes is None

    @cached_property
    def log_weights(self) -> np.ndarray:
        """Logarithms of the streams' shares of the false-alarm rate."""
        return np.log([stream.weight for stream in self.streams])

    @cached_property
    def is_labelled(self) -> bool:
        """Whether errors can be watched."""
        return any(stream.needs_labels for stream in self.streams)

    @cached_property
    def coder(self) -> Coder:
        return Coder.of(self.bins)

    def to_bytes(self) -> bytes:
        words = {
            "names": self.names,
            "row_shape": self.row_shape,
            "categories": {str(k): list(v) for k, v in self.categories.items()},
            "streams": [vars(stream) for stream in self.streams],
            "is_category": [b.is_category for b in self.bins],
            "limit": self.limit,
            "response": self.response,
            "classes": self.classes,
        }
        arrays = {f"edges{k}": b.edges for k, b in enumerate(self.bins)}
        arrays |= {f"shape{k}": part for k, part in enumerate(self.shape)}
        arrays |= {f"known{k}": part for k, part in enumerate(self.known)}
        for name in ("pools", "center", "mode", "missing", "scaling"):
            arrays[name] = getattr(self, name)
        file = io.BytesIO()
        np.savez_compressed(file, words=json.dumps(words), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Setup:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            read = {name: stored[name] for name in stored.files}
        words = json.loads(str(read["words"]))
        kinds = words["is_category"]
        return cls(
            names=words["names"],
            row_shape=tuple(words["row_shape"]),
            categories={int(k): list(v) for k, v in words["categories"].items()},
            streams=[Stream(**options) for options in words["streams"]],
            bins=[Bins(read[f"edges{k}"], kind) for k, kind in enumerate(kinds)],
            shape=Shape(*(read[f"shape{k}"] for k in range(3))),
            known=(read["known0"], read["known1"]),
            **{name: words[name] for name in ("limit", "response", "classes")},
            **{name: read[name] for name in ("pools", "center", "mode", "missing", "scaling")},
        )


def watch(
    setup: Setup,
    probe: Probe,
    rows: Rows,
    values: np.ndarray,
    outputs: Any = None,
    y: np.ndarray | None = None,
    seed: int = 0,
    close: np.ndarray | None = None,
    broken: np.ndarray | None = None,
    nearby: np.ndarray | None = None,
) -> Watched:
    """The values of all streams for some rows; ``y`` (coded, or numbers) has NaN where unknown.

    ``close``: numbers of the rows whose margin and suspicion are computed, None for all; ``broken``:
    a mask of columns that suspicion leaves out; ``nearby``: scores at places close to those rows, if they
    were asked for with ``outputs``.
    """
    n, there = len(values), np.zeros(len(values), dtype=bool)
    some = slice(None) if close is None else close
    if outputs is None:
        answers, nearby = _asked_once(probe, rows, values, probe.places(values[some], seed))
    else:
        answers = probe.answers(values, outputs)
    if y is not None:
        there = np.isfinite(y.reshape(n, -1)).all(axis=1)
    part = Answers(*(field[some] for field in answers))
    margins = probe.margins(values[some], rows, part, seed, there[some], nearby)
    shape = setup.shape if broken is None else setup.shape_without(broken)
    suspicion, _, pushed = suspicion_of(values[some], margins, shape, setup.known)
    near, distance, suspicion, pushed = (
        _spread(field, close, n) for field in (margins.near, margins.distance, suspicion, pushed)
    )
    reach = -distance if probe.regression else distance
    columns = [input_values(values), output_values(probe, answers), reach, suspicion]
    seen = np.ones((n, len(setup.streams)), dtype=bool)
    if y is not None:
        columns.append(label_values(probe.regression, answers, near, reach, y))
    for k, stream in enumerate(setup.streams):
        if stream.needs_labels:
            seen[:, k] = there
        if stream.needs_margins:
            seen[:, k] &= np.isfinite(near if stream.needs_labels else distance)
    found = np.column_stack(columns)
    return Watched(found, seen[:, : found.shape[1]], answers, near, distance, suspicion, pushed)


def _asked_once(
    probe: Probe, rows: Rows, values: np.ndarray, places: np.ndarray | None
) -> tuple[Answers, np.ndarray | None]:
    """Answers of rows, and scores at other places, in one call of the model."""
    if places is None:
        return probe.answers(rows.wrap(values)), None
    both = probe.answers(rows.wrap(np.concatenate([values, places])))
    return Answers(*(field[: len(values)] for field in both)), both.score[len(values) :]


def _spread(values: np.ndarray, close: np.ndarray | None, n: int) -> np.ndarray:
    """Values of rows ``close`` among NaN for the others."""
    if close is None:
        return values
    found = np.full(n, np.nan)
    found[close] = values
    return found


def prepare(
    probe: Probe, rows: Rows, y: np.ndarray | None, names: list[str], random: np.random.Generator
) -> Setup:
    """Learn from held-out rows ``rows``; ``y`` is coded."""
    n = len(rows)
    if n < LEAST:
        raise invalid(
            "X_reference", f"<{n} rows>", f"at least {LEAST} rows",
            "Everything is judged by ranks among them: give hundreds, better thousands, of held-out "
            "rows.",
        )  # fmt: skip
    order = random.permutation(n)[:MOST]
    part = min(len(order) // 6, 1500)
    first, second, third = order[:part], order[part : 2 * part], order[2 * part :]
    values = rows.values
    shape = Shape.of(values[first])
    answers = probe.answers(rows.wrap(values[second]))
    probe.check(values)
    margins = probe.margins(values[second], rows, answers, 0)
    _, off, _ = suspicion_of(values[second], margins, shape, None)
    n_outputs = answers.answer.shape[1] if probe.regression else 1
    columns = input_names(names)
    categories = set(rows.categories) if len(columns) == len(names) else set()
    streams = streams_of(columns, categories, probe, n_outputs, y is not None)
    setup = Setup(
        names, values.shape[1:], dict(rows.categories), streams, [], None, None, None, None,
        shape, (np.sort(off), np.sort(margins.distance)), np.inf, values[first], probe.response, probe.classes,
    )  # fmt: skip
    label = (lambda index: None) if y is None else (lambda index: y[index])
    seen = watch(setup, probe, rows, values[second], None, label(second)).values
    setup.bins = [Bins.of(seen[:, k], s.is_category) for k, s in enumerate(streams)]
    parts = [third[low : low + BATCH] for low in range(0, len(third), BATCH)]
    found = [watch(setup, probe, rows, values[p], None, label(p)) for p in parts]
    return _with_pools(setup, *(np.concatenate([getattr(w, a) for w in found]) for a in SEEN))


SEEN = ("values", "seen")


def _with_pools(setup: Setup, values: np.ndarray, seen: np.ndarray) -> Setup:
    setup.pools = counted(setup.bins, setup.coder.codes(values, seen))
    with np.errstate(all="ignore"):
        setup.center = np.array([_mean(values[s, k]) for k, s in enumerate(seen.T)])
    setup.missing = np.array([np.isnan(values[s, k]).mean() for k, s in enumerate(seen.T)])
    setup.mode = np.array([_mode(values[s, k]) for k, s in enumerate(seen.T)])
    setup.limit = float(np.quantile(values[:, setup.place("suspicion")], SUSPICIOUS))
    return setup


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _mode(values: np.ndarray) -> float:
    """Share of the most frequent value."""
    _, times = np.unique(values, return_counts=True)
    return float(times.max() / len(values)) if len(values) else 0.0


def coded_labels(model: Probe | Setup, y: Any, n: int) -> tuple[np.ndarray, list]:
    """Labels as class numbers (or values), NaN where they are missing; and as they were given."""
    given = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if given.shape[:1] != (n,):
        raise ValueError(f"y has {given.shape[0] if given.ndim else 0} labels, X has {n} rows.")
    plain = given.tolist()
    missing = np.array([_is_missing(label) for label in plain])
    if model.regression:
        values = np.array([np.nan if m else v for v, m in zip(plain, missing, strict=True)])
        return values.astype(np.float64), plain
    if given.ndim > 1:
        raise invalid("y", f"<array of shape {given.shape}>", f"one label per row, shape ({n},)")
    codes = np.where(missing, np.nan, 0.0)
    codes[~missing] = _class_codes(model, [v for v, m in zip(plain, missing, strict=True) if not m])
    # 1.0, as labels with gaps come, is class 1
    known = [
        model.classes[int(code)] if code >= 0 else v for code, v in zip(codes, plain, strict=True)
    ]
    return codes, known


def _class_codes(model: Probe | Setup, labels: list) -> np.ndarray:
    place = {label: k for k, label in enumerate(model.classes)}
    return np.array([place.get(label, -1) for label in labels], dtype=np.float64)


def _is_missing(label: Any) -> bool:
    if isinstance(label, list):
        return any(map(_is_missing, label))
    return label is None or type(label).__name__ == "NAType" or label != label
