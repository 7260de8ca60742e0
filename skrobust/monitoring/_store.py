"""One SQLite file that holds everything a monitor knows; a kill at any moment loses nothing.

Each update is one transaction: it is in the file as a whole, or not at all. The file is in WAL mode, so
readers never wait; writers of several processes take turns.

``counts`` is what every update writes, and short; ``states`` is written at a look. ``rows`` holds rows that
wait, are flagged, have a label or a name of the user's; all others lie in ``bundles``, one per update, and
come out of them when a label does. Both share one numbering, ``seq``. ``passed`` says how many rows each
process has passed over (see ``_passed``).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Store"]

FORMAT = 3
PATIENCE = 120  # seconds to wait for another writer
TABLES = """
CREATE TABLE IF NOT EXISTS lives (
    id INTEGER PRIMARY KEY, fingerprint TEXT, config TEXT, began REAL, setup BLOB);
CREATE INDEX IF NOT EXISTS by_fingerprint ON lives (fingerprint, id);
CREATE TABLE IF NOT EXISTS counts (
    life INTEGER PRIMARY KEY, version INTEGER, n_given INTEGER, n_updates INTEGER, n_labels INTEGER,
    n_waiting INTEGER, categories TEXT);
CREATE TABLE IF NOT EXISTS states (life INTEGER PRIMARY KEY, state BLOB);
CREATE TABLE IF NOT EXISTS windows (
    life INTEGER, number INTEGER, kind TEXT, n_rows INTEGER, n_given INTEGER, time REAL, record BLOB,
    PRIMARY KEY (life, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (
    life INTEGER, number INTEGER, time REAL, reason TEXT);
CREATE TABLE IF NOT EXISTS rows (
    seq INTEGER PRIMARY KEY, life INTEGER, id, x BLOB, output BLOB, watched BLOB,
    flagged INTEGER DEFAULT 0, looked INTEGER DEFAULT 0, y BLOB, label TEXT, judged INTEGER);
CREATE TABLE IF NOT EXISTS bundles (
    seq INTEGER PRIMARY KEY, life INTEGER, n INTEGER, low INTEGER, ids BLOB, x BLOB, output BLOB,
    watched BLOB);
CREATE TABLE IF NOT EXISTS passed (slot INTEGER PRIMARY KEY, life INTEGER, n_rows INTEGER);
CREATE INDEX IF NOT EXISTS by_number ON bundles (life, low);
CREATE INDEX IF NOT EXISTS by_id ON rows (life, id);
CREATE INDEX IF NOT EXISTS waiting ON rows (life, seq) WHERE looked = 0;
CREATE INDEX IF NOT EXISTS unjudged ON rows (life, judged) WHERE judged > 0;
CREATE INDEX IF NOT EXISTS flags ON rows (life, seq) WHERE flagged = 1;
"""


class Store:
    """A connection of this process and thread-safe access to it.

    Parameters
    ----------
    path : str, Path or None
        None keeps everything in memory.
    """

    def __init__(self, path: str | Path | None, image: bytes | None = None):
        self.path = None if path is None else os.fspath(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._image = image

    @property
    def connection(self) -> sqlite3.Connection:
        """A connection must not cross a fork: each process opens its own."""
        if self._connection is None or (self.path and self._process != os.getpid()):
            _inherited.append(self._connection)
            self._connection, self._process = self._open(), os.getpid()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path or ":memory:", PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            if self._image:
                connection.deserialize(self._image)
                self._image = None
            connection.execute("PRAGMA busy_timeout = %d" % (1000 * PATIENCE))  # noqa: UP031
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            _make(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise ValueError(f"store={self.path!r} is not a monitor's SQLite file.") from error
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; other writers wait."""
        with self._lock:
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def read(self, query: str, *values: Any) -> list[tuple]:
        with self._lock:
            return self.connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file. What was in memory only stays."""
        if self.path is None:
            return
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __getstate__(self) -> dict:
        with self._lock:
            image = None if self.path else self.connection.serialize()
        return {"path": self.path, "image": image}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"], state["image"])


_inherited: list = []  # a child must not even close its parent's connections


def _write_ahead(connection: sqlite3.Connection) -> None:
    """WAL mode; the one switch that SQLite does not queue for while another process makes it."""
    for attempt in range(200):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if attempt == 199:
                raise
            time.sleep(0.05)


def _make(connection: sqlite3.Connection) -> None:
    """Tables, once; a file of another program or of a newer format is an error."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == FORMAT:
        return
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if version not in (0, 2) or (tables and "lives" not in tables):
        raise ValueError(
            "store is an SQLite file of another program or of another version of this one: give the "
            "path of a file that is not there yet."
        )
    connection.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
