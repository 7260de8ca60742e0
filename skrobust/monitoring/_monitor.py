"""Watching a deployed model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skrobust._params import check_integer, check_number
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows
from skrobust.monitoring import _affordable, _export, _history, _looking
from skrobust.monitoring._ledger import Ledger
from skrobust.monitoring._probe import Probe
from skrobust.monitoring._result import MonitorState
from skrobust.monitoring._setup import Setup, coded_labels, prepare
from skrobust.monitoring._store import Store
from skrobust.monitoring._windows import State
from skrobust.threats import check_threat

__all__ = ["RobustnessMonitor"]

WHY = "The reference are held-out rows: training rows have flattering margins and errors."


class RobustnessMonitor(BaseEstimator):
    """Watch the rows, answers, margins and errors of a deployed model, and say when they change.

    Each watched number becomes a rank among the reference and all rows before it, and bets against
    "nothing has changed" are placed on these ranks. An alarm is raised when a bet has multiplied its
    stake by ``1 / false_alarm_rate`` (with one account for all streams together).

    **The promise.** As long as reference rows and all rows given are exchangeable (independent draws of
    one distribution, say), the probability that the monitor *ever* raises an alarm is at most
    ``false_alarm_rate``: over its whole life, over all streams, in whatever batches rows come and
    however often anybody looks. It holds for any finite reference. Labels may come late and for some
    rows only, if which ones does not depend on whether the model was right.

    Parameters
    ----------
    estimator : fitted estimator
        The model: scikit-learn's, Pipelines, skrobust's own.
    radius : float
        How far rows may move, in steps of the threat's ``scale``.
    threat : {"linf", "l2", "l1"} or threat object, default="linf"
        Where rows may move; words in it are learned from the reference.
    store : path, optional
        An SQLite file that keeps everything: whatever :meth:`update` has returned for survives a kill
        of the process, a restart goes on where it stood, several processes may write. None: memory.
    false_alarm_rate : float, default=0.01
        The promise above.
    window : int, default=50
        Rows per look. Fewer wait (in the store) until there are so many.
    min_effect : float, default=0.05
        Changes smaller than this raise no alarm, however sure they are: the largest difference of the
        cumulative distributions before and after; two fifths of it for errors and suspicious rows.
    max_rows : int, "auto" or None, default=500
        Rows of one update that are looked at, drawn at random; None: all. ``"auto"`` takes as many as
        cost a tenth of predicting a batch as large as the reference; it reads the clock, in ``fit``.
    keep_rows : int, default=100_000
        Rows kept in the store for late labels; flagged and labelled ones stay ten times as long.
    random_state : int or None, default=None
        Breaks ties, draws rows. The same seed gives the same results.

    Attributes
    ----------
    streams_ : list of str
        What is watched: the columns, ``"prediction"``, ``"confidence"``, ``"margin"``,
        ``"suspicion"``, and with ``y`` in ``fit``: ``"error"``, ``"robust error"``,
        ``"overconfidence"``. Of a regressor ``"sensitivity"`` and ``"residual"``.

    Notes
    -----
    Ranks: Vovk, Gammerman & Shafer (2005); betting on them: Volkhonskiy et al. (2017), Vovk (2021);
    averages of such processes: Vovk & Wang (2021). Rows that depend on their neighbours in time are not
    exchangeable: the monitor will say so, rightly.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrobust import LpBall, RobustnessMonitor
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:200], y[:200])
    >>> threat = LpBall(scale="std").bind(X[:200])
    >>> monitor = RobustnessMonitor(model, radius=0.3, threat=threat, random_state=0)
    >>> rows = X[200:].sample(frac=1, random_state=0)
    >>> monitor.fit(rows[:250]).update(rows[250:]).alarm
    False
    >>> state = monitor.update(rows[250:].assign(**{"mean radius": 15.0}))
    >>> state.alarm, state.reasons[0].cause, state.reasons[0].features
    (True, 'sensor failure', ('mean radius',))
    """

    def __init__(
        self,
        estimator: Any,
        *,
        radius: float,
        threat: Any = "linf",
        store: str | Path | None = None,
        false_alarm_rate: float = 0.01,
        window: int = 50,
        min_effect: float = 0.05,
        max_rows: int | str | None = 500,
        keep_rows: int = 100_000,
        random_state: int | None = None,
    ):
        self.estimator = estimator
        self.radius = radius
        self.threat = threat
        self.store = store
        self.false_alarm_rate = false_alarm_rate
        self.window = window
        self.min_effect = min_effect
        self.max_rows = max_rows
        self.keep_rows = keep_rows
        self.random_state = random_state

    def fit(self, X_reference: Any, y: Any = None) -> RobustnessMonitor:
        """Learn what is usual from held-out rows.

        Where the store holds a monitor of the same model, rows and options, it goes on where it
        stood; otherwise a new life begins, and the old one stays in the history.

        Parameters
        ----------
        X_reference : array or DataFrame of shape (n, ...)
            At least 60 rows, better thousands, that the model was not trained on.
        y : array-like of shape (n,), optional
            Their labels. Without them errors cannot be watched later.

        Returns
        -------
        RobustnessMonitor
            Itself.
        """
        options = self._checked()
        threat = check_threat(self.threat)
        rows = Rows(X_reference, threat.categories)
        names = _names(X_reference, rows)
        store = self._opened()
        for seed, life in self._seeds(store):
            random = np.random.default_rng([seed, 0])
            first = random.permutation(len(rows))[:1500]
            bound = threat if threat.is_bound else threat.bind(_taken(rows, first))
            self._ready(rows, bound.holding(sorted(rows.categories)))
            labels = None if y is None else coded_labels(self.probe_, y, len(rows))[0]
            setup = prepare(self.probe_, rows, labels, names, np.random.default_rng([seed, 1]))
            if not threat.is_bound:
                setup.scaling = rows.values[first]
            mark = hashlib.sha256(setup.to_bytes() + json.dumps(options).encode()).hexdigest()
            if life is not None and mark == life[1]:
                self._take_up(store, life[0], setup, seed)
                return self
        self._begin(store, setup, seed, mark, options)
        if self.max_rows == "auto":
            self.max_rows_ = _affordable.rows_for(self, rows)
        return self

    def update(
        self, X: Any, y: Any = None, *, ids: Any = None, outputs: Any = None
    ) -> MonitorState:
        """Watch some rows, from one to many.

        Parameters
        ----------
        X : array or DataFrame of shape (n, ...)
            Rows as the model gets them.
        y : array-like of shape (n,), optional
            Their labels, None or NaN where they are not known (yet).
        ids : sequence of n names, optional
            To give labels by, later; by default the rows are numbered 0, 1, ... as they come.
        outputs : array, optional
            What the model answered (class probabilities, decision function or labels; values of a
            regressor), so that it need not be asked again.

        Returns
        -------
        MonitorState
            When this returns, everything is in the store.
        """
        self._check_is_fitted(X)
        with self._store.transaction() as db:
            ledger = self._ledger(db)
            state, categories = ledger.load()
            rows = self._rows(X, categories)
            n = len(rows)
            labels, words = (None, None) if y is None else coded_labels(self.probe_, y, n)
            if labels is not None and np.isnan(labels).all():
                labels = None
            outputs = None if outputs is None else _scores(self.probe_, outputs, n)
            first = state.count["n_given"]
            names = [str(first + k) for k in range(n)] if ids is None else _ids(ids, n)
            chosen = _looking.draw(n, self.max_rows_, self._random(2, state.count["n_updates"]))
            pick = lambda part: None if part is None else part[chosen]
            words = None if words is None else [words[k] for k in chosen]
            ledger.add_rows(
                [names[k] for k in chosen], rows.values[chosen], pick(outputs), pick(labels), words
            )
            state.count["n_given"] += n
            state.count["n_updates"] += 1
            self._advance(ledger, state, rows)
            ledger.save(state, rows.categories or categories)
        return self._result(state, names)

    def label(self, ids: Any, y: Any) -> MonitorState:
        """Labels that come late, for rows given before.

        Parameters
        ----------
        ids : sequence
            As they were given to :meth:`update`, or the numbers of the rows.
        y : array-like
            Their labels. Rows that were not looked at, are forgotten, or have a label already,
            are passed over; ``n_labelled`` of the result counts the others.
        """
        self._check_is_fitted()
        names = _ids(ids, len(np.asarray(y)))
        labels, words = coded_labels(self.probe_, y, len(names))
        with self._store.transaction() as db:
            ledger = self._ledger(db)
            state, categories = ledger.load()
            state.count["n_labels"] += ledger.add_labels(names, labels, words)
            self._advance(ledger, state, None)
            ledger.save(state, categories)
        return self._result(state, names)

    def flush(self) -> MonitorState:
        """Look at the rows and labels that still wait for a window to be full."""
        self._check_is_fitted()
        with self._store.transaction() as db:
            ledger = self._ledger(db)
            state, categories = ledger.load()
            self._advance(ledger, state, None, least=1)
            ledger.save(state, categories)
        return self._result(state, [])

    def state(self) -> MonitorState:
        """Where it stands, other processes' updates included."""
        self._check_is_fitted()
        with self._store.transaction() as db:
            state, _ = self._ledger(db).load()
        return self._result(state, [])

    def predict(self, X: Any) -> np.ndarray:
        """The model's own answers, watched on the way (at less cost than asking twice)."""
        self._check_is_fitted(X)
        outputs = self.probe_.ask(X)
        self.update(X, outputs=outputs)
        answers = self.probe_.answers(X, outputs).answer
        if self.probe_.regression:
            return answers[:, 0] if answers.shape[1] == 1 else answers
        return np.asarray(self.probe_.classes)[answers]

    def reset(self) -> RobustnessMonitor:
        """Begin anew with the same reference: alarms are off, the promise starts over."""
        self._check_is_fitted()
        mark, options = self._store.read(
            "SELECT fingerprint, config FROM lives WHERE id = ?", self.life_
        )[0]
        self._begin(self._store, self._setup, self.seed_, mark, json.loads(options)["options"])
        return self

    def frame(self, kind: str = "history") -> Any:
        """Numbers as a pandas DataFrame.

        Parameters
        ----------
        kind : {"history", "now", "alarms", "rows"}
            ``"history"``: each look at each stream; ``"now"``: the streams as they stand, with the share
            of the evidence that an alarm takes; ``"alarms"``; ``"rows"``: flagged and labelled rows
            themselves, in the columns of X, with what the model made of them.
        """
        self._check_is_fitted()
        return _history.frame(self, kind)

    def to_jsonl(self, path: str | Path | None = None) -> str:
        """History and alarms as JSON lines, oldest first; written to ``path`` if one is given."""
        self._check_is_fitted()
        return _export.to_jsonl(self, path)

    def to_prometheus(self) -> str:
        """Where it stands, in Prometheus' text format."""
        self._check_is_fitted()
        return _export.to_prometheus(self)

    def close(self) -> None:
        """Close the store. The next call opens it again."""
        if hasattr(self, "_store"):
            self._store.close()

    # what follows is not for callers -------------------------------------------------------------

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

    def _ready(self, rows: Rows, threat: Any) -> None:
        self._like, self._threat = rows.given[:1], threat
        self.probe_ = Probe(self.estimator, threat, float(self.radius), rows)

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
        self._ready(rows, threat.holding(sorted(setup.categories)))

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
        regression = "sensitivity" in self.streams_
        return Ledger(db, self.life_, self._setup, outputs if regression else 1)

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed_, *key])

    def _advance(
        self, ledger: Ledger, state: State, rows: Rows | None, least: int | None = None
    ) -> None:
        least, before = self.window if least is None else least, state.count["n_looks"]
        if ledger.n_waiting() >= least:
            if rows is None:
                rows = Rows(self._like, self._setup.categories)
            _looking.take_rows(self, ledger, state, rows)
        _looking.take_labels(self, ledger, state, least)
        if state.count["n_looks"] > before:
            _looking.judge(self, ledger, state)

    def _result(self, state: State, names: Sequence[str]) -> MonitorState:
        return MonitorState.of(self, state, list(names))

    def __getstate__(self) -> dict:
        return dict(self.__dict__)


def _names(X: Any, rows: Rows) -> list[str]:
    columns = getattr(rows.given, "columns", None)
    n = int(np.prod(rows.values.shape[1:]))
    return [f"x{k}" for k in range(n)] if columns is None else [str(name) for name in columns]


def _taken(rows: Rows, index: np.ndarray) -> Any:
    given = rows.given
    return given.iloc[index] if hasattr(given, "iloc") else given[index]


def _texts(setup: Setup) -> dict[str, list]:
    return {str(k): list(values) for k, values in setup.categories.items()}


def _scores(probe: Probe, outputs: Any, n: int) -> np.ndarray:
    """Outputs as rows of numbers that ``Probe.answers`` understands."""
    outputs = np.asarray(outputs)
    if len(outputs) != n:
        raise ValueError(f"outputs has {len(outputs)} rows, X has {n}.")
    answers = probe.answers(outputs, outputs)
    return np.ascontiguousarray(answers.score, dtype=np.float64)


def _ids(ids: Any, n: int) -> list[str]:
    found = [str(name) for name in (ids.tolist() if hasattr(ids, "tolist") else ids)]
    if len(found) != n:
        raise ValueError(f"ids has {len(found)} names for {n} rows.")
    return found
