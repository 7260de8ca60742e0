"""Rows as the user has them (arrays, data frames, tensors) and as an attack moves them (numbers)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array

from skrobust._categories import Categories, text_categories, with_codes, with_text
from skrobust._torch import to_numpy

__all__ = ["Rows", "quiet_names"]

ONLY_NUMBERS = (
    "Only numbers can move, and text columns of data frames. Encode dates and other objects first, "
    "and measure the model that takes the encoded columns."
)


class Rows:
    """The rows X of an evaluation: what was given, and the same as an array of floats.

    Attributes
    ----------
    values : ndarray of shape (n, ...)
        The rows in their own float type (float64 for integers, booleans and mixed frames).
    categories : dict, position -> values
        Columns of text, which ``values`` holds as codes; ``known`` ones keep their codes.
    """

    def __init__(self, X: Any, known: Categories | None = None):
        self.given, self._kind = _known(X)
        self.categories = text_categories(self.given, known)
        self._numeric = with_codes(self.given, self.categories) if self.categories else self.given
        numbers = _READ[self._kind](self._numeric)
        checked = check_array(
            numbers, dtype=None, ensure_all_finite="allow-nan", allow_nd=True, input_name="X"
        )
        self.values = checked.astype(_float_type(checked.dtype), copy=False)

    @property
    def column_types(self) -> list[np.dtype] | None:
        """Float types of a frame's columns, where they are not all those of ``values``."""
        if self._kind not in _TYPES:
            return None
        types = [np.dtype(kind) for kind in _TYPES[self._kind](self._numeric)]
        return None if all(kind == self.values.dtype for kind in types) else types

    def __len__(self) -> int:
        return len(self.values)

    def read(self, X: Any) -> np.ndarray:
        """The numbers of other rows like these, moved ones for instance."""
        return Rows(X, self.categories).values

    def like_given(self, values: np.ndarray) -> Any:
        """Moved rows in the container, column order, index and types of the rows given.

        A float type narrower than the numbers is rounded towards the row given, so that no budget
        is passed by the rounding. Integers and booleans keep their type where every moved value
        is one of theirs; otherwise the column (of an array: the array) becomes float64.
        """
        values = np.where(np.isnan(self.values), self.values, values)
        moved = _WRITE[self._kind](values, self._numeric, self.values)
        return with_text(moved, self.given, self.categories) if self.categories else moved

    def wrap(self, values: np.ndarray) -> Any:
        """Any number of rows as the model is used to get them (for a model asked as a black box)."""
        rows = _WRITE[self._kind](values, self._numeric, None)
        if not self.categories:
            return rows
        return with_text(rows, self.given, self.categories, aligned=False)


@contextmanager
def quiet_names() -> Iterator[None]:
    """scikit-learn's word on missing or superfluous column names is wanted once, not per call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X (has|does not have valid) feature names")
        yield


def _known(X: Any) -> tuple[Any, str]:
    """The container and its kind; sequences become arrays."""
    if isinstance(X, torch.Tensor):
        return X, "tensor"
    library = type(X).__module__.split(".")[0]
    if hasattr(X, "columns") and library == "polars":
        return X, "polars"
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        return X, "pandas"
    if isinstance(X, (list, tuple)):
        X = np.asarray(X)
    return X, "array"


def _float_type(dtype: np.dtype) -> np.dtype:
    """The type that rows move in: their own if it is a common float, float64 otherwise."""
    return dtype if dtype in (np.float16, np.float32, np.float64) else np.dtype(np.float64)


def _holds(dtype: Any, values: np.ndarray) -> bool:
    """Whether an integer or boolean type holds the values as they are."""
    dtype = getattr(dtype, "numpy_dtype", dtype)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iub":
        return False
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(((values == np.round(values)) & (low <= values) & (values <= high)).all())


def _narrow(values: np.ndarray, dtype: np.dtype, towards: np.ndarray | None) -> np.ndarray:
    """``values`` in ``dtype``, no further from ``towards`` than they were."""
    narrow = values.astype(dtype)
    if towards is None:
        return narrow
    near = towards.astype(dtype)
    further = np.abs(narrow.astype(np.float64) - towards) > np.abs(values - towards)
    return np.where(further, np.nextafter(narrow, near), narrow)


# Arrays and tensors ---------------------------------------------------------------------------


def _read_array(X: Any) -> Any:
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "OSUMm":
        return _floats(X, "X")
    return X


def _floats(values: Any, name: str) -> np.ndarray:
    """Objects as floats if that is what they are."""
    values = np.asarray(values)
    try:
        if values.dtype.kind in "SUMm" or any(isinstance(v, (str, bytes)) for v in values.flat):
            raise TypeError("text or dates")
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds values that are not numbers. {ONLY_NUMBERS}") from error


def _write_array(values: np.ndarray, given: Any, towards: np.ndarray | None) -> np.ndarray:
    dtype = getattr(given, "dtype", None)
    if towards is not None and _holds(dtype, values):
        return values.astype(dtype)
    dtype = _float_type(dtype) if isinstance(dtype, np.dtype) else np.dtype(np.float64)
    return _narrow(values, dtype, towards)


def _read_tensor(X: torch.Tensor) -> np.ndarray:
    return to_numpy(X.float() if X.dtype == torch.bfloat16 else X)


def _write_tensor(values, given: torch.Tensor, towards) -> torch.Tensor:
    if not given.is_floating_point():
        kind = np.dtype(str(given.dtype).removeprefix("torch."))
        if towards is not None and _holds(kind, values):
            return torch.as_tensor(values.astype(kind), device=given.device)
    dtype = given.dtype if given.dtype in (torch.float16, torch.float32) else torch.float64
    array = _narrow(values, np.dtype(str(dtype).removeprefix("torch.")), towards)
    return torch.as_tensor(array, device=given.device)


# Data frames ----------------------------------------------------------------------------------


def _refuse_columns(names: list[Any]) -> None:
    if names:
        raise ValueError(f"Columns {names[:10]} of X do not hold numbers. {ONLY_NUMBERS}")


def _read_pandas(X: Any) -> np.ndarray:
    from pandas.api.types import is_complex_dtype, is_numeric_dtype, is_object_dtype

    columns, refused = [], []
    for position, (name, dtype) in enumerate(X.dtypes.items()):
        column = X.iloc[:, position]
        if is_numeric_dtype(dtype) and not is_complex_dtype(dtype):
            kind = _column_type(dtype)
            columns.append(column.to_numpy(dtype=kind, na_value=np.nan))
        elif is_object_dtype(dtype):
            try:
                columns.append(_floats(column.to_numpy(), f"Column {name!r}"))
            except ValueError:
                refused.append(name)
        else:
            refused.append(name)
    _refuse_columns(refused)
    return np.stack(columns, axis=1) if columns else np.empty((len(X), 0))


def _column_type(dtype: Any) -> np.dtype:
    """The numpy float type that holds a column; nullable and Arrow types name theirs."""
    dtype = getattr(dtype, "numpy_dtype", dtype)
    return _float_type(dtype) if isinstance(dtype, np.dtype) else np.dtype(np.float64)


def _write_pandas(values: np.ndarray, given: Any, towards: np.ndarray | None) -> Any:
    index = given.index if towards is not None else None
    types = list(given.dtypes)
    if all(dtype == values.dtype for dtype in types):
        return type(given)(values, columns=given.columns, index=index)
    columns = {}
    for position, dtype in enumerate(types):
        near = None if towards is None else towards[:, position]
        column = _narrow(values[:, position], _column_type(dtype), near)
        columns[position] = column
    frame = type(given)(columns, index=index)
    for position, dtype in enumerate(types):  # nullable types keep NA for what is missing
        column = columns[position]
        nullable = not isinstance(dtype, np.dtype)
        known = column[~np.isnan(column)] if nullable else column
        floats = nullable and getattr(dtype, "kind", "") == "f"
        if floats or (towards is not None and _holds(dtype, known)):
            frame[position] = frame[position].astype(dtype)
    frame.columns = given.columns
    return frame


def _read_polars(X: Any) -> np.ndarray:
    numeric = [dtype.is_numeric() or str(dtype) == "Boolean" for dtype in X.dtypes]
    _refuse_columns([name for name, ok in zip(X.columns, numeric, strict=True) if not ok])
    columns = [column.cast(_polars_type(column)).to_numpy() for column in X.get_columns()]
    return np.stack(columns, axis=1) if columns else np.empty((len(X), 0))


def _polars_type(column: Any) -> Any:
    import polars

    return column.dtype if column.dtype == polars.Float32 else polars.Float64


def _polars_whole(dtype: Any) -> np.dtype | None:
    """Numpy's type of an integer or boolean polars type."""
    name = str(dtype).lower()
    return np.dtype("bool" if name == "boolean" else name) if _is_whole(name) else None


def _is_whole(name: str) -> bool:
    return name == "boolean" or name.rstrip("0123456789") in ("int", "uint")


def _write_polars(values: np.ndarray, given: Any, towards: np.ndarray | None) -> Any:
    columns = []
    for position, column in enumerate(given.get_columns()):
        kind = _polars_type(column)
        near = None if towards is None else towards[:, position]
        array = _narrow(values[:, position], np.dtype(str(kind).lower()), near)
        moved = type(column)(column.name, array, dtype=kind)
        moved = moved.fill_nan(None) if column.null_count() else moved
        if near is not None and _holds(_polars_whole(column.dtype), array[~np.isnan(array)]):
            moved = moved.cast(column.dtype)
        columns.append(moved)
    return type(given)(columns)


_TYPES = {
    "pandas": lambda X: [_column_type(dtype) for dtype in X.dtypes],
    "polars": lambda X: [str(_polars_type(column)).lower() for column in X.get_columns()],
}
_READ = {
    "array": _read_array,
    "tensor": _read_tensor,
    "pandas": _read_pandas,
    "polars": _read_polars,
}
_WRITE = {
    "array": _write_array,
    "tensor": _write_tensor,
    "pandas": _write_pandas,
    "polars": _write_polars,
}
