"""Every view equals its estimator: the laws, over the table of test_bridge_table."""

from __future__ import annotations

import pickle
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import cross_decomposition, impute, linear_model, model_selection, preprocessing, svm
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from test_bridge_table import BY_NAME, LOGISTIC, NAMES, RANGE, TABLE, Row, data

from skrobust.bridge import (
    affine_map,
    as_torch,
    has_steps,
    is_affine,
)


def _name(row: Row) -> str:
    return f"{type(row.estimator).__name__}-{row.data}"


@cache
def _fitted(index: int, frame: bool):
    row = TABLE[index]
    X, y = data(row.data)
    X = pd.DataFrame(X, columns=NAMES[: X.shape[1]]) if frame else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(row.estimator).fit(X, y), X


every_row = pytest.mark.parametrize("index", range(len(TABLE)), ids=[_name(r) for r in TABLE])


def ask(estimator, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.predict(X) if hasattr(estimator, "predict") else estimator.transform(X)


def answers(estimator, X) -> np.ndarray:
    """What the view must give: values or columns, (n, k)."""
    found = ask(estimator, X)
    found = np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=float)
    return found.reshape(len(X), -1)


def assert_view(row: Row, estimator, X) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a view has nothing to warn of
        module = as_torch(estimator)
    given = module(torch.tensor(np.asarray(X, dtype=np.float64))).numpy()
    assert given.dtype == np.float64
    if not is_classifier(estimator):
        np.testing.assert_allclose(given, answers(estimator, X), rtol=1e-10, atol=1e-10)
        return module
    assert given.shape == (len(X), len(estimator.classes_))
    assert (estimator.classes_[given.argmax(axis=1)] == ask(estimator, X)).all()
    if row.decision and hasattr(estimator, "decision_function"):
        decision = estimator.decision_function(X)
        known = np.diff(given, axis=1)[:, 0] if decision.ndim == 1 else given
        np.testing.assert_allclose(known, decision, rtol=1e-10, atol=1e-10)
    if row.proba and hasattr(estimator, "predict_proba"):
        proba = torch.tensor(given).softmax(dim=1).numpy()
        np.testing.assert_allclose(proba, estimator.predict_proba(X), rtol=1e-10, atol=1e-10)
    return module


@every_row
@pytest.mark.parametrize("frame", [False, True], ids=["array", "frame"])
def test_equals_the_estimator(index, frame):
    estimator, X = _fitted(index, frame)
    assert_view(TABLE[index], estimator, X)


def _elsewhere(name: str, X: np.ndarray) -> np.ndarray:
    """Rows that were not seen at fit: beyond its range, with categories that are new."""
    rng = np.random.RandomState(1)
    X = X[rng.permutation(len(X))[:40]]
    if name in ("codes", "natural", "zero-one"):
        return np.where(rng.rand(*X.shape) < 0.3, np.ceil(9 * rng.rand(*X.shape)), X)
    Z = X + 2 * rng.randn(*X.shape)
    return np.where(X == -1, X, Z) if name == "marked" else Z


@every_row
def test_equals_the_estimator_elsewhere(index):
    """Rows that the estimator refuses are NaN, which no attack takes."""
    estimator, X = _fitted(index, False)
    row = TABLE[index]
    if isinstance(estimator, svm.SVC | svm.NuSVC) and not estimator.break_ties:
        row = row._replace(decision=False)  # ties of votes are lifted: test_ties_of_votes
    Z = _elsewhere(row.data, X)
    if row.data == "zero-one":
        Z = Z.clip(0, 1)
    module = as_torch(estimator)
    refused = np.zeros(len(Z), dtype=bool)
    try:
        ask(estimator, Z)
    except ValueError:
        refused = np.array([_refuses(estimator, z) for z in Z])
        assert refused.any()
        assert module(torch.tensor(Z)).isnan().any(dim=1)[torch.tensor(refused)].all()
    assert_view(row, estimator, Z[~refused])


def _refuses(estimator, z) -> bool:
    try:
        ask(estimator, z[None])
    except ValueError:
        return True
    return False


@every_row
def test_float32_stays_float32(index):
    estimator, X = _fitted(index, False)
    module = as_torch(estimator)
    wide = module(torch.tensor(X))
    narrow = module(torch.tensor(X, dtype=torch.float32))
    assert narrow.dtype == torch.float32
    if not TABLE[index].steps:
        scale = wide.nan_to_num().abs().max()
        torch.testing.assert_close(
            narrow.double(), wide, rtol=1e-3, atol=1e-3 * scale, equal_nan=True
        )


@every_row
def test_gradient_is_the_slope(index):
    """The directional derivative against central differences, at rows away from kinks."""
    estimator, X = _fitted(index, False)
    module = as_torch(estimator)
    rng = np.random.RandomState(0)
    x = torch.tensor(X[:20] + 1e-3 * rng.randn(*X[:20].shape))
    way, step = torch.tensor(rng.randn(*x.shape)), 1e-6
    z = x.clone().requires_grad_(True)
    out = module(z)
    mix = torch.tensor(rng.randn(*out.shape)) * ~out.isnan()
    gradient = torch.zeros_like(x)  # of an output that does not depend on the row
    if out.requires_grad:
        (gradient,) = torch.autograd.grad((out.nan_to_num() * mix).sum(), z)
    known = ~x.isnan()
    if TABLE[index].guide:
        assert gradient.isfinite().all() and (gradient != 0).any(dim=1).float().mean() > 0.9
        return  # that it leads somewhere is for test_bridge_guides
    slope = torch.where(known, gradient * way, 0.0).sum(dim=1)
    change = module(x + step * way) - module(x - step * way)
    expected = (change.nan_to_num() * mix).sum(dim=1) / (2 * step)
    assert gradient[known].isfinite().all()
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-4 * (1 + expected.abs().max()))


@every_row
def test_leaves_the_estimator_alone(index):
    estimator, X = _fitted(index, False)
    before = pickle.dumps(estimator)
    module = as_torch(estimator)
    assert not any(part.training for part in module.modules())
    assert not any(t.requires_grad for t in [*module.parameters(), *module.buffers()])
    x = torch.tensor(X, requires_grad=True)
    total = module(x).nan_to_num().sum()
    if total.requires_grad:  # at the training rows themselves
        assert torch.autograd.grad(total, x)[0][~x.isnan()].isfinite().all()
    for buffer in module.buffers():
        buffer.zero_()  # an alias of the estimator's arrays would carry this over
    assert pickle.dumps(estimator) == before


@every_row
def test_pickles(index):
    estimator, X = _fitted(index, False)
    module = as_torch(estimator)
    again = pickle.loads(pickle.dumps(module))
    x = torch.tensor(X)
    torch.testing.assert_close(again(x), module(x), rtol=0, atol=0, equal_nan=True)


@every_row
def test_stays_on_the_device(index):
    """The meta device does no sums but refuses, as a GPU does, to mix with tensors of the CPU."""
    estimator, X = _fitted(index, False)
    module, x = as_torch(estimator), torch.tensor(X)
    expected = module(x).shape
    found = module.to("meta")(x.to("meta"))
    assert found.is_meta and found.shape == expected


@every_row
def test_affine_means_affine(index):
    estimator, X = _fitted(index, False)
    row, module = TABLE[index], as_torch(estimator)
    assert is_affine(module) is row.affine
    assert has_steps(module) is row.steps
    if not row.affine:
        return
    weight, bias = affine_map(module, X.shape[1])
    far = torch.tensor(100 * np.random.RandomState(0).randn(30, X.shape[1]))
    expected = module(far)
    torch.testing.assert_close(far @ weight.T + bias, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("estimator", BY_NAME)
def test_columns_by_name(estimator):
    X, y = data("three")
    X = pd.DataFrame(X, columns=NAMES)
    estimator = clone(estimator).fit(X, y)
    assert is_affine(assert_view(Row(estimator, "three", True), estimator, X))


def test_columns_by_name_after_a_step_that_names_them():
    X, y = data("three")
    front = preprocessing.StandardScaler().set_output(transform="pandas")
    table = ColumnTransformer([("a", RANGE, ["rooms", "age"])], remainder="passthrough")
    estimator = make_pipeline(front, table, LOGISTIC).fit(pd.DataFrame(X, columns=NAMES), y)
    assert_view(Row(estimator, "three", True), estimator, pd.DataFrame(X, columns=NAMES))


def test_frozen_and_halving():
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401

    X, y = data("three")
    frozen = FrozenEstimator(clone(LOGISTIC).fit(X, y))
    assert_view(Row(frozen, "three", True), frozen, X)
    halving = model_selection.HalvingGridSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, cv=2).fit(X, y)
    assert_view(Row(halving, "three", True), halving, X)


@pytest.mark.parametrize("cls", ["PLSRegression", "PLSCanonical", "CCA"])
def test_latent_scores(cls):
    """scikit-learn's fit_transform gives two arrays here, so only a frozen one fits a Pipeline."""
    X, y = data("values")
    front = FrozenEstimator(getattr(cross_decomposition, cls)(2).fit(X, y))
    estimator = make_pipeline(front, linear_model.Ridge()).fit(X, y)
    assert_view(Row(estimator, "values", True), estimator, X)


@pytest.mark.filterwarnings("ignore:Only one sample available")
def test_bags_without_a_class():
    X, y = data("three")
    member = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)  # takes no weights
    estimator = BaggingClassifier(member, 12, max_samples=5, random_state=3).fit(X, y)
    assert {len(member.classes_) for member in estimator.estimators_} == {2, 3}
    assert_view(Row(estimator, "three", False, decision=False), estimator, X)


@pytest.mark.parametrize("lacking", [["iris"], ["rose"], ["lily"], ["iris", "lily"]])
def test_calibration_folds_without_a_class(lacking):
    """Of four classes, so that a fold may know three, or only two."""
    X, y = data("three")
    y = np.where(np.arange(len(y)) % 4 == 0, "aster", y)
    seen = np.flatnonzero(~np.isin(y, lacking))
    folds = [(seen, np.arange(len(y))), (np.arange(len(y)), np.arange(len(y)))]
    for member in (svm.LinearSVC(), LinearDiscriminantAnalysis()):
        estimator = CalibratedClassifierCV(member, cv=folds).fit(X, y)
        assert_view(Row(estimator, "three", False), estimator, X)


def test_ties_of_votes():
    """Where each of three classes beats another, libsvm answers the first of them."""
    rng = np.random.RandomState(2)
    X, y = rng.randn(30, 2), rng.randint(3, size=30)
    grid = rng.uniform(-3, 3, size=(4000, 2))
    for estimator in (svm.SVC(gamma=3.0, C=10.0), svm.SVC(kernel="poly", coef0=1.0, C=10.0)):
        estimator.fit(X, y)
        votes = estimator.decision_function(grid).round()
        assert (votes.max(axis=1) == 1).sum() > 10  # there are ties to decide
        logits = as_torch(estimator)(torch.tensor(grid)).numpy()
        assert (logits.argmax(axis=1) == estimator.predict(grid)).all()


def test_sparse_coefficients():
    X, y = data("three")
    estimator = linear_model.SGDClassifier(penalty="l1", random_state=0).fit(X, y).sparsify()
    assert_view(Row(estimator, "three", True), estimator, X)


def test_imputer_fills_in_the_type_seen_at_fit():
    X, _ = data("holes")
    imputer = impute.SimpleImputer(strategy="constant", fill_value=7.1).fit(X.astype(np.float32))
    assert_view(Row(imputer, "holes", False), imputer, X)  # fills in 7.0999999
