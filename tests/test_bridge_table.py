"""The table of estimators that views are tested on, and that nothing of scikit-learn is left out.

A new family adds rows here; ``test_walk`` fails for a registered class without one.
"""

from __future__ import annotations

import inspect
import pickle
import warnings
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn import (
    calibration,
    compose,
    cross_decomposition,
    datasets,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    random_projection,
    svm,
)
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.utils import all_estimators

from skrobust.bridge import (
    as_torch,
    supported_estimators,
)
from skrobust.exceptions import UnsupportedEstimatorError

NAMES = ["age", "height", "income", "rooms"]


@cache
def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(7)
    X, y = datasets.load_iris(return_X_y=True)
    X, y = X[::2] + 0.1 * rng.randn(75, 4), y[::2]
    score = X @ [1.0, -2.0, 0.5, 1.0]
    if name == "three":
        return X, np.array(["rose", "iris", "lily"])[y]
    if name == "two":
        return X, (score + rng.randn(75) > np.median(score)).astype(int) * 2 - 1
    if name == "value":
        return X, score + 0.1 * rng.randn(75)
    if name == "single":
        return X[:, 2:3], score + 0.1 * rng.randn(75)
    if name == "column":
        return X, (score + 0.1 * rng.randn(75))[:, None]
    if name == "values":
        return X, np.c_[score, X[:, 0] ** 2] + 0.1 * rng.randn(75, 2)
    if name == "counts":
        return X, 1.0 + rng.poisson(np.exp(score / 5))
    if name == "spread":
        return 5 * rng.randn(75, 4), y
    if name == "natural":
        return np.ceil(np.abs(X)), y
    if name == "zero-one":
        return (X > X.mean(axis=0)).astype(float), y
    if name == "codes":
        return np.where(rng.rand(75, 4) < 0.1, np.nan, rng.randint(5, size=(75, 4))), y
    holes = X.copy()
    holes[rng.rand(*X.shape) < 0.2] = np.nan
    if name == "holes":
        return holes, y
    if name == "empty":
        holes[:, 1] = np.nan
        return holes, y
    if name == "marked":
        return np.where(np.isnan(holes), -1.0, holes), y
    raise KeyError(name)


class Row(NamedTuple):
    """An estimator, the data it is fitted on, and what its view promises."""

    estimator: Any
    data: str
    affine: bool
    steps: bool = False
    proba: bool = True  # softmax(logits) is predict_proba, where there is one
    decision: bool = True  # logits are decision_function, where there is one
    guide: bool = False  # the gradient is that of a smooth stand-in


TABLE: list[Row] = []


def rows(estimators, data: str, affine: bool, **promises) -> None:
    for estimator in estimators:
        for name in data.split():
            TABLE.append(Row(estimator, name, affine, **promises))


lm, pre = linear_model, preprocessing
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    LINEAR_CLASSIFIERS = [
        lm.LogisticRegression(),
        lm.LogisticRegression(fit_intercept=False),
        lm.RidgeClassifier(),
        lm.RidgeClassifierCV(),
        lm.Perceptron(),
        lm.SGDClassifier(random_state=0),
        svm.LinearSVC(),
        discriminant_analysis.LinearDiscriminantAnalysis(),
        discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    ]
    if hasattr(lm, "PassiveAggressiveClassifier"):
        LINEAR_CLASSIFIERS.append(lm.PassiveAggressiveClassifier(random_state=0))
    if hasattr(lm, "PassiveAggressiveRegressor"):
        rows([lm.PassiveAggressiveRegressor(random_state=0)], "value", True)
rows(LINEAR_CLASSIFIERS, "two three", True)
rows([lm.LogisticRegressionCV(Cs=3, cv=3)], "two three", True)
rows([lm.LogisticRegression(solver="liblinear")], "two", True)
for loss in ("log_loss", "modified_huber"):
    sgd = lm.SGDClassifier(loss=loss, random_state=0)
    rows([sgd], "two", True, proba=loss == "log_loss")
    rows([sgd], "three", True, proba=False)  # one-versus-rest: the decision values
rows(
    [
        lm.LinearRegression(),
        lm.LinearRegression(fit_intercept=False),
        lm.Ridge(),
        lm.RidgeCV(),
        lm.Lasso(0.01),
        lm.ElasticNet(0.01),
        lm.Lars(),
        lm.LassoLars(0.01),
        lm.OrthogonalMatchingPursuit(n_nonzero_coefs=3),
        cross_decomposition.PLSRegression(),
    ],
    "value column values",
    True,
)
rows(
    [
        lm.LassoCV(),
        lm.ElasticNetCV(),
        lm.LarsCV(),
        lm.LassoLarsCV(),
        lm.LassoLarsIC(),
        lm.OrthogonalMatchingPursuitCV(),
        lm.BayesianRidge(),
        lm.ARDRegression(),
        lm.HuberRegressor(max_iter=1000),
        lm.TheilSenRegressor(random_state=0),
        lm.RANSACRegressor(random_state=0),
        lm.QuantileRegressor(alpha=0.01),
        lm.SGDRegressor(random_state=0),
        lm.TweedieRegressor(power=0),
        svm.LinearSVR(),
    ],
    "value",
    True,
)
rows(
    [lm.MultiTaskLasso(0.01), lm.MultiTaskElasticNet(0.01)]
    + [lm.MultiTaskLassoCV(), lm.MultiTaskElasticNetCV()]
    + [cross_decomposition.PLSCanonical(), cross_decomposition.CCA()],
    "values",
    True,
)
rows([lm.PoissonRegressor(), lm.GammaRegressor(), lm.TweedieRegressor(power=1.5)], "counts", False)
rows([lm.TweedieRegressor(power=1, link="identity", alpha=10, max_iter=5)], "counts", True)

for activation in ("relu", "tanh", "logistic"):
    size = {"activation": activation, "hidden_layer_sizes": (5, 4), "max_iter": 30}
    rows([neural_network.MLPClassifier(random_state=0, **size)], "two three", False)
    rows([neural_network.MLPRegressor(random_state=0, **size)], "value values", False)
rows([neural_network.MLPRegressor(activation="identity", max_iter=30)], "value", True)

rows(
    [
        pre.StandardScaler(),
        pre.StandardScaler(with_mean=False),
        pre.StandardScaler(with_std=False),
        pre.MinMaxScaler((-2, 3)),
        pre.MaxAbsScaler(),
        pre.RobustScaler(),
        pre.RobustScaler(with_centering=False),
        pre.RobustScaler(with_scaling=False),
        pre.FunctionTransformer(),
    ],
    "value holes",
    True,
)
rows(
    [
        decomposition.PCA(),
        decomposition.PCA(2, whiten=True),
        decomposition.IncrementalPCA(2),
        decomposition.TruncatedSVD(2),
        decomposition.FastICA(2, random_state=0),
        decomposition.FactorAnalysis(2),
        neighbors.NeighborhoodComponentsAnalysis(2, max_iter=5),
        random_projection.GaussianRandomProjection(3, random_state=0),
        random_projection.SparseRandomProjection(3, random_state=0),
        feature_selection.SelectKBest(k=2),
        feature_selection.SelectPercentile(),
        feature_selection.SelectFpr(),
        feature_selection.SelectFdr(),
        feature_selection.SelectFwe(),
        feature_selection.GenericUnivariateSelect(param=50),
        feature_selection.VarianceThreshold(0.3),
        feature_selection.SelectFromModel(lm.LogisticRegression()),
        feature_selection.SequentialFeatureSelector(lm.RidgeClassifier(), cv=2),
        make_pipeline(discriminant_analysis.LinearDiscriminantAnalysis(), "passthrough"),
        make_pipeline(
            discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen", n_components=1),
            pre.StandardScaler(),
        ),
    ],
    "three",
    True,
)
rows(
    [feature_selection.RFE(lm.LogisticRegression()), feature_selection.RFECV(lm.Ridge())],
    "two",
    True,
)
rows([pre.MinMaxScaler(clip=True), pre.MinMaxScaler((-1, 1), clip=True)], "value holes", False)
if "clip" in pre.MaxAbsScaler().get_params():
    rows([pre.MaxAbsScaler(clip=True)], "value", False)
rows([pre.Normalizer(norm) for norm in ("l1", "l2", "max")], "value", False)
rows([pre.FunctionTransformer(f) for f in (np.abs, np.tanh, np.square, np.cbrt)], "value", False)


def ratios(X, power=1.0):
    """Takes tensors as it takes arrays."""
    return (X[:, :2] / X[:, 2:]) ** power


def floored(X):
    return np.clip(X, 1.0, None)


floored.__skrobust_torch__ = partial(torch.clamp, min=1.0)
rows(
    [
        pre.FunctionTransformer(ratios, validate=True),
        pre.FunctionTransformer(ratios, kw_args={"power": 2}, validate=True),
        pre.FunctionTransformer(floored),
    ],
    "value",
    False,
)
rows([pre.Binarizer(threshold=2.5)], "value", False, steps=True)
rows([impute.SimpleImputer(strategy=s) for s in ("mean", "median")], "holes empty", False)
rows(
    [
        impute.SimpleImputer(strategy="most_frequent"),
        impute.SimpleImputer(strategy="constant", fill_value=7.5),
        impute.SimpleImputer(add_indicator=True),
        impute.SimpleImputer(add_indicator=True, keep_empty_features=True),
        impute.SimpleImputer(strategy="constant", keep_empty_features=True, add_indicator=True),
        impute.MissingIndicator(),
        impute.MissingIndicator(features="all"),
    ],
    "holes empty",
    False,
)
rows([impute.SimpleImputer(missing_values=-1, add_indicator=True)], "marked", False, steps=True)

MLP = neural_network.MLPClassifier(4, max_iter=30, random_state=0)
METHODS = calibration.CalibratedClassifierCV._parameter_constraints["method"]
HAS_TEMPERATURE = any("temperature" in str(method) for method in METHODS)
LOGISTIC = lm.LogisticRegression()
rows(
    [
        make_pipeline(pre.StandardScaler(), LOGISTIC),
        Pipeline([("a", "passthrough"), ("b", None), ("c", LOGISTIC)]),
        make_pipeline(make_pipeline(pre.MinMaxScaler(), decomposition.PCA(3)), LOGISTIC),
        model_selection.GridSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, cv=2),
        model_selection.RandomizedSearchCV(
            make_pipeline(pre.StandardScaler(), LOGISTIC),
            {"logisticregression__C": [0.1, 1.0]},
            n_iter=1,
            cv=2,
            random_state=0,
        ),
        make_pipeline(
            FeatureUnion(
                [
                    ("keep", "passthrough"),
                    ("none", "drop"),
                    ("axes", decomposition.PCA(2)),
                    ("size", pre.StandardScaler()),
                ],
                transformer_weights={"axes": 2.0, "keep": 0.5},
            ),
            LOGISTIC,
        ),
    ],
    "two three",
    True,
)
rows([make_pipeline(impute.SimpleImputer(), pre.StandardScaler(), LOGISTIC)], "holes", False)


def _last_and_second(X) -> list[int]:
    return [X.shape[1] - 1, 1]


def _by_name(X) -> list[str]:
    return list(X.columns[[2, 0]])


def _column_transformer(*transformers, **options) -> Pipeline:
    return make_pipeline(ColumnTransformer(list(transformers), **options), LOGISTIC)


SCALE, RANGE = pre.StandardScaler(), pre.MinMaxScaler()
rows(
    [
        _column_transformer(("a", SCALE, [2, 0]), ("b", RANGE, [-1])),
        _column_transformer(("a", SCALE, [2]), ("b", "drop", [0]), remainder="passthrough"),
        _column_transformer(("a", SCALE, slice(1, 3)), remainder=RANGE),
        _column_transformer(("a", "passthrough", [False, True, False, True]), remainder="drop"),
        _column_transformer(("a", SCALE, _last_and_second), ("b", RANGE, []), ("c", RANGE, [0])),
        _column_transformer(
            ("a", SCALE, [1]), ("b", RANGE, [0]), transformer_weights={"a": 3.0, "b": 0.1}
        ),
        _column_transformer(("a", SCALE, [0, 1, 2]), ("b", decomposition.PCA(1), [2, 1])),
    ],
    "three",
    True,
)
BY_NAME = [
    _column_transformer(("a", SCALE, ["income", "age"]), remainder="passthrough"),
    _column_transformer(("a", SCALE, slice("height", "rooms")), ("b", RANGE, ["age"])),
    _column_transformer(("a", RANGE, _by_name), remainder=SCALE),
    _column_transformer(("a", RANGE, np.array(["rooms"])), ("b", "drop", ["age"])),
]


SVM, SGD = svm.LinearSVC(), lm.SGDClassifier(loss="log_loss", random_state=0)
LDA = discriminant_analysis.LinearDiscriminantAnalysis()
SEVERAL = [("a", LOGISTIC), ("b", make_pipeline(pre.StandardScaler(), SGD)), ("c", LDA)]
rows(
    [
        ensemble.VotingClassifier(SEVERAL, voting="soft"),
        ensemble.VotingClassifier([*SEVERAL, ("d", "drop")], voting="soft", weights=[1, 3, 2, 9]),
        ensemble.BaggingClassifier(LOGISTIC, 4, random_state=0),
        ensemble.BaggingClassifier(
            LDA, 4, random_state=0, max_features=3, max_samples=0.6, bootstrap=False
        ),
    ],
    "two three",
    False,
    decision=False,
)
rows(
    [ensemble.StackingClassifier([*SEVERAL, ("s", SVM)], LOGISTIC, cv=2, passthrough=True)],
    "two three",
    False,
)
rows(
    [ensemble.StackingClassifier([("s", SVM), ("r", lm.RidgeClassifier())], cv=2)],
    "two three",
    True,
)
rows([multiclass.OneVsRestClassifier(SVM)], "two three", True)
rows([multiclass.OneVsRestClassifier(lm.Ridge())], "two three", True)
rows([multiclass.OneVsRestClassifier(LOGISTIC)], "two", True)
rows([multiclass.OneVsRestClassifier(LOGISTIC)], "three", True, proba=False)
rows([multiclass.OneVsRestClassifier(MLP)], "three", False, proba=False)
rows(
    [
        calibration.CalibratedClassifierCV(base, method=method, cv=2, ensemble=ensemble_)
        for base, method, ensemble_ in [
            (SVM, "sigmoid", True),
            (MLP, "sigmoid", False),
            (LOGISTIC, "temperature", True),
            (MLP, "temperature", True),
        ]
        if method == "sigmoid" or HAS_TEMPERATURE
    ],
    "two three",
    False,
)
rows(
    [
        model_selection.FixedThresholdClassifier(LOGISTIC, threshold=0.3),
        model_selection.FixedThresholdClassifier(LOGISTIC, threshold=0.3, pos_label=-1),
        model_selection.FixedThresholdClassifier(SVM, threshold=0.4),
        model_selection.FixedThresholdClassifier(SVM, threshold=0.4, pos_label=-1),
        model_selection.FixedThresholdClassifier(
            LOGISTIC, threshold=0.4, response_method="decision_function"
        ),
        model_selection.TunedThresholdClassifierCV(LOGISTIC, cv=2),
    ],
    "two",
    True,
    proba=False,
    decision=False,
)
RBF, BAYES = svm.SVC(), naive_bayes.GaussianNB()
VOTERS = [*SEVERAL, ("d", RBF)]
rows(
    [
        ensemble.VotingClassifier(SEVERAL),
        ensemble.VotingClassifier(VOTERS),
        ensemble.VotingClassifier([*SEVERAL, ("e", "drop")], weights=[1, 3, 2.5, 9]),
        ensemble.VotingClassifier([(str(k), LDA) for k in range(11)], weights=np.arange(11)),
    ],
    "two three",
    False,
    steps=True,
)
rows(
    [ensemble.BaggingClassifier(SVM, 4, max_features=3, random_state=0)],
    "two three",
    False,
    steps=True,
    guide=True,
    decision=False,
)
rows(
    [
        multiclass.OneVsOneClassifier(SVM),
        multiclass.OneVsOneClassifier(RBF),
        multiclass.OneVsOneClassifier(MLP),
    ],
    "three",
    False,
    steps=True,
)
rows([multiclass.OneVsOneClassifier(SVM)], "two", False, steps=True)
rows([multiclass.OneVsOneClassifier(BAYES)], "two", False, steps=True, decision=False)
rows(
    [
        multiclass.OutputCodeClassifier(SVM, random_state=0),
        multiclass.OutputCodeClassifier(LOGISTIC, code_size=5, random_state=0),
    ],
    "two three",
    True,
)
rows([multiclass.OutputCodeClassifier(BAYES, code_size=5, random_state=0)], "three", False)
hard = ensemble.VotingClassifier(SEVERAL)  # neither probabilities nor decision values
rows([ensemble.StackingClassifier([("h", hard), ("s", SVM)], cv=2)], "two three", False, steps=True)
rows(
    [
        calibration.CalibratedClassifierCV(base, method="isotonic", cv=3, ensemble=ensemble_)
        for base, ensemble_ in [(SVM, True), (MLP, False), (LOGISTIC, True), (RBF, True)]
    ],
    "two three",
    False,
    steps=True,
)
rows([isotonic.IsotonicRegression()], "single", False, steps=True)
rows([isotonic.IsotonicRegression(increasing="auto", y_min=0)], "single", False, steps=True)
rows([isotonic.IsotonicRegression(out_of_bounds="clip")], "single", False, steps=True)
rows([ensemble.VotingRegressor([("a", lm.Ridge()), ("b", lm.LinearRegression())])], "value", True)
rows([ensemble.BaggingRegressor(lm.Ridge(), 3, max_features=2, random_state=0)], "value", True)
rows([ensemble.StackingRegressor([("a", lm.Ridge()), ("b", svm.LinearSVR())], cv=2)], "value", True)
rows([multioutput.MultiOutputRegressor(lm.HuberRegressor())], "values", True)
rows(
    [
        compose.TransformedTargetRegressor(lm.Ridge(), transformer=scaler)
        for scaler in (
            pre.StandardScaler(),
            pre.MinMaxScaler((1, 3)),
            pre.MaxAbsScaler(),
            pre.RobustScaler(),
            None,
        )
    ],
    "value values",
    True,
)
rows(
    [compose.TransformedTargetRegressor(lm.Ridge(), func=np.log, inverse_func=np.exp)],
    "counts",
    False,
)


for kernel in ("rbf", "poly", "sigmoid", "linear"):
    rows([svm.SVC(kernel=kernel), svm.NuSVC(nu=0.3, kernel=kernel)], "two", kernel == "linear")
    rows([svm.SVC(kernel=kernel, coef0=1.0)], "three", False, steps=True)
    rows([svm.SVR(kernel=kernel), svm.NuSVR(kernel=kernel)], "value", kernel == "linear")
    rows([kernel_ridge.KernelRidge(kernel=kernel)], "value values", kernel == "linear")
    rows(
        [kernel_approximation.Nystroem(kernel, gamma=0.02, n_components=2)],
        "value",
        kernel == "linear",
    )
rows([svm.SVC(break_ties=True), svm.NuSVC(nu=0.3)], "three", False, steps=True)
rows([kernel_ridge.KernelRidge(kernel="laplacian", gamma=0.3)], "value", False)
rows([kernel_approximation.RBFSampler(n_components=9, random_state=0)], "value", False)
GPK = gaussian_process.kernels
GPR = gaussian_process.GaussianProcessRegressor
for kernel in (
    GPK.RBF([1.0, 2.0, 0.5, 1.5]) + GPK.WhiteKernel(),
    2.0 * GPK.Matern(2.0, nu=1.5) + GPK.DotProduct(0.5) ** 2,
    GPK.Matern(nu=0.5) * GPK.RationalQuadratic(alpha=0.7),
    GPK.Matern(nu=2.5) + GPK.Matern(nu=np.inf) + GPK.ExpSineSquared(periodicity=3.0),
):
    rows([GPR(kernel, alpha=5.0, optimizer=None, normalize_y=True)], "value values", False)
GPC = gaussian_process.GaussianProcessClassifier
rows([GPC()], "two", False, proba=False)
for kernel in (None, 2.0 * GPK.RBF(2.0) + GPK.WhiteKernel() + GPK.DotProduct(0.3) ** 2):
    options = {"optimizer": None, "n_jobs": 1}
    rows([GPC(kernel, **options)], "three", False)
    rows(
        [GPC(kernel, multi_class="one_vs_one", **options)], "three", False, steps=True, proba=False
    )
    # The members of a mean of probabilities are asked for theirs.
    rows([ensemble.VotingClassifier([("a", GPC(kernel))], voting="soft")], "two", False)
QDA = discriminant_analysis.QuadraticDiscriminantAnalysis
rows([QDA()], "two", False)
rows([QDA(reg_param=0.1), naive_bayes.GaussianNB()], "three", False)
rows([naive_bayes.MultinomialNB(), naive_bayes.ComplementNB()], "natural", True)
rows([naive_bayes.BernoulliNB(binarize=1.0)], "natural", False, steps=True)
rows([naive_bayes.BernoulliNB(binarize=None)], "zero-one", True)
rows([neighbors.NearestCentroid()], "two three", True, proba=False, decision=False)
rows(
    [
        neighbors.NearestCentroid(priors=[0.2, 0.3, 0.5]),
    ],
    "three",
    True,
    decision=False,
)
rows([neighbors.NearestCentroid(metric="manhattan")], "three", False)
STAIRS = {"steps": True, "guide": True}
for weights in ("uniform", "distance"):
    rows(
        [
            neighbors.KNeighborsClassifier(4, weights=weights),
            neighbors.KNeighborsClassifier(weights=weights, p=1),
            neighbors.KNeighborsClassifier(weights=weights, metric="chebyshev"),
            neighbors.RadiusNeighborsClassifier(1.5, weights=weights),
            neighbors.RadiusNeighborsClassifier(
                1.0, weights=weights, p=3, outlier_label="most_frequent"
            ),
        ],
        "two three",
        False,
        **STAIRS,
    )
    rows(
        [
            neighbors.KNeighborsRegressor(weights=weights),
            neighbors.RadiusNeighborsRegressor(1.5, weights=weights, p=1),
        ],
        "value column values",
        False,
        **STAIRS,
    )
rows(
    [
        pre.PolynomialFeatures(),
        pre.PolynomialFeatures(3, interaction_only=True, include_bias=False),
        make_pipeline(pre.PolynomialFeatures(3), lm.LinearRegression()),
    ],
    "value",
    False,
)
rows([pre.PowerTransformer(), pre.PowerTransformer(standardize=False)], "value holes spread", False)
rows([pre.PowerTransformer("box-cox")], "natural", False)
rows(
    [
        pre.QuantileTransformer(n_quantiles=20),
        pre.QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    ],
    "value",
    False,
)
rows([pre.QuantileTransformer(n_quantiles=20)], "natural", False, steps=True)
rows(
    [pre.QuantileTransformer(n_quantiles=20, output_distribution="normal")],
    "holes",
    False,
)
rows(
    [
        pre.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
        pre.KBinsDiscretizer(4, encode="onehot-dense", strategy="kmeans"),
        pre.KBinsDiscretizer(4, strategy="uniform"),
    ],
    "value",
    False,
    steps=True,
)
rows(
    [
        pre.OneHotEncoder(),
        pre.OneHotEncoder(drop="first", sparse_output=False),
        pre.OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
        pre.OneHotEncoder(min_frequency=12, handle_unknown="infrequent_if_exist"),
        pre.OneHotEncoder(max_categories=3, handle_unknown="ignore"),
        pre.OneHotEncoder(max_categories=2, drop="if_binary"),
        pre.OneHotEncoder(min_frequency=0.2, drop="first", handle_unknown="infrequent_if_exist"),
        pre.OrdinalEncoder(),
        pre.OrdinalEncoder(encoded_missing_value=-3),
        pre.OrdinalEncoder(min_frequency=12),
        pre.OrdinalEncoder(max_categories=3, handle_unknown="use_encoded_value", unknown_value=-1),
        pre.TargetEncoder(random_state=0),
        pre.TargetEncoder(target_type="continuous", random_state=0),
    ],
    "codes natural",
    False,
    steps=True,
)
for extrapolation in ("constant", "linear", "continue", "periodic", "error"):
    spline = {"extrapolation": extrapolation, "n_knots": 4}
    rows([pre.SplineTransformer(degree=0, **spline)], "value", False, steps=True)
    rows([pre.SplineTransformer(degree=1, knots="quantile", **spline)], "value", False)
    rows(
        [
            pre.SplineTransformer(**spline),
            pre.SplineTransformer(include_bias=False, sparse_output=True, **spline),
        ],
        "value",
        False,
    )
if "handle_missing" in pre.SplineTransformer().get_params():
    rows([pre.SplineTransformer(handle_missing="zeros")], "holes", False)


def _registered(role: str) -> set[str]:
    return set(supported_estimators()[role])


def _claimed(cls: type) -> bool:
    role = "predict" if hasattr(cls, "predict") else "transform"
    return any(parent.__name__ in _registered(role) for parent in cls.__mro__)


def _bare(cls: type):
    """An instance with default or trivial arguments, never fitted."""
    needed = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind == parameter.POSITIONAL_OR_KEYWORD
    ]
    several = ("estimators", "steps", "transformers", "transformer_list")
    model = lm.LogisticRegression()
    given = {name: [("a", model)] if name in several else model for name in needed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(**given)


@pytest.mark.parametrize("cls", [cls for _, cls in all_estimators()], ids=lambda cls: cls.__name__)
def test_walk(cls):
    """All of scikit-learn: claimed and in the table above, or refused in so many words."""
    estimator = _bare(cls)
    if not _claimed(cls):
        with pytest.raises(UnsupportedEstimatorError, match=cls.__name__):
            as_torch(estimator)
        return
    if estimator.__sklearn_tags__().requires_fit and cls is not FrozenEstimator:
        with pytest.raises(NotFittedError):
            as_torch(estimator)
    tabled = pickle.dumps([row.estimator for row in TABLE])
    tested_elsewhere = {"FrozenEstimator", "HalvingGridSearchCV", "HalvingRandomSearchCV"}
    assert cls.__name__.encode() in tabled or cls.__name__ in tested_elsewhere
