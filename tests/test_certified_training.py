"""attack="interval": what falls in training is what is proven afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from skorch.callbacks import Callback
from torch import nn

from skrobust import (
    LpBall,
    RobustClassifier,
    RobustRegressor,
    certified_accuracy_score,
    robust_accuracy_score,
    robust_loss,
    worst_case,
)
from skrobust.attacks import PGD, check_attack
from skrobust.bounds import Box, Dense, IntervalTraining, trace
from skrobust.certificates import certified_loss
from skrobust.datasets import load_digits_images
from skrobust.nets._losses import ClassificationLoss
from skrobust.nets._net import RobustNet
from skrobust.smoothing import LossGap, Setting

X, Y = load_breast_cancer(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
TRAIN, TEST = np.arange(0, 569, 3), np.arange(1, 569, 3)


def fitted(**options):
    options = {"max_epochs": 60, **options}
    model = RobustClassifier(radius=0.1, divergence="loss", random_state=0, **options)
    return model.fit(X[TRAIN], Y[TRAIN])


def proven(model, radius=0.1, **options):
    return certified_accuracy_score(model, X[TEST], Y[TEST], radius=radius, **options)


def test_it_certifies_what_adversarial_training_only_hopes_for():
    interval, searched = fitted(attack="interval", max_epochs=40), fitted(max_epochs=20)
    attacked = robust_accuracy_score(searched, X[TEST], Y[TEST], radius=0.1, random_state=0)
    crown = proven(interval)
    assert crown > attacked - 0.04
    assert crown > proven(searched) + 0.3
    assert proven(interval, method="interval") > crown - 0.1
    assert crown <= robust_accuracy_score(interval, X[TEST], Y[TEST], radius=0.1)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"attack": IntervalTraining(0.5)}, id="mix"),
        pytest.param(
            {"attack": IntervalTraining(0.5, attack="pgd"), "smoothing": 0.7},
            marks=pytest.mark.slow,
            id="mix pgd",
        ),
        pytest.param(
            {
                "attack": "interval",
                "threat": LpBall("l2", scale=4.0, frozen=[0, 1]),
                "divergence": "kl",
            },
            marks=pytest.mark.slow,
            id="l2 kl",
        ),
        pytest.param(
            {"attack": "interval", "preprocessor": StandardScaler(), "radius_warmup": 0.5},
            id="front",
        ),
        pytest.param(
            {"attack": "interval", "batch_size": -1, "weight_averaging": 0.9}, id="average"
        ),
    ],
)
def test_options_that_go_with_it(options):
    options = {"divergence": "loss", **options}
    model = RobustClassifier(radius=0.05, random_state=0, max_epochs=25, **options)
    model.fit(X[TRAIN], Y[TRAIN])
    found = certified_accuracy_score(model, X[TEST], Y[TEST], radius=0.05, threat=model.threat_)
    plain = RobustClassifier(smoothing=0, random_state=0, max_epochs=15).fit(X[TRAIN], Y[TRAIN])
    assert found > max(0.6, 0.1 + proven(plain, 0.05, threat=model.threat_))


class Steps(Callback):
    """What each step of a fit was made with."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.radius, self.lr = [], []

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        self.radius.append(net.radius_now_)
        self.lr.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("warmup", [0.7, 0.5])
def test_the_radius_grows_step_by_step_and_the_rate_falls_behind_it(warmup):
    steps = Steps()
    options = (
        {} if warmup == 0.7 else {"radius_warmup": warmup}
    )  # the estimator's has the last word
    model = fitted(attack="interval", max_epochs=4, batch_size=10, callbacks=[steps], **options)
    radius, rate = np.array(steps.radius), np.array(steps.lr) / 0.005
    n = len(radius)
    assert n == 4 * 19 and model.history_[-1]["train_batch_count"] == 19
    progress = np.arange(n) / n
    grown = np.clip(progress / warmup, 0, 1)
    np.testing.assert_allclose(radius, 0.1 * grown, atol=1e-12)
    assert np.diff(radius).max() < 0.1 / 19  # by the epoch, it would jump by a quarter
    full = (progress >= 0.02) & (progress <= warmup)
    np.testing.assert_allclose(rate[full], 1.0)
    assert (np.diff(rate[progress > warmup]) < 0).all() and rate[-1] < 0.05


@pytest.mark.parametrize("smoothing", [1, 0.5])
def test_the_clean_pass_is_left_out_where_its_loss_cancels(monkeypatch, smoothing):
    """clean + 1 * (worst - clean) is the worst loss, to the last digits of the weights."""
    short = fitted(attack="interval", max_epochs=4, smoothing=smoothing)
    monkeypatch.setattr(RobustNet, "_is_all_bound", lambda self: False)
    long = fitted(attack="interval", max_epochs=4, smoothing=smoothing)
    pairs = zip(short.net_.module_.parameters(), long.net_.module_.parameters(), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_what_is_left_to_it_to_choose():
    model = RobustClassifier(attack="interval", radius=0.1, random_state=0, max_epochs=2)
    model.fit(X[TRAIN], Y[TRAIN])
    assert type(model.net_.divergence) is LossGap and model.net_.smoothing == 1
    images, labels = load_digits_images(return_X_y=True)
    for attack, rate in (("interval", 3e-3), ("pgd", 2e-3)):
        model = RobustClassifier(attack=attack, radius=0.001, random_state=0, max_epochs=3)
        assert model.fit(images[:200], labels[:200]).net_.lr == rate


def test_images_by_a_named_network():
    """Convolutions and pooling, under the pixels' own limits, by no more than the two words."""
    images, labels = load_digits_images(return_X_y=True)
    images, labels = images[labels < 3], labels[labels < 3]  # three digits, 537 rows
    threat = LpBall(bounds=(0, 1))
    model = RobustClassifier(
        "cnn", attack="interval", threat=threat, lr=5e-3, max_epochs=40, random_state=0
    )
    model.fit(images[:300], labels[:300])
    options = dict(radius=0.1, threat=threat, method="interval")
    proven = certified_accuracy_score(model, images[300:], labels[300:], **options)
    assert proven > 0.8  # a third would be what a constant has


def test_unknown_ends_stay_unknown():
    """Between minus and plus infinity lies no middle: not a number would pass for a bound."""
    layer = nn.Linear(2, 2)
    low, high = torch.tensor([[-torch.inf, 0.0]]), torch.tensor([[torch.inf, 0.0]])
    found = Dense(layer).interval(Box(low, high))
    assert (found.low == -torch.inf).all() and (found.high == torch.inf).all()


def test_the_penalty_is_a_bound_of_every_search():
    """At any weights: the loss at the enclosure is at least that at any row an attack finds."""
    model = fitted(attack="interval", max_epochs=3)
    network = model.net_.module_.double().eval()
    rows, y = torch.as_tensor(X[TEST]), torch.as_tensor(Y[TEST])
    region, criterion = LpBall().region(rows, 0.1), ClassificationLoss()
    output = network(rows).double()
    setting = Setting(network, criterion, lambda: region, None)
    penalty = IntervalTraining().penalty(
        trace(network, (30,)), region, output, y, LossGap(), setting
    )
    worst = worst_case(model, X[TEST], Y[TEST], radius=0.1, loss="log", random_state=0)
    reached = torch.as_tensor(worst.value)
    assert (penalty.detach() + criterion(output, y) >= reached - 1e-6).all()


def test_regression():
    A, b = load_diabetes(return_X_y=True)
    train, test = slice(0, 300), slice(300, None)
    options = dict(radius=0.01, random_state=0, divergence="loss", max_epochs=20)
    interval = RobustRegressor(attack="interval", **options).fit(A[train], b[train])
    searched = RobustRegressor(attack="pgd", **options).fit(A[train], b[train])
    bound = certified_loss(interval, A[test], b[test], radius=0.01)
    assert robust_loss(interval, A[test], b[test], radius=0.01, random_state=0) <= bound
    assert bound < certified_loss(searched, A[test], b[test], radius=0.01)
    assert bound < np.var(b[test])


class Block(nn.Module):
    """A residual network with what certified training must differentiate through."""

    def __init__(self, n_outputs):
        super().__init__()
        self.first = nn.Conv1d(1, 4, 3, padding=1)
        self.norm, self.last = nn.BatchNorm1d(4), nn.Linear(8, n_outputs)

    def forward(self, x):
        x = self.first(x)
        x = x + nn.functional.silu(self.norm(x))
        return self.last(nn.functional.max_pool1d(x, 2).flatten(1))


def test_series_with_convolutions_and_batch_norm():
    A, b = load_iris(return_X_y=True)
    model = RobustClassifier(
        lambda shape, k: Block(k), radius=0.1, attack="interval", max_epochs=50, random_state=0
    )
    model.fit(A[:, None], b)
    assert certified_accuracy_score(model, A[:, None], b, radius=0.1) > 0.8


def test_fresh_weights_keep_intervals_narrow():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(4)])
    x, width = torch.zeros(1, 64), []
    for _ in range(2):
        from skrobust.bounds import Interval

        low, high = Interval().bound(net, x, "linf", 0.1)
        width.append(float((high - low).mean().detach()))
        IntervalTraining().prepare(net)
    assert width[0] > 20 * 0.1  # as torch draws them
    assert 0.02 < width[1] < 1.0


def test_warm_start_goes_on_with_the_weights():
    model = fitted(attack="interval", max_epochs=30, warm_start=True)
    before = model.net_.module_.body[1].weight.detach().clone()
    model.set_params(max_epochs=1, lr=1e-6).fit(X[TRAIN], Y[TRAIN])
    after = model.net_.module_.body[1].weight.detach()
    assert (after - before).abs().max() < 1e-4


def test_weights_from_elsewhere_are_left_as_they_are():
    source = RobustClassifier(smoothing=0, max_epochs=1, random_state=0).fit(X[TRAIN], Y[TRAIN])
    model = fitted(attack="interval", max_epochs=1, lr=1e-9, initial_weights=source)
    torch.testing.assert_close(
        model.net_.module_.body[1].weight, source.net_.module_.body[1].weight, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attack": IntervalTraining(0.0)}, "share"),
        ({"attack": IntervalTraining(warmup=2)}, "warmup"),
        ({"attack": IntervalTraining(clip=0)}, "clip"),
        ({"attack": "interval", "divergence": "gradient"}, "divergence"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        RobustClassifier(**options).fit(X, Y)


def test_a_network_without_bounds_is_refused():
    from skrobust.exceptions import UnsupportedEstimatorError

    factory = lambda n, k: nn.Sequential(nn.LayerNorm(n), nn.Linear(n, k))
    with pytest.raises(UnsupportedEstimatorError, match="LayerNorm"):
        RobustClassifier(factory, attack="interval").fit(X, Y)


def test_it_is_no_attack_for_scores():
    with pytest.raises(ValueError, match="certify"):
        worst_case(fitted(attack="pgd", max_epochs=1), X, Y, radius=0.1, attack=IntervalTraining())
    with pytest.raises(ValueError, match="attack"):
        check_attack("interval")
    assert isinstance(check_attack("interval", "train"), IntervalTraining)
    assert isinstance(check_attack(PGD(), "train"), PGD)
