"""river's detectors for benchmarks/monitor.py, on the numbers that the monitor watches.

A detector watches one column. One per column, and an alarm of any is an alarm of all; what each may
cost in false alarms is settled on streams in which nothing changes.
"""

from __future__ import annotations

import time
import warnings
from bisect import bisect_right
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from _monitor_streams import N_WARM, numbers_of

from skrobust import LpBall, RobustnessMonitor

RATE = 0.05  # share of the quiet streams in which an alarm is forgiven
TOO_MANY = 0.5  # from here on a setting is told, and its delays are not measured


def river_detectors() -> dict:
    """name: (makes a detector from its parameter, grid from its default to stricter, what it watches).

    KSWIN tests each column at each row; beside its default, alpha is shared out by ``per_column``.
    """
    from river import drift
    from river.drift import binary

    return {
        "ADWIN": (lambda d: drift.ADWIN(delta=d), (0.002, 1e-4, 1e-5, 1e-7, 1e-10), "all"),
        "PageHinkley": (
            lambda t: drift.PageHinkley(threshold=t), (50, 75, 100, 150, 200, 400), "all",
        ),
        "KSWIN": (
            lambda a: drift.KSWIN(alpha=a, seed=0),
            (0.005, *map(per_column, (0.005, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12))),
            "all",
        ),
        "DDM": (lambda t: binary.DDM(drift_threshold=t), (3, 4, 5, 6), "errors"),
        "EDDM": (lambda b: binary.EDDM(beta=b), (0.9, 0.7, 0.5, 0.3), "errors"),
        "HDDM_A": (
            lambda c: binary.HDDMA(drift_confidence=c), (0.001, 1e-4, 1e-6), "errors",
        ),
    }  # fmt: skip


N_COLUMNS = 16  # that `statistics` returns: 10 columns, 3 of answers, 3 of labels


def per_column(alpha: float) -> float:
    """Bonferroni: what one of the columns may spend of ``alpha``."""
    return alpha / N_COLUMNS


# KSWIN in a reasonable time -------------------------------------------------------------------


@contextmanager
def quick_kswin():
    """river's KSWIN with scipy's p-values looked up: 31 of them are possible for two samples of 30."""
    from river.drift import kswin

    with patch.object(kswin, "stats", SimpleNamespace(ks_2samp=quick_ks)):
        yield


def quick_ks(first, second, method="auto"):
    """(statistic, p-value), the same as scipy.stats.ks_2samp's, for two samples of 30."""
    a, b = sorted(first), sorted(second)
    return P_VALUES[max(abs(bisect_right(a, v) - bisect_right(b, v)) for v in a + b)]


def _p_values() -> list[tuple[float, float]]:
    """By the largest difference of the counts: scipy's answers to two samples that differ by that."""
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # as river does: at 1 of 30 p is about 1
        found = [ks_2samp(range(30), range(k, k + 30)) for k in range(31)]
        return [(float(answer.statistic), float(answer.pvalue)) for answer in found]


def check_quick_ks() -> None:
    """The same as scipy's on samples with ties and without."""
    from scipy.stats import ks_2samp

    random = np.random.default_rng(0)
    for k in range(100):
        pair = np.round(random.normal([[0], [k / 30]], size=(2, 30)), k % 4)
        if (quick := quick_ks(*pair))[0] > 1 / 30:
            assert np.allclose(ks_2samp(*pair), quick, rtol=1e-9, atol=0)


P_VALUES = _p_values()
check_quick_ks()


# Their alarms ---------------------------------------------------------------------------------


def seen_by(watches: str, numbers) -> list[np.ndarray]:
    values, _, errors = numbers
    return [errors] if watches == "errors" else list(values.T)


def theirs(make, columns) -> int | None:
    """First row at which any of the streams' detectors says drift; the reference comes first."""
    first = None
    with quick_kswin():
        for column in columns:
            detector = make()
            for k, value in enumerate(column[:first].tolist()):
                detector.update(value)
                if detector.drift_detected and k >= N_WARM:
                    first = k + 1
                    break
    return None if first is None else first - N_WARM


def share(when) -> float:
    return float(np.mean([w is not None for w in when]))


def tried_settings(detector, quiet, every: bool) -> dict[float, tuple[int, int]]:
    """{parameter: (quiet streams with an alarm, of so many)}, mildest first, until one keeps to RATE.

    The default and the strictest see all quiet streams; any other gives up once it is over, unless
    ``every`` setting is to be judged.
    """
    (make, grid, watches), found = detector, {}
    for value in grid:
        hits = []
        for numbers in quiet:
            hits.append(theirs(partial(make, value), seen_by(watches, numbers)) is not None)
            over = sum(hits) > RATE * len(quiet)
            if over and not every and value not in (grid[0], grid[-1]):
                break
        found[value] = (sum(hits), len(hits))
        if sum(hits) <= RATE * len(quiet):
            break
    return found


def worth_measuring(tried: dict[float, tuple[int, int]], every: bool) -> dict[float, str]:
    """{parameter: its label}: the default and the setting that was settled on, or every one."""
    default, settled = next(iter(tried)), list(tried)[-1]
    if every:
        return {value: f" {value:.3g}" for value in tried}
    labels = {default: "", settled: f" {settled:.3g}"}
    return {v: word for v, word in labels.items() if tried[v][0] <= TOO_MANY * tried[v][1]}


def in_operation(model, reference, stream):
    """Rows of a table for river's detectors at their defaults, one per column of a real stream."""
    monitor = RobustnessMonitor(model, radius=2.0, threat=LpBall(scale=1.0), random_state=0)
    streams = monitor.fit(*reference)._setup.streams
    X, y = stream
    cuts = range(0, len(y), 20_000)
    parts = [(X[low : low + 20_000], y[low : low + 20_000]) for low in cuts]
    start = tuple(part[:20_000] for part in reference)
    known, *new = numbers_of(monitor, start, *parts)
    values = np.concatenate([known[-N_WARM:], *new])
    errors = values[:, [s.name for s in streams].index("error")]
    values = (values - known.mean(axis=0)) / (known.std(axis=0) + 1e-12)
    for name, (make, grid, watches) in river_detectors().items():
        began = time.process_time()
        columns = seen_by(watches, (values, None, errors))
        names = ["error"] if watches == "errors" else [s.name for s in streams]
        alarms = [theirs(partial(make, grid[0]), [column]) for column in columns]
        told = [n for n, when in zip(names, alarms, strict=True) if when is not None]
        when = min((a for a in alarms if a is not None), default="none")
        says = f"{len(told)} of {len(names)} streams"
        says += f": {', '.join(told)}" if 0 < len(told) < 6 else ""
        yield [name, when, says, "", f"{time.process_time() - began:.0f}"]
