"""Rows that were looked at and that nobody has named, flagged or labelled: one blob per update.

A bundle's row has the number ``seq + place``, which it takes along when a label makes it a row of its own.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import numpy as np

__all__ = ["add", "give_labels", "next_number", "number_of"]


class Bundle(NamedTuple):
    """``ids`` ascend; rows of the blobs in their order."""

    seq: int
    ids: np.ndarray
    x: bytes
    output: bytes | None
    watched: bytes

    def row(self, place: int) -> tuple[bytes, bytes | None, bytes]:
        """(x, output, watched) of one row."""
        return tuple(_slice(part, place, len(self.ids)) for part in self[2:])


def _slice(data: bytes | None, place: int, n: int) -> bytes | None:
    if data is None:
        return None
    size = len(data) // n
    return data[place * size : (place + 1) * size]


def next_number(db: sqlite3.Connection) -> int:
    """The first number (``seq``) that no row has."""
    single = db.execute("SELECT MAX(seq) FROM rows").fetchone()[0] or 0
    last = db.execute("SELECT seq + n - 1 FROM bundles ORDER BY seq DESC LIMIT 1").fetchone()
    return max(single, last[0] if last else 0) + 1


def number_of(name: str) -> int | None:
    """The number that a row has for a name if the user gave none; None for other names.

    >>> number_of("17"), number_of("017"), number_of("row 17")
    (17, None, None)
    """
    return int(name) if name.isdecimal() and len(name) < 19 and str(int(name)) == name else None


def add(
    db: sqlite3.Connection,
    life: int,
    seq: int,
    ids: np.ndarray,
    values: np.ndarray,
    kept: np.ndarray,
) -> None:
    db.execute(
        "INSERT INTO bundles VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
        (
            seq, life, len(ids), int(ids[0]), ids.astype(np.int64).tobytes(),
            np.ascontiguousarray(values, dtype=np.float64).tobytes(), kept.tobytes(),
        ),
    )  # fmt: skip


def give_labels(db: sqlite3.Connection, life: int, labels: list[tuple[int, bytes, str]]) -> int:
    """Make rows of their own of those that get a label (number, y, word); how many there were."""
    bundle, found = None, 0
    for number, y, word in sorted(labels):
        if bundle is None or not bundle.ids[0] <= number <= bundle.ids[-1]:
            bundle = _holding(db, life, number)
        if bundle is None:
            continue
        place = int(np.searchsorted(bundle.ids, number))
        if place == len(bundle.ids) or bundle.ids[place] != number:
            continue
        cursor = db.execute(
            "INSERT OR IGNORE INTO rows (seq, life, id, x, output, watched, looked, y, label, judged)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, 1)",
            (bundle.seq + place, life, number, *bundle.row(place), y, word),
        )
        found += cursor.rowcount
    return found


def _holding(db: sqlite3.Connection, life: int, number: int) -> Bundle | None:
    """The bundle that the row would lie in."""
    query = (
        "SELECT seq, ids, x, output, watched FROM bundles WHERE life = ? AND low <= ? "
        "ORDER BY low DESC LIMIT 1"
    )
    row = db.execute(query, (life, number)).fetchone()
    return None if row is None else Bundle(row[0], np.frombuffer(row[1], np.int64), *row[2:])
