"""The arithmetic of a business case: everything is linear in the attack rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from skrobust._params import check_number
from skrobust.exceptions import invalid

__all__ = [
    "BreakEven",
    "Plan",
    "Range",
    "annuity",
    "break_even",
    "check_range",
    "money",
    "payback",
    "price_of_each",
]


class Range(NamedTuple):
    """What is thought of one number: the least, the likely, the most."""

    low: float
    likely: float
    high: float

    @property
    def known(self) -> bool:
        """Whether it is one number and no range."""
        return self.low == self.high

    def widened(self, share: float) -> Range:
        """As given; a single number, by a share of itself in both directions.

        >>> Range(10.0, 10.0, 10.0).widened(0.2)
        Range(low=8.0, likely=10.0, high=12.0)
        """
        if not self.known:
            return self
        return Range(self.likely * (1 - share), self.likely, self.likely * (1 + share))


def check_range(name: str, value: Any, **limits: Any) -> Range:
    """A number, (low, high) or (low, likely, high); of a pair the middle is likely.

    >>> check_range("volume", (10, 30), low=0)
    Range(low=10.0, likely=20.0, high=30.0)
    """
    if isinstance(value, (Real, str)) or not np.iterable(value):
        number = check_number(name, value, **limits)
        return Range(number, number, number)
    found = [check_number(name, part, **limits) for part in value]
    if len(found) == 2:
        found = [found[0], sum(found) / 2, found[1]]
    if len(found) != 3 or found != sorted(found):
        raise invalid(name, value, "a number, (low, high) or (low, likely, high), ascending")
    return Range(*found)


def price_of_each(name: str, value: Any, names: list[str]) -> dict[str, Range]:
    """One price for each candidate, from one for all or a dict; candidates left out pay nothing."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, check_range(name, value))
    unknown = [key for key in value if key not in names]
    if unknown:
        raise invalid(name, value, f"a dict of candidates, {names}", f"{unknown} are none.")
    return {key: check_range(f"{name}[{key!r}]", value.get(key, 0.0)) for key in names}


def annuity(horizon: float, discount_rate: float = 0.0) -> float:
    """What one unit a year is worth today, over so many years: ``(1 - (1 + d)^-T) / d``, or T.

    >>> annuity(3.0), round(annuity(3.0, 0.1), 4)
    (3.0, 2.4869)
    """
    if discount_rate == 0:
        return float(horizon)
    return -math.expm1(-horizon * math.log1p(discount_rate)) / discount_rate


@dataclass(frozen=True)
class Plan:
    """One set of assumptions: decisions a year, years, prices of each candidate."""

    volume: float
    horizon: float
    discount_rate: float
    training: np.ndarray
    running: np.ndarray

    @property
    def years(self) -> float:
        """The horizon, discounted."""
        return annuity(self.horizon, self.discount_rate)

    def yearly(self, per_decision: np.ndarray) -> np.ndarray:
        """Cost of each year (..., n_candidates), the price of training spread over the horizon."""
        return self.volume * per_decision + self.running + self.training / self.years

    def with_(self, **changes: Any) -> Plan:
        return replace(self, **changes)


class BreakEven(NamedTuple):
    """Where two candidates cost the same.

    ``rate`` is the attack rate, NaN where there is none from 0 to 1; ``cheaper`` says where the
    candidate is cheaper than the baseline: "above" it, "below" it, "always", "never", or "equal".
    """

    rate: float
    cheaper: str


def break_even(saving_at_0: float, saving_at_1: float) -> BreakEven:
    """The attack rate at which a saving that is linear in it is 0.

    ``s0 + rate (s1 - s0) = 0``

    >>> break_even(-1.0, 3.0)
    BreakEven(rate=0.25, cheaper='above')
    >>> break_even(2.0, 1.0)
    BreakEven(rate=nan, cheaper='always')
    """
    if saving_at_0 * saving_at_1 < 0:
        rate = saving_at_0 / (saving_at_0 - saving_at_1)
        return BreakEven(float(rate), "above" if saving_at_0 < 0 else "below")
    if saving_at_0 == saving_at_1 == 0:
        return BreakEven(math.nan, "equal")
    total = saving_at_0 + saving_at_1
    return BreakEven(math.nan, "always" if total > 0 else "never")


def payback(extra: float, saving: float) -> float:
    """Years until an extra price has been earned back by a yearly saving; infinity for never.

    >>> payback(300.0, 100.0), payback(0.0, 5.0), payback(300.0, -1.0)
    (3.0, 0.0, inf)
    """
    if saving <= 0:
        return math.inf
    return max(0.0, extra / saving)


def money(value: float, currency: str = "") -> str:
    """An amount with three digits: the others are not known anyway.

    >>> money(1234567.8), money(12.345, "EUR"), money(-0.01234, "EUR")
    ('1,230,000', '12.3 EUR', '-0.0123 EUR')
    """
    short = float(f"{value:.3g}")
    digits = f"{short:,.0f}" if 100 <= abs(short) < 1e15 else f"{short:.3g}"
    return f"{digits} {currency}".strip()
