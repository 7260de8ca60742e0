"""The parameters that both estimators share, written once and put into both docstrings."""

from __future__ import annotations

import inspect
import textwrap

__all__ = ["document"]

PARAMETERS = """
Parameters
----------
module : str or callable, default="auto"
    The network: ``"linear"``, ``"additive"`` (a sum of functions of single columns, or
    :class:`skrobust.nets.Additive` with options), ``"mlp"`` (tables), ``"conv1d"`` (series, X of shape (n, channels,
    length)), ``"cnn"`` (images, X of shape (n, channels, height, width)), ``"auto"`` (by the shape
    of X), or a factory ``(n_features or row shape, n_outputs) -> nn.Module`` of logits. Instances
    are refused: they would keep their weights through ``clone``. Named modules standardise their
    input inside, which leaves ``radius`` in the units of X; a factory gets rows as they are.
radius : float, default=0.1
    How far a row may move, in steps of the threat's ``scale``; with ``threat="linf"`` the largest
    change of any column, in the column's own units. 0 is plain training.
smoothing : float or "auto", default="auto"
    Weight of the worst local divergence. 0 is plain training; more costs clean accuracy. "auto" is
    1 for tables, 2 for series, 4 for images, and 1 with ``divergence="loss"``.
threat : str or Threat, default="linf"
    Where rows may move: ``"linf"``, ``"l2"``, ``"l1"`` or an :class:`LpBall` with scales, bounds,
    frozen columns. Options that speak of data are learned from the training rows.
attack : str or Attack, default="auto"
    How the worst nearby row is searched: ``"single"`` (one step, from where the row went last
    time; on images with a second one along the gradient of the update, and with two before it in
    networks of more than eight layers), ``"pgd"``, ``"apgd"``,
    ``"noise"``, ``"exact"`` (linear and additive modules), ``"interval"`` (no search: bounds, for a
    network that :func:`skrobust.certify` can prove much about) or an attack object. ``"auto"`` is
    ``"single"``: about the robustness of many steps for three times the price of plain training.
    Of linear and additive modules it is the exact worst case, of all rows at once: no search, no
    batches, no luck; an epoch is then 20 steps, and ``weight_decay`` is the ridge of the linear
    module.
divergence : str, Divergence or callable, default={divergence!r}
    What is made worst: ``"kl"`` (class probabilities), ``"squared"`` (outputs), ``"loss"`` (growth
    of the loss), ``"gradient"`` (first order, no attack), ``"consistency"`` (noisy copies, no
    attack; for smoothing afterwards), or a function ``(moved, output, y) -> (n,)`` of moved
    outputs, outputs and targets. ``"auto"`` of a classifier is ``"kl"``, and ``"loss"`` for linear
    and additive modules, which makes their fit convex (for ``smoothing`` up to 1; so does
    ``"squared"``, for any), and with ``attack="interval"``.
optimizer : {{"adamw", "adam", "sgd"}} or torch.optim class, default="adamw"
    Optimiser; its options go into ``net_params`` as ``optimizer__name``.
lr : float or "auto", default="auto"
    Peak learning rate of a one-cycle schedule; "auto" is 0.005 for tables, 0.002 otherwise, and four
    times that from ``initial_weights`` of a plain model. With ``attack="interval"`` it stays at its
    peak (0.003 for series and images) while the radius grows.
weight_decay : float, default=5e-4
    Weight decay of the optimiser.
max_epochs : int or "auto", default="auto"
    Passes over the rows; "auto" gives about 1000 optimiser steps to tables, 2000 to series and
    images (``attack="interval"``: 4000 and 10000), within 10 to 100 epochs.
batch_size : int or "auto", default="auto"
    Rows per step; -1 takes all; "auto" is an eighth of the rows, from 16 to 64.
radius_warmup : float, default=0.0
    Share of the epochs over which the radius grows from 0 to ``radius``.
weight_averaging : float, default=0.0
    Decay of an exponential moving average of the weights, which then is the model; 0 is none,
    0.99 to 0.999 is usual.
early_stopping : bool, default=False
    Hold out rows, measure the *robust* score on them after each epoch, stop when it stagnates, and
    keep the weights of the best epoch.
validation_fraction : float, default=0.1
    Share of rows held out by ``early_stopping``.
n_iter_no_change : int, default=10
    Epochs without a better held-out robust score before ``early_stopping`` stops.
"""

MORE_PARAMETERS = """
preprocessor : transformer or None, default=None
    scikit-learn transformer in front of the network, fitted on the training rows; it needs a
    torch view (:func:`as_torch`). Unlike a scaler earlier in a Pipeline it keeps ``radius`` and
    ``threat`` in the raw columns of X.
initial_weights : fitted estimator, skorch net, nn.Module, state dict or None, default=None
    Weights to begin with, of the same layers: fine-tuning to robustness, for a quarter of the epochs.
    With ``lr="auto"``, 0.3 of the weights of a plainly trained network are kept and the rest is fresh
    (shrink and perturb, Ash & Adams 2020, arXiv:1910.08475), which makes it robust far sooner; with a
    ``lr`` of your own, with ``smoothing=0``, or from a robust model of ours, training begins with the
    weights as they are. Weights of one of our estimators bring their standardisation along (and
    ``module="auto"`` takes its network); any other module gets rows as they are. Copies (``clone``,
    ``GridSearchCV``) begin with the same.
warm_start : bool, default=False
    Go on from the weights of the last ``fit``.
device : str or torch.device, default="auto"
    "auto" takes a CUDA GPU when there is one.
random_state : int, RandomState or None, default=None
    Seed of initialisation, batches, attacks and held-out rows. The same int gives the same model;
    torch's global generator is never touched.
callbacks : list of skorch callbacks or None, default=None
    Called during training like in any skorch net.
net_params : dict or None, default=None
    Passed to the skorch net last, overriding everything: ``{{"optimizer__betas": (0.9, 0.95)}}``.
verbose : int, default=0
    1 prints a line per epoch.
"""

ATTRIBUTES = """
net_ : skorch.NeuralNet
    The trained net.
threat_ : Threat
    The threat as numbers, bound to the training rows.
history_ : skorch.history.History
    One entry per epoch: losses, durations, with ``early_stopping`` the held-out robust score as
    ``valid_robust``.
n_iter_ : int
    Epochs completed.
n_features_in_ : int
    Number of columns (or channels) seen in ``fit``.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the columns, where X had string names.
"""


def document(cls: type) -> type:
    """Fill ``{parameters}``, ``{more_parameters}`` and ``{attributes}`` of a class docstring."""
    default = inspect.signature(cls.__init__).parameters["divergence"].default
    doc = inspect.cleandoc(cls.__doc__)
    blocks = {
        "{parameters}\n": PARAMETERS.format(divergence=default).rstrip() + "\n",
        "{more_parameters}\n": textwrap.dedent(MORE_PARAMETERS).format().lstrip() + "\n",
        "{attributes}\n": ATTRIBUTES.lstrip() + "\n",
    }
    for mark, block in blocks.items():
        doc = doc.replace(mark, block)
    cls.__doc__ = doc
    return cls
