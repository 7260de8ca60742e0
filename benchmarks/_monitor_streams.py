"""Streams for benchmarks/monitor.py: rows in which nothing changes, changes put in, real years."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from skrobust import LpBall, RobustnessMonitor, worst_case
from skrobust.metrics._rows import Rows
from skrobust.monitoring._setup import watch

START, LENGTH = 1000, 3000  # the row of the change, rows of a stream
N_WARM = 500  # reference rows that river's detectors see before the stream
KINDS = ("mean +0.5 std", "variance x2", "sensor stuck", "5% attacked", "20% labels swapped")


# Nothing changes ------------------------------------------------------------------------------


def real(name: str):
    """(model, pool of rows it was not trained on, their labels, threat)."""
    X, y = (load_breast_cancer if name == "breast cancer" else load_digits)(return_X_y=True)
    X = X[:, X.std(axis=0) > 0.5] if name == "digits" else X
    order = np.random.default_rng(0).permutation(len(X))
    train, rest = order[: len(X) // 2], order[len(X) // 2 :]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X[train], y[train])
    return model, X[rest], y[rest], LpBall(scale="std").bind(X[train])


# A change put in ------------------------------------------------------------------------------


def bench_data():
    """(model, rows it was not trained on, their labels, threat)."""
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


def one(kind, model, X, y, threat, seed):
    """((X, y) of a reference, (X, y) of a stream with the change in it; any other kind: with none)."""
    random = np.random.default_rng([3, seed])
    order = random.permutation(len(X))
    ref, new = order[:2000], order[2000 : 2000 + LENGTH]
    stream = change(kind, model, threat, X[new], y[new], seed)
    return (X[ref], y[ref]), stream


# What the monitor watches ---------------------------------------------------------------------


def numbers_of(monitor: RobustnessMonitor, *parts) -> list[np.ndarray]:
    """For each (X, y), the numbers of all streams of a fitted monitor, a column each."""
    setup, found = monitor._setup, []
    for X, y in parts:
        rows = Rows(X, setup.categories)
        found.append(watch(setup, monitor.probe_, rows, rows.values, None, y).values)
    return found


def statistics(model, threat, ref, stream):
    """What ours watches, standardised by the reference, its last rows first; names; errors as 0 or 1."""
    monitor = RobustnessMonitor(model, radius=0.3, threat=threat, random_state=0).fit(*ref)
    streams = monitor._setup.streams
    keep = [k for k, s in enumerate(streams) if s.name != "prediction"]
    known, values = (part[:, keep] for part in numbers_of(monitor, ref, stream))
    names = [streams[k].name for k in keep]
    values = np.concatenate([known[-N_WARM:], values])
    scaled = (values - known.mean(axis=0)) / (known.std(axis=0) + 1e-12)
    return scaled, names, values[:, names.index("error")]


# Real drift -----------------------------------------------------------------------------------

EMPLOYMENT = ("employment_MA_reference.pq", "employment_MA_analysis.pq")
ANSWERS = "employment_MA_analysis_target.pq"
NOT_COLUMNS = ("id", "employed", "year", "prediction", "predicted_probability")


def missing_for_employment(folder: str | None) -> str | None:
    """Why the years of employment cannot be read, or None."""
    names = (*EMPLOYMENT, ANSWERS)
    if folder is None or not all((Path(folder) / name).exists() for name in names):
        return f"--acs FOLDER must hold {', '.join(names)} (nannyml's wheel)"
    try:
        import pandas  # noqa: F401
        import polars  # noqa: F401
    except ImportError:
        return "pandas or polars is not installed"
    return None


def employment(folder: str, at_most: int | None):
    """(model, (X, y) of the reference, {year: (X, y)}); 2015 is of the rows held out."""
    import polars

    ref, new = (polars.read_parquet(Path(folder) / name) for name in EMPLOYMENT)
    new = new.join(polars.read_parquet(Path(folder) / ANSWERS), on="id")
    columns = [c for c in ref.columns if c not in NOT_COLUMNS]
    order = np.random.default_rng(0).permutation(len(ref))
    train, rest = ref[order[:20_000]], ref[order[20_000:]]
    years = {2015: rest[25_000:]}
    years |= {year: new.filter(polars.col("year") == year) for year in (2016, 2017, 2018)}
    for year, part in years.items():
        years[year] = part[np.random.default_rng(1).permutation(len(part))[:at_most]]
    read = {year: labelled(part, columns) for year, part in years.items()}
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    texts = (encoder, [c for c in columns if c != "AGEP"])
    model = make_pipeline(
        make_column_transformer(texts, remainder="passthrough"),
        HistGradientBoostingClassifier(random_state=0),
    ).fit(*labelled(train, columns))
    return model, labelled(rest[:25_000], columns), read


def labelled(part, columns: list[str]):
    """(frame of the age as a number and all else as text, labels) of a frame of polars."""
    import pandas
    import polars

    texts = [polars.col(c).cast(polars.String) for c in columns if c != "AGEP"]
    chosen = part.select([polars.col("AGEP"), *texts])
    frame = pandas.DataFrame({c: chosen[c].to_list() for c in chosen.columns})
    return frame, part["employed"].to_numpy()
