"""The history for other programs: JSON lines and Prometheus' text format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from skrobust.monitoring._history import history, now
from skrobust.monitoring._result import to_dict

__all__ = ["to_jsonl", "to_prometheus"]

PREFIX = "skrobust_monitor_"
GAUGES = {
    "evidence": "Share of the evidence that an alarm takes, by stream; 1 and more is enough.",
    "effect": "Distance of recent values from the reference, 0 to 1, by stream.",
    "mean": "Recent mean, by stream.",
    "reference": "Mean in the reference, by stream.",
}
COUNTS = {
    "n_rows": ("rows_total", "Rows given."),
    "n_watched": ("watched_total", "Rows looked at."),
    "n_passed": ("passed_total", "Rows passed over, to keep to max_overhead."),
    "n_labelled": ("labels_total", "Rows whose label is known."),
}


def to_jsonl(monitor: Any, path: str | Path | None) -> str:
    """Looks and alarms by time; NaN is null."""
    events = [{"event": "look", **record} for record in history(monitor)]
    query = "SELECT time, number, reason FROM alarms WHERE life = ? ORDER BY rowid"
    for time, look, text in monitor._store.read(query, monitor.life_):
        reason = {"event": "alarm", "life": monitor.life_, "look": look, "time": time}
        events.append({**reason, **json.loads(text)})
    events.sort(key=lambda event: (event["look"], event["event"] == "alarm"))
    text = "".join(json.dumps(_plain(event)) + "\n" for event in events)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _plain(event: dict) -> dict:
    """Values that JSON has."""
    found = {}
    for name, value in event.items():
        value = value.item() if hasattr(value, "item") else value
        found[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return found


def to_prometheus(monitor: Any) -> str:
    """Gauges by stream, counters, and 0 or 1 for each cause of an alarm."""
    state = monitor.state()
    lines = [
        f"# HELP {PREFIX}alarm Whether an alarm is on.",
        f"# TYPE {PREFIX}alarm gauge",
        f"{PREFIX}alarm {int(state.alarm)}",
    ]
    if state.reasons:
        lines += [
            f"# HELP {PREFIX}cause Causes of alarms, by cause and stream.",
            f"# TYPE {PREFIX}cause gauge",
        ]
        lines += [
            f'{PREFIX}cause{{cause="{reason.cause}",stream="{_escaped(name)}"}} 1'
            for reason in state.reasons
            for name in reason.features
        ]
    for field, (name, words) in COUNTS.items():
        lines += [f"# HELP {PREFIX}{name} {words}", f"# TYPE {PREFIX}{name} counter"]
        lines.append(f"{PREFIX}{name} {to_dict(state)[field]}")
    streams = now(monitor)
    for gauge, words in GAUGES.items():
        lines += [f"# HELP {PREFIX}{gauge} {words}", f"# TYPE {PREFIX}{gauge} gauge"]
        lines += [
            f'{PREFIX}{gauge}{{stream="{_escaped(s["stream"])}"}} {_float(s[gauge])}'
            for s in streams
        ]
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _float(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(float(value))
