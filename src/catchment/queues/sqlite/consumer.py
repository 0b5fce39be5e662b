"""The consuming side: reads every publisher's files in turn, and removes what is drained."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catchment.errors import StorageError
from catchment.queues import Delivery, Message
from catchment.queues.sqlite import faults, files
from catchment.queues.sqlite.files import FileName
from catchment.queues.sqlite.lock import FileLock
from catchment.queues.sqlite.positions import Positions, Span
from catchment.queues.sqlite.reader import Part, Reader

_MIN_SHARE_BYTES = 256 * 1024
_SHORTEST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.05
_LIST_EVERY_S = 0.01
_MAX_OPEN_FILES = 64
_log = logging.getLogger("catchment.queue")


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """What one delivery holds; equal to itself alone, so no consumer takes another's for its own."""

    parts: list[tuple[Reader, list[Span]]] = field(default_factory=list)


class _Taken:
    """What one `receive` has gathered so far."""

    def __init__(self, max_bytes: int) -> None:
        self.messages: list[Message] = []
        self.receipt = Receipt()
        self.left_bytes = max_bytes

    @property
    def first_bytes(self) -> int | None:
        """How large the next message may be; the first one may have any size."""
        return self.left_bytes if self.messages else None

    def add(self, reader: Reader, part: Part) -> None:
        self.messages += part.messages
        self.receipt.parts.append((reader, part.spans))
        self.left_bytes -= part.bytes
        reader.unacknowledged += 1


class Consumer:
    """Receives and acknowledges; the only one of its folder, in whatever process.

    Raises `StorageError` where another one is at work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pause_s = _SHORTEST_PAUSE_S
        self._listed_at_s = -_LIST_EVERY_S
        self._outstanding: set[Receipt] = set()
        # Files of each publisher in the order written; the publisher whose turn is next comes first.
        self._publishers: dict[str, list[Reader]] = {}
        self._names: set[FileName] = set()
        with faults.storage_errors(folder):
            self._folder_lock = self._take_folder()
            try:
                self._folder_lock.write(f"process {os.getpid()}\n")
                self._positions = Positions(folder)
                self._list_files()
                self._positions.forget_all_but({str(name) for name in self._names})
            except BaseException:
                self._folder_lock.release()
                raise

    def _take_folder(self) -> FileLock:
        path = self._folder / files.CONSUMER_LOCK
        lock = FileLock.take(path)
        if lock is None:
            holder = path.read_text().strip()
            raise StorageError(
                f"the queue in {self._folder} already has a consumer: {holder or 'a process just starting'}",
                "stop that one first; an embedded queue is read by one loader",
            )
        return lock

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`."""
        deadline_s = time.monotonic() + wait_s
        while not self._closed.is_set():
            with self._lock, faults.storage_errors(self._folder):
                delivery = self._take(max_bytes)
            if delivery is not None:
                self._pause_s = _SHORTEST_PAUSE_S
                return delivery
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._closed.wait(min(self._pause_s, left_s))
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return None

    def _take(self, max_bytes: int) -> Delivery | None:
        """Go round the publishers, a share each, until the bytes are used up or nobody has anything left."""
        if self._closed.is_set():
            return None
        self._list_files()
        taken = _Taken(max_bytes)
        share_bytes = max(max_bytes // max(len(self._publishers), 1), _MIN_SHARE_BYTES)
        waiting = deque(self._publishers)
        while waiting and (taken.left_bytes > 0 or not taken.messages):
            publisher = waiting.popleft()
            if self._take_from(publisher, share_bytes, taken):
                waiting.append(publisher)
        self._remove_drained()
        if not taken.messages:
            return None
        self._outstanding.add(taken.receipt)
        return Delivery(taken.messages, taken.receipt)

    def _take_from(self, publisher: str, share_bytes: int, taken: _Taken) -> bool:
        """Take one share of a publisher's messages; False if it has none, or none that fits."""
        readers = self._publishers[publisher]
        for reader in readers:
            part = reader.read(min(share_bytes, taken.left_bytes), taken.first_bytes)
            if len(self._names) > _MAX_OPEN_FILES:
                reader.release()
            if part.messages:
                taken.add(reader, part)
                self._publishers[publisher] = self._publishers.pop(publisher)  # the others first, next time
                return True
            if not reader.is_exhausted:
                return False
            # The next file was listed before this one was read to its end, so its publisher had left this one
            # for good: the order of its messages holds.
        return False

    def _list_files(self) -> None:
        """Learn of new files; have leftovers of crashes removed."""
        if time.monotonic() - self._listed_at_s < _LIST_EVERY_S:
            return
        self._listed_at_s = time.monotonic()
        listing = files.list_folder(self._folder)
        for name in listing.files:
            if name not in self._names:
                self._names.add(name)
                reader = Reader(name, self._folder, self._positions.acked(str(name)))
                self._publishers.setdefault(name.publisher, []).append(reader)
        for name in listing.leftovers:
            files.remove_leftovers(name, self._folder)

    def _remove_drained(self) -> None:
        """Remove what nobody needs any more: files first, and durably; then what is known of them."""
        drained = [reader for readers in self._publishers.values() for reader in readers if reader.is_drained]
        if not drained:
            return
        for reader in drained:
            reader.release()
            if reader.is_damaged:
                self._set_aside(reader)
            files.remove(reader.name, self._folder)
            self._names.discard(reader.name)
            readers = self._publishers[reader.name.publisher]
            readers.remove(reader)
            if not readers:
                del self._publishers[reader.name.publisher]
        files.sync_folder(self._folder)
        self._positions.forget_all_but({str(name) for name in self._names})

    def _set_aside(self, reader: Reader) -> None:
        aside = files.set_aside(reader.path)
        _log.error(
            "at least %d messages of a damaged queue file could not be read; it was moved to %s",
            reader.lost_messages, aside,
        )  # fmt: skip

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`: there are no leases here, so what was not acknowledged is still ours."""
        with self._lock:
            return [delivery for delivery in deliveries if delivery.receipt in self._outstanding]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""
        with self._lock, faults.storage_errors(self._folder):
            receipts = self._outstanding.intersection(delivery.receipt for delivery in deliveries)
            parts = [part for receipt in receipts for part in receipt.parts]
            if not parts:
                return
            self._positions.add((str(reader.name), span) for reader, spans in parts for span in spans)
            self._outstanding -= receipts
            for reader, _ in parts:
                reader.unacknowledged -= 1
            self._remove_drained()

    def close(self) -> None:
        """Let another consumer take over. Twice does nothing."""
        self._closed.set()
        with self._lock:
            self._outstanding.clear()
            for readers in self._publishers.values():
                for reader in readers:
                    reader.release()
            self._positions.close()
            self._folder_lock.release()

    def pause(self) -> None:
        """Before a fork: let nothing of ours be inside SQLite, whose mutexes the child would inherit locked."""
        self._lock.acquire()

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def disown(self) -> None:
        """After a fork, in the child: folder and connections are the parent's."""
        self._folder_lock.release()
        self._positions.disown()
        for readers in self._publishers.values():
            for reader in readers:
                reader.disown()
