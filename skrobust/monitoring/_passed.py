"""How many rows each process has passed over: a number in a mapped file, which outlives a kill.

A transaction for each update that is passed over would cost more than many a prediction. So each
process has a cell of its own in a file beside the store, which only it writes, and which only grows.
The table ``passed`` says how much of each cell the counts of the store know already; whoever comes by
adds the rest, within a transaction: nothing is counted twice or lost.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import threading

import numpy as np

from skrobust.monitoring._store import Store

__all__ = ["Passed", "fold_all"]

CELL = 8  # bytes


class Passed:
    """Rows that this process has passed over in one life."""

    def __init__(self, store: Store, life: int):
        self.life, self.process = life, os.getpid()
        self.n_rows = self.n_known = self.n_told = 0  # in all; known to the store; being told
        self._lock = threading.Lock()
        with store.transaction() as db:
            cursor = db.execute("INSERT INTO passed (life, n_rows) VALUES (?, 0)", (life,))
            self.slot = cursor.lastrowid
            self._cell = _mapped(store.path, self.slot) if store.path else None

    def add(self, n: int) -> None:
        with self._lock:  # not the store's: nobody waits for another thread's look
            self.n_rows += n
            if self._cell is not None:
                self._cell[self.slot] = self.n_rows

    @property
    def n_new(self) -> int:
        """Rows that the store does not know of."""
        return self.n_rows - self.n_known

    @property
    def is_mine(self) -> bool:
        """Not inherited by a fork."""
        return self.process == os.getpid()

    def fold(self, db: sqlite3.Connection) -> None:
        """Tell the store (which somebody may have told before)."""
        self.n_told = self.n_rows
        if self.n_told > self.n_known:
            _tell(db, self.life, self.slot, self.n_told)


def _mapped(path: str, slot: int) -> memoryview:
    """The cells of all processes up to this one, ours empty."""
    with open(os.open(_beside(path), os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        file.truncate(max(os.fstat(file.fileno()).st_size, CELL * (slot + 1)))
        cells = memoryview(mmap.mmap(file.fileno(), CELL * (slot + 1))).cast("q")
    cells[slot] = 0
    return cells


def _beside(path: str) -> str:
    return path + "-passed"


def _tell(db: sqlite3.Connection, life: int, slot: int, n_rows: int) -> None:
    (before,) = db.execute("SELECT n_rows FROM passed WHERE slot = ?", (slot,)).fetchone()
    if n_rows > before:
        db.execute("UPDATE passed SET n_rows = ? WHERE slot = ?", (n_rows, slot))
        query = "UPDATE counts SET n_given = n_given + ? WHERE life = ?"
        db.execute(query, (n_rows - before, life))


def fold_all(db: sqlite3.Connection, path: str | None, life: int) -> None:
    """Tell the store what all processes have passed over, killed ones too."""
    if path is None or not os.path.exists(_beside(path)):
        return
    cells = np.fromfile(_beside(path), dtype=np.int64)
    for (slot,) in db.execute("SELECT slot FROM passed WHERE life = ?", (life,)).fetchall():
        if slot < len(cells):
            _tell(db, life, slot, int(cells[slot]))
