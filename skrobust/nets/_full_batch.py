"""Linear and additive models: the worst-case loss itself, minimised over all rows at once."""

from __future__ import annotations

import warnings
from math import cos, pi

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from skrobust._torch import seeded, to_numpy
from skrobust.exceptions import RobustnessWarning
from skrobust.nets._additive import Additive, place_edges
from skrobust.nets._build import Recipe, net_options
from skrobust.nets._callbacks import Averaging, FitTasks, Keeper, RobustValidation
from skrobust.nets._lines import ColumnSum, LineSum, place_knots
from skrobust.nets._loader import Rows
from skrobust.nets._losses import FREE
from skrobust.nets._modules import Network
from skrobust.nets._net import RobustNet
from skrobust.nets._worst import LinearRows, WorstRows, distinct, is_box, stepped_rows
from skrobust.smoothing import KL, LossGap, Squared

__all__ = ["EXACT", "STEPS", "ExactNet", "fit_exact", "is_additive"]

EXACT = (LossGap, Squared, KL)  # divergences whose worst case is known
STEPS = 20  # optimiser steps in one epoch: one line of the history
PRICED = 2**21  # entries times bins up to which prices are fitted in l1 and l2 balls
SOFT = 0.01  # jumps from bin to bin much smaller than this cost next to nothing


def is_additive(network: Network) -> bool:
    return isinstance(network.body, ColumnSum)


# The loss -----------------------------------------------------------------------------------


class Problem:
    """Loss and penalty of a network on some rows, with the exact worst case of each.

    Rows of a class are kept together: they share the directions in which they can be lost.
    """

    def __init__(self, network: Network, recipe: Recipe, x: Tensor, y: Tensor, weight: Tensor):
        self.recipe, self.network, self.y, self.weight = recipe, network, y, weight
        n_outputs = network.n_outputs
        classes = range(n_outputs) if recipe.is_classifier else [None]
        self.parts: list[tuple[int | None, Tensor, WorstRows]] = []
        for k in classes:
            every = torch.ones(len(x), dtype=torch.bool, device=x.device)
            index = torch.nonzero(every if k is None else y == k).flatten()
            if len(index):
                self.parts.append((k, index, _rows_of(network, x[index], recipe)))

    def variables(self) -> list[Tensor]:
        """What the fit chooses beside the weights: prices of the worst cases in l1 and l2."""
        for part in self.parts:
            self._rows_loss(*part)
        return [price for *_, rows in self.parts for price in getattr(rows, "prices", {}).values()]

    def loss(self) -> Tensor:
        """Weighted mean over the rows of clean loss + smoothing * worst divergence."""
        total = 0.0
        for k, index, rows in self.parts:
            total = total + (self.weight[index] * self._rows_loss(k, index, rows)).sum()
        return total / self.weight.sum()

    def robust_score(self) -> float:
        """Share of rows that nothing makes wrong, or minus the mean worst squared error."""
        found = torch.zeros_like(self.weight)
        for k, index, rows in self.parts:
            if k is None:
                found[index] = -_worst_squares(rows, self.y[index])
            else:
                found[index] = (rows.most(_against(k, self.network)) < 0).all(dim=1).double()
        return float((self.weight * found).sum() / self.weight.sum())

    def constant_score(self) -> float:
        """The same for the best constant."""
        share = self.weight / self.weight.sum()
        if self.recipe.is_classifier:
            return float(torch.bincount(self.y, share).amax())
        mean = share @ self.y
        return -float(share @ (self.y - mean).square().sum(dim=1))

    def _rows_loss(self, k: int | None, index: Tensor, rows: WorstRows) -> Tensor:
        smoothing, divergence = self.recipe.smoothing, self.recipe.divergence
        if smoothing == 0 or self.recipe.radius == 0:
            return self._clean(k, index, rows)
        if isinstance(divergence, LossGap):
            worst = self._worst(k, index, rows)
            if smoothing == 1:
                return worst
            return (1 - smoothing) * self._clean(k, index, rows) + smoothing * worst
        measure = _squared if isinstance(divergence, Squared) else _kl
        return self._clean(k, index, rows) + smoothing * measure(rows, self.network)

    def _clean(self, k: int | None, index: Tensor, rows: WorstRows) -> Tensor:
        if k is None:
            return (rows.here(_units(self.network)) - self.y[index]).square().sum(dim=1)
        return _log_loss(rows.here(_against(k, self.network)) + self._log_shares(k))

    def _worst(self, k: int | None, index: Tensor, rows: WorstRows) -> Tensor:
        if k is None:
            return _worst_squares(rows, self.y[index])
        return _log_loss(rows.most(_against(k, self.network)) + self._log_shares(k))

    def _log_shares(self, k: int) -> Tensor | float:
        """What each mistake about class k weighs in its loss."""
        if self.recipe.shares is None:
            return 0.0
        shares = torch.as_tensor(np.delete(self.recipe.shares[k], k), device=self.weight.device)
        return shares.clamp(min=FREE).log()


def _rows_of(network: Network, x: Tensor, recipe: Recipe) -> WorstRows:
    region = recipe.threat.region(x, recipe.radius)
    if is_additive(network):
        return stepped_rows(network.body, region)
    return LinearRows(network.body[-1], network.mean, network.spread, region)


def _units(network: Network) -> Tensor:
    return torch.eye(network.n_outputs, dtype=torch.float64, device=network.mean.device)


def _against(k: int, network: Network) -> Tensor:
    """Directions ``e_j - e_k`` for all j but k."""
    units = _units(network)
    return units[[j for j in range(len(units)) if j != k]] - units[k]


def _log_loss(gaps: Tensor) -> Tensor:
    """Cross-entropy from logit differences ``f_j - f_y`` (n, k - 1)."""
    return torch.logsumexp(pad(gaps, (1, 0)), dim=1)


def _worst_squares(rows: WorstRows, y: Tensor) -> Tensor:
    units = torch.eye(y.shape[1], dtype=torch.float64, device=y.device)
    return torch.maximum(rows.most(units) - y, rows.most(-units) + y).square().sum(dim=1)


def _squared(rows: WorstRows, network: Network) -> Tensor:
    """Sum over outputs of the largest squared change, each by itself (two classes move as one)."""
    units = _units(network)
    here = rows.here(units)
    return torch.maximum(rows.most(units) - here, rows.most(-units) + here).square().sum(dim=1)


def _kl(rows: WorstRows, network: Network) -> Tensor:
    """Worst KL divergence of the probabilities; for three classes and more an upper bound of it.

    Of two classes it is largest at one end of what their logit difference can be. Of more,
    ``-log p_k(z)`` is bounded for each class k by itself.
    """
    if network.n_outputs == 2:
        direction = torch.tensor([[-1.0, 1.0]], dtype=torch.float64, device=network.mean.device)
        here = rows.here(direction)[:, 0]
        ends = torch.stack([rows.most(direction)[:, 0], -rows.most(-direction)[:, 0]])
        share = torch.sigmoid(here)
        cross = share * softplus(-ends) + (1 - share) * softplus(ends)
        return cross.amax(dim=0) - (share * softplus(-here) + (1 - share) * softplus(here))
    logs = torch.log_softmax(rows.here(_units(network)), dim=1)
    gaps = [_log_loss(rows.most(_against(k, network))) for k in range(network.n_outputs)]
    return (logs.exp() * (logs + torch.stack(gaps, dim=1))).sum(dim=1)


class Penalty:
    """``weight_decay`` of a linear layer; ridge and variation of an additive module."""

    def __init__(self, network: Network, recipe: Recipe, n_rows: int, categorical: set[int]):
        self.body, self.decay = network.body, recipe.optimizer_options.get("weight_decay", 0.0)
        if not is_additive(network):
            return
        factory = additive_factory(network)
        self.ridge, self.variation = factory.ridge / n_rows, factory.variation / n_rows
        inner = torch.isfinite(self.body.edges[:, 2 - self.body.extra :])  # between two values
        inner[sorted(categorical)] = False
        self.jumps = inner

    def __call__(self) -> Tensor:
        if not isinstance(self.body, ColumnSum):
            return 0.5 * self.decay * self.body[-1].weight.square().sum()
        values = self.body.values
        jumps = (values[:, :, 1:-1] - values[:, :, :-2])[:, self.jumps]
        jumps = ((jumps / SOFT).square() + 1).sqrt() - 1
        return 0.5 * self.ridge * values.square().sum() + self.variation * SOFT * jumps.sum()


def additive_factory(network: Network) -> Additive:
    factory = network.plan["module"]
    return factory if isinstance(factory, Additive) else Additive()


# The fit ------------------------------------------------------------------------------------


class ExactNet(RobustNet):
    """A skorch net whose epoch is :data:`STEPS` steps on the loss of all rows."""

    def train_step(self, batch, **fit_params) -> dict:
        self._set_training(True)
        for _ in range(STEPS):
            self._schedule()
            self.optimizer_.zero_grad()
            loss = self.problem.loss()
            (loss + self.penalty()).backward()
            self.optimizer_.step()
            self.n_steps_ += 1
        return {"loss": loss.detach(), "y_pred": batch[1]}

    def _memory(self, rows) -> None:
        """No search, nothing to remember."""

    def on_train_begin(self, net, X=None, y=None, **kwargs) -> None:
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.n_steps_ = 0

    def _schedule(self) -> None:
        """Ten steps up, then down to 0 along a cosine."""
        n = self.max_epochs * STEPS
        share = min(1.0, (self.n_steps_ + 1) / 10)
        share *= 0.5 * (1 + cos(pi * self.n_steps_ / n))
        for group in self.optimizer_.param_groups:
            group["lr"] = share * self.lr


class ExactValidation(RobustValidation):
    """Robust score of held-out rows, exactly."""

    def __init__(self, problem: Problem):
        self.problem = problem

    def score(self, net) -> float:
        with torch.no_grad():
            return self.problem.robust_score()


def fit_exact(
    recipe: Recipe, rows: tuple, train: np.ndarray, held_out: np.ndarray | None, fresh: bool = True
) -> tuple[RobustNet, Keeper]:
    """Train a linear or additive network on all rows at once, against their exact worst cases.

    It starts from 0, or where ``fresh`` is False from the weights of the network. Equal rows become
    one, of the sum of their weights, in an order of their own: weights and repetitions are the
    same, and the order of the rows does not matter.

    Parameters
    ----------
    rows : X, y, weight
        Arrays; y are class numbers, or targets (n, k).
    train, held_out : ndarray of int
        Which of them to train on, and to stop early by.
    """
    network = recipe.network.double().to(recipe.device)
    x, y, weight = distinct(*(part[train] for part in rows))
    x = x.astype(np.float64)
    tensors = [torch.as_tensor(part, device=recipe.device) for part in (x, y, weight)]
    categorical = _prepare(network, recipe, tensors[0], weight, fresh)
    problem = Problem(network, recipe, *tensors)
    validation = averaging = None
    if held_out is not None:
        held = [torch.as_tensor(part[held_out], device=recipe.device) for part in rows]
        validation = ExactValidation(Problem(network, recipe, held[0].double(), *held[1:]))
    if recipe.weight_averaging > 0:
        averaging = Averaging(recipe.weight_averaging)
    keeper = Keeper(validation, averaging, recipe.n_iter_no_change)
    callbacks = [("averaging", averaging)] if averaging else []
    callbacks += [("keeper", keeper)]
    callbacks += [("tasks", FitTasks(*recipe.tasks))] if recipe.tasks else []
    with seeded(recipe.seed):
        net = _make_net(recipe, callbacks + list(recipe.callbacks))
        net.problem, net.penalty = problem, Penalty(network, recipe, len(x), categorical)
        prices = problem.variables()
        if prices:
            net.optimizer_.add_param_group({"params": prices})
        net.partial_fit(Rows(*tensors))
    if recipe.smoothing > 0 and recipe.radius > 0 and keeper.epoch_:
        _warn_if_constant(net, problem)
    del net.problem, net.penalty  # they hold the data
    if prices:
        del net.optimizer_.param_groups[-1]
    net.callbacks_ = [
        one for one in net.callbacks_ if one[0] not in ("averaging", "keeper", "tasks")
    ]
    net.callbacks = list(recipe.callbacks)
    return net, keeper


def _warn_if_constant(net: ExactNet, problem: Problem) -> None:
    """Say so when a constant prediction would do as well on the training rows, exactly."""
    with torch.no_grad():
        found, constant = problem.robust_score(), problem.constant_score()
    net.history.record("robust_score", found)
    net.history.record("constant_score", constant)
    if found > constant + 1e-9:
        return
    if problem.recipe.is_classifier:
        figures = f"keeps {found:.1%} of the training rows right when they move by the radius, and "
        figures += f"the most frequent class alone is right for {constant:.1%}"
    else:
        figures = f"has a worst loss of {-found:.2f} on the training rows (in variances of y) when "
        figures += f"they move by the radius, and their mean has {-constant:.2f}"
    warnings.warn(
        f"The robust model is no better than a constant: it {figures}. Nothing of its kind may be: "
        f"lower radius ({net.radius:g} now), or give every column a step of its own "
        "(LpBall(scale='std')).",
        RobustnessWarning,
        stacklevel=2,
    )


def _make_net(recipe: Recipe, callbacks: list) -> ExactNet:
    options = {**net_options(recipe, callbacks), "batch_size": -1}
    how = {**recipe.optimizer_options, "weight_decay": 0.0}  # the penalty is part of the loss
    if issubclass(recipe.optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        how["betas"] = (0.9, 0.99)
    options.update({f"optimizer__{name}": v for name, v in how.items()})
    options.update(recipe.net_params)
    return ExactNet(**options).initialize()


def _prepare(
    network: Network, recipe: Recipe, x: Tensor, weight: np.ndarray, fresh: bool
) -> set[int]:
    """Learn from the rows what is not a weight; which columns are categories."""
    if not is_additive(network):
        if fresh:
            network.condition(to_numpy(x), weight)
            nn.init.zeros_(network.body[-1].weight)
            nn.init.zeros_(network.body[-1].bias)
        return set()
    region = recipe.threat.region(x, recipe.radius)
    factory = additive_factory(network)
    leaping = {j for j in range(x.shape[1]) if region.leaps(j)}
    categorical = leaping | {int(column) for column in factory.categorical}
    if fresh:
        low, high = (to_numpy(torch.where(torch.isnan(x), x, e)) for e in (region.low, region.high))
        n_bins = factory.most_bins(len(x))
        if factory.n_bins == "auto" and not is_box(region):  # each row looks at each bin, each step
            n_bins = max(8, min(n_bins, PRICED // x.numel()))
        place = place_knots if isinstance(network.body, LineSum) else place_edges
        network.body.set_edges(place(low, high, to_numpy(x), weight, n_bins, categorical))
    return categorical
