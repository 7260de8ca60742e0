"""Watching a deployed model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skrobust.inspection._rows import take_rows
from skrobust.metrics._rows import Rows
from skrobust.monitoring import _affordable, _export, _history, _predicting, _retrain
from skrobust.monitoring._ledger import Nearby
from skrobust.monitoring._life import Life, names_of, taken
from skrobust.monitoring._probe import Probe
from skrobust.monitoring._result import MonitorState
from skrobust.monitoring._retrain import Retraining
from skrobust.monitoring._setup import coded_labels, prepare
from skrobust.threats import check_threat

__all__ = ["RobustnessMonitor"]


class RobustnessMonitor(Life, BaseEstimator):
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
    min_effect : float, default=0.03
        Changes that are not larger than this, with 90% confidence, raise no alarm, however sure it is
        that something has changed. It is the largest difference of the cumulative distributions
        before and after (0.03: 3% of the rows); a quarter of it for errors and suspicious rows.
    max_rows : int, "auto" or None, default=500
        Rows of one update that are looked at, drawn at random; None: all. Of models with a gradient
        and more than 10,000 numbers (weights, support vectors) the margin and the suspicion of a
        fifth of them are computed, at least ``window``. ``"auto"`` takes as many as cost a tenth of
        predicting a batch as large as the reference, at least ``window``; it reads the clock, in
        ``fit``, so that two runs may differ.
    keep_rows : int, default=100_000
        Rows kept in the store for late labels; flagged and labelled ones stay ten times as long.
    max_overhead : float or None, default=None
        The share of the time of predictions that watching may take, 0.1 for a tenth; None: no limit. It
        is measured in processor time of this process (all its threads), predictions by :meth:`fit` on
        reference rows in batches of several sizes, or where they happen in :meth:`predict`. Updates
        that are not paid for are passed over: their rows are counted (``n_passed``), not read. The
        choice looks at the number of rows and the account only, so that the promise above stays as
        it is; two runs may pass over different updates. See ``frame("overhead")``.
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
    averages of such processes: Vovk & Wang (2021). Of models without a gradient (trees, neighbours)
    ``"margin"`` is the gap between the two best scores and ``"suspicion"`` asks whether the score falls
    at random places close by, as it does where an attack has stopped just beyond the boundary. Rows that depend on their neighbours in time are not
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
        min_effect: float = 0.03,
        max_rows: int | str | None = 500,
        keep_rows: int = 100_000,
        max_overhead: float | None = None,
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
        self.max_overhead = max_overhead
        self.random_state = random_state

    def fit(self, X_reference: Any, y: Any = None) -> RobustnessMonitor:
        """Learn what is usual from held-out rows.

        Where the store holds a monitor of the same model, rows and options, it goes on where it
        stood; otherwise a new life begins, and the old one stays in the history.

        Parameters
        ----------
        X_reference : array or DataFrame of shape (n, ...)
            At least 30 rows, better thousands, that the model was not trained on.
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
        names = names_of(X_reference, rows)
        store = self._opened()
        for seed, life in self._seeds(store):
            random = np.random.default_rng([seed, 0])
            first = random.permutation(len(rows))[:1500]
            bound = threat if threat.is_bound else threat.bind(taken(rows, first))
            self._ready(rows, bound.holding(sorted(rows.categories)))
            labels = None if y is None else coded_labels(self.probe_, y, len(rows))[0]
            setup = prepare(self.probe_, rows, labels, names, np.random.default_rng([seed, 1]))
            if not threat.is_bound:
                setup.scaling = rows.values[first]
            mark = hashlib.sha256(setup.to_bytes() + json.dumps(options).encode()).hexdigest()
            if life is not None and mark == life[1]:
                self._take_up(store, life[0], setup, seed, mark)
                break
        else:
            self._begin(store, setup, mark, {"seed": seed, "options": options})
            if self.max_rows == "auto":
                self.max_rows_ = _affordable.rows_for(self, rows)
        self._open_budget(rows)
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
            What the model answered, so that it need not be asked again: class probabilities; of models
            without them decision function or labels; values of a regressor.

        Returns
        -------
        MonitorState
            When this returns, everything is in the store; of an update that was passed over the number
            of its rows.
        """
        self._check_is_fitted(X)
        if self._budget is None:
            return self._watched(X, y, ids, outputs)
        return self._within_budget(len(X), lambda: self._watched(X, y, ids, outputs), ids)

    def _watched(
        self, X: Any, y: Any, ids: Any, outputs: Any, nearby: Nearby | None = None
    ) -> MonitorState:
        with self._session() as (ledger, state, categories):
            n, first = len(X), state.count["n_given"]
            chosen = self._drawn(n, state.count["n_updates"])
            # what is not looked at is not even read: that keeps large batches cheap
            pick = (lambda part: part) if chosen is None else (lambda part: take_rows(part, chosen))
            rows, values = self._rows(pick(X), categories)
            labels, words = (None, None) if y is None else self._labels(_long(y, n, "y"), pick)
            if outputs is not None:
                outputs = _scores(self.probe_, pick(_long(np.asarray(outputs), n, "outputs")))
            taken = np.arange(n) if chosen is None else chosen
            names = range(first, first + n) if ids is None else _ids(ids, n)
            own = first + taken if ids is None else [names[k] for k in taken.tolist()]
            batch = ledger.batch(own, values, outputs, labels, words)
            batch.nearby = nearby
            batch.given = first + 1 + taken
            batch.given[-1:] = first + n  # the last one stands for those after it
            state.count["n_given"] += n
            state.count["n_updates"] += 1
            self._advance(ledger, state, batch, rows)
            ledger.save(state, rows.categories or categories)
            return self._result(ledger, state, names)

    def label(self, ids: Any, y: Any) -> MonitorState:
        """Labels that come late, for rows given before.

        Parameters
        ----------
        ids : sequence
            As they were given to :meth:`update`, or the numbers of the rows.
        y : array-like
            Their labels. Rows that were not looked at, are forgotten, or have a label already,
            are passed over; ``n_labelled`` of the result counts the others. With ``max_overhead`` labels
            are never passed over themselves, but paid for: fewer rows are looked at afterwards.
        """
        self._check_is_fitted()
        began = self._clock()
        state = self._labelled(ids, y)
        if self._budget is not None:
            self._budget.pay(self._clock() - began)
        return state

    def _labelled(self, ids: Any, y: Any) -> MonitorState:
        names = _ids(ids, len(np.asarray(y)))
        labels, words = coded_labels(self._setup, y, len(names))
        with self._session() as (ledger, state, categories):
            state.count["n_labels"] += ledger.add_labels(names, labels, words)
            self._advance(ledger, state)
            ledger.save(state, categories)
            return self._result(ledger, state, names)

    def flush(self) -> MonitorState:
        """Look at the rows and labels that still wait for a window to be full."""
        self._check_is_fitted()
        with self._session() as (ledger, state, categories):
            self._advance(ledger, state, least=1)
            ledger.save(state, categories)
            return self._result(ledger, state)

    def state(self) -> MonitorState:
        """Where it stands, other processes' updates included."""
        self._check_is_fitted()
        with self._session(everyone=True) as (ledger, state, _):
            return self._result(ledger, state)

    def predict(self, X: Any) -> np.ndarray:
        """The model's own answers, watched on the way (at less cost than asking twice)."""
        if self._run is not None and self._run.takes(len(X), self.life_):
            return self.estimator.predict(X)
        self._check_is_fitted(X)
        return _predicting.predict(self, X)

    def reset(self) -> RobustnessMonitor:
        """Begin anew with the same reference: alarms are off, the promise starts over.

        Other processes on the same store follow with their next call; rows are numbered from 0 again.
        """
        self._check_is_fitted()
        query = "SELECT fingerprint, config FROM lives WHERE id = ?"
        mark, config = self._store.read(query, self.life_)[0]
        self._begin(self._store, self._setup, mark, json.loads(config))
        return self

    def frame(self, kind: str = "history") -> Any:
        """Numbers as a pandas DataFrame.

        Parameters
        ----------
        kind : {"history", "now", "alarms", "rows", "overhead"}
            ``"history"``: each look at each stream; ``"now"``: the streams as they stand, with the share
            of the evidence that an alarm takes; ``"alarms"``; ``"rows"``: flagged and labelled rows
            themselves, flagged ones first and the newest of them first, in the columns of X, with what the model
            made of them; ``"overhead"``: what watching took,
            beside predictions and ``max_overhead``, and how many rows were looked at and passed over.
        """
        self._check_is_fitted()
        return _history.frame(self, kind)

    def labelled(self) -> tuple[Any, np.ndarray]:
        """Rows whose labels are known, as the model gets them, and the labels."""
        self._check_is_fitted()
        return _retrain.labelled(self)

    def retrain(
        self,
        X: Any,
        y: Any,
        *,
        X_test: Any = None,
        y_test: Any = None,
        test_fraction: float = 0.4,
    ) -> Retraining:
        """Fit a new model to the training rows and the labelled rows, and compare it with the old.

        Nothing is swapped: that is for you to decide. A model with ``initial_weights`` starts from the
        old one's. Part of the labelled rows is held out for the comparison.

        Parameters
        ----------
        X, y : array-like
            The rows the model was trained on.
        X_test, y_test : array-like, optional
            Held-out rows of old, to see what the new model forgets.
        test_fraction : float, default=0.4
            Share of the labelled rows that is held out.

        Returns
        -------
        Retraining
            ``estimator`` (the new model), ``report`` (old and new on the held-out labelled rows),
            ``report_before`` (on ``X_test``), ``frame()``.
        """
        self._check_is_fitted(X)
        self._check_is_fitted()
        return _retrain.retrain(self, X, y, X_test, y_test, test_fraction)

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
        if self._passed is not None and self._passed.n_new:
            self.state()
        if hasattr(self, "_store"):
            self._store.close()


def _long(values: Any, n: int, name: str) -> Any:
    """One for each row."""
    values = values if hasattr(values, "shape") else np.asarray(values)
    if values.ndim == 0 or len(values) != n:
        length = len(values) if values.ndim else 0
        raise ValueError(f"{name} has {length} rows, X has {n}.")
    return values


def _scores(probe: Probe, outputs: np.ndarray) -> np.ndarray:
    """Outputs as rows of numbers that ``Probe.answers`` understands."""
    answers = probe.answers(outputs, outputs)
    return np.ascontiguousarray(answers.score, dtype=np.float64)


def _ids(ids: Any, n: int) -> list[str]:
    found = [str(name) for name in (ids.tolist() if hasattr(ids, "tolist") else ids)]
    if len(found) != n:
        raise ValueError(f"ids has {len(found)} names for {n} rows.")
    return found
