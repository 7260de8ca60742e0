"""Checks of plain parameters: one number, one name, one error form."""

from __future__ import annotations

import math
from numbers import Integral, Real

from skrobust.exceptions import invalid

__all__ = ["check_bool", "check_integer", "check_name", "check_number"]


def check_number(
    name: str,
    value,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    hint: str = "",
) -> float:
    """``value`` as a float inside the interval; anything else is an error that says so.

    >>> check_number("radius", 0.1, low=0)
    0.1
    >>> check_number("radius", "big", low=0)
    Traceback (most recent call last):
    TypeError: radius='big' is not valid: it must be a finite number >= 0.
    """
    allowed = "a finite number" + _interval(low, high, open_low, open_high)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise invalid(name, value, allowed, hint, TypeError)
    value = float(value)
    too_low = value < low or (open_low and value == low)
    too_high = value > high or (open_high and value == high)
    if not math.isfinite(value) or too_low or too_high:
        raise invalid(name, value, allowed, hint)
    return value


def _interval(low: float, high: float, open_low: bool, open_high: bool) -> str:
    parts = []
    if low > -math.inf:
        parts.append(f"{'>' if open_low else '>='} {low:g}")
    if high < math.inf:
        parts.append(f"{'<' if open_high else '<='} {high:g}")
    return " " + " and ".join(parts) if parts else ""


def check_integer(name: str, value, *, low: int, hint: str = "") -> int:
    """``value`` as an int of at least ``low``."""
    allowed = f"an integer >= {low}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise invalid(name, value, allowed, hint, TypeError)
    if value < low:
        raise invalid(name, value, allowed, hint)
    return int(value)


def check_bool(name: str, value) -> bool:
    if isinstance(value, bool) or type(value).__name__ == "bool":  # numpy's too
        return bool(value)
    raise invalid(name, value, "True or False", "", TypeError)


def check_name(name: str, value, allowed) -> str:
    """``value`` if it is one of the allowed names."""
    if not isinstance(value, str):
        raise invalid(name, value, f"one of {list(allowed)}", "", TypeError)
    if value not in allowed:
        raise invalid(name, value, f"one of {list(allowed)}")
    return value
