"""From an estimator's options to a fitted skorch net, and to plain arrays and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.history import History
from torch import nn

from skrobust._torch import seeded, to_numpy
from skrobust.attacks import Attack
from skrobust.nets._callbacks import Averaging, FitTasks, Keeper, RobustValidation, Schedule
from skrobust.nets._guard import Guard, Probe, warn_of_the_end
from skrobust.nets._loader import Rows
from skrobust.nets._modules import Network
from skrobust.nets._net import ClassificationLoss, RegressionLoss, RobustNet

__all__ = ["Recipe", "fit_net", "freeze", "skorch_view", "thaw"]

# one call for all weights: four times quicker than torch's default where networks are small
FUSED = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)


@dataclass
class Recipe:
    """How to train: every option as a checked object or number."""

    network: Network
    threat: Any
    attack: Attack
    divergence: Any
    radius: float
    smoothing: float
    radius_warmup: float
    optimizer: type
    optimizer_options: dict[str, Any]
    lr: float
    max_epochs: int
    batch_size: int
    weight_averaging: float
    n_iter_no_change: int | None
    validation_attack: Attack | None
    is_classifier: bool
    device: str
    seed: int
    verbose: int
    callbacks: list
    net_params: dict[str, Any]
    tasks: tuple | None = None
    shares: np.ndarray | None = None  # of each mistake in what mistakes about its class cost


def one_cycle(progress: float, rise: float = 0.25, low: float = 0.05) -> float:
    """Share of the learning rate: linear rise, cosine fall (Smith & Topin 2019, 1708.07120).

    >>> [round(one_cycle(p), 2) for p in (0.0, 0.25, 0.625, 1.0)]
    [0.05, 1.0, 0.5, 0.0]
    """
    if progress < rise:
        return low + (1 - low) * progress / rise
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


def net_options(recipe: Recipe, callbacks: list) -> dict[str, Any]:
    """What every skorch net of a recipe is made with, but for its optimiser's options."""
    options = dict(
        module=recipe.network,
        criterion=ClassificationLoss if recipe.is_classifier else RegressionLoss,
        threat=recipe.threat,
        attack=recipe.attack,
        divergence=recipe.divergence,
        radius=recipe.radius,
        smoothing=recipe.smoothing,
        seed=recipe.seed,
        optimizer=recipe.optimizer,
        lr=recipe.lr,
        max_epochs=recipe.max_epochs,
        train_split=None,
        callbacks=callbacks,
        verbose=recipe.verbose,
        device=recipe.device,
    )
    if recipe.shares is not None:
        options["criterion__shares"] = recipe.shares
    return options


def _make_net(recipe: Recipe, callbacks: list) -> RobustNet:
    """The skorch net of a recipe, initialised, untrained. ``net_params`` have the last word."""
    options = net_options(recipe, callbacks)
    options.update(radius_warmup=recipe.radius_warmup, batch_size=recipe.batch_size)
    options.update({f"optimizer__{name}": v for name, v in recipe.optimizer_options.items()})
    if recipe.optimizer in FUSED:
        options["optimizer__fused"] = True
    options.update(recipe.net_params)
    return RobustNet(**options).initialize()


def fit_net(
    recipe: Recipe, train: Rows, held_out: Rows | None, probe: Probe | None = None
) -> tuple[RobustNet, Keeper]:
    """Train a recipe on rows.

    ``held_out`` rows, if any, choose the epoch by robust score; the rows of ``probe`` tell whether
    robust training fails silently.
    """
    validation = averaging = None
    if held_out is not None:
        validation = RobustValidation(held_out, recipe.validation_attack, recipe.is_classifier)
    if recipe.weight_averaging > 0:
        averaging = Averaging(recipe.weight_averaging)
    keeper = Keeper(validation, averaging, recipe.n_iter_no_change)
    ours = {
        "schedule": Schedule(_pace(recipe)),
        "averaging": averaging,
        "guard": None,
        "keeper": keeper,
    }
    if probe is not None and recipe.divergence.searches and Guard.suits(recipe.attack):
        ours["guard"] = Guard(probe, averaging)
    if recipe.tasks:
        ours["tasks"] = FitTasks(*recipe.tasks)
    callbacks = [(name, callback) for name, callback in ours.items() if callback is not None]
    with seeded(recipe.seed), _deterministic(recipe.net_params.get("deterministic", False)):
        net = _make_net(recipe, callbacks + list(recipe.callbacks))
        net.partial_fit(train)
    # ours hold the data
    net.callbacks_ = [entry for entry in net.callbacks_ if entry[0] not in ours]
    net.callbacks = list(recipe.callbacks)
    if probe is not None and keeper.epoch_:
        warn_of_the_end(net, probe)
    return net, keeper


def _pace(recipe: Recipe) -> Callable[[float], float]:
    """The learning rate over the fit; training on bounds wants all of it while the radius grows."""
    attack = recipe.attack
    if not getattr(attack, "encloses", False):
        return one_cycle
    return partial(attack.pace, warmup=recipe.radius_warmup or attack.warmup)


@contextmanager
def _deterministic(is_wanted: bool):
    """torch's switch for algorithms that give the same bits each time, put back afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(is_wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def freeze(net: RobustNet) -> dict[str, Any]:
    """A fitted net as plain data: weights as numpy arrays, history as text, the network's plan."""
    weights = {name: to_numpy(value) for name, value in net.module_.state_dict().items()}
    return {
        **net.module_.plan,
        "weights": weights,
        "history": json.dumps(list(net.history), default=float),
        "is_classifier": isinstance(net.criterion_, ClassificationLoss),
        "on_gpu": next(net.module_.parameters()).is_cuda,
    }


def thaw(frozen: dict[str, Any], front: nn.Module | None) -> RobustNet:
    """The net of :func:`freeze`, on the GPU if it came from one and there is one here."""
    names = ("module", "row_shape", "body_shape", "n_outputs")
    plan = {name: frozen[name] for name in names}
    plan["row_shape"], plan["body_shape"] = tuple(plan["row_shape"]), tuple(plan["body_shape"])
    with seeded(0):
        network = Network(plan, front)
        network.load_state_dict(
            {name: torch.as_tensor(np.array(value)) for name, value in frozen["weights"].items()}
        )
        criterion = ClassificationLoss if frozen["is_classifier"] else RegressionLoss
        device = "cuda" if frozen["on_gpu"] and torch.cuda.is_available() else "cpu"
        net = RobustNet(network, criterion, train_split=None, device=device, verbose=0)
        net.initialize()
    net.history_ = History(json.loads(frozen["history"]))
    return net


def skorch_view(net) -> nn.Module:
    """The module of a fitted skorch net as rows to logits (classifiers) or values.

    skorch's classifiers with ``NLLLoss`` hold modules that return probabilities; their logarithm is
    the logit. Other criteria are taken to work on logits.
    """
    module = net.module_
    if type(net.criterion_).__name__ == "NLLLoss":
        return nn.Sequential(module, _Log())
    return module


class _Log(nn.Module):
    def forward(self, probabilities):
        tiny = torch.finfo(probabilities.dtype).tiny
        return probabilities.clamp_min(tiny).log()
