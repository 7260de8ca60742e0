"""Predictions that are watched on the way: the model is asked once."""

from __future__ import annotations

from typing import Any

import numpy as np

from skrobust.inspection._rows import take_rows
from skrobust.monitoring._ledger import Nearby
from skrobust.monitoring._looking import close_rows

__all__ = ["predict"]


def predict(monitor: Any, X: Any) -> np.ndarray:
    """The model's answers; the rows are watched if the budget has enough for it."""
    n, budget, clock = len(X), monitor._budget, monitor._clock
    if budget is not None and not monitor._pays_for(n):
        return _passed_over(monitor, X, n)
    began, before = clock(), monitor._n_looks
    middle = clock()
    outputs, nearby = _asked_once(monitor, X)
    asked = clock() - middle
    monitor._watched(X, None, None, outputs, nearby)
    answers = _as_labels(monitor, X, outputs)
    if budget is not None:
        more = 0 if nearby is None else len(nearby.scores)
        own = asked * budget.seconds(n) / max(budget.seconds(n + more), 1e-12)  # the rest is ours
        budget.learn(n, own)
        budget.pay(clock() - began - own, monitor._n_looks != before)
    return answers


def _passed_over(monitor: Any, X: Any, n: int) -> np.ndarray:
    budget, clock = monitor._budget, monitor._clock
    if not budget.times_next():
        monitor._count_passed(n)
        budget.pay_passed(None)
        monitor._run_ahead(n)
        return monitor.estimator.predict(X)
    began = clock()
    monitor._count_passed(n)
    middle = clock()
    answers = monitor.estimator.predict(X)
    budget.learn(n, clock() - middle)
    budget.pay_passed(middle - began)
    monitor._run_ahead(n)
    return answers


def _as_labels(monitor: Any, X: Any, outputs: np.ndarray) -> np.ndarray:
    answers = monitor.probe_.answers(X, outputs).answer
    if monitor.probe_.regression:
        return answers[:, 0] if answers.shape[1] == 1 else answers
    known = getattr(monitor.estimator, "classes_", None)
    return np.asarray(monitor.probe_.classes if known is None else known)[answers]


def _asked_once(monitor: Any, X: Any) -> tuple[np.ndarray, Nearby | None]:
    """The answers, and the scores near the rows that will be looked at closely, in one call.

    Which rows these are follows from the numbers of updates and looks; if another process has looked in
    the meantime, or left rows that wait, the scores are dropped, and asked for again.
    """
    probe, state = monitor.probe_, monitor._memory.state
    if state is None or state.count["n_waiting"] or monitor._setup.categories:
        return probe.ask(X), None
    look, chosen = state.count["n_looks"], monitor._drawn(len(X), state.count["n_updates"])
    n = len(X) if chosen is None else len(chosen)
    if probe.has_slope or probe.regression or n < monitor.window:
        return probe.ask(X), None
    seed, close = close_rows(monitor, n, look)
    index = np.arange(n) if chosen is None else chosen
    rows, values = monitor._rows(take_rows(X, index if close is None else index[close]), {})
    places = probe.places(values.astype(rows.values.dtype, copy=False), seed)
    both = None if places is None else _joined(X, rows.wrap(places))
    if both is None:
        return probe.ask(X), None
    outputs = probe.ask(both)
    scores = probe.answers(places, outputs[len(X) :]).score
    return outputs[: len(X)], Nearby(look, scores)


def _joined(X: Any, other: Any) -> Any:
    """One batch of both; None where that would change the types of X."""
    if isinstance(X, np.ndarray) and isinstance(other, np.ndarray) and X.dtype == other.dtype:
        return np.concatenate([X, other])
    if type(X).__module__.startswith("pandas") and list(X.dtypes) == list(other.dtypes):
        import pandas

        return pandas.concat([X, other], ignore_index=True)
    return None
