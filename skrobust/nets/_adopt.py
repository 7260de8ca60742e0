"""Weights that exist already, put into a fresh network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skrobust._torch import to_tensor
from skrobust.exceptions import invalid
from skrobust.nets._modules import Network

__all__ = ["KEPT", "adopt", "is_robustly_trained", "weights_of"]

KEPT = 0.3  # of the weights of a plain network, where training is to make it robust

ALLOWED = (
    "a fitted RobustClassifier or RobustRegressor, a fitted skorch net, an nn.Module of the same "
    "layers, or a state dict"
)


def weights_of(source) -> dict[str, Tensor]:
    """The weights of whatever holds some, by name."""
    module = source
    if hasattr(source, "net_"):  # an estimator of ours
        module = source.net_.module_
    elif hasattr(source, "module_"):  # a skorch net
        module = source.module_
        if type(source.criterion_).__name__ == "NLLLoss":
            raise invalid(
                "initial_weights",
                type(source).__name__ + "(criterion=NLLLoss)",
                "a net whose module returns logits",
                "NLLLoss trains modules that return probabilities. Leave the last softmax out of "
                "the module and train it with criterion=CrossEntropyLoss.",
            )
    if isinstance(module, nn.Module):
        return module.state_dict()
    if isinstance(module, Mapping) and module:
        return {name: value if isinstance(value, Tensor) else to_tensor(value)
                for name, value in module.items()}  # fmt: skip
    hint = "Fit it first." if hasattr(source, "fit") else ""
    raise invalid("initial_weights", type(source).__name__, ALLOWED, hint, TypeError)


def is_robustly_trained(source) -> bool:
    """Whether a fitted estimator or net of ours has paid a penalty for moved rows."""
    history = getattr(getattr(source, "net_", source), "history", None)
    return any("penalty" in row for row in history or ())


def adopt(network: Network, source, share: float = 1.0) -> None:
    """Give ``network`` the weights of ``source``.

    Weights of a :class:`Network` bring the conditioning of the rows along; those of any other
    module were trained on rows as they are, and get them so.

    Below 1, ``share`` of each given weight is kept, and the rest comes from the fresh one, scaled down
    where a layer's fresh weights are larger than the given ones: *shrink and perturb* (Ash & Adams
    2020, 1910.08475). What plain training has learned is steep, and hard to unlearn in a few epochs.
    """
    weights = weights_of(source)
    frame = {"mean", "spread"} <= set(weights)
    body = {n.removeprefix("body."): v for n, v in weights.items() if n.startswith("body.")}
    body = body if frame and body else weights
    _check_fit(network.body.state_dict(), body)
    fresh = network.body.state_dict()
    network.body.load_state_dict({n: _mixed(fresh[n], body[n], share) for n in body})
    with torch.no_grad():
        if frame:
            _check_fit({"mean": network.mean, "spread": network.spread}, weights, only=True)
        network.mean.copy_(weights["mean"] if frame else torch.zeros(()))
        network.spread.copy_(weights["spread"] if frame else torch.ones(()))


def _mixed(fresh: Tensor, given: Tensor, share: float) -> Tensor:
    given = given.to(fresh)
    if share == 1 or not given.is_floating_point():
        return given
    scale = min(1.0, float(given.norm() / fresh.norm().clamp_min(1e-12)))
    return share * given + (1 - share) * scale * fresh


def _check_fit(wanted: Mapping, given: Mapping, only: bool = False) -> None:
    shapes = [{n: tuple(v.shape) for n, v in part.items()} for part in (wanted, given)]
    missing = [f"{n} {s}" for n, s in shapes[0].items() if shapes[1].get(n) != s]
    extra = [] if only else [f"{n} {s}" for n, s in shapes[1].items() if shapes[0].get(n) != s]
    if missing or extra:
        raise invalid(
            "initial_weights",
            extra[:4],
            f"weights of the same names and shapes as the network's: {missing[:4]}",
            "Choose module= so that it builds the network that the weights belong to.",
        )
