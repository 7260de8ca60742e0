"""One line per divergence."""

from __future__ import annotations

from skrobust.exceptions import invalid
from skrobust.smoothing._base import Divergence
from skrobust.smoothing._consistency import Consistency
from skrobust.smoothing._gradient import Gradient
from skrobust.smoothing._pairs import KL, Custom, LossGap, Squared

__all__ = ["DIVERGENCES", "check_divergence"]

DIVERGENCES = {
    "kl": KL,
    "squared": Squared,
    "loss": LossGap,
    "gradient": Gradient,
    "consistency": Consistency,
}


def check_divergence(divergence) -> Divergence:
    """A divergence object from a name, an object, or a function ``(moved, output, y) -> (n,)``.

    >>> check_divergence("squared")
    Squared()
    """
    if isinstance(divergence, Divergence):
        return divergence
    if isinstance(divergence, str) and divergence in DIVERGENCES:
        return DIVERGENCES[divergence]()
    if callable(divergence) and not isinstance(divergence, type):
        return Custom(divergence)
    raise invalid(
        "divergence",
        divergence,
        f"one of {sorted(DIVERGENCES)}, a Divergence object, or a function (moved, output, y)",
    )
