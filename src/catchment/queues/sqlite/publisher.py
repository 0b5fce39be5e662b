"""The publishing side: many threads, one file at a time, one commit for all who wait."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from catchment.errors import CatchmentError, Malformed, Retry, StorageError
from catchment.queues.sqlite import faults
from catchment.queues.sqlite.files import FileName
from catchment.queues.sqlite.writer import Writer

MAX_MESSAGE_BYTES = 999_000_000
"""SQLite's own bound for a row, less a little."""


class _Group:
    """Messages of several threads that one commit makes durable together."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.has_leader = False
        self.done = threading.Event()
        self.error: CatchmentError | None = None


class Publisher:
    """Appends to files of its own under `folder`, each up to `rotate_bytes`.

    One group of messages is in flight; whoever comes meanwhile joins the next one. The first to join leads
    it: waits for the group before, closes its own and commits for all.
    """

    def __init__(self, folder: Path, rotate_bytes: int) -> None:
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._identity = secrets.token_hex(8)
        self._number = 0
        self._joining = threading.Lock()
        self._collecting = _Group()
        self._committing = threading.Lock()
        self._writer: Writer | None = None
        self._housekeeper = _Housekeeper()
        self._closed = False

    def publish(self, messages: Sequence[bytes]) -> None:
        """Return once all are durable. Raises `StorageError`, `Retry`."""
        if not messages:
            return
        for body in messages:
            if len(body) > MAX_MESSAGE_BYTES:
                raise Malformed(
                    "oversized", f"a message of {len(body):,} bytes; the queue takes {MAX_MESSAGE_BYTES:,}"
                )
        with self._joining:
            group = self._collecting
            group.messages.extend(messages)
            leads = not group.has_leader
            group.has_leader = True
        if leads:
            self._lead(group)
        else:
            group.done.wait()
        if group.error is not None:
            # A new one for each thread: an exception carries the traceback of one raise.
            raise type(group.error)(group.error.message, group.error.hint) from group.error

    def _lead(self, group: _Group) -> None:
        """Commit the group once it is its turn. Whatever happens, its followers hear of it."""
        group.error = Retry("publishing was interrupted", "publish again, with the same ids")
        try:
            with self._committing:
                self._close_to_joiners(group)
                with faults.storage_errors(self._folder):
                    self._commit(group.messages)
            group.error = None
        except (StorageError, Retry) as error:
            group.error = error
        finally:
            self._close_to_joiners(group)
            group.done.set()

    def _close_to_joiners(self, group: _Group) -> None:
        with self._joining:
            if self._collecting is group:
                self._collecting = _Group()

    def _commit(self, messages: list[bytes]) -> None:
        """Append to the current file, beginning and ending files as needed. The caller holds `_committing`."""
        if self._closed:
            raise StorageError("the queue has been closed in this process", "open another one")
        writer = self._writer
        if writer is None:
            self._number += 1
            writer = self._writer = Writer(FileName(self._identity, self._number), self._folder)
        try:
            writer.append(messages)
        except BaseException as error:
            # Once a write or sync has failed, a later sync that succeeds proves nothing about the pages before
            # it: what comes next goes to a new file. A full disk is another matter: SQLite has rolled back.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                self._finish_file()
            raise
        if writer.total_bytes >= self._rotate_bytes:
            self._finish_file()
        elif writer.wants_copy():
            self._housekeeper.copy(writer)

    def _finish_file(self) -> None:
        assert self._writer is not None
        self._housekeeper.finish(self._writer)
        self._writer = None

    def close(self) -> None:
        """Finish the current file, after what is being committed. Twice does nothing."""
        with self._committing:
            self._closed = True
            if self._writer is not None:
                self._finish_file()
        self._housekeeper.stop()

    def pause(self) -> None:
        """Before a fork: let nothing of ours be inside SQLite, whose mutexes the child would inherit locked."""
        self._committing.acquire()
        self._housekeeper.working.acquire()

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._housekeeper.working.release()
        self._committing.release()

    def disown(self) -> None:
        """After a fork, in the child: the files are the parent's, and so are the threads that waited."""
        for writer in (*self._housekeeper.finishing, self._writer):
            if writer is not None:
                writer.disown()


class _Housekeeper:
    """A thread that copies -wal files into their db and closes finished files, off the path of commits."""

    def __init__(self) -> None:
        self.working = threading.Lock()
        self.finishing: list[Writer] = []
        self._to_copy: Writer | None = None
        self._wanted = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def copy(self, writer: Writer) -> None:
        """Have the writer's -wal copied soon."""
        with self._wanted:
            self._to_copy = writer
            self._wake()

    def finish(self, writer: Writer) -> None:
        """Have the writer closed soon; it is not written to any more."""
        with self._wanted:
            self.finishing.append(writer)
            self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="queue-housekeeping", daemon=True)
            self._thread.start()
        self._wanted.notify()

    def stop(self) -> None:
        """Return once every finished file is closed."""
        with self._wanted:
            self._stopping = True
            self._wanted.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self.finishing or self._to_copy or self._stopping)
                if self._stopping and not self.finishing:
                    return
                to_copy, self._to_copy = self._to_copy, None
            with self.working:
                if to_copy is not None and to_copy not in self.finishing:
                    to_copy.copy_wal()
                while self.finishing:
                    self.finishing[0].close()
                    del self.finishing[0]
