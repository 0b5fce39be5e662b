"""The files of the embedded queue: their names and format, how they come and go.

    <publisher>-<number>.db         messages of one publisher, in SQLite's WAL mode (with its -wal and -shm)
    <publisher>-<number>.lock       flocked by the publisher for as long as it may write to the file
    positions.db, consumer.lock     what the consumer has acknowledged; flocked by the consumer
    broken/                         damaged files, as far as nothing more could be read from them

The publisher's part of a name is random and the number counts up, so a name never recurs, not even after a
clock was set back: a position, or a stray -wal, can never meet a file that it does not belong to. A file whose
lock can be had is finished for good: its publisher has gone, or has rotated to the next one.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from catchment.errors import StorageError
from catchment.queues.sqlite import faults
from catchment.queues.sqlite.lock import FileLock

FORMAT_VERSION = 1
BROKEN = "broken"
CONSUMER_LOCK = "consumer.lock"

_NAME = re.compile(r"(?P<publisher>[0-9a-f]{16})-(?P<number>\d{6,})\Z")
_UNFINISHED = ".new"
_SIDE_FILES = ("-wal", "-shm", "-journal")
# Row ids count up from 1 without gaps and totals add up, so what waits is a difference of two rows: no scan.
_SCHEMA = """
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY,
    enqueued_at INTEGER NOT NULL,  -- microseconds since 1970, UTC
    total_bytes INTEGER NOT NULL,  -- of all bodies up to and with this one
    body        BLOB NOT NULL
)
"""


@dataclass(frozen=True, slots=True, order=True)
class FileName:
    """The name of one file of messages, without its suffix; one publisher's sort as they were written."""

    publisher: str
    number: int

    def __str__(self) -> str:
        return f"{self.publisher}-{self.number:06d}"

    def path(self, folder: Path, suffix: str = ".db") -> Path:
        """Where the file, or what lies beside it, is found."""
        return folder / f"{self}{suffix}"


def parse_name(stem: str) -> FileName | None:
    """The name in a file name up to its first dot; None where it is none of ours."""
    match = _NAME.match(stem)
    return FileName(match["publisher"], int(match["number"])) if match else None


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in the folder: files of messages in order of name, and names of which only leftovers do."""

    files: list[FileName]
    leftovers: set[FileName]


def list_folder(folder: Path) -> Listing:
    """Every name of ours in `folder`."""
    files: list[FileName] = []
    seen: set[FileName] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, _, suffix = entry.name.partition(".")
            name = parse_name(stem)
            if name is None:
                continue
            if suffix == "db":
                files.append(name)
            else:
                seen.add(name)
    return Listing(sorted(files), seen.difference(files))


def connect(path: Path, busy_timeout_s: float = faults.BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection to a file that exists. Opening must never make one: it may just have been removed."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=busy_timeout_s,
    )
    # Where fsync alone leaves the bytes in the drive's cache (macOS); of no effect elsewhere.
    db.execute("PRAGMA fullfsync = 1")
    db.execute("PRAGMA checkpoint_fullfsync = 1")
    return db


def connect_to_append(path: Path) -> sqlite3.Connection:
    """A connection whose commits are durable, and that leaves checkpoints to others."""
    db = connect(path)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA cache_size = -256")  # it only appends: the default of 2 MB would keep what nobody reads
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing. Raises `StorageError` for a format that is newer than ours."""
    db = connect(path)
    try:
        db.execute("PRAGMA query_only = 1")
        # Has SQLite read what is there of a file that is shorter than its header says.
        db.execute("PRAGMA writable_schema = 1")
        check_format(db, path)
    except BaseException:
        db.close()
        raise
    return db


def check_format(db: sqlite3.Connection, path: Path) -> None:
    """Refuse what a newer Catchment wrote."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > FORMAT_VERSION:
        raise StorageError(
            f"{path} was written by a newer Catchment (queue format {version}, this one knows {FORMAT_VERSION})",
            "run the newer version here too",
        )


def disown(connection: sqlite3.Connection) -> None:
    """In a forked child: let the parent's connection be, for good.

    Closing it would write to the parent's file, and so would its being collected at the interpreter's end.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, durably, where they don't exist."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def create(path: Path, schema: str = _SCHEMA) -> None:
    """A new, empty file, in place whole or not at all: other processes see it only once it is complete.

    Its entry in the folder is durable after `sync_folder`.
    """
    unfinished = path.with_name(path.name + _UNFINISHED)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as db:
        # Nobody sees it before the one fsync below: neither journal nor syncs are needed until then.
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA journal_mode = OFF")
        # Small pages: a commit writes whole pages, and its rewritten leaf is pure overhead.
        db.execute("PRAGMA page_size = 4096")
        db.execute(schema)
        db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
    _sync(unfinished, os.O_RDWR)
    unfinished.rename(path)


def remove(name: FileName, folder: Path) -> None:
    """Remove a finished file with all that lies beside it.

    The db goes first: a crash in between leaves leftovers, never a file without its -wal. The lock goes last:
    until then its leftovers can be told from a file that is being created.
    """
    db = name.path(folder)
    for path in (db, *_beside(db), name.path(folder, ".lock")):
        path.unlink(missing_ok=True)


def remove_leftovers(name: FileName, folder: Path) -> None:
    """Remove what a crash left of a file, unless its publisher is alive and about to create it."""
    lock = FileLock.take(name.path(folder, ".lock"))
    if lock is None:
        return
    try:
        if not name.path(folder).exists():
            remove(name, folder)
    finally:
        lock.release()


def set_aside(db: Path) -> Path:
    """Move a damaged file and its -wal into `broken/`, and return where it is now.

    The db goes last: a crash in between leaves it where it was, to be read and moved again.
    """
    folder = db.parent / BROKEN
    folder.mkdir(exist_ok=True)
    for path in (*_beside(db), db):
        if path.exists():
            path.rename(folder / path.name)
    sync_folder(folder)
    return folder / db.name


def _beside(db: Path) -> Iterator[Path]:
    unfinished = db.name + _UNFINISHED
    for name in (
        *(db.name + side for side in _SIDE_FILES),
        unfinished,
        *(unfinished + side for side in _SIDE_FILES),
    ):
        yield db.with_name(name)


def disk_bytes(folder: Path) -> int:
    """What the files of messages take on disk: never less than the messages in them."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".db", ".db-wal")):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue  # drained and removed meanwhile
    return total


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable: without it a power cut may take a new file away, synced as it is."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, whose fsync stops at the drive's cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
