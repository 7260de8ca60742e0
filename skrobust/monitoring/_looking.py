"""What an update does with rows and labels that have come together: look, judge, raise alarms."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust.metrics._rows import Rows
from skrobust.monitoring._ledger import Batch, Ledger
from skrobust.monitoring._probe import Answers
from skrobust.monitoring._reasons import explain, start_of
from skrobust.monitoring._sequential import SIDES, is_sure
from skrobust.monitoring._setup import Setup, watch
from skrobust.monitoring._streams import label_values
from skrobust.monitoring._windows import Record, State, looks, windows_of

__all__ = ["close_rows", "draw", "gate_of", "judge", "take_labels", "take_rows"]

LOOKS_BACK = 64
FEW = 0.25  # share of min_effect for streams where a change hits few rows
OF_FEW = ("suspicion", "error", "robust error")


def draw(n: int, at_most: int | None, random: np.random.Generator) -> np.ndarray | None:
    """Which of n rows are taken, in their order; None: all."""
    if at_most is None or n <= at_most:
        return None
    return np.sort(random.choice(n, at_most, replace=False, shuffle=False))


def close_rows(monitor: Any, n: int, look: int) -> tuple[int, np.ndarray | None]:
    """A seed, and which of the n rows of look number ``look`` are looked at closely (None: all)."""
    random = monitor._random(3, look)
    return int(random.integers(2**62)), draw(n, monitor._max_close, random)


def take_rows(monitor: Any, ledger: Ledger, state: State, batch: Batch, rows: Rows) -> None:
    """All waiting rows, in windows."""
    setup, probe, n = monitor._setup, monitor.probe_, len(batch)
    known = batch.known
    labelled = setup.is_labelled and known.any()
    seed, close = close_rows(monitor, n, state.count["n_looks"])
    nearby = batch.nearby
    if nearby is not None and nearby.look != state.count["n_looks"]:
        nearby = None  # somebody else has looked since it was asked for: it is of other rows
    found = watch(
        setup, probe, rows, batch.values.astype(rows.values.dtype, copy=False), batch.outputs,
        batch.labels if labelled else None,
        seed=seed, close=close, broken=setup.columns_of(state.alarmed),
        nearby=None if nearby is None else nearby.scores,
    )  # fmt: skip
    parts = windows_of(n, monitor.window)
    records = _looks(monitor, state, found.values, found.seen, parts)
    given = np.full(n, state.count["n_given"]) if batch.given is None else batch.given
    seen = [(part.stop - part.start, given[part.stop - 1]) for part in parts]
    ledger.add_windows(state.count["n_looks"] - len(parts) + 1, "rows", seen, records)
    state.count["n_watched"] += n
    state.count["n_judged"] += int(known.sum())
    ledger.looked(batch, found, found.suspicion >= setup.limit)
    if state.count["n_looks"] % 20 < len(parts):
        ledger.forget(monitor.keep_rows)


def _looks(monitor: Any, state: State, values, seen, parts: list[slice]) -> list[Record]:
    return looks(
        monitor._setup, state, values, seen, parts, lambda number: monitor._random(4, number)
    )


def take_labels(monitor: Any, ledger: Ledger, state: State, least: int) -> None:
    """Labels that came after their rows were looked at."""
    if not state.count["n_labels"]:
        return
    setup = monitor._setup
    places = [k for k, stream in enumerate(setup.streams) if stream.needs_labels]
    if not places:
        return
    seq, x, kept, y = ledger.unjudged()
    if len(seq) < least:
        return
    near, distance = _nearness(monitor, x, kept), kept[:, 1]
    values = np.zeros((len(seq), len(setup.streams)))
    seen = np.zeros(values.shape, dtype=bool)
    values[:, places] = label_values(setup.regression, _answers(setup, kept), near, -distance, y)
    for k in places:
        seen[:, k] = np.isfinite(near) if setup.streams[k].needs_margins else True
    parts = windows_of(len(seq), max(least, min(monitor.window, len(seq))))
    records = _looks(monitor, state, values, seen, parts)
    told = [(part.stop - part.start, state.count["n_given"]) for part in parts]
    ledger.add_windows(state.count["n_looks"] - len(parts) + 1, "labels", told, records)
    state.count["n_judged"] += len(seq)
    ledger.judged(seq, near, kept)


def _answers(setup: Setup, kept: np.ndarray) -> Answers:
    """The model's answers from what was kept of each row."""
    if setup.regression:
        return Answers(kept[:, 5:], kept[:, 5:])
    return Answers(kept[:, 5].astype(int), kept[:, 4:5])


def _nearness(monitor: Any, x: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Whether a step within the radius changes the class; asked now, where nobody has yet."""
    near, probe = kept[:, 0].copy(), getattr(monitor, "probe_", None)
    missing = np.isnan(near) & np.isfinite(kept[:, 1])
    if probe is None or not missing.any():
        return near
    rows = monitor._plain_rows()
    part = Answers(*(field[missing] for field in _answers(monitor._setup, kept)))
    values = x[missing].astype(rows.values.dtype, copy=False)
    near[missing] = probe.near(values, rows, part)
    return near


def gate_of(setup: Setup, k: int, min_effect: float) -> float:
    """The smallest change of stream ``k`` that is worth an alarm."""
    return min_effect * FEW if setup.streams[k].group in OF_FEW else min_effect


def judge(monitor: Any, ledger: Ledger, state: State) -> None:
    """Alarms for streams whose evidence suffices and whose change is large enough."""
    setup, limit = monitor._setup, -np.log(monitor.false_alarm_rate)
    sure = (state.peak + setup.log_weights >= limit) & ~state.alarmed
    chosen = np.flatnonzero(sure)
    if not len(chosen) and state.peak_all >= limit and not state.alarmed.any():
        # many small changes that only together suffice: name those that carry nine tenths
        shares = setup.log_weights + state.value
        order = np.argsort(-shares)
        total = np.cumsum(np.exp(shares[order] - shares[order[0]]))
        chosen = order[: int(np.searchsorted(total, 0.9 * total[-1])) + 1]
    if len(chosen):
        before, past = state.alarmed.copy(), _Past(ledger, state)
        for k in chosen:
            _raise(monitor, ledger, state, int(k), past)
        _follow_columns(setup, state, before)


class _Past:
    """The last looks, stream by stream."""

    def __init__(self, ledger: Ledger, state: State):
        self.setup, self.state = ledger.setup, state
        self.record, self.given = ledger.records(4 * LOOKS_BACK)
        first = self.given[:1] - self.record.numbers[:1, :, 0].max(initial=0)
        self.before = np.concatenate([first, self.given[:-1]]).astype(int)
        # of its present account suspicion has only the last looks
        recent = state.count["n_looks"] - state.count["account_from"]
        self.recent = recent if state.count["n_accounts"] else len(self.given)

    def of(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers, cells and the rows given before, of the looks that saw stream ``k``."""
        index = np.flatnonzero(self.record.numbers[:, k, 0])[-LOOKS_BACK:]
        if self.setup.streams[k].group == "suspicion":
            index = index[index >= len(self.given) - self.recent]
        before = np.concatenate([self.before[index[:1]], self.given[index[:-1]]])
        return self.record.numbers[index, k], self.record.cells[index, k], before

    def is_sure(self, k: int, least: float) -> bool:
        """Whether stream ``k`` has changed by more than ``least``."""
        cells, side = self.of(k)[1], SIDES.index(self.setup.streams[k].side)
        if not len(cells):
            return False
        cells = cells[start_of(cells, side) :]
        return is_sure(cells, self.state.pools[k].sum() - cells.sum(), least, side)


def _raise(monitor: Any, ledger: Ledger, state: State, k: int, past: _Past) -> None:
    setup = monitor._setup
    group, least = setup.streams[k].group, gate_of(setup, k, monitor.min_effect)
    if not past.is_sure(k, least):
        return
    if group == "suspicion" and _new_columns(setup, state):
        return  # rows from elsewhere lie off the data by themselves
    state.alarmed[k] = True
    pushed = ledger.pushed() if group == "suspicion" else 0.0
    if group == "calibration":
        error = setup.place("error")
        if past.is_sure(error, gate_of(setup, error, monitor.min_effect)):
            # the model is wrong more often: that is the cause, and the errors tell it
            if state.alarmed[error]:
                return
            state.alarmed[error], k = True, error
    reason = explain(setup, *past.of(k), k, pushed, float(monitor.radius))
    ledger.add_alarm(state, reason)


def _n_columns(setup: Setup, alarmed: np.ndarray) -> int:
    """Input streams with an alarm."""
    return sum(a and s.group == "input" for s, a in zip(setup.streams, alarmed, strict=True))


def _new_columns(setup: Setup, state: State) -> bool:
    """Whether a column has an alarm that suspicion has no account for."""
    return _n_columns(setup, state.alarmed) > state.count["n_columns"]


def _follow_columns(setup: Setup, state: State, before: np.ndarray) -> None:
    """A new account for suspicion once columns have moved: without them, ranked among rows since.

    Account number j takes ``1 / (j (j + 1))`` of the stream's share, so that all of them together take
    no more than one share.
    """
    k = setup.place("suspicion")
    if state.alarmed[k] or not _new_columns(setup, state):
        return
    state.count["n_columns"] = _n_columns(setup, state.alarmed)
    state.count["n_accounts"] += 1
    state.count["account_from"] = state.count["n_looks"]
    state.open_account(k)
