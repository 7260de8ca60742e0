"""Where may a row move? Threats and all norm arithmetic."""

from skrobust.threats._base import Region, Threat
from skrobust.threats._check import check_threat
from skrobust.threats._lp_ball import LpBall
from skrobust.threats._region import BallRegion
from skrobust.threats._repeats import MeasuredRadius, radius_from_repeats

__all__ = [
    "BallRegion",
    "LpBall",
    "MeasuredRadius",
    "Region",
    "Threat",
    "check_threat",
    "radius_from_repeats",
]
