"""The defaults for series against other smoothing, learning rates and ten steps, on real series.

    OMP_NUM_THREADS=1 python benchmarks/series.py --data aeon/datasets/data
    OMP_NUM_THREADS=1 python benchmarks/series.py --data aeon/datasets/data --only OSULeaf --seeds 1
    OMP_NUM_THREADS=1 python benchmarks/series.py --data aeon/datasets/data --ways plain default "ten steps"

The .ts files are those of the UCR and UEA archives that aeon's wheel carries (``pip download aeon
--no-deps``, then unzip); nothing is fetched here. Where the series of a set differ in length, it is read
from the files beside them that are stretched to one length (``_eq``). Train and test part are joined, and
40% held out by the seed. Radii are in standard deviations of the whole series.

"plain" is smoothing=0, "free .5" the divergence with the free step of half the radius that images have,
"divergence" with its step climbing the divergence, not the margin of the label, "ten steps" attack=PGD(n_steps=10) with the default
smoothing. Cells are clean / robust accuracy, the latter under attack="auto" on the held-out rows, means over
the seeds, in percent. "price" is CPU seconds of a fit over the plain fit's of the same seed, median; "points"
robust accuracy of the default minus that of ten steps, mean and from the least to the largest.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.model_selection import train_test_split

from skrobust import RobustClassifier, robust_accuracy_score
from skrobust.attacks import PGD, Single

RADII = {
    "ItalyPowerDemand": 0.3,
    "BasicMotions": 0.3,
    "JapaneseVowels": 0.3,
    "GunPoint": 0.2,
    "ArrowHead": 0.1,
    "OSULeaf": 0.05,
}
WAYS = {
    "plain": {"smoothing": 0},
    "default": {},
    "smoothing 1": {"smoothing": 1},
    "smoothing 4": {"smoothing": 4},
    "lr .001": {"lr": 1e-3},
    "lr .005": {"lr": 5e-3},
    "free .5": {"attack": Single(free_step=0.5, verify=False)},
    "divergence": {"attack": Single(verify=False)},
    "ten steps": {"attack": PGD(n_steps=10)},
}  # fmt: skip
PRICED = ("default", "ten steps")


def read(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """Series (channels, times) and labels of a .ts file."""
    rows = [line for line in path.read_text().splitlines() if line and line[0] not in "@#"]
    parts = [row.split(":") for row in rows]
    series = [np.array([channel.split(",") for channel in row[:-1]], dtype=float) for row in parts]
    return series, [row[-1] for row in parts]


def load(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All series of a set (n, channels, times), in standard deviations, and their labels."""
    stem = f"{name}_eq" if (folder / name / f"{name}_eq_TRAIN.ts").exists() else name
    parts = [read(folder / name / f"{stem}_{part}.ts") for part in ("TRAIN", "TEST")]
    X, y = np.stack(parts[0][0] + parts[1][0]), np.array(parts[0][1] + parts[1][1])
    return X / X.std(), y


def measure(X, y, radius: float, seed: int, ways) -> dict[str, tuple[float, float, float]]:
    """``{way: (clean, robust, CPU seconds of the fit)}`` on one split."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=seed)
    found = {}
    for name in ways:
        began = time.process_time()
        model = RobustClassifier(radius=radius, random_state=seed, **WAYS[name]).fit(X, y)
        seconds = time.process_time() - began
        robust = robust_accuracy_score(model, X_test, y_test, radius=radius, random_state=seed)
        found[name] = (100 * model.score(X_test, y_test), 100 * robust, seconds)
    return found


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def line(name: str, X, y, ways, n_seeds: int) -> list:
    """A row of the table."""
    runs = [measure(X, y, RADII[name], seed, ways) for seed in range(n_seeds)]
    constant = 100 * np.unique(y, return_counts=True)[1].max() / len(y)
    mean = [np.mean([run[way] for run in runs], axis=0) for way in ways]
    cells = [name, len(y), "x".join(map(str, X.shape[1:])), RADII[name], f"{constant:.1f}"]
    cells += [f"{clean:.1f} / {robust:.1f}" for clean, robust, _ in mean]
    for way in PRICED:
        prices = [run[way][2] / run["plain"][2] for run in runs if {way, "plain"} <= run.keys()]
        cells.append(f"{np.median(prices):.2f}" if prices else "")
    points = [run["default"][1] - run["ten steps"][1] for run in runs if set(PRICED) <= run.keys()]
    spread = f"{np.mean(points):+.1f} ({min(points):+.1f} to {max(points):+.1f})" if points else ""
    return [*cells, spread]


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per set")
    parser.add_argument("--only", nargs="*", choices=RADII, default=list(RADII), help="these sets")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="of training")
    parser.add_argument("--seeds", type=int, default=3, help="splits and fits (3)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} CPU, Python {platform.python_version()}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}\n"
    )
    prices = [f"price, {way}" for way in PRICED]
    columns = ["data", "rows", "shape", "radius", "constant", *given.ways, *prices, "points"]
    row(*columns)
    print("|" + "---|" * len(columns), flush=True)
    for name in given.only:
        row(*line(name, *load(given.data, name), given.ways, given.seeds))


if __name__ == "__main__":
    main()
