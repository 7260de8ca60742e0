"""What stands before the trees: pipelines of maps that treat each column on its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline

from skrobust.bridge._compose import positions
from skrobust.trees._floats import before, last_below
from skrobust.trees._read import Step
from skrobust.trees._sklearn import Encoding, codes_of, standing_alone

__all__ = ["chain", "pulled_back", "unwrapped"]

SEARCH = GridSearchCV.__base__  # what all searches share, halving ones included
SCALERS = (
    *(preprocessing.StandardScaler, preprocessing.MinMaxScaler, preprocessing.MaxAbsScaler),
    *(preprocessing.RobustScaler, preprocessing.Binarizer),
)
# from where on they have a value
RISING = {
    **dict.fromkeys((np.exp, np.expm1, np.cbrt, np.arctan, np.tanh, np.arcsinh), -np.inf),
    **dict.fromkeys((np.log, np.log2, np.log10), np.finfo(np.float32).tiny),
    np.sqrt: 0.0,
    np.log1p: np.nextafter(np.float32(-1), np.float32(0)),
}
ENCODERS = (
    *(preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder, preprocessing.TargetEncoder),
)
Text = Mapping[int, Sequence[Any]]  # columns that are codes of text, and the values they count


def unwrapped(estimator: Any) -> tuple[list[Any], Any]:
    """The transformers of a Pipeline, and the model behind searches and frozen estimators."""
    if isinstance(estimator, SEARCH):
        return unwrapped(getattr(estimator, "best_estimator_", None))
    if isinstance(estimator, FrozenEstimator):
        return unwrapped(estimator.estimator)
    if not isinstance(estimator, Pipeline):
        return [], estimator
    *before, last = [step for _, step in estimator.steps]
    inner, model = unwrapped(last)
    return before + inner, model


def step_of(part: Any, n_columns: int, dtype, text: Text) -> Step | None:
    """A transformer as a map of single columns; None where it is not one, or falls somewhere."""
    if _is_identity(part):
        return _rising(_same, n_columns)._replace(text=text)
    if isinstance(part, Pipeline):
        return chain([step for _, step in part.steps], n_columns, dtype, text)
    if isinstance(part, ColumnTransformer):
        return _columns(part, dtype, text)
    if isinstance(part, FeatureUnion):
        return _union(part, n_columns, dtype, text)
    if isinstance(part, SelectorMixin):
        index = part.get_support(indices=True)
        left = {at: text[i] for at, i in enumerate(index.tolist()) if i in text}
        return _rising(lambda X: X[:, index], n_columns, index)._replace(text=left)
    if isinstance(part, Encoding):
        return part.step(text)
    if type(part) is SimpleImputer:
        return _text_imputer(part, text) if text else _imputer(part)
    if type(part) in ENCODERS:
        return _encoder(part, text)
    if text:
        return None
    if type(part) is preprocessing.KBinsDiscretizer:
        return _bins(part, n_columns)
    if type(part) is preprocessing.FunctionTransformer:
        return _function(part, n_columns)
    if type(part) is preprocessing.PowerTransformer and part.method == "yeo-johnson":
        return _power(part, n_columns)
    return _rising(_call(part), n_columns) if type(part) in SCALERS else None


def _is_identity(part: Any) -> bool:
    if type(part) is preprocessing.FunctionTransformer:
        return part.func is None
    return part is None or (isinstance(part, str) and part == "passthrough")


def _call(part: Any):
    def apply(X: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # no names here, unknown categories
            # sums may overflow far out, and infinity would be refused
            X, limit = X.copy(), np.finfo(X.dtype).max
            numbers = X.data if issparse(X) else X
            np.clip(numbers, -limit, limit, out=numbers)
            try:
                found = part.transform(X)
            except ValueError:  # no missing values here: then nobody will ask what becomes of them
                found = part.transform(np.nan_to_num(X))
        return found if issparse(found) else np.asarray(found)

    return apply


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if issparse(X) else X


def _imputer(part: SimpleImputer) -> Step | None:
    given = part.missing_values
    if not isinstance(given, float) or not np.isnan(given):
        return None  # a number that stands for missing would jump to another
    kept = np.arange(part.n_features_in_)
    if not part.keep_empty_features:
        kept = kept[[not _is_nan(value) for value in part.statistics_]]
    rises = np.ones(len(kept), dtype=bool)
    if part.add_indicator:  # 1 where a value is missing, 0 whatever it is otherwise
        marked = part.indicator_.features_
        kept, rises = np.r_[kept, marked], np.r_[rises, np.zeros(len(marked), dtype=bool)]
    return Step(_call(part), part.n_features_in_, kept, rises)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def _bins(part: preprocessing.KBinsDiscretizer, n_columns: int) -> Step:
    """Numbers of bins never fall; a column for each bin is constant between their edges."""
    if part.encode == "ordinal":
        return _rising(_call(part), n_columns)
    ends = [before(edges[1:-1], np.dtype(np.float64)) for edges in part.bin_edges_]
    sources = np.repeat(np.arange(n_columns), part.n_bins_)
    rises = np.zeros(len(sources), dtype=bool)
    return Step(_call(part), n_columns, sources, rises, tuple(enumerate(ends)))


def _power(part: preprocessing.PowerTransformer, n_columns: int) -> Step:
    """Powers of the largest numbers would pass what floats can hold; no threshold is out there."""
    call = _call(part)

    def apply(X: np.ndarray) -> np.ndarray:
        most = 1e9 if X.dtype == np.float32 else 1e50
        return call(np.clip(X, -most, most))

    return _rising(apply, n_columns)


def _function(part: preprocessing.FunctionTransformer, n_columns: int) -> Step | None:
    """Functions of numpy that never fall; where they have no value, rows do not go."""
    floor = RISING.get(part.func)
    if floor is None or part.kw_args:
        return None
    call = _call(part)
    if floor == -np.inf:
        return _rising(call, n_columns)

    def apply(X: np.ndarray) -> np.ndarray:
        return np.where(X < floor, -np.finfo(X.dtype).max, call(np.where(X < floor, 1.0, X)))

    step = _rising(apply, n_columns)
    ends = before(np.array([floor]), np.dtype(np.float64))
    knots = tuple((column, ends) for column in range(n_columns))
    return step._replace(knots=knots, refuses=lambda X: X < floor)


def _text_imputer(part: SimpleImputer, text: Text) -> Step | None:
    """Codes of text, with that of the fill value for missing ones; it may be one more code."""
    width = part.n_features_in_
    if set(text) != set(range(width)) or part.add_indicator or any(map(_is_nan, part.statistics_)):
        return None
    given = part.missing_values
    if not (given is None or _is_nan(given)):
        return None
    values = [tuple(text[column]) for column in range(width)]
    values = [own if fill in own else (*own, fill)
              for own, fill in zip(values, part.statistics_, strict=True)]  # fmt: skip
    fills = [float(own.index(fill)) for own, fill in zip(values, part.statistics_, strict=True)]
    step = _rising(lambda X: np.where(np.isnan(X), fills, X), width)
    return step._replace(text=dict(enumerate(values)))


def _encoder(part: Any, text: Text) -> Step | None:
    """Each category stands alone; whatever lies between is unknown."""
    known = [codes_of(own, text.get(column)) for column, own in enumerate(part.categories_)]
    if any(own is None for own in known):
        return None
    n_in = len(part.categories_)
    sources = np.arange(n_in)
    knots = tuple(zip(sources.tolist(), map(standing_alone, known), strict=True))
    if isinstance(part, preprocessing.OneHotEncoder):
        sources = np.repeat(sources, part._n_features_outs)
    if isinstance(part, preprocessing.TargetEncoder):
        sources = np.repeat(sources, np.size(part.target_mean_))
    rises = np.zeros(len(sources), dtype=bool)
    call = _as_text(part, known, text) if text else _call(part)
    if getattr(part, "handle_unknown", "ignore") != "error":
        return Step(call, n_in, sources, rises, knots)

    def refuses(X: np.ndarray) -> np.ndarray:
        columns = [_is_in(X[:, i], own) for i, own in enumerate(known)]
        return ~np.stack(columns, axis=1)

    def apply(X: np.ndarray) -> np.ndarray:
        return call(np.where(refuses(X), [own[0] for own in known], X))

    return Step(apply, n_in, sources, rises, knots, refuses)


def _is_in(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.isin(values, known) | (np.isnan(values) & np.isnan(known).any())


def _as_text(part: Any, known: list[np.ndarray], text: Text):
    """The encoder, given text where there are codes: its own categories, or one unknown to it."""

    def column(values: np.ndarray, number: int) -> np.ndarray:
        found = np.full(len(values), values, dtype=object)
        if number not in text:
            return found
        found[:] = "\0 unknown"
        found[np.isnan(values)] = np.nan
        for code, category in zip(known[number], part.categories_[number], strict=True):
            found[np.isnan(values) if np.isnan(code) else values == code] = category
        return found

    def apply(X: np.ndarray) -> np.ndarray:
        given = [column(X[:, number].astype(np.float64), number) for number in range(X.shape[1])]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no names here, unknown categories
            found = part.transform(np.stack(given, axis=1))
        return found if issparse(found) else np.asarray(found)

    return apply


def chain(
    parts: list[Any], n_columns: int, dtype, text: Text = MappingProxyType({})
) -> Step | None:
    """Maps one after the other, as one; columns of ``text`` hold codes."""
    whole = _rising(_same, n_columns)._replace(text=text)
    for part in parts:
        step = part
        if not isinstance(part, Step):
            step = step_of(part, len(whole.sources), dtype, whole.text)
        elif whole.text:
            return None
        if step is None:
            return None
        whole = _after(whole, step, dtype)
    # in between, sparse columns stay sparse: scalers round otherwise there
    return whole._replace(apply=lambda X, apply=whole.apply: _dense(apply(X)))


def _after(first: Step, then: Step, dtype) -> Step:
    knots = list(first.knots)
    for column, ends in then.knots:
        if first.rises[column]:  # otherwise it is constant between knots already
            (ends,) = pulled_back(first, {column: ends}, dtype)
            knots.append((int(first.sources[column]), ends))
    return Step(
        lambda X: then.apply(first.apply(X)),
        first.n_in,
        first.sources[then.sources],
        first.rises[then.sources] & then.rises,
        tuple(knots),
        _refusals([(first, None), (then, first)], first.n_in),
        then.text,
    )


def _refusals(parts: list[tuple[Step, Any]], n_in: int):
    """Refused entries of all parts; with each the map, or the columns, that come before it."""
    parts = [(step, first) for step, first in parts if step.refuses is not None]
    if not parts:
        return None

    def refuses(X: np.ndarray) -> np.ndarray:
        found = np.zeros((len(X), n_in), dtype=bool)
        for step, first in parts:
            if isinstance(first, Step):
                seen, columns = _dense(first.apply(X)), first.sources
            else:
                columns = np.arange(n_in) if first is None else first
                seen = X[:, columns]
            refused = step.refuses(seen)
            for at, column in enumerate(columns):
                found[:, column] |= refused[:, at]
        return found

    return refuses


def pulled_back(step: Step, limits: dict[int, np.ndarray], dtype) -> list[np.ndarray]:
    """For each limit of outputs that never fall, the last input that keeps to it, exactly."""
    found = {output: ends for output, ends in limits.items() if not len(ends)}
    left = [output for output, ends in limits.items() if len(ends)]
    while left:  # all outputs at once that come of different inputs
        _, first = np.unique(step.sources[left], return_index=True)
        now = [left[i] for i in first]
        width = max(len(limits[output]) for output in now)
        asked = np.stack([np.pad(limits[o], (0, width - len(limits[o])), "edge") for o in now], 1)

        def seen(values: np.ndarray, now=now, width=width) -> np.ndarray:
            X = np.zeros((width, step.n_in), dtype=dtype)
            X[:, step.sources[now]] = values
            return _dense(step.apply(X))[:, now]

        ends = last_below(seen, asked, dtype)
        found |= {output: ends[: len(limits[output]), i] for i, output in enumerate(now)}
        left = [output for output in left if output not in found]
    return [found[output] for output in limits]


def _rising(apply, n_in: int, sources: np.ndarray | None = None) -> Step:
    sources = np.arange(n_in) if sources is None else sources
    return Step(apply, n_in, sources, np.ones(len(sources), dtype=bool))


def _same(X: np.ndarray) -> np.ndarray:
    return X


def _beside(parts: list[tuple[Step, np.ndarray, float]], n_in: int, sparse: bool | None) -> Step:
    """Maps of some columns each, with a weight, side by side; sparse None: if a part is."""

    def apply(X: np.ndarray) -> np.ndarray:
        found = [step.apply(X[:, at]) for step, at, _ in parts]
        as_sparse = any(map(issparse, found)) if sparse is None else sparse
        found = [_dense(one) for one in found]
        weighed = zip(found, (weight for *_, weight in parts), strict=True)
        joined = np.concatenate([one if w == 1 else one * w for one, w in weighed], axis=1)
        return csr_array(joined) if as_sparse else joined

    return Step(
        apply,
        n_in,
        np.concatenate([at[step.sources] for step, at, _ in parts]).astype(np.int64),
        np.concatenate([step.rises for step, *_ in parts]),
        tuple((int(at[i]), ends) for step, at, _ in parts for i, ends in step.knots),
        _refusals([(step, at) for step, at, _ in parts], n_in),
        _text_beside([step for step, *_ in parts]),
    )


def _text_beside(steps: list[Step]) -> dict[int, Sequence[Any]]:
    found, begin = {}, 0
    for step in steps:
        found |= {begin + column: values for column, values in step.text.items()}
        begin += len(step.sources)
    return found


def _columns(part: ColumnTransformer, dtype, text: Text) -> Step | None:
    weights, found = part.transformer_weights or {}, []
    for name, inner, given in part.transformers_:
        index = np.asarray(positions(part, given), dtype=np.int64)
        if (isinstance(inner, str) and inner == "drop") or not len(index):
            continue
        own = {at: text[i] for at, i in enumerate(index.tolist()) if i in text}
        step = step_of(inner, len(index), dtype, own)
        found.append((step, index, weights.get(name, 1)))
    return _checked(found, part.n_features_in_, part.sparse_output_)


def _union(part: FeatureUnion, n_columns: int, dtype, text: Text) -> Step | None:
    weights, found = part.transformer_weights or {}, []
    for name, inner in part.transformer_list:
        if not (isinstance(inner, str) and inner == "drop"):
            step = step_of(inner, n_columns, dtype, text)
            found.append((step, np.arange(n_columns), weights.get(name, 1)))
    return _checked(found, n_columns, None)


def _checked(parts: list, n_in: int, sparse: bool | None) -> Step | None:
    if not parts or any(step is None or weight <= 0 for step, _, weight in parts):
        return None
    return _beside(parts, n_in, sparse)
