"""The skorch net: one training step, ``clean loss + smoothing * worst divergence``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from skrobust._torch import Frozen, evaluating
from skrobust.attacks import Objective
from skrobust.bounds import Graph, trace
from skrobust.nets._loader import Batch, BatchLoader, Rows
from skrobust.nets._losses import ClassificationLoss, RegressionLoss
from skrobust.nets._memory import Memory
from skrobust.nets._replay import Replayed
from skrobust.smoothing import LossGap, PairDivergence, Setting

__all__ = ["ClassificationLoss", "RegressionLoss", "RobustNet"]

JOINT_NUMBERS = (
    2**14
)  # numbers in a batch up to which one forward pass of twice the rows is quicker


class RobustNet(NeuralNet):
    """A skorch net that trains on :class:`Rows` against the worst nearby rows.

    Parameters beyond skorch's: ``threat`` (bound), ``attack``, ``divergence`` (objects),
    ``radius``, ``smoothing``, ``radius_warmup`` (share of the epochs over which the radius grows),
    ``seed``, and how to compute:

    precision : {"auto", "float32", "bfloat16"}
        Type of the network's arithmetic in training. "auto" is bfloat16 for images on a GPU that has
        it; on a CPU that has it, in the attack's passes, of which a direction is all that is
        wanted. Losses and margins are float32 in any case, and all that is predicted.
    compile : bool
        skorch's: whether ``torch.compile`` makes the forward pass of training, with the options
        ``compile__mode`` ("reduce-overhead" replays CUDA graphs) and so on.
    cuda_graphs : bool
        Whether the attack's passes through the network are recorded as a CUDA graph and replayed. The
        network must compute the same steps for every batch; on a CPU nothing is recorded.
    deterministic : bool
        Only algorithms that give the same bits each time; slower on a GPU.
    augment : callable or None
        ``(x, generator) -> x``, a random change of each batch of training rows; rows and generator are
        on the device of training. Perturbations are then not remembered.
    memory_limit : int
        Most bytes for remembered perturbations; beyond, rows begin at random points.
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
        precision="auto",
        cuda_graphs=False,
        deterministic=False,
        augment=None,
        memory_limit=2**32,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.threat, self.attack, self.divergence = threat, attack, divergence
        self.radius, self.smoothing, self.radius_warmup = radius, smoothing, radius_warmup
        self.seed, self.precision, self.deterministic = seed, precision, deterministic
        self.augment, self.memory_limit, self.cuda_graphs = augment, memory_limit, cuda_graphs

    # One step ---------------------------------------------------------------------------------

    def train_step_single(self, batch: Batch, **fit_params) -> dict:
        penalty = None
        if self.graph_ is not None:
            self._widen()
        with self.arithmetic_():
            if not (self.smoothing > 0 and self.radius_now_ > 0):
                output = self.forward_(batch.x)
            elif self.is_all_bound_:
                region = self.setting(batch).region()
                output = self.attack.moved(self.graph_, region, batch.y).float()
            else:
                output, penalty = self._output_and_penalty(batch)
            loss = self.criterion_(output, batch.y)
        if penalty is not None:
            loss = loss + self.smoothing * penalty
        loss = loss.mean() if batch.weight is None else (batch.weight * loss).mean()
        loss.backward()
        if self.moved_ is not None:
            self._step_free()
        if self.graph_ is not None:
            torch.nn.utils.clip_grad_norm_(self.module_.parameters(), self.attack.clip)
        step = {"loss": loss.detach(), "y_pred": output.detach()}
        return step if penalty is None else {**step, "penalty": penalty.detach().mean()}

    def _widen(self) -> None:
        """The radius of the next batch in certified training: bounds bear no sudden steps."""
        warmup = self.radius_warmup or self.attack.warmup
        # convolutions learn to see first; tables lose by it
        rest = warmup / 8 if len(self.module_.row_shape) > 1 else 0.0
        share = self.attack.reach(self.step_ / self.n_steps_, warmup, rest)
        self.radius_now_, self.step_ = self.radius * share, self.step_ + 1

    def _output_and_penalty(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs of the rows, and the worst divergence of each within the radius."""
        x, y = batch.x, batch.y
        setting = self.setting(batch)
        if self.graph_ is not None:
            output = self.forward_(x)
            enclosed = self.attack.penalty
            return output, enclosed(
                self.graph_, setting.region(), output, y, self.divergence, setting
            )
        if not self.is_joint_(x):
            output = self.forward_(x)
            return output, self.divergence.penalty(x, output, y, setting)
        with torch.no_grad():
            reference = self.forward_(x)
        z = self.divergence.worst(reference, y, setting)
        output, moved = self.forward_(torch.cat([x, z])).chunk(2)
        return output, self.divergence.compare(moved, output, y, self.criterion_)

    def is_joint_(self, x: Tensor) -> bool:
        """Whether clean and moved rows go through the network in one pass.

        It pays where calls cost more than arithmetic. Layers that mix the rows of a batch (batch
        normalisation) must see clean and moved rows apart: their statistics differ.
        """
        is_small = x.numel() <= JOINT_NUMBERS and not self.module_.mode_matters
        return is_small and isinstance(self.divergence, PairDivergence)

    def setting(self, batch: Batch) -> Setting:
        """What the divergence may look at for the rows of one batch."""

        def region():
            if self.graph_ is not None:  # the radius is another one at each step
                return self.threat.region(batch.x, self.radius_now_)
            return batch.region(self.threat, self.radius_now_)

        def find(climb, reference: Tensor, y: Tensor) -> Tensor:
            with self.frozen_ as module:
                if module.mode_matters:  # the reference must come from the same network
                    with torch.no_grad():
                        reference = self.attacked_(batch.x)
                return self._search(climb, reference, batch, region())

        return Setting(self.forward_, self.criterion_, region, find, self.generator_)

    def _search(self, climb, reference: Tensor, batch: Batch, region) -> Tensor:
        slope = self.divergence.slope(reference, batch.y) if self.has_slope_ else None
        if self.attack.margins and self.divergence.follows_margins and self.is_classifying_:
            climb, slope = lambda moved, reference, y: self.criterion_.lost_margin(moved, y), None
        objective = Objective(
            lambda z, reference, y: climb(self.attacked_(z), reference, y),
            reference,
            batch.y,
            pieces=lambda z, *_: self.criterion_.directions(self.attacked_(z)),
            at_x=None if self.attack.is_blind else climb(reference, reference, batch.y),
            slope=slope and self._steered(slope),
        )
        start = None if self.memory_ is None else self.memory_.start(batch)
        z = self.attack.worst(objective, region, start, self.generator_)
        if self.memory_ is not None:
            self.memory_.keep(batch, z)
            if self.attack.free_step:
                z = z.detach().requires_grad_()
                self.moved_ = batch, region, z
        return z

    def _step_free(self) -> None:
        """The next search begins one step on, along the gradient that the weights' update has made."""
        (batch, region, z), self.moved_ = self.moved_, None
        if z.grad is not None:
            size = region.radius * self.attack.free_step
            self.memory_.keep(batch, region.step(z.detach(), z.grad, size))

    def _steered(self, slope):
        """Outputs of moved rows, and which way they are to go."""

        def outputs(z: Tensor) -> tuple[Tensor, Tensor]:
            moved = self.attacked_(z)
            return moved, slope(moved.detach())

        return outputs

    @property
    def has_slope_(self) -> bool:
        """Whether the class that says what is compared also says how steep that is."""
        if getattr(self.criterion_, "log_shares", None) is not None:
            return False  # a growth of the loss is steep in another way then
        owners = [
            next(cls for cls in type(self.divergence).__mro__ if name in vars(cls))
            for name in ("compare", "slope")
        ]
        return owners[0] is owners[1]

    @property
    def is_classifying_(self) -> bool:
        return isinstance(self.criterion_, ClassificationLoss)

    # One epoch --------------------------------------------------------------------------------

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """skorch's loop without its stalls: losses stay on the device until the epoch is over.

        Callbacks with a hook for batches are called as ever; if one of them is the user's, each
        loss is in the history before it is called.
        """
        if not isinstance(iterator, BatchLoader) or not training:
            return super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        self._set_training(True)
        self.frozen_ = Frozen(self.module_, modes=self.module_.mode_matters)
        begin, end = _hooked(self, "on_batch_begin"), _hooked(self, "on_batch_end")
        is_watched = not all(getattr(hook.__self__, "is_ours", False) for hook in begin + end)
        steps, sizes = [], []
        for batch in iterator:
            self.history.new_batch()
            for hook in begin:
                hook(self, batch=batch, training=True)
            step = step_fn(batch, **fit_params)
            steps.append((step["loss"], step.get("penalty", step["loss"])))
            sizes.append(len(batch.x))
            if is_watched:
                _record_batch(self.history, prefix, step["loss"].item(), sizes[-1])
            for hook in end:
                hook(self, batch=batch, training=True, **step)
        self._record_epoch(prefix, steps, sizes, is_watched)
        if self.memory_ is not None:
            self.memory_.end_epoch()

    def _record_epoch(self, prefix: str, steps: list, sizes: list[int], is_written: bool) -> None:
        losses, penalties = (torch.stack(values).double() for values in zip(*steps, strict=True))
        weight = torch.tensor(sizes, dtype=torch.float64, device=losses.device)
        self.history.record(prefix + "_batch_count", len(sizes))
        if self.smoothing > 0 and self.radius_now_ > 0:
            self.history.record("penalty", float((weight * penalties).sum() / weight.sum()))
        if not is_written:
            batches = self.history[-1]["batches"]
            for entry, loss, size in zip(batches, losses.tolist(), sizes, strict=True):
                entry[prefix + "_loss"], entry[prefix + "_batch_size"] = loss, size

    def validation_step(self, batch, **fit_params) -> dict:
        x, y = batch[:2]
        self._set_training(False)
        with torch.no_grad():
            output = self.module_(x)
            return {"loss": self.criterion_(output, y).mean(), "y_pred": output}

    # Begin and end ----------------------------------------------------------------------------

    def on_train_begin(self, net, X=None, y=None, **kwargs) -> None:
        self.generator_ = torch.Generator(device=self.device).manual_seed(self.seed)
        self.first_epoch_ = len(self.history)
        self.arithmetic_, within = arithmetics(self.precision, self.device, X, self.batch_size)
        if self.precision == "auto" and within is not nullcontext and not self._bears(within, X):
            self.arithmetic_ = within = nullcontext
        self.forward_, self.attacked_ = self._passes(within)
        self.memory_, self.graph_, self.moved_ = self._memory(X), self._graph(), None
        self.is_all_bound_ = self._is_all_bound()
        if self.graph_ is not None:
            n_batches = len(self.get_iterator(X, training=True))
            self.step_, self.n_steps_ = 0, max(1, self.max_epochs * n_batches)
        super().on_train_begin(net, X=X, y=y, **kwargs)

    def _passes(self, within) -> tuple[Callable, Callable]:
        """The forward passes of training and, frozen and in an arithmetic of their own, of attacks."""
        forward = attacked = self.module_.__call__  # a function: skorch keeps an eye on modules
        if self.compile:
            options = self.get_params_for("compile")
            forward = torch.compile(forward, **options)
            attacked = torch.compile(lambda x: self.module_(x), **options)
        if within is not nullcontext:
            attacked = _in_float32(attacked, within)
        if self.arithmetic_ is not nullcontext:
            forward = _in_float32(forward, self.arithmetic_)
        is_recorded = self.cuda_graphs and torch.device(self.device).type == "cuda"
        return forward, Replayed(attacked) if is_recorded else attacked

    def _bears(self, within, rows: Rows) -> bool:
        """Whether the network can do without digits; one that mixes types by hand may stop."""
        x = rows.x[:2].to(self.device).requires_grad_()
        try:
            with evaluating(self.module_) as module, within():
                outputs = module(x)
            torch.autograd.grad(outputs.float().sum(), x)
        except Exception:  # in float32 the same error comes where it can be explained
            return False
        return True

    def _memory(self, rows) -> Memory | None:
        is_used = self.smoothing > 0 and self.radius > 0 and self.attack.remembers
        if not is_used or not isinstance(rows, Rows) or self.augment is not None:
            return None
        fits = Memory.n_bytes(rows) <= self.memory_limit
        return Memory(rows, self.generator_) if fits else None

    def _graph(self) -> Graph | None:
        """The network as steps that can be enclosed, for attacks that enclose all rows."""
        if not getattr(self.attack, "encloses", False):
            return None
        self.attack.check(self.divergence)
        return trace(self.module_, self.module_.row_shape)

    def _is_all_bound(self) -> bool:
        """Whether the clean loss cancels, and the loss at the worst outputs is all that is left."""
        cancels = isinstance(self.divergence, LossGap) and self.smoothing == 1
        # what is normalised by the statistics of batches must see the rows themselves
        if self.graph_ is None or self.module_.mode_matters:
            return False
        return cancels and self.attack.share == 1

    def on_train_end(self, net, X=None, y=None, **kwargs) -> None:
        super().on_train_end(net, X=X, y=y, **kwargs)
        # what no file can hold
        self.memory_ = self.moved_ = self.graph_ = None
        self.forward_ = self.attacked_ = self.arithmetic_ = self.frozen_ = None

    def torch_compile(self, module, name):
        """Modules stay what they are, for whoever copies, saves or attacks them."""
        return module

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
        augment = self.augment if training else None
        return BatchLoader(dataset, self.batch_size, shuffler, training, self.device, augment)


def arithmetics(precision: str, device, rows, batch_size: int) -> tuple[Callable, Callable]:
    """Two functions: what makes the context in which the network is trained, and is attacked."""
    kind = torch.device(device).type
    is_image = isinstance(rows, Rows) and rows.x.ndim == 4
    weights = search = precision == "bfloat16"
    if precision == "auto" and is_image:
        weights = search = kind == "cuda" and torch.cuda.is_bf16_supported()
        if kind == "cpu":
            is_small = rows.x[0].numel() * batch_size <= JOINT_NUMBERS
            search = not is_small and cpu_has_bfloat16()
    half = partial(torch.autocast, kind, dtype=torch.bfloat16)
    apart = partial(half, cache_enabled=False)  # a recording must not lean on what is cached
    return half if weights else nullcontext, apart if search else nullcontext


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself, and torch can tell."""
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _in_float32(forward: Callable, within: Callable) -> Callable:
    """The forward pass with its outputs widened: divergences and margins need the digits."""

    def whole(x: Tensor) -> Tensor:
        with within():
            return forward(x).float()

    return whole


def _hooked(net: NeuralNet, name: str) -> list:
    """The hooks of that name that do something."""
    found = [getattr(callback, name) for _, callback in net.callbacks_]
    return [hook for hook in found if hook.__func__ is not getattr(Callback, name)]


def _record_batch(history, prefix: str, loss: float, size: int) -> None:
    history.record_batch(prefix + "_loss", loss)
    history.record_batch(prefix + "_batch_size", size)
