"""Errors and warnings that say what was given, what is allowed, and what to do next."""

from __future__ import annotations

import sys
import warnings
from typing import Any

__all__ = [
    "BlackBoxWarning",
    "RobustnessWarning",
    "ThreatNotBoundError",
    "TrainingDivergedError",
    "UnsupportedEstimatorError",
]


class RobustnessWarning(UserWarning):
    """A robustness figure or a robust fit that needs a second look."""


class BlackBoxWarning(RobustnessWarning):
    """No gradient was available: the model was attacked through its outputs alone."""


class ThreatNotBoundError(ValueError):
    """A threat with data-dependent options was used before ``bind(X_train)``."""


class TrainingDivergedError(RuntimeError):
    """The training loss became NaN or infinite before one epoch was complete."""


class UnsupportedEstimatorError(TypeError):
    """The estimator has no torch view (see :func:`skrobust.as_torch`)."""


def caution(message: str, category: type[Warning] = RobustnessWarning) -> None:
    """Warn at the line of the user's own code, however deep in the libraries we are."""
    frame, level = sys._getframe(1), 2
    inside = {"skrobust", "sklearn", "skorch", "torch", "contextlib"}
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def invalid(
    name: str, given: Any, allowed: str, hint: str = "", error: type[Exception] = ValueError
) -> Exception:
    """Build (not raise) the project's one form of error for a bad parameter.

    >>> invalid("radius", -1, "a finite number >= 0", "Use radius=0 for no movement.")
    ValueError('radius=-1 is not valid: it must be a finite number >= 0. Use radius=0 for no movement.')
    """
    shown = repr(given)
    if len(shown) > 200:
        shown = shown[:200] + "..."
    message = f"{name}={shown} is not valid: it must be {allowed}."
    return error(f"{message} {hint}".strip())
