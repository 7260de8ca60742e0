"""ResNet-18 on all of Fashion-MNIST, linf 0.1, batches of 512, on a GPU: throughput and robust accuracy.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --only throughput --rows 10240 --ways "default, bfloat16, graphs"
    python benchmarks/gpu.py --smoke

*throughput*: rows a second of the default fit and of TRADES-10 (attack=PGD(n_steps=10)), in bfloat16,
with the attack recorded as a CUDA graph, and compiled, over an eager float32 loop of TRADES with ten
steps: the careful one of training.py, which computes the clean output once; the authors' loop beside
it. Median of the epochs after the first, which warms up, records and compiles. *accuracy*: the same
number of epochs by the loop, TRADES-10 and the default fit; "points" is robust accuracy minus the
loop's, "examined" what the guard saw (epoch: wrong under one step, under several). *minutes*: the
robust accuracy that --minutes of training reach, epochs chosen by the throughput measured before.
Robust accuracy is that of --test-rows test rows under APGD-CE and APGD-DLR (package pyautoattack;
AutoAttack's steps).

AdamW, weight decay 5e-4, smoothing 4, one-cycle learning rate up to 2e-3 in the loop as in skrobust.
"float32" is torch's default, which lets convolutions use TF32. Without a CUDA GPU nothing is measured
and the exit code is 0; --smoke runs the same code on a CPU with few rows, one epoch, a narrow network,
and compilation without code generation (its figures mean nothing). All of it takes about an hour on a
large GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial
from math import cos, pi
from typing import NamedTuple

import numpy as np
import skorch
import torch
from _training_loops import BETA, LR, Problem, authors_loss, batches, careful_loss
from cost import by_autoattack
from torch import Tensor, nn

from skrobust import LpBall, RobustClassifier, as_torch
from skrobust.attacks import PGD
from skrobust.datasets import fashion_mnist_available, load_fashion_mnist

RADIUS, BATCH, DECAY = 0.1, 512, 5e-4
PARTS = ("throughput", "accuracy", "minutes")


# ResNet-18 ----------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions of 3 x 3 around which the rows pass by (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        same = stride == 1 and n_in == n_out
        self.past = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.way(x) + self.past(x))


def resnet18(shape: tuple[int, ...], n_outputs: int, width: int = 64) -> nn.Module:
    """The ResNet-18 of small images: no pooling at the start, strides 1, 2, 2, 2."""
    layers = [
        nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    n_in = width
    for n_out, stride in zip((width, 2 * width, 4 * width, 8 * width), (1, 2, 2, 2), strict=True):
        layers += [Block(n_in, n_out, stride), Block(n_out, n_out, 1)]
        n_in = n_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_outputs))


# What is trained ----------------------------------------------------------------------------------


@dataclass
class Setup:
    """Rows, the device, the network's factory, and how the compiler is asked."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    device: str
    module: partial
    compiling: dict

    def robust(self, net: nn.Module) -> float:
        return 100 * by_autoattack(net, self.X_test, self.y_test, RADIUS, seed=0)

    def clean(self, net: nn.Module) -> float:
        with torch.no_grad():
            found = [
                net(torch.from_numpy(X).to(self.device)).argmax(dim=1).cpu().numpy()
                for X in np.array_split(self.X_test, -(-len(self.X_test) // 500))
            ]
        return 100 * float(np.mean(np.concatenate(found) == self.y_test))


class Fit(NamedTuple):
    """The network, when each epoch ended, and what the examinations of the training found."""

    net: nn.Module
    ends: list[float]
    checks: str = ""


class Clock(skorch.callbacks.Callback):
    """When each epoch ended, all that belongs to it included."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.ends = []

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.ends.append(now(net.device))


def now(device) -> float:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def by_us(setup: Setup, epochs: int, options: dict, net_params: dict) -> Fit:
    clock = Clock()
    model = RobustClassifier(
        setup.module,
        radius=RADIUS,
        threat=LpBall("linf", bounds=(0, 1)),
        smoothing=BETA,
        lr=LR,
        weight_decay=DECAY,
        max_epochs=epochs,
        batch_size=BATCH,
        device=setup.device,
        random_state=0,
        callbacks=[clock],
        net_params=net_params,
        **options,
    ).fit(setup.X, setup.y)
    return Fit(as_torch(model).to(setup.device).eval(), clock.ends, examined(model.history_))


def examined(history) -> str:
    """Epoch: share of wrong rows under one step, under several; and whether training went back."""
    return ", ".join(
        f"{n}: {row['loss_one_step']:.2f} {row['loss_many_steps']:.2f}"
        + " collapsed" * bool(row.get("collapsed"))
        for n, row in enumerate(history, 1)
        if "loss_many_steps" in row
    )


def one_cycle(progress: float) -> float:
    """Share of the learning rate, as in skrobust: linear rise, cosine fall."""
    if progress < 0.25:
        return 0.05 + 0.95 * progress / 0.25
    return 0.5 * (1 + cos(pi * (progress - 0.25) / 0.75))


def by_hand(setup: Setup, epochs: int, make_loss) -> Fit:
    """An eager float32 loop."""
    x, y = torch.from_numpy(setup.X).to(setup.device), torch.from_numpy(setup.y).to(setup.device)
    torch.manual_seed(0)
    network = setup.module(setup.X.shape[1:], 10).to(setup.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=DECAY)
    n_steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: one_cycle(k / n_steps))
    # all that the losses of training.py ask of a problem
    problem = Problem("", setup.X[:1], setup.y[:1], "cnn", RADIUS, (0, 1), BATCH, epochs)
    loss_of, ends = make_loss(problem), []
    network.train()
    for _ in range(epochs):
        for rows, labels in batches(x, y, BATCH):
            optimizer.zero_grad()
            loss_of(network, rows, labels).backward()
            optimizer.step()
            schedule.step()
        ends.append(now(setup.device))
    return Fit(network.eval(), ends)


TRADES = {"attack": PGD(n_steps=10), "divergence": "kl"}
HALF = {"precision": "bfloat16"}
GRAPHS = {**HALF, "cuda_graphs": True}


def ways(setup: Setup) -> dict[str, partial]:
    """``{name: epochs -> Fit}``; the first is what the others are compared with."""
    compiled = {**HALF, **setup.compiling}
    return {
        "careful loop, TRADES-10, float32": partial(by_hand, setup, make_loss=careful_loss),
        "authors' loop, TRADES-10, float32": partial(by_hand, setup, make_loss=authors_loss),
        "TRADES-10, float32": partial(
            by_us, setup, options=TRADES, net_params={"precision": "float32"}
        ),
        "TRADES-10, bfloat16": partial(by_us, setup, options=TRADES, net_params=HALF),
        "TRADES-10, bfloat16, graphs": partial(by_us, setup, options=TRADES, net_params=GRAPHS),
        "default, bfloat16": partial(by_us, setup, options={}, net_params=HALF),
        "default, bfloat16, graphs": partial(by_us, setup, options={}, net_params=GRAPHS),
        "TRADES-10, bfloat16, compiled": partial(by_us, setup, options=TRADES, net_params=compiled),
        "default, bfloat16, compiled": partial(by_us, setup, options={}, net_params=compiled),
    }


LOOP = "careful loop, TRADES-10, float32"
SHORT = (LOOP, "TRADES-10, bfloat16, graphs", "default, bfloat16, graphs", "default, bfloat16")


# Tables -------------------------------------------------------------------------------------------


def throughput(setup: Setup, epochs: int, names: list[str]) -> dict[str, float]:
    """Rows a second of each way."""
    header("training", "first epoch s", "rows/s", "over the careful loop")
    found: dict[str, float] = {}
    for name, fit in ways(setup).items():
        if name not in names:
            continue
        torch.compiler.reset()  # it counts what it compiled for one function, and then gives up
        began = now(setup.device)
        try:
            ends = fit(epochs).ends
        except (
            Exception
        ) as error:  # compilers stop for many reasons, and other lines are worth having
            row(name, f"stops: {type(error).__name__}: {str(error).splitlines()[0][:80]}", "", "")
            continue
        found[name] = len(setup.X) / float(np.median(np.diff(ends)))
        base = found.get(LOOP, np.nan)
        row(name, f"{ends[0] - began:.1f}", f"{found[name]:.0f}", f"{found[name] / base:.2f}")
    return found


def accuracy(setup: Setup, epochs: int) -> None:
    header("training", "epochs", "clean", "robust", "points", "s", "examined")
    base = None
    for name in SHORT:
        began = now(setup.device)
        net, ends, checks = ways(setup)[name](epochs)
        robust = setup.robust(net)
        base = robust if base is None else base
        cells = [name, epochs, f"{setup.clean(net):.1f}", f"{robust:.1f}", f"{robust - base:+.1f}"]
        row(*cells, f"{ends[-1] - began:.0f}", checks)


def in_minutes(setup: Setup, speed: dict[str, float], minutes: float) -> None:
    header(f"{minutes:g} minutes of", "epochs", "clean", "robust", "s", "examined")
    best = 0.0
    for name in filter(speed.__contains__, SHORT):
        epochs = max(1, int(60 * minutes * speed[name] / len(setup.X)))
        began = now(setup.device)
        net, ends, checks = ways(setup)[name](epochs)
        robust = setup.robust(net)
        best = max(best, robust)
        cells = [name, epochs, f"{setup.clean(net):.1f}", f"{robust:.1f}"]
        row(*cells, f"{ends[-1] - began:.0f}", checks)
    print(f"\nBest robust accuracy in {minutes:g} minutes: {best:.1f}.")


def row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(*columns: str) -> None:
    print()
    row(*columns)
    print("|" + "---|" * len(columns), flush=True)


def prepare(smoke: bool, n_rows: int | None, n_test: int) -> Setup:
    device = "cpu" if smoke else "cuda"
    n_rows, n_test = (n_rows or 600, 40) if smoke else (n_rows, n_test)
    X, y = load_fashion_mnist(return_X_y=True, n_rows=n_rows, random_state=0)
    X_test, y_test = load_fashion_mnist(subset="test", return_X_y=True)
    module = partial(resnet18, width=4 if smoke else 64)
    compiling = {"compile": True, **({"compile__backend": "aot_eager"} if smoke else {})}
    y, y_test = y.astype(np.int64), y_test.astype(np.int64)
    return Setup(X, y, X_test[:n_test], y_test[:n_test], device, module, compiling)


def reason_to_stop(smoke: bool) -> str | None:
    if not smoke and not torch.cuda.is_available():
        return "no CUDA GPU here: nothing is measured (--smoke runs the code on a CPU)"
    if not fashion_mnist_available():
        return "Fashion-MNIST is missing: install the Debian package dataset-fashion-mnist"
    if not importlib.util.find_spec("pyautoattack"):
        return "pyautoattack is missing: pip install 'skrobust[peers]'"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--epochs", type=int, default=10, help="of the accuracy table")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--ways", nargs="*", help="of the throughput table; all by default")
    parser.add_argument("--rows", type=int, help="of training; all by default")
    parser.add_argument("--test-rows", type=int, default=1000, help="of robust accuracy")
    parser.add_argument("--smoke", action="store_true", help="few rows and one epoch, on a CPU")
    arguments = parser.parse_args()
    reason = reason_to_stop(arguments.smoke)
    if reason:
        print(reason)
        return 0
    warnings.simplefilter("ignore")
    setup = prepare(arguments.smoke, arguments.rows, arguments.test_rows)
    where = "CPU, smoke" if arguments.smoke else torch.cuda.get_device_name()
    print(
        f"{where}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{len(setup.X)} rows, batch {BATCH}"
    )
    speed = {}
    if {"throughput", "minutes"} & set(arguments.only):
        names = arguments.ways or list(ways(setup))
        speed = throughput(setup, 2 if arguments.smoke else 3, names)
    if "accuracy" in arguments.only:
        accuracy(setup, 1 if arguments.smoke else arguments.epochs)
    if "minutes" in arguments.only:
        in_minutes(setup, speed, 1e-3 if arguments.smoke else arguments.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
