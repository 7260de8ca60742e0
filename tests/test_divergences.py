"""Divergences against their formulas, and the training loss against one written by hand."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from skrobust import RobustClassifier
from skrobust._torch import evaluating
from skrobust.smoothing import (
    DIVERGENCES,
    KL,
    Consistency,
    Gradient,
    LossGap,
    Setting,
    Squared,
    check_divergence,
)
from skrobust.threats import LpBall

RNG = np.random.default_rng(0)
MOVED, OUTPUT = RNG.normal(size=(2, 7, 3))
Y = RNG.integers(3, size=7)


def cross_entropy(output, y):
    return torch.nn.functional.cross_entropy(output, y, reduction="none")


def compare(divergence, moved=MOVED, output=OUTPUT, y=Y):
    moved, output, y = map(torch.as_tensor, (moved, output, y))
    return divergence.compare(moved, output, y, cross_entropy).numpy()


def test_kl_is_the_formula():
    p = softmax(OUTPUT, axis=1)
    expected = (p * (log_softmax(OUTPUT, axis=1) - log_softmax(MOVED, axis=1))).sum(axis=1)
    np.testing.assert_allclose(compare(KL()), expected, rtol=1e-12)
    assert (compare(KL()) > 0).all()
    np.testing.assert_allclose(compare(KL(), OUTPUT), 0, atol=1e-15)


def test_kl_has_finite_gradients_when_softmax_saturates():
    moved = torch.tensor([[500.0, -500.0]], requires_grad=True)
    output = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    KL().compare(moved, output, None, None).sum().backward()
    assert torch.isfinite(moved.grad).all() and torch.isfinite(output.grad).all()


def test_squared_and_loss_gap_are_the_formulas():
    np.testing.assert_allclose(compare(Squared()), ((MOVED - OUTPUT) ** 2).sum(axis=1))
    nll = [-log_softmax(f, axis=1)[np.arange(7), Y] for f in (MOVED, OUTPUT)]
    assert (nll[0] < nll[1]).any() and (nll[0] > nll[1]).any()
    np.testing.assert_allclose(compare(LossGap()), np.maximum(nll[0] - nll[1], 0))


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_gradient_is_radius_times_dual_norm(norm, dual):
    x = torch.as_tensor(RNG.normal(size=(7, 4)))
    weight = torch.as_tensor(RNG.normal(size=(4, 3)))
    threat = LpBall(norm, scale=[1.0, 2.0, 0.5, 3.0])
    setting = Setting(
        lambda rows: rows @ weight, cross_entropy, lambda: threat.region(x, 0.3), None
    )
    y = torch.as_tensor(Y)
    found = Gradient().penalty(x, x @ weight, y, setting)
    rows = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(cross_entropy(rows @ weight, y).sum(), rows)
    scaled = gradient.numpy() * np.array([1.0, 2.0, 0.5, 3.0])
    expected = 0.3 * np.linalg.norm(scaled, ord=dual, axis=1)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9)


def test_gradient_can_be_differentiated_again():
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).double()
    x, y = torch.as_tensor(RNG.normal(size=(7, 4))), torch.as_tensor(Y)
    setting = Setting(net, cross_entropy, lambda: LpBall().region(x, 0.1), None)
    Gradient().penalty(x, net(x), y, setting).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())
    assert net[0].weight.grad.abs().sum() > 0


def noisy_setting(forward, loss, x, threat, radius=0.3):
    generator = torch.Generator().manual_seed(5)
    return Setting(forward, loss, lambda: threat.region(x, radius), None, generator)


def copies(x, std, m):
    generator = torch.Generator().manual_seed(5)
    draws = torch.randn((m, *x.shape), dtype=x.dtype, generator=generator)
    return [(x + std * draw).numpy() for draw in draws]


@pytest.mark.parametrize("m", [2, 4])
def test_consistency_is_the_formula_of_its_paper(m):
    """With smoothing=1: the loss of noisy rows, and the two terms written with probabilities."""
    x, y = torch.as_tensor(RNG.normal(size=(7, 4))), torch.as_tensor(Y)
    weight, scale = RNG.normal(size=(4, 3)), np.array([1.0, 2.0, 0.5, 3.0])
    forward = lambda rows: rows @ torch.as_tensor(weight)
    threat = LpBall("l2", scale=scale, frozen=[1])
    setting = noisy_setting(forward, cross_entropy, x, threat)
    output = forward(x)
    found = Consistency(m, pull=3.0, sharpness=0.7).penalty(x, output, y, setting)
    std = torch.as_tensor(0.3 * scale * [1, 0, 1, 1])
    p = np.stack([softmax(z @ weight, axis=1) for z in copies(x, std, m)])
    mean = p.mean(axis=0)
    nll = -np.log(p[:, np.arange(7), Y]).mean(axis=0)
    kl = (mean * (np.log(mean) - np.log(p))).sum(axis=2).mean(axis=0)
    expected = nll + 3.0 * kl - 0.7 * (mean * np.log(mean)).sum(axis=1)
    total = found.numpy() + cross_entropy(output, y).numpy()
    np.testing.assert_allclose(total, expected, rtol=1e-9)


def test_consistency_of_a_regressor_is_the_variance():
    x, y = torch.as_tensor(RNG.normal(size=(7, 4))), torch.as_tensor(RNG.normal(size=(7, 2)))
    weight = RNG.normal(size=(4, 2))
    forward = lambda rows: rows @ torch.as_tensor(weight)
    squared = lambda output, y: (output - y).square().sum(dim=1)
    setting = noisy_setting(forward, squared, x, LpBall())
    found = Consistency(3, pull=2.0).penalty(x, forward(x), y, setting).numpy()
    answers = np.stack([z @ weight for z in copies(x, 0.3, 3)])
    expected = ((answers - y.numpy()) ** 2).sum(axis=2).mean(axis=0) + 2 * answers.var(0).sum(1)
    np.testing.assert_allclose(found + squared(forward(x), y).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("option", "value"), [("n_copies", 1), ("pull", -1), ("sharpness", "a")])
def test_options_of_consistency(option, value):
    x = torch.zeros(7, 4)
    setting = noisy_setting(lambda rows: rows, None, x, LpBall())
    with pytest.raises((ValueError, TypeError), match=option):
        Consistency(**{option: value}).penalty(x, x, torch.as_tensor(Y), setting)


def test_names_objects_and_functions_are_coerced():
    for name, cls in DIVERGENCES.items():
        assert isinstance(check_divergence(name), cls)
    assert check_divergence(squared := Squared()) is squared
    largest = check_divergence(lambda moved, output, y: (moved - output).abs().amax(1))
    np.testing.assert_allclose(compare(largest), np.abs(MOVED - OUTPUT).max(axis=1))


@pytest.mark.parametrize("bad", ["KL", "hinge", 3, None, KL])
def test_bad_divergences_are_named(bad):
    with pytest.raises(
        ValueError, match=r"divergence=.*'consistency', 'gradient', 'kl', 'loss', 'squared'"
    ):
        check_divergence(bad)


def test_a_function_that_returns_a_mean_is_an_error():
    with pytest.raises(ValueError, match="one value per row"):
        compare(check_divergence(lambda moved, output, y: (moved - output).mean()))


def test_evaluating_restores_every_mode_and_flag():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout())
    net[1].eval()
    net[0].bias.requires_grad_(False)
    with evaluating(net):
        assert not any(part.training for part in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
    assert [part.training for part in net.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True]


@pytest.mark.parametrize("divergence", [KL(), Squared()], ids=repr)
def test_slopes_are_the_gradients(divergence):
    moved = torch.as_tensor(MOVED).requires_grad_(True)
    output, y = torch.as_tensor(OUTPUT), torch.as_tensor(Y)
    value = divergence.compare(moved, output, y, None)
    (wanted,) = torch.autograd.grad(value.sum(), moved)
    torch.testing.assert_close(divergence.slope(output, y)(moved.detach()), wanted)


def test_a_divergence_of_ones_own_is_climbed_by_its_own_slope():
    """A subclass that compares otherwise must not climb by its parent's formula."""

    class Backwards(KL):
        def compare(self, moved, output, y, loss):
            return -super().compare(moved, output, y, loss)

    X = np.linspace(-1, 1, 60).reshape(-1, 1)
    model = RobustClassifier(divergence=Backwards(), max_epochs=1, random_state=0)
    net = model.fit(X, (X[:, 0] > 0).astype(int)).net_
    assert not net.has_slope_
    assert RobustClassifier(max_epochs=1).fit(X, (X[:, 0] > 0).astype(int)).net_.has_slope_
