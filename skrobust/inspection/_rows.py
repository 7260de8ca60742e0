"""Some of the rows, in whatever container they come."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_array", "feature_names", "row_labels", "some_rows", "take_rows"]


def take_rows(X: Any, index: np.ndarray) -> Any:
    """The rows ``index`` of an array, tensor or data frame, in the same kind of container."""
    if hasattr(X, "iloc"):
        return X.iloc[index]
    if isinstance(X, (list, tuple)):
        return [X[i] for i in index]
    return X[index.tolist()] if hasattr(X, "columns") else X[index]


def some_rows(n_rows: int, at_most: int | None, random: np.random.RandomState) -> np.ndarray:
    """Indices of all rows, or of ``at_most`` of them drawn at random, in ascending order."""
    if at_most is None or n_rows <= at_most:
        return np.arange(n_rows)
    return np.sort(random.permutation(n_rows)[:at_most])


def feature_names(X: Any, n_features: int) -> list[str]:
    """The names of the columns, or their numbers."""
    columns = getattr(X, "columns", None)
    if columns is None:
        return [f"x{j}" for j in range(n_features)]
    return [str(name) for name in columns]


def row_labels(X: Any, n_rows: int) -> list:
    """What the user calls the rows: the index of a pandas frame, or their numbers."""
    return list(X.index) if hasattr(X, "iloc") else list(range(n_rows))


def as_array(values: Any) -> np.ndarray:
    """A column of values, whatever holds it; tensors come to the CPU."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
