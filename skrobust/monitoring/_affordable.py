"""How many rows of a batch can be looked at for a tenth of what predicting the batch costs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from skrobust.metrics._rows import Rows
from skrobust.monitoring._budget import quickest

__all__ = ["SHARE", "prices_of", "rows_for"]

SHARE = 0.1
SAFETY = 0.8  # clocks are noisy


def rows_for(monitor: Any, rows: Rows) -> int:
    """Measured with the reference as the batch, in processor time: cost of an update is
    ``a + b * rows looked at``. At least one window: fewer would only wait."""
    trial, n = _trial(monitor, None), len(rows)
    predict = _seconds(lambda: monitor.probe_.ask(rows.given))
    sizes = np.array([max(monitor.window, 50), 4 * max(monitor.window, 50)])
    parts = [rows.wrap(rows.values[np.arange(size) % n]) for size in sizes]
    few, many = (_seconds(lambda part=part: trial.update(part)) for part in parts)
    each = max((many - few) / (sizes[1] - sizes[0]), 1e-9)
    fixed = max(few - each * sizes[0], 0.0)
    return int(np.clip(SAFETY * (SHARE * predict - fixed) / each, monitor.window, n))


def prices_of(monitor: Any, rows: Rows) -> list[float]:
    """Seconds of an update whose rows wait, and of one that looks."""
    trial, n = _trial(monitor, monitor.max_rows_), len(rows)
    found = []
    for size in (1, max(monitor.window, min(n, monitor.max_rows_ or n))):
        part = rows.wrap(rows.values[np.arange(size) % n])
        outputs = monitor.probe_.ask(part)
        found.append(quickest(lambda p=part, o=outputs: trial.update(p, outputs=o), monitor._clock))
    return found


def _trial(monitor: Any, max_rows: int | None) -> Any:
    """A monitor like it, in memory."""
    from sklearn.base import clone

    options = {"store": None, "max_rows": max_rows, "max_overhead": None}
    trial = clone(monitor, safe=False).set_params(**options)
    trial.estimator, trial.random_state = monitor.estimator, 0
    trial.__dict__.update(probe_=monitor.probe_, _like=monitor._like)
    trial._begin(trial._opened(), monitor._setup, "", {"seed": 0, "options": {}})
    return trial


def _seconds(work: Any) -> float:
    """Processor time of one call, the smallest of some."""
    found = []
    for _ in range(4):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)
