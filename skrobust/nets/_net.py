"""The skorch net: one training step, ``clean loss + smoothing * worst divergence``."""

from __future__ import annotations

import torch
from skorch import NeuralNet
from torch import Tensor

from skrobust._torch import evaluating
from skrobust.attacks import Objective
from skrobust.nets._loader import BatchLoader, Rows
from skrobust.smoothing import Setting

__all__ = ["ClassificationLoss", "RegressionLoss", "RobustNet"]


class ClassificationLoss(torch.nn.Module):
    """Cross-entropy of each row, with every pair of classes as a direction to attack."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(output, y, reduction="none")

    def directions(self, output: Tensor) -> Tensor:
        """Logit differences ``f_k - f_j`` of all ordered pairs, (n, k (k - 1))."""
        k = output.shape[1]
        off_diagonal = ~torch.eye(k, dtype=torch.bool, device=output.device)
        return (output[:, :, None] - output[:, None, :])[:, off_diagonal]


class RegressionLoss(torch.nn.Module):
    """Squared error of each row, summed over the outputs; up and down are the directions."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        if output.shape != y.shape:  # (n,) against (n, 1) would broadcast to n x n, silently
            raise ValueError(f"outputs {tuple(output.shape)} and targets {tuple(y.shape)} differ.")
        return (output - y).square().sum(dim=1)

    def directions(self, output: Tensor) -> Tensor:
        return torch.cat([output, -output], dim=1)


class RobustNet(NeuralNet):
    """A skorch net that trains on :class:`Rows` against the worst nearby rows.

    Parameters beyond skorch's: ``threat`` (bound), ``attack``, ``divergence`` (objects),
    ``radius``, ``smoothing``, ``radius_warmup`` (share of the epochs over which the radius grows),
    ``seed``.
    """

    def __init__(
        self,
        *args,
        threat=None,
        attack=None,
        divergence=None,
        radius=0.0,
        smoothing=0.0,
        radius_warmup=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.threat, self.attack, self.divergence = threat, attack, divergence
        self.radius, self.smoothing, self.radius_warmup = radius, smoothing, radius_warmup
        self.seed = seed

    def train_step_single(self, batch, **fit_params) -> dict:
        x, y, weight = batch
        self._set_training(True)
        output = self.module_(x)
        loss = self.criterion_(output, y)
        if self.smoothing > 0 and self.radius_now_ > 0:
            loss = loss + self.smoothing * self.divergence.penalty(x, output, y, self.setting(x))
        loss = (weight * loss).mean()
        loss.backward()
        return {"loss": loss.detach(), "y_pred": output.detach()}

    def setting(self, x: Tensor) -> Setting:
        """What the divergence may look at for the rows ``x`` of one batch."""

        def region():
            return self.threat.region(x, self.radius_now_)

        def find(climb, reference: Tensor, y: Tensor) -> Tensor:
            with evaluating(self.module_) as module:
                if module.mode_matters:  # the reference must come from the same network
                    with torch.no_grad():
                        reference = module(x)
                objective = Objective(
                    lambda z, reference, y: climb(module(z), reference, y),
                    reference,
                    y,
                    pieces=lambda z, *_: self.criterion_.directions(module(z)),
                    at_x=climb(reference, reference, y),
                )
                found = self.attack.maximize(
                    objective, x, self.threat, self.radius_now_, generator=self.generator_
                )
            return found.z

        return Setting(self.module_, self.criterion_, region, find, self.generator_)

    def validation_step(self, batch, **fit_params) -> dict:
        x, y, _ = batch
        self._set_training(False)
        with torch.no_grad():
            output = self.module_(x)
            return {"loss": self.criterion_(output, y).mean(), "y_pred": output}

    def on_train_begin(self, net, X=None, y=None, **kwargs) -> None:
        self.generator_ = torch.Generator(device=self.device).manual_seed(self.seed)
        self.first_epoch_ = len(self.history)
        super().on_train_begin(net, X=X, y=y, **kwargs)

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs) -> None:
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid)
        done = (len(self.history) - self.first_epoch_) / max(self.max_epochs, 1)
        share = 1.0 if self.radius_warmup <= 0 else min(1.0, done / self.radius_warmup)
        self.radius_now_ = self.radius * share

    def get_dataset(self, X, y=None):
        return X if isinstance(X, Rows) else super().get_dataset(X, y)

    def get_iterator(self, dataset, training=False):
        if not isinstance(dataset, Rows):
            return super().get_iterator(dataset, training=training)
        shuffler = torch.Generator().manual_seed(self.seed + 1)
        return BatchLoader(dataset, self.batch_size, shuffler, shuffle=training)
