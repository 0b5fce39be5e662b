"""The outbox on disk: a lane for each process that had to write to it.

    <lane>/        an embedded queue of one process
    <lane>.lock    flocked by the process whose lane it is, for as long as it lives
    <lane>.drained a lane on its way out: it goes at once for whoever counts what waits
    broken/        damaged files of lanes that are gone

A lane whose lock can be had was left behind: whoever comes first adopts it, and removes it once it is drained.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from catchment.errors import QueueFull
from catchment.queues import Delivery, QueueStats
from catchment.queues.sqlite import Config, SqliteQueue, faults, files
from catchment.queues.sqlite.lock import FileLock

_FULL_S = 1.0
_LOCK, _DRAINED = ".lock", ".drained"


class Lane:
    """One lane, owned by this process."""

    def __init__(self, folder: Path, lock: FileLock, max_bytes: int) -> None:
        self._folder = folder
        self._lock = lock
        self._max_bytes = max_bytes
        self._queue = SqliteQueue(Config(max_bytes=max_bytes, publish_timeout_s=_FULL_S), folder)

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`."""
        try:
            self._queue.publish(messages)
        except QueueFull as error:
            raise QueueFull(
                f"the outbox in {self._folder.parent} holds its maximum of {self._max_bytes:,} bytes",
                "see why the broker takes nothing (`catchment doctor`), or raise max_bytes in [outbox]",
            ) from error

    def receive(self, max_bytes: int) -> Delivery | None:
        """As `Queue.receive`, without waiting."""
        return self._queue.receive(max_bytes, 0)

    def ack(self, delivery: Delivery) -> None:
        """As `Queue.ack`."""
        self._queue.ack([delivery])

    def stats(self) -> QueueStats:
        """As `Queue.stats`."""
        return self._queue.stats()

    def leave(self) -> None:
        """Let it be adopted; it is removed where nothing is in it."""
        self._queue.close()
        if not self._queue.stats().messages:
            broken = self._queue.broken_files()
            for file in broken:
                aside = self._folder.parent / files.BROKEN
                aside.mkdir(exist_ok=True)
                file.rename(aside / f"{self._folder.name}-{file.name}")
            drained = self._folder.with_suffix(_DRAINED)
            self._folder.rename(drained)
            shutil.rmtree(drained, ignore_errors=True)
            self._lock.path.unlink(missing_ok=True)
        self._lock.release()


def new_lane(outbox: Path, max_bytes: int) -> Lane:
    """A lane for this process. Raises `StorageError` where the disk cannot be used."""
    with faults.storage_errors(outbox):
        files.make_folder(outbox)
        while True:
            name = secrets.token_hex(8)
            lock = FileLock.take(outbox / (name + _LOCK))
            if lock is not None:
                files.make_folder(outbox / name)
                return Lane(outbox / name, lock, max_bytes)


def adopt(outbox: Path, max_bytes: int) -> list[Lane]:
    """The lanes that nobody has any more, ours from now on."""
    adopted = []
    with faults.storage_errors(outbox):
        for drained in outbox.glob(f"*{_DRAINED}"):  # by a process that was killed, or is about to
            shutil.rmtree(drained, ignore_errors=True)
        for folder in _folders(outbox):
            lock = FileLock.take(outbox / (folder.name + _LOCK))
            if lock is None:
                continue
            if folder.is_dir():
                adopted.append(Lane(folder, lock, max_bytes))
            else:  # removed since we looked
                lock.path.unlink(missing_ok=True)
                lock.release()
    return adopted


def waiting(outbox: Path) -> QueueStats:
    """What waits in all lanes, whosever they are."""
    every = [SqliteQueue(Config(), folder).stats() for folder in _folders(outbox)]
    return QueueStats(
        sum(stats.messages or 0 for stats in every),
        sum(stats.bytes or 0 for stats in every),
        max((stats.oldest_s or 0.0 for stats in every), default=0.0),
    )


def _folders(outbox: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        lanes = [each for each in outbox.iterdir() if each.suffix != _DRAINED and each.name != files.BROKEN]
        return sorted(each for each in lanes if each.is_dir())
    return []
