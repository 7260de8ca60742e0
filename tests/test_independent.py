"""Our attacks against those of public tools, on nets whose inputs live in [0, 1] (as theirs must).

At the same number of steps and the same step size, ours must break at least as many rows. The
tools are in the extra "peers"; without them there is nothing to compare with.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from skrobust.attacks import PGD
from skrobust.metrics import worst_case
from skrobust.threats import LpBall

N_ROWS, N_STEPS = 150, 10
SETTINGS = {"linf": (0.1, 0.025), "l2": (0.6, 0.15), "l1": (2.0, 0.5)}  # radius, step size
SEEDS = [0, 1, 2]


class Speaking:
    def __init__(self, module):
        self.module = module

    def __skrobust_torch__(self):
        return self.module


def train(temperature: float) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """A small net on digits, trained on noisy rows; logits times ``temperature``.

    Hot logits blind the cross-entropy that both tools climb; ours must not see any difference.
    """
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        rows, labels = torch.from_numpy(X[N_ROWS:]), torch.from_numpy(y[N_ROWS:])
        for _ in range(60):
            noisy = (rows + 0.1 * torch.randn_like(rows)).clamp(0, 1)
            loss = nn.functional.cross_entropy(net(noisy), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        net[2].weight *= temperature
        net[2].bias *= temperature
    return net.eval().requires_grad_(False), X[:N_ROWS], y[:N_ROWS]


@pytest.fixture(scope="module", params=[1.0, 30.0], ids=["plain", "hot"])
def task(request):
    return train(request.param)


def ours(task, norm: str, seed: int) -> np.ndarray:
    net, X, y = task
    radius, step_size = SETTINGS[norm]
    worst = worst_case(
        Speaking(net),
        X,
        y,
        radius=radius,
        threat=LpBall(norm, bounds=(0.0, 1.0)),
        attack=PGD(n_steps=N_STEPS, step_size=step_size),
        random_state=seed,
    )
    return worst.broken


def judged(task, norm: str, moved: np.ndarray) -> np.ndarray:
    """Which rows of another tool's are wrong, and inside the threat by our measure."""
    net, X, y = task
    region = LpBall(norm, bounds=(0.0, 1.0)).region(torch.from_numpy(X), SETTINGS[norm][0])
    moved = torch.from_numpy(np.asarray(moved, dtype=np.float32))
    assert float(region.distance(moved).max()) <= SETTINGS[norm][0] * (1 + 1e-4)
    return (net(moved).argmax(dim=1).numpy() != y) | (net(region.x).argmax(dim=1).numpy() != y)


def compare(task, norm: str, theirs) -> None:
    mine = np.stack([ours(task, norm, seed) for seed in SEEDS])
    other = np.stack([judged(task, norm, theirs(seed)) for seed in SEEDS])
    clean = worst_case(Speaking(task[0]), *task[1:], radius=0).broken
    assert clean.mean() + 0.1 < mine.mean() < 0.97, "the setting tells nobody apart"
    assert mine.sum() >= other.sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_at_least_as_strong_as_foolbox(task, norm):
    foolbox = pytest.importorskip("foolbox", reason='needs foolbox (extra "peers")')
    net, X, y = task
    radius, step_size = SETTINGS[norm]
    kinds = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}
    attack = kinds[norm](steps=N_STEPS, abs_stepsize=step_size, random_start=True)
    model = foolbox.PyTorchModel(net, bounds=(0, 1))

    def theirs(seed: int) -> np.ndarray:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            _, moved, _ = attack(model, torch.from_numpy(X), torch.from_numpy(y), epsilons=radius)
        return moved.numpy()

    compare(task, norm, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_at_least_as_strong_as_art(task, norm):
    reason = 'needs adversarial-robustness-toolbox (extra "peers")'
    evasion = pytest.importorskip("art.attacks.evasion", reason=reason)
    from art.estimators.classification import PyTorchClassifier

    net, X, y = task
    radius, step_size = SETTINGS[norm]
    model = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (64,), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = evasion.ProjectedGradientDescent(
        model,
        norm={"linf": np.inf, "l2": 2, "l1": 1}[norm],
        eps=radius,
        eps_step=step_size,
        max_iter=N_STEPS,
        num_random_init=1,
        batch_size=N_ROWS,
        verbose=False,
    )

    def theirs(seed: int) -> np.ndarray:
        state = np.random.get_state()
        np.random.seed(seed)  # the tool draws from numpy's global generator
        try:
            return attack.generate(X, y)
        finally:
            np.random.set_state(state)

    compare(task, norm, theirs)
