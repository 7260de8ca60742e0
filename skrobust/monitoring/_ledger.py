"""The statements that a monitor makes to its store: rows, windows, alarms, the state itself."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any, NamedTuple

import numpy as np

from skrobust.monitoring._reasons import Reason
from skrobust.monitoring._setup import Setup, Watched
from skrobust.monitoring._windows import Record, State

__all__ = ["Ledger", "Waiting"]

KEPT = ("near", "distance", "suspicion", "pushed", "top")  # and the answer, per row watched


class Waiting(NamedTuple):
    """Rows that no window has taken in yet."""

    seq: list[int | None]  # None: not in the file yet
    values: np.ndarray
    outputs: np.ndarray | None
    y: np.ndarray


class Ledger:
    """One life of a monitor, within a transaction of ``db``."""

    def __init__(self, db: sqlite3.Connection, life: int, setup: Setup, n_targets: int):
        self.db, self.life, self.setup, self.n_targets = db, life, setup, n_targets
        self._new: list[tuple] = []  # rows that are not in the file yet

    def load(self) -> tuple[State, dict[int, list]]:
        query = "SELECT state, categories FROM lives WHERE id = ?"
        data, words = self.db.execute(query, (self.life,)).fetchone()
        categories = {int(k): v for k, v in json.loads(words).items()}
        return State.from_bytes(self.setup, data), categories

    def save(self, state: State, categories: dict[int, list]) -> None:
        self._write_new()
        words = json.dumps({str(k): list(v) for k, v in categories.items()})
        self.db.execute(
            "UPDATE lives SET state = ?, categories = ?, version = version + 1 WHERE id = ?",
            (state.to_bytes(), words, self.life),
        )

    def add_rows(self, ids: list[str], values: np.ndarray, outputs, y, labels, least: int) -> None:
        """Rows that wait. From ``least`` on, if no others wait, :meth:`looked` writes them, once."""
        empty = [None] * len(ids)
        numbers = y if y is None else y.reshape(len(ids), -1).astype(np.float64)
        known = empty if y is None else [_blob_or_none(row) for row in numbers]
        words = [None if k is None else _word(w) for k, w in zip(known, labels or empty)]  # noqa: B905
        given = empty if outputs is None else [row.tobytes() for row in outputs]
        blobs = [row.tobytes() for row in np.ascontiguousarray(values, dtype=np.float64)]
        lives = [self.life] * len(ids)
        self._new = list(zip(lives, ids, blobs, given, known, words, strict=True))
        if len(ids) < least or self.n_waiting() > len(ids):
            self._write_new()

    def _write_new(self) -> None:
        self.db.executemany(
            "INSERT INTO rows (life, id, x, output, y, label) VALUES (?, ?, ?, ?, ?, ?)", self._new
        )
        self._new = []

    def n_waiting(self) -> int:
        query = "SELECT COUNT(*) FROM rows WHERE life = ? AND looked = 0"
        return self.db.execute(query, (self.life,)).fetchone()[0] + len(self._new)

    def waiting(self) -> Waiting:
        query = "SELECT seq, x, output, y FROM rows WHERE life = ? AND looked = 0 ORDER BY seq"
        found = [(None, row[2], row[3], row[4]) for row in self._new]
        found = found or self.db.execute(query, (self.life,)).fetchall()
        seq, x, output, y = zip(*found, strict=True)
        n, have = len(seq), [blob for blob in output if blob is not None]
        values = np.frombuffer(b"".join(x)).reshape(n, *self.setup.row_shape)
        same = len(have) == n and len({len(blob) for blob in have}) == 1
        outputs = np.frombuffer(b"".join(have)).reshape(n, -1) if same else None
        return Waiting(list(seq), values, outputs, self._labels(y))

    def looked(self, seq: list[int], found: Watched, flagged: np.ndarray, known: np.ndarray):
        """The rows have been seen by a window; labels that came with them are judged."""
        top = found.answers.score.max(axis=1)
        distance = found.values[:, self._place("margin")]
        kept = np.column_stack(
            [found.near, distance, found.suspicion, found.pushed, top, found.answers.answer]
        ).astype(np.float64)
        marks = [
            (row.tobytes(), int(flag), 0 if label else None)
            for row, flag, label in zip(kept, flagged, known, strict=True)
        ]
        if self._new:
            self.db.executemany(
                "INSERT INTO rows (life, id, x, output, y, label, looked, watched, flagged, judged)"
                " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
                [row + mark for row, mark in zip(self._new, marks, strict=True)],
            )
            self._new = []
            return
        self.db.executemany(
            "UPDATE rows SET looked = 1, watched = ?, flagged = ?, judged = ? WHERE seq = ?",
            [(*mark, number) for mark, number in zip(marks, seq, strict=True)],
        )

    def add_labels(self, ids: list[str], y: np.ndarray, labels: list) -> int:
        """Labels that came late; how many of the ids are known (and had no label yet)."""
        numbers = y.reshape(len(ids), -1).astype(np.float64)
        found = 0
        for name, row, word in zip(ids, numbers, labels, strict=True):
            blob = _blob_or_none(row)
            if blob is None:
                continue
            cursor = self.db.execute(
                "UPDATE rows SET y = ?, label = ?, judged = CASE looked WHEN 1 THEN 1 END "
                "WHERE life = ? AND id = ? AND y IS NULL",
                (blob, _word(word), self.life, name),
            )
            found += cursor.rowcount
        return found

    def unjudged(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """(seq, what was kept of each row, labels) of rows labelled after they were seen."""
        query = (
            "SELECT seq, watched, y FROM rows WHERE life = ? AND judged = 1 ORDER BY judged, seq"
        )
        rows = self.db.execute(query, (self.life,)).fetchall()
        if not rows:
            return [], np.empty((0, 0)), np.empty(0)
        seq, kept, y = zip(*rows, strict=True)
        return list(seq), np.frombuffer(b"".join(kept)).reshape(len(seq), -1), self._labels(y)

    def judged(self, seq: list[int]) -> None:
        self.db.executemany("UPDATE rows SET judged = 0 WHERE seq = ?", [(s,) for s in seq])

    def add_window(self, state: State, kind: str, n: int, record: Record) -> None:
        self.db.execute(
            "INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.life, state.count["n_looks"], kind, n, state.count["n_watched"], time.time(),
                record.to_bytes(),
            ),
        )  # fmt: skip

    def records(self, k: int, at_most: int) -> tuple[list[Record], list[int]]:
        """The last looks that saw stream ``k``, oldest first, and the rows watched until each."""
        query = (
            "SELECT record, n_given FROM windows WHERE life = ? ORDER BY number DESC LIMIT ?"
        )  # fmt: skip
        found = self.db.execute(query, (self.life, 4 * at_most)).fetchall()
        read = [(Record.from_bytes(r, len(self.setup.streams)), n) for r, n in found]
        kept = [(r, n) for r, n in read if r.numbers[k, 0] > 0][:at_most][::-1]
        return [r for r, _ in kept], [n for _, n in kept]

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
        (last,) = self.db.execute("SELECT MAX(seq) FROM rows").fetchone()
        if last is None or last <= keep:
            return
        plain = "DELETE FROM rows WHERE seq <= ? AND looked = 1 AND flagged = 0 AND y IS NULL"
        self.db.execute(plain, (last - keep,))
        self.db.execute("DELETE FROM rows WHERE seq <= ? AND looked = 1", (last - 10 * keep,))

    def _labels(self, blobs: Any) -> np.ndarray:
        missing = np.full(self.n_targets, np.nan)
        found = np.array([missing if b is None else np.frombuffer(b) for b in blobs])
        return found[:, 0] if self.n_targets == 1 else found

    def _place(self, group: str) -> int:
        return [stream.group for stream in self.setup.streams].index(group)


def _blob_or_none(row: np.ndarray) -> bytes | None:
    return None if np.isnan(row).any() else row.tobytes()


def _word(label: Any) -> str:
    return json.dumps(label)
