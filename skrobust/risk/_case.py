"""A business case: savings, intervals, break-even, payback, as arithmetic on resampled means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skrobust._compat import import_extra
from skrobust._params import check_name, check_number
from skrobust.exceptions import invalid
from skrobust.risk._case_tables import TABLES
from skrobust.risk._case_words import rows_that_tell, statements_of, verdict_of
from skrobust.risk._money import BreakEven, Plan, Range, break_even, payback
from skrobust.risk._rows import RowCosts

__all__ = ["BusinessCase", "page_by"]

_pages: list[Callable[..., str]] = []


def page_by(function: Callable[..., str]) -> Callable[..., str]:
    """Register what makes HTML of a case: ``(case, whole_document) -> str``."""
    _pages[:] = [function]
    return function


@dataclass(eq=False)
class BusinessCase:
    """What :func:`skrobust.business_case` found.

    Attributes
    ----------
    names : list of str
        The candidates.
    baseline : str
        The one that the others are compared with.
    attack_rate, volume, horizon : Range
        As asked for: ``(low, likely, high)``.
    plan : Plan
        The likely assumptions, with the prices of each candidate as arrays.
    costs : dict of str to RowCosts
        What each row costs, at the likely radius.
    means : ndarray of shape (n_candidates, 2)
        Mean cost of a decision, not attacked and attacked.
    draws : ndarray of shape (n_bootstrap, n_candidates, 2)
        The same of each resample of the rows, the same rows for all candidates.
    certified : ndarray of shape (n_candidates,)
        Mean cost of an attacked decision that no attack exceeds; NaN where nothing is proven.
    confidence : float
    currency : str
    info : dict
        Radius, threat, prices as ranges, number of rows and what else was assumed.
    """

    names: list[str]
    baseline: str
    attack_rate: Range
    volume: Range
    horizon: Range
    plan: Plan
    costs: dict[str, RowCosts]
    means: np.ndarray
    draws: np.ndarray
    certified: np.ndarray
    confidence: float
    currency: str
    info: dict[str, Any]

    def number(self, name: str | None = None) -> int:
        """Place of a candidate; of the baseline for None."""
        if name is not None:
            check_name("name", name, self.names)
        return self.names.index(self.baseline if name is None else name)

    @property
    def others(self) -> list[str]:
        """The candidates that are not the baseline."""
        return [name for name in self.names if name != self.baseline]

    def yearly_cost(self, attack_rate: float | None = None) -> np.ndarray:
        """Of each candidate, training spread over the horizon, (n_candidates,)."""
        return self.plan.yearly(mix(self.means, self._rate(attack_rate)))

    def interval(self, attack_rate: float | None = None) -> np.ndarray:
        """Bootstrap interval of :meth:`yearly_cost`, (n_candidates, 2)."""
        yearly = self.plan.yearly(mix(self.draws, self._rate(attack_rate)))
        return np.quantile(yearly, self.tails, axis=0).T

    def saving(self, name: str, attack_rate: float | None = None) -> float:
        """What a candidate costs less than the baseline, each year."""
        yearly = self.yearly_cost(attack_rate)
        return float(yearly[self.number()] - yearly[self.number(name)])

    def saving_draws(self, name: str, attack_rate: float) -> np.ndarray:
        """The same of each resample of the rows."""
        yearly = self.plan.yearly(mix(self.draws, attack_rate))
        return yearly[:, self.number()] - yearly[:, self.number(name)]

    def saving_interval(self, name: str) -> tuple[float, float]:
        """Interval of the saving over all attack rates of the range, and over the choice of rows."""
        ends = [
            self.saving_draws(name, rate) for rate in (self.attack_rate[0], self.attack_rate[2])
        ]
        low, high = np.minimum(*ends), np.maximum(*ends)  # a line is lowest at one of its ends
        return float(np.quantile(low, self.tails[0])), float(np.quantile(high, self.tails[1]))

    def saving_at_least(self, name: str) -> float:
        """The saving if attacks on the candidate are as bad as proofs allow, at the likely rate.

        The baseline is taken at what an attack reached. NaN where nothing is proven.
        """
        worst = self.means.copy()
        worst[self.number(name), 1] = self.certified[self.number(name)]
        yearly = self.plan.yearly(mix(worst, self.attack_rate.likely))
        return float(yearly[self.number()] - yearly[self.number(name)])

    def chance(self, name: str) -> float:
        """In which share of the resamples and attack rates (all alike) the candidate is cheaper."""
        low, _, high = self.attack_rate
        at_low, at_high = (self.saving_draws(name, rate) for rate in (low, high))
        apart = np.abs(at_low) + np.abs(at_high)
        above = np.maximum(at_low, 0) + np.maximum(at_high, 0)
        share = np.where(apart > 0, above / np.where(apart > 0, apart, 1), 0.0)
        return float(share.mean())

    def break_even(self, name: str) -> BreakEven:
        """The attack rate at which a candidate costs as much as the baseline."""
        return break_even(self.saving(name, 0.0), self.saving(name, 1.0))

    def break_even_interval(self, name: str) -> tuple[float, float]:
        """Bootstrap interval of the break-even rate, cut to 0 and 1; NaN where there is none."""
        found = self.break_even(name)
        if not np.isfinite(found.rate):
            return np.nan, np.nan
        at_0, at_1 = (self.saving_draws(name, rate) for rate in (0.0, 1.0))
        sign = 1 if found.cheaper == "above" else -1
        slope = sign * (at_1 - at_0)
        root = np.where(slope > 0, -sign * at_0 / np.where(slope > 0, slope, 1.0), np.inf)
        always = sign * np.minimum(sign * at_0, sign * at_1) > 0
        root = np.where(slope > 0, root, np.where(always, 0.0, 1.0))
        low, high = np.quantile(np.clip(root, 0, 1), self.tails)
        return float(low), float(high)

    def payback(self, name: str) -> float:
        """Years until the extra price of training is earned back; infinity for never."""
        extra = self.extra_price(name)
        return payback(extra, self.saving(name) + extra / self.plan.years)

    def extra_price(self, name: str) -> float:
        """What training the candidate costs more than training the baseline."""
        return float(self.plan.training[self.number(name)] - self.plan.training[self.number()])

    def gain(self, name: str) -> float:
        """Value today of what a candidate saves over the whole horizon, its price paid."""
        return self.saving(name) * self.plan.years

    def return_on_price(self, name: str) -> float:
        """:meth:`gain` for each unit of the extra price; NaN where there is no extra price."""
        extra = self.extra_price(name)
        return self.gain(name) / extra if extra > 0 else np.nan

    def verdict(self, name: str) -> str:
        """``"go"``, ``"no"`` or ``"open"``: where the interval of the saving lies."""
        return verdict_of(*self.saving_interval(name))

    def rows_needed(self, name: str, power: float = 0.8) -> int | None:
        """Rows that tell a saving as large as the one seen from none, at the likely attack rate.

        None where no saving was seen, or the candidates never differ.
        """
        return rows_that_tell(self, name, power)

    def sentence(self, name: str) -> str:
        """What a decision maker reads."""
        return " ".join(self.statements(name))

    def statements(self, name: str) -> list[str]:
        """The same, one statement at a time: saving, break-even, payback, proof, verdict."""
        check_name("name", name, self.others)
        return statements_of(self, name)

    def frame(self, kind: str = "summary") -> Any:
        """The numbers as a pandas DataFrame.

        Parameters
        ----------
        kind : {"summary", "sensitivity", "curve"}
            ``"summary"``: one row per candidate. ``"sensitivity"``: the saving of each candidate as one
            assumption at a time goes to its low and its high end, the most important first.
            ``"curve"``: yearly cost by attack rate.
        """
        check_name("kind", kind, TABLES)
        return import_extra("pandas", "frames").DataFrame(TABLES[kind](self))

    def save(self, path: str | Path) -> Path:
        """Write the case as one HTML file that needs nothing else.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html``.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise invalid("path", str(path), "the name of an .html file")
        path.write_text(_pages[0](self, True), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return _pages[0](self, False)

    def __str__(self) -> str:
        return "\n".join(self.sentence(name) for name in self.others)

    __repr__ = __str__

    @property
    def tails(self) -> tuple[float, float]:
        """The two quantiles of an interval."""
        return (1 - self.confidence) / 2, (1 + self.confidence) / 2

    def _rate(self, attack_rate: float | None) -> float:
        if attack_rate is None:
            return self.attack_rate.likely
        return check_number("attack_rate", attack_rate, low=0, high=1)


def mix(means: np.ndarray, rate: float) -> np.ndarray:
    """Cost of a decision (...), from (..., 2): not attacked and attacked."""
    return (1 - rate) * means[..., 0] + rate * means[..., 1]
