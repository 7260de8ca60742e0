"""Fine-tuning: training that begins with the weights of a model that exists."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from torch import nn

from skrobust import robust_accuracy_score
from skrobust.estimators import RobustClassifier, RobustRegressor
from skrobust.estimators._options import check_options
from skrobust.exceptions import RobustnessWarning
from skrobust.nets import adopt, build_network
from skrobust.threats import LpBall

QUICK = dict(max_epochs=5, random_state=0)


def test_fine_tuning_begins_where_the_model_was():
    X, y = load_iris(return_X_y=True)
    first = RobustClassifier(smoothing=0, max_epochs=30, random_state=0).fit(X, y)
    sources = {
        "estimator": first,
        "net": first.net_,
        "module": first.net_.module_,
        "state dict": first.net_.module_.state_dict(),
    }
    for name, source in sources.items():
        model = RobustClassifier(initial_weights=source, lr=1e-12, max_epochs=1).fit(X, y)
        np.testing.assert_allclose(
            model.predict_proba(X), first.predict_proba(X), atol=1e-5, err_msg=name
        )
    assert first.n_iter_ == 30  # untouched


def test_fine_tuning_a_module_of_ones_own_sees_rows_as_they_are():
    def small(n_features, n_outputs):
        return nn.Sequential(nn.Linear(n_features, 8), nn.ReLU(), nn.Linear(8, n_outputs))

    X, y = load_iris(return_X_y=True)
    module = small(4, 3)
    for factory in (small, "mlp"):
        if factory == "mlp":
            from skrobust.nets import MODULES

            module = MODULES["mlp"]((4,), 3)
        model = RobustClassifier(factory, initial_weights=module, lr=1e-12, max_epochs=1).fit(X, y)
        with torch.no_grad():
            wanted = module(torch.as_tensor(X, dtype=torch.float32)).softmax(dim=1)
        np.testing.assert_allclose(model.predict_proba(X), wanted, atol=1e-5)


def test_fine_tuning_a_regressor_keeps_its_units():
    X, y = load_iris(return_X_y=True)
    y = 100.0 + 10.0 * y
    first = RobustRegressor(smoothing=0, max_epochs=30, random_state=0).fit(X, y)
    model = RobustRegressor(initial_weights=first, lr=1e-12, max_epochs=1).fit(X[:50], y[:50] + 5)
    np.testing.assert_allclose(model.predict(X), first.predict(X), atol=1e-2)


def test_a_share_of_the_weights_is_kept_and_the_rest_is_fresh():
    def network(seed):
        x = np.zeros((4, 5), dtype=np.float32)
        return build_network("mlp", (5,), x, 2, None, seed)

    given, fresh, mixed = network(0), network(1), network(1)
    with torch.no_grad():
        given.body[-1].weight.mul_(0.1)  # smaller than a fresh one: the fresh one is scaled to it
    adopt(mixed, given, share=0.3)
    for name, mine in mixed.body.state_dict().items():
        old, new = given.body.state_dict()[name], fresh.body.state_dict()[name]
        scale = min(1.0, float(old.norm() / new.norm()))
        torch.testing.assert_close(mine, 0.3 * old + 0.7 * scale * new, msg=name)


def test_only_what_was_trained_plainly_is_changed_and_learns_quicker():
    X, y = load_iris(return_X_y=True)
    plain = RobustClassifier(smoothing=0, **QUICK).fit(X, y)
    robust = RobustClassifier(**QUICK).fit(X, y)

    def lr_and_share(**options):
        found = check_options(RobustClassifier(**{**QUICK, **options}), (4,), 150)
        return found.lr, found.kept

    usual = lr_and_share()
    for source in (plain, plain.net_, plain.net_.module_, pickle.loads(pickle.dumps(plain))):
        assert lr_and_share(initial_weights=source) == (4 * usual[0], 0.3)
    for source in (robust, robust.net_, pickle.loads(pickle.dumps(robust))):
        assert lr_and_share(initial_weights=source) == usual
    assert usual[1] == 1
    assert lr_and_share(initial_weights=plain, smoothing=0) == usual
    assert lr_and_share(initial_weights=plain, radius=0) == usual
    assert lr_and_share(initial_weights=plain, lr=0.1) == (0.1, 1)
    bounded = lr_and_share(attack="interval")
    assert lr_and_share(initial_weights=plain, attack="interval") == (bounded[0], 0.3)
    again = RobustClassifier(initial_weights=plain, warm_start=True, **QUICK).fit(X, y)
    assert check_options(again, (4,), 150).kept == 1


def test_a_plain_model_becomes_robust_in_few_epochs():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = X[:1200] / 16, X[1200:] / 16, y[:1200], y[1200:]
    setting = dict(radius=0.1, threat=LpBall(bounds=(0, 1)), random_state=0)
    with pytest.warns(RobustnessWarning, match="one value only"):
        plain = RobustClassifier(smoothing=0, **setting).fit(X, y)
    with pytest.warns(RobustnessWarning, match="one value only"):
        robust = RobustClassifier(initial_weights=plain, **setting).fit(X, y)

    def attacked(model):
        score = {name: setting[name] for name in ("radius", "threat", "random_state")}
        return robust_accuracy_score(model, X_test, y_test, **score)

    assert robust.n_iter_ <= plain.n_iter_ / 4 + 1
    assert attacked(plain) < 0.1 and attacked(robust) > 0.6  # with the weights as they were .34
    assert robust.score(X_test, y_test) > plain.score(X_test, y_test) - 0.02


def test_copies_begin_with_the_same_weights():
    X, y = load_iris(return_X_y=True)
    plain = RobustClassifier(smoothing=0, max_epochs=30, random_state=0).fit(X, y)
    model = RobustClassifier(initial_weights=plain, lr=1e-12, max_epochs=1)
    search = GridSearchCV(model, {"radius": [0.05, 0.1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.85


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (nn.Linear(3, 2), "names and shapes"),
        (3, "state dict"),
        (RobustClassifier(), "Fit it first"),
        ({}, "state dict"),
    ],
    ids=["shapes", "number", "unfitted", "empty"],
)
def test_weights_that_do_not_fit_are_an_error(source, words):
    X, y = load_iris(return_X_y=True)
    with pytest.raises((ValueError, TypeError), match=words):
        RobustClassifier(initial_weights=source, **QUICK).fit(X, y)


def test_weights_of_other_classes_are_an_error():
    X, y = load_iris(return_X_y=True)
    first = RobustClassifier(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="same classes"):
        RobustClassifier(initial_weights=first, **QUICK).fit(X, y + 1)
