"""The fits that benchmarks/training.py compares with: hand-written loops, skorch, and ART's trainer."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass

import numpy as np
import skorch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from skrobust import LpBall, RobustClassifier
from skrobust.nets import MODULES

LR, STEPS, BETA = 2e-3, 10, 4.0
Fit = Callable[[], Callable[[np.ndarray], np.ndarray]]  # trains; returns what predicts


@dataclass
class Problem:
    """Rows, the network's name, and how far rows may move."""

    name: str
    X: np.ndarray
    y: np.ndarray
    module: str
    radius: float
    bounds: tuple[float, float] | None
    batch_size: int
    epochs: int

    @property
    def threat(self) -> LpBall:
        return LpBall("linf", bounds=self.bounds)

    @property
    def step_size(self) -> float:
        return 2.5 * self.radius / STEPS

    def body(self) -> nn.Module:
        torch.manual_seed(0)
        return MODULES[self.module](_shape(self.X), len(np.unique(self.y)))

    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of each column or channel."""
        axes = (0, *range(2, self.X.ndim))
        return self.X.mean(axis=axes, keepdims=True)[0], self.X.std(axis=axes, keepdims=True)[0]

    def standardised(self) -> np.ndarray:
        mean, spread = self.scale()
        return ((self.X - mean) / spread).astype(np.float32)

    def ours(self, **options) -> RobustClassifier:
        return RobustClassifier(
            radius=self.radius,
            threat=self.threat,
            lr=LR,
            max_epochs=self.epochs,
            random_state=0,
            **{"batch_size": self.batch_size, **options},
        )


def _shape(X: np.ndarray) -> tuple[int, ...]:
    return X.shape[1:]


class Standardise(nn.Module):
    """The first layer of networks whose rows move in their own units."""

    def __init__(self, mean: np.ndarray, spread: np.ndarray):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.spread


class Scaled(nn.Module):
    """A network of raw rows; no nn.Sequential, of which ART takes each layer for an output."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.scale, self.body = Standardise(*problem.scale()), problem.body()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.scale(x))


# Hand-written loops -------------------------------------------------------------------------------


def batches(x: Tensor, y: Tensor, batch_size: int):
    order = torch.randperm(len(x), device=x.device)
    for low in range(0, len(x), batch_size):
        index = order[low : low + batch_size]
        yield x[index], y[index]


def loop(network: nn.Module, x: Tensor, y: Tensor, batch_size: int, epochs: int, loss_of) -> None:
    """The loop of every tutorial."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    network.train()
    for _ in range(epochs):
        for rows, labels in batches(x, y, batch_size):
            optimizer.zero_grad()
            loss = loss_of(network, rows, labels)
            loss.backward()
            optimizer.step()


def plain_loss(network, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(network(x), y)


def clipped(z: Tensor, x: Tensor, problem: Problem) -> Tensor:
    z = torch.min(torch.max(z, x - problem.radius), x + problem.radius)
    return z if problem.bounds is None else z.clamp(*problem.bounds)


def authors_loss(problem: Problem):
    """TRADES as its authors published it: the clean output anew in every step, and once more."""

    def loss(network, x: Tensor, y: Tensor) -> Tensor:
        divergence = nn.KLDivLoss(reduction="sum")
        network.eval()
        z = x + 0.001 * torch.randn_like(x)
        for _ in range(STEPS):
            z.requires_grad_()
            here = divergence(log_softmax(network(z), dim=1), softmax(network(x), dim=1))
            (gradient,) = torch.autograd.grad(here, [z])
            z = clipped(z.detach() + problem.step_size * gradient.sign(), x, problem)
        network.train()
        clean = cross_entropy(network(x), y)
        moved = divergence(log_softmax(network(z), dim=1), softmax(network(x), dim=1))
        return clean + BETA * moved / len(x)

    return loss


def careful_loss(problem: Problem):
    """TRADES with one clean output for all steps, in log space, and gradients of rows only."""

    def loss(network, x: Tensor, y: Tensor) -> Tensor:
        network.eval()
        with torch.no_grad():
            reference = log_softmax(network(x), dim=1)
        z = x + 0.001 * torch.randn_like(x)
        for _ in range(STEPS):
            z.requires_grad_()
            moved = log_softmax(network(z), dim=1)
            here = kl_div(moved, reference, reduction="sum", log_target=True)
            (gradient,) = torch.autograd.grad(here, z)
            with torch.no_grad():
                z = clipped(z + problem.step_size * gradient.sign(), x, problem)
        network.train()
        output = network(x)
        moved, clean = log_softmax(network(z), dim=1), log_softmax(output, dim=1)
        penalty = kl_div(moved, clean, reduction="batchmean", log_target=True)
        return cross_entropy(output, y) + BETA * penalty

    return loss


def predictor(network: nn.Module, prepare=lambda X: X):
    def predict(X: np.ndarray) -> np.ndarray:
        network.eval()
        with torch.no_grad():
            return network(torch.from_numpy(prepare(X).astype(np.float32))).argmax(dim=1).numpy()

    return predict


def by_hand(problem: Problem) -> Fit:
    def fit():
        x, y = torch.from_numpy(problem.standardised()), torch.from_numpy(problem.y)
        network = problem.body()
        loop(network, x, y, problem.batch_size, problem.epochs, plain_loss)
        return predictor(network, lambda X: problem.standardised())

    return fit


def trades_by_hand(problem: Problem, make_loss) -> Fit:
    def fit():
        x, y = torch.from_numpy(problem.X.astype(np.float32)), torch.from_numpy(problem.y)
        network = Scaled(problem)
        loop(network, x, y, problem.batch_size, problem.epochs, make_loss(problem))
        return predictor(network)

    return fit


# Peers --------------------------------------------------------------------------------------------


def by_skorch(problem: Problem) -> Fit:
    def fit():
        net = skorch.NeuralNetClassifier(
            problem.body(),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            lr=LR,
            max_epochs=problem.epochs,
            batch_size=problem.batch_size,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        ).fit(problem.standardised(), problem.y)
        return lambda X: net.predict(problem.standardised())

    return fit


def by_art(problem: Problem) -> Fit:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.defences.trainer import AdversarialTrainerTRADESPyTorch
    from art.estimators.classification import PyTorchClassifier

    logging.getLogger("art").setLevel(logging.ERROR)

    def fit():
        network = Scaled(problem)
        classifier = PyTorchClassifier(
            model=network,
            loss=nn.CrossEntropyLoss(),
            optimizer=torch.optim.AdamW(network.parameters(), lr=LR),
            input_shape=_shape(problem.X),
            nb_classes=len(np.unique(problem.y)),
            clip_values=problem.bounds,
            device_type="cpu",
        )
        attack = ProjectedGradientDescentPyTorch(
            classifier,
            norm=np.inf,
            eps=problem.radius,
            eps_step=problem.step_size,
            max_iter=STEPS,
            num_random_init=1,
            batch_size=problem.batch_size,
            verbose=False,
        )
        trainer = AdversarialTrainerTRADESPyTorch(classifier, attack, beta=BETA)
        X = problem.X.astype(np.float32)
        with redirect_stderr(io.StringIO()):  # its progress bar
            trainer.fit(X, problem.y, batch_size=problem.batch_size, nb_epochs=problem.epochs)
        return predictor(network)

    return fit
