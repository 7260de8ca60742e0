"""What the engine costs: plain and robust fits over hand-written loops, ART's trainer and skorch, one run.

    OMP_NUM_THREADS=1 python benchmarks/training.py
    OMP_NUM_THREADS=1 python benchmarks/training.py --only trades --rows 4000
    OMP_NUM_THREADS=1 python benchmarks/training.py --quick

Three tables. *plain*: RobustClassifier(smoothing=0) over an eager PyTorch loop that shuffles by
randperm, indexes tensors and standardises the rows once, beforehand; skorch's NeuralNetClassifier
with its own loader (no validation split) beside it. *trades*: ten steps with divergence="kl" over
two loops: the authors' published one (Zhang et al. 2019, arXiv 1901.08573), which computes the clean
output again in every step, and a careful one, which computes it once and asks autograd for the rows'
gradient only; and ART's AdversarialTrainerTRADESPyTorch, whose ten steps climb the cross-entropy.
*default*: the default robust fit over the plain fit.

Everywhere the same network (the factory's body), standardisation, batch size, epochs and learning
rate; AdamW with torch's defaults in the loops, ART and skorch. One thread. The fits take turns;
seconds are medians of the rounds, ratios are medians of each round's ratio, of CPU seconds (which
count neighbours least) and of wall seconds. "accuracy", on the training rows, shows that they all
learn. Data: a made table of 20 columns; Fashion-MNIST where it is installed. A run takes four
minutes of one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace

import numpy as np
import skorch
import torch
from sklearn.datasets import make_classification
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from skrobust import LpBall, RobustClassifier
from skrobust.attacks import PGD
from skrobust.datasets import fashion_mnist_available, load_fashion_mnist
from skrobust.nets import MODULES

COLUMNS = ("data", "rows", "batch", "epochs", "fit", "CPU s", "wall s", "accuracy")
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


# Ours ---------------------------------------------------------------------------------------------


def by_us(problem: Problem, **options) -> Fit:
    return lambda: problem.ours(**options).fit(problem.X, problem.y).predict


def plain_ways(problem: Problem) -> dict[str, Fit]:
    return {
        "skrobust, plain": by_us(problem, smoothing=0),
        "hand loop": by_hand(problem),
        "skorch": by_skorch(problem),
    }


def trades_ways(problem: Problem) -> dict[str, Fit]:
    options = dict(attack=PGD(n_steps=STEPS), divergence="kl", smoothing=BETA)
    found = {
        "skrobust, TRADES-10": by_us(problem, **options),
        "authors' loop": trades_by_hand(problem, authors_loss),
        "careful loop": trades_by_hand(problem, careful_loss),
    }
    return found | ({"ART": by_art(problem)} if importlib.util.find_spec("art") else {})


def default_ways(problem: Problem) -> dict[str, Fit]:
    options = dict(batch_size="auto")
    return {
        "skrobust, default": by_us(problem, **options),
        "skrobust, plain": by_us(problem, **options, smoothing=0),
    }


# Measuring ----------------------------------------------------------------------------------------


@dataclass
class Timing:
    cpu: list[float]
    wall: list[float]
    accuracy: float = 0.0


def measure(problem: Problem, ways: dict[str, Fit], repeats: int) -> dict[str, Timing]:
    """The ways in turn, round by round."""
    found = {name: Timing([], []) for name in ways}
    for _ in range(repeats):
        for name, fit in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            predict = fit()
            found[name].cpu.append(time.process_time() - cpu)
            found[name].wall.append(time.perf_counter() - wall)
            found[name].accuracy = float(np.mean(predict(problem.X) == problem.y))
    return found


def ratio(ours: list[float], theirs: list[float]) -> float:
    return float(np.median(np.divide(ours, theirs)))


def show(problem: Problem, found: dict[str, Timing]) -> list[tuple[str, float]]:
    """Lines of the table; ours over each of the others, in CPU seconds."""
    ours = next(iter(found.values()))
    ratios = []
    batch = problem.batch_size if problem.batch_size > 0 else "auto"
    for name, timing in found.items():
        cpu, wall = np.median(timing.cpu), np.median(timing.wall)
        cells = [problem.name, len(problem.X), batch, problem.epochs, name, f"{cpu:.2f}"]
        cells += [f"{wall:.2f}", f"{100 * timing.accuracy:.1f}"]
        if timing is ours:
            cells += ["", ""]
        else:
            ratios.append((name, ratio(ours.cpu, timing.cpu)))
            cells += [f"{ratios[-1][1]:.2f}", f"{ratio(ours.wall, timing.wall):.2f}"]
        row(*cells)
    return ratios


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(title: str) -> None:
    print(f"\n{title}\n")
    columns = (*COLUMNS, "ours over it, CPU", "wall")
    row(*columns)
    print("|" + "---|" * len(columns), flush=True)


# What is run --------------------------------------------------------------------------------------

TABLES = {
    "plain": ("Plain fit", plain_ways),
    "trades": ("TRADES with ten steps", trades_ways),
    "default": ("Default robust fit over plain fit", default_ways),
}
# rows and epochs of the made table and of Fashion-MNIST
SIZES = {"plain": ((50_000, 3), (5_000, 2)), "trades": ((10_000, 1), (1_000, 1)),
         "default": ((20_000, 3), (4_000, 3))}  # fmt: skip
BATCHES = {"plain": (64, 128), "trades": (64, 128), "default": (-1,)}  # default: "auto"


def problems(which: str, rows: int | None, quick: bool) -> list[Problem]:
    (n_table, e_table), (n_images, e_images) = SIZES[which]
    if quick:
        n_table, e_table, n_images, e_images = 2_000, 1, 300, 1
    n_table, n_images = rows or n_table, min(rows or n_images, n_images)
    X, y = make_classification(n_table, 20, n_informative=10, random_state=0)
    found = [Problem("table, mlp", X, y.astype(np.int64), "mlp", 0.1, None, 0, e_table)]
    if fashion_mnist_available():
        X, y = load_fashion_mnist(return_X_y=True, n_rows=n_images, random_state=0)
        y = y.astype(np.int64)
        found.append(Problem("Fashion-MNIST, cnn", X, y, "cnn", 0.1, (0, 1), 0, e_images))
    return [replace(p, batch_size=size) for p in found for size in BATCHES[which]]


def run(which: str, arguments) -> None:
    title, ways_of = TABLES[which]
    header(title)
    worst: dict[str, float] = {}
    for problem in problems(which, arguments.rows, arguments.quick):
        ways = ways_of(problem)
        small = replace(problem, X=problem.X[:256], y=problem.y[:256], epochs=1)
        measure(small, ways_of(small), 1)  # the first call imports
        for name, value in show(problem, measure(problem, ways, arguments.repeats)):
            worst[name] = max(value, worst.get(name, 0.0))
    text = "; ".join(f"over {name} at most {value:.2f}" for name, value in worst.items())
    print(f"\n{title}, CPU seconds: {text}.", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--rows", type=int, help="of each data set (images: at most the default)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few rows, one epoch")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} CPU, load {os.getloadavg()[0]:.1f}, 1 thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, skorch {skorch.__version__}"
    )
    if not fashion_mnist_available():
        print("Fashion-MNIST is left out: install the Debian package dataset-fashion-mnist.")
    if "trades" in arguments.only and not importlib.util.find_spec("art"):
        print("ART is left out: pip install 'skrobust[peers]'.")
    for which in TABLES:
        if which in arguments.only:
            run(which, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
