"""The estimators as scikit-learn users meet them."""

import warnings

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback, EpochScoring

from skrobust.attacks import PGD
from skrobust.estimators import RobustClassifier, RobustRegressor
from skrobust.exceptions import RobustnessWarning, TrainingDivergedError
from skrobust.threats import LpBall

QUICK = dict(max_epochs=5, random_state=0)

MINI_BATCHES = (
    "Mini-batches: a row of weight 2 counts twice in one batch, a repeated row may fall into two "
    "batches, so the two runs take different steps towards the same minimum."
)


def expected_failures(estimator):
    return {"check_sample_weight_equivalence_on_dense_data": MINI_BATCHES}


@parametrize_with_checks(
    [
        RobustClassifier(max_epochs=12, attack=PGD(n_steps=2), random_state=0),
        RobustRegressor(max_epochs=12, attack=PGD(n_steps=2), random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)
        check(estimator)


def iris(frame=False):
    bunch = load_iris(as_frame=frame)
    return bunch.data, bunch.target


def series(n=60, channels=2, length=20, seed=0):
    """Rows whose class is the sign of a slow wave in the first channel."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    X = rng.normal(scale=0.3, size=(n, channels, length)).astype(np.float32)
    X[:, 0] += (2 * y[:, None] - 1) * np.sin(np.linspace(0, np.pi, length))
    return X, y


# Learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "divergence", "threat"),
    [("auto", d, "linf") for d in ("kl", "squared", "loss", "gradient", "consistency")]
    + [("linear", d, "l2") for d in ("kl", "gradient")]
    + [("auto", "kl", "l2"), ("auto", "kl", "l1"), ("auto", "gradient", "l1")],
)
def test_every_divergence_and_threat_learns_three_classes(module, divergence, threat):
    X, y = iris()
    model = RobustClassifier(
        module, divergence=divergence, threat=threat, lr=0.02, max_epochs=15, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.85
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
    assert model.decision_function(X).shape == (150, 3)


@pytest.mark.parametrize("attack", ["auto", "noise", "pgd", "apgd", PGD(n_steps=2)])
def test_every_attack_trains(attack):
    X, y = iris()
    assert (
        RobustClassifier(attack=attack, max_epochs=15, random_state=0).fit(X, y).score(X, y) > 0.8
    )


def test_exact_attack_trains_the_linear_module():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = RobustClassifier("linear", attack="exact", divergence="loss", **QUICK).fit(X, y)
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("labels", [["no", "yes", "maybe"], [-1, 7, 3], [True, False]])
def test_labels_of_any_kind_come_back(labels):
    X, y = iris()
    keep = y < len(labels)
    named = np.array(labels)[y[keep]]
    model = RobustClassifier(max_epochs=20, random_state=0).fit(X[keep], named)
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    assert model.predict(X[keep]).dtype == named.dtype
    assert model.score(X[keep], named) > 0.85


def test_two_classes_have_one_decision_value():
    X, y = load_breast_cancer(return_X_y=True)
    model = RobustClassifier(**QUICK).fit(StandardScaler().fit_transform(X), y)
    decision = model.decision_function(X)
    assert decision.shape == (len(X),)
    np.testing.assert_array_equal(model.predict(X), model.classes_[(decision > 0).astype(int)])


def test_regression_in_any_unit_of_the_target():
    X, y = load_diabetes(return_X_y=True)
    model = RobustRegressor(radius=0.002, max_epochs=20, random_state=0)
    small, large = (clone(model).fit(X, y * unit).predict(X) for unit in (1.0, 1e6))
    np.testing.assert_allclose(small * 1e6, large, rtol=1e-3)
    assert clone(model).fit(X, y).score(X, y) > 0.4


def test_regression_with_several_outputs_and_with_one_column():
    X, Y = load_linnerud(return_X_y=True)
    model = RobustRegressor(radius=0.1, max_epochs=50, random_state=0).fit(X, Y)
    assert model.predict(X).shape == (20, 3)
    assert RobustRegressor(**QUICK).fit(X, Y[:, :1]).predict(X).shape == (20, 1)
    assert RobustRegressor(**QUICK).fit(X, Y[:, 0]).predict(X).shape == (20,)


# The shape of X chooses the network -----------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((5,), None),
        ((2, 20), torch.nn.Conv1d),
        ((1, 8, 8), torch.nn.Conv2d),
        ((3, 5, 9), torch.nn.Conv2d),
    ],
)
def test_auto_reads_the_shape_of_X(shape, layer):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, *shape)), np.arange(24) % 2
    model = RobustClassifier(max_epochs=1, random_state=0).fit(X, y)
    convolutions = [
        m for m in model.net_.module_.modules() if isinstance(m, layer or torch.nn.Conv1d)
    ]
    assert bool(convolutions) == (layer is not None)
    assert model.predict_proba(X).shape == (24, 2)
    with pytest.raises(ValueError, match="rows of shape|features"):
        model.predict(rng.normal(size=(4, *shape[:-1], shape[-1] + 1)))


def test_series_are_learned():
    X, y = series()
    assert RobustClassifier(radius=0.1, max_epochs=10, random_state=0).fit(X, y).score(X, y) > 0.95


def test_factories_get_the_shape_and_their_batch_norm_works():
    seen = []

    def factory(n_features, n_outputs):
        seen.append((n_features, n_outputs))
        return torch.nn.Sequential(
            torch.nn.Linear(n_features, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(16, n_outputs),
        )

    X, y = iris()
    model = RobustClassifier(factory, max_epochs=20, random_state=0).fit(
        StandardScaler().fit_transform(X), y
    )
    assert seen[0] == (4, 3)
    assert model.net_.module_.mode_matters
    # 33 rows in batches of 16 leave one row over: it must join a batch, or BatchNorm fails
    RobustClassifier(factory, batch_size=16, max_epochs=1).fit(X[::5][:33], y[::5][:33])
    RobustClassifier(factory, batch_size=16, max_epochs=1).fit(X[:147:3], y[:147:3])


# Containers, weights, seeds ---------------------------------------------------------------


@pytest.mark.parametrize("container", ["pandas", "polars", "list", "float32"])
def test_containers_give_the_same_model(container):
    X, y = iris(frame=True)
    reference = RobustClassifier(**QUICK).fit(X.to_numpy(), y.to_numpy())
    given = {
        "pandas": X,
        "polars": pl.DataFrame(X.to_dict("list")),
        "list": X.to_numpy().tolist(),
        "float32": X.to_numpy(dtype=np.float32),
    }[container]
    model = RobustClassifier(**QUICK).fit(given, y.to_numpy())
    tolerance = 0.02 if container == "float32" else 1e-12
    np.testing.assert_allclose(
        model.predict_proba(given), reference.predict_proba(X.to_numpy()), atol=tolerance
    )
    if container in ("pandas", "polars"):
        assert list(model.feature_names_in_) == list(X.columns)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(X.rename(columns={X.columns[0]: "other"}))


def test_frozen_columns_by_name_in_the_estimator():
    X, y = iris(frame=True)
    threat = LpBall(scale="std", frozen=["petal width (cm)"])
    model = RobustClassifier(threat=threat, **QUICK).fit(X, y)
    assert model.threat_.is_bound and not threat.is_bound
    x = torch.as_tensor(X.to_numpy(copy=True))
    moved = model.threat_.region(x, 0.5).steepest(torch.ones_like(x)) - x
    np.testing.assert_allclose(moved[:, :3], np.tile(0.5 * X.std(ddof=0).to_numpy()[:3], (150, 1)))
    assert (moved[:, 3] == 0).all()


def test_sample_weight_and_class_weight_move_the_decision():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 1)), rng.integers(2, size=200)
    X[:, 0] += 0.5 * y

    def share(sample_weight=None, **options):
        model = RobustClassifier(
            "linear", smoothing=0, lr=0.05, max_epochs=25, random_state=0, **options
        )
        return model.fit(X, y, sample_weight=sample_weight).predict(X).mean()

    heavy = np.where(y == 1, 5.0, 1.0)
    assert share(heavy) > share() + 0.2
    assert share(class_weight={1: 5.0}) == pytest.approx(share(heavy), abs=0.02)
    assert share(heavy, class_weight="balanced") > share()


def test_rows_of_weight_zero_are_left_out():
    X, y = iris()
    weight = np.ones(150)
    weight[::3] = 0
    spoiled = X.copy()
    spoiled[::3] = 1e3
    with_zero = RobustClassifier(_standard_free, batch_size=-1, **QUICK).fit(spoiled, y, weight)
    without = RobustClassifier(_standard_free, batch_size=-1, **QUICK).fit(
        X[weight > 0], y[weight > 0]
    )
    np.testing.assert_allclose(with_zero.predict_proba(X), without.predict_proba(X), atol=1e-5)


def _standard_free(n_features, n_outputs):
    return torch.nn.Linear(n_features, n_outputs)


def test_same_seed_same_model_and_no_trace_in_global_generators():
    X, y = iris()
    torch.manual_seed(1)
    np.random.seed(1)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads = torch.get_num_threads()
    first, second = (RobustClassifier(**QUICK).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.get_num_threads() == threads
    other = RobustClassifier(max_epochs=5, random_state=1).fit(X, y).predict_proba(X)
    assert not np.array_equal(first, other)


# Course of training -------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_epoch():
    X, y = load_breast_cancer(return_X_y=True)
    model = RobustClassifier(
        early_stopping=True, n_iter_no_change=3, radius=0.3, max_epochs=100, random_state=0
    ).fit(StandardScaler().fit_transform(X), y)
    robust = model.history_[:, "valid_robust"]
    assert model.n_iter_ == len(robust) < 100
    assert len(robust) - 1 - int(np.argmax(robust)) == 3
    again = RobustClassifier(
        early_stopping=True,
        n_iter_no_change=3,
        radius=0.3,
        max_epochs=100,
        random_state=0,
        callbacks=[("spy", spy := _Weights())],
    ).fit(StandardScaler().fit_transform(X), y)
    best = spy.seen[int(np.argmax(robust))]
    for name, value in again.net_.module_.state_dict().items():
        assert torch.equal(value, best[name]), name


class _Weights(Callback):
    def initialize(self):
        self.seen = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.seen.append({k: v.clone() for k, v in net.module_.state_dict().items()})


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interruption_keeps_the_model_so_far_and_says_so(early_stopping):
    class CtrlC(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and len(net.history) == 4:
                raise KeyboardInterrupt

    X, y = iris()
    model = RobustClassifier(
        callbacks=[("ctrl-c", CtrlC()), ("spy", spy := _Weights())],
        early_stopping=early_stopping,
        max_epochs=50,
        random_state=0,
    )
    with pytest.warns(RobustnessWarning, match="interrupted in epoch 4 of 50"):
        model.fit(X, y)
    assert model.n_iter_ == 3
    assert np.isfinite(model.predict_proba(X)).all()
    if not early_stopping:  # the weights are those of epoch 3, not of the broken epoch 4
        kept = model.net_.module_.state_dict()
        assert all(torch.equal(kept[name], value) for name, value in spy.seen[2].items())


def test_divergence_in_the_first_epoch_is_an_error_with_advice():
    X, y = iris()
    model = RobustClassifier(optimizer="sgd", lr=1e30, max_epochs=3, random_state=0)
    with pytest.raises(TrainingDivergedError, match="Lower the learning rate"):
        model.fit(X, y)


def test_divergence_later_goes_back_to_the_last_good_epoch():
    class Spoil(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and len(net.history) == 4:
                with torch.no_grad():
                    next(net.module_.parameters()).fill_(torch.nan)

    X, y = iris()
    model = RobustClassifier(callbacks=[("spoil", Spoil())], max_epochs=20, random_state=0)
    with pytest.warns(UserWarning, match="weights of epoch 3 are kept"):
        model.fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert model.score(X, y) > 0.5


def test_warm_start_goes_on_and_minds_the_shape():
    X, y = iris()
    model = RobustClassifier(warm_start=True, max_epochs=3, random_state=0).fit(X, y)
    before = model.net_.module_.body[1].weight.clone()
    loss = model.history_[-1, "train_loss"]
    model.fit(X, y)
    assert model.history_[-1, "train_loss"] < loss
    assert not torch.equal(before, model.net_.module_.body[1].weight)
    with pytest.raises(ValueError, match="warm_start=True goes on"):
        model.fit(X[:, :2], y)
    with pytest.raises(ValueError, match="warm_start=True goes on"):
        model.fit(X, np.where(y == 2, 5, y))


def test_radius_warmup_and_averaging_take_part():
    X, y = iris()
    plain, warm, averaged = (
        RobustClassifier(radius=0.5, **QUICK, **options).fit(X, y).predict_proba(X)
        for options in ({}, {"radius_warmup": 1.0}, {"weight_averaging": 0.9})
    )
    assert not np.allclose(plain, warm) and not np.allclose(plain, averaged)


def test_zero_radius_and_zero_smoothing_are_plain_training():
    X, y = iris()
    no_radius = RobustClassifier(radius=0, **QUICK).fit(X, y).predict_proba(X)
    no_weight = RobustClassifier(smoothing=0, **QUICK).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(no_radius, no_weight)


def test_escape_hatches():
    X, y = iris()
    scoring = EpochScoring(lambda net, rows, y: 1.0, name="mine", use_caching=False, on_train=True)
    model = RobustClassifier(
        optimizer=torch.optim.RMSprop,
        net_params={"optimizer__alpha": 0.9, "batch_size": 10},
        callbacks=[scoring],
        max_epochs=2,
        random_state=0,
    ).fit(X, y)
    assert model.net_.optimizer_.param_groups[0]["alpha"] == 0.9
    assert model.history_[-1, "train_batch_count"] == 15
    assert "mine" in model.history_[-1]


def test_quiet_by_default_and_one_line_per_epoch_when_verbose(capsys):
    X, y = iris()
    RobustClassifier(**QUICK).fit(X, y)
    assert capsys.readouterr().out == ""
    RobustClassifier(verbose=1, **QUICK).fit(X, y)
    assert len(capsys.readouterr().out.strip().splitlines()) == 7


# Inside scikit-learn --------------------------------------------------------------------------


def test_pipeline_and_grid_search_over_the_main_knobs():
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), RobustClassifier(**QUICK))
    grid = {"robustclassifier__radius": [0.0, 0.2], "robustclassifier__smoothing": [0.5, 1.0]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.9
    threats = {"robustclassifier__threat__norm": ["linf", "l2"]}
    model.set_params(robustclassifier__threat=LpBall())
    assert len(GridSearchCV(model, threats, cv=2).fit(X, y).cv_results_["params"]) == 2


def test_preprocessor_keeps_the_threat_in_raw_units():
    X, y = load_breast_cancer(return_X_y=True)
    # nothing drawn at random: raw rows are float64, scaled ones float32, with other random numbers
    setting = dict(
        divergence="loss", attack=PGD(n_steps=3, random_start=False), radius=0.2, **QUICK
    )
    inside = RobustClassifier(
        preprocessor=StandardScaler(), threat=LpBall(scale="std"), **setting
    ).fit(X, y)
    outside = make_pipeline(StandardScaler(), RobustClassifier(**setting)).fit(X, y)
    np.testing.assert_allclose(inside.predict_proba(X), outside.predict_proba(X), atol=0.02)
    assert inside.threat_.region(torch.as_tensor(X), 0.2).x.shape == X.shape


def test_cross_validation_in_parallel_equals_serial():
    X, y = iris()
    model = RobustClassifier(**QUICK)
    np.testing.assert_array_equal(
        cross_val_score(model, X, y, cv=3, n_jobs=2), cross_val_score(model, X, y, cv=3)
    )


def test_scikit_learn_callbacks_see_every_epoch():
    pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")

    class Recorder:
        def __init__(self):
            self.calls = []

        def setup(self, estimator, context):
            self.calls.append("setup")

        def teardown(self, estimator, context):
            self.calls.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.calls.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context):
            self.calls.append(f"end {context.task_name}")
            return context.task_name == "epoch" and context.task_id == 2

    X, y = iris()
    recorder = Recorder()
    model = RobustClassifier(**QUICK).set_callbacks(recorder).fit(X, y)
    assert recorder.calls[:3] == ["setup", "begin fit", "begin epoch"]
    assert recorder.calls[-2:] == ["end fit", "teardown"]
    assert recorder.calls.count("end epoch") == 3 == model.n_iter_  # stopped by the callback
