"""Encoders: a column of category numbers looked up in a table."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from sklearn import preprocessing
from torch import Tensor, nn

from skrobust.bridge._as_torch import TRANSFORM, named, register, text_columns, unsupported
from skrobust.bridge._views import Beside, Chain, Take, View

# What scikit-learn's encoders do with a number they have not seen: "error" makes NaN of it here.
GROUPED = ("infrequent_if_exist", "warn")


class Lookup(View):
    """One column of category numbers to the rows of a table; its last row is for unknown ones.

    ``categories`` (n_categories,), among them perhaps NaN; ``table`` (n_categories + 1, n_outputs).
    Constant between the categories, so that the gradient is 0 everywhere.
    """

    steps = True

    def __init__(self, categories, table):
        super().__init__()
        self.keep("categories", categories)
        self.keep("table", table)

    def forward(self, x: Tensor) -> Tensor:
        known = self.like("categories", x)
        same = (x == known) | (x.isnan() & known.isnan())
        position = torch.where(same.any(dim=1), same.byte().argmax(dim=1), len(known))
        return self.like("table", x)[position]


def one_column_each(tables: Iterable[tuple[np.ndarray, np.ndarray]]) -> nn.Module:
    """The lookups of all columns, side by side."""
    return Beside(
        [
            Chain(Take([column]), Lookup(known, table))
            for column, (known, table) in enumerate(tables)
        ]
    )


@register(preprocessing.OneHotEncoder, role=TRANSFORM)
def one_hot(estimator) -> nn.Module:
    # Positions among the columns, infrequent categories counted as one of them.
    dropped = estimator._drop_idx_after_grouping
    tables = []
    for column, (known, group) in enumerate(_grouped(estimator)):
        n_groups = group.max() + 1
        table = np.vstack([np.eye(n_groups)[group], np.zeros(n_groups)])
        if estimator.handle_unknown == "error":
            table[-1] = np.nan
        elif estimator.handle_unknown in GROUPED and _has_infrequent(estimator, column):
            table[-1, -1] = 1.0
        if dropped is not None and dropped[column] is not None:
            table = np.delete(table, dropped[column], axis=1)
        tables.append((known, table))
    return one_column_each(tables)


@register(preprocessing.OrdinalEncoder, role=TRANSFORM)
def ordinal(estimator) -> nn.Module:
    unknown = np.nan if estimator.unknown_value is None else estimator.unknown_value
    tables = []
    for known, group in _grouped(estimator):
        codes = np.append(group, unknown).astype(np.float64)
        codes[:-1][np.isnan(known)] = estimator.encoded_missing_value
        tables.append((known, codes[:, None]))
    return one_column_each(tables)


@register(*named(preprocessing, "TargetEncoder"), role=TRANSFORM)
def target_means(estimator) -> nn.Module:
    means = np.atleast_1d(estimator.target_mean_)
    codes = list(estimator.encodings_)  # by column, and within a column by class
    tables = []
    for column, known in enumerate(_categories(estimator)):
        of_classes = codes[column * len(means) : (column + 1) * len(means)]
        tables.append((known, np.vstack([np.transpose(of_classes), means])))
    return one_column_each(tables)


def _has_infrequent(estimator, column: int) -> bool:
    # No public attribute says which group a category belongs to; there is none if none is asked.
    groups = getattr(estimator, "_default_to_infrequent_mappings", None)
    return groups is not None and groups[column] is not None


def _grouped(estimator) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """For each column its categories, and the position of each once infrequent ones are one."""
    for column, known in enumerate(_categories(estimator)):
        group = np.arange(len(known))
        if _has_infrequent(estimator, column):
            found = estimator._default_to_infrequent_mappings[column]
            group[: len(found)] = found  # a missing value, the last category, is left alone
        yield known, group


def _categories(estimator) -> list[np.ndarray]:
    """The categories as numbers; those of a text column by their codes."""
    found = []
    for column, known in enumerate(estimator.categories_):
        try:
            found.append(np.asarray(known, dtype=np.float64))
        except (TypeError, ValueError):
            found.append(_codes(estimator, column, known))
    return found


def _codes(estimator, column: int, known: np.ndarray) -> np.ndarray:
    names = getattr(estimator, "feature_names_in_", None)
    values = None if names is None else (text_columns.get() or {}).get(names[column])
    if values is None:
        raise unsupported(
            estimator, "encodes text, and as_torch(categories=) does not name its: it"
        )
    codes = {value: float(code) for code, value in enumerate(values)}
    never = -1.0 - np.arange(len(known))  # values that no row has
    missing = [value is None or value != value for value in known]
    return np.where(missing, np.nan, [codes.get(v, n) for v, n in zip(known, never, strict=True)])
