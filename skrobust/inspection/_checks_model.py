"""Checks of the model itself: its outputs and its gradients (D1 to D4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from skrobust._torch import to_numpy
from skrobust.bridge import has_steps
from skrobust.inspection._lab import Lab

__all__ = ["Verdict", "gradients", "logits", "repeats", "saturation"]

Verdict = tuple[bool | None, float | None, str]

# Beyond these margins the slope of the cross-entropy is 0 to the last bit of a float.
BLIND = {torch.float32: 103.0, torch.float64: 745.0}
FLAT = 0.05  # how far, of the way from 1 / n_classes to 1, the probability of the answer must be


def repeats(lab: Lab) -> Verdict:
    """D1: outputs, and predictions, of two calls."""
    first, second = lab.outputs(), lab.outputs()
    size = np.abs(first[np.isfinite(first)]).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(first - second)) > 1e-5 * size
    differ = apart.reshape(len(first), -1).any(axis=1)
    if hasattr(lab.estimator, "predict"):
        X = lab.evaluation.rows.given
        one, two = (np.asarray(lab.estimator.predict(X)) for _ in range(2))
        unlike = one != two if lab.classifies else ~np.isclose(one, two, rtol=1e-5)
        differ |= unlike.reshape(len(differ), -1).any(axis=1)
    share = float(differ.mean())
    if share:
        return (
            False,
            share,
            f"{share:.0%} of the rows got another output in a second call. A search cannot climb what "
            "changes under its feet. Switch the randomness off to measure (dropout, noise layers, "
            "sampling), or average many calls inside the model.",
        )
    return True, share, "Two calls gave the same outputs."


def logits(lab: Lab) -> Verdict:
    """D2: outputs between 0 and 1 whose rows sum to 1 are probabilities."""
    outputs = lab.outputs().astype(np.float64)
    inside = bool(((outputs >= 0) & (outputs <= 1 + 1e-6)).all())
    if outputs.shape[1] == 1:
        share = float(inside and _is_better_read_at_half(lab, outputs[:, 0]))
    else:
        sums_to_one = np.abs(outputs.sum(axis=1) - 1) < 1e-3
        share = float((sums_to_one & ((outputs >= 0) & (outputs <= 1 + 1e-6)).all(axis=1)).mean())
    if share > 0.99:
        return (
            False,
            share,
            "The outputs are probabilities where logits are expected: a softmax (or sigmoid) is "
            "applied twice, and the gradients of sure rows vanish. Let the network return what goes "
            "into the softmax.",
        )
    return True, share, f"{share:.0%} of the outputs look like probabilities."


def _is_better_read_at_half(lab: Lab, output: np.ndarray) -> bool:
    """Whether one output column makes sense as a probability and not as a logit."""
    right = lab.task.codes == 1
    return float(np.mean((output > 0.5) == right)) > float(np.mean((output > 0) == right))


def gradients(lab: Lab) -> Verdict:
    """D3: rows at which no direction is worse than any other."""
    if np.ptp(lab.outputs(), axis=0).max() == 0:
        return None, None, "The model gives all rows the same output: there is nothing to climb."
    fn, x = lab.objective(lab.rows), lab.tensor(lab.x)
    with lab.view.evaluating():
        piece = None
        if (
            not lab.classifies and fn.pieces is not None
        ):  # a residual has a slope, its square may not
            piece = torch.zeros(len(x), dtype=torch.long, device=x.device)
        gradient = to_numpy(fn.over(len(x)).gradient(x, piece).gradient)
    share = float((gradient.reshape(len(gradient), -1) == 0).all(axis=1).mean())
    if share <= max(0.01, 2.5 / len(lab.rows)):
        return True, share, f"{share:.1%} of the rows have no gradient."
    steps = has_steps(lab.view.module)
    why = (
        "The model has steps (bins, one-hot columns)"
        if steps
        else "Rounding, thresholds, dead units, a detached graph or saturated outputs"
    )
    return (
        False,
        share,
        f"{share:.0%} of the rows have a gradient of exactly 0. {why} hide the slope from attacks "
        "that follow it; the rows may break all the same. Trust attack='search' or 'thorough' more, "
        "or give the model a smooth torch view.",
    )


def saturation(lab: Lab) -> Verdict:
    """D4: margins so large, or so small, that the cross-entropy has no slope to speak of."""
    margin = -lab.clean[np.isfinite(lab.clean)]
    if len(margin) == 0:
        return None, None, "No margin is finite."
    dtype = torch.float32 if _computes_in_float32(lab) else torch.float64
    blind = float((margin > BLIND[dtype]).mean())
    if not brings_a_network(lab.estimator):
        return (
            True,
            blind,
            f"{blind:.0%} of the rows have a cross-entropy without slope; margins, which are climbed "
            "here, keep theirs.",
        )
    if blind > 0.5:
        return (
            False,
            blind,
            f"{blind:.0%} of the rows have a cross-entropy without slope: the logits are huge "
            f"(median margin {np.median(margin):.3g}). Tools that climb the cross-entropy will call "
            "the model robust; margins, which are climbed here, are not fooled. Divide the logits by "
            "their temperature.",
        )
    sure = float(np.median(softmax(lab.outputs(), axis=1).max(axis=1)))
    chance = 1 / len(lab.task.classes)
    if sure < chance + FLAT * (1 - chance) and len(margin) > (_majority(lab) + 0.1) * lab.n_rows:
        return (
            False,
            sure,
            f"The median probability of the answer is {sure:.3f}, hardly more than {chance:.3f} for "
            "any class, although the model knows the answers: the logits are tiny and the "
            "cross-entropy is flat. Multiply the logits by their temperature.",
        )
    return True, blind, f"The median margin is {np.median(margin):.3g}."


def _majority(lab: Lab) -> float:
    return lab.task.majority(np.ones(lab.n_rows))


def _computes_in_float32(lab: Lab) -> bool:
    tensors = [*lab.view.module.parameters(), *lab.view.module.buffers()]
    floats = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    return lab.x.dtype == np.float32 or torch.float32 in floats


def brings_a_network(estimator: Any) -> bool:
    """Whether the outputs come from a network that the user wrote.

    The torch views of scikit-learn's own estimators are logits by construction, however sure of
    themselves (naive Bayes) they are.
    """
    for _ in range(8):
        steps = getattr(estimator, "steps", None)
        inner = steps[-1][1] if steps else None
        inner = inner or getattr(estimator, "best_estimator_", None)
        inner = inner or getattr(estimator, "estimator_", None)
        if inner is None or isinstance(inner, str):
            break
        estimator = inner
    return hasattr(estimator, "__skrobust_torch__") or hasattr(estimator, "module_")
