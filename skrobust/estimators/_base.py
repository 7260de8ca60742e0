"""What both estimators share: from rows to a trained net, and from rows to outputs."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skrobust._compat import (
    HAS_CALLBACKS,
    CallbackSupportMixin,
    check_sample_weight,
    with_callbacks,
)
from skrobust._torch import to_numpy, to_tensor
from skrobust.attacks import Exact, check_attack
from skrobust.bridge import as_torch
from skrobust.estimators._exact import is_additive, solves_exactly, to_the_end
from skrobust.estimators._options import (
    Options,
    check_device,
    check_extras,
    check_options,
    check_preprocessor,
    constant_columns,
    encloses,
    training_attack,
)
from skrobust.exceptions import RobustnessWarning, invalid
from skrobust.nets import (
    Probe,
    Recipe,
    Rows,
    adopt,
    build_network,
    fit_exact,
    fit_net,
    freeze,
    thaw,
)
from skrobust.smoothing import check_divergence
from skrobust.threats import check_threat

__all__ = ["BaseRobust"]


class BaseRobust(CallbackSupportMixin, BaseEstimator):
    """Owns a skorch net; see :class:`RobustClassifier` and :class:`RobustRegressor`."""

    _is_classifier: bool

    def __init__(self, **options):
        """Store the options; a subclass spells them out, with their defaults."""
        for name, value in options.items():
            setattr(self, name, value)

    # What a subclass adds -----------------------------------------------------------------

    @abstractmethod
    def _encode_targets(self, y, X: np.ndarray, weight: np.ndarray):
        """Targets as the net wants them, row weights, and their number of outputs."""

    def _cost_shares(self) -> np.ndarray | None:
        """What each mistake weighs among those about its class, (k, k); None: all the same."""
        return None

    # Training -----------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X, y, sample_weight=None):
        """Train on rows ``X`` with targets ``y``.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features), or (n_samples, n_channels, \
length), or (n_samples, n_channels, height, width)
            Rows in the units that ``radius`` speaks of. Missing and infinite values are errors.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weight of each row in the loss; rows of weight 0 are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For rows, targets, weights or parameters that can't be trained on; the message names
            what was given and what is allowed.
        skrobust.exceptions.TrainingDivergedError
            If the loss is not a number before one epoch is complete.
        """
        X, y = self._check_rows(X, y)
        weight = check_sample_weight(sample_weight, X)
        targets, weight, n_outputs = self._encode_targets(y, X, weight)
        options = check_options(self, X.shape[1:], len(X))
        rng = check_random_state(self.random_state)
        threat = check_threat(self.threat).bind(
            X, feature_names=getattr(self, "feature_names_in_", None)
        )
        recipe, exact = self._recipe(X, n_outputs, threat, options, rng)
        tasks = self._begin_tasks(X, y, recipe.max_epochs)
        recipe.tasks = tasks[:2]
        # an additive or linear model has an exact worst case: all rows at once, no search
        fit = self._fit_exactly if exact else self._fit_by_search
        self.net_, keeper = fit(recipe, X, targets, weight, options, rng)
        self.threat_ = threat
        self.history_ = self.net_.history
        self.n_iter_ = keeper.epoch_
        tasks[2]()
        return self

    @property
    def _finite(self) -> bool | str:
        """What scikit-learn's check of X is to ask for: additive models take missing values."""
        return "allow-nan" if is_additive(self.module) else True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = is_additive(self.module)
        return tags

    def _check_rows(self, X, y):
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32],
            allow_nd=True,
            ensure_min_samples=2,
            ensure_all_finite=self._finite,
            multi_output=not self._is_classifier,
            y_numeric=not self._is_classifier,
        )
        constant = constant_columns(X)
        if X.shape[1:] and len(constant):
            names = getattr(self, "feature_names_in_", None)
            shown = [str(names[i]) if names is not None else int(i) for i in constant[:10]]
            warnings.warn(
                f"{len(constant)} column(s) of X hold one value only and teach nothing: {shown}. "
                "Drop them, or freeze them: LpBall(frozen=[...]).",
                RobustnessWarning,
                stacklevel=3 + HAS_CALLBACKS,  # to the line that called fit
            )
        return X, y

    def _recipe(self, X, n_outputs: int, threat, options: Options, rng) -> tuple[Recipe, bool]:
        divergence = check_divergence(self._divergence_name())
        exact = solves_exactly(self, X, threat, divergence)
        device = check_device(self.device)
        is_fresh = self.initial_weights is None and not (self.warm_start and hasattr(self, "net_"))
        network = self._network(X, n_outputs, rng, options.kept)
        attack = training_attack(self.attack, X.shape[1:], network.depth)
        if is_fresh and hasattr(attack, "prepare"):
            attack.prepare(network.body)
        if isinstance(attack, Exact) and not (exact or network.is_affine):
            raise invalid(
                "attack",
                self.attack,
                "an attack that suits the network: the exact worst case is known for affine ones",
                "Use module='linear' or 'additive', or attack='pgd'.",
            )
        size = max(1, 2**20 // max(1, X[0].size))
        for low in range(0, len(X), size):  # rows outside the bounds are an error now, not later
            threat.region(to_tensor(X[low : low + size]), options.radius)
        recipe = Recipe(
            network=network,
            threat=threat,
            attack=attack,
            divergence=divergence,
            radius=options.radius,
            smoothing=options.smoothing,
            radius_warmup=options.radius_warmup,
            optimizer=options.optimizer,
            optimizer_options=options.optimizer_options,
            lr=options.lr,
            max_epochs=options.max_epochs,
            batch_size=options.batch_size,
            weight_averaging=options.weight_averaging,
            n_iter_no_change=options.n_iter_no_change if self.early_stopping else None,
            validation_attack=check_attack("pgd") if self.early_stopping else None,
            is_classifier=self._is_classifier,
            device=device,
            seed=int(rng.randint(np.iinfo(np.int32).max)),
            shares=self._cost_shares(),
            **check_extras(self),
        )
        return (to_the_end(self, recipe) if exact else recipe), exact

    def _divergence_name(self):
        """``divergence``, with "auto" resolved: for bounds the loss, else what an exact worst case is convex for."""
        if not (isinstance(self.divergence, str) and self.divergence == "auto"):
            return self.divergence
        if encloses(self.attack):
            return "loss"
        if not self._is_classifier:
            return "squared"
        return "loss" if is_additive(self.module) or self.module == "linear" else "kl"

    def _network(self, X: np.ndarray, n_outputs: int, rng, kept: float):
        """A fresh network, one that has ``kept`` of its weights from elsewhere, or the one trained before."""
        if self.warm_start and hasattr(self, "net_"):
            network = self.net_.module_
            if network.row_shape != X.shape[1:] or network.n_outputs != n_outputs:
                raise ValueError(
                    f"warm_start=True goes on with a model of rows {network.row_shape} and "
                    f"{network.n_outputs} outputs; now X has rows {X.shape[1:]} and y needs "
                    f"{n_outputs} outputs. Use the same shape, or warm_start=False."
                )
            return network
        front, seen = None, X
        if self.preprocessor is not None:
            check_preprocessor(self.preprocessor)
            self.preprocessor_ = clone(self.preprocessor).fit(X)
            front = as_torch(self.preprocessor_)
            seen = np.asarray(self.preprocessor_.transform(X), dtype=X.dtype)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        source, module = self.initial_weights, self.module
        if source is not None and isinstance(module, str) and module == "auto":
            net = getattr(source, "net_", None)
            module = net.module_.plan["module"] if net is not None else module
        network = build_network(module, X.shape[1:], seen, n_outputs, front, seed)
        if source is not None:
            self._check_same_task(source)
            adopt(network, source, kept)
        return network

    def _check_same_task(self, source) -> None:
        """An error if initial weights speak of other targets."""

    def _fit_exactly(self, recipe: Recipe, X, targets, weight, options: Options, rng):
        train, held, _ = self._split(X, targets, weight, options, rng, examine=False)
        fresh = not (self.warm_start and hasattr(self, "net_"))
        return fit_exact(recipe, (X, targets, weight), train, held, fresh)

    def _fit_by_search(self, recipe: Recipe, X, targets, weight, options: Options, rng):
        parts = self._split(X, targets, weight, options, rng)
        width = _width(X, recipe)
        train, held_out, probed = (
            None if part is None else _rows(X, targets, weight, part, recipe.device, width)
            for part in parts
        )
        probe = None
        if recipe.smoothing > 0 and recipe.radius > 0:
            is_held_out = probed is not None or held_out is not None
            probed = probed or _some(held_out or train, recipe.seed)
            probe = Probe(probed, self._is_classifier, is_held_out)
        return fit_net(recipe, train, held_out, probe)

    def _split(self, X, targets, weight, options: Options, rng, examine: bool = True):
        """Indices of the rows to train on, to stop early by, and to examine the training with.

        None stands for no such rows. Rows are held out for the examination where there are
        plenty; elsewhere some of the others serve.
        """
        keep, held, probed = np.flatnonzero(weight > 0), None, None
        if self.early_stopping:
            keep, held = _hold_out(keep, targets, options.validation_fraction, self, rng)
        elif examine and len(keep) >= PLENTY and options.smoothing > 0 and options.radius > 0:
            keep, probed = _hold_out(keep, targets, N_PROBED / len(keep), self, rng)
        return keep, held, probed

    def _begin_tasks(self, X, y, max_epochs: int):
        """scikit-learn's callbacks: begin and end of an epoch, and the end of fit."""
        context = self._init_callback_context(max_subtasks=max_epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)

        def begin():
            task = context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(estimator=self, X=X, y=y)
            return task

        def end(task) -> bool:
            return bool(task.call_on_fit_task_end(estimator=self, X=X, y=y))

        return begin, end, lambda: context.call_on_fit_task_end(estimator=self, X=X, y=y)

    # Prediction ---------------------------------------------------------------------------

    def _outputs(self, X) -> np.ndarray:
        """Outputs (n, n_outputs) of the net for rows ``X``, as float64."""
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            allow_nd=True,
            reset=False,
            ensure_all_finite=self._finite,
        )
        network = self.net_.module_
        if X.shape[1:] != network.row_shape:
            raise ValueError(
                f"X has rows of shape {X.shape[1:]}, but {type(self).__name__} was fitted on rows "
                f"of shape {network.row_shape}."
            )
        device = next(network.parameters()).device
        numbers = 2**22 if device.type == "cuda" else 2**17  # what stays in a CPU's cache
        size = max(1, numbers // max(1, X[0].size))
        network = network.settled()
        with torch.no_grad():
            found = [
                to_numpy(network(to_tensor(X[low : low + size], device=device)))
                for low in range(0, len(X), size)
            ]
        return np.concatenate(found).astype(np.float64)

    # Copies ---------------------------------------------------------------------------------

    def __sklearn_clone__(self):
        new = super().__sklearn_clone__()
        # what is learned already is data, and an unfitted copy of it would know nothing
        new.initial_weights = self.initial_weights
        return new

    def __getstate__(self):
        """Parameters, fitted attributes, and the net as plain arrays and text."""
        state = super().__getstate__()
        if "net_" in state:
            state = {**state, "net_": freeze(state["net_"]), "history_": None}
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if isinstance(state.get("net_"), dict):
            frozen = state["net_"]
            preprocessor = getattr(self, "preprocessor_", None)
            self.net_ = thaw(frozen, None if preprocessor is None else as_torch(preprocessor))
            self.history_ = self.net_.history


PLENTY = 5000  # rows, from which on a few are held out to examine the training with
N_PROBED = 128  # rows of such an examination


def _rows(X, targets, weight, index, device, width) -> Rows:
    """Some of the rows as tensors; on the device if they take less than half of what is free."""
    if len(index) < len(X):
        X, targets, weight = X[index], targets[index], weight[index]
    x, y = to_tensor(X, dtype=width), torch.as_tensor(targets)
    y = y.float() if y.is_floating_point() else y
    uniform = np.ptp(weight) == 0
    weight = None if uniform else torch.as_tensor(weight / weight.mean(), dtype=torch.float32)
    rows = Rows(x, y, weight)
    if torch.device(device).type != "cuda":
        return rows.to(device)
    free, _ = torch.cuda.mem_get_info(device)
    return rows.to(device) if 2 * x.numel() * x.element_size() < free else rows


def _some(rows: Rows, seed: int) -> Rows:
    """A few of the rows, drawn."""
    if len(rows) <= N_PROBED:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows.select(order[:N_PROBED].to(rows.x.device))


def _width(X: np.ndarray, recipe: Recipe) -> torch.dtype:
    """float32 where its rounding is nothing beside the radius and the spread; else as X is.

    Half the memory, and quicker. Rules of threats and preprocessors may hang on the last digit.
    """
    network = recipe.network
    if X.dtype != np.float64 or recipe.threat.ruled or network.front is not None:
        return torch.from_numpy(X[:0]).dtype
    region = recipe.threat.region(to_tensor(X[:1]), recipe.radius or 1.0)
    reach = (recipe.radius or 1.0) * region.scale[0]
    least = torch.where(reach > 0, reach, torch.inf)
    if network.conditioned:
        least = torch.minimum(least, network.spread.cpu())
    largest = torch.as_tensor(np.maximum(X.max(axis=0), -X.min(axis=0)))
    fine = (largest * 2**-24 <= 1e-3 * least).all() and largest.amax() < 1e30
    return torch.float32 if fine else torch.float64


def _hold_out(rows: np.ndarray, targets, fraction: float, estimator, rng):
    """Indices to train on and to validate on."""
    labels = targets[rows]
    stratify = None
    if estimator._is_classifier and np.bincount(labels).min(initial=2) >= 2:
        n_held = int(np.ceil(fraction * len(rows)))
        enough = min(n_held, len(rows) - n_held) >= len(np.unique(labels))
        stratify = labels if enough else None
    try:
        return train_test_split(rows, test_size=fraction, stratify=stratify, random_state=rng)
    except ValueError as error:
        raise invalid(
            "validation_fraction",
            fraction,
            f"a share that leaves rows to train on and to validate on, of {len(rows)} rows",
            "Give more rows, or early_stopping=False.",
        ) from error
