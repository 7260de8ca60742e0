"""What as_torch refuses and why; how it is taught; objects that bring their own module."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from skrobust.bridge import (
    Affine,
    Chain,
    Stretch,
    View,
    affine_map,
    as_torch,
    is_affine,
    register_torch_view,
    supported_estimators,
)
from skrobust.exceptions import UnsupportedEstimatorError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
ROWS = torch.tensor(X)


class Plain(LogisticRegression):
    """A subclass that changes nothing a view could miss."""

    def fit(self, X, y, sample_weight=None):
        self.fitted_by_ = "Plain"
        return super().fit(X, y, sample_weight)

    def score_twice(self, X, y):
        return 2 * self.score(X, y)


class Stubborn(LogisticRegression):
    def predict(self, X):
        return np.repeat(self.classes_[0], len(X))


class Shifted(LogisticRegression):
    def decision_function(self, X):
        return super().decision_function(X) + 1


class Squared(StandardScaler):
    def transform(self, X, copy=None):
        return super().transform(X) ** 2


class Hidden(MLPClassifier):
    def _forward_pass_fast(self, X, check_input=True):
        return super()._forward_pass_fast(-np.asarray(X), check_input)


class Logged:
    def describe(self):
        return "a mixin"


class Mixed(Logged, LogisticRegression):
    """Mixins in front are fine as long as they leave the answers alone."""


def test_names_the_class_and_the_way_out():
    with pytest.raises(UnsupportedEstimatorError) as caught:
        as_torch(RandomForestClassifier(n_estimators=2).fit(X, Y))
    for words in ("RandomForestClassifier", "register_torch_view", "attack='search'", "Pipelines"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("build", "places"),
    [
        (lambda tree: Pipeline([("s", StandardScaler()), ("t", tree)]), ["step 't' of Pipeline"]),
        (
            lambda tree: Pipeline([("in", Pipeline([("t", tree)]))]),
            ["step 'in' of Pipeline: step 't' of Pipeline"],
        ),
        (
            lambda tree: GridSearchCV(Pipeline([("t", tree)]), {"t__max_depth": [1]}, cv=2),
            ["best_estimator_ of GridSearchCV: step 't' of Pipeline"],
        ),
    ],
)
def test_says_which_step(build, places):
    with pytest.raises(UnsupportedEstimatorError) as caught:
        as_torch(build(DecisionTreeClassifier()).fit(X, Y))
    for words in [*places, "DecisionTreeClassifier has no torch view"]:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "front",
    [
        FeatureUnion([("odd", FunctionTransformer(np.sort))]),
        ColumnTransformer([("odd", FunctionTransformer(np.sort), [0, 1])]),
    ],
)
def test_says_which_transformer(front):
    model = make_pipeline(front, LogisticRegression()).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="transformer 'odd' of .*func=sort"):
        as_torch(model)


@pytest.mark.parametrize("cls", [Stubborn, Shifted, Squared, Hidden])
def test_a_subclass_with_other_answers_is_refused(cls):
    with pytest.raises(UnsupportedEstimatorError, match=f"{cls.__name__} overrides"):
        as_torch(cls().fit(X, Y))
    if cls is not Squared:
        with pytest.raises(UnsupportedEstimatorError, match=f"step 'm' .*{cls.__name__} overrides"):
            as_torch(Pipeline([("m", cls())]).fit(X, Y))


def test_an_instance_with_other_answers_is_refused():
    model = LogisticRegression().fit(X, Y)
    model.predict = lambda X: np.zeros(len(X))
    with pytest.raises(UnsupportedEstimatorError, match="predict"):
        as_torch(model)


@pytest.mark.parametrize("cls", [Plain, Mixed])
def test_a_subclass_with_the_same_answers_is_seen(cls):
    model = cls().fit(X, Y)
    decision = as_torch(model)(ROWS).numpy()
    np.testing.assert_allclose(decision, model.decision_function(X), atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}),
        StandardScaler(),
    ],
)
def test_unfitted(model):
    with pytest.raises(NotFittedError):
        as_torch(model)


@pytest.mark.parametrize("thing", [None, "ridge", 3, LogisticRegression, nn.Linear(4, 2)])
def test_not_an_estimator(thing):
    with pytest.raises(UnsupportedEstimatorError):
        as_torch(thing)


@pytest.mark.parametrize("columns", [3, 5])
def test_wrong_columns(columns):
    for model in (LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        module = as_torch(model.fit(X, Y))
        with pytest.raises(ValueError, match=r"\(n, 4\)"):
            module(torch.zeros(7, columns, dtype=torch.float64))
        with pytest.raises(ValueError, match=r"\(n, 4\)"):
            module(torch.zeros(4, dtype=torch.float64))
        with pytest.raises(TypeError, match="float"):
            module(torch.zeros(7, 4, dtype=torch.int64))


@pytest.mark.parametrize("model", [RidgeClassifier(), MLPClassifier(max_iter=5)])
def test_several_labels_per_row(model):
    labels = np.c_[Y == 0, Y == 1].astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five epochs do not converge
        model.fit(X, labels)
    with pytest.raises(UnsupportedEstimatorError, match="several labels"):
        as_torch(model)


def test_search_without_refit():
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2, refit=False).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="refit=False"):
        as_torch(search)


def test_words_are_not_numbers():
    for imputer in (
        SimpleImputer(strategy="most_frequent").fit(np.array([["a"], ["a"]], dtype=object)),
        SimpleImputer(missing_values="?", strategy="most_frequent").fit([["a"], ["?"]]),
    ):
        with pytest.raises(UnsupportedEstimatorError, match="numbers"):
            as_torch(imputer)
    with pytest.raises(UnsupportedEstimatorError, match="CountVectorizer"):
        as_torch(CountVectorizer().fit(["a word"]))


def _by_chance(X):
    """Another function of tensors than of arrays."""
    return X if isinstance(X, np.ndarray) else 2 * X


def _cut(X):
    return torch.as_tensor(X).detach() if isinstance(X, torch.Tensor) else X


@pytest.mark.parametrize("func", [np.sort, _by_chance, _cut, lambda X: np.clip(X, 0, 1)])
def test_functions_that_are_no_torch_functions(func):
    with pytest.raises(UnsupportedEstimatorError, match="__skrobust_torch__"):
        as_torch(FunctionTransformer(func).fit(X))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (KNeighborsClassifier(weights=lambda d: 1 / (1 + d)), "function as weights"),
        (KNeighborsClassifier(metric="cosine"), "metric='cosine'"),
        (RadiusNeighborsClassifier(outlier_label=9), "outlier_label"),
        (OneVsOneClassifier(SVC(kernel="precomputed")), "precomputed"),
        (OneVsRestClassifier(VotingClassifier([("a", LogisticRegression())])), "has none of"),
    ],
)
def test_says_which_option(model, words):
    rows = X @ X.T if words == "precomputed" else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a label outside the classes
        model.fit(rows, Y)
    with pytest.raises(UnsupportedEstimatorError, match=words):
        as_torch(model)


def test_votes_have_no_probabilities():
    hard = VotingClassifier([("a", LogisticRegression()), ("b", LogisticRegression(C=9.0))])
    for outer in (VotingClassifier([("h", hard)]), BaggingClassifier(hard, 2)):
        model = outer.fit(X, Y)
        assert (as_torch(model)(ROWS).argmax(1).numpy() == model.predict(X)).all()
    pair = GaussianProcessClassifier(optimizer=None, multi_class="one_vs_one")
    model = VotingClassifier([("p", pair)], voting="soft").fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="one_vs_one.*of its probabilities"):
        as_torch(model)


# Teaching


def _half() -> type:
    """A fresh class each time, for what is taught stays taught."""

    class Half(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = np.shape(X)[1]
            return self

        def transform(self, X):
            return np.asarray(X) / 2

    return Half


def _oddball() -> type:
    """Predicts and transforms, differently."""

    class Oddball(BaseEstimator):
        def fit(self, X, y=None):
            self.fitted_ = True
            return self

        def predict(self, X):
            return 3 * np.asarray(X)[:, 0]

        def transform(self, X):
            return -np.asarray(X)

    return Oddball


def test_register():
    Half = _half()
    model = make_pipeline(Half(), LogisticRegression()).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="step 'half' .*Half has no torch view"):
        as_torch(model)
    register_torch_view(Half, lambda estimator: Stretch(0.5))
    module = as_torch(model)
    np.testing.assert_allclose(module(ROWS).numpy(), model.decision_function(X), atol=1e-12)
    assert is_affine(module)
    assert "Half" in supported_estimators()["transform"]


def test_register_both_faces():
    Oddball = _oddball()
    register_torch_view(Oddball, lambda estimator: Affine([[3.0, 0, 0, 0]]))
    model = make_pipeline(Oddball(), LinearRegression()).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="no torch view as a transformer"):
        as_torch(model)
    register_torch_view(Oddball, lambda estimator: Stretch(-1.0), method="transform")
    np.testing.assert_allclose(as_torch(model)(ROWS)[:, 0].numpy(), model.predict(X), atol=1e-10)
    np.testing.assert_allclose(as_torch(Oddball().fit(X))(ROWS)[:, 0].numpy(), 3 * X[:, 0])


def test_register_keeps_the_module_as_it_was():
    Live = _oddball()
    net = nn.Linear(4, 2).double()
    register_torch_view(Live, lambda estimator: net)
    as_torch(Live().fit(X)).to(torch.float32)
    assert net.training and net.weight.requires_grad and net.weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((LogisticRegression(), len), TypeError),
        ((StandardScaler, "linear"), TypeError),
    ],
)
def test_register_checks(arguments, error):
    with pytest.raises(error):
        register_torch_view(*arguments)
    with pytest.raises(ValueError, match="method"):
        register_torch_view(StandardScaler, len, method="score")


def test_a_view_must_be_a_module():
    Wrong = _half()
    register_torch_view(Wrong, lambda estimator: 3)
    with pytest.raises(TypeError, match="Half.*nn.Module"):
        as_torch(Wrong().fit(X))


# Objects with a module of their own


class Toy:
    """No scikit-learn at all: a hook and a network that is being trained."""

    def __init__(self, n_outputs=3, dtype=torch.float32):
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, n_outputs)).to(dtype)

    def __skrobust_torch__(self):
        return self.net


class ToyWithPredict(Toy):
    def predict(self, X):
        return np.zeros(len(X))


class Liar(ToyWithPredict):
    def predict(self, X):
        return np.ones(len(X))


def test_hook():
    toy = Toy()
    module = as_torch(toy)
    assert toy.net.training and toy.net[0].weight.requires_grad
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    for dtype in (torch.float32, torch.float64):
        found = module(ROWS.to(dtype))
        assert found.dtype == dtype and found.shape == (150, 3)
    assert torch.equal(found, module(ROWS))  # no dropout
    net, toy.net = toy.net.eval(), None
    torch.testing.assert_close(found, net(ROWS.float()).double())
    assert not is_affine(module)


def test_hook_of_one_logit():
    assert as_torch(Toy(1))(ROWS).shape == (150, 1)  # two classes, by the convention of hooks
    toy = Toy(1)
    toy.classes_ = np.array(["no", "yes"])
    logits = as_torch(toy)(ROWS)
    assert logits.shape == (150, 2) and not logits[:, 0].any()


def test_hook_at_the_end_of_a_pipeline():
    class Fitted(BaseEstimator, ClassifierMixin, Toy):
        def __init__(self):
            Toy.__init__(self)

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return self.classes_[as_torch(self)(torch.tensor(X)).argmax(1)]

    model = make_pipeline(StandardScaler(), Fitted()).fit(X, Y)
    assert (as_torch(model)(ROWS).argmax(1).numpy() == model.predict(X)).all()


def test_hook_overridden():
    as_torch(ToyWithPredict())
    Toy.predict = lambda self, X: np.zeros(len(X))
    try:
        with pytest.raises(UnsupportedEstimatorError, match="overrides predict"):
            as_torch(Liar())
    finally:
        del Toy.predict


def test_hook_must_give_a_module():
    class Empty:
        def __skrobust_torch__(self):
            return None

    with pytest.raises(TypeError, match="Empty"):
        as_torch(Empty())


def test_skorch_is_not_imported_for_its_own_sake():
    script = (
        "import sys, skrobust.bridge as b\n"
        "from sklearn.linear_model import Ridge\n"
        "before = 'skorch' in sys.modules\n"
        "b.as_torch(Ridge().fit([[0.], [1.]], [0., 1.]))\n"
        "assert ('skorch' in sys.modules) == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def _net(cls, n_outputs, **options):
    return cls(nn.Sequential(nn.Linear(4, n_outputs)), max_epochs=1, verbose=0, **options)


def test_skorch_nets():
    skorch = pytest.importorskip("skorch")  # a dependency of the package, not of the bridge
    rows = X.astype(np.float32)
    three = _net(skorch.NeuralNetClassifier, 3, criterion=nn.CrossEntropyLoss).fit(rows, Y)
    logits = as_torch(three)(ROWS)
    assert logits.dtype == torch.float64
    assert (logits.argmax(1).numpy() == three.predict(rows)).all()
    value = _net(skorch.NeuralNetRegressor, 1).fit(rows, Y[:, None].astype(np.float32))
    np.testing.assert_allclose(as_torch(value)(ROWS).numpy(), value.predict(rows), rtol=1e-5)
    assert value.module_[0].weight.requires_grad
    pipe = make_pipeline(StandardScaler(), _net(skorch.NeuralNetRegressor, 1))
    pipe.fit(rows, Y[:, None].astype(np.float32))
    np.testing.assert_allclose(as_torch(pipe)(ROWS).numpy(), pipe.predict(rows), atol=1e-5)


def test_skorch_refusals():
    skorch = pytest.importorskip("skorch")

    class Flipped(skorch.NeuralNetRegressor):
        def predict(self, X):
            return -super().predict(X)

    rows, y = X.astype(np.float32), Y[:, None].astype(np.float32)
    with pytest.raises(UnsupportedEstimatorError, match="overrides predict"):
        as_torch(_net(Flipped, 1).fit(rows, y))
    with pytest.raises(NotFittedError):
        as_torch(_net(skorch.NeuralNetRegressor, 1))


# What counts as affine


class Tricky(Affine):
    def forward(self, x):
        return super().forward(x).abs()


def _hooked() -> nn.Module:
    module = nn.Linear(2, 1)
    module.register_forward_hook(lambda module, given, out: out.relu())
    return module


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(2, 1), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.Identity()), True),
        (Chain(), True),
        (Tricky([[1.0, 2.0]]), False),
        (View(), False),
        (_hooked(), False),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)), False),
        (nn.BatchNorm1d(2, affine=True), False),
        (nn.GroupNorm(1, 2, affine=True), False),
        (nn.Sequential(nn.Linear(2, 1), nn.GroupNorm(1, 1)), False),
        (nn.Flatten(0), False),
        (nn.ReLU(), False),
    ],
)
def test_is_affine_is_careful(module, expected):
    assert is_affine(module) is expected
    if not expected:
        with pytest.raises(ValueError, match="affine"):
            affine_map(module, 2)


def test_affine_map_keeps_digits_under_a_large_bias():
    module = Chain(Affine([[1e-9, 2.0]], [1e9]))
    weight, bias = affine_map(module, 2)
    assert weight.tolist() == [[1e-9, 2.0]] and bias.tolist() == [1e9]
