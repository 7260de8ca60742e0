"""Two ways in which robust training fails silently, and what is done about them."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import Tensor

from skrobust._torch import differences, evaluating
from skrobust.attacks import PGD, Attack, Objective
from skrobust.exceptions import caution
from skrobust.nets._loader import Rows

__all__ = ["Guard", "Probe", "warn_if_constant"]

GAP = 0.15  # share of the rows (or of the targets' variance) that one step may hide from many
FALL = 0.7  # share of its best figure that robust accuracy may fall to
N_CHECKS = 12  # in one fit, besides those that the penalty asks for
HARM = (
    0.75  # share of the harm of many steps that one step does, below which it was learned by heart
)
MORE_STEPS = {1: 3, 2: 3, 3: 5, 5: 10}


class Probe(NamedTuple):
    """Rows on which a net in training is examined, and whether it never trained on them."""

    rows: Rows
    is_classifier: bool
    is_held_out: bool

    def loss(self, net, attack: Attack | None) -> float:
        """Share of rows that are wrong (classification) or mean loss, clean or at its worst."""
        x, y, weight = self.rows[:]
        generator = torch.Generator(device=x.device).manual_seed(net.seed)
        with evaluating(net.module_) as module, torch.no_grad():
            fn = self._objective(net, module, y)
            if attack is None:
                value = fn(x)
            else:
                options = dict(generator=generator)
                value = attack.maximize(fn, x, net.threat, net.radius_now_, **options).value
        value = (value > 0).double() if self.is_classifier else value.double()
        return float(value.mean() if weight is None else (weight * value).sum() / weight.sum())

    def _objective(self, net, module, y: Tensor) -> Objective:
        if self.is_classifier:
            return Objective(lambda z, y: differences(module(z), y).amax(dim=1), y, goal=0.0)
        return Objective(lambda z, y: net.criterion_(module(z), y), y)

    def constant(self) -> float:
        """The same figure for the best constant prediction, which no movement changes."""
        _, y, weight = self.rows[:]
        weight = torch.ones(len(y), device=y.device) if weight is None else weight
        share = weight.double() / weight.double().sum()
        if self.is_classifier:
            return 1.0 - float(torch.bincount(y, weights=share).max())
        mean = (share[:, None] * y).sum(dim=0)
        return float((share[:, None] * (y - mean).square()).sum())


class Guard(Callback):
    """Notices when single-step training collapses, goes back, and goes on with more steps.

    *Catastrophic overfitting* (Wong et al. 2020, 2001.03994): within an epoch the net learns to
    resist the one step it is trained on, and nothing else. A few rows show it: many steps break far
    more of them than one step does, and more than they broke before, or so many more than before
    that what training resists cannot be what breaks them. They are examined at
    regular epochs, and whenever the penalty has suddenly shrunk. After a collapse the weights,
    the optimiser and the running average of the last good examination come back, and the attack
    takes more steps; ``history`` says ``collapsed`` and the user is warned once.
    """

    is_ours = True

    def __init__(self, probe: Probe, averaging=None):
        self.probe, self.averaging = probe, averaging

    @staticmethod
    def suits(attack: Attack) -> bool:
        """Whether an attack takes so few steps that training against it may collapse."""
        return getattr(attack, "n_steps", 10) in MORE_STEPS and hasattr(attack, "step_size")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.epoch_, self.least_, self.n_collapses_ = 0, math.inf, 0
        self.every_ = max(2, math.ceil(net.max_epochs / N_CHECKS))
        self.penalty_ = 0.0
        self.good_ = self._state(net)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.epoch_ += 1
        before, self.penalty_ = self.penalty_, net.history[-1].get("penalty", 0.0)
        is_sudden = self.penalty_ < 0.6 * before
        is_last = self.epoch_ == net.max_epochs
        is_due = is_sudden or is_last or self.epoch_ % self.every_ == 0
        if is_due and net.radius_now_ > 0 and math.isfinite(net.history[-1, "train_loss"]):
            self._examine(net)

    def _examine(self, net) -> None:
        clean = self.probe.loss(net, None)
        one = self.probe.loss(net, PGD(n_steps=1, random_start=False))
        many = max(one, self.probe.loss(net, PGD(n_steps=10)))  # five miss half of a collapse
        net.history.record("loss_one_step", one)
        net.history.record("loss_many_steps", many)
        # a net that is not robust yet gets better from one examination to the next
        worse = many > self.least_ and one - clean < HARM * (many - clean)
        hidden = worse and many - one > GAP
        fallen = False
        if self.probe.is_classifier:  # losses are shares of wrong rows
            hidden = hidden and 1 - many < 0.65 * (1 - one)
            # where training's own step misses what any other step finds, nothing is hidden from one
            clear = many - one > GAP / 2 or many - self.least_ > GAP
            fallen = clear and 1 - many < FALL * (1 - self.least_)
        if hidden or fallen:
            self._collapsed(net, one, many)
        else:
            self.least_ = min(self.least_, many)
            self.good_ = self._state(net)

    def _collapsed(self, net, one: float, many: float) -> None:
        net.module_.load_state_dict(self.good_["weights"])
        net.optimizer_.load_state_dict(copy.deepcopy(self.good_["optimizer"]))
        if self.averaging is not None:
            self.averaging.model_.load_state_dict(self.good_["average"])
        net.attack = with_more_steps(net.attack)
        n_steps = net.attack.n_steps
        net.history.record("collapsed", True)
        self.n_collapses_ += 1
        if self.n_collapses_ == 1:
            what = "wrong rows" if self.probe.is_classifier else "worst loss"
            caution(
                f"Training with one step collapsed in epoch {self.epoch_}: {what} {one:.2f} under "
                f"one step, {many:.2f} under several. The weights of the last sound examination "
                f"are back, and training goes on with {n_steps} steps. Say attack='pgd' to train "
                "with many steps from the start, or lower radius or lr."
            )

    def _state(self, net) -> dict[str, Any]:
        found = {"weights": net.module_.state_dict(), "optimizer": net.optimizer_.state_dict()}
        if self.averaging is not None:
            found["average"] = self.averaging.model_.state_dict()
        return copy.deepcopy(found)


def with_more_steps(attack: Attack) -> Attack:
    """The attack to go on with; one that remembers nothing takes ten steps, from random points."""
    n_steps = MORE_STEPS.get(attack.n_steps, attack.n_steps) if attack.remembers else 10
    options = {"n_steps": n_steps, "step_size": None}
    if "random_start" in attack.get_params(deep=False):
        options["random_start"] = True
    return clone(attack).set_params(**options)


def warn_if_constant(net, probe: Probe, found: float | None = None) -> None:
    """Say so when a constant prediction would do as well as the robust model.

    ``found`` is the loss under several steps, where somebody has just measured it.
    """
    found = probe.loss(net, PGD(n_steps=10)) if found is None else found
    constant = probe.constant()
    net.history.record("robust_loss", found)
    net.history.record("constant_loss", constant)
    if found < constant:
        return
    rows = "held-out rows" if probe.is_held_out else "training rows"
    if probe.is_classifier:
        figures = f"keeps {1 - found:.0%} of {len(probe.rows)} {rows} right when they move by the "
        figures += f"radius, and the most frequent class alone is right for {1 - constant:.0%}"
    else:
        figures = f"has a worst loss of {found:.2f} on {len(probe.rows)} {rows} (in variances of "
        figures += f"y) when they move by the radius, and their mean has {constant:.2f}"
    caution(
        f"The robust model is no better than a constant: it {figures}. Lower radius "
        f"({net.radius:g} now) or smoothing ({net.smoothing:g} now), give every column a step of "
        "its own (LpBall(scale='std')), or train longer."
    )
