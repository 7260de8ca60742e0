"""How a monitor begins, finds itself again in its store, and advances."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from skrobust._params import check_integer, check_number
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows
from skrobust.monitoring import _looking
from skrobust.monitoring._ledger import Batch, Ledger, Memory
from skrobust.monitoring._passed import fold_all
from skrobust.monitoring._paying import Paying
from skrobust.monitoring._probe import Probe
from skrobust.monitoring._result import MonitorState
from skrobust.monitoring._setup import Setup, coded_labels
from skrobust.monitoring._store import Store
from skrobust.monitoring._windows import State
from skrobust.threats import check_threat

__all__ = ["Life", "names_of", "taken"]

CLOSE = 5  # one in so many of max_rows has its margin computed
_PLAIN = (np.dtype(np.float32), np.dtype(np.float64))
WHY = "radius counts steps of the threat's scale."


class Life(Paying):
    """What :class:`RobustnessMonitor` does behind its methods."""

    def _checked(self) -> dict:
        """All options that make a life what it is."""
        if self.max_rows not in ("auto", None):
            check_integer("max_rows", self.max_rows, low=1, hint="Or 'auto', or None for all rows.")
        check_integer("keep_rows", self.keep_rows, low=1)
        if self.max_overhead is not None:
            check_number(
                "max_overhead", self.max_overhead, low=0, open_low=True, hint="0.1: a tenth of the "
                "time of predictions. None: no limit.",
            )  # fmt: skip
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
        if self._passed is not None and self._passed.n_new:
            self.state()  # the store counts it; the cell stays with this process
        made_anew = ("probe_", "_memory", "_plain", "_passed", "_run")
        return {name: value for name, value in self.__dict__.items() if name not in made_anew}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._memory = Memory()
        if "_like" in state:
            self._ready(Rows(self._like, self._setup.categories), self._bound, self._setup)

    def _begin(self, store: Store, setup: Setup, mark: str, config: dict) -> None:
        words = json.dumps({str(k): list(values) for k, values in setup.categories.items()})
        with store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO lives (fingerprint, config, began, setup) VALUES (?, ?, ?, ?)",
                (mark, json.dumps(config), time.time(), setup.to_bytes()),
            )
            life = cursor.lastrowid
            db.execute("INSERT INTO counts VALUES (?, 0, 0, 0, 0, 0, ?)", (life, words))
            state = State.fresh(setup).to_bytes()
            db.execute("INSERT INTO states VALUES (?, ?)", (life, state))
        self._take_up(store, life, setup, config["seed"], mark)

    def _take_up(self, store: Store, life: int, setup: Setup, seed: int, mark: str) -> None:
        self._store, self.life_, self._setup, self.seed_ = store, life, setup, seed
        self._mark, self._memory = mark, Memory()
        self.streams_ = [stream.name for stream in setup.streams]
        self.max_rows_ = None if self.max_rows == "auto" else self.max_rows

    @property
    def _max_close(self) -> int | None:
        """Rows of one update whose margins are computed; None: all that are looked at."""
        if self.max_rows_ is None or self.probe_.is_small:
            return None
        if not self.probe_.has_slope:
            return self.window  # several answers each
        return max(self.window, self.max_rows_ // CLOSE)

    def _newest(self, read: Callable) -> int:
        """The life that is on: another process may have begun it, by ``reset``."""
        return read("SELECT MAX(id) FROM lives WHERE fingerprint = ?", self._mark)[0][0]

    @contextmanager
    def _session(self, everyone: bool = False) -> Iterator[tuple[Ledger, State, dict]]:
        """A transaction on the life that is on: after another process's ``reset`` the new one.

        What this process has passed over is counted first; what ``everyone`` has, if that is asked for.
        """
        try:
            with self._store.transaction() as db:
                self.life_ = self._newest(lambda *query: db.execute(query[0], query[1:]).fetchall())
                passed = self._passed if self._passed and self._passed.is_mine else None
                if passed is not None:
                    passed.fold(db)
                if everyone:
                    fold_all(db, self._store.path, self.life_)
                ledger = self._ledger(db)
                yield ledger, *ledger.load()
            if passed is not None:
                passed.n_known = passed.n_told
        except BaseException:
            self._memory.forget()  # it may hold what was not written
            raise

    def _check_is_fitted(self, X: Any = None) -> None:
        """Fitted here, or in the store by an earlier process."""
        if hasattr(self, "_setup") and (X is None or hasattr(self, "probe_")):
            if X is None:
                self.life_ = self._newest(self._store.read)
            return
        if not hasattr(self, "_setup") and self.store is not None:
            self._checked()
            store = self._opened()
            query = "SELECT id, setup, config, fingerprint FROM lives ORDER BY id DESC LIMIT 1"
            lives = store.read(query)
            if lives:
                life, data, config, mark = lives[0]
                seed = json.loads(config)["seed"]
                self._take_up(store, life, Setup.from_bytes(data), seed, mark)
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
        self._reopen_budget(rows)

    def _drawn(self, n: int, update: int) -> np.ndarray | None:
        """Which rows of an update are looked at; None: all."""
        if self.max_rows_ is None or n <= self.max_rows_:
            return None
        return _looking.draw(n, self.max_rows_, self._random(2, update))

    def _plain_rows(self) -> Rows:
        """The kind of rows that ``fit`` saw, for making others like them."""
        if "_plain" not in self.__dict__:
            self._plain = Rows(self._like, self._setup.categories)
        return self._plain

    def _rows(self, X: Any, categories: dict) -> tuple[Rows, np.ndarray]:
        """(rows like these, X as numbers); an error if it has not the columns of the reference."""
        if type(X) is np.ndarray and self._is_plain(X):
            return self._plain_rows(), X
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
        return rows, rows.values

    def _is_plain(self, X: np.ndarray) -> bool:
        """An array like the reference, without infinity: there is nothing to translate."""
        like = self._like
        same = type(like) is np.ndarray and like.dtype == X.dtype and X.dtype in _PLAIN
        if not same or X.shape[1:] != like.shape[1:] or not len(X):
            return False
        return bool(np.isfinite(X.sum()) or not np.isinf(X).any())

    def _ledger(self, db: Any) -> Ledger:
        outputs = sum(s.group == "output" for s in self._setup.streams)
        n_targets = outputs if self._setup.regression else 1
        return Ledger(db, self.life_, self._setup, n_targets, self._memory)

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed_, *key])

    def _advance(
        self,
        ledger: Ledger,
        state: State,
        new: Batch | None = None,
        rows: Rows | None = None,
        least: int | None = None,
    ) -> None:
        """Look at what waits and at ``new`` rows, if they are enough."""
        least, before = self.window if least is None else least, state.count["n_looks"]
        waiting, n = state.count["n_waiting"], 0 if new is None else len(new)
        if waiting + n >= max(least, 1) and hasattr(self, "probe_"):
            batch = new if not waiting else ledger.waiting()
            batch = new.after(batch) if waiting and n else batch
            _looking.take_rows(self, ledger, state, batch, rows or self._plain_rows())
            state.count["n_waiting"] = 0
        elif n:
            ledger.wait(new)
            state.count["n_waiting"] += n
        _looking.take_labels(self, ledger, state, least)
        if state.count["n_looks"] > before:
            _looking.judge(self, ledger, state)

    def _labels(self, y: Any, pick: Any) -> tuple[np.ndarray | None, list | None]:
        """Labels of the rows that are looked at; None where none is known."""
        y = pick(y.to_numpy() if hasattr(y, "to_numpy") else y)
        labels, words = coded_labels(self._setup, y, len(y))
        return (None, None) if np.isnan(labels).all() else (labels, words)

    def _alarms(self) -> list:
        """Reasons of all alarms of this life, oldest first."""
        with self._session() as (ledger, *_):
            return ledger.reasons()

    def _result(self, ledger: Ledger, state: State, names: Sequence = ()) -> MonitorState:
        n_passed = self._passed.n_told if self._passed is not None else 0
        self._memory.last = MonitorState.of(self, ledger, state, names, n_passed)
        return self._memory.last


def names_of(X: Any, rows: Rows) -> list[str]:
    columns = getattr(rows.given, "columns", None)
    n = int(np.prod(rows.values.shape[1:]))
    return [f"x{k}" for k in range(n)] if columns is None else [str(name) for name in columns]


def taken(rows: Rows, index: np.ndarray) -> Any:
    given = rows.given
    return given.iloc[index] if hasattr(given, "iloc") else given[index]
