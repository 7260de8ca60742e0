"""How a monitor keeps to its budget: it measures, pays, and passes over what is not paid for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from skrobust.inspection._rows import take_rows
from skrobust.metrics._rows import Rows, quiet_names
from skrobust.monitoring import _affordable
from skrobust.monitoring._budget import CLOCK, Budget, Costs
from skrobust.monitoring._passed import Passed
from skrobust.monitoring._result import MonitorState

__all__ = ["Paying"]


class Run:
    """Updates of ``n`` rows that are passed over whatever they are; each is counted as it comes."""

    __slots__ = ("left", "n", "passed")

    def __init__(self, n: int, left: int, passed: Passed):
        self.n, self.left, self.passed = n, left, passed

    def takes(self, n: int, life: int) -> bool:
        passed = self.passed
        if n != self.n or self.left <= 0 or life != passed.life or not passed.is_mine:
            return False
        self.left -= 1
        passed.add(n)
        return True


class Paying:
    """The part of :class:`RobustnessMonitor` that ``max_overhead`` asks for."""

    _clock = staticmethod(CLOCK)
    _budget: Budget | None = None
    _passed: Passed | None = None
    _run: Run | None = None

    def _open_budget(self, rows: Rows) -> None:
        """Measure what predictions and updates take; the store keeps it for those who only update."""
        self._budget = self._run = None
        if self.max_overhead is None:
            return
        with quiet_names():
            costs = Costs.measured(
                self.estimator.predict, lambda n: take_rows(rows.given, np.arange(n)), len(rows),
                self._clock,
            )  # fmt: skip
        prices = _affordable.prices_of(self, rows)
        self._budget = Budget(float(self.max_overhead), costs, prices)
        config = json.loads(self._stored_config())
        config["costs"] = [costs.sizes, costs.seconds, prices]
        with self._store.transaction() as db:
            db.execute("UPDATE lives SET config = ? WHERE id = ?", (json.dumps(config), self.life_))

    def _reopen_budget(self, rows: Rows) -> None:
        """Of a monitor that was read from its store; measured anew if nobody has measured there."""
        known = json.loads(self._stored_config()).get("costs")
        if self.max_overhead is None or known is None:
            self._open_budget(rows)
        else:
            sizes, seconds, prices = known
            self._budget = Budget(float(self.max_overhead), Costs(sizes, seconds), prices)

    def _stored_config(self) -> str:
        return self._store.read("SELECT config FROM lives WHERE id = ?", self.life_)[0][0]

    def _within_budget(self, n: int, work: Callable[[], MonitorState], ids: Any) -> MonitorState:
        """``work()``, an update with ``n`` rows, if the account has enough for it."""
        budget, clock = self._budget, self._clock
        if not self._pays_for(n):
            timed = budget.times_next()
            began = clock() if timed else 0.0
            state = self._pass_over(n, ids)
            budget.pay_passed(clock() - began if timed else None)
            return state
        began, before = clock(), self._n_looks
        state = work()
        budget.pay(clock() - began, self._n_looks != before)
        return state

    def _pays_for(self, n: int) -> bool:
        self._end_run()
        return self._budget.opens(n, self._would_look(n))

    def _would_look(self, n: int) -> bool:
        state = self._memory.state
        looked = n if self.max_rows_ is None else min(n, self.max_rows_)
        waiting = 0 if state is None else state.count["n_waiting"]
        return waiting + looked >= self.window

    def _end_run(self) -> None:
        """Give back what was settled for updates that have not come."""
        run, self._run = self._run, None
        if run is not None and run.left > 0:
            self._budget.settle(run.n, -run.left)

    def _run_ahead(self, n: int) -> None:
        """What follows of the same size and is not paid for either needs no account."""
        left = self._budget.ahead(n, self._would_look(n))
        if left and self._passed is not None:
            self._run = Run(n, left, self._passed)

    @property
    def _n_looks(self) -> int:
        state = self._memory.state
        return 0 if state is None else state.count["n_looks"]

    def _pass_over(self, n: int, ids: Any) -> MonitorState:
        """Where the monitor stands after rows that nobody looks at."""
        passed, last = self._count_passed(n), self._memory.last
        if last is None:
            last = self._memory.last = self.state()
        return last.later(passed.n_rows - last._n_passed_here, ids)

    def _count_passed(self, n: int) -> Passed:
        """Count rows that nobody looks at, in a few microseconds, and yet for good."""
        passed = self._passed
        if passed is None or passed.life != self.life_ or not passed.is_mine:
            passed = self._begin_passing()
        passed.add(n)
        return passed

    def _begin_passing(self) -> Passed:
        """A cell of this process for the life that is on."""
        with self._store._lock:
            passed = self._passed
            if passed is not None and passed.is_mine:
                if passed.life == self.life_:  # another thread was quicker
                    return passed
                if passed.n_new:
                    self.state()
            self._passed, self._memory.last = Passed(self._store, self.life_), None
            return self._passed
