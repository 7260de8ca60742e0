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
from skrobust.attacks import APGD, PGD, Attack, Objective
from skrobust.exceptions import caution
from skrobust.nets._loader import Rows

__all__ = ["Guard", "Probe", "warn_of_the_end"]

ONE = PGD(n_steps=1, random_start=False)
FEW = PGD(n_steps=5)
MANY = APGD(n_steps=20)  # a net that hides from one step hides half from the others too
GAP = 0.15  # share of the rows (or of the targets' variance) that one step may hide from many
DOUBT = 0.1  # of the rows, hidden from one step, where a stronger attack is worth its price
HIDDEN = 0.6  # of the rows that are right under one step: where many leave less, the net hides
WARM = 4  # of so many epochs the learning rate rises in one, and all is in motion
LATE = 3  # of so many, one is enough to beat a constant
FALL = 0.7  # share of its best figure that robust accuracy may fall to
N_CHECKS = 12  # in one fit, besides those that the penalty asks for
HARM = 0.75  # of the harm of many steps to a regressor: where one step does less, it was learned by heart
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

    def is_hiding(self, clean: float, one: float, many: float, share: float = HIDDEN) -> bool:
        """Whether a net of these losses resists one step and little else."""
        if self.is_classifier:
            return many - one > GAP and 1 - many < share * (1 - one)
        return many - one > GAP and one - clean < HARM * (many - clean)

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
    """Notices when single-step training collapses, and goes on with more steps.

    *Catastrophic overfitting* (Wong et al. 2020, 2001.03994): the net learns to resist the one step it
    is trained on, and little else. A few rows show it, at regular epochs and whenever the penalty has
    suddenly shrunk: many steps break far more of them than one step does. A net that is not robust
    yet looks like that too, but gets better; so that it counts where a net hides twice in a row without
    getting better, or where robust accuracy falls. Then the attack takes more steps, and where an
    earlier examination was better, its weights, optimiser and running average come back;
    ``history`` says ``collapsed`` and the user is warned once.
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
        self.next_ = self.every_ = max(2, math.ceil(net.max_epochs / N_CHECKS))
        self.penalty_, self.was_hiding_ = 0.0, False
        self.good_ = self._state(net)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.epoch_ += 1
        before, self.penalty_ = self.penalty_, net.history[-1].get("penalty", 0.0)
        is_sudden = self.penalty_ < 0.6 * before
        is_last = self.epoch_ == net.max_epochs
        is_due = is_sudden or is_last or self.epoch_ == 1 or self.epoch_ >= self.next_
        if is_due and net.radius_now_ > 0 and math.isfinite(net.history[-1, "train_loss"]):
            self._examine(net)

    def _examine(self, net) -> None:
        clean, one = self.probe.loss(net, None), self.probe.loss(net, ONE)
        many = max(one, self.probe.loss(net, FEW))
        if many - min(one, self.least_) > DOUBT:
            many = max(many, self.probe.loss(net, MANY))
        net.history.record("loss_one_step", one)
        net.history.record("loss_many_steps", many)
        is_hiding = self.probe.is_hiding(clean, one, many)
        is_stuck = is_hiding and self._is_stuck(net, many - one, many)
        if (is_stuck or self._is_fallen(one, many)) and Guard.suits(net.attack):
            self._collapsed(net, one, many)
        elif not is_hiding or many <= self.least_:
            self.good_ = self._state(net)
        # what a first epoch reaches is luck
        self.least_ = many if self.epoch_ <= 2 else min(self.least_, many)
        self.was_hiding_ = is_hiding
        if self.epoch_ >= self.next_:
            rest = 2 if many - one < DOUBT / 2 and many < self.probe.constant() else 1
            self.next_ = self.epoch_ + rest * self.every_

    def _is_stuck(self, net, gap: float, many: float) -> bool:
        """Whether a net that hides does not grow out of it, as those do that are not robust yet."""
        if not self.probe.is_classifier:
            return many > self.least_
        if self.epoch_ == net.max_epochs:  # nothing goes on, and the end is examined for itself
            return False
        is_useless = many >= self.probe.constant()  # nothing to hide yet, or nothing left
        is_late = self.epoch_ >= net.max_epochs / (LATE if is_useless else WARM)
        return is_late and self.was_hiding_ and many > self.least_ - gap / 3

    def _is_fallen(self, one: float, many: float) -> bool:
        """Where training's own step misses what any other step finds, nothing is hidden from one."""
        if not self.probe.is_classifier or self.epoch_ <= 2:
            return False
        fall = many - self.least_
        is_clear = fall > GAP or (fall > GAP / 3 and many - one > GAP / 2)
        return is_clear and 1 - many < FALL * (1 - self.least_)

    def _collapsed(self, net, one: float, many: float) -> None:
        is_worse = many > self.least_ + GAP / 3
        if is_worse:
            self._go_back(net)
        net.attack = with_more_steps(net.attack)
        net.history.record("collapsed", True)
        self.n_collapses_ += 1
        if self.n_collapses_ == 1:
            what = "wrong rows" if self.probe.is_classifier else "worst loss"
            then = ["The weights of the last sound examination are back."] * is_worse
            if self.epoch_ < net.max_epochs:
                then.append(f"Training goes on with {net.attack.n_steps} steps.")
            caution(
                f"Training with one step collapsed in epoch {self.epoch_}: {what} {one:.2f} under "
                f"one step, {many:.2f} under several. {' '.join(then)} Say attack='pgd' to train "
                "with many steps from the start, or lower radius or lr."
            )

    def _go_back(self, net) -> None:
        net.module_.load_state_dict(self.good_["weights"])
        net.optimizer_.load_state_dict(copy.deepcopy(self.good_["optimizer"]))
        if self.averaging is not None:
            self.averaging.model_.load_state_dict(self.good_["average"])

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


def warn_of_the_end(net, probe: Probe) -> None:
    """Say so when the trained net resists one step only, or is no better than a constant."""
    clean, one, constant = probe.loss(net, None), probe.loss(net, ONE), probe.constant()
    took_few = Guard.suits(net.attack)  # a net that met many steps has little to hide
    many = one if took_few else max(one, probe.loss(net, FEW))
    if took_few or many - one > DOUBT or many > constant - DOUBT:
        many = max(many, probe.loss(net, MANY))
    net.history.record("robust_loss", many)
    net.history.record("constant_loss", constant)
    if many >= constant:
        caution(_constant(net, probe, many, constant))
    elif probe.is_hiding(clean, one, many, share=0.5):  # more steps mend less than this
        what = "wrong rows" if probe.is_classifier else "worst loss"
        caution(
            f"The model resists one step and not several: {what} {one:.2f} under one, {many:.2f} "
            "under twenty. Say attack='pgd' to train with many steps, or lower radius or lr."
        )


def _constant(net, probe: Probe, found: float, constant: float) -> str:
    rows = "held-out rows" if probe.is_held_out else "training rows"
    if probe.is_classifier:
        figures = f"keeps {1 - found:.0%} of {len(probe.rows)} {rows} right when they move by the "
        figures += f"radius, and the most frequent class alone is right for {1 - constant:.0%}"
    else:
        figures = f"has a worst loss of {found:.2f} on {len(probe.rows)} {rows} (in variances of "
        figures += f"y) when they move by the radius, and their mean has {constant:.2f}"
    return (
        f"The robust model is no better than a constant: it {figures}. Lower radius "
        f"({net.radius:g} now) or smoothing ({net.smoothing:g} now), give every column a step of "
        "its own (LpBall(scale='std')), or train longer."
    )
