"""What is made worst? The divergences that training penalises."""

from skrobust.smoothing._base import Divergence, PairDivergence, Setting
from skrobust.smoothing._check import DIVERGENCES, check_divergence
from skrobust.smoothing._consistency import Consistency
from skrobust.smoothing._gradient import Gradient
from skrobust.smoothing._pairs import KL, Custom, LossGap, Squared

__all__ = [
    "DIVERGENCES",
    "KL",
    "Consistency",
    "Custom",
    "Divergence",
    "Gradient",
    "LossGap",
    "PairDivergence",
    "Setting",
    "Squared",
    "check_divergence",
]
