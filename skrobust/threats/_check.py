"""What users write for a threat becomes a threat."""

from __future__ import annotations

import numbers

from skrobust.exceptions import invalid
from skrobust.threats._base import Threat
from skrobust.threats._geometry import find_norm
from skrobust.threats._lp_ball import LpBall

__all__ = ["check_threat"]


def check_threat(threat) -> Threat:
    """A threat from a norm (``"linf"``, ``"l2"``, ``"l1"``, inf, 2, 1) or a threat as it is.

    >>> check_threat("l2")
    LpBall(norm='l2')
    """
    if isinstance(threat, Threat):
        return threat
    if isinstance(threat, (str, numbers.Real)) and find_norm(threat) is not None:
        return LpBall(norm=threat)
    wrong_type = not isinstance(threat, (str, numbers.Real))
    raise invalid(
        "threat",
        threat,
        '"linf", "l2", "l1" or a threat object',
        "Scales, bounds and frozen features go in LpBall(norm=..., scale=..., bounds=...).",
        TypeError if wrong_type else ValueError,
    )
