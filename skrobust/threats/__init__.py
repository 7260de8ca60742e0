"""Where may a row move? Threats and all norm arithmetic."""

from skrobust.threats._base import Region, Threat
from skrobust.threats._check import check_threat
from skrobust.threats._lp_ball import LpBall
from skrobust.threats._region import BallRegion

__all__ = ["BallRegion", "LpBall", "Region", "Threat", "check_threat"]
