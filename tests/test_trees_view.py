"""Tree models read into one form: the same outputs, bit by bit, also on and beside thresholds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from skrobust.trees import tree_view

rng = np.random.RandomState(0)
X, y = load_iris(return_X_y=True)
X = X + 0.3 * rng.randn(*X.shape)
GAPS = np.where(rng.rand(*X.shape) < 0.2, np.nan, X)
# the first column holds categories that matter, the last one whole numbers
CODES = np.c_[rng.randint(0, 12, len(X)), X[:, 1:3], X[:, 3].round()]
CODED = ((CODES[:, 0] % 3).astype(int) + y) % 3
ROWS, TARGET = load_diabetes(return_X_y=True)
TARGET = TARGET / 10
TWO = y == 1
DATA = {
    "plain": (X, y),
    "two": (X, TWO),
    "text": (X, np.array(["setosa", "two", "virginica"])[y]),
    "gaps": (GAPS, y),
    "codes": (CODES, CODED),
    "codes and gaps": (np.where(np.isnan(GAPS), np.nan, CODES), CODED),
    "values": (ROWS, TARGET),
    "pairs": (ROWS, np.c_[TARGET, -TARGET]),
}
SEED = {"random_state": 0}
FEW = {"max_iter": 6, **SEED}
FOREST = RandomForestClassifier(5, **SEED)
BINS = {"quantile_method": "averaged_inverted_cdf"}
LOG, EXP, ROOT = (FunctionTransformer(func) for func in (np.log1p, np.exp, np.sqrt))
ORDINAL = make_column_transformer((OrdinalEncoder(), [3, 0]), remainder=StandardScaler())


def mixed(**options):
    """Encoded categories, scaled columns, a column used twice, and a column left out."""
    codes = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**options))
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer((codes, [0]), (scaled, [1, 2]), ("passthrough", [1]))


MODELS = {
    "tree": (DecisionTreeClassifier(**SEED), "plain"),
    "tree of text": (DecisionTreeClassifier(**SEED), "text"),
    "tree, missing": (DecisionTreeClassifier(**SEED), "gaps"),
    "random tree": (ExtraTreeClassifier(**SEED), "plain"),
    "tree of values": (DecisionTreeRegressor(max_depth=7, **SEED), "values"),
    "tree of pairs": (ExtraTreeRegressor(max_depth=5, **SEED), "pairs"),
    "stump": (DecisionTreeClassifier(max_depth=1), "two"),
    "no split": (DecisionTreeClassifier(min_samples_leaf=100), "plain"),
    "forest": (RandomForestClassifier(15, **SEED), "plain"),
    "forest of two": (RandomForestClassifier(15, **SEED), "two"),
    "forest, missing": (RandomForestClassifier(9, **SEED), "gaps"),
    "extra trees": (ExtraTreesClassifier(9, **SEED), "plain"),
    "forest of values": (RandomForestRegressor(5, max_depth=6, **SEED), "values"),
    "forest of pairs": (RandomForestRegressor(4, max_depth=5, **SEED), "pairs"),
    "extra values": (ExtraTreesRegressor(3, max_depth=6, **SEED), "values"),
    "boosting": (GradientBoostingClassifier(n_estimators=5, **SEED), "plain"),
    "boosting of two": (GradientBoostingClassifier(n_estimators=9, **SEED), "two"),
    "boosting from zero": (GradientBoostingClassifier(init="zero", n_estimators=5), "two"),
    "exponential": (GradientBoostingClassifier(loss="exponential", n_estimators=5), "two"),
    "boosting of values": (GradientBoostingRegressor(n_estimators=9, **SEED), "values"),
    "boosting, huber": (GradientBoostingRegressor(loss="huber", n_estimators=5), "values"),
    "histogram": (HistGradientBoostingClassifier(**FEW), "plain"),
    "histogram of two": (HistGradientBoostingClassifier(**FEW), "two"),
    "histogram, missing": (HistGradientBoostingClassifier(**FEW), "gaps"),
    "histogram, categories": (
        HistGradientBoostingClassifier(categorical_features=[0, 3], **FEW), "codes",
    ),
    "histogram, categories and missing": (
        HistGradientBoostingClassifier(categorical_features=[3], **FEW), "codes and gaps",
    ),
    "histogram of values": (HistGradientBoostingRegressor(**FEW), "values"),
    "histogram, poisson": (HistGradientBoostingRegressor(loss="poisson", **FEW), "values"),
    "bagging": (BaggingClassifier(max_features=0.7, **SEED), "plain"),
    "bagging of extra trees": (BaggingClassifier(ExtraTreeClassifier(**SEED), **SEED), "two"),
    "bagging of values": (
        BaggingRegressor(DecisionTreeRegressor(max_depth=5), max_features=0.6, **SEED), "values",
    ),
    "adaboost": (AdaBoostClassifier(n_estimators=9, **SEED), "plain"),
    "adaboost of two": (AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), **SEED), "two"),
    "scaled": (make_pipeline(StandardScaler(), FOREST), "plain"),
    "scaled twice": (make_pipeline(RobustScaler(), MaxAbsScaler(), FOREST), "plain"),
    "clipped": (make_pipeline(MinMaxScaler(clip=True), FOREST), "plain"),
    "binary": (make_pipeline(Binarizer(threshold=3), FOREST), "plain"),
    "selected": (make_pipeline(SelectKBest(k=2), FunctionTransformer(), FOREST), "plain"),
    "imputed": (make_pipeline(SimpleImputer(), StandardScaler(), FOREST), "gaps"),
    "union": (make_pipeline(make_union(StandardScaler(), "passthrough"), FOREST), "plain"),
    "imputed and marked": (make_pipeline(SimpleImputer(add_indicator=True), FOREST), "gaps"),
    "bins": (make_pipeline(KBinsDiscretizer(4, encode="ordinal", **BINS), FOREST), "plain"),
    "columns of bins": (make_pipeline(KBinsDiscretizer(4, **BINS), FOREST), "plain"),
    "logarithms": (make_pipeline(StandardScaler(), EXP, LOG, FOREST), "plain"),
    "roots": (make_pipeline(MinMaxScaler(), ROOT, FOREST), "plain"),
    "powers": (make_pipeline(PowerTransformer(), FOREST), "plain"),
    "numbered": (make_pipeline(ORDINAL, FOREST), "codes"),
    "encoded": (make_pipeline(mixed(handle_unknown="ignore"), FOREST), "codes"),
    "encoded, strictly": (make_pipeline(mixed(), MaxAbsScaler(), FOREST), "codes"),
    "scaled histogram": (
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(**FEW)), "gaps",
    ),
    "votes": (VotingClassifier([("a", FOREST), ("b", ExtraTreesClassifier(4, **SEED))],
                               voting="soft", weights=[1, 2]), "plain"),
    "averages": (VotingRegressor([("a", DecisionTreeRegressor(max_depth=3)),
                                  ("b", GradientBoostingRegressor(n_estimators=4))]), "values"),
    "frozen search": (FrozenEstimator(GridSearchCV(FOREST, {"max_depth": [3]}, cv=2)), "plain"),
}  # fmt: skip


def fitted(model, data):
    """The model fitted; what is inside a frozen one too."""
    rows, target = DATA[data]
    if isinstance(model, FrozenEstimator):
        return FrozenEstimator(clone(model.estimator).fit(rows, target))
    return clone(model).fit(rows, target)


def probes(forest, rows, dtype):
    """Rows given, rows at random, and rows with a number at the border of each cell."""
    low, high = np.nanmin(rows, axis=0) - 1, np.nanmax(rows, axis=0) + 1
    found = [rows, rng.uniform(low, high, (200, rows.shape[1]))]
    cells = forest.cells
    for column in range(rows.shape[1]):
        own = slice(cells.starts[column], cells.starts[column + 1])
        borders = np.r_[cells.first[own], cells.last[own]]
        borders = borders[np.isfinite(borders)]
        borders = rng.permutation(borders)[:200]
        some = rows[rng.randint(len(rows), size=len(borders))]
        some[:, column] = borders
        found.append(some)
    found = np.concatenate(found).astype(dtype)
    number = cells.of(found)
    taken = np.ones(len(found), dtype=bool)  # rows that an encoder would refuse are no question
    for column in range(rows.shape[1]):
        allowed = np.r_[cells.allowed[cells.starts[column] : cells.starts[column + 1]], True]
        taken &= allowed[number[:, column]]
    return found[taken]


def scores_of(model, rows):
    """What the estimator itself says, in the form of the view's scores, and whether as (d)."""
    if not hasattr(model, "classes_"):
        return model.predict(rows).reshape(len(rows), -1)
    if hasattr(model, "decision_function"):
        found = model.decision_function(rows)
        return found[:, None] if found.ndim == 1 else found
    return model.predict_proba(rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_the_models_own(name, dtype):
    model = fitted(*MODELS[name])
    forest = tree_view(model, dtype)
    rows = probes(forest, DATA[MODELS[name][1]][0], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = scores_of(model, rows)
    found = forest.scores(rows) if hasattr(model, "classes_") else forest.outputs(rows)
    if asked.shape[1] == 1 and forest.is_classifier:
        found = found[:, 1:] - found[:, :1]
    if name == "adaboost":  # decision values over K - 1 are what the softmax takes
        asked = asked / 2
    if name == "exponential":
        asked = 2 * asked
    if name in ("votes", "averages"):
        np.testing.assert_allclose(found, asked, rtol=1e-12, atol=1e-12)
    else:
        np.testing.assert_array_equal(found, asked)
    assert len(rows) > 300


@pytest.mark.parametrize(
    "name", ["tree", "forest of two", "boosting", "histogram of two", "exponential"]
)
def test_logits_give_the_probabilities(name):
    model = fitted(*MODELS[name])
    logits = tree_view(model).outputs(X)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, model.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("name", ["adaboost", "adaboost of two"])
def test_logits_of_votes_give_the_probabilities(name):
    model = fitted(*MODELS[name])
    logits = tree_view(model).outputs(X)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, model.predict_proba(X), atol=1e-12)


class Loud(RandomForestClassifier):
    """Predicts otherwise than its parent."""

    def predict_proba(self, X):
        return super().predict_proba(X)[:, ::-1]


class Quiet(RandomForestClassifier):
    """Only fits otherwise."""

    def fit(self, X, y):
        return super().fit(X, y)


NOT_TREES = {
    "no trees": LogisticRegression(),
    "a subclass that predicts": Loud(3),
    "boosting on another model": GradientBoostingClassifier(init=LogisticRegression()),
    "bagging of others": BaggingClassifier(LogisticRegression(), n_estimators=2),
    "adaboost of others": AdaBoostClassifier(LogisticRegression(), n_estimators=2),
    "medians": AdaBoostRegressor(n_estimators=3),
    "rows as one": make_pipeline(Normalizer(), FOREST),
    "a function": make_pipeline(FunctionTransformer(np.abs), FOREST),
    "votes of others": VotingClassifier(
        [("a", FOREST), ("b", LogisticRegression())], voting="soft"
    ),
    "counted votes": VotingClassifier([("a", FOREST)]),
    "a number for missing": make_pipeline(SimpleImputer(missing_values=0.0), FOREST),
    "thresholds moved": FixedThresholdClassifier(FOREST, threshold=0.3),
    "another end": make_pipeline(StandardScaler(), SVC()),
}


@pytest.mark.parametrize("name", NOT_TREES)
def test_no_view_where_the_model_is_more_than_its_trees(name):
    model = clone(NOT_TREES[name])
    target = TWO if name == "thresholds moved" else y
    assert tree_view(model.fit(X, target)) is None


def test_a_subclass_that_only_fits_otherwise_has_a_view():
    assert tree_view(Quiet(3).fit(X, y)).n_trees == 3


def test_several_labels_per_row_have_no_view():
    assert tree_view(DecisionTreeClassifier().fit(X, np.c_[y, y])) is None


def test_thresholds_are_exact_through_scalers():
    """The end of a cell and the next number fall on two sides of a split, in both types."""
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=1)).fit(X, TWO)
    for dtype in (np.float64, np.float32):
        forest = tree_view(model, dtype)
        column = int(forest.feature[0])
        (end,) = forest.cells.ends[column]
        rows = X[:2].astype(dtype)
        rows[:, column] = end, np.nextafter(dtype(end), dtype(np.inf))
        shares = model.predict_proba(rows)
        assert (shares[0] != shares[1]).all()
        np.testing.assert_array_equal(forest.scores(rows), shares)


def test_narrow_columns_have_borders_of_their_own_type():
    forest = tree_view(FOREST.fit(X, y), np.float64, [np.float32, *[np.float64] * 3])
    cells = forest.cells
    own = slice(cells.starts[0] + 1, cells.starts[1] - 1)
    for borders in (cells.first[own], cells.last[own]):
        np.testing.assert_array_equal(borders, borders.astype(np.float32))
    np.testing.assert_array_equal(cells.of(cells.first[own][:, None].repeat(4, 1))[:, 0],
                                  np.arange(1, cells.counts[0] - 1))  # fmt: skip


def test_repr_says_how_large():
    assert repr(tree_view(DecisionTreeClassifier(max_depth=1).fit(X, TWO))) == (
        "Forest(1 trees, 2 leaves)"
    )


BOOSTERS = {
    "plain": ({}, "plain"),
    "two": ({}, "two"),
    "missing": ({}, "gaps"),
    "values": ({}, "values"),
    "gamma": ({"objective": ("reg:gamma", "gamma")}, "values"),
    "forest": (
        {"num_parallel_tree": 3, "boosting": "rf", "subsample": 0.5, "subsample_freq": 1},
        "two",
    ),
}


def booster(library, options, data):
    """A model of one of the two libraries with the options that it knows."""
    is_first = library == "xgboost"
    module = pytest.importorskip(library, reason="reads the models of this library")
    known = dict(options)
    if "objective" in known:
        known["objective"] = known["objective"][0 if is_first else 1]
    for name in ("boosting", "subsample_freq") if is_first else ("num_parallel_tree",):
        known.pop(name, None)
    kind = "Regressor" if data == "values" else "Classifier"
    common = {"n_estimators": 7, "n_jobs": 1, **known}
    if is_first:
        return getattr(module, f"XGB{kind}")(max_depth=4, **common)
    return getattr(module, f"LGBM{kind}")(verbose=-1, min_child_samples=5, **common)


def raw_scores(model, rows):
    if hasattr(model, "get_booster"):
        return model.predict(rows, output_margin=True)
    return model.predict(rows, raw_score=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", BOOSTERS)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosting_libraries(library, name, dtype):
    options, data = BOOSTERS[name]
    rows, target = DATA[data]
    model = booster(library, options, data).fit(rows, target)
    forest = tree_view(model, dtype)
    asked_of = probes(forest, rows, dtype)
    found = forest.scores(asked_of)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = raw_scores(model, asked_of)
    if asked.ndim == 1 and forest.is_classifier:
        found = found[:, 1] - found[:, 0]
    if library == "lightgbm" and name == "forest":
        found = found * forest.n_trees  # raw scores there are not averaged, probabilities are
    # sums of XGBoost are kept in single precision
    np.testing.assert_allclose(found.reshape(asked.shape), asked, rtol=2e-6, atol=2e-6)
    if not forest.is_classifier:
        np.testing.assert_allclose(forest.outputs(rows)[:, 0], model.predict(rows), rtol=2e-6)


def test_lightgbm_categories_are_cut_down_to_whole_numbers():
    module = pytest.importorskip("lightgbm", reason="reads the models of this library")
    easy = {"max_cat_to_onehot": 1, "min_data_per_group": 1, "cat_smooth": 0}
    model = module.LGBMClassifier(n_estimators=7, verbose=-1, n_jobs=1, **easy)
    model.fit(CODES, CODED, categorical_feature=[0])
    forest = tree_view(model)
    assert len(forest.subsets) > 0
    rows = probes(forest, CODES, np.float64)
    rows[:100, 0] = rng.uniform(-2, 14, 100)
    np.testing.assert_array_equal(forest.scores(rows), model.predict(rows, raw_score=True))


def test_early_stopping_counts():
    module = pytest.importorskip("xgboost", reason="reads the models of this library")
    model = module.XGBClassifier(n_estimators=60, early_stopping_rounds=2, n_jobs=1)
    model.fit(X[::2], y[::2], eval_set=[(X[1::2], y[1::2])], verbose=False)
    forest = tree_view(model)
    assert forest.n_trees == 3 * (model.best_iteration + 1) < 180
    np.testing.assert_allclose(
        forest.scores(X), model.predict(X, output_margin=True), rtol=2e-6, atol=2e-6
    )
