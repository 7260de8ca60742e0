"""The monitor: false alarms, delay and power against river's detectors, real drift, and what it costs.

    OMP_NUM_THREADS=1 python benchmarks/monitor.py                       # all but --acs, a quarter of an hour
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part alarms --streams 1000
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part delay cost
    OMP_NUM_THREADS=1 python benchmarks/monitor.py --part acs --acs FOLDER

Each part prints one markdown table of one run.

alarms  Streams of real rows (breast cancer, digits: rows drawn with replacement, reference and stream
        alike) in which nothing changes. Share of the streams with an alarm at any look, against the
        rate that was asked for; and the same of river's detectors at their defaults, one per column.
delay   Changes injected at row 1,000 of a stream of 3,000; rows until the alarm (median over the streams
        in which it came after the change), share found, share with an alarm before the change. river's
        ADWIN, PageHinkley and KSWIN watch every column, the confidence, the margin and the suspicion of
        the same rows, DDM-like detectors the errors: alarm when any of them says so. "budget": the same
        detectors with the one parameter that sets their false alarms chosen so that as many of --quiet
        unchanged streams of 3,000 rows alarm as ours may (the strictest of a small grid if none does;
        KSWIN only at its default, for it takes seconds a stream).
acs     FOLDER holds employment_MA_reference.pq, employment_MA_analysis.pq and
        employment_MA_analysis_target.pq (unzipped from nannyml's wheel; read by polars): American
        Community Survey, Massachusetts, 2015 for reference, 2016 to 2018 in operation.
cost    Processor time of watching a batch, in milliseconds and as a share of predicting it, when the
        answers are handed over (``outputs=``, which is what ``monitor.predict`` does).
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import sklearn
import sklearn.compose
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from skrobust import LpBall, RobustClassifier, RobustnessMonitor, worst_case
from skrobust.metrics._rows import Rows
from skrobust.monitoring._setup import watch

RATE = 0.05


def table(columns, rows) -> None:
    header(columns)
    for row in rows:
        line(row)
    print()


def header(columns) -> None:
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def line(row) -> None:
    print("| " + " | ".join(map(str, row)) + " |", flush=True)


# False alarms ---------------------------------------------------------------------------------


def real(name: str):
    """(model, pool of rows it was not trained on, their labels, threat)."""
    X, y = (load_breast_cancer if name == "breast cancer" else load_digits)(return_X_y=True)
    X = X[:, X.std(axis=0) > 0.5] if name == "digits" else X
    order = np.random.default_rng(0).permutation(len(X))
    train, rest = order[: len(X) // 2], order[len(X) // 2 :]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X[train], y[train])
    return model, X[rest], y[rest], LpBall(scale="std").bind(X[train])


RATES = (0.01, 0.05, 0.1, 0.2)


def peak(name: str, seed: int, real_rows) -> float:
    """Largest logarithm of the evidence at any look at a stream in which nothing changes."""
    model, X, y, threat = real_rows
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


def alarms(n_streams: int) -> None:
    rows = []
    for name in ("breast cancer", "digits"):
        parts, began = real(name), time.process_time()
        n = n_streams if name == "breast cancer" else max(n_streams // 5, 1)
        peaks = np.array([peak(name, seed, parts) for seed in range(n)])
        shares = [f"{np.mean(peaks >= -np.log(rate)):.3f}" for rate in RATES]
        rows.append([name, n, 16, *shares, f"{time.process_time() - began:.0f}"])
    print("False alarms where nothing changes: any look, any stream, no effect-size gate\n")
    asked = [f"rate {rate}" for rate in RATES]
    table(["rows", "streams", "looks", *asked, "seconds"], rows)


# Delay and power ------------------------------------------------------------------------------

START, LENGTH, BATCH = 1000, 3000, 50


def bench_data():
    X, y = make_classification(
        60_000, 10, n_informative=5, n_redundant=3, flip_y=0.05, random_state=1
    )
    threat = LpBall(scale="std").bind(X[:2000])
    return LogisticRegression().fit(X[:2000], y[:2000]), X[2000:], y[2000:], threat


def change(kind, model, threat, X, y, seed):
    X, y, random = X.copy(), y.copy(), np.random.default_rng([9, seed])
    after = np.arange(len(X)) >= START
    if kind == "mean +0.5 std":
        X[after, 0] += 0.5 * X[:, 0].std()
    elif kind == "variance x2":
        X[after, 0] = X[:, 0].mean() + np.sqrt(2) * (X[after, 0] - X[:, 0].mean())
    elif kind == "sensor stuck":
        X[after, 3] = X[START, 3]
    elif kind == "5% attacked":
        hit = np.flatnonzero(after & (random.random(len(X)) < 0.05))
        moved = worst_case(model, X[hit], y[hit], radius=0.3, threat=threat, random_state=0)
        X[hit] = moved.X
    elif kind == "20% labels swapped":
        flip = after & (random.random(len(X)) < 0.2)
        y = np.where(flip, 1 - y, y)
    return X, y


KINDS = ("mean +0.5 std", "variance x2", "sensor stuck", "5% attacked", "20% labels swapped")


def ours(model, threat, ref, stream, seed):
    monitor = RobustnessMonitor(
        model, radius=0.3, threat=threat, false_alarm_rate=RATE, random_state=seed, max_rows=None
    ).fit(*ref)
    for low in range(0, LENGTH, BATCH):
        state = monitor.update(*(part[low : low + BATCH] for part in stream))
        if state.alarm:
            return low + BATCH
    return None


def statistics(model, threat, ref, stream):
    """What ours watches, standardised by the reference; names; errors as 0 or 1."""
    monitor = RobustnessMonitor(model, radius=0.3, threat=threat, random_state=0).fit(*ref)

    def values_of(X, y):
        rows = Rows(X)
        return watch(monitor._setup, monitor.probe_, rows, rows.values, None, y).values

    streams = monitor._setup.streams
    keep = [k for k, s in enumerate(streams) if s.name != "prediction"]
    known, values = (values_of(*part)[:, keep] for part in (ref, stream))
    names = [streams[k].name for k in keep]
    scaled = (values - known.mean(axis=0)) / (known.std(axis=0) + 1e-12)
    return scaled, names, values[:, names.index("error")]


# What KSWIN watches: it takes 0.1 ms a number. The columns that change are among them.
FOR_KSWIN = ("x0", "x3", "suspicion", "error")


def river_detectors():
    """name: (makes a detector from its parameter, grid from its default to stricter, what it watches)."""
    from river import drift
    from river.drift import binary

    return {
        "ADWIN": (lambda d: drift.ADWIN(delta=d), (0.002, 1e-4, 1e-5, 1e-7, 1e-10), "all"),
        "PageHinkley": (
            lambda t: drift.PageHinkley(threshold=t), (50, 75, 100, 150, 200, 400), "all",
        ),
        "KSWIN": (lambda a: drift.KSWIN(alpha=a, seed=0), (0.005, 1e-6), "few"),
        "DDM": (lambda t: binary.DDM(drift_threshold=t), (3, 4, 5, 6), "errors"),
        "EDDM": (lambda b: binary.EDDM(beta=b), (0.9, 0.7, 0.5, 0.3), "errors"),
        "HDDM_A": (
            lambda c: binary.HDDMA(drift_confidence=c), (0.001, 1e-4, 1e-6), "errors",
        ),
    }  # fmt: skip


def seen_by(watches: str, numbers):
    values, names, errors = numbers
    if watches == "errors":
        return [errors]
    chosen = [k for k, name in enumerate(names) if watches == "all" or name in FOR_KSWIN]
    return [values[:, k] for k in chosen]


def theirs(make, columns) -> int | None:
    """First row at which any of the streams' detectors says drift; the reference comes first."""
    first = None
    for column in columns:
        detector = make()
        for k, value in enumerate(column[:first].tolist()):
            detector.update(value)
            if detector.drift_detected and k >= N_WARM:
                first = k + 1
                break
    return None if first is None else first - N_WARM


TOO_MANY = 0.5  # quiet streams with an alarm: from here on a setting is told, and left out
N_WARM = 500  # reference rows that river's detectors see before the stream


def one(kind, model, X, y, threat, seed):
    random = np.random.default_rng([3, seed])
    order = random.permutation(len(X))
    ref, new = order[:2000], order[2000 : 2000 + LENGTH]
    stream = change(kind, model, threat, X[new], y[new], seed)
    return (X[ref], y[ref]), stream


def with_reference(ref, stream):
    return tuple(np.concatenate([r[-N_WARM:], s]) for r, s in zip(ref, stream, strict=True))


def share(when) -> float:
    return float(np.mean([w is not None for w in when]))


def chosen_settings(detectors, quiet):
    """Per detector: quiet streams with an alarm at the default, and at the mildest setting that
    keeps to the budget (the strictest of the grid if none does), with that setting."""
    found = {}
    for name, (make, grid, watches) in detectors.items():
        for value in grid:
            some = quiet[: len(quiet) // 4] if watches == "few" else quiet  # KSWIN is slow
            hits = []
            for numbers in some:
                hits.append(theirs(partial(make, value), seen_by(watches, numbers)))
                over = len(hits) - hits.count(None) > RATE * len(some)
                if over and value not in (grid[0], grid[-1]):
                    break
            if value == grid[0]:
                default = share(hits)
            if share(hits) <= RATE:
                break
        found[name] = (default, share(hits), value)
    return found


def delay(n_streams: int, n_quiet: int, only: list[str] | None, without: list[str]) -> None:
    began = time.process_time()
    model, X, y, threat = bench_data()
    try:
        detectors = river_detectors()
    except ImportError:
        print("river is not installed: only the monitor itself is measured.\n")
        detectors = {}
    detectors = {name: parts for name, parts in detectors.items() if name not in without}
    print(f"Delay; change at row {START} of {LENGTH}, {n_streams} streams, looks of {BATCH} rows\n")
    quiet, own = [], []
    for seed in range(n_quiet):
        ref, stream = one("none", model, X, y, threat, 1000 + seed)
        own.append(ours(model, threat, ref, stream, seed))
        if detectors:
            quiet.append(statistics(model, threat, ref, with_reference(ref, stream)))
    settings = chosen_settings(detectors, quiet)
    shares = {"RobustnessMonitor": share(own)}
    header(["detector", "default", f"alarms of {n_quiet} quiet streams", "in the budget", "alarms"])
    line(["RobustnessMonitor", f"{RATE}", f"{share(own):.2f}", "", ""])
    for name, (default, strict, value) in settings.items():
        shares |= {name: default, f"{name} {value:g}": strict}
        line([name, detectors[name][1][0], f"{default:.2f}", f"{value:g}", f"{strict:.2f}"])
    print()
    header(["change", "detector", "median delay", "found", "alarm before", "ms/stream"])
    for kind in only or KINDS:
        found: dict[str, list] = {}
        spent: dict[str, float] = {}
        for seed in range(n_streams):
            ref, stream = one(kind, model, X, y, threat, seed)
            tasks = {"RobustnessMonitor": partial(ours, model, threat, ref, stream, seed)}
            if detectors:
                numbers = statistics(model, threat, ref, with_reference(ref, stream))
            for name, (make, grid, watches) in detectors.items():
                if watches == "errors" and kind not in ("5% attacked", "20% labels swapped"):
                    continue
                part = seen_by(watches, numbers)
                strict = settings[name][2]
                for value, label in {grid[0]: name, strict: f"{name} {strict:g}"}.items():
                    if shares[label] > TOO_MANY:
                        continue
                    tasks[label] = partial(theirs, partial(make, value), part)
            for label, task in tasks.items():
                start = time.process_time()
                found.setdefault(label, []).append(task())
                spent[label] = spent.get(label, 0.0) + time.process_time() - start
        for label, when in found.items():
            took = 1000 * spent[label] / n_streams
            line([kind, label, *_told(when), f"{took:.0f}"])
    print(f"\n{time.process_time() - began:.0f} seconds\n")


def _told(when) -> list[str]:
    """Median delay where the alarm came after the change; share found; share alarmed before."""
    when = np.array([np.inf if w is None else w for w in when], dtype=float)
    after = when[(when > START) & np.isfinite(when)] - START
    median = f"{np.median(after):.0f}" if len(after) else "-"
    return [median, f"{len(after) / len(when):.2f}", f"{np.mean(when <= START):.2f}"]


# Real drift -----------------------------------------------------------------------------------


def acs(folder: str | None, at_most: int | None) -> None:
    files = ("employment_MA_reference.pq", "employment_MA_analysis.pq")
    if folder is None or not all((Path(folder) / name).exists() for name in files):
        print("acs: skipped. --acs FOLDER must hold", " and ".join(files), "(nannyml's wheel).\n")
        return
    try:
        import pandas
        import polars
    except ImportError:
        print("acs: skipped, pandas or polars is not installed.\n")
        return
    ref, new = (polars.read_parquet(Path(folder) / name) for name in files)
    target = polars.read_parquet(Path(folder) / "employment_MA_analysis_target.pq")
    new = new.join(target, on="id")
    columns = [
        c
        for c in ref.columns
        if c not in ("id", "employed", "year", "prediction", "predicted_probability")
    ]
    texts = [polars.col(c).cast(polars.String) for c in columns if c != "AGEP"]

    def frame(part):
        chosen = part.select([polars.col("AGEP"), *texts])
        return pandas.DataFrame({c: chosen[c].to_list() for c in chosen.columns})

    order = np.random.default_rng(0).permutation(len(ref))
    train, rest = ref[order[:20_000]], ref[order[20_000:]]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        sklearn.compose.make_column_transformer(
            (encoder, [c for c in columns if c != "AGEP"]), remainder="passthrough"
        ),
        HistGradientBoostingClassifier(random_state=0),
    ).fit(frame(train), train["employed"].to_numpy())
    held, quiet = rest[:25_000], rest[25_000:]
    reference = frame(held), held["employed"].to_numpy()
    years = [(2015, quiet), *((y, new.filter(polars.col("year") == y)) for y in (2016, 2017, 2018))]
    print(
        "ACS employment, Massachusetts; each year against held-out rows of 2015, updates of 1,000\n"
    )
    header(["year", "rows", "accuracy", "detector", "alarm at row", "told", "largest effect", "s"])
    for year, part in years:
        part = part[np.random.default_rng(1).permutation(len(part))[:at_most]]
        stream = frame(part), part["employed"].to_numpy()
        outputs = model.predict_proba(stream[0])
        right = outputs.argmax(axis=1) == stream[1]
        first = [year, len(part), f"{right.mean():.4f}"]
        for gate in (0.05, 0.0):
            began = time.process_time()
            name, told = (
                f"RobustnessMonitor, min_effect={gate:g}",
                in_operation(model, gate, reference, stream, outputs),
            )
            line([*first, name, *told, f"{time.process_time() - began:.0f}"])
        for row in river_in_operation(model, reference, stream):
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


def river_in_operation(model, reference, stream):
    """Rows of the table for river's detectors, at their defaults; KSWIN would take hours."""
    try:
        detectors = river_detectors()
    except ImportError:
        return
    monitor = RobustnessMonitor(model, radius=2.0, threat=LpBall(scale=1.0), random_state=0)
    monitor.fit(*reference)
    streams = monitor._setup.streams

    def values_of(X, y):
        rows = Rows(X, monitor._setup.categories)
        return watch(monitor._setup, monitor.probe_, rows, rows.values, None, y).values

    known, new = (values_of(X[:20_000], y[:20_000]) for X, y in (reference, stream))
    rest = values_of(*(part[20_000:] for part in stream)) if len(stream[1]) > 20_000 else new[:0]
    values = np.concatenate([known[-N_WARM:], new, rest])
    errors = values[:, [s.name for s in streams].index("error")]
    values = (values - known.mean(axis=0)) / (known.std(axis=0) + 1e-12)
    for name, (make, grid, watches) in detectors.items():
        if name == "KSWIN":
            continue
        began = time.process_time()
        columns = [errors] if watches == "errors" else list(values.T)
        alarms = [theirs(partial(make, grid[0]), [column]) for column in columns]
        names = ["error"] if watches == "errors" else [s.name for s in streams]
        told = [n for n, when in zip(names, alarms, strict=True) if when is not None]
        when = min((a for a in alarms if a is not None), default="none")
        says = f"{len(told)} of {len(names)} streams" + (
            f": {', '.join(told)}" if 0 < len(told) < 6 else ""
        )
        yield [name, when, says, "", f"{time.process_time() - began:.0f}"]


# Cost -----------------------------------------------------------------------------------------


def cost() -> None:
    X, y = make_classification(24_000, 20, n_informative=8, random_state=0)
    train, ref, new = slice(0, 3000), slice(3000, 6000), slice(6000, 16_000)
    threat = LpBall(scale="std").bind(X[train])
    models = {
        "random forest, 100 trees": RandomForestClassifier(random_state=0),
        "boosted trees, 200": HistGradientBoostingClassifier(max_iter=200, random_state=0),
        "SVC, rbf": SVC(),
        "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
        "MLP 500-500": make_pipeline(
            StandardScaler(), MLPClassifier((500, 500), max_iter=5, random_state=0)
        ),
        "MLP 100": MLPClassifier(max_iter=20, random_state=0),
        "RobustClassifier": RobustClassifier(max_epochs=2, random_state=0),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    }
    print(
        "Cost of an update; batches of 10,000 rows of 20 columns, processor time, outputs given\n"
    )
    header(["model", "predict, us/row", "500 rows", "200 rows", "auto", "auto: rows"])
    for name, model in models.items():
        model.fit(X[train], y[train])
        ask = getattr(model, "predict_proba", None) or model.decision_function
        outputs = ask(X[new])
        predict = seconds(lambda m=model: m.predict(X[new]))
        row = [name, f"{1e6 * predict / 10_000:.1f}"]
        for max_rows in (500, 200, "auto"):
            monitor = RobustnessMonitor(
                model, radius=0.2, threat=threat, max_rows=max_rows, random_state=0
            ).fit(X[ref], y[ref])
            given = seconds(lambda m=monitor, o=outputs: m.update(X[new], outputs=o))
            row.append(f"{1000 * given:.1f} ms, {given / predict:.1%}")
        line([*row, monitor.max_rows_])
    print()


def seconds(work, times: int = 10) -> float:
    """Mean of some calls: not every small update has a look in it."""
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=("alarms", "delay", "acs", "cost"))
    parser.add_argument("--streams", type=int, default=None, help="per setting")
    parser.add_argument(
        "--quiet", type=int, default=40, help="unchanged streams for river's budget"
    )
    parser.add_argument("--changes", nargs="+", choices=KINDS, default=None)
    parser.add_argument("--without", nargs="+", default=[], metavar="DETECTOR", help="e.g. KSWIN")
    parser.add_argument("--rows", type=int, default=None, help="of each year of ACS; default: all")
    parser.add_argument("--acs", default=None, metavar="FOLDER")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*torch view.*")
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}\n"
    )
    parts = args.part or ["alarms", "delay", "cost", "acs"]
    if "alarms" in parts:
        alarms(args.streams or 1000)
    if "delay" in parts:
        delay(args.streams or 10, args.quiet, args.changes, args.without)
    if "cost" in parts:
        cost()
    if "acs" in parts:
        acs(args.acs, args.rows)


if __name__ == "__main__":
    main()
