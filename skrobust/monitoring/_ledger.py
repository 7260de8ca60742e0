"""The statements that a monitor makes to its store: rows, windows, alarms, the state itself."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skrobust.monitoring import _bundles
from skrobust.monitoring._reasons import Reason
from skrobust.monitoring._setup import Setup, Watched
from skrobust.monitoring._windows import LIVE, Record, State, joined

__all__ = ["Batch", "Ledger", "Memory", "Nearby"]

# per row looked at, before the answer; NaN: not asked (near), not among those looked at closely
KEPT = ("near", "distance", "suspicion", "pushed", "top")


@dataclass
class Memory:
    """What a process remembers of the store, good as long as ``life`` and ``version`` are the same."""

    life: int = -1
    version: int = -1
    state: State | None = None
    told: tuple[list[Reason], list[Reason]] | None = None  # causes of alarms; what grows
    last: Any = None  # what was returned last

    def forget(self) -> None:
        self.__init__()


class Nearby(NamedTuple):
    """Scores that were asked for with the answers: places close to some rows of the look to come."""

    look: int  # number of looks before it
    scores: np.ndarray


@dataclass
class Batch:
    """Rows that no window has taken in yet.

    ``ids``: the user's names, or numbers; ``y`` (n, n_targets) has NaN where there is no label.
    ``given``: of rows that do not wait, how many had been given in all when each was.
    """

    ids: list[str | int] | np.ndarray
    values: np.ndarray
    outputs: np.ndarray | None
    y: np.ndarray
    words: list[str | None]
    nearby: Nearby | None = None
    given: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.y).all(axis=1)

    @property
    def labels(self) -> np.ndarray:
        return self.y[:, 0] if self.y.shape[1] == 1 else self.y

    @property
    def names(self) -> list[str | int]:
        return self.ids.tolist() if isinstance(self.ids, np.ndarray) else self.ids

    @property
    def named(self) -> np.ndarray:
        """Which rows have a name of the user's."""
        if isinstance(self.ids, np.ndarray):
            return np.zeros(len(self.ids), dtype=bool)
        return np.fromiter((isinstance(name, str) for name in self.ids), bool, len(self.ids))

    def after(self, other: Batch) -> Batch:
        """``other``, then these."""
        parts, both = (other.outputs, self.outputs), None
        if all(p is not None for p in parts) and len({p.shape[1] for p in parts}) == 1:
            both = np.concatenate(parts)
        return Batch(
            [*other.names, *self.names], np.concatenate([other.values, self.values]), both,
            np.concatenate([other.y, self.y]), [*other.words, *self.words],
            given=np.concatenate([np.full(len(other), self.given[0] - 1), self.given]),
        )  # fmt: skip


class Ledger:
    """One life of a monitor, within a transaction of ``db``."""

    def __init__(
        self, db: sqlite3.Connection, life: int, setup: Setup, n_targets: int, memory: Memory
    ):
        self.db, self.life, self.setup, self.n_targets = db, life, setup, n_targets
        self.memory, self._before = memory, 0

    def load(self) -> tuple[State, dict[int, list]]:
        """The state as it is in the store; its blob is read only if another process changed it."""
        query = (
            f"SELECT version, {', '.join(LIVE)}, categories, "
            "(SELECT TOTAL(n_rows) FROM passed WHERE passed.life = counts.life) "
            "FROM counts WHERE life = ?"
        )
        version, *live, words, passed = self.db.execute(query, (self.life,)).fetchone()
        memory = self.memory
        if (memory.life, memory.version) != (self.life, version) or memory.state is None:
            query = "SELECT state FROM states WHERE life = ?"
            (data,) = self.db.execute(query, (self.life,)).fetchone()
            memory.forget()
            memory.life, memory.version = self.life, version
            memory.state = State.from_bytes(self.setup, data)
        memory.state.count.update(zip(LIVE, live, strict=True))
        memory.state.count["n_passed"] = int(passed)
        self._before = memory.state.count["n_looks"]
        return memory.state, _categories_of(words)

    def save(self, state: State, categories: dict[int, list]) -> None:
        memory = self.memory
        if state.count["n_looks"] != self._before:
            memory.version += 1
            memory.told = None
            self.db.execute(
                "UPDATE states SET state = ? WHERE life = ?", (state.to_bytes(), self.life)
            )
        words = json.dumps({str(k): list(v) for k, v in categories.items()}) if categories else "{}"
        self.db.execute(
            f"UPDATE counts SET version = ?, {' = ?, '.join(LIVE)} = ?, categories = ? WHERE life = ?",
            (memory.version, *(state.count[name] for name in LIVE), words, self.life),
        )

    def reasons(self) -> list[Reason]:
        """All alarms of this life, oldest first, one per stream."""
        query = "SELECT reason FROM alarms WHERE life = ? ORDER BY rowid"
        return [Reason.from_json(text) for (text,) in self.db.execute(query, (self.life,))]

    def wait(self, batch: Batch) -> None:
        """Rows that are too few for a window."""
        self._insert(batch, _bundles.next_number(self.db), np.arange(len(batch)), None)

    def waiting(self) -> Batch:
        query = (
            "SELECT id, x, output, y, label FROM rows WHERE life = ? AND looked = 0 ORDER BY seq"
        )
        found = self.db.execute(query, (self.life,)).fetchall()
        ids, x, output, y, words = zip(*found, strict=True) if found else ((),) * 5
        n, have = len(ids), [blob for blob in output if blob is not None]
        values = np.frombuffer(b"".join(x)).reshape(n, *self.setup.row_shape)
        same = n > 0 and len(have) == n and len({len(blob) for blob in have}) == 1
        outputs = np.frombuffer(b"".join(have)).reshape(n, -1) if same else None
        return Batch(list(ids), values, outputs, self._labels(y), list(words))

    def looked(self, batch: Batch, found: Watched, flagged: np.ndarray) -> None:
        """A window has seen the rows: those that somebody may ask for one by one, and the rest."""
        kept = np.column_stack(
            [found.near, found.distance, found.suspicion, found.pushed, found.top,
             found.answers.answer]
        ).astype(np.float64)  # fmt: skip
        known = batch.known
        self.db.execute("DELETE FROM rows WHERE life = ? AND looked = 0", (self.life,))
        first = _bundles.next_number(self.db)
        single = batch.named | flagged | known
        marks = [
            (row.tobytes(), int(flag), 0 if judged else None)
            for row, flag, judged in zip(kept[single], flagged[single], known[single], strict=True)
        ]
        if not single.all():
            part = np.flatnonzero(~single)
            ids = batch.ids
            ids = ids[part] if isinstance(ids, np.ndarray) else np.array([ids[k] for k in part])
            # the answers that were handed over have served: what is kept of them is in `kept`
            _bundles.add(self.db, self.life, first, ids, batch.values[part], kept[part])
            first += len(part)
        self._insert(batch, first, np.flatnonzero(single), marks)

    def _insert(self, batch: Batch, first: int, index: np.ndarray, marks: list | None) -> None:
        known, outputs = batch.known, batch.outputs
        values = np.ascontiguousarray(batch.values, dtype=np.float64)
        marks = [(None, 0, None)] * len(index) if marks is None else marks
        names = batch.names
        looked = int(bool(marks) and marks[0][0] is not None)
        self.db.executemany(
            "INSERT INTO rows (seq, life, id, x, output, y, label, looked, watched, flagged, judged)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    first + j, self.life, names[k], values[k].tobytes(),
                    None if outputs is None else outputs[k].tobytes(),
                    batch.y[k].tobytes() if known[k] else None,
                    batch.words[k] if known[k] else None, looked, *mark,
                )
                for j, (k, mark) in enumerate(zip(index.tolist(), marks, strict=True))
            ],
        )  # fmt: skip

    def add_labels(self, ids: list[str], y: np.ndarray, labels: list) -> int:
        """Labels that came late; how many of the ids are known (and had no label yet)."""
        numbers, found, others = y.reshape(len(ids), -1).astype(np.float64), 0, []
        for name, row, word in zip(ids, numbers, labels, strict=True):
            if np.isnan(row).any():
                continue
            number = _bundles.number_of(name)
            parts = (row.tobytes(), json.dumps(word))
            cursor = self.db.execute(
                "UPDATE rows SET y = ?, label = ?, judged = CASE looked WHEN 1 THEN 1 END "
                "WHERE life = ? AND id IN (?, ?) AND y IS NULL",
                (*parts, self.life, name, number),
            )
            found += cursor.rowcount
            if not cursor.rowcount and number is not None:
                others.append((number, *parts))
        return found + _bundles.give_labels(self.db, self.life, others)

    def unjudged(self) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
        """(seq, rows, what was kept of each, labels) of rows labelled after they were seen."""
        query = (
            "SELECT seq, x, watched, y FROM rows WHERE life = ? AND judged = 1 ORDER BY judged, seq"
        )
        rows = self.db.execute(query, (self.life,)).fetchall()
        if not rows:
            return [], np.empty((0, 0)), np.empty((0, 0)), np.empty(0)
        seq, x, kept, y = zip(*rows, strict=True)
        values = np.frombuffer(b"".join(x)).reshape(len(seq), *self.setup.row_shape)
        labels = self._labels(y)
        labels = labels[:, 0] if labels.shape[1] == 1 else labels
        return list(seq), values, np.frombuffer(b"".join(kept)).reshape(len(seq), -1), labels

    def judged(self, seq: list[int], near: np.ndarray, kept: np.ndarray) -> None:
        """Errors of these rows are counted; what was asked for them is kept."""
        kept = kept.copy()
        kept[:, 0] = near
        self.db.executemany(
            "UPDATE rows SET judged = 0, watched = ? WHERE seq = ?",
            [(row.tobytes(), number) for row, number in zip(kept, seq, strict=True)],
        )

    def add_windows(
        self, first: int, kind: str, seen: list[tuple[int, int]], records: list[Record]
    ):
        """Looks ``first``, ``first + 1``, ...; ``seen``: (rows, rows given until then) of each."""
        now = time.time()
        self.db.executemany(
            "INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (self.life, first + k, kind, n, int(given), now, record.to_bytes())
                for k, ((n, given), record) in enumerate(zip(seen, records, strict=True))
            ],
        )

    def records(self, at_most: int) -> tuple[Record, np.ndarray]:
        """The last looks, oldest first, in one; and the rows given until each."""
        query = "SELECT record, n_given FROM windows WHERE life = ? ORDER BY number DESC LIMIT ?"
        found = self.db.execute(query, (self.life, at_most)).fetchall()[::-1]
        blobs = [blob for blob, _ in found]
        return joined(blobs, len(self.setup.streams)), np.array([n for _, n in found], dtype=int)

    def add_alarm(self, state: State, reason: Reason) -> None:
        self.db.execute(
            "INSERT INTO alarms VALUES (?, ?, ?, ?)",
            (self.life, state.count["n_looks"], time.time(), reason.to_json()),
        )

    def pushed(self) -> float:
        """Median of how many times the radius the last flagged rows seem to have been moved."""
        query = "SELECT watched FROM rows WHERE life = ? AND flagged = 1 ORDER BY seq DESC LIMIT 50"
        found = [np.frombuffer(blob)[3] for (blob,) in self.db.execute(query, (self.life,))]
        return float(np.median(found)) if found else 0.0

    def forget(self, keep: int) -> None:
        """Drop the oldest rows; flagged and labelled ones stay ten times as long."""
        last = _bundles.next_number(self.db) - 1
        if last <= keep:
            return
        plain = "DELETE FROM rows WHERE seq <= ? AND looked = 1 AND flagged = 0 AND y IS NULL"
        self.db.execute(plain, (last - keep,))
        self.db.execute("DELETE FROM rows WHERE seq <= ? AND looked = 1", (last - 10 * keep,))
        self.db.execute("DELETE FROM bundles WHERE seq + n - 1 <= ?", (last - keep,))

    def batch(self, ids: list, values: np.ndarray, outputs, y, labels) -> Batch:
        """Rows as they were given; ``y`` coded, or None."""
        n = len(ids)
        empty = np.full((n, self.n_targets), np.nan)
        numbers = empty if y is None else y.reshape(n, -1).astype(np.float64)
        words = [None] * n if labels is None else [json.dumps(word) for word in labels]
        return Batch(ids, values, outputs, numbers, words)

    def _labels(self, blobs: Any) -> np.ndarray:
        missing = np.full(self.n_targets, np.nan)
        found = [missing if b is None else np.frombuffer(b) for b in blobs]
        return np.array(found).reshape(len(blobs), self.n_targets)


def _categories_of(words: str) -> dict[int, list]:
    return {} if words == "{}" else {int(k): v for k, v in json.loads(words).items()}
