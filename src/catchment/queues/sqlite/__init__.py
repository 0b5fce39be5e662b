"""The embedded queue: SQLite files in a folder of the project, one for each publishing process.

Writers never wait for each other; threads of one process share a commit. The one consumer keeps what it has
acknowledged in a file of its own. `files` says what lies in the folder, `lock` who may write there, `faults` what
errors mean; `publisher` and `writer` write; `consumer`, `reader` and `positions` read and acknowledge; `measure`
counts.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from catchment.errors import StorageError
from catchment.queues import Delivery, QueueStats
from catchment.queues.sqlite import faults, files, measure
from catchment.queues.sqlite.consumer import Consumer
from catchment.queues.sqlite.measure import Room
from catchment.queues.sqlite.publisher import Publisher

__all__ = ["Config", "SqliteQueue"]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """`[queue]` with `type = "sqlite"`."""

    path: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A folder on a local disk, relative to the project; else within `.catchment`.",
            ),
        ]
        | None
    ) = None
    max_bytes: Annotated[int, Meta(ge=1_000_000, description="How much may wait before publishers are held back.")] = (
        10_000_000_000
    )
    rotate_bytes: Annotated[
        int,
        Meta(
            ge=1_000_000,
            description="A publisher begins a new file at this size; consumed ones are removed whole.",
        ),
    ] = 64_000_000
    publish_timeout_s: Annotated[
        float, Meta(ge=0, le=3600, description="How long a publisher waits for room in a full queue, in seconds.")
    ] = 10.0


class SqliteQueue:
    """A `Queue` in the folder `queue` of the runtime directory `folder`, or where `config.path` says.

    Any number of processes publish; one consumes. It may be carried through a fork: the child publishes to
    files of its own.
    """

    is_embedded = True

    def __init__(self, config: Config, folder: Path) -> None:
        self.folder = folder / "queue" if config.path is None else folder.parent / config.path
        self._config = config
        self._lock = threading.Lock()
        self._closed = False
        self._publishing: tuple[Room, Publisher] | None = None
        self._consumer: Consumer | None = None
        _queues.add(self)

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`. Raises `QueueFull`, `StorageError`, `Malformed` (a message of a gigabyte)."""
        room, publisher = self._publishing or self._start_publishing()
        room.take(sum(map(len, messages)))
        publisher.publish(messages)

    def _start_publishing(self) -> tuple[Room, Publisher]:
        with self._lock:
            self._open_folder()
            if self._publishing is None:
                config = self._config
                room = Room(self.folder, config.max_bytes, config.publish_timeout_s)
                self._publishing = room, Publisher(self.folder, config.rotate_bytes)
            return self._publishing

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`. Raises `StorageError` while another process consumes."""
        return (self._consumer or self._start_consuming()).receive(max_bytes, wait_s)

    def _start_consuming(self) -> Consumer:
        with self._lock:
            self._open_folder()
            if self._consumer is None:
                self._consumer = Consumer(self.folder)
            return self._consumer

    def _open_folder(self) -> None:
        if self._closed:
            raise StorageError(f"the queue in {self.folder} has been closed in this process", "open another one")
        with faults.storage_errors(self.folder):
            files.make_folder(self.folder)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""
        return self._consumer.keep(deliveries) if self._consumer else []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""
        if self._consumer:
            self._consumer.ack(deliveries)

    def stats(self) -> QueueStats:
        """As `Queue.stats`; what a damaged file holds is not counted."""
        return measure.stats(self.folder)

    def broken_files(self) -> list[Path]:
        """Damaged files that were set aside, with messages that could not be read."""
        return sorted((self.folder / files.BROKEN).glob("*.db"))

    def close(self) -> None:
        """As `Queue.close`."""
        with self._lock:
            self._closed = True
            publishing, self._publishing = self._publishing, None
            consumer, self._consumer = self._consumer, None
        if publishing:
            room, publisher = publishing
            room.close()
            publisher.close()
        if consumer:
            consumer.close()

    def pause(self) -> None:
        """Before a fork."""
        self._lock.acquire()
        if self._publishing:
            self._publishing[1].pause()
        if self._consumer:
            self._consumer.pause()

    def resume(self) -> None:
        """After a fork, in the parent."""
        if self._consumer:
            self._consumer.resume()
        if self._publishing:
            self._publishing[1].resume()
        self._lock.release()

    def disown(self) -> None:
        """After a fork, in the child: begin anew, with files and connections of its own."""
        if self._publishing:
            self._publishing[1].disown()
        if self._consumer:
            self._consumer.disown()
        self._publishing = self._consumer = None
        self._lock.release()


_queues: weakref.WeakSet[SqliteQueue] = weakref.WeakSet()
_forking = threading.Lock()
_paused: list[SqliteQueue] = []


def _before_fork() -> None:
    _forking.acquire()
    _paused[:] = _queues
    for queue in _paused:
        queue.pause()


def _after_fork_in_parent() -> None:
    for queue in _paused:
        queue.resume()
    _paused.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    for queue in _paused:
        queue.disown()
    _paused.clear()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
