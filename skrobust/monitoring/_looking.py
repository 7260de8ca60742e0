"""What an update does with rows and labels that have come together: look, judge, raise alarms."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust.metrics._rows import Rows
from skrobust.monitoring._ledger import Ledger
from skrobust.monitoring._probe import Answers
from skrobust.monitoring._reasons import explain
from skrobust.monitoring._sequential import SIDES, effect_of
from skrobust.monitoring._setup import Setup, watch
from skrobust.monitoring._streams import label_values
from skrobust.monitoring._windows import State, looks, windows_of

__all__ = ["draw", "judge", "take_labels", "take_rows"]

LOOKS_BACK = 64
FEW = 0.4  # share of min_effect for streams where a change hits few rows
OF_FEW = ("suspicion", "error", "robust error")


def draw(n: int, at_most: int | None, random: np.random.Generator) -> np.ndarray:
    """Which rows of an update are looked at, in their order."""
    if at_most is None or n <= at_most:
        return np.arange(n)
    return np.sort(random.permutation(n)[:at_most])


def take_rows(monitor: Any, ledger: Ledger, state: State, rows: Rows) -> None:
    """All waiting rows, in windows."""
    setup, waiting = monitor._setup, ledger.waiting()
    labelled = any(stream.needs_labels for stream in setup.streams)
    seed = int(monitor._random(3, state.count["n_looks"]).integers(2**62))
    y = waiting.y if labelled else None
    values = waiting.values.astype(rows.values.dtype, copy=False)
    found = watch(setup, monitor.probe_, rows, values, waiting.outputs, y, seed)
    parts = windows_of(len(values), monitor.window)
    random_of = lambda number: monitor._random(4, number)
    records = looks(setup, state, found.values, found.seen, parts, random_of)
    for part, record in zip(parts, records, strict=True):
        state.count["n_watched"] += part.stop - part.start
        ledger.add_window(state, "rows", part.stop - part.start, record)
    known = np.isfinite(waiting.y.reshape(len(values), -1)).all(axis=1)
    state.count["n_judged"] += int(known.sum())
    ledger.looked(waiting.seq, found, found.suspicion >= setup.limit, known)
    if state.count["n_looks"] % 20 == 0:
        ledger.forget(monitor.keep_rows)


def take_labels(monitor: Any, ledger: Ledger, state: State, least: int) -> None:
    """Labels that came after their rows were looked at."""
    setup = monitor._setup
    places = [k for k, stream in enumerate(setup.streams) if stream.needs_labels]
    if not places or not state.count["n_labels"]:
        return
    seq, kept, y = ledger.unjudged()
    if len(seq) < least:
        return
    values = np.zeros((len(seq), len(setup.streams)))
    seen = np.zeros(values.shape, dtype=bool)
    values[:, places], seen[:, places] = _judged(setup.regression, kept, y), True
    parts = windows_of(len(seq), max(least, min(monitor.window, len(seq))))
    random_of = lambda number: monitor._random(4, number)
    records = looks(setup, state, values, seen, parts, random_of)
    for part, record in zip(parts, records, strict=True):
        ledger.add_window(state, "labels", part.stop - part.start, record)
    state.count["n_judged"] += len(seq)
    ledger.judged(seq)


def _judged(regression: bool, kept: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Errors from what was kept of each row."""
    near, distance, top, answer = kept[:, 0] > 0, kept[:, 1], kept[:, 4], kept[:, 5:]
    answers = Answers(
        answer if regression else answer[:, 0], answer if regression else top[:, None]
    )
    return label_values(regression, answers, near, distance, y)


def judge(monitor: Any, ledger: Ledger, state: State) -> None:
    """Alarms for streams whose evidence suffices and whose change is large enough."""
    setup, limit = monitor._setup, -np.log(monitor.false_alarm_rate)
    sure = (state.peak + setup.log_weights >= limit) & ~state.alarmed
    for k in np.flatnonzero(sure):
        _raise(monitor, ledger, state, int(k), monitor.min_effect)
    if state.peak_all >= limit and not state.alarmed.any() and not sure.any():
        # many small changes that only together suffice: name those that carry nine tenths
        shares = setup.log_weights + state.evidence.log_value()
        order = np.argsort(-shares)
        total = np.cumsum(np.exp(shares[order] - shares[order[0]]))
        for k in order[: int(np.searchsorted(total, 0.9 * total[-1])) + 1]:
            _raise(monitor, ledger, state, int(k), monitor.min_effect)


def _raise(monitor: Any, ledger: Ledger, state: State, k: int, least: float) -> None:
    setup = monitor._setup
    stream = setup.streams[k]
    records, given = ledger.records(k, LOOKS_BACK)
    if not records:
        return
    cells = np.array([record.cells[k] for record in records])
    least = least * FEW if stream.group in OF_FEW else least
    if effect_of(cells, SIDES.index(stream.side)) < least:
        return
    state.alarmed[k] = True
    if stream.group == "suspicion" and _inputs_moved(setup, state):
        return  # rows from elsewhere lie off the data by themselves
    pushed = ledger.pushed() if stream.group == "suspicion" else 0.0
    if stream.group == "calibration" and _errors_grew(ledger, least):
        # the model is wrong more often: that is the cause, and the errors tell it
        k = [stream.group for stream in setup.streams].index("error")
        if state.alarmed[k]:
            return
        state.alarmed[k] = True
        records, given = ledger.records(k, LOOKS_BACK)
    reason = explain(setup, records, given, k, pushed, float(monitor.radius))
    ledger.add_alarm(state, reason)


def _inputs_moved(setup: Setup, state: State) -> bool:
    moved = zip(setup.streams, state.alarmed, strict=True)
    return any(alarmed and stream.group == "input" for stream, alarmed in moved)


def _errors_grew(ledger: Ledger, least: float) -> bool:
    """Whether a loss of calibration is one of accuracy first of all."""
    k = [stream.group for stream in ledger.setup.streams].index("error")
    cells = [record.cells[k] for record in ledger.records(k, LOOKS_BACK)[0]]
    return effect_of(np.array(cells), SIDES.index("up")) >= least
