"""How much waits in the queue, and whether there is room for more."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from catchment.errors import QueueFull
from catchment.queues import QueueStats
from catchment.queues.sqlite import faults, files, positions
from catchment.queues.sqlite.positions import Span

_MAX_STEP_BYTES = 16 * 1024 * 1024
_LOOK_AGAIN_S = 0.05


def stats(folder: Path) -> QueueStats:
    """What was published to `folder` and not acknowledged, by whichever process. Reads three rows a file."""
    with faults.storage_errors(folder):
        try:
            # Positions first: what is acknowledged meanwhile still counts, rather than counting below zero.
            acked = positions.read_file(folder)
            listed = files.list_folder(folder).files
        except FileNotFoundError:
            return QueueStats(0, 0, 0.0)  # nobody has published yet, or it was drained and removed meanwhile
        waiting = [_waiting(name.path(folder), acked.get(str(name), [])) for name in listed]
    oldest_us = min((oldest for _, _, oldest in waiting if oldest is not None), default=None)
    return QueueStats(
        messages=sum(messages for messages, _, _ in waiting),
        bytes=sum(size for _, size, _ in waiting),
        oldest_s=0.0 if oldest_us is None else max(0.0, time.time() - oldest_us / 1e6),
    )


def _waiting(path: Path, acked: Sequence[Span]) -> tuple[int, int, int | None]:
    """What waits in one file: messages, bytes, the first one's time. Nothing where it can't be read."""
    try:
        with closing(files.connect_to_read(path)) as db:
            last = db.execute("SELECT id, total_bytes FROM messages ORDER BY id DESC LIMIT 1").fetchone()
            if last is None:
                return 0, 0, None
            messages, size_bytes = last
            for span in acked:
                messages -= span.last + 1 - span.first
                size_bytes -= _total_bytes(db, span.last) - _total_bytes(db, span.first - 1)
            first_id = acked[0].last + 1 if acked and acked[0].first == 1 else 1
            first = db.execute("SELECT enqueued_at FROM messages WHERE id = ?", (first_id,)).fetchone()
            return messages, size_bytes, first[0] if first else None
    except sqlite3.DatabaseError as error:
        if faults.is_damage(error) or not path.exists():
            return 0, 0, None  # the consumer deals with damage, and tells of it
        raise


def _total_bytes(db: sqlite3.Connection, row_id: int) -> int:
    row = db.execute("SELECT total_bytes FROM messages WHERE id = ?", (row_id,)).fetchone()
    return int(row[0]) if row else 0


class Room:
    """Holds publishers back while `max_bytes` or more wait in the queue.

    Looking is too dear for each message, so a look allows for some bytes to come: with several publishers the
    queue may grow beyond its bound by a few MB each. What the files take on disk is never less than what waits
    in them, and quick to learn; only where that is too much are the files asked what of it still waits.
    """

    def __init__(self, folder: Path, max_bytes: int, timeout_s: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._step_bytes = max(min(max_bytes // 64, _MAX_STEP_BYTES), 1)
        self._lock = threading.Lock()
        self._allowed_bytes = 0
        self._closed = threading.Event()

    def take(self, size_bytes: int) -> None:
        """Return when there is room. Raises `QueueFull` when there was none for `timeout_s`."""
        deadline_s = time.monotonic() + self._timeout_s
        while not self._has_taken(size_bytes):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._closed.is_set():
                raise QueueFull(
                    f"the queue in {self._folder} holds its maximum of {self._max_bytes:,} bytes",
                    "see that the loader runs (`catchment status`), or raise max_bytes in [queue]",
                )
            self._closed.wait(min(_LOOK_AGAIN_S, left_s))

    def _has_taken(self, size_bytes: int) -> bool:
        with self._lock:
            if self._allowed_bytes <= 0:
                with faults.storage_errors(self._folder):
                    self._allowed_bytes = self._look()
            if self._allowed_bytes <= 0:
                return False
            # The last one may go beyond: else a message larger than the queue would wait forever.
            self._allowed_bytes -= size_bytes
            return True

    def _look(self) -> int:
        """How many bytes may come before the next look."""
        taken_bytes = files.disk_bytes(self._folder)
        if taken_bytes >= self._max_bytes:
            taken_bytes = stats(self._folder).bytes or 0
        return min(self._max_bytes - taken_bytes, self._step_bytes)

    def close(self) -> None:
        """Have those who wait give up."""
        self._closed.set()
