"""An account of processor time: predictions pay in a share of what they cost, watching takes out."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

__all__ = ["CLOCK", "Budget", "Costs", "quickest"]

CLOCK = time.process_time
SIZES = (1, 10, 100, 1000, 10_000)
LONG = 0.3  # seconds; larger batches are not tried
SAFETY = 0.7  # of the share is paid in: clocks are noisy, and whatever runs makes caches cold
AROUND = 3e-6  # seconds of the calls around the clocks, and of the clocks
OFTEN = (
    16  # one in so many updates that are passed over is timed: a clock costs as much as the rest
)
MANY = 64  # updates that are passed over in one go, at most
RECENT = 0.2  # weight of the last cost in what the next is expected to be


@dataclass
class Costs:
    """Seconds that predicting so many rows takes: straight lines between measured batches."""

    sizes: list[int]
    seconds: list[float]

    @classmethod
    def measured(
        cls,
        predict: Callable[[Any], Any],
        rows: Callable[[int], Any],
        n: int,
        clock: Callable[[], float],
    ) -> Costs:
        """Of ``rows(k)``, k of ``n`` rows; the quickest of some calls counts."""
        found = cls([], [])
        for size in sorted({min(size, n) for size in SIZES}):
            found.sizes.append(size)
            part = rows(size)
            found.seconds.append(quickest(lambda part=part: predict(part), clock))
            if found.seconds[-1] > LONG and len(found.sizes) > 1:
                break
        return found

    def of(self, n: int) -> float:
        """
        >>> costs = Costs([1, 11], [1.0, 2.0])
        >>> costs.of(1), costs.of(6), costs.of(21), Costs([5], [1.0]).of(9)
        (1.0, 1.5, 3.0, 1.0)
        """
        if len(self.sizes) == 1 or n <= self.sizes[0]:
            return self.seconds[0]
        k = min(bisect_left(self.sizes, n), len(self.sizes) - 1)
        (low, high), (a, b) = self.sizes[k - 1 : k + 1], self.seconds[k - 1 : k + 1]
        return max(a + (b - a) * (n - low) / (high - low), a)


def quickest(work: Callable[[], Any], clock: Callable[[], float], times: int = 9) -> float:
    """Seconds of one call, the smallest of some: what disturbs a measurement only adds to it."""
    found = []
    for _ in range(times):
        began = clock()
        work()
        found.append(clock() - began)
        if sum(found) > LONG:
            break
    return min(found[1:] or found)  # the first one pays for what is made once


@dataclass
class Budget:
    """Whether an update is watched or passed over, so that watching costs a share of predicting.

    Decided before anything of the update is read, from its number of rows and what earlier ones
    have cost: a predictable choice, which leaves exchangeable rows exchangeable (Kallenberg 1988),
    and so the promise about false alarms as it is.

    Attributes
    ----------
    share : float
        Of the time of predictions.
    costs : Costs
        What predictions take.
    prices : list of two floats
        Seconds that an update is expected to take whose rows wait, and one that looks.
    balance : float
        Seconds in the account; no more than one look takes is ever saved.
    predicted, spent : float
        Seconds of all predictions, and of all watching, so far in this process.
    pace : float
        How much longer predictions take than they did in ``costs``.
    passing, n_passed : float, int
        Seconds that passing over an update takes, and how many were.
    """

    share: float
    costs: Costs
    prices: list[float]
    balance: float = 0.0
    predicted: float = 0.0
    spent: float = 0.0
    pace: float = 1.0
    passing: float = 0.0
    n_passed: int = 0
    _known: dict[int, float] = field(default_factory=dict, repr=False)
    _untimed: int = 0  # updates passed over since one was timed

    def opens(self, n: int, looks: bool) -> bool:
        """Take in the share of a prediction of ``n`` rows; whether that pays for watching them."""
        self.predicted += self.seconds(n)
        price, paid = self.prices[looks], self._paid_in(n)
        self.balance = min(self.balance + paid, max(self.prices[1], paid))
        return self.balance >= price

    def pay(self, seconds: float, looks: bool | None = None) -> None:
        """Take out what was spent; ``looks``: on an update that looked (or waits), None otherwise."""
        self.spent += seconds + AROUND
        self.balance -= seconds + AROUND
        if looks is not None:
            self.prices[looks] += RECENT * (seconds - self.prices[looks])

    def times_next(self) -> bool:
        """Whether the next update that is passed over is to be timed."""
        return self.n_passed < 2 or self._untimed >= OFTEN

    def pay_passed(self, seconds: float | None) -> None:
        """Take out what passing over took; None: what it took when it was timed."""
        self.n_passed += 1
        self._untimed = 0 if seconds is not None else self._untimed + 1
        if seconds is not None and self.n_passed > 1:  # the first one opens files
            first = self.n_passed == 2
            self.passing += (1.0 if first else RECENT) * (seconds - self.passing)
        self.pay(self.passing if seconds is None else seconds)

    def ahead(self, n: int, looks: bool) -> int:
        """How many more updates of ``n`` rows cannot be paid for, whatever they are; settled here.

        Asking an account costs a few microseconds, and that of a single row predicted in a hundred
        is one of them in ten.
        """
        missing = self.prices[looks] - self._paid_in(n) - self.balance
        gain = self._paid_in(n) - self.passing - AROUND
        if missing <= 0 or self.n_passed < 2:
            return 0
        k = MANY if gain * MANY <= missing else ceil(missing / gain)
        self.settle(n, k)
        return k

    def settle(self, n: int, k: int) -> None:
        """Book ``k`` updates of ``n`` rows that are passed over; negative: that did not come."""
        self.predicted += k * self.seconds(n)
        self.spent += k * (self.passing + AROUND)
        self.balance += k * (self._paid_in(n) - self.passing - AROUND)
        self.n_passed += k
        self._untimed += k

    def _paid_in(self, n: int) -> float:
        return SAFETY * self.share * self.seconds(n)

    def learn(self, n: int, seconds: float) -> None:
        """A prediction of ``n`` rows took so long: the next are expected to take a little more like it."""
        ratio = min(max(seconds / max(self.seconds(n), 1e-12), 0.5), 2.0)  # one may be an accident
        self.pace *= 1 + RECENT * (ratio - 1)

    def seconds(self, n: int) -> float:
        """What predicting ``n`` rows is expected to take."""
        if n not in self._known:
            if len(self._known) > 1000:
                self._known.clear()
            self._known[n] = self.costs.of(n)
        return self.pace * self._known[n]
