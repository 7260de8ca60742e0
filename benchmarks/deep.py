"""A deep network and one step: how strong the search of training is, and what is left of it at the end.

    OMP_NUM_THREADS=1 python benchmarks/deep.py
    OMP_NUM_THREADS=1 python benchmarks/deep.py --ways "default, two such steps" "ten steps" --seed 1
    OMP_NUM_THREADS=1 python benchmarks/deep.py --ways "margin, free step" --width 64 --rows 15360 --guarded

ResNet-18 (--width channels in its first layers) on Fashion-MNIST with its sides halved, linf 0.15,
bfloat16, batches of 64, ten epochs: deep enough to hide from one step within a few epochs on a CPU. Every
twelfth batch of training tells how many of its rows are wrong (network as it predicts): where they are,
where training moves them, and where one step of the radius, or seven of PGD, move them. "found" is the
share of what seven steps break that training's own step breaks, in the first epoch and over all. "robust":
test rows under APGD-CE and APGD-DLR (package pyautoattack). The guard is off, unless --guarded.
"divergence" was the default of images until it was found out here, and one step along the margin until
two were; "ten steps" takes twice as long.
"""

from __future__ import annotations

import argparse
import time
import warnings
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from cost import by_autoattack
from gpu import resnet18

from skrobust import LpBall, RobustClassifier, as_torch
from skrobust.attacks import PGD, Objective, Single
from skrobust.datasets import load_fashion_mnist
from skrobust.nets import RobustNet
from skrobust.nets._guard import Guard

RADIUS, EVERY = 0.15, 12
PIXELS = LpBall("linf", bounds=(0, 1))
WAYS = {
    "divergence": Single(verify=False),
    "divergence, free step": Single(free_step=0.5, verify=False),
    "margin, free step": Single(free_step=0.5, margins=True, verify=False),
    "default, two such steps": "single",
    "ten steps": PGD(n_steps=10),
}


class Watch:
    """Wrong rows of some batches, by where they are moved to; in the place of the net's search."""

    def __init__(self):
        self.search, self.n_batches, self.found = RobustNet._search, 0, []

    def __call__(self, net, climb, reference, batch, region):
        z = self.search(net, climb, reference, batch, region)
        self.n_batches += 1
        if self.n_batches % EVERY == 0:
            module = net.module_
            margin = Objective(lambda z, y: net.criterion_.lost_margin(module(z), y), batch.y)
            near = batch.region(net.threat, net.radius_now_)
            steps = [
                PGD(n_steps=n, random_start=False, step_size=size).worst(margin, near, None, None)
                for n, size in ((1, RADIUS), (7, None))
            ]
            with torch.no_grad():
                places = [module(place).argmax(dim=1) for place in (batch.x, z, *steps)]
            self.found.append([float((labels != batch.y).float().mean()) for labels in places])
        return z

    def told(self, share: float) -> list[float]:
        """Mean wrong shares of the first ``share`` of the batches: rows, moved, one step, seven."""
        return np.mean(self.found[: int(len(self.found) * share)], axis=0).tolist()


def halved(images: np.ndarray) -> np.ndarray:
    n = len(images)
    return images.reshape(n, 1, 14, 2, 14, 2).mean(axis=(3, 5)).astype(np.float32)


def line(name: str, arguments) -> None:
    X, y = load_fashion_mnist(return_X_y=True, n_rows=arguments.rows, random_state=0)
    X_test, y_test = load_fashion_mnist(subset="test", return_X_y=True, n_rows=500)
    X, X_test = halved(X), halved(X_test)
    model = RobustClassifier(
        partial(resnet18, width=arguments.width),
        radius=RADIUS,
        threat=PIXELS,
        attack=WAYS[name],
        max_epochs=arguments.epochs,
        batch_size=64,
        weight_decay=5e-4,
        random_state=arguments.seed,
        net_params={"precision": "bfloat16"},
    )
    watch, began = Watch(), time.process_time()
    unguarded = patch.object(Guard, "suits", staticmethod(lambda attack: False))
    search = patch.object(RobustNet, "_search", lambda net, *args: watch(net, *args))
    with search, nullcontext() if arguments.guarded else unguarded:
        model.fit(X, y)
    seconds = time.process_time() - began
    collapses = [n for n, row in enumerate(model.history_, 1) if row.get("collapsed")]
    robust = by_autoattack(as_torch(model), X_test, y_test, RADIUS, seed=0)
    cells = [name]
    for share in (1 / arguments.epochs, 1.0):
        rows, moved, one, seven = (100 * value for value in watch.told(share))
        cells.append(f"{rows:.0f} {moved:.0f} {one:.0f} {seven:.0f}")
        cells.append(f"{(moved - rows) / max(seven - rows, 1e-9):.2f}")
    cells += [f"{100 * model.score(X_test, y_test):.1f}", f"{100 * robust:.1f}"]
    print("| " + " | ".join([*cells, str(collapses or "-"), f"{seconds:.0f}"]) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guarded", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"width {arguments.width}, {arguments.rows} rows, torch {torch.__version__}\n")
    wrong = "wrong %: rows, moved, one step, seven"
    names = ["training", f"epoch 1, {wrong}", "found", f"all, {wrong}", "found"]
    names += ["clean", "robust", "collapsed", "s"]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names), flush=True)
    for name in arguments.ways:
        line(name, arguments)


if __name__ == "__main__":
    main()
