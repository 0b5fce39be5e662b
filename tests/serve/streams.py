"""DuckDB's answers as a warehouse gives them."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
from nanoarrow._utils import NanoarrowException

from catchment.warehouses.duckdb_arrow import pieces
from catchment.warehouses.duckdb_query import explained
from catchment.warehouses.ipc import IpcFile


class Stream:
    """The answer to some SQL, in a database of its own unless there is one."""

    def __init__(self, sql: str, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        self._connection = connection or duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        self._sql = sql
        self.is_closed = False

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return IpcFile(self.ipc()).capsule()

    def ipc(self) -> Iterator[bytes]:
        try:
            yield from pieces(self._connection.sql(self._sql))
        except (duckdb.Error, NanoarrowException) as error:
            raise explained(error) from None

    def close(self) -> None:
        self.is_closed = True
