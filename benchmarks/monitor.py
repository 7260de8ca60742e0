"""The monitor: false alarms, delay and power against river's detectors, real drift.

    OMP_NUM_THREADS=1 python benchmarks/monitor.py                       # all but --acs, half an hour
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part alarms --streams 1000
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part delay
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part delay --detectors KSWIN --every
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part acs --acs FOLDER

Each part prints markdown tables of one run.

alarms  Streams of real rows (breast cancer, digits: rows drawn with replacement, reference and stream
        alike) in which nothing changes. Share of the streams with an alarm at any look, against the
        rate that was asked for.
delay   Changes injected at row 1,000 of a stream of 3,000; rows until the alarm (median over the streams
        in which it came after the change), share found, share with an alarm before the change. river's
        ADWIN, PageHinkley and KSWIN watch every column and all that is made of the same rows' answers
        and labels, DDM-like detectors the errors: alarm when any of them says so. First each at its
        default, then with the one parameter that sets its false alarms chosen so that as many of
        --quiet unchanged streams of 3,000 rows alarm as ours may (the strictest of a small grid if
        none does); with --every at each setting that was tried on the way. KSWIN's alpha is, but for
        its default, divided by the number of columns; its p-values are looked up (31 are possible),
        which changes no alarm and takes a tenth of the time.
trees   5% attacked rows of models without a gradient, whose suspicion is another one.
acs     FOLDER holds employment_MA_reference.pq, employment_MA_analysis.pq and
        employment_MA_analysis_target.pq (unzipped from nannyml's wheel; read by polars): American
        Community Survey, Massachusetts, 2015 for reference, 2016 to 2018 in operation.
What watching costs: monitor_cost.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import time
import warnings
from functools import partial

import _monitor_peers as peers
import numpy as np
import sklearn
from _monitor_peers import RATE, river_detectors, share
from _monitor_streams import (
    KINDS,
    LENGTH,
    START,
    bench_data,
    employment,
    missing_for_employment,
    one,
    real,
    statistics,
)
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from skrobust import LpBall, RobustnessMonitor, worst_case

BATCH = 50  # rows of a look
RATES = (0.01, 0.05, 0.1, 0.2)


def header(columns) -> None:
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def line(row) -> None:
    print("| " + " | ".join(map(str, row)) + " |", flush=True)


# False alarms ---------------------------------------------------------------------------------


def peak(seed: int, model, X, y, threat) -> float:
    """Largest logarithm of the evidence at any look at a stream in which nothing changes."""
    random = np.random.default_rng([7, seed])
    ref, new = (random.integers(len(X), size=n) for n in (400, 800))
    monitor = RobustnessMonitor(
        model, radius=0.2, threat=threat, max_rows=None, random_state=seed
    ).fit(X[ref], y[ref])  # fmt: skip
    for low in range(0, len(new), 200):
        monitor.update(X[new[low : low + 200]], y[new[low : low + 200]])
    with monitor._store.transaction() as db:
        state, _ = monitor._ledger(db).load()
    return max(state.peak_all, float((state.peak + monitor._setup.log_weights).max()))


def alarms(asked: argparse.Namespace) -> None:
    n_streams = asked.streams or 1000
    print("False alarms where nothing changes: any look, any stream, no effect-size gate\n")
    header(["rows", "streams", "looks", *(f"rate {rate}" for rate in RATES), "seconds"])
    for name in ("breast cancer", "digits"):
        parts, began = real(name), time.process_time()
        n = n_streams if name == "breast cancer" else max(n_streams // 5, 1)
        peaks = np.array([peak(seed, *parts) for seed in range(n)])
        shares = [f"{np.mean(peaks >= -np.log(rate)):.3f}" for rate in RATES]
        line([name, n, 16, *shares, f"{time.process_time() - began:.0f}"])
    print()


# Delay and power ------------------------------------------------------------------------------


def delay(asked: argparse.Namespace) -> None:
    n_streams, n_quiet = asked.streams or 10, asked.quiet
    began = time.process_time()
    setting, detectors = bench_data(), {}
    if importlib.util.find_spec("river"):
        known = river_detectors()
        chosen = known if asked.detectors is None else asked.detectors
        detectors = {name: known[name] for name in chosen}
    else:
        print("river is not installed: only the monitor itself is measured.\n")
    tried = quiet_streams(setting, detectors, n_quiet, asked.every)
    measured = {name: peers.worth_measuring(t, asked.every) for name, t in tried.items()}
    print(f"Delay; change at row {START} of {LENGTH}, {n_streams} streams, looks of {BATCH} rows\n")
    header(["change", "detector", "median delay", "found", "alarm before", "ms/stream"])
    for kind in asked.changes or KINDS:
        found: dict[str, list] = {}
        spent: dict[str, float] = {}
        for seed in range(n_streams):
            for label, task in tasks(kind, setting, detectors, measured, seed).items():
                start = time.process_time()
                found.setdefault(label, []).append(task())
                spent[label] = spent.get(label, 0.0) + time.process_time() - start
        for label, when in found.items():
            line([kind, label, *told(when), f"{1000 * spent[label] / n_streams:.0f}"])
    print(f"\n{time.process_time() - began:.0f} seconds\n")


def quiet_streams(setting, detectors, n_quiet: int, every: bool) -> dict[str, dict]:
    """Settings tried per detector, in streams without a change; prints the share with an alarm."""
    model, X, y, threat = setting
    quiet, own = [], []
    for seed in range(n_quiet):
        ref, stream = one("none", model, X, y, threat, 1000 + seed)
        own.append(ours(model, threat, ref, stream, seed))
        if detectors:
            quiet.append(statistics(model, threat, ref, stream))
    print(f"Unchanged streams of {LENGTH} rows; stricter until at most {RATE:.0%} of them alarm\n")
    header(["detector", "parameter", "alarms", "of streams"])
    line(["RobustnessMonitor", RATE, round(share(own) * n_quiet), n_quiet])
    tried = {}
    for name, detector in detectors.items():
        tried[name] = peers.tried_settings(detector, quiet, every)
        for value, (hits, seen) in tried[name].items():
            line([name, f"{value:.3g}", hits, seen])
    print()
    return tried


def tasks(kind: str, setting, detectors, measured, seed: int) -> dict:
    """{label: what tells the row of the alarm} for one stream; river's get the numbers ready made."""
    model, X, y, threat = setting
    ref, stream = one(kind, model, X, y, threat, seed)
    found = {"RobustnessMonitor": partial(ours, model, threat, ref, stream, seed)}
    numbers = statistics(model, threat, ref, stream) if detectors else None
    for name, (make, _, watches) in detectors.items():
        if watches == "errors" and kind not in ("5% attacked", "20% labels swapped"):
            continue
        for value, word in measured[name].items():
            columns = peers.seen_by(watches, numbers)
            found[name + word] = partial(peers.theirs, partial(make, value), columns)
    return found


def ours(model, threat, ref, stream, seed) -> int | None:
    monitor = RobustnessMonitor(
        model, radius=0.3, threat=threat, false_alarm_rate=RATE, random_state=seed, max_rows=None
    ).fit(*ref)
    for low in range(0, LENGTH, BATCH):
        if monitor.update(*(part[low : low + BATCH] for part in stream)).alarm:
            return low + BATCH
    return None


def told(when) -> list[str]:
    """Median delay where the alarm came after the change; share found; share alarmed before."""
    when = np.array([np.inf if w is None else w for w in when], dtype=float)
    after = when[(when > START) & np.isfinite(when)] - START
    median = f"{np.median(after):.0f}" if len(after) else "-"
    return [median, f"{len(after) / len(when):.2f}", f"{np.mean(when <= START):.2f}"]


# Real drift -----------------------------------------------------------------------------------


def acs(asked: argparse.Namespace) -> None:
    if reason := missing_for_employment(asked.acs):
        print(f"acs: skipped, {reason}.\n")
        return
    model, reference, years = employment(asked.acs, asked.rows)
    print("ACS employment, Massachusetts; against held-out rows of 2015, updates of 1,000 rows\n")
    header(["year", "rows", "accuracy", "detector", "alarm at row", "told", "largest effect", "s"])
    for year, (X, y) in years.items():
        outputs = model.predict_proba(X)
        first = [year, len(y), f"{(outputs.argmax(axis=1) == y).mean():.4f}"]
        for gate in (0.03, 0.0):
            began = time.process_time()
            says = in_operation(model, gate, reference, (X, y), outputs)
            name, took = f"RobustnessMonitor, min_effect={gate:g}", time.process_time() - began
            line([*first, name, *says, f"{took:.0f}"])
        if importlib.util.find_spec("river"):
            for row in peers.in_operation(model, reference, (X, y)):
                line([*first, *row])
    print()


def in_operation(model, gate, reference, stream, outputs) -> list:
    """(rows until the alarm, what it says at the end, the largest effect at the end)"""
    monitor = RobustnessMonitor(
        model, radius=2.0, threat=LpBall(scale=1.0), false_alarm_rate=0.01, random_state=0,
        max_rows=None, min_effect=gate,
    ).fit(*reference)  # fmt: skip
    X, y = stream
    when = None
    for low in range(0, len(X), 1000):
        part = slice(low, low + 1000)
        state = monitor.update(X[part], y[part], outputs=outputs[part])
        if state.alarm and when is None:
            when = min(low + 1000, len(X))
    now = monitor.frame("now").set_index("stream")["effect"]
    told = "; ".join(f"{r.cause}: {', '.join(r.features)}" for r in state.reasons) or "-"
    return [when or "none", told, f"{now.idxmax()} {now.max():.3f}"]


# Models without a gradient ---------------------------------------------------------------------


def trees(asked: argparse.Namespace) -> None:
    X, y = make_classification(
        60_000, 10, n_informative=5, n_redundant=3, flip_y=0.05, random_state=1
    )
    threat = LpBall(scale="std").bind(X[:2000])
    models = {
        "random forest, 50 trees": RandomForestClassifier(50, random_state=0),
        "boosted trees": HistGradientBoostingClassifier(random_state=0),
    }
    print(f"5% attacked rows from row {START} of {LENGTH} on, no labels, rate {RATE}\n")
    header(["model", "reference", "found", "median delay", "alarm before"])
    for name, model in models.items():
        model.fit(X[:2000], y[:2000])
        for n_reference in (2000, 8000):
            when = [
                attacked(model, X[2000:], y[2000:], threat, n_reference, seed)
                for seed in range(asked.streams or 10)
            ]
            median, found, early = told(when)
            line([name, n_reference, found, median, early])
    print()


def attacked(model, X, y, threat, n_reference: int, seed: int) -> int | None:
    """The row of the alarm in a stream of which every twentieth row is attacked from START on."""
    random = np.random.default_rng([3, seed])
    ref, new = np.split(random.permutation(len(X))[: n_reference + LENGTH], [n_reference])
    rows = X[new].copy()
    hit = START + np.flatnonzero(random.random(LENGTH - START) < 0.05)
    rows[hit] = worst_case(
        model, rows[hit], y[new][hit], radius=0.3, threat=threat, random_state=0
    ).X
    monitor = RobustnessMonitor(
        model, radius=0.3, threat=threat, false_alarm_rate=RATE, random_state=seed
    ).fit(X[ref])
    for low in range(0, LENGTH, BATCH):
        if monitor.update(rows[low : low + BATCH]).alarm:
            return low + BATCH
    return None


PARTS = {"alarms": alarms, "delay": delay, "trees": trees, "acs": acs}
RIVER = ("ADWIN", "PageHinkley", "KSWIN", "DDM", "EDDM", "HDDM_A")


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--part", nargs="+", choices=PARTS, help="which tables (all)")
    add("--streams", type=int, help="alarms: of breast cancer, 1000; delay: per change, 10")
    add("--quiet", type=int, default=40, help="delay: streams without a change (40)")
    add("--changes", nargs="+", choices=KINDS, help="delay: these only")
    add(
        "--detectors",
        nargs="*",
        choices=RIVER,
        help="delay: of river, these only (none: ours alone)",
    )
    add("--every", action="store_true", help="delay: of river, every setting that was tried")
    add("--acs", metavar="FOLDER", help="acs: where the three files are")
    add("--rows", type=int, help="acs: of each year, so many at most (all)")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*torch view.*")
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    versions = f"numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    print(f"Python {platform.python_version()}, {versions}\n")
    for part in asked.part or PARTS:
        PARTS[part](asked)


if __name__ == "__main__":
    main()
