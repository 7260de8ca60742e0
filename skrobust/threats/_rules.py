"""What a moved row must obey beside ball and box: the options of a threat become numbers."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrobust.exceptions import invalid
from skrobust.threats._numbers import Columns, frozen_of

__all__ = ["RULES", "Group", "Repair", "Rules", "held_of", "is_named", "rules_of", "stored"]

RULES = ("integer", "levels", "groups", "categorical", "max_changes", "band", "repair")


class Group(NamedTuple):
    """One-hot columns. ``may_be_empty``: rows of zeros were seen (a category was dropped)."""

    columns: tuple[int, ...]
    may_be_empty: bool = False


class Row(Mapping):
    """Moved rows by column, as the functions of ``repair={column: function}`` are given them."""

    def __init__(self, columns: list[Tensor], places: Mapping[str, int]):
        self._columns, self._places = columns, places

    def __getitem__(self, column: str | int) -> Tensor:
        return self._columns[self._places.get(column, column)]

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._places or range(len(self._columns)))

    def __len__(self) -> int:
        return len(self._columns)


@dataclass(frozen=True)
class Repair:
    """Columns that follow from others: position -> function of the row's columns."""

    functions: Mapping[int, Callable[[Row], Tensor]]
    places: Mapping[str, int]

    def __call__(self, z: Tensor) -> Tensor:
        columns = list(z.unbind(dim=1))
        for position, function in self.functions.items():
            columns[position] = function(Row(columns, self.places)).to(z.dtype)
        return torch.stack(columns, dim=1)

    def __repr__(self) -> str:
        names = {place: name for name, place in self.places.items()}
        return f"<repairs {[names.get(position, position) for position in self.functions]}>"


@dataclass(frozen=True)
class Rules:
    """The options as numbers; positions count along the first axis of a row.

    Attributes
    ----------
    whole : ndarray of bool of a row's shape or None
        Entries that stay whole numbers.
    levels, categorical : dict of position -> sorted values
        Values that a column may take; ``categorical`` ones have no order and no distance.
    texts : dict of position -> tuple of str
        The values of those ``categorical`` columns that hold text; their codes are 0, 1, 2, ...
    groups : tuple of Group
    max_changes : int or None
        How many groups and categorical columns may change in one row; None: all.
    band : (low, high) or None
        Frequencies of the movement along the last axis, as shares of the highest there is.
    repair : callable or None
    """

    whole: np.ndarray | None
    levels: dict[int, np.ndarray]
    categorical: dict[int, np.ndarray]
    texts: dict[int, tuple]
    groups: tuple[Group, ...]
    max_changes: int | None
    band: tuple[float, float] | None
    repair: Callable[[Tensor], Tensor] | None

    def __bool__(self) -> bool:
        return (
            self.whole is not None
            or bool(self.levels or self.categorical or self.groups)
            or self.band is not None
            or self.repair is not None
        )

    @property
    def leaps(self) -> list[int]:
        """Columns that no ball holds: they change or they don't."""
        return sorted({c for group in self.groups for c in group.columns} | set(self.categorical))

    @property
    def derived(self) -> list[int]:
        """Columns that are computed from others and count for nothing themselves."""
        return list(self.repair.functions) if isinstance(self.repair, Repair) else []


def is_named(option: str, value: Any) -> bool:
    """Whether a rule speaks of names or of data, and must be bound."""
    if value is None or callable(value) or option in ("max_changes", "band"):
        return False
    if isinstance(value, str):
        return True
    if option == "integer":
        return not isinstance(value, np.ndarray) and any(isinstance(key, str) for key in value)
    if option in ("levels", "categorical"):
        if not isinstance(value, Mapping):
            return True
        return any(isinstance(part, str) for item in value.items() for part in item)
    if option == "groups":
        return any(isinstance(key, str) for group in value for key in group)
    return isinstance(value, Mapping) and any(isinstance(key, str) for key in value)


def stored(rules: Rules) -> dict[str, Any]:
    """The rules as a bound threat stores them: :func:`rules_of` gives the same rules again."""
    return {
        "integer": rules.whole,
        "levels": rules.levels or None,
        "groups": rules.groups or None,
        "categorical": {**rules.categorical, **rules.texts} or None,
        "repair": rules.repair,
    }


def held_of(frozen: np.ndarray | None, rules: Rules, columns: Columns) -> np.ndarray | None:
    """Mask of what no ball moves: frozen entries, leaps, columns that follow from others."""
    places = [*rules.leaps, *rules.derived]
    if not places:
        return frozen
    held = np.zeros(columns.shape, dtype=bool) if frozen is None else frozen.copy()
    held[places] = True
    return held


def rules_of(threat: Any, columns: Columns) -> Rules:
    """The rules of a threat; what must be learned is learned from the rows of ``columns``."""
    levels = _levels(threat.levels, "levels", columns)
    whole, binary = _whole(threat.integer, columns, set(levels))
    texts = _texts(threat.categorical, columns)
    rules = Rules(
        whole,
        {**levels, **binary},
        _levels(threat.categorical, "categorical", columns, texts),
        texts,
        _groups(threat.groups, columns),
        _max_changes(threat.max_changes),
        _band(threat.band, columns),
        _repair(threat.repair, columns),
    )
    _one_rule_each(rules, columns)
    return rules


def _whole(integer: Any, columns: Columns, others: set[int]):
    """Mask of whole entries, and the levels 0 and 1 of boolean columns."""
    if integer is None:
        return None, {}
    if isinstance(integer, str):
        if integer != "dtype":
            raise invalid("integer", integer, 'a list of columns, a mask or "dtype"')
        if columns.kinds is None:
            raise invalid(
                "integer", "dtype", "bound to rows whose columns have types",
                "Bind it to the data frame or array that the model is trained on.",
            )  # fmt: skip
        binary = {k: np.array([0.0, 1.0]) for k in columns.of_kind("b") if k not in others}
        integer = [k for k in columns.of_kind("iu") if k not in others]
        return (frozen_of(integer, columns) if integer else None), binary
    mask = frozen_of(integer, columns, "integer")
    return (mask if mask.any() else None), {}


def _texts(categorical: Any, columns: Columns) -> dict[int, tuple]:
    """Columns of text among the categorical ones: their values."""
    if isinstance(categorical, str) or not np.iterable(categorical):
        return {}
    found = {}
    for key in categorical:
        place = columns.position(key, "categorical")
        values = categorical[key] if isinstance(categorical, Mapping) else "data"
        if isinstance(values, (list, tuple)) and any(isinstance(v, str) for v in values):
            found[place] = tuple(values)
        elif isinstance(values, str) and place in columns.categories:
            found[place] = columns.categories[place]
    return found


def _levels(
    levels: Any, option: str, columns: Columns, texts: Mapping[int, tuple] | None = None
) -> dict[int, np.ndarray]:
    if levels is None:
        return {}
    if isinstance(levels, str) or not isinstance(levels, Mapping):
        if option == "levels" or isinstance(levels, str) or not np.iterable(levels):
            also = " or a list of columns" if option == "categorical" else ""
            raise invalid(option, levels, f"a dict, column -> values{also}", error=TypeError)
        levels = dict.fromkeys(levels, "data")
    found = {}
    for key, values in levels.items():
        place = columns.position(key, option)
        if texts and place in texts:
            found[place] = np.arange(len(texts[place]), dtype=np.float64)
            continue
        found[place] = _values_of(values, f"{option}[{key!r}]", columns, place)
    return found


def _values_of(values: Any, option: str, columns: Columns, place: int) -> np.ndarray:
    if isinstance(values, str):
        if values != "data":
            raise invalid(option, values, 'a list of values or "data"')
        if columns.values is None or not len(columns.values):
            raise invalid(option, "data", "bound to at least one row")
        values = columns.values[:, place]
        values = values[np.isfinite(values)]
    try:
        values = np.unique(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise invalid(option, values, "a list of numbers", error=TypeError) from error
    if not len(values) or not np.isfinite(values).all():
        raise invalid(option, values.tolist(), "a list of at least one finite number")
    return values


def _groups(groups: Any, columns: Columns) -> tuple[Group, ...]:
    if groups is None:
        return ()
    if isinstance(groups, str) or not np.iterable(groups):
        raise invalid("groups", groups, "a list of lists of one-hot columns", error=TypeError)
    return tuple(_group(group, columns) for group in groups)


def _group(group: Any, columns: Columns) -> Group:
    if isinstance(group, Group):
        return group
    if isinstance(group, str) or not np.iterable(group):
        raise invalid(
            "groups", group, "a list of lists of one-hot columns",
            'Write groups=[["color_red", "color_blue"], ...].', TypeError,
        )  # fmt: skip
    places = tuple(columns.position(key, "groups") for key in group)
    if len(places) < 1 or len(set(places)) < len(places):
        raise invalid("groups", group, "lists of different columns")
    empty = False
    if columns.values is not None:
        values = columns.values[:, list(places)]
        seen = ~np.isnan(values).any(axis=1)
        if not _is_one_hot(values[seen]).all():
            raise invalid(
                "groups", list(group), "one-hot columns: 0 and at most a single 1 in each row",
                "Encode the column with OneHotEncoder, or list it in categorical= as it is.",
            )  # fmt: skip
        empty = bool((values[seen].sum(axis=1) == 0).any())
    return Group(places, empty)


def _is_one_hot(values: np.ndarray) -> np.ndarray:
    return ((values == 0) | (values == 1)).all(axis=1) & (values.sum(axis=1) <= 1)


def _max_changes(most: Any) -> int | None:
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, numbers.Integral) or most < 0:
        raise invalid("max_changes", most, "an integer >= 0, or None for any number of changes")
    return int(most)


def _band(band: Any, columns: Columns) -> tuple[float, float] | None:
    if band is None:
        return None
    pair = (0.0, band) if isinstance(band, numbers.Real) else band
    try:
        low, high = (float(part) for part in pair)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if isinstance(band, bool) or not 0 <= low <= high <= 1 or high == 0:
        raise invalid(
            "band", band, "a share of the highest frequency, 0 < band <= 1, or a pair (low, high)",
        )  # fmt: skip
    if len(columns.shape) > 2:
        raise invalid(
            "band", band, "None for rows of this shape: only series (time) or (channels, time) "
            f"have a band, and a row has shape {columns.shape}",
        )  # fmt: skip
    return low, high


def _repair(repair: Any, columns: Columns):
    if repair is None or isinstance(repair, Repair):
        return repair
    if isinstance(repair, Mapping):
        for key, function in repair.items():
            if not callable(function):
                raise invalid(f"repair[{key!r}]", function, "a function of a row", error=TypeError)
        functions = {columns.position(key, "repair"): f for key, f in repair.items()}
        places = {name: k for k, name in enumerate(columns.names or [])}
        return Repair(functions, places)
    if not callable(repair):
        allowed = "a function of moved rows, or a dict, column -> function of a row"
        raise invalid("repair", repair, allowed, error=TypeError)
    return repair


def _one_rule_each(rules: Rules, columns: Columns) -> None:
    """A column obeys one rule; two that contradict each other are a mistake."""
    table = rules.levels or rules.categorical or rules.groups or rules.repair is not None
    if table and len(columns.shape) != 1:
        raise invalid(
            "threat", "levels, groups, categorical or repair",
            f"for tables (n, n_features); a row here has shape {columns.shape}",
            "Of rows of other shapes, integer= and band= can be had.",
        )  # fmt: skip
    if rules.band is not None and (rules.whole is not None or table):
        raise invalid(
            "band", rules.band, "None beside integer, levels, groups, categorical or repair",
            "A smooth movement can't keep to steps.",
        )  # fmt: skip
    named = [*rules.levels, *rules.categorical, *(c for g in rules.groups for c in g.columns)]
    if table and rules.whole is not None:
        named += np.flatnonzero(rules.whole).tolist()
    named += [c for c in rules.derived if c in rules.leaps]
    twice = sorted({c for c in named if named.count(c) > 1})
    if twice:
        labels = ", ".join(columns.label(c) for c in twice)
        raise invalid(
            "threat", labels, "ruled once: by one of integer, levels, groups, categorical, repair",
        )  # fmt: skip
