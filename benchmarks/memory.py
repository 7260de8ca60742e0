"""Time and memory of the default robust fit from 10,000 to 1,000,000 rows of 50 columns, one run.

    OMP_NUM_THREADS=1 python benchmarks/memory.py
    OMP_NUM_THREADS=1 python benchmarks/memory.py --rows 10000 30000

One epoch, each size in a process of its own. "peak" is what the process held at most in memory
(ru_maxrss); "libraries" is what it held before the data was made (Python, torch and a small fit that
loads the rest); "multiples" is their difference over the bytes of the float64 data, the data itself
included: 1 would be nothing beyond the data. "us a row" are CPU microseconds of the fit for each
row; it is flat where cost grows linearly. "over plain" is the time over that of the plain fit. A run
takes two minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time

COLUMNS = (
    "rows", "data MB", "libraries MB", "peak MB", "multiples", "fit s", "us a row", "over plain",
)  # fmt: skip
# Nothing heavy is imported here: on Linux the ru_maxrss of a process begins at its parent's.


def peak() -> int:
    """Bytes that this process held at most, as yet."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def child(n_rows: int, n_columns: int, smoothing: str) -> None:
    """Fit once, and print what it took as JSON."""
    import warnings

    import numpy as np
    import torch

    from skrobust import RobustClassifier

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    options = dict(smoothing=float(smoothing) if smoothing != "auto" else "auto", max_epochs=1)

    def rows(n: int):
        X = np.random.default_rng(0).standard_normal((n, n_columns))
        return X, (X[:, 0] + X[:, 1] > 0).astype(np.int64)

    RobustClassifier(**options, random_state=0).fit(*rows(500))
    before = peak()
    X, y = rows(n_rows)
    with_data = peak()
    began = time.process_time()
    model = RobustClassifier(**options, random_state=0).fit(X, y)
    seconds = time.process_time() - began
    found = dict(before=before, with_data=with_data, peak=peak(), data=X.nbytes, seconds=seconds)
    found["accuracy"], found["torch"] = model.score(X[:1000], y[:1000]), torch.__version__
    print(json.dumps(found))


def measure(n_rows: int, n_columns: int, smoothing: str) -> dict:
    command = [sys.executable, __file__, "--child", str(n_rows), str(n_columns), smoothing]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{n_rows} rows: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def multiples(found: dict) -> float:
    return (found["peak"] - found["before"]) / found["data"]


def line(n_rows: int, n_columns: int) -> dict:
    found = measure(n_rows, n_columns, "auto")
    plain = measure(n_rows, n_columns, "0")
    megabytes = {name: f"{found[name] / 1e6:.0f}" for name in ("data", "before", "peak")}
    row(
        f"{n_rows:,}", *megabytes.values(), f"{multiples(found):.2f}", f"{found['seconds']:.1f}",
        f"{1e6 * found['seconds'] / n_rows:.0f}", f"{found['seconds'] / plain['seconds']:.2f}",
    )  # fmt: skip
    return found


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        n_rows, n_columns, smoothing = arguments.child
        child(int(n_rows), int(n_columns), smoothing)
        return 0
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPU, load {load:.1f}, 1 thread, Python {platform.python_version()}\n")
    row(*COLUMNS)
    print("|" + "---|" * len(COLUMNS), flush=True)
    found = [(n, line(n, arguments.columns)) for n in arguments.rows]
    (first, small), (last, large) = found[0], found[-1]
    growth = (large["seconds"] / last) / (small["seconds"] / first)
    print(
        f"\nAt {last:,} rows: {multiples(large):.2f} times the data in all, "
        f"{growth:.2f} of the time a row at {first:,} rows. torch {large['torch']}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
