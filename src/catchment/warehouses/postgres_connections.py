"""Connections to PostgreSQL: opened when wanted, kept for the next, dropped when one breaks.

Nothing here outlives a transaction on the server's side, but for each session's settings.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import conninfo

from catchment.errors import UsageError, WarehouseDown
from catchment.warehouses.postgres_config import PostgresConfig
from catchment.warehouses.postgres_errors import first_line, translated

Connection = psycopg.Connection[tuple[Any, ...]]

MIN_SERVER = 130_000
LOCK_TIMEOUT_S = 60
"""A load waits as long for another's load of the same table, or for somebody's LOCK; then it is tried again."""
MAX_IDLE = 8

_SESSION = f"""
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET client_min_messages = 'warning';
SET statement_timeout = 0;
SET lock_timeout = '{LOCK_TIMEOUT_S}s';
-- A loader that was stopped or cut off must not hold its tables' locks for good.
SET idle_in_transaction_session_timeout = '10min';
-- What is compiled for a search of many rows takes longer than the search.
SET jit = off;
SET default_transaction_isolation = 'read committed';
"""

_DEFAULTS = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""A server whose machine is gone is noticed after a minute, rather than after the two hours of the system."""


class Connections:
    """Connections of one warehouse, for any number of threads."""

    def __init__(self, config: PostgresConfig) -> None:
        """Raises `UsageError` for an address that libpq cannot read; connects to nothing yet."""
        try:
            given = conninfo.conninfo_to_dict(config.url)
        except psycopg.Error as error:
            raise UsageError(
                f"[warehouse] url: {first_line(error)}", "postgresql://user:password@host/database"
            ) from None
        self._conninfo: dict[str, Any] = {
            **_DEFAULTS,
            "connect_timeout": str(config.connect_timeout_s),
            "application_name": config.application_name,
            **given,
            "client_encoding": "utf8",
        }
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction of its own, committed at the end.

        Raises PostgreSQL's errors as ours. After `WarehouseDown` the transaction may have been committed or not.
        """
        connection = self._take()
        try:
            yield connection
            commit(connection)
        except BaseException as error:
            self._give_up(connection)
            if isinstance(error, psycopg.Error):
                raise translated(error) from error
            raise
        self._keep(connection)

    def open(self) -> Connection:
        """A new connection that its caller closes. Raises `WarehouseDown`, and `UsageError` for a server that is too
        old or whose database cannot hold every text."""
        try:
            connection = psycopg.connect(**self._conninfo, prepare_threshold=None)
        except psycopg.Error as error:
            raise translated(error) from error
        try:
            check_server(connection)
            connection.execute(_SESSION)
            connection.commit()
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise translated(error) from error
            raise
        return connection

    def close(self) -> None:
        """Close those that are idle; one in use is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise WarehouseDown("the warehouse is closed")
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        return self.open()

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < MAX_IDLE and not connection.closed:
                self._idle.append(connection)
                return
        connection.close()

    def _give_up(self, connection: Connection) -> None:
        """Undo what was begun. Where one connection is broken the others are too, most likely: let go of all."""
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._keep(connection)
            return
        connection.close()
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()


def commit(connection: Connection) -> None:
    """COMMIT, once for all that a call has done."""
    connection.commit()


def check_server(connection: Connection) -> None:
    """Raise `UsageError` for a server that cannot be a warehouse."""
    if connection.info.server_version < MIN_SERVER:
        found = connection.info.server_version // 10_000
        raise UsageError(f"[warehouse] is PostgreSQL {found}; at least {MIN_SERVER // 10_000} is needed", "upgrade it")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UsageError(
            f"[warehouse] the database's encoding is {encoding}, which cannot hold every text",
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )
