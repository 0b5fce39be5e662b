"""What the errors of SQLite and of the system mean for the queue."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catchment.errors import NoSpace, Retry, StorageError

BUSY_TIMEOUT_S = 10.0
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content cannot be read, as opposed to a passing trouble."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    # Files come into the folder complete, so one without its table has lost it.
    return code in _DAMAGE or code & 0xFF == sqlite3.SQLITE_CORRUPT or str(error).startswith("no such table")


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors about files in `folder` into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _from_sqlite(error, folder) from error
    except OSError as error:
        raise _from_system(error, folder) from error


def _from_sqlite(error: sqlite3.Error, folder: Path) -> StorageError | Retry:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return _no_space(folder)
    if code & 0xFF in _DENIED:
        return _denied(folder, str(error))
    if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Retry(f"a file of the queue in {folder} stayed locked for {BUSY_TIMEOUT_S:.0f} s", "try again")
    if is_damage(error):
        return StorageError(f"a file of the queue in {folder} is damaged: {error}", "check the disk")
    name = getattr(error, "sqlite_errorname", "")
    return StorageError(
        f"the queue in {folder} cannot be used: {error} {name}".rstrip(), "check the disk and its logs"
    )


def _from_system(error: OSError, folder: Path) -> StorageError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _no_space(folder)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return _denied(folder, error.strerror or str(error))
    where = error.filename or folder
    return StorageError(
        f"the queue in {folder} cannot be used: {error.strerror}: {where}", "check the disk and its logs"
    )


def _no_space(folder: Path) -> NoSpace:
    return NoSpace(
        f"no space is left on the disk of the queue in {folder}; what was published before is safe",
        "free some space, or give the queue another disk: [queue] path",
    )


def _denied(folder: Path, detail: str) -> StorageError:
    return StorageError(
        f"the queue in {folder} cannot be written: {detail}",
        "let this user write there, or give the queue another folder: [queue] path",
    )
