"""A batch's rows on their way into PostgreSQL: DuckDB, in memory, reads the record files and writes COPY's CSV.

So no row is ever an object of Python, what is broken shows before PostgreSQL has seen anything of it, and the
target table is written to once, by COPY: what is not new is left out on this side.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from catchment.errors import CatchmentError, Malformed, NoSpace, Retry, StorageError
from catchment.warehouses import Rows
from catchment.warehouses import postgres_sql as sql
from catchment.warehouses.postgres_recent import Recent
from catchment.warehouses.quoting import name
from catchment.warehouses.record_files import NEW, read_files, strict_moment, value
from catchment.warehouses.shape import Column, Shape

CSV = r"DELIMITER E'\x02', QUOTE E'\x01', ESCAPE E'\x01'"
"""How both sides write and read it: JSON is full of quotes and commas, and has no such characters at all, so that
next to nothing needs to be quoted. That halves the time DuckDB takes to write, and saves PostgreSQL a tenth."""

MEMORY_LIMIT = "400MB"
CHUNK_BYTES = 1 << 18

_NOT_BEFORE, _OP = '"not before"', '"op"'
"""Columns of the staged rows that are not loaded; no column of a table has a space, or is quoted with one."""

Identity = tuple[str, str]


class Staging:
    """DuckDB for the loads of one process; each thread stages in a database of its own."""

    def __init__(self, folder: Path) -> None:
        """Files lie under `folder`, apart from those of other processes. Raises `StorageError`."""
        self._folder = folder
        self._place = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        self.recent = Recent()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's connection."""
        if not hasattr(self._local, "cursor"):
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                self._local.cursor = self._connection.cursor()
        cursor: duckdb.DuckDBPyConnection = self._local.cursor
        return cursor

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            _remove_left_behind(self._folder)
            self._place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{error.filename} cannot be used: {error.strerror}", f"ls -ld {self._folder}"
            ) from None
        connection = duckdb.connect(
            config={
                "threads": 1,
                # One writes a file's pieces one behind the other, as a pipe needs them.
                "async_threads": 1,
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": str(self._place),
                "python_enable_replacements": False,
            }
        )
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        return connection

    @contextlib.contextmanager
    def files(self, rows: Rows) -> Iterator[Sequence[str]]:
        """The rows as files. Lines in memory are written without fsync: they only live as long as the load."""
        if not isinstance(rows.data, bytes):
            yield rows.data
            return
        self.cursor()  # makes the folder
        path = self._place / f"{secrets.token_hex(8)}.ndjson"
        try:
            path.write_bytes(rows.data)
            yield (str(path),)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise (NoSpace if full else StorageError)(
                f"{path} cannot be written: {error.strerror}", "free some space"
            ) from None
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of memory and files."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                shutil.rmtree(self._place, ignore_errors=True)


def _remove_left_behind(folder: Path) -> None:
    """What processes that were killed have left."""
    for place in folder.glob("*-*"):
        pid = place.name.partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(place, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Staged:
    """The rows of one batch, staged in DuckDB: of copies the earliest, of a key's rows the one that wins."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        shape: Shape,
        paths: Sequence[str],
        *,
        prepared: bool,
        distinct: bool,
        early: bool,
    ) -> None:
        """Reads the files; `early` and `distinct` as the batch has them. Raises `Malformed` where they do not hold
        what the shape says."""
        self._cursor = cursor
        self._shape = shape
        once = ""
        if shape.key:
            once = (
                f" QUALIFY row_number() OVER (PARTITION BY {NEW}.key ORDER BY {NEW}.version DESC, {NEW}.id DESC) = 1"
            )
        elif not distinct:
            once = f" QUALIFY row_number() OVER (PARTITION BY {NEW}.source, {NEW}.id ORDER BY {NEW}.received_at) = 1"
        columns = "".join(
            f", {as_copied(column, prepared=prepared)} AS {name(column.name)}" for column in shape.columns
        )
        clock = f", {NEW}.not_before AS {_NOT_BEFORE}" if early else ""
        keyed = f", {NEW}.version AS _version, {NEW}.key AS _key, {NEW}.op AS {_OP}" if shape.key else ""
        relation = read_files(paths, shape, prepared=prepared)
        self._run(
            f"CREATE OR REPLACE TEMP TABLE staged AS SELECT {NEW}.received_at AS _received_at, {NEW}.id AS _id, "
            f"{NEW}.source AS _source, {NEW}.rescued AS _rescued{clock}{keyed}{columns} "
            f"FROM {relation} {NEW}{once}"
        )
        self.count = int(self._run("SELECT count(*) FROM staged")[0][0])

    def ids(self) -> str:
        """The rows' ids, as PostgreSQL writes an array of texts."""
        return self._array("_id")

    def keys(self) -> str:
        """The rows' keys, likewise."""
        return self._array("_key")

    def _array(self, column: str) -> str:
        escaped = rf"""'"' || replace(replace({column}, '\', '\\'), '"', '\"') || '"'"""
        [(array,)] = self._run(f"SELECT '{{' || coalesce(string_agg({escaped}, ','), '') || '}}' FROM staged")
        return str(array)

    def leave_out(self, known: Sequence[Identity]) -> None:
        """Drop the rows with one of these (source, id)."""
        if known:
            self._know(("_source", "_id"), known)
            self._run("DELETE FROM staged USING known k WHERE staged._source = k._source AND staged._id = k._id")
            self.count = int(self._run("SELECT count(*) FROM staged")[0][0])

    def leave_out_beaten(self, known: Sequence[tuple[str, str, str]]) -> None:
        """Drop the rows whose key has an equal or higher one among these (key, version, id)."""
        if known:
            self._know(("_key", "_version", "_id"), known)
            self._run(
                "DELETE FROM staged USING known k WHERE staged._key = k._key "
                "AND (k._version > staged._version OR (k._version = staged._version AND k._id >= staged._id))"
            )
            self.count = int(self._run("SELECT count(*) FROM staged")[0][0])

    def _know(self, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
        values = [list(column) for column in zip(*rows, strict=True)]
        selected = ", ".join(f"unnest(${at}::VARCHAR[]) AS {column}" for at, column in enumerate(columns, start=1))
        self._run(f"CREATE OR REPLACE TEMP TABLE known AS SELECT {selected}", values)

    def early(self) -> list[tuple[str, str, datetime]]:
        """(source, id, received_at) of the rows that were stamped before their own not_before; they were staged with
        it."""
        return self._run(f"SELECT _source, _id, _received_at FROM staged WHERE {_NOT_BEFORE} > _received_at")

    def deleted(self) -> list[tuple[str, str, str]]:
        """(key, version, id) of the deletions; they are no rows, and taken out."""
        found = self._run(f"SELECT _key, _version, _id FROM staged WHERE {_OP} = 'delete'")
        if found:
            self._run(f"DELETE FROM staged WHERE {_OP} = 'delete'")
        return found

    @contextlib.contextmanager
    def csv(self, batch: str | None) -> Iterator[Iterator[bytes]]:
        """The rows as COPY's CSV with the columns of `sql.target_columns`. Raises what DuckDB met at the end of it."""
        columns = ", ".join(
            "$batch AS _batch" if column == "_batch" else name(column) for column in sql.target_columns(self._shape)
        )
        with piped(self._cursor, f"SELECT {columns} FROM staged", {"batch": batch}) as pieces:
            yield pieces

    def drop(self) -> None:
        """Free the memory."""
        self._run("DROP TABLE IF EXISTS staged; DROP TABLE IF EXISTS known")

    def _run(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        try:
            return self._cursor.execute(statement, values).fetchall()
        except duckdb.Error as error:
            raise _translated(error) from error


@contextlib.contextmanager
def piped(cursor: duckdb.DuckDBPyConnection, selected: str, values: Any = None) -> Iterator[Iterator[bytes]]:
    """What a query selects, as COPY's CSV, a piece at a time, through a pipe: there is no file that might not fit.
    Raises what DuckDB met at the end of it."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            cursor.execute(
                f"COPY ({selected}) TO '/dev/fd/{writing}' (FORMAT csv, HEADER false, USE_TMP_FILE false, {CSV})",
                values,
            )
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(writing)

    thread = threading.Thread(target=write, name="staging")
    thread.start()
    try:
        yield _pieces(reading)
    finally:
        os.close(reading)  # where COPY has failed, the writer is told by it
        thread.join()
    if failed:
        raise _translated(failed[0])


def _pieces(reading: int) -> Iterator[bytes]:
    while piece := os.read(reading, CHUNK_BYTES):
        yield piece


def as_copied(column: Column, *, prepared: bool) -> str:
    """A value as it is staged. Times stay the text they came as, once it is sure that PostgreSQL reads the same in
    it: neither side then makes anything of it that is written again."""
    found = value(column, prepared=prepared)
    return strict_moment(found, found) if column.type == "timestamptz" else found


def _translated(error: BaseException) -> BaseException:
    if not isinstance(error, duckdb.Error):
        return error
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    found: CatchmentError
    if "No space left" in str(error):
        found = NoSpace(f"no space left to stage a load: {said}", "free some space; loading goes on by itself")
    elif isinstance(error, duckdb.OutOfMemoryException):
        found = Retry(f"a load ran out of memory: {said}", "a smaller max_rows of [load]")
    elif isinstance(error, duckdb.InvalidInputException | duckdb.ConversionException | duckdb.OutOfRangeException):
        found = Malformed("not-loadable", said)
    else:
        found = Retry(f"a load could not be staged: {said}")
    return found
