"""From the estimator's parameters to checked numbers and objects; the defaults by kind of data."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import numpy as np
import torch

from skrobust._params import check_bool, check_integer, check_name, check_number
from skrobust.attacks import Attack, Single, check_attack
from skrobust.exceptions import invalid
from skrobust.nets import KEPT, is_robustly_trained
from skrobust.smoothing import LossGap

__all__ = [
    "Options",
    "check_device",
    "check_extras",
    "check_options",
    "check_preprocessor",
    "constant_columns",
    "encloses",
]

_ONE_RADIUS = (
    "For a radius of its own per column use threat=LpBall(scale=[...]); 0 is plain training."
)

OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}


@dataclass
class Options:
    """Checked numbers of one fit."""

    radius: float
    smoothing: float
    lr: float
    weight_decay: float
    max_epochs: int
    batch_size: int
    radius_warmup: float
    weight_averaging: float
    n_iter_no_change: int
    validation_fraction: float
    optimizer: type
    optimizer_options: dict
    kept: float = 1.0  # share of the initial weights


def default_batch_size(n_rows: int) -> int:
    """About eight batches an epoch for small tables, 64 at most: small batches regularise.

    >>> [default_batch_size(n) for n in (40, 455, 10_000)]
    [16, 57, 64]
    """
    return min(64, max(16, ceil(n_rows / 8)))


def default_max_epochs(n_rows: int, batch_size: int, n_steps: int, share: float = 1.0) -> int:
    """Enough optimiser steps, in 10 to 100 epochs; of a fine-tuning a ``share`` of them.

    >>> default_max_epochs(455, 57, 1000), default_max_epochs(10_000, 64, 2000)
    (100, 13)
    >>> default_max_epochs(10_000, 64, 2000, share=0.25)
    4
    """
    epochs = min(100, max(10, ceil(n_steps / ceil(n_rows / batch_size))))
    return ceil(share * epochs)


class Defaults(NamedTuple):
    """What "auto" means for one kind of data, by the number of axes of a row."""

    smoothing: float
    lr: float
    steps: int  # of the optimiser
    free_step: float = 0.0  # of attack="single", as the next
    margins: bool = False


# Chosen by measurement: docs/guide/training.md says how.
DEFAULTS = {
    1: Defaults(smoothing=1.0, lr=5e-3, steps=1000),  # tables
    2: Defaults(smoothing=2.0, lr=2e-3, steps=2000, margins=True),  # series
    3: Defaults(smoothing=4.0, lr=2e-3, steps=2000, free_step=0.5, margins=True),  # images
}
TINY = 256  # numbers of an image below which neither of the two pays for module="cnn"
DEEP = 8  # layers with weights, beyond which a network of images takes two steps along the margin
# Of networks that are trained on their bounds: the radius grows slowly, from nothing.
BOUNDED = {
    1: DEFAULTS[1],
    2: Defaults(smoothing=1.0, lr=3e-3, steps=4000),
    3: Defaults(smoothing=1.0, lr=3e-3, steps=10_000),
}
FINE_TUNING = 0.25  # of the epochs, for a network that comes with weights
QUICKER = 4  # times the learning rate, where those of a plain network are to become robust


def encloses(attack) -> bool:
    """Whether training encloses the rows nearby by bounds and does not search them.

    >>> encloses("interval"), encloses("pgd")
    (True, False)
    """
    return bool(getattr(check_attack(attack, purpose="train"), "encloses", False))


def training_attack(attack, row_shape: tuple[int, ...], depth: int = 1) -> Attack:
    """The attack to train with; of "auto" and "single", what suits the kind of data and the network.

    On small images a network of few layers climbs the divergence, without a free step; a deep one
    hides from a step along the divergence on images of any size, and takes two along the margin.

    >>> training_attack("single", (5,)), training_attack("pgd", (1, 28, 28))
    (Single(verify=False), PGD())
    >>> training_attack("auto", (3, 50)), training_attack("auto", (1, 28, 28))
    (Single(margins=True, verify=False), Single(free_step=0.5, margins=True, verify=False))
    >>> training_attack("single", (1, 8, 8)), training_attack("single", (1, 8, 8), depth=21)
    (Single(verify=False), Single(free_step=0.5, margins=True, n_steps=2, verify=False))
    """
    found = check_attack(attack, purpose="train")
    if isinstance(attack, str) and isinstance(found, Single):
        known = DEFAULTS[min(max(len(row_shape), 1), 3)]
        is_deep = len(row_shape) > 2 and depth > DEEP
        if len(row_shape) < 3 or prod(row_shape) >= TINY or is_deep:
            found.set_params(free_step=known.free_step, margins=known.margins)
        if is_deep:
            found.set_params(n_steps=2)
    return found


def default_smoothing(n_axes: int, divergence) -> float:
    """By the kind of data; 1 for the growth of the loss, where it means adversarial training.

    >>> [default_smoothing(1, "kl"), default_smoothing(3, "kl"), default_smoothing(3, "loss")]
    [1.0, 4.0, 1.0]
    """
    if isinstance(divergence, LossGap) or (isinstance(divergence, str) and divergence == "loss"):
        return 1.0
    return DEFAULTS[min(n_axes, 3)].smoothing


def check_options(estimator, row_shape: tuple[int, ...], n_rows: int) -> Options:
    """Every numeric parameter of ``estimator``, checked, with ``"auto"`` resolved."""
    p = estimator
    table = BOUNDED if encloses(p.attack) else DEFAULTS
    auto = table[min(max(len(row_shape), 1), 3)]
    share = 1.0 if p.initial_weights is None else FINE_TUNING
    if _is_auto(p.batch_size):
        batch_size = default_batch_size(n_rows)
    elif p.batch_size == -1:
        batch_size = n_rows
    else:
        hint = "Use batch_size=-1 for all rows at once, or 'auto'."
        batch_size = check_integer("batch_size", p.batch_size, low=1, hint=hint)
    max_epochs = (
        default_max_epochs(n_rows, batch_size, auto.steps, share)
        if _is_auto(p.max_epochs)
        else check_integer("max_epochs", p.max_epochs, low=1)
    )
    smoothing = (
        default_smoothing(len(row_shape), p._divergence_name())
        if _is_auto(p.smoothing)
        else check_number("smoothing", p.smoothing, low=0, hint="0 is plain training.")
    )
    radius = check_number("radius", p.radius, low=0, hint=_ONE_RADIUS)
    turns = _is_auto(p.lr) and radius > 0 and smoothing > 0 and _starts_plain(p)
    quicker = QUICKER if turns and table is DEFAULTS else 1
    lr = quicker * auto.lr if _is_auto(p.lr) else check_number("lr", p.lr, low=0, open_low=True)
    optimizer, optimizer_options = _check_optimizer(p.optimizer)
    weight_decay = check_number("weight_decay", p.weight_decay, low=0)
    for name in ("early_stopping", "warm_start"):
        check_bool(name, getattr(p, name))
    return Options(
        radius=radius,
        smoothing=smoothing,
        lr=lr,
        weight_decay=weight_decay,
        max_epochs=max_epochs,
        batch_size=batch_size,
        radius_warmup=check_number("radius_warmup", p.radius_warmup, low=0, high=1),
        weight_averaging=check_number(
            "weight_averaging", p.weight_averaging, low=0, high=1, open_high=True
        ),
        n_iter_no_change=check_integer("n_iter_no_change", p.n_iter_no_change, low=1),
        validation_fraction=check_number(
            "validation_fraction",
            p.validation_fraction,
            low=0,
            high=1,
            open_low=True,
            open_high=True,
        ),
        optimizer=optimizer,
        optimizer_options={**optimizer_options, "weight_decay": weight_decay},
        kept=KEPT if turns else 1.0,
    )


def _starts_plain(estimator) -> bool:
    """Whether training begins with weights that know nothing of moved rows."""
    goes_on = estimator.warm_start and hasattr(estimator, "net_")
    source = estimator.initial_weights
    return source is not None and not goes_on and not is_robustly_trained(source)


def _is_auto(value) -> bool:
    return isinstance(value, str) and value == "auto"


def _check_optimizer(optimizer) -> tuple[type, dict]:
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return optimizer, {}
    if isinstance(optimizer, torch.optim.Optimizer):
        raise invalid(
            "optimizer",
            type(optimizer).__name__ + "(...)",
            f"one of {list(OPTIMIZERS)} or a torch.optim class",
            "An instance holds the weights of another network; pass its class.",
            TypeError,
        )
    return OPTIMIZERS[check_name("optimizer", optimizer, OPTIMIZERS)]


def check_extras(estimator) -> dict:
    """The parameters that are handed on as they are: callbacks, net_params, verbose."""
    callbacks, net_params = estimator.callbacks, estimator.net_params
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise invalid("callbacks", callbacks, "a list of skorch callbacks or None", "", TypeError)
    if net_params is not None and not isinstance(net_params, dict):
        raise invalid("net_params", net_params, "a dict of skorch options or None", "", TypeError)
    verbose = estimator.verbose
    if not isinstance(verbose, bool):
        check_integer("verbose", verbose, low=0)
    return {
        "callbacks": list(callbacks or []),
        "net_params": dict(net_params or {}),
        "verbose": int(verbose),
    }


def check_preprocessor(preprocessor) -> None:
    if isinstance(preprocessor, type) or not hasattr(preprocessor, "transform"):
        raise invalid(
            "preprocessor",
            preprocessor,
            "a transformer object such as StandardScaler(), or None",
            "",
            TypeError,
        )


def check_device(device) -> str:
    """The device to train and predict on; ``"auto"`` takes a CUDA GPU when there is one."""
    if _is_auto(device):
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise invalid("device", device, "'auto', 'cpu', 'cuda' or a torch.device") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise invalid("device", str(device), "a device of this machine", "No CUDA GPU was found.")
    return str(found)


def constant_columns(X: np.ndarray) -> np.ndarray:
    """Positions of the table columns that hold one value only."""
    return np.flatnonzero((X == X[:1]).all(axis=0)) if X.ndim == 2 else np.array([], dtype=int)
