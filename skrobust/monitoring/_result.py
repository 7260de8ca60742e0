"""What an update returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from skrobust.monitoring._reasons import CAUSES, Reason
from skrobust.monitoring._windows import State

__all__ = ["MonitorState", "merged", "reasons_of"]

QUIET = "Nothing to do: wait."


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
        What to do next.
    ids : list of str
        Names of the rows of this update, to give labels by.
    n_rows, n_watched, n_labelled : int
        Rows given, rows looked at, labels known, in this life of the monitor.
    """

    alarm: bool
    reasons: list[Reason]
    n_rows: int
    n_watched: int
    n_labelled: int
    _monitor: Any = field(repr=False, compare=False)
    _names: Any = field(repr=False, compare=False, default=())

    @classmethod
    def of(cls, monitor: Any, state: State, ids: Any) -> MonitorState:
        reasons = merged(reasons_of(monitor)) if state.alarmed.any() else []
        count = state.count
        return cls(
            bool(reasons), reasons, count["n_given"], count["n_watched"], count["n_judged"], monitor,
            ids,
        )  # fmt: skip

    @property
    def ids(self) -> list[str]:
        """Names of the rows of this update."""
        return [str(name) for name in self._names]

    @property
    def advice(self) -> str:
        return " ".join(dict.fromkeys(reason.advice for reason in self.reasons)) or QUIET

    def frame(self, kind: str = "history") -> Any:
        """As ``monitor.frame(kind)``: the store as it is now."""
        return self._monitor.frame(kind)


def reasons_of(monitor: Any) -> list[Reason]:
    """All alarms of this life, oldest first, one per stream."""
    query = "SELECT reason FROM alarms WHERE life = ? ORDER BY rowid"
    return [Reason.from_json(text) for (text,) in monitor._store.read(query, monitor.life_)]


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
        "advice": state.advice,
        "n_rows": state.n_rows,
        "n_watched": state.n_watched,
        "n_labelled": state.n_labelled,
    }


__all__ += ["to_dict"]
