"""The state as a SQLite file in the project: `.catchment/state.db`.

WAL, so that who reads waits for nobody; a commit returns after its fsync. The file is its owner's alone, since it
holds people's addresses and what they asked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from catchment.errors import NoSpace, Retry, StorageError
from catchment.finding import Finding
from catchment.state import Row
from catchment.state.schema import VERSIONS, statements

FILE = "state.db"
BUSY_TIMEOUT_S = 10.0
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_KEPT_CONNECTIONS = 8


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._db.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._db.execute(sql, values).rowcount


class SqliteState:
    """See `State`. The file and its folder are made where there are none."""

    is_local = True

    class Config(msgspec.Struct, frozen=True, kw_only=True):
        """It has no settings."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False
        with _storage_errors(self._path):
            _make_private(self._path)
            db = _connect(self._path)
            try:
                _upgrade(db, self._path)
            except BaseException:
                db.close()
                raise
            self._idle.append(db)

    @classmethod
    def copy(cls, folder: Path, to: Path) -> bool:
        """Copy the state of a project's runtime folder as of one moment, while others write; whether there is one."""
        path = folder / FILE
        if not path.exists():
            return False
        with _storage_errors(path), contextlib.closing(_connect(path)) as db:
            _make_private(to)
            with contextlib.closing(sqlite3.connect(to)) as copied:
                db.backup(copied)
        return True

    @staticmethod
    def diagnose(config: Config, folder: Path) -> list[Finding]:
        """For `catchment doctor`: whether the file is whole, and its owner's alone."""
        path = folder / FILE
        if not path.exists():
            return [Finding("state", True, "sqlite: nothing is kept yet")]
        try:
            with _storage_errors(path), contextlib.closing(_connect(path)) as db:
                _refuse_newer(db, path)
                problems = [problem for (problem,) in db.execute("PRAGMA quick_check(1)") if problem != "ok"]
                if problems:
                    raise sqlite3.DatabaseError(problems[0])
        except StorageError as error:
            return [Finding("state", False, f"sqlite: {error.message}", error.hint)]
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return [Finding("state", False, f"sqlite: others can read {path}", f"chmod 600 {path}*")]
        return [Finding("state", True, f"sqlite: {path.stat().st_size:,} bytes, whole")]

    @contextmanager
    def reading(self) -> Iterator[_Transaction]:
        """See `State.reading`."""
        with self._transaction("BEGIN") as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[_Transaction]:
        """See `State.writing`."""
        with self._transaction("BEGIN IMMEDIATE") as transaction:
            yield transaction

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Transaction]:
        with _storage_errors(self._path):
            db = self._take()
            try:
                db.execute(begin)
                yield _Transaction(db)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                raise
            finally:
                self._give_back(db)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._is_closed:
                raise StorageError(f"{self._path} has been closed")
            if self._idle:
                return self._idle.pop()
        return _connect(self._path)

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._lock:
            if not self._is_closed and not db.in_transaction and len(self._idle) < _KEPT_CONNECTIONS:
                self._idle.append(db)
                return
        db.close()

    def close(self) -> None:
        """See `State.close`."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()


def _make_private(path: Path) -> None:
    """The file, empty where it is new, readable by its owner alone; what SQLite puts beside it is as this is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One that is there is not opened: closing it would take this process's locks from SQLite, and whoever closes the
    # file next would delete the log that is in use here.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
    )
    try:
        db.execute("PRAGMA foreign_keys = 1")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = 1")  # macOS, whose fsync stops at the drive's cache
    except BaseException:
        db.close()
        raise
    return db


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this version, all of it or nothing, while others who want the same wait."""
    known = len(VERSIONS)
    if _version(db) != known:
        _into_wal(db)
        db.execute("BEGIN IMMEDIATE")
        try:
            for script in VERSIONS[_version(db) :]:
                for statement in statements(script):
                    db.execute(statement)
            if _version(db) < known:
                db.execute(f"PRAGMA user_version = {known}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    _refuse_newer(db, path)


def _refuse_newer(db: sqlite3.Connection, path: Path) -> None:
    found, known = _version(db), len(VERSIONS)
    if found > known:
        raise StorageError(
            f"{path} was written by a newer Catchment (state format {found}, this one knows {known})",
            "run the newer version here too",
        )


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _into_wal(db: sqlite3.Connection) -> None:
    """SQLite does not wait for others here, as it does elsewhere."""
    give_up_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) not in _IN_USE or time.monotonic() > give_up_s:
                raise
            time.sleep(0.02)


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace(f"no space is left on the disk of {path}", "free some space") from error
        if code in _IN_USE:
            raise Retry(f"{path} stayed locked for {BUSY_TIMEOUT_S:.0f} s", "try again") from error
        if code in _DENIED:
            raise StorageError(f"{path} cannot be written: {error}", "let this user write there") from error
        if code in _DAMAGE or type(error) is sqlite3.DatabaseError:
            raise StorageError(
                f"{path} is damaged: {error}",
                "put a copy of it back; or move it away with what lies beside it (state.db-wal, state.db-shm), and"
                " accounts, drafts and the audit begin anew",
            ) from error
        if isinstance(error, sqlite3.OperationalError) and code == sqlite3.SQLITE_IOERR:
            raise StorageError(f"{path} cannot be used: {error}", "check the disk and its logs") from error
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(f"no space is left on the disk of {path}", "free some space") from error
        raise StorageError(f"{path} cannot be used: {error.strerror}", f"ls -ld {path.parent}") from error
