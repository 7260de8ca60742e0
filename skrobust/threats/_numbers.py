"""Options of a threat become numbers: names, dicts and words in, arrays of a row's shape out."""

from __future__ import annotations

import difflib
import numbers
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from skrobust._categories import text_categories, with_codes
from skrobust.exceptions import RobustnessWarning, invalid

__all__ = ["Bounds", "Columns", "bounds_of", "directions_of", "frozen_of", "scale_of", "ways_of"]

WORDS = ("std", "iqr", "range")


class Bounds(NamedTuple):
    """Bounds as numbers: what ``bind`` makes of ``bounds=``.

    ``learned`` bounds (from training rows) widen to hold a row that lies outside; bounds that the
    user gave make such a row an error.
    """

    low: np.ndarray
    high: np.ndarray
    learned: bool = False
    names: tuple[str, ...] | None = None


class Columns:
    """What is known of the columns: the shape of one row, names, and rows to learn from.

    An index or a name stands for one entry along the first axis of a row: a column of a table, a
    channel of an image.
    """

    def __init__(
        self, shape: tuple[int, ...], names=None, values: np.ndarray | None = None, kinds=None
    ):
        self.shape, self.values = tuple(shape), values
        self.kinds: list[str] | None = kinds  # numpy's letters of the columns' types
        self.categories: dict[int, tuple] = {}  # values of text columns
        self.names = None if names is None else [str(name) for name in names]
        self.length = self.shape[0]
        if self.names is not None and len(self.names) != self.length:
            raise invalid(
                "feature_names",
                self.names,
                f"one name for each of the {self.length} columns of X, got {len(self.names)}",
            )

    @classmethod
    def of(cls, X, feature_names=None) -> Columns:
        """Columns of an array or a data frame; names are kept when all of them are strings."""
        if feature_names is None and hasattr(X, "columns"):
            found = list(X.columns)
            feature_names = found if all(isinstance(name, str) for name in found) else None
        categories = text_categories(X)
        X = with_codes(X, categories) if categories else X
        try:
            if set("Mm") & set(_kinds(X, 1) or ()):
                raise TypeError("dates")
            values = _floats(X)
        except (TypeError, ValueError) as error:
            raise invalid(
                "X", type(X), "an array or data frame of numbers",
                "A threat moves numbers and text columns of data frames: encode dates and other "
                "objects first.", TypeError,
            ) from error  # fmt: skip
        if values.ndim < 2:
            raise invalid("X", X, "an array of rows (n, ...)", "Reshape one column by X[:, None].")
        values = np.where(np.isfinite(values), values, np.nan)
        columns = cls(values.shape[1:], feature_names, values, _kinds(X, values.shape[1]))
        columns.categories = categories
        return columns

    def of_kind(self, letters: str) -> list[int]:
        """Positions of the columns whose type has one of numpy's letters ("i", "u", "b", "f")."""
        return [place for place, kind in enumerate(self.kinds or []) if kind in letters]

    def position(self, key, option: str) -> int:
        """Position of a name or an index."""
        if isinstance(key, str):
            return self._named(key, option)
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            if -self.length <= key < self.length:
                return int(key) % self.length
            raise invalid(option, key, f"an index below {self.length} (the columns of X)")
        raise invalid(option, key, "made of column names or indices", error=TypeError)

    def label(self, position: int) -> str:
        return repr(self.names[position]) if self.names else str(position)

    def array(self, values, option: str, fill: float) -> np.ndarray:
        """Float array that broadcasts against a row; ``None`` is ``fill``."""
        try:
            array = np.array(fill if values is None else values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise invalid(
                option, values, "a number or an array of numbers", error=TypeError
            ) from error
        try:
            fits = np.broadcast_shapes(array.shape, self.shape) == self.shape
        except ValueError:
            fits = False
        if not fits:
            raise invalid(
                option,
                values,
                f"a number or an array of the shape of one row, {self.shape}, not {array.shape}",
            )
        return array

    def _named(self, name: str, option: str) -> int:
        if self.names is None:
            raise invalid(
                option,
                name,
                "an index, for X has no column names",
                'Pass a data frame, keep names with set_output(transform="pandas"), or let the '
                "estimator scale the columns itself: preprocessor=.",
            )
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=3)
            known = f"one of {near}" if near else f"one of {self.names[:10]}"
            raise invalid(option, name, f"the name of a column of X, perhaps {known}")
        if self.names.count(name) > 1:
            raise invalid(option, name, "an index, for several columns of X have this name")
        return self.names.index(name)


def _floats(X) -> np.ndarray:
    if hasattr(X, "detach"):
        X = X.detach().cpu().double()
    if hasattr(X, "to_numpy") and hasattr(X, "iloc"):  # pandas: its own NA is no float
        return X.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(X, dtype=np.float64)


def _kinds(X, n_columns: int) -> list[str] | None:
    """Numpy's letter of each column's type; None where X has none."""
    if hasattr(X, "detach"):
        X = np.empty(0, dtype=str(X.dtype).removeprefix("torch.").replace("bfloat16", "float32"))
    if hasattr(X, "dtypes"):
        return [_letter(kind) for kind in X.dtypes]
    return [X.dtype.kind] * n_columns if isinstance(X, np.ndarray) else None


def _letter(kind) -> str:
    """Numpy's letter of a column type of pandas or polars."""
    if hasattr(kind, "kind"):
        return kind.kind
    name = str(kind).lower()
    if name.startswith(("date", "time", "duration")):
        return "M"
    return "b" if name.startswith("bool") else "i" if name.startswith(("int", "uint")) else "f"


def frozen_of(frozen, columns: Columns, option: str = "frozen") -> np.ndarray | None:
    """Mask of a row's shape: True for the entries that are meant."""
    if frozen is None:
        return None
    if isinstance(frozen, (str, numbers.Number)) or not np.iterable(frozen):
        raise invalid(
            option,
            frozen,
            "a list of columns or a mask",
            f"Write {option}=[{frozen!r}].",
            TypeError,
        )
    given = np.asarray(list(frozen) if not isinstance(frozen, np.ndarray) else frozen)
    if given.dtype == bool and given.size:
        if not _fits(given.shape, columns.shape):
            raise invalid(
                option, frozen, f"a mask of the shape of one row, {columns.shape}, or indices"
            )
        return np.broadcast_to(given, columns.shape).copy()
    mask = np.zeros(columns.shape, dtype=bool)
    for key in given.tolist() if given.dtype.kind in "iu" else list(frozen):
        mask[columns.position(key, option)] = True
    return mask


def _fits(shape: tuple[int, ...], row: tuple[int, ...]) -> bool:
    """Whether an array stands for a row: of its shape, or for its last axes (times, pixels)."""
    try:
        return np.broadcast_shapes(shape, row) == row and (shape == row or shape[-1:] == row[-1:])
    except ValueError:
        return False


def directions_of(direction, columns: Columns) -> dict[int, str] | None:
    """The same dict by position."""
    if direction is None:
        return None
    if not isinstance(direction, Mapping):
        raise invalid("direction", direction, 'a dict, column -> "up" or "down"', error=TypeError)
    for key, way in direction.items():
        if not (isinstance(way, str) and way in ("up", "down")):
            raise invalid(f"direction[{key!r}]", way, '"up" (may only grow) or "down"')
    return {columns.position(key, "direction"): way for key, way in direction.items()}


def ways_of(frozen, direction, columns: Columns) -> tuple[np.ndarray, np.ndarray] | None:
    """1 where an entry may fall (first array) or grow (second), 0 where not; None: anywhere."""
    if frozen is None and not direction:
        return None
    down, up = np.ones(columns.shape), np.ones(columns.shape)
    for position, way in (direction or {}).items():
        (down if way == "up" else up)[position] = 0
    if frozen is not None:
        down[frozen] = up[frozen] = 0
    return down, up


def scale_of(scale, columns: Columns, frozen: np.ndarray | None):
    """Scale as a float or an array, and the mask of entries that have none (constant columns)."""
    if isinstance(scale, str):
        return _learned_scale(scale, columns, frozen)
    if isinstance(scale, Mapping):
        scale = _named_scale(scale, columns, frozen)
    array = columns.array(scale, "scale", 1.0)
    if scale is None or not (np.isfinite(array) & (array > 0)).all():
        raise invalid(
            "scale", scale, "finite and > 0 for every column",
            "To keep a column where it is, list it in frozen=.",
        )  # fmt: skip
    return (float(array) if array.ndim == 0 else array), None


def _named_scale(scale: Mapping, columns: Columns, frozen: np.ndarray | None) -> np.ndarray:
    array = np.full(columns.shape, np.nan)
    for key, value in scale.items():
        if isinstance(value, (bool, str)) or not isinstance(value, numbers.Real):
            raise invalid(f"scale[{key!r}]", value, "a number > 0", error=TypeError)
        if not 0 < value < np.inf:
            raise invalid(
                f"scale[{key!r}]", value, "a finite number > 0",
                "To keep a column where it is, list it in frozen=.",
            )  # fmt: skip
        array[columns.position(key, "scale")] = value
    if frozen is not None:
        array[frozen & np.isnan(array)] = 1.0
    missing = [columns.label(i) for i in _affected(np.isnan(array))]
    if missing:
        raise invalid(
            "scale", dict(scale), "a dict that names every column that can move",
            f"Missing: {_some(missing)}. Add them, or list them in frozen=.",
        )  # fmt: skip
    return array


def _learned_scale(word: str, columns: Columns, frozen: np.ndarray | None):
    if word not in WORDS:
        raise invalid("scale", word, f"a number, an array, a dict or one of {WORDS}")
    _need_rows("scale", word, columns)
    with warnings.catch_warnings():  # columns without a single number are dealt with below
        warnings.simplefilter("ignore", RuntimeWarning)
        spread = np.nanmax(columns.values, axis=0) - np.nanmin(columns.values, axis=0)
        if word == "std":
            # a constant column may have a tiny standard deviation, by rounding: its range is 0
            array = np.where(spread > 0, np.nanstd(columns.values, axis=0), 0.0)
        elif word == "iqr":
            upper, lower = np.nanpercentile(columns.values, [75, 25], axis=0)
            array = upper - lower
        else:
            array = spread
    stuck = ~(array > 0)
    told = stuck if frozen is None else stuck & ~frozen
    if told.any():
        names = [columns.label(i) for i in _affected(told)]
        warnings.warn(
            f"scale={word!r} is 0 for {_some(names)}: nothing there can move (as if frozen). Give "
            "such columns a scale of their own (a dict or an array) if they should.",
            RobustnessWarning,
            stacklevel=4,
        )
    return np.where(stuck, 1.0, array), (stuck if stuck.any() else None)


def bounds_of(bounds, columns: Columns) -> Bounds | None:
    """Bounds as two arrays."""
    if bounds is None:
        return None
    if isinstance(bounds, str):
        if bounds != "data":
            raise invalid("bounds", bounds, 'None, "data", (low, high) or a dict')
        return _learned_bounds(columns)
    if isinstance(bounds, Bounds):
        low, high, learned, names = bounds
    else:
        pair = _named_bounds(bounds, columns) if isinstance(bounds, Mapping) else bounds
        low, high = _pair(pair, "bounds")
        learned, names = False, None
    low = columns.array(low, "bounds (low)", -np.inf)
    high = columns.array(high, "bounds (high)", np.inf)
    wrong = np.broadcast_to(~(low <= high), columns.shape)  # true for NaN
    if wrong.any() and not learned:
        where = tuple(np.argwhere(wrong)[0])
        pair = tuple(float(np.broadcast_to(side, columns.shape)[where]) for side in (low, high))
        raise invalid(
            "bounds", pair, f"low <= high, without NaN (column {columns.label(where[0])})"
        )
    names = tuple(columns.names) if columns.names else names
    return Bounds(low, high, learned, names)


def _learned_bounds(columns: Columns) -> Bounds:
    _need_rows("bounds", "data", columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanmin(columns.values, axis=0), np.nanmax(columns.values, axis=0)
    # nothing seen, nothing known: such a column cannot move (the row itself widens the bounds)
    low, high = np.where(np.isnan(low), np.inf, low), np.where(np.isnan(high), -np.inf, high)
    return Bounds(low, high, True, tuple(columns.names) if columns.names else None)


def _named_bounds(bounds: Mapping, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(columns.shape, -np.inf), np.full(columns.shape, np.inf)
    for key, pair in bounds.items():
        down, up = _pair(pair, f"bounds[{key!r}]")
        where = columns.position(key, "bounds")
        low[where] = -np.inf if down is None else down
        high[where] = np.inf if up is None else up
    return low, high


def _pair(pair, option: str):
    if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise invalid(option, pair, "a pair (low, high); None means no bound on that side")
    return pair


def _need_rows(option: str, word: str, columns: Columns) -> None:
    if not len(columns.values):
        raise invalid(option, word, "bound to at least one row", "X has none.")


def _affected(mask: np.ndarray) -> list[int]:
    """Positions along the first axis of a row."""
    return np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim)))).tolist()


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
