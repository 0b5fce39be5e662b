"""One file of messages while the consumer reads it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path

from catchment.queues import Message
from catchment.queues.sqlite import faults, files
from catchment.queues.sqlite.files import FileName
from catchment.queues.sqlite.lock import FileLock
from catchment.queues.sqlite.positions import Span

_STEPS = [2**power for power in range(21)]
"""How far ahead to look for readable rows, where the end is damaged: beyond what one page of the tree holds."""
_END_ID = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SELECT = "SELECT id, enqueued_at, body FROM messages WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
_FEW_ROWS, _MANY_ROWS = 16, 1_000
"""How many rows are read at once: at first, and at most. Their sizes are looked at after each few."""
# Never asks for the next row: it may be the damaged one, and its error would take this one with it.
_SELECT_ONE = "SELECT id, enqueued_at, body FROM messages WHERE id = ?"
_log = logging.getLogger("catchment.queue")


@dataclass(slots=True)
class Part:
    """What one `read` took: messages in order, and the row ids that acknowledging them acknowledges."""

    messages: list[Message] = field(default_factory=list)
    bytes: int = 0
    _closed: list[Span] = field(default_factory=list)
    _first: int = 0
    _last: int = -2

    def add(self, row_id: int, message: Message) -> None:
        """Take one more message, in order of ids."""
        self.messages.append(message)
        self.bytes += len(message.body)
        if row_id != self._last + 1:
            self._closed = self.spans
            self._first = row_id
        self._last = row_id

    def add_all(self, rows: Sequence[tuple[int, Message]], size_bytes: int) -> None:
        """Take these, in order of ids."""
        first, last = rows[0][0], rows[-1][0]
        if first == self._last + 1 and last - first + 1 == len(rows):
            self.messages += [message for _, message in rows]
            self.bytes += size_bytes
            self._last = last
        else:
            for row_id, message in rows:
                self.add(row_id, message)

    @property
    def spans(self) -> list[Span]:
        """The row ids."""
        return [*self._closed, Span(self._first, self._last)] if self._last >= 0 else []


class Reader:
    """Reads a publisher's file in order, passing over what was acknowledged, and never writes to it.

    A damaged file is read as far as it can be. Where nothing readable follows the damage, that is final only
    once the file is finished; until then its publisher may still append.
    """

    def __init__(self, name: FileName, folder: Path, acked: Sequence[Span]) -> None:
        self.name = name
        self.path = name.path(folder)
        self.unacknowledged = 0
        """How many parts have been handed out and not acknowledged."""
        self.is_exhausted = False
        """Nothing followed at the last `read`; for good, if the file is finished."""
        self.is_damaged = False
        self.lost_messages = 0
        """How many are known to be unreadable; there may be more behind the last readable one."""
        self._lock_path = name.path(folder, ".lock")
        self._is_finished = False
        self._ends_in_damage = False
        self._next_id = 1
        self._acked = [*acked, Span(_END_ID, _END_ID)]
        self._db: sqlite3.Connection | None = None
        self._prefix = f"{name}/"
        self._at_once = _FEW_ROWS
        self._room_bytes = 0
        self._row_bytes = 1
        self._enqueued = (-1, _EPOCH)
        """The last time read, as in the file and as a datetime: messages of one commit share it."""

    @property
    def is_drained(self) -> bool:
        """Whether nothing can follow, and all that came has been acknowledged."""
        return self._is_finished and self.is_exhausted and not self.unacknowledged

    def read(self, share_bytes: int, first_bytes: int | None) -> Part:
        """The next messages, up to `share_bytes`; at least one, if it has up to `first_bytes` (None: any size).

        Raises sqlite3.Error where it is not the file's content that is to blame.
        """
        part = self._read(share_bytes, first_bytes)
        if not part.messages and self.is_exhausted and not self._is_finished and self._has_no_publisher():
            # The publisher may have committed between our read and its end: its last word is read only now.
            self._is_finished = True
            self._ends_in_damage = False
            part = self._read(share_bytes, first_bytes)
        if self._is_finished and self.is_exhausted:
            self.release()
        return part

    def _read(self, share_bytes: int, first_bytes: int | None) -> Part:
        part = Part()
        self._room_bytes = share_bytes
        self.is_exhausted = self._ends_in_damage
        while not self.is_exhausted:
            last = self._pass_over_acked()
            with closing(self._rows(self._next_id, last)) as batches:
                for rows in batches:
                    if not self._take(rows, part, share_bytes, first_bytes):
                        return part
            if last == _END_ID - 1:
                self.is_exhausted = True
            else:
                self.lost_messages += last + 1 - self._next_id
                self._next_id = last + 1
        return part

    def _take(
        self, rows: Sequence[tuple[int, Message]], part: Part, share_bytes: int, first_bytes: int | None
    ) -> bool:
        """Add them to the part; False once one is too large for what is left."""
        size_bytes = sum([len(message.body) for _, message in rows])
        self._row_bytes = size_bytes // len(rows)
        if part.messages and part.bytes + size_bytes <= share_bytes:
            last = rows[-1][0]
            self.lost_messages += last + 1 - self._next_id - len(rows)
            self._next_id = last + 1
            part.add_all(rows, size_bytes)
        else:
            for row_id, message in rows:
                limit_bytes = share_bytes if part.messages else first_bytes
                if limit_bytes is not None and part.bytes + len(message.body) > limit_bytes:
                    return False
                self.lost_messages += row_id - self._next_id
                self._next_id = row_id + 1
                part.add(row_id, message)
        self._room_bytes = share_bytes - part.bytes
        self._at_once = max(1, min(_MANY_ROWS, self._room_bytes // max(1, self._row_bytes)))
        return True

    def _pass_over_acked(self) -> int:
        """Move to the next id that is not acknowledged; return the last one before the next that is."""
        while self._next_id >= self._acked[0].first:
            self._next_id = max(self._next_id, self._acked.pop(0).last + 1)
        return self._acked[0].first - 1

    def _rows(self, first: int, last: int) -> Generator[list[tuple[int, Message]], None, None]:
        """The readable rows from `first` to `last`, in order, some at a time."""
        self._at_once = _FEW_ROWS
        is_whole = True
        while True:
            at_once = self._at_once if is_whole else 1
            try:
                found = self._fetched(first, last, at_once)
            except sqlite3.DatabaseError as error:
                if not self.path.exists():
                    self._give_up_on_removed()
                    return
                if not faults.is_damage(error):
                    raise
                self._note_damage(error)
                is_whole = False
                behind = self._behind_damage(first, last)
                if behind is None:
                    self._ends_in_damage = last == _END_ID - 1
                    return
                yield [behind]
                first = behind[0] + 1
                continue
            if not found:
                return
            first = found[-1][0] + 1
            if rows := self._messages(found):
                yield rows

    def _fetched(self, first: int, last: int, count: int) -> list[tuple[int, object, object]]:
        """So many rows; fewer, if they are larger than those before, by which it was told how many have room."""
        found: list[tuple[int, object, object]] = []
        size_bytes = 0
        with closing(self._connection().execute(_SELECT, (first, last, count))) as rows:
            while size_bytes <= self._room_bytes and (some := rows.fetchmany(_FEW_ROWS)):
                found += some
                size_bytes += sum([len(body) for _, _, body in some if isinstance(body, bytes)])
        return found

    def _messages(self, found: Sequence[tuple[int, object, object]]) -> list[tuple[int, Message]]:
        """What they hold; those that damage has left something else in are left out."""
        ids, times, bodies = zip(*found, strict=True)
        if set(times) == {self._enqueued[0]} and set(map(type, bodies)) == {bytes}:
            identities = map(self._prefix.__add__, map(str, ids))
            return list(zip(ids, map(Message, bodies, identities, repeat(self._enqueued[1])), strict=True))
        rows = []
        for row_id, enqueued_at, body in found:
            if enqueued_at == self._enqueued[0] and type(body) is bytes:
                rows.append((row_id, Message(body, f"{self._prefix}{row_id}", self._enqueued[1])))
            elif message := self._message(row_id, enqueued_at, body):
                rows.append((row_id, message))
        return rows

    def _behind_damage(self, first: int, last: int) -> tuple[int, Message] | None:
        """The first row from `first` on that can be read by itself, if any can."""
        try:
            db = self._connection()
            for row_id in range(first, min(last, self._last_readable(db, first)) + 1):
                if message := self._lookup(db, row_id):
                    return row_id, message
        except sqlite3.DatabaseError as error:
            if not faults.is_damage(error):
                raise
            # Not even its header can be read, which has been told.
        return None

    def _last_readable(self, db: sqlite3.Connection, first: int) -> int:
        """The highest id, or where the end is damaged too, one from which on it pays to search again."""
        try:
            return int(db.execute("SELECT max(id) FROM messages").fetchone()[0] or 0)
        except sqlite3.DatabaseError as error:
            if not faults.is_damage(error):
                raise
        return max((row_id for row_id in (first + step for step in _STEPS) if self._lookup(db, row_id)), default=0)

    def _lookup(self, db: sqlite3.Connection, row_id: int) -> Message | None:
        """One message; None if it is not there or cannot be read."""
        try:
            row = db.execute(_SELECT_ONE, (row_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not faults.is_damage(error):
                raise
            return None
        return self._message(*row) if row else None

    def _message(self, row_id: int, enqueued_at: object, body: object) -> Message | None:
        """The message of a row; None where damage has left something else in it."""
        if isinstance(enqueued_at, int) and isinstance(body, bytes):
            try:
                if enqueued_at != self._enqueued[0]:
                    self._enqueued = enqueued_at, _EPOCH + timedelta(microseconds=enqueued_at)
                return Message(body, self._prefix + str(row_id), self._enqueued[1])
            except OverflowError:
                pass
        self.is_damaged = True
        return None

    def _note_damage(self, error: sqlite3.Error) -> None:
        if not self.is_damaged:
            self.is_damaged = True
            _log.error(
                "the queue's file %s is damaged (%s): what can be read of it is delivered. Check the disk.",
                self.path, error,
            )  # fmt: skip

    def _give_up_on_removed(self) -> None:
        _log.error("the queue's file %s has been removed by somebody else: its messages are gone", self.path)
        self._is_finished = True
        self._ends_in_damage = True

    def _has_no_publisher(self) -> bool:
        """Whether the publisher has let go of the file; it never takes it again, so we need not hold the lock."""
        lock = FileLock.take(self._lock_path)
        if lock is None:
            return False
        lock.release()
        return True

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = files.connect_to_read(self.path)
        return self._db

    def release(self) -> None:
        """Close the connection; the next `read` opens another."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def disown(self) -> None:
        """After a fork, in the child."""
        if self._db is not None:
            files.disown(self._db)
