"""The tables of a business case: its summary, its curves, and what each assumption does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from skrobust.risk._money import Range

__all__ = ["TABLES", "curve", "sensitivity", "summary"]

N_RATES = 101


def summary(case: Any) -> list[dict[str, Any]]:
    """One record per candidate."""
    low, likely, high = case.attack_rate
    yearly, at_low, at_high = case.yearly_cost(), case.interval(low), case.interval(high)
    proven = case.means.copy()
    proven[:, 1] = case.certified
    at_most = case.plan.yearly((1 - likely) * proven[:, 0] + likely * proven[:, 1])
    found = []
    for k, name in enumerate(case.names):
        record = {
            "candidate": name,
            "clean": case.means[k, 0],
            "attacked": case.means[k, 1],
            "certified": case.certified[k],
            "yearly_cost": yearly[k],
            "low": at_low[k, 0],
            "high": at_high[k, 1],
            "at_most": at_most[k],
        }
        found.append(record | _against_baseline(case, name))
    return found


def _against_baseline(case: Any, name: str) -> dict[str, Any]:
    if name == case.baseline:
        return {"verdict": "baseline"}
    low, high = case.saving_interval(name)
    even, (even_low, even_high) = case.break_even(name), case.break_even_interval(name)
    return {
        "saving": case.saving(name),
        "saving_low": low,
        "saving_high": high,
        "saving_at_least": case.saving_at_least(name),
        "chance": case.chance(name),
        "break_even": even.rate,
        "break_even_low": even_low,
        "break_even_high": even_high,
        "cheaper": even.cheaper,
        "payback": case.payback(name),
        "gain": case.gain(name),
        "return": case.return_on_price(name),
        "verdict": case.verdict(name),
    }


def curve(case: Any, last: float | None = None) -> list[dict[str, Any]]:
    """Yearly cost of each candidate by attack rate, from 0 to well beyond what was asked for."""
    if last is None:
        breaks = [case.break_even(name).rate for name in case.others]
        seen = [
            2 * case.attack_rate.high,
            *(1.5 * r for r in breaks if r <= 4 * case.attack_rate.high),
        ]
        last = min(1.0, max(seen)) or 1.0
    found = []
    for rate in np.linspace(0, last, N_RATES):
        yearly, interval = case.yearly_cost(float(rate)), case.interval(float(rate))
        found += [
            {
                "candidate": name,
                "attack_rate": float(rate),
                "yearly_cost": yearly[k],
                "low": interval[k, 0],
                "high": interval[k, 1],
            }
            for k, name in enumerate(case.names)
        ]
    return found


def sensitivity(case: Any) -> list[dict[str, Any]]:
    """The saving of each candidate with one assumption at its ends, the most important first."""
    found = []
    for name in case.others:
        records = [
            {"candidate": name, "assumption": what, "low": low, "high": high}
            | {"saving_low": at_low, "saving_high": at_high}
            for what, low, high, at_low, at_high in _one_at_a_time(case, name)
        ]
        found += sorted(records, key=lambda r: -abs(r["saving_high"] - r["saving_low"]))
    return found


Bar = tuple[str, float, float, float, float]


def _one_at_a_time(case: Any, name: str) -> Iterator[Bar]:
    """(assumption, low, high, saving at low, saving at high)."""
    share = case.info["uncertainty"]
    rate = case.attack_rate.likely
    place, base = case.number(name), case.number()

    def saving(means=case.means, rate=rate, **changes: Any) -> float:
        yearly = case.plan.with_(**changes).yearly((1 - rate) * means[:, 0] + rate * means[:, 1])
        return float(yearly[base] - yearly[place])

    def bar(what: str, ends: Range, at: Callable[[float], float]) -> Bar:
        return what, ends.low, ends.high, at(ends.low), at(ends.high)

    rates = case.attack_rate.widened(share)
    yield bar("attack rate", rates._replace(high=min(rates.high, 1.0)), lambda v: saving(rate=v))
    yield bar("decisions a year", case.volume.widened(share), lambda v: saving(volume=v))
    years = case.horizon.widened(share)
    if case.extra_price(name):
        yield bar("years of use", years, lambda v: saving(horizon=v))
    for what, field in (("training_price", "training"), ("running_price", "running")):
        yield from _price_bars(case, name, what, field, saving)
    for label, part in case.info["by_class"].items():
        scale = Range(1 - share, 1.0, 1 + share)
        scaled = lambda v, part=part: saving(means=case.means + (v - 1) * part)
        yield bar(f"price of mistakes about {label}", scale, scaled)
    if not case.info["by_class"]:
        scale = Range(1 - share, 1.0, 1 + share)
        yield bar("price of mistakes", scale, lambda v: saving(means=v * case.means))
    ends = case.info["at_radii"]
    if ends:
        radius = case.info["radius"]
        yield "radius", radius.low, radius.high, saving(ends["low"]), saving(ends["high"])
    drawn = np.quantile(case.saving_draws(name, rate), case.tails)
    yield "choice of the rows", *case.tails, *map(float, drawn)
    least = case.saving_at_least(name)
    if np.isfinite(least) and least != case.saving(name):
        yield "attacks as bad as the proof allows", 0.0, 1.0, case.saving(name), least


def _price_bars(case: Any, name: str, what: str, field: str, saving: Callable) -> Iterator[Bar]:
    """Prices of the candidate and of the baseline, where there are any."""
    for who in (name, case.baseline):
        ends = case.info[what][who].widened(case.info["uncertainty"])
        if ends.low == ends.high:
            continue
        at = []
        for price in (ends.low, ends.high):
            prices = getattr(case.plan, field).copy()
            prices[case.number(who)] = price
            at.append(saving(**{field: prices}))
        yield f"{what.replace('_', ' ')} of {who}", ends.low, ends.high, *at


TABLES: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "summary": summary,
    "sensitivity": sensitivity,
    "curve": curve,
}
