"""What a business case says, in plain words."""

from __future__ import annotations

import math
from typing import Any

from skrobust.risk._money import money
from skrobust.risk._power import rows_needed

__all__ = ["VERDICTS", "rate", "rows_that_tell", "statements_of", "verdict_of", "years"]

VERDICTS = {
    "go": "Go: it is cheaper at every attack rate assumed",
    "no": "No: it is dearer at every attack rate assumed",
    "open": "Open: within what is assumed it may be cheaper or dearer",
}


def verdict_of(low: float, high: float) -> str:
    """
    >>> verdict_of(1.0, 2.0), verdict_of(-2.0, -1.0), verdict_of(-1.0, 1.0)
    ('go', 'no', 'open')
    """
    return "go" if low > 0 else "no" if high < 0 else "open"


def rate(value: float) -> str:
    """
    >>> rate(0.0123), rate(1.0), rate(0.00001234)
    ('1.23%', '100%', '0.00123%')
    """
    return f"{100 * value:.3g}%"


def years(value: float) -> str:
    """
    >>> years(2.0), years(0.01), years(math.inf)
    ('2 years', '4 days', 'never')
    """
    if not math.isfinite(value):
        return "never"
    if value < 0.25:
        return f"{math.ceil(value * 365)} days"
    return "1 year" if value == 1 else f"{value:.2g} years"


def rows_that_tell(case: Any, name: str, power: float = 0.8) -> int | None:
    """Rows that tell a saving of this size from none, at the likely attack rate; None: no number."""
    share = case.attack_rate.likely
    one, two = (case.costs[n] for n in (case.baseline, name))
    apart = (1 - share) * (one.clean - two.clean) + share * (one.attacked - two.attacked)
    sd, mean = float(apart.std(ddof=1)), case.saving(name) / case.plan.volume
    if sd <= 1e-12 * max(abs(apart).max(), 1e-300) or mean == 0:
        return None
    try:
        return rows_needed(mean, sd=sd, power=power, alpha=1 - case.confidence)
    except ValueError:
        return None


def statements_of(case: Any, name: str) -> list[str]:
    """The saving with its interval, the break-even rate, the payback, the proof, the verdict."""
    parts = [_saving(case, name), _break_even(case, name), _payback(case, name), _proof(case, name)]
    verdict = case.verdict(name)
    end = VERDICTS[verdict]
    if verdict == "open":
        rows = rows_that_tell(case, name)
        if rows is not None:
            if rows <= case.info["n_rows"]:
                end += "; it hangs on the attack rate: narrow its range"
            else:
                end += f"; {rows:,} rows tell a saving of this size at the likely rate"
    return [*filter(None, parts), f"{end}."]


def _saving(case: Any, name: str) -> str:
    saving, (low, high) = case.saving(name), case.saving_interval(name)
    word = "less" if saving >= 0 else "more"
    form = lambda value: money(value, case.currency)
    first, likely, last = case.attack_rate
    over = f" for {rate(first)} to {rate(last)}" if first < last else ""
    return (
        f"{name} costs {form(abs(saving))} a year {word} than {case.baseline} if {rate(likely)} of "
        f"the decisions are attacked ({case.confidence:.0%} interval of the saving{over}: "
        f"{money(low)} to {form(high)})."
    )


def _break_even(case: Any, name: str) -> str:
    found, (low, high) = case.break_even(name), case.break_even_interval(name)
    sure = f" ({case.confidence:.0%} interval {rate(low)} to {rate(high)})"
    where = {
        "above": "As measured, it is cheaper where more than {} of them are attacked{}.",
        "below": "As measured, it is cheaper where fewer than {} of them are attacked{}.",
        "always": "As measured, it is cheaper at every attack rate.",
        "never": "As measured, it is dearer at every attack rate.",
        "equal": "As measured, it costs as much at every attack rate.",
    }
    return where[found.cheaper].format(rate(found.rate), sure)


def _payback(case: Any, name: str) -> str:
    extra = case.extra_price(name)
    if extra <= 0:
        return ""
    price, time = money(extra, case.currency), case.payback(name)
    if not math.isfinite(time):
        return f"Its extra price of {price} is never earned back."
    if time > case.plan.horizon:
        return (
            f"Its extra price of {price} is not earned back within {years(case.plan.horizon)} (it "
            f"takes {years(time)})."
        )
    return (
        f"Its extra price of {price} is earned back after {years(time)}; each unit of it returns "
        f"{money(case.return_on_price(name))} more within {years(case.plan.horizon)}."
    )


def _proof(case: Any, name: str) -> str:
    least = case.saving_at_least(name)
    if not math.isfinite(least):
        return ""
    if abs(least - case.saving(name)) <= 1e-9 * abs(least):
        return "It is proven that no attack within the radius costs more."
    word = "less" if least >= 0 else "more"
    return (
        f"If attacks on it were as bad as its proof allows, it would cost "
        f"{money(abs(least), case.currency)} a year {word}."
    )
