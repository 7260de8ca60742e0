"""Text columns of data frames as numbers: each value by its place in a list of categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Categories", "text_categories", "with_codes", "with_text"]

# position of a column -> its values, in the order of their codes
Categories = Mapping[int, Sequence[Any]]


def text_categories(X: Any, known: Categories | None = None) -> dict[int, tuple]:
    """The values of each column of a frame that holds text or categories; {} for other rows.

    ``known`` values keep their codes; others that ``X`` has come after them.

    >>> import pandas as pd
    >>> X = pd.DataFrame({"size": [1.5, 2.0, 1.0], "color": ["red", None, "blue"]})
    >>> text_categories(X)
    {1: ('blue', 'red')}
    >>> text_categories(X, {1: ("red", "green")})
    {1: ('red', 'green', 'blue')}
    """
    found = {}
    for position, column in enumerate(_columns(X)):
        values = _text_values(column)
        if values is not None:
            old = tuple((known or {}).get(position, ()))
            found[position] = (*old, *(value for value in values if value not in old))
    return found


def with_codes(X: Any, categories: Categories) -> Any:
    """The frame with codes in place of text, NaN where a value is missing."""
    columns = _columns(X)
    codes = {p: _encoded(columns[p], values) for p, values in categories.items()}
    return _replaced(X, codes)


def with_text(coded: Any, X: Any, categories: Categories, aligned: bool = True) -> Any:
    """A frame of codes with the text that they stand for, in the types of ``X``.

    ``aligned``: the rows are those of ``X``, moved; what did not change is taken from there.
    """
    columns, before = _columns(coded), _columns(X)
    found = {}
    for position, values in categories.items():
        given = before[position].to_list()
        missing = next((v for v in given if v is None or v != v), None)
        codes = np.asarray(columns[position], dtype=np.float64)
        new = [missing if np.isnan(code) else values[round(code)] for code in codes.tolist()]
        if aligned:
            old = _encoded(before[position], values)
            same = (codes == old) | np.isnan(old)
            new = [v if keep else w for v, w, keep in zip(given, new, same, strict=True)]
        found[position] = new
    return _replaced(coded, found, X)


def _encoded(column: Any, values: Sequence[Any]) -> np.ndarray:
    codes = {value: float(code) for code, value in enumerate(values)}
    return np.array([codes.get(value, np.nan) for value in column.to_list()], dtype=np.float64)


def _replaced(X: Any, columns: Mapping[int, Any], like: Any = None) -> Any:
    """``X`` with other columns at some positions, in the types of ``like``."""
    if hasattr(X, "iloc"):
        names, parts = X.columns, {p: X.iloc[:, p] for p in range(X.shape[1])}
        for position, values in columns.items():
            dtype = None if like is None else like.dtypes.iloc[position]
            series = type(X.iloc[:, position])
            parts[position] = series(values, index=X.index, dtype=dtype)
        frame = type(X)(parts, index=X.index)
        frame.columns = names
        return frame
    parts = X.get_columns()
    for position, values in columns.items():
        dtype = None if like is None else like.dtypes[position]
        parts[position] = type(parts[position])(X.columns[position], values, dtype=dtype)
    return type(X)(parts)


def _columns(X: Any) -> list[Any]:
    """The columns of a pandas or polars frame."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return [X.iloc[:, position] for position in range(X.shape[1])]
    return list(X.get_columns()) if hasattr(X, "get_columns") else []


def _text_values(column: Any) -> list[Any] | None:
    """Sorted values of a column of text or categories, None for any other column."""
    kind = str(column.dtype).lower()
    if kind == "category":  # pandas keeps their order
        return list(column.cat.categories)
    if kind.startswith(("str", "large_string", "categorical", "enum")):
        return sorted({value for value in column.to_list() if isinstance(value, str)})
    if kind != "object":
        return None
    present = [value for value in column.to_list() if value is not None and value == value]
    if present and all(isinstance(value, str) for value in present):
        return sorted(set(present))
    return None
