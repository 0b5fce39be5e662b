"""Opening the DuckDB file: its settings, its format, and what to do where it does not open.

A file that is damaged is set aside, never deleted, and a new one begun: the archive refills it. What is no damage
(another process has it, no space, no permission, a newer DuckDB, a wrong setting) is said instead.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from catchment.errors import NoSpace, StorageError, UsageError, WarehouseDown
from catchment.log import get_log
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.duckdb_config import DuckDBConfig
from catchment.warehouses.duckdb_damage import check_whole
from catchment.warehouses.duckdb_query import confine
from catchment.warehouses.quoting import text
from catchment.warehouses.shape import Column, Shape

_log = get_log("warehouse")

CATALOG = '"catchment-warehouse"'
"""The database's name: one that no schema has, or DuckDB would not know which of the two `warehouse.orders` means."""

_REPLAYING = "replaying WAL"
"""What DuckDB says of a log that is damaged, or is another file's."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The open database, and where the damaged one is now, if it was."""

    connection: duckdb.DuckDBPyConnection
    set_aside: Path | None


class Opening:
    """One attempt to open a file."""

    def __init__(self, path: Path, config: DuckDBConfig, tmp: Path) -> None:
        self._path = path
        self._config = config
        self._tmp = tmp
        self._aside: Path | None = None

    def open(self, readable: Sequence[Path]) -> Opened:
        """Open or make it; SQL may read files of `readable` and of no other.

        Raises `WarehouseDown` while another process has the file, `StorageError` where it can't be used, and
        `UsageError` for settings that DuckDB refuses.
        """
        try:
            connection = self._connect()
        except duckdb.Error as error:
            self._raise_unless_damaged(error)
            connection = self._connect_without_damage(error)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        confine(connection, readable)
        return Opened(connection, self._aside)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self._config.memory_limit.replace(" ", ""),
            "threads": self._config.threads or max(1, (os.cpu_count() or 2) // 2),
            # Checkpoints run when nobody waits (`tidy`): in the way of commits they cost a third of the speed.
            "checkpoint_threshold": "1GB",
            "temp_directory": str(self._tmp),
        }
        try:
            connection = duckdb.connect(":memory:", config=config)
        except (duckdb.ParserException, duckdb.InvalidInputException, duckdb.OutOfMemoryException) as error:
            raise UsageError(f"[warehouse] {first_line(error)}", 'such as memory_limit = "400 MB"') from None
        try:
            connection.execute(f"ATTACH {text(str(self._path))} AS {CATALOG}")
            connection.execute(f"USE {CATALOG}")
            self._upgrade(connection)
            check_whole(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_without_damage(self, error: duckdb.Error) -> duckdb.DuckDBPyConnection:
        """The file as of its last checkpoint where only its log is to blame, such as one that a backup was put
        beside; else a new one."""
        if _REPLAYING in str(error):
            self._set_aside(error, ".wal")
            try:
                return self._connect()
            except duckdb.Error as other:
                error = other
        self._set_aside(error, "", ".wal")
        return self._connect()

    def _upgrade(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("BEGIN")
        connection.execute(sql.OWN_TABLES)
        row = connection.execute("SELECT max(version) FROM catchment.format").fetchone()
        version = row[0] if row else None
        if version is None:
            connection.execute("INSERT INTO catchment.format VALUES ($1)", [sql.FORMAT_VERSION])
        elif version > sql.FORMAT_VERSION:
            raise StorageError(
                f"{self._path} has format {version}; this Catchment knows {sql.FORMAT_VERSION}",
                "install the Catchment that wrote it, or a newer one",
            )
        connection.execute("COMMIT")

    def _raise_unless_damaged(self, error: duckdb.Error) -> None:
        said = str(error)
        if "lock" in said.lower() and "pid" in said.lower():
            raise WarehouseDown(
                f"{self._path} is in use by another process", "stop it, or ask through it: catchment query"
            ) from error
        if "No space left" in said:
            raise NoSpace(f"{self._path} cannot be opened: {first_line(error)}", "free some space") from error
        if "Too many open files" in said or isinstance(error, duckdb.OutOfMemoryException):
            raise StorageError(
                f"{self._path} cannot be opened: {first_line(error)}", "free some memory; ulimit -n"
            ) from error
        if "Permission denied" in said or "Read-only" in said or "Is a directory" in said:
            raise StorageError(f"{self._path} cannot be opened: {first_line(error)}") from error
        if ("newer version" in said or "storage version" in said) and _REPLAYING not in said:
            raise StorageError(
                f"{self._path} was written by another DuckDB: {first_line(error)}",
                "install that release of duckdb",
            ) from error
        if not self._path.exists():
            raise StorageError(f"{self._path} cannot be made: {first_line(error)}") from error

    def _set_aside(self, error: duckdb.Error, *suffixes: str) -> None:
        """Nothing is deleted: what the archive does not hold might be read from it yet."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        for suffix in suffixes:
            damaged = self._path.with_name(self._path.name + suffix)
            if damaged.exists():
                aside = self._path.with_name(f"{self._path.name}.damaged-{stamp}{suffix}")
                damaged.rename(aside)
                self._aside = self._aside or aside
        _log.error(
            "the warehouse did not open and was set aside; what is missing is loaded from the archive",
            file=str(self._path),
            set_aside=str(self._aside),
            error=first_line(error),
        )


def recall_shapes(connection: duckdb.DuckDBPyConnection, version: int) -> dict[str, Shape]:
    """The shapes of all tables, at a `version` higher at each start: a batch guarded before is guarded again."""
    keys = dict(connection.execute("SELECT table_name, fields FROM catchment.keys").fetchall())
    columns: defaultdict[str, list[Column]] = defaultdict(list)
    for table, field, column, kind in connection.execute(
        "SELECT table_name, field, column_name, type FROM catchment.columns ORDER BY rowid"
    ).fetchall():
        columns[table].append(Column(field, column, kind))
    tables = connection.execute(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_type = 'BASE TABLE' AND table_catalog = current_database() "
        "AND (table_schema <> 'catchment' OR starts_with(table_name, 'rebuild_'))"
    ).fetchall()
    shapes = {table: Shape(table, version, tuple(columns[table]), tuple(keys.get(table, ()))) for (table,) in tables}
    for own, fields in (
        ("catchment.dead_letters", sql.DEAD_LETTER_FIELDS),
        ("catchment.corrections", sql.CORRECTION_FIELDS),
    ):
        shapes[own] = Shape(own, 1, tuple(Column(field, field, "varchar") for field in fields))
    return shapes


def recall_early(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The tables that have rows of fast clocks."""
    return {table for (table,) in connection.execute("SELECT DISTINCT table_name FROM catchment.early").fetchall()}


def first_line(error: Exception) -> str:
    """What an error says, without the SQL that it quotes."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
