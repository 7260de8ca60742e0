"""A saved model comes back and predicts the same, without code or torch objects in the file."""

import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import RobustClassifier, RobustRegressor, robust_accuracy_score
from skrobust.attacks import PGD
from skrobust.estimators import trusted_types
from skrobust.threats import LpBall

X, Y = load_iris(return_X_y=True)
IMAGES = np.random.default_rng(0).random((30, 1, 8, 8)).astype(np.float32)


def small_net(n_features, n_outputs):
    return torch.nn.Linear(n_features, n_outputs)


def models():
    quick = dict(max_epochs=2, random_state=0)
    yield "table", RobustClassifier(**quick), X, Y
    yield "images", RobustClassifier(**quick), IMAGES, np.arange(30) % 3
    yield "labels", RobustClassifier(**quick), X, np.array(["a", "b", "c"])[Y]
    yield "factory", RobustClassifier(small_net, **quick), X, Y
    yield "pipeline", make_pipeline(StandardScaler(), RobustClassifier(**quick)), X, Y
    yield "preprocessor", RobustClassifier(preprocessor=StandardScaler(), **quick), X, Y
    objects = dict(threat=LpBall("l2", scale="std", bounds="data"), attack=PGD(n_steps=2))
    yield "objects", RobustClassifier(divergence="loss", **objects, **quick), X, Y
    features, target = load_diabetes(return_X_y=True)
    yield "regression", RobustRegressor(**quick), features, target
    yield "targets", RobustRegressor(**quick), features, np.c_[target, -target]


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def through_skops(model):
    skops_io = pytest.importorskip("skops.io", reason="extra 'persistence' is not installed")
    data = skops_io.dumps(model)
    own = trusted_types() + [f"{__name__}.small_net"]
    unknown = [name for name in skops_io.get_untrusted_types(data=data) if name not in own]
    assert unknown == [], "types to be trusted that are not published"
    return skops_io.loads(data, trusted=own)


@pytest.mark.parametrize("way", [through_pickle, through_joblib, through_skops])
@pytest.mark.parametrize(
    ("name", "model", "rows", "y"), list(models()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_round_trip(way, name, model, rows, y):
    model = clone(model).fit(rows, y)
    again = way(model)
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(again, method)(rows), getattr(model, method)(rows))
    assert again.get_params().keys() == model.get_params().keys()
    last = again[-1] if name == "pipeline" else again
    assert (
        last.history_[-1, "train_loss"]
        == (model[-1] if name == "pipeline" else model).history_[-1, "train_loss"]
    )
    clone(again).fit(rows, y)


def test_a_loaded_model_can_be_attacked_and_trained_on():
    model = RobustClassifier(max_epochs=3, warm_start=True, random_state=0).fit(X, Y)
    again = through_pickle(model)
    assert robust_accuracy_score(again, X, Y, radius=0.1, random_state=0) == robust_accuracy_score(
        model, X, Y, radius=0.1, random_state=0
    )
    np.testing.assert_array_equal(
        model.fit(X, Y).predict_proba(X), again.fit(X, Y).predict_proba(X)
    )


def test_the_state_holds_no_torch_object_and_no_gpu_is_needed_to_read_it():
    state = RobustClassifier(max_epochs=1, random_state=0).fit(X, Y).__getstate__()
    frozen = state["net_"]
    assert all(isinstance(value, np.ndarray) for value in frozen["weights"].values())
    frozen["on_gpu"] = True  # as if it had been trained on a GPU that this machine may not have
    model = RobustClassifier.__new__(RobustClassifier)
    model.__setstate__(state)
    assert np.isfinite(model.predict_proba(X)).all()
    assert not any(isinstance(value, torch.Tensor) for value in state.values())


def test_changing_parameters_after_fit_does_not_break_loading():
    model = RobustClassifier(max_epochs=1, random_state=0).fit(X, Y)
    expected = model.predict_proba(X)
    model.set_params(module="linear", radius=3.0)
    np.testing.assert_array_equal(through_pickle(model).predict_proba(X), expected)


def test_saving_leaves_the_model_as_it_was():
    model = RobustClassifier(max_epochs=1, random_state=0).fit(X, Y)
    before = model.predict_proba(X)
    pickle.dumps(model)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert model.history_ is model.net_.history
