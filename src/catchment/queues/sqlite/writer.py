"""One file of messages while its publisher writes to it."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from catchment.queues.sqlite import files
from catchment.queues.sqlite.files import FileName
from catchment.queues.sqlite.lock import FileLock

CHECKPOINT_BYTES = 4 * 1024 * 1024
_RETRY_BYTES = 1024 * 1024
_READERS_WAIT_S = 0.01
_INSERT = "INSERT INTO messages (id, enqueued_at, total_bytes, body) VALUES (?, ?, ?, ?)"
_log = logging.getLogger("catchment.queue")


class Writer:
    """Appends messages, durably, to a new file that only this process writes to.

    The -wal is kept short in two steps: `copy_wal`, from another thread while commits go on, copies most of it
    into the db; the next `append` copies the few pages left and then writes over the -wal from its start.
    Apart from that, one thread at a time.
    """

    def __init__(self, name: FileName, folder: Path) -> None:
        self.name = name
        self.total_bytes = 0
        self._last_id = 0
        self._in_wal_bytes = 0
        self._copy_at_bytes = CHECKPOINT_BYTES
        self._is_copied = False
        lock = FileLock.take(name.path(folder, ".lock"), wait=True)
        assert lock is not None
        self._lock = lock
        self._connections: list[sqlite3.Connection] = []
        try:
            files.create(name.path(folder))
            self._db = files.connect_to_append(name.path(folder))
            self._connections.append(self._db)
            self._checkpoints = files.connect(name.path(folder), _READERS_WAIT_S)
            self._connections.append(self._checkpoints)
            # Has SQLite create the -wal now, so that one sync makes both entries of the folder durable.
            self._db.execute("SELECT max(id) FROM messages").fetchone()
            files.sync_folder(folder)
        except BaseException:
            # A full disk would otherwise fill with what each try leaves.
            with suppress(OSError):
                files.remove(name, folder)
            self.close()
            raise

    def append(self, messages: Sequence[bytes]) -> None:
        """Make the messages durable in one commit. Raises sqlite3.Error, and then has kept all or none."""
        if self._is_copied:
            self._restart_wal()
        now_us = time.time_ns() // 1000
        total_bytes = self.total_bytes
        rows = []
        for row_id, body in enumerate(messages, self._last_id + 1):
            total_bytes += len(body)
            rows.append((row_id, now_us, total_bytes, body))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT, rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._in_wal_bytes += total_bytes - self.total_bytes
        self._last_id += len(rows)
        self.total_bytes = total_bytes

    def _roll_back(self) -> None:
        # After some errors SQLite has rolled back by itself; the first error is the one to tell.
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def wants_copy(self) -> bool:
        """Whether the -wal has grown enough for `copy_wal`; True once for each time that it has."""
        if self._in_wal_bytes < self._copy_at_bytes:
            return False
        self._copy_at_bytes = self._in_wal_bytes + _RETRY_BYTES
        return True

    def copy_wal(self) -> None:
        """Copy what the -wal holds into the db."""
        if not self._is_copied:
            self._checkpoint("PASSIVE")
            self._is_copied = True

    def _restart_wal(self) -> None:
        """Copy the rest, and have the next commit write over the -wal from its start.

        Never TRUNCATE: overwriting blocks that the file already has makes its fdatasync cheap. With a reader
        in the middle of the -wal it grows on until the next try.
        """
        self._is_copied = False
        if self._checkpoint("RESTART"):
            self._in_wal_bytes = 0
            self._copy_at_bytes = CHECKPOINT_BYTES

    def _checkpoint(self, mode: str) -> bool:
        """Whether all of the -wal is in the db. Where it is not, nothing is lost: the -wal is as durable."""
        try:
            busy, _, _ = self._checkpoints.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            _log.warning("the queue's file %s could not be checkpointed: %s", self.name, error)
            return False
        return not busy

    def close(self) -> None:
        """Stop writing for good: from now on the consumer knows the file as finished. Twice does nothing."""
        try:
            while self._connections:
                self._connections.pop().close()
        finally:
            self._lock.release()

    def disown(self) -> None:
        """After a fork, in the child: let go of the parent's file and leave it untouched."""
        self._lock.release()
        for connection in self._connections:
            files.disown(connection)
