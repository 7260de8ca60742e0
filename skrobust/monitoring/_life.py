"""How a monitor begins, finds itself again in its store, and advances."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from skrobust._params import check_integer, check_number
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows
from skrobust.monitoring import _looking
from skrobust.monitoring._ledger import Ledger
from skrobust.monitoring._probe import Probe
from skrobust.monitoring._result import MonitorState
from skrobust.monitoring._setup import Setup, coded_labels
from skrobust.monitoring._store import Store
from skrobust.monitoring._windows import State
from skrobust.threats import check_threat

__all__ = ["Life", "names_of", "taken"]

WHY = "radius counts steps of the threat's scale."


class Life:
    """What :class:`RobustnessMonitor` does behind its methods."""

    def _checked(self) -> dict:
        """All options that make a life what it is."""
        if self.max_rows not in ("auto", None):
            check_integer("max_rows", self.max_rows, low=1, hint="Or 'auto', or None for all rows.")
        check_integer("keep_rows", self.keep_rows, low=1)
        if self.random_state is not None:
            check_integer("random_state", self.random_state, low=0)
        if self.store is not None and not isinstance(self.store, (str, Path)):
            raise invalid("store", self.store, "a path, or None", error=TypeError)
        return {
            "radius": check_number("radius", self.radius, low=0, hint=WHY),
            "threat": repr(check_threat(self.threat)),
            "false_alarm_rate": check_number(
                "false_alarm_rate", self.false_alarm_rate, low=0, high=1, open_low=True,
                open_high=True, hint="The probability of any false alarm, ever.",
            ),
            "window": check_integer("window", self.window, low=10),
            "min_effect": check_number("min_effect", self.min_effect, low=0, high=1),
            "max_rows": self.max_rows,
            "estimator": type(self.estimator).__name__,
        }  # fmt: skip

    def _opened(self) -> Store:
        if not hasattr(self, "_store") or self._store.path != (self.store and str(self.store)):
            self._store = Store(self.store)
        return self._store

    def _seeds(self, store: Store) -> list[tuple[int, Any]]:
        """Seeds to try, with the life (id, fingerprint) that had them; the last begins a new one."""
        lives = store.read("SELECT id, fingerprint, config FROM lives ORDER BY id DESC LIMIT 1")
        old = [(json.loads(config)["seed"], (number, mark)) for number, mark, config in lives]
        fresh = self.random_state
        if fresh is None:
            fresh = int(np.random.default_rng().integers(2**31))
        fits = [pair for pair in old if self.random_state in (None, pair[0])]
        return [*fits, (int(fresh), None)]

    def _ready(self, rows: Rows, threat: Any, known: Setup | None = None) -> None:
        self._like, self._bound = rows.given[:1], threat
        self.probe_ = Probe(self.estimator, threat, float(self.radius), rows, known)

    def __getstate__(self) -> dict:
        """Views of models are made anew; everything else travels, a store in memory included."""
        return {name: value for name, value in self.__dict__.items() if name != "probe_"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if "_like" in state:
            self._ready(Rows(self._like, self._setup.categories), self._bound, self._setup)

    def _begin(self, store: Store, setup: Setup, seed: int, mark: str, options: dict) -> None:
        config = json.dumps({"seed": seed, "options": options})
        values = (mark, config, setup.to_bytes(), json.dumps(_texts(setup)), State.fresh(setup))
        with store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO lives (fingerprint, config, setup, categories, state, version, began)"
                " VALUES (?, ?, ?, ?, ?, 0, ?)",
                (*values[:4], values[4].to_bytes(), time.time()),
            )
        self._take_up(store, cursor.lastrowid, setup, seed)

    def _take_up(self, store: Store, life: int, setup: Setup, seed: int) -> None:
        self._store, self.life_, self._setup, self.seed_ = store, life, setup, seed
        self.streams_ = [stream.name for stream in setup.streams]
        self.max_rows_ = None if self.max_rows == "auto" else self.max_rows

    def _check_is_fitted(self, X: Any = None) -> None:
        """Fitted here, or in the store by an earlier process."""
        if hasattr(self, "_setup") and (X is None or hasattr(self, "probe_")):
            return
        if not hasattr(self, "_setup") and self.store is not None:
            self._checked()
            store = self._opened()
            lives = store.read("SELECT id, setup, config FROM lives ORDER BY id DESC LIMIT 1")
            if lives:
                life, data, config = lives[0]
                self._take_up(store, life, Setup.from_bytes(data), json.loads(config)["seed"])
        if not hasattr(self, "_setup"):
            raise NotFittedError(
                "This RobustnessMonitor is not fitted, and its store holds no fitted one: call "
                "fit(X_reference) with held-out rows first."
            )
        if X is not None and not hasattr(self, "probe_"):
            self._meet(X)

    def _meet(self, X: Any) -> None:
        """A model for a monitor that was read from its store; X shows the kind of rows."""
        threat, setup = check_threat(self.threat), self._setup
        rows = Rows(X, setup.categories or threat.categories)
        if not threat.is_bound:
            threat = threat.bind(rows.wrap(setup.scaling))
        self._ready(rows, threat.holding(sorted(setup.categories)), setup)

    def _rows(self, X: Any, categories: dict) -> Rows:
        """X as numbers; an error if it has not the columns of the reference."""
        rows, names = Rows(X, categories or check_threat(self.threat).categories), self._setup.names
        found = list(map(str, getattr(rows.given, "columns", names)))
        if found != names or rows.values.shape[1:] != self._setup.row_shape:
            raise ValueError(
                f"X has rows of shape {rows.values.shape[1:]} with columns {found[:10]}; the "
                f"reference had {self._setup.row_shape} with {names[:10]}. Give the same columns in "
                "the same order."
            )
        other = set(rows.categories) - set(self._setup.categories)
        if other:
            raise ValueError(
                f"Columns {[names[k] for k in sorted(other)]} of X hold text; in the reference they "
                "were numbers."
            )
        return rows

    def _ledger(self, db: Any) -> Ledger:
        outputs = sum(s.group == "output" for s in self._setup.streams)
        return Ledger(db, self.life_, self._setup, outputs if self._setup.regression else 1)

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed_, *key])

    def _advance(
        self, ledger: Ledger, state: State, rows: Rows | None, least: int | None = None
    ) -> None:
        least, before = self.window if least is None else least, state.count["n_looks"]
        if ledger.n_waiting() >= least and hasattr(self, "probe_"):
            if rows is None:
                rows = Rows(self._like, self._setup.categories)
            _looking.take_rows(self, ledger, state, rows)
        _looking.take_labels(self, ledger, state, least)
        if state.count["n_looks"] > before:
            _looking.judge(self, ledger, state)

    def _labels(self, y: Any, pick: Any) -> tuple[np.ndarray | None, list | None]:
        """Labels of the rows that are looked at; None where none is known."""
        y = pick(y.to_numpy() if hasattr(y, "to_numpy") else y)
        labels, words = coded_labels(self._setup, y, len(y))
        return (None, None) if np.isnan(labels).all() else (labels, words)

    def _result(self, state: State, names: Sequence[str]) -> MonitorState:
        return MonitorState.of(self, state, names)


def names_of(X: Any, rows: Rows) -> list[str]:
    columns = getattr(rows.given, "columns", None)
    n = int(np.prod(rows.values.shape[1:]))
    return [f"x{k}" for k in range(n)] if columns is None else [str(name) for name in columns]


def taken(rows: Rows, index: np.ndarray) -> Any:
    given = rows.given
    return given.iloc[index] if hasattr(given, "iloc") else given[index]


def _texts(setup: Setup) -> dict[str, list]:
    return {str(k): list(values) for k, values in setup.categories.items()}
