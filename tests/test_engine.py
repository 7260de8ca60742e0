"""The training engine: batches, remembered perturbations, first layers, guards, arithmetic."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_iris, make_moons
from torch import nn

from skrobust._torch import Frozen
from skrobust.attacks import PGD, Objective, Single
from skrobust.datasets import load_digits_images
from skrobust.estimators import RobustClassifier, RobustRegressor
from skrobust.exceptions import RobustnessWarning
from skrobust.nets import BatchLoader, Rows, _net
from skrobust.nets._first_layer import first_convolution, suits
from skrobust.nets._guard import Guard, Probe
from skrobust.nets._memory import Memory
from skrobust.nets._modules import Network, cnn
from skrobust.threats import LpBall

QUICK = dict(max_epochs=5, random_state=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n=23, shape=(3,)):
    x = torch.arange(n * int(np.prod(shape)), dtype=torch.float32).reshape(n, *shape)
    return Rows(x, torch.arange(n), torch.linspace(0, 1, n))


# Batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_numbers", [1, 20, 10**6])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_row_once_with_its_target(monkeypatch, chunk_numbers, shuffle):
    monkeypatch.setattr(BatchLoader, "chunk_numbers", chunk_numbers)
    loader = BatchLoader(rows(), 5, generator(), shuffle)
    batches = list(loader)
    assert len(batches) == len(loader) == 5
    y = torch.cat([batch.y for batch in batches])
    assert sorted(y.tolist()) == list(range(23))
    assert (y.tolist() == list(range(23))) is not shuffle
    for batch in batches:
        assert torch.equal(batch.x[:, 0], 3.0 * batch.y)
        assert torch.equal(batch.chunk.index[batch.place], batch.y)
        region = batch.region(LpBall(), 0.5)
        assert torch.equal(region.x, batch.x)
        torch.testing.assert_close(region.high, batch.x + 0.5)


def test_batches_do_not_depend_on_how_many_are_gathered_at_once(monkeypatch):
    seen = []
    for numbers in (1, 10**6):
        monkeypatch.setattr(BatchLoader, "chunk_numbers", numbers)
        seen.append(torch.cat([b.y for b in BatchLoader(rows(), 4, generator(), True)]))
    assert torch.equal(*seen)


def test_a_last_batch_of_one_row_joins_the_one_before():
    assert [len(batch.x) for batch in BatchLoader(rows(9), 4, None, False)] == [4, 5]


def test_augmented_batches_are_changed_and_not_remembered():
    X, y = make_moons(200, noise=0.1, random_state=0)
    seen = []

    def augment(x, generator):
        seen.append(len(x))
        return x + 0.01 * torch.empty_like(x).normal_(generator=generator)

    plain = RobustClassifier(**QUICK).fit(X, y)
    model = RobustClassifier(net_params={"augment": augment}, **QUICK).fit(X, y)
    assert sum(seen) == 5 * 200
    assert not np.allclose(model.predict_proba(X), plain.predict_proba(X))


# What rows remember -----------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_memory_gives_back_what_it_was_given(norm):
    data = Rows(torch.randn(20, 6, generator=generator()), torch.arange(20))
    threat, memory = LpBall(norm, scale=[1.0, 2, 3, 4, 5, 6]), Memory(data, generator())
    kept = {}
    for epoch in range(3):
        for batch in BatchLoader(data, 4, generator(epoch), True):
            region = batch.region(threat, 0.3)
            start = memory.start(batch)
            assert (region.distance(start) <= 0.3 + 1e-6).all()
            for row, z in zip(batch.y.tolist(), start, strict=True):
                if epoch:  # float16 keeps three digits of a share of the radius
                    assert torch.allclose(z, kept[row], atol=2e-3 * 0.3 * 6)
            z = region.sample(generator(epoch))
            memory.keep(batch, z)
            kept |= dict(zip(batch.y.tolist(), z, strict=True))
        memory.end_epoch()


def test_remembered_moves_grow_with_the_radius():
    data = Rows(torch.zeros(4, 2), torch.arange(4))
    memory = Memory(data, generator())
    for radius in (1.0, 2.0):
        (batch,) = BatchLoader(data, -1, None, False)
        batch.region(LpBall(), radius)
        start = memory.start(batch).clone()
        memory.keep(batch, torch.full((4, 2), 0.5))
        memory.end_epoch()
    torch.testing.assert_close(start, torch.full((4, 2), 1.0))


def test_rows_that_take_too_much_memory_start_at_random():
    X, y = load_iris(return_X_y=True)
    found = [
        RobustClassifier(net_params={"memory_limit": limit}, **QUICK).fit(X, y).predict_proba(X)
        for limit in (0, 2 * X.size - 1, 2 * X.size)
    ]
    assert np.array_equal(found[0], found[1]) and not np.allclose(found[1], found[2])


def test_one_step_a_time_climbs_as_far_as_many():
    """From its own last point, twelve calls of one short step reach the worst corner."""
    weight = torch.tensor([[1.0, -2.0], [3.0, 1.0]])
    fn = Objective(lambda z, w: (z * w).sum(dim=1), weight)
    region = LpBall("linf").region(torch.zeros(2, 2), 0.5)
    z = region.sample(generator())
    for _ in range(12):
        z = Single(verify=False).worst(fn, region, z, generator())
    torch.testing.assert_close(z, 0.5 * weight.sign())


# First layers and the order of channels ---------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize(("channels", "kernel"), [(1, 3), (3, 3), (1, (3, 5))])
def test_gradient_of_a_first_convolution(channels, kernel, padding):
    layer = nn.Conv2d(channels, 4, kernel, padding=padding).double()
    assert suits(layer)
    x = torch.randn(2, channels, 7, 6, dtype=torch.float64, requires_grad=True)
    wanted, found = layer(x), first_convolution(x, layer)
    assert torch.equal(wanted, found)
    way = torch.randn(wanted.shape, dtype=torch.float64)
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(wanted, inputs, way),
        torch.autograd.grad(found, inputs, way),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    assert torch.autograd.gradgradcheck(lambda z: first_convolution(z, layer), x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, stride=2),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(1, 2, 3, dilation=2),
        nn.Conv2d(16, 2, 3),
        nn.Linear(3, 2),
    ],
    ids=str,
)
def test_other_layers_are_left_to_torch(layer):
    assert not suits(layer)


def test_channels_last_changes_the_memory_and_not_the_network():
    X, _ = load_digits_images(return_X_y=True)
    x = torch.as_tensor(X[:5])
    network = Network(
        {"module": "cnn", "row_shape": (1, 8, 8), "body_shape": (1, 8, 8), "n_outputs": 3}, None
    )
    plain = cnn((1, 8, 8), 3)
    plain.load_state_dict(network.body.state_dict())
    torch.testing.assert_close(network(x), plain(x))
    hidden = network.body[0](x)
    assert hidden.is_contiguous(memory_format=torch.channels_last)
    z = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(network(z).sum(), z)
    (wanted,) = torch.autograd.grad(plain(z).sum(), z)
    torch.testing.assert_close(found, wanted)


def test_conditioning_follows_the_buffers():
    network = Network(
        {"module": "mlp", "row_shape": (2,), "body_shape": (2,), "n_outputs": 1}, None
    )
    x = torch.randn(4, 2)
    before = network(x)
    network.condition(np.array([[0.0, 0.0], [4.0, 8.0]]))
    assert not torch.allclose(network(x), before)
    torch.testing.assert_close(
        network(x), network.body((x - torch.tensor([2.0, 4])) / torch.tensor([2.0, 4]))
    )
    torch.testing.assert_close(copy.deepcopy(network).double()(x.double()).float(), network(x))


def test_frozen_puts_every_flag_back():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    module[0].bias.requires_grad_(False)
    module[1].eval()
    flags = [p.requires_grad for p in module.parameters()], [m.training for m in module.modules()]
    with Frozen(module) as frozen:
        assert not any(p.requires_grad for p in frozen.parameters())
        assert not any(m.training for m in frozen.modules())
    assert flags == (
        [p.requires_grad for p in module.parameters()],
        [m.training for m in module.modules()],
    )


# One or two forward passes ----------------------------------------------------------------


def test_clean_and_moved_rows_in_one_pass_train_the_same_model(monkeypatch):
    X, y = make_moons(200, noise=0.1, random_state=0)
    found = []
    for most in (0, 10**9):
        monkeypatch.setattr("skrobust.nets._net.JOINT_NUMBERS", most)
        found.append(RobustClassifier(**QUICK).fit(X, y).predict_proba(X))
    np.testing.assert_allclose(*found, atol=1e-4)


def test_batch_norm_sees_clean_and_moved_rows_apart():
    """Its running mean is that of passes over rows of one kind, never over both at once."""
    sizes = []

    class Spy(nn.BatchNorm1d):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    def module(n_features, n_outputs):
        return nn.Sequential(nn.Linear(n_features, 8), Spy(8), nn.ReLU(), nn.Linear(8, n_outputs))

    X, y = load_iris(return_X_y=True)
    RobustClassifier(module, batch_size=50, **QUICK).fit(X, y)
    assert set(sizes) == {50} and len(sizes) == 2 * 3 * 5


# Arithmetic -------------------------------------------------------------------------------


def test_bfloat16_trains_about_the_same_model_and_leaves_float32_weights():
    X, y = load_digits_images(return_X_y=True)
    X, y = X[:400], y[:400]
    model = RobustClassifier(net_params={"precision": "bfloat16"}, **QUICK).fit(X, y)
    assert model.score(X, y) > 0.8
    assert {p.dtype for p in model.net_.module_.parameters()} == {torch.float32}


def test_deterministic_algorithms_are_wanted_during_fit_only():
    X, y = load_iris(return_X_y=True)
    RobustClassifier(net_params={"deterministic": True}, **QUICK).fit(X, y)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("offset", "width"), [(0.0, torch.float32), (1e9, torch.float64)])
def test_rows_train_in_float32_where_that_loses_nothing(offset, width):
    X, y = load_iris(return_X_y=True)
    seen = []

    def augment(x, generator):
        seen.append(x.dtype)
        return x

    model = RobustClassifier(net_params={"augment": augment}, **QUICK).fit(X + offset, y)
    assert set(seen) == {width}
    assert model.score(X + offset, y) > 0.8


# Guards -----------------------------------------------------------------------------------


def test_guard_goes_back_and_takes_more_steps_after_a_collapse():
    """Images, a large radius, one step from the row itself: the known recipe of the collapse."""
    X, y = load_digits_images(return_X_y=True)
    setting = dict(
        attack=PGD(n_steps=1, step_size=0.3, random_start=False),
        divergence="loss",
        threat=LpBall(bounds=(0, 1)),
        radius=0.3,
        max_epochs=40,
        random_state=0,
    )
    with pytest.warns(RobustnessWarning, match="collapsed in epoch") as caught:
        model = RobustClassifier(**setting).fit(X[:1200], y[:1200])
    assert sum("collapsed" in str(w.message) for w in caught) == 1
    collapsed = [row for row in model.history_ if row.get("collapsed")]
    assert collapsed and collapsed[0]["loss_many_steps"] > collapsed[0]["loss_one_step"] + 0.15
    assert model.net_.attack.n_steps >= 3
    assert setting["attack"].n_steps == 1  # the user's object stays as it was


@pytest.mark.parametrize(
    ("epochs", "one", "many", "when", "goes_back"),
    [
        (3, [0.50, 0.40, 0.88], [0.50, 0.42, 0.93], 3, True),  # one step breaks what many break
        (3, [0.50, 0.40, 0.45], [0.50, 0.42, 0.56], None, False),  # a bad epoch
        (3, [0.90, 0.80, 0.85], [0.90, 0.82, 0.88], None, False),  # not robust yet
        (3, [0.50, 0.40, 0.50], [0.50, 0.42, 0.61], 3, True),  # a third of what was robust, a gap
        (3, [0.90, 0.30, 0.20], [0.90, 0.40, 0.90], 3, True),  # the textbook's
        (5, [0.50, 0.40, 0.38], [0.60, 0.65, 0.72], 4, True),  # hides twice in a row, and more
        (5, [0.50, 0.40, 0.38], [0.60, 0.65, 0.66], 4, False),  # and as much
        (3, [0.50, 0.40, 0.38], [0.60, 0.65, 0.66], None, False),  # and there are no more epochs
        (3, [0.90, 0.85, 0.73], [0.98, 0.98, 1.00], None, False),  # has nothing to lose
        (3, [0.50, 0.40, 0.40], [0.60, 0.65, 0.58], None, False),  # hides once
        (3, [0.50, 0.90, 0.88], [0.50, 0.90, 0.88], None, False),  # a lucky first epoch
        (3, [0.55, 0.48, 0.40], [0.77, 0.72, 0.40], 2, False),  # hides from the first epoch on
        (
            9,
            [0.55, 0.48, 0.40],
            [0.77, 0.72, 0.40],
            None,
            False,
        ),  # the rate of learning still rises
        (3, [0.60, 0.50, 0.40], [0.90, 0.72, 0.58], None, False),  # grows out of it
        (7, [0.55, 0.48, 0.40], [0.82, 0.80, 0.40], None, False),  # not robust yet
        (4, [0.55, 0.48, 0.40], [0.82, 0.80, 0.40], 2, False),  # should be by now
    ],
)
def test_guard_judges_examinations(monkeypatch, epochs, one, many, when, goes_back):
    """Shares of wrong rows at the first three examinations, as a net in training might show them."""
    figures = {1: iter(one), 5: iter(many)}

    def loss(self, net, attack):
        n_steps = 0 if attack is None else attack.n_steps
        return next(figures[n_steps], 0.1) if n_steps in figures else 0.1

    went_back, go_back = [], Guard._go_back
    monkeypatch.setattr(Guard, "_go_back", lambda *args: went_back.append(go_back(*args)))
    monkeypatch.setattr(Probe, "loss", loss)
    monkeypatch.setattr(Probe, "constant", lambda self: 0.75)
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RobustnessWarning)
        model = RobustClassifier(max_epochs=epochs, random_state=0).fit(X, y)
    found = [n for n, row in enumerate(model.history_, 1) if row.get("collapsed")]
    said = [str(w.message) for w in caught if "collapsed" in str(w.message)]
    assert found == ([] if when is None else [when])
    assert len(said) == len(found)
    assert all(("are back" in words) == goes_back for words in said)
    assert all(("goes on" in words) == (when < epochs) for words in said)
    assert model.net_.attack.n_steps == (3 if found else 1)
    assert len(went_back) == goes_back


@pytest.mark.parametrize(("few", "found"), [(0.52, 0.8), (0.48, 0.48)])
def test_a_doubtful_examination_asks_a_stronger_attack(monkeypatch, few, found):
    shares = {1: 0.4, 5: few, 20: 0.8}
    monkeypatch.setattr(
        Probe, "loss", lambda self, net, attack: shares[attack.n_steps] if attack else 0.1
    )
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)  # the end is examined by the strong one
        model = RobustClassifier(max_epochs=1, random_state=0).fit(X, y)
    assert model.history_[-1]["loss_many_steps"] == found


@pytest.mark.parametrize(
    ("attack", "few", "constant", "found"),
    [
        ("pgd", 0.45, 0.75, 0.45),
        ("pgd", 0.52, 0.75, 0.8),  # hides something
        ("pgd", 0.45, 0.54, 0.8),  # little better than a constant
        ("single", 0.45, 0.75, 0.8),
    ],
)
def test_the_end_is_examined_by_a_strong_attack_where_there_is_doubt(
    monkeypatch, attack, few, constant, found
):
    shares = {1: 0.4, 5: few, 20: 0.8}
    monkeypatch.setattr(Probe, "loss", lambda self, net, a: shares[a.n_steps] if a else 0.1)
    monkeypatch.setattr(Probe, "constant", lambda self: constant)
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)
        model = RobustClassifier(attack=attack, max_epochs=1, random_state=0).fit(X, y)
    assert model.history_[-1]["robust_loss"] == found


def test_guard_is_silent_where_training_is_sound():
    X, y = load_breast_cancer(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RobustnessWarning)
        model = RobustClassifier(threat=LpBall(scale="std"), radius=0.3, random_state=0).fit(X, y)
    checks = [row for row in model.history_ if "loss_many_steps" in row]
    assert 6 <= len(checks) <= 16
    assert not any("collapsed" in row for row in model.history_)


@pytest.mark.parametrize(
    ("one", "many", "epochs"),
    [
        (0.3, 0.3, [1, 2, 6, 10, 14, 18, 22, 24]),  # the next regular one is passed over
        (0.3, 0.36, [1, *range(2, 25, 2)]),  # something is hidden
        (0.8, 0.8, [1, *range(2, 25, 2)]),  # nothing is robust that could be lost
    ],
)
def test_where_nothing_is_hidden_examinations_are_rarer(monkeypatch, one, many, epochs):
    shares = {1: one, 5: many, 20: many}
    monkeypatch.setattr(Probe, "loss", lambda self, net, a: shares[a.n_steps] if a else 0.1)
    monkeypatch.setattr(Probe, "constant", lambda self: 0.75)
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)
        # the penalty of so slow a training never shrinks at once, which would ask for one more
        model = RobustClassifier(max_epochs=24, lr=1e-9, random_state=0).fit(X, y)
    found = [n for n, row in enumerate(model.history_, 1) if "loss_many_steps" in row]
    assert found == epochs


def test_a_model_that_resists_one_step_only_is_named(monkeypatch):
    """Where the guard has seen nothing: it looks at weights before they are averaged, and not always."""
    monkeypatch.setattr(Guard, "suits", staticmethod(lambda attack: False))
    X, y = load_digits_images(return_X_y=True)
    attack = PGD(n_steps=1, step_size=0.25, random_start=False)
    options = dict(divergence="loss", threat=LpBall(bounds=(0, 1)), radius=0.25, random_state=0)
    with pytest.warns(RobustnessWarning, match="resists one step and not several") as caught:
        RobustClassifier(attack=attack, max_epochs=40, **options).fit(X[:1200], y[:1200])
    assert len(caught) == 1


def test_a_model_no_better_than_a_constant_is_named():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(RobustnessWarning, match="no better than a constant"):
        RobustClassifier(threat=LpBall(scale="std"), radius=5.0, **QUICK).fit(X, y)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    with pytest.warns(RobustnessWarning, match="their mean has"):
        RobustRegressor(radius=3.0, smoothing=0.01, **QUICK).fit(X, X[:, 0])


def test_the_constant_of_a_probe_counts_weights():
    data = Rows(torch.zeros(4, 1), torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 1, 1, 7]))
    assert Probe(data, True, True).constant() == pytest.approx(0.3)
    data = Rows(torch.zeros(2, 1), torch.tensor([[0.0], [2.0]]))
    assert Probe(data, False, True).constant() == pytest.approx(1.0)


def test_guard_suits_attacks_of_few_steps():
    assert Guard.suits(Single()) and Guard.suits(PGD(n_steps=2))
    assert not Guard.suits(PGD(n_steps=10))


def test_many_rows_leave_some_to_examine_the_training_with():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 2))
    seen = []

    def augment(x, generator):
        seen.append(len(x))
        return x

    y = (X[:, 0] > 0).astype(int)
    RobustClassifier(net_params={"augment": augment}, max_epochs=1, random_state=0).fit(X, y)
    assert sum(seen) == 6000 - 128


# What is told ------------------------------------------------------------------------------


def test_history_has_every_batch_and_the_penalty():
    X, y = load_iris(return_X_y=True)
    model = RobustClassifier(batch_size=50, **QUICK).fit(X, y)
    for row in model.history_:
        assert row["penalty"] >= 0 and row["train_batch_count"] == 3
        sizes = [batch["train_batch_size"] for batch in row["batches"]]
        losses = [batch["train_loss"] for batch in row["batches"]]
        assert sizes == [50, 50, 50]
        assert row["train_loss"] == pytest.approx(np.mean(losses))


def images(n: int = 128, side: int = 12, seed: int = 0):
    """Rows whose class is which half is brighter, and a batch of them too large for one pass."""
    X = np.random.default_rng(seed).random((n, 1, side, side)).astype(np.float32)
    y = (X[:, 0, : side // 2].mean(axis=(1, 2)) > X[:, 0, side // 2 :].mean(axis=(1, 2))).astype(
        int
    )
    return X, y


WIDE = dict(max_epochs=3, batch_size=128, radius=0.05, random_state=0)


@pytest.mark.filterwarnings("ignore:The robust model is no better")
@pytest.mark.parametrize("attack", ["single", "pgd"])
def test_a_cpu_searches_in_bfloat16_where_it_can(monkeypatch, attack):
    """Only the attack's passes: what trains and what predicts is float32."""
    X, y = images()
    seen = {"searching": set(), "training": set()}

    class Spy(nn.Linear):
        def forward(self, x):
            found = super().forward(x)
            seen["training" if self.weight.requires_grad else "searching"].add(found.dtype)
            return found

    def module(shape, n_outputs):
        return nn.Sequential(nn.Flatten(), Spy(shape[1] * shape[2], n_outputs))

    for able, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(_net, "cpu_has_bfloat16", lambda able=able: able)
        seen["searching"].clear(), seen["training"].clear()
        model = RobustClassifier(module, attack=attack, **WIDE).fit(X, y)
        assert wanted in seen["searching"] and seen["training"] == {torch.float32}
        seen["searching"].clear()
        model.predict(X)
        assert seen["searching"] == {torch.float32}
    seen["searching"].clear()
    monkeypatch.setattr(_net, "cpu_has_bfloat16", lambda: True)
    RobustClassifier(module, attack=attack, net_params={"precision": "float32"}, **WIDE).fit(X, y)
    assert seen["searching"] == {torch.float32}


@pytest.mark.filterwarnings("ignore:The robust model is no better")
@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_named_networks_of_images_train_in_bfloat16(monkeypatch, precision):
    monkeypatch.setattr(_net, "cpu_has_bfloat16", lambda: True)
    X, y = images()
    found = [
        RobustClassifier("cnn", net_params={"precision": how}, **WIDE).fit(X, y)
        for how in (precision, "float32")
    ]
    probabilities = [model.predict_proba(X) for model in found]
    np.testing.assert_allclose(*probabilities, atol=0.05)
    assert not np.array_equal(*probabilities)
    assert {p.dtype for p in found[0].net_.module_.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:The robust model is no better")
def test_a_module_that_mixes_types_by_hand_is_attacked_in_float32(monkeypatch):
    monkeypatch.setattr(_net, "cpu_has_bfloat16", lambda: True)
    X, y = images()

    class Own(nn.Module):
        def __init__(self, shape, n_outputs):
            super().__init__()
            self.last = nn.Linear(shape[1] * shape[2], n_outputs)

        def forward(self, x):
            found = self.last(x.flatten(1))
            if found.dtype != x.dtype:  # as many an operation of torch says itself
                raise RuntimeError("expected both to have the same type")
            return found

    found = [
        RobustClassifier(Own, net_params={"precision": how}, **WIDE).fit(X, y).predict_proba(X)
        for how in ("auto", "float32")
    ]
    np.testing.assert_array_equal(*found)
    with pytest.raises(RuntimeError, match="same type"):  # whoever asks for it hears why not
        RobustClassifier(Own, net_params={"precision": "bfloat16"}, **WIDE).fit(X, y)


@pytest.mark.parametrize("how", ["view", "flatten"])
def test_modules_of_ones_own_have_channels_last_where_they_bear_it(how):
    """``x.view`` after a convolution needs the order that it was written for."""

    class Own(nn.Module):
        def __init__(self, shape, n_outputs):
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(400, n_outputs)

        def forward(self, x):
            x = self.first(x)
            self.is_last = x.is_contiguous(memory_format=torch.channels_last)
            return self.last(x.view(len(x), -1) if how == "view" else x.flatten(1))

    X, y = images(32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)
        model = RobustClassifier(Own, max_epochs=1, radius=0.05, random_state=0).fit(X, y)
    model.predict(X)
    assert model.net_.module_.body.is_last == (how == "flatten")


@pytest.mark.slow  # a compiler is at work for half a minute
def test_compiled_networks_train_the_same_model():
    pytest.importorskip("torch._inductor", reason="this torch has no compiler")
    X, y = load_iris(return_X_y=True)
    plain = RobustClassifier(batch_size=50, **QUICK).fit(X, y)
    setting = {"compile": True, "compile__backend": "aot_eager"}
    model = RobustClassifier(batch_size=50, net_params=setting, **QUICK).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-4)
    assert set(model.net_.module_.state_dict()) == set(plain.net_.module_.state_dict())


def test_warnings_point_at_the_users_line():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(RobustnessWarning, match="no better than a constant") as caught:
        RobustClassifier(threat=LpBall(scale="std"), radius=5.0, **QUICK).fit(X, y)
    (found,) = (w for w in caught if "constant" in str(w.message))
    assert found.filename == __file__


@pytest.mark.parametrize("side", [5, 16], ids=["one pass", "two passes"])
def test_the_next_search_begins_a_free_step_on(side):
    """With weights that stand still: start of an epoch = end of the last + step along the gradient."""
    starts, ends = [], []

    class Watched(Single):
        def worst(self, fn, region, start, generator):
            z = super().worst(fn, region, start, generator)
            starts.append(start.clone()), ends.append((z.clone(), region))
            return z

    options = dict(net_params={"precision": "float32"})
    X = np.random.default_rng(0).random((80, 1, side, side)).astype(np.float32)
    y = np.arange(80) % 2
    options |= dict(max_epochs=2, batch_size=80, radius=0.1, random_state=0, lr=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)  # it learns nothing
        model = RobustClassifier(attack=Watched(free_step=0.25, verify=False), **options).fit(X, y)
    (z, region), net = ends[0], model.net_
    z.requires_grad_()
    moved, output = (net.module_(rows).log_softmax(dim=1) for rows in (z, region.x))
    kl = torch.nn.functional.kl_div(moved, output.detach(), reduction="sum", log_target=True)
    (slope,) = torch.autograd.grad(kl, z)
    wanted = region.step(z.detach(), slope, region.radius * 0.25)
    assert (wanted - z).abs().max() > 0.02
    sorted_as = lambda rows: rows.flatten(1)[rows.flatten(1)[:, 0].argsort()].cpu()
    close = (sorted_as(starts[1]) - sorted_as(wanted)).abs() < 1e-4
    assert close.double().mean() > 0.999  # a slope of nearly 0 may have either sign


def test_free_steps_are_for_images_unless_somebody_asks():
    X = np.random.default_rng(0).random((16, 1, 16, 16))
    y = np.arange(16) % 2
    options = dict(max_epochs=1, batch_size=16, radius=0.1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)  # one epoch on noise
        large = RobustClassifier(**options).fit(X, y).net_.attack
        assert large.free_step == 0.5 and large.margins
        assert RobustClassifier(**options).fit(X[:, 0, 0], y).net_.attack.free_step == 0
        small = RobustClassifier(**options).fit(X[..., :8, :8], y).net_.attack
        assert small.free_step == 0 and not small.margins

        assert RobustClassifier(**options).fit(X[:, 0], y).net_.attack.margins  # series
        chosen = RobustClassifier(attack=Single(free_step=0.1, verify=False), **options).fit(X, y)
    assert chosen.net_.attack.free_step == 0.1


@pytest.mark.parametrize("n_layers", [8, 9])
def test_deep_networks_of_images_take_two_steps_along_the_margin(n_layers):
    def own(shape, n_outputs):
        n_inputs = 64 if isinstance(shape, tuple) else shape
        layers = [nn.Linear(n_inputs, 8), *(nn.Linear(8, 8) for _ in range(n_layers - 2))]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(8, n_outputs))

    X = np.random.default_rng(0).random((16, 1, 8, 8))
    y = np.arange(16) % 2
    options = dict(max_epochs=1, batch_size=16, radius=0.1, random_state=0)

    def attack(X, **more):
        return RobustClassifier(own, **{**options, **more}).fit(X, y).net_.attack

    is_deep = n_layers > 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RobustnessWarning)  # one epoch on noise
        found = attack(X)
        assert (found.n_steps, found.free_step, found.margins) == (
            (2, 0.5, True) if is_deep else (1, 0.0, False)
        )
        assert attack(X.reshape(16, 64)).n_steps == 1  # a table
        assert attack(X, attack=Single(verify=False)).n_steps == 1  # somebody's choice


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("attack", [Single(verify=False), PGD(n_steps=3)], ids=["single", "pgd"])
def test_a_recorded_attack_trains_the_same_model(attack):
    """A last batch of another size is computed as ever; batch normalisation is frozen in the attack."""

    def module(shape, n_outputs):
        layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8 * 36, n_outputs))

    X = np.random.default_rng(0).random((100, 1, 8, 8)).astype(np.float32)
    y = np.arange(100) % 2
    options = dict(max_epochs=3, batch_size=40, radius=0.1, random_state=0, attack=attack)
    found = []
    for cuda_graphs in (False, True):
        how = {"precision": "float32", "cuda_graphs": cuda_graphs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RobustnessWarning)  # of noise there is nothing to learn
            model = RobustClassifier(module, net_params=how, **options).fit(X, y)
        found.append(model.predict_proba(X))
    np.testing.assert_allclose(*found, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recording_follows_weights_and_statistics(precision):
    """Outputs and gradients of a replay are those of the network as it is now, not as it was."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).cuda()
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    rows = Rows(torch.zeros(2, 1, 28, 28), torch.zeros(2))
    within = _net.arithmetics(precision, "cuda", rows, 128)[1]
    forward = _net._in_float32(net, within)
    replay = _net.Replayed(forward)
    for _ in range(5):
        x = torch.randn(128, 1, 28, 28, device="cuda", requires_grad=True)
        way = torch.randn(128, 10, device="cuda")
        found = []
        for function in (replay, forward):
            outputs = function(x)
            found.append((outputs.detach(), torch.autograd.grad(outputs, x, way)[0]))
        for ours, theirs in zip(*found, strict=True):
            assert (ours - theirs).norm() < 1e-3 * theirs.norm()
        for part in net:
            for value in [*part.parameters(), *part.buffers()]:
                if value.is_floating_point():
                    value.mul_(1 + 0.3 * torch.rand_like(value))


def test_on_a_cpu_nothing_is_recorded():
    X, y = make_moons(60, noise=0.1, random_state=0)
    found = [
        RobustClassifier(net_params={"cuda_graphs": wanted}, **QUICK).fit(X, y).predict_proba(X)
        for wanted in (False, True)
    ]
    np.testing.assert_array_equal(*found)
