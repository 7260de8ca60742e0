"""What an update returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skrobust.monitoring._looking import gate_of
from skrobust.monitoring._reasons import CAUSES, Reason
from skrobust.monitoring._windows import State

__all__ = ["MonitorState", "growing", "merged"]

QUIET = "Nothing to do: wait."
SIGN = 0.5  # share of the evidence for an alarm from which a stream is named


@dataclass(frozen=True)
class MonitorState:
    """Where a monitor stands after an update.

    Attributes
    ----------
    alarm : bool
        Whether there was an alarm since ``fit`` (or ``reset``).
    reasons : list of Reason
        One per cause, oldest first: sentences with ``cause``, ``features``, ``effect``, ``since``,
        ``action`` and ``advice``.
    advice : str
        What to do next; without an alarm: to wait, and for what.
    ids : list of str
        Names of the rows of this update, to give labels by.
    signs : list of Reason
        What may become an alarm: streams with half the evidence that one takes, or with enough of it and
        a change not surely larger than ``min_effect``. Sentences with ``features``, ``evidence`` (the
        share, 1 is enough) and ``action`` ("wait").
    n_rows, n_watched, n_labelled : int
        Rows given, rows looked at, labels known, in this life of the monitor.
    n_passed : int
        Of the rows given those of updates that were passed over, to keep to ``max_overhead``.
    """

    alarm: bool
    reasons: list[Reason]
    n_rows: int
    n_watched: int
    n_labelled: int
    _monitor: Any = field(repr=False, compare=False)
    _names: Any = field(repr=False, compare=False, default=())
    signs: list[Reason] = field(default_factory=list)
    n_passed: int = 0
    _n_passed_here: int = field(repr=False, compare=False, default=0)

    @classmethod
    def of(
        cls, monitor: Any, ledger: Any, state: State, ids: Any, n_passed_here: int = 0
    ) -> MonitorState:
        """``n_passed_here``: rows that this process has passed over, all of them counted in ``state``."""
        memory, count = ledger.memory, state.count
        if memory.told is None:  # it changes at looks only
            reasons = merged(ledger.reasons()) if state.alarmed.any() else []
            memory.told = reasons, growing(monitor, state)
        reasons, signs = map(list, memory.told)
        return cls(
            bool(reasons), reasons, count["n_given"], count["n_watched"], count["n_judged"], monitor,
            ids, signs, count["n_passed"], n_passed_here,
        )  # fmt: skip

    def later(self, n: int, ids: Any) -> MonitorState:
        """The same after ``n`` rows more were passed over; made without ado, for it must be quick."""
        state = object.__new__(MonitorState)
        state.__dict__.update(
            self.__dict__, n_rows=self.n_rows + n, n_passed=self.n_passed + n, _names=ids or (),
            reasons=list(self.reasons), signs=list(self.signs),
        )  # fmt: skip
        return state

    @property
    def ids(self) -> list[str]:
        """Names of the rows of this update; none if it was passed over and had no names of yours."""
        return [str(name) for name in self._names]

    @property
    def advice(self) -> str:
        told = self.reasons or self.signs
        return " ".join(dict.fromkeys(reason.advice for reason in told)) or QUIET

    def frame(self, kind: str = "history") -> Any:
        """As ``monitor.frame(kind)``: the store as it is now."""
        return self._monitor.frame(kind)


def growing(monitor: Any, state: State) -> list[Reason]:
    """Streams with no alarm (yet) and much evidence, the one with the most first."""
    setup = monitor._setup
    need = -np.log(monitor.false_alarm_rate) - setup.log_weights
    if (state.value < SIGN * need).all() and (state.peak < need).all():
        return []
    share = np.where(state.alarmed, 0.0, state.value / need)
    enough = (state.peak >= need) & ~state.alarmed
    found = np.flatnonzero(enough | (share >= SIGN))
    return [
        _sign(setup, int(k), float(share[k]), bool(enough[k]), monitor.min_effect)
        for k in found[np.argsort(-share[found])]
    ]


def _sign(setup: Any, k: int, share: float, enough: bool, min_effect: float) -> Reason:
    name = setup.streams[k].name
    if enough:
        text = (
            f"{name!r} has changed, but not surely by more than "
            f"{gate_of(setup, k, min_effect):.3g} (min_effect)"
        )
    else:
        text = f"evidence grows in {name!r}: {share:.0%} of what an alarm takes"
    advice = f"Wait: {text}. No alarm until then."
    return Reason(
        text, cause="growing evidence", features=(name,), effect=float("nan"), since=0,
        action="wait", advice=advice, evidence=share,
    )  # fmt: skip


def merged(reasons: list[Reason]) -> list[Reason]:
    """One reason per cause, with all its columns; what explains the others comes first."""
    groups: dict[str, list[Reason]] = {}
    for reason in reasons:
        groups.setdefault(reason.cause, []).append(reason)
    if {"sensor failure", "covariate shift"} & set(groups):
        groups.pop("prediction shift", None)  # the columns explain it
    found = []
    for cause in sorted(groups, key=list(CAUSES).index):
        parts = groups[cause]
        parts.sort(key=lambda reason: -reason.effect)
        says = [str(part).removeprefix(f"{cause} in ") for part in parts[:4]]
        more = f"; and {len(parts) - 4} more" if len(parts) > 4 else ""
        last = max(parts, key=lambda part: len(part.advice))
        found.append(
            Reason(
                f"{cause} in {'; '.join(says)}{more}",
                cause=cause,
                features=[name for part in parts for name in part.features],
                effect=parts[0].effect,
                since=min(part.since for part in parts),
                action=last.action,
                advice=last.advice,
            )
        )
    return found


def to_dict(state: MonitorState) -> dict:
    """Plain values, for JSON."""
    return {
        "alarm": state.alarm,
        "reasons": [json.loads(reason.to_json()) for reason in state.reasons],
        "signs": [json.loads(sign.to_json()) for sign in state.signs],
        "advice": state.advice,
        "n_rows": state.n_rows,
        "n_watched": state.n_watched,
        "n_passed": state.n_passed,
        "n_labelled": state.n_labelled,
    }


__all__ += ["to_dict"]
