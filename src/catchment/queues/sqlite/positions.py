"""What the consumer has acknowledged, on disk: spans of row ids, per file of messages."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from catchment.queues.sqlite import faults, files

POSITIONS = "positions.db"
_SCHEMA = """
CREATE TABLE acked (
    file     TEXT NOT NULL,
    first_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL,
    PRIMARY KEY (file, first_id)
) WITHOUT ROWID
"""
_log = logging.getLogger("catchment.queue")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Row ids from `first` to `last`, both included."""

    first: int
    last: int


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same ids in as few spans as possible, in order."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return merged


def read(db: sqlite3.Connection) -> dict[str, list[Span]]:
    """Spans by file, in order, of an open positions file."""
    acked: dict[str, list[Span]] = {}
    for file, first, last in db.execute("SELECT file, first_id, last_id FROM acked ORDER BY file, first_id"):
        acked.setdefault(file, []).append(Span(first, last))
    return acked


def read_file(folder: Path) -> dict[str, list[Span]]:
    """Spans by file, for whoever is not the consumer."""
    path = folder / POSITIONS
    if not path.exists():
        return {}  # nobody has consumed anything yet: looked at first, since it may come while we fail to open it
    try:
        with closing(files.connect_to_read(path)) as db:
            return read(db)
    except sqlite3.OperationalError:
        if path.exists():
            raise
        return {}  # the folder was removed meanwhile


class Positions:
    """The consumer's own file; it alone writes there.

    In the normal case a file has one span, from 1 to what was acknowledged last; acknowledging out of order
    leaves more of them for a while.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / POSITIONS
        try:
            self._db = self._open()
            self._acked = read(self._db)
        except sqlite3.DatabaseError as error:
            if not faults.is_damage(error):
                raise
            aside = files.set_aside(self._path)
            _log.error(
                "%s is damaged and was moved to %s: what still lies in the queue is delivered once more",
                self._path, aside,
            )  # fmt: skip
            self._db = self._open()
            self._acked = {}

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            files.create(self._path, _SCHEMA)
            files.sync_folder(self._path.parent)
        db = files.connect(self._path)
        try:
            db.execute("PRAGMA synchronous = FULL")
            # A short -wal that is written over: acknowledging then works on a full disk too, and makes room.
            db.execute("PRAGMA wal_autocheckpoint = 16")
            files.check_format(db, self._path)
        except BaseException:
            db.close()
            raise
        return db

    def acked(self, file: str) -> list[Span]:
        """What of this file has been acknowledged."""
        return self._acked.get(file, [])

    def add(self, spans: Iterable[tuple[str, Span]]) -> None:
        """Acknowledge these spans, all or none of them."""
        changed: dict[str, list[Span]] = {}
        for file, span in spans:
            changed.setdefault(file, list(self.acked(file))).append(span)
        changed = {file: merge(all_of_it) for file, all_of_it in changed.items()}
        rows = [(file, span.first, span.last) for file, merged in changed.items() for span in merged]
        with self._transaction():
            self._db.executemany("DELETE FROM acked WHERE file = ?", [(file,) for file in changed])
            self._db.executemany("INSERT INTO acked VALUES (?, ?, ?)", rows)
        self._acked |= changed

    def forget_all_but(self, existing: Collection[str]) -> None:
        """Drop what is known of files that are gone, durably so: were one to come back, it would count again."""
        gone = [file for file in self._acked if file not in existing]
        if gone:
            with self._transaction():
                self._db.executemany("DELETE FROM acked WHERE file = ?", [(file,) for file in gone])
            for file in gone:
                del self._acked[file]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def disown(self) -> None:
        """After a fork, in the child."""
        files.disown(self._db)
