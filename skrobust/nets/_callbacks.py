"""What happens between epochs: averaging, robust validation, the best weights, the way out."""

from __future__ import annotations

import copy
import math
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from skrobust._torch import differences, evaluating
from skrobust.attacks import Attack, Objective
from skrobust.exceptions import RobustnessWarning, TrainingDivergedError
from skrobust.nets._loader import Rows

__all__ = ["Averaging", "FitTasks", "Keeper", "RobustValidation", "Schedule"]


class Schedule(Callback):
    """One-cycle learning rate by the batch: linear rise, cosine fall (Smith & Topin, 1708.07120)."""

    is_ours = True

    def __init__(self, share):
        self.share = share  # (progress from 0 to 1) -> share of the learning rate

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.step_, self.n_steps_ = 0, _n_batches(net, X)
        self.peaks_ = [(group, group["lr"]) for group in net.optimizer_.param_groups]

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        share = self.share(min(1.0, self.step_ / self.n_steps_))
        for group, peak in self.peaks_:
            group["lr"] = share * peak
        self.step_ += 1

    def on_train_end(self, net, X=None, y=None, **kwargs):
        for group, peak in self.peaks_:  # partial_fit goes on from the same peak
            group["lr"] = peak


class Averaging(Callback):
    """Exponential moving average of the weights (Izmailov et al. 2018, 1803.05407, as EMA).

    The average is what validates and what remains after training; it forgets at
    ``decay ** batches``, less in short fits so that it does not remember the first weights. It is
    updated every few batches, which costs a tenth of the time and changes nothing that matters.
    """

    is_ours = True
    every = 8  # batches

    def __init__(self, decay: float):
        self.decay = decay

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        n_batches = _n_batches(net, X)
        every = max(1, min(self.every, n_batches // 100))
        decay = min(self.decay, 1 - 1 / (1 + 0.1 * n_batches)) ** every
        average = get_ema_multi_avg_fn(decay)
        self.model_ = AveragedModel(net.module_, multi_avg_fn=average, use_buffers=True)
        self.every_, self.n_seen_ = every, 0

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        self.n_seen_ += training
        if training and self.n_seen_ % self.every_ == 0:
            self.model_.update_parameters(net.module_)

    def weights(self) -> dict[str, Tensor]:
        return self.model_.module.state_dict()


def _n_batches(net, rows) -> int:
    """Optimiser steps of the whole fit."""
    return max(1, net.max_epochs * len(net.get_iterator(rows, training=True)))


class RobustValidation(Callback):
    """Robust score of held-out rows after each epoch, in ``history`` as ``valid_robust``.

    Classification: share of rows that the attack leaves right. Regression: minus the mean worst
    loss. The attack starts from the same random numbers each epoch, so that epochs compare.
    """

    def __init__(self, rows: Rows, attack: Attack, is_classifier: bool, batch_size: int = 1024):
        self.rows, self.attack = rows, attack
        self.is_classifier, self.batch_size = is_classifier, batch_size

    def score(self, net) -> float:
        generator = torch.Generator(device=self.rows.x.device).manual_seed(net.seed)
        total = weight = 0.0
        with evaluating(net.module_) as module:
            for low in range(0, len(self.rows), self.batch_size):
                x, y, w = self.rows[low : low + self.batch_size]
                found = self.attack.maximize(
                    self._objective(net, module, y), x, net.threat, net.radius, generator=generator
                )
                value = (found.value <= 0).double() if self.is_classifier else -found.value
                total += float(value.sum() if w is None else (w * value).sum())
                weight += len(x) if w is None else float(w.sum())
        return total / weight

    def _objective(self, net, module, y: Tensor) -> Objective:
        if self.is_classifier:
            return Objective(lambda z, y: differences(module(z), y).amax(dim=1), y, goal=0.0)
        return Objective(lambda z, y: net.criterion_(module(z), y), y)


class Keeper(Callback):
    """Keeps the weights to come back to: the best epoch's if validated, else the last whole one's.

    Stops on stagnation, on a loss that is no number, and tells what it did. After Ctrl-C (which
    skorch turns into the end of training) the kept weights are the model.
    """

    def __init__(
        self,
        validation: RobustValidation | None,
        averaging: Averaging | None,
        n_iter_no_change: int | None,
    ):
        self.validation, self.averaging = validation, averaging
        self.n_iter_no_change = n_iter_no_change

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.weights_ = None
        self.best_score_, self.best_epoch_ = -math.inf, 0
        self.epoch_, net.stopped_ = 0, False

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.epoch_ += 1
        if not math.isfinite(net.history[-1, "train_loss"]) or not _finite(net.module_):
            self._diverged(net)
            return
        candidate = copy.deepcopy(
            self.averaging.weights() if self.averaging else net.module_.state_dict()
        )
        if self.validation is None:
            self.weights_, self.best_epoch_ = candidate, self.epoch_
        else:
            self._validate(net, candidate)

    def _validate(self, net, candidate: dict[str, Tensor]) -> None:
        current = copy.deepcopy(net.module_.state_dict()) if self.averaging else None
        if current is not None:
            net.module_.load_state_dict(candidate)
        score = self.validation.score(net)
        if current is not None:
            net.module_.load_state_dict(current)
        net.history.record("valid_robust", score)
        improved = score > self.best_score_
        net.history.record("valid_robust_best", improved)
        if improved:
            self.best_score_, self.best_epoch_, self.weights_ = score, self.epoch_, candidate
        patience = self.n_iter_no_change
        if patience is not None and self.epoch_ - self.best_epoch_ >= patience:
            stop(net)

    def _diverged(self, net) -> None:
        if self.weights_ is None:
            raise TrainingDivergedError(
                f"The training loss became {net.history[-1, 'train_loss']} in the first epoch. "
                f"Lower the learning rate (lr={net.lr:g} now), scale the columns of X "
                f"(StandardScaler), or lower smoothing={net.smoothing:g}."
            )
        warnings.warn(
            f"The training loss became {net.history[-1, 'train_loss']} in epoch {self.epoch_}; "
            f"the weights of epoch {self.best_epoch_} are kept and training has stopped. Lower "
            f"the learning rate (lr={net.lr:g} now) or smoothing={net.smoothing:g}.",
            ConvergenceWarning,
            stacklevel=2,
        )
        stop(net)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        if not net.stopped_ and self.epoch_ < net.max_epochs:
            warnings.warn(
                f"Training was interrupted in epoch {self.epoch_ + 1} of {net.max_epochs}; the "
                f"model keeps the weights of epoch {self.best_epoch_}"
                + (" (the best one so far)." if self.validation else ".")
                + ("" if self.weights_ else " No epoch was complete: it is hardly trained."),
                RobustnessWarning,
                stacklevel=2,
            )
        if self.weights_ is not None:
            net.module_.load_state_dict(self.weights_)
            self.weights_ = None


def stop(net) -> None:
    """End training on purpose: skorch takes an interrupt as its one way out of the loop."""
    net.stopped_ = True
    raise KeyboardInterrupt


def _finite(module: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


class FitTasks(Callback):
    """Tells scikit-learn's callbacks (progress bars, score monitors) about each epoch."""

    def __init__(self, begin, end):
        self.begin, self.end = begin, end

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.task_ = self.begin()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if self.end(self.task_):
            stop(net)
