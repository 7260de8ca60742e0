"""The store as tidy tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_name
from skrobust.metrics._rows import Rows
from skrobust.monitoring._sequential import SIDES, effect_of
from skrobust.monitoring._windows import Record, State

__all__ = ["frame", "history", "now"]

COLUMNS = [
    "life", "look", "rows", "stream", "group", "n", "reference", "mean", "missing", "effect",
    "evidence", "alarm",
]  # fmt: skip


def frame(monitor: Any, kind: str) -> Any:
    check_name("kind", kind, KINDS)
    return KINDS[kind](monitor)


def history(monitor: Any) -> Iterator[dict]:
    """One record per look and stream. ``evidence`` is a share: an alarm takes 1."""
    setup, limit = monitor._setup, -np.log(monitor.false_alarm_rate)
    need = limit - setup.log_weights
    alarmed = _alarms(monitor)
    query = (
        "SELECT number, n_given, record, time FROM windows WHERE life = ? ORDER BY number"
    )  # fmt: skip
    for look, rows, data, time in monitor._store.read(query, monitor.life_):
        record = Record.from_bytes(data, len(setup.streams))
        for k, stream in enumerate(setup.streams):
            n, mean, missing, _, value = record.numbers[k]
            if n == 0:
                continue
            yield {
                "life": monitor.life_, "look": look, "rows": rows, "stream": stream.name,
                "group": stream.group, "n": int(n), "reference": setup.center[k], "mean": mean,
                "missing": missing, "effect": effect_of(record.cells[k][None], _side(stream)),
                "evidence": value / need[k], "alarm": look >= alarmed.get(stream.name, np.inf),
                "time": time,
            }  # fmt: skip


def now(monitor: Any) -> list[dict]:
    """One record per stream, over the last looks."""
    setup, limit = monitor._setup, -np.log(monitor.false_alarm_rate)
    data = monitor._store.read("SELECT state FROM states WHERE life = ?", monitor.life_)[0][0]
    state = State.from_bytes(setup, data)
    value = state.value
    query = "SELECT record FROM windows WHERE life = ? ORDER BY number DESC LIMIT 64"
    last = [
        Record.from_bytes(blob, len(setup.streams))
        for (blob,) in monitor._store.read(query, monitor.life_)
    ][::-1]
    found = []
    for k, stream in enumerate(setup.streams):
        numbers = np.array([r.numbers[k] for r in last if r.numbers[k, 0] > 0]).reshape(-1, 5)[-8:]
        cells = np.array([r.cells[k] for r in last if r.numbers[k, 0] > 0])
        weights = numbers[:, 0] if len(numbers) else None
        found.append(
            {
                "stream": stream.name,
                "group": stream.group,
                "n": _n_seen(setup, state, k),
                "reference": setup.center[k],
                "mean": np.average(numbers[:, 1], weights=weights) if len(numbers) else np.nan,
                "missing": np.average(numbers[:, 2], weights=weights) if len(numbers) else np.nan,
                "effect": effect_of(cells, _side(stream)) if len(cells) else 0.0,
                "evidence": value[k] / (limit - setup.log_weights[k]),
                "alarm": bool(state.alarmed[k]),
            }
        )
    return found


def _n_seen(setup: Any, state: State, k: int) -> int:
    """Values of stream ``k`` that were ranked (suspicion: since its present account began)."""
    anew = setup.streams[k].group == "suspicion" and state.count["n_accounts"]
    return int(state.pools[k].sum() - (0 if anew else setup.pools[k].sum()))


def _side(stream: Any) -> int:
    return SIDES.index(stream.side)


def _alarms(monitor: Any) -> dict[str, int]:
    """Stream and the look of its alarm."""
    query = "SELECT reason, number FROM alarms WHERE life = ?"
    return {
        json.loads(text)["features"][0]: look
        for text, look in monitor._store.read(query, monitor.life_)
    }


def _history_frame(monitor: Any) -> Any:
    pandas = import_extra("pandas", "frames")
    return pandas.DataFrame(history(monitor), columns=[*COLUMNS, "time"])[COLUMNS]


def _now_frame(monitor: Any) -> Any:
    return import_extra("pandas", "frames").DataFrame(now(monitor))


def _alarm_frame(monitor: Any) -> Any:
    pandas = import_extra("pandas", "frames")
    columns = ["cause", "stream", "effect", "since", "action", "text", "advice"]
    return pandas.DataFrame(
        [
            {**r.__dict__, "stream": r.features[0], "text": str(r)}
            for r in monitor._alarms()
        ],
        columns=columns,
    )  # fmt: skip


def _row_frame(monitor: Any) -> Any:
    """Flagged and labelled rows, in the columns of X; flagged ones first, newest first."""
    pandas = import_extra("pandas", "frames")
    query = (
        "SELECT id, x, watched, flagged, label FROM rows WHERE life = ? AND "
        "(flagged = 1 OR y IS NOT NULL) AND looked = 1 ORDER BY flagged DESC, seq DESC"
    )
    found = monitor._store.read(query, monitor.life_)
    setup = monitor._setup
    ids, x, watched, flagged, label = zip(*found, strict=True) if found else ([],) * 5
    values = np.frombuffer(b"".join(x)).reshape(len(ids), *setup.row_shape)
    kept = np.frombuffer(b"".join(watched)).reshape(len(ids), -1) if found else np.empty((0, 6))
    table = pandas.DataFrame(_columns(monitor, values))
    table.insert(0, "id", [str(name) for name in ids])
    answers = kept[:, 5]
    if setup.classes is not None:
        answers = [setup.classes[int(k)] for k in answers]
    extra = {
        "prediction": answers,
        "margin": kept[:, 1],
        "near": [None if np.isnan(near) else bool(near) for near in kept[:, 0]],
        "suspicion": kept[:, 2],
        "flagged": np.array(flagged, dtype=bool),
        "label": [None if word is None else json.loads(word) for word in label],
    }
    taken = {name: (f"{name}_" if name in table.columns else name) for name in extra}
    return table.assign(**{taken[name]: values for name, values in extra.items()})


def _columns(monitor: Any, values: np.ndarray) -> dict[str, Any]:
    """The rows as the user gave them, column by column."""
    words = monitor._store.read("SELECT categories FROM counts WHERE life = ?", monitor.life_)[0][0]
    categories = {int(k): v for k, v in json.loads(words).items()}
    if hasattr(monitor, "_like") and hasattr(monitor._like, "columns"):
        rows = Rows(monitor._like, categories)
        wrapped = rows.wrap(values)
        return {str(name): wrapped[name].to_numpy() for name in wrapped.columns}
    flat = values.reshape(len(values), -1)
    return {name: flat[:, k] for k, name in enumerate(monitor._setup.names)}


def _overhead_frame(monitor: Any) -> Any:
    """What predicting and watching took in this process, and what was looked at in this life."""
    monitor._end_run()
    state, budget = monitor.state(), monitor._budget
    record = {
        "max_overhead": np.nan, "overhead": np.nan, "predict_seconds": np.nan,
        "watch_seconds": np.nan, "n_rows": state.n_rows, "n_watched": state.n_watched,
        "n_passed": state.n_passed,
    }  # fmt: skip
    if budget is not None:
        share = budget.spent / budget.predicted if budget.predicted else np.nan
        record |= {"max_overhead": budget.share, "overhead": share}
        record |= {"predict_seconds": budget.predicted, "watch_seconds": budget.spent}
    return import_extra("pandas", "frames").DataFrame([record])


KINDS = {
    "history": _history_frame,
    "now": _now_frame,
    "alarms": _alarm_frame,
    "rows": _row_frame,
    "overhead": _overhead_frame,
}
