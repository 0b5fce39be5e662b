"""The state in a PostgreSQL database, for a server on several machines: the schema `catchment_state`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg

from catchment.errors import CatchmentError, NoSpace, Retry, StorageError, UsageError
from catchment.finding import Finding
from catchment.state import Row
from catchment.state.postgres_config import PostgresStateConfig
from catchment.state.schema import VERSIONS, statements

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = "catchment_state"
_WRITERS_LOCK = 7_237_120_119
"""One writer at a time, as with SQLite: what it has read holds until it ends. Any number that nobody else takes."""
_KEPT_CONNECTIONS = 8
_SESSION = f"""
SET search_path = {SCHEMA};
SET client_min_messages = 'warning';
SET statement_timeout = '30s';
SET lock_timeout = '10s';
SET idle_in_transaction_session_timeout = '1min';
"""


class _Transaction:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._run(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._run(sql, values).rowcount

    def _run(self, sql: str, values: Sequence[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(_written(sql), [_storable(value) for value in values])


class PostgresState:
    """See `State`. Its schema is made where there is none."""

    is_local = False

    Config = PostgresStateConfig

    def __init__(self, config: PostgresStateConfig, folder: Path) -> None:
        self._url = config.url
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._is_closed = False
        with _our_errors():
            connection = self._connect()
            try:
                _upgrade(connection)
            except BaseException:
                connection.close()
                raise
        self._keep(connection)

    @staticmethod
    def diagnose(config: PostgresStateConfig, folder: Path) -> list[Finding]:
        """For `catchment doctor`: whether it can be reached. Makes nothing."""
        try:
            with _our_errors(), psycopg.connect(config.url, connect_timeout=10) as connection:
                there = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [SCHEMA]).fetchone()
        except CatchmentError as error:
            return [Finding("state", False, f"postgres: {error.message}", error.hint)]
        words = f"its schema is {SCHEMA}" if there and there[0] else "nothing is kept yet"
        return [Finding("state", True, f"postgres: it answers; {words}")]

    @contextmanager
    def reading(self) -> Iterator[_Transaction]:
        """See `State.reading`."""
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[_Transaction]:
        """See `State.writing`."""
        with self._transaction("BEGIN") as transaction:
            transaction.rows(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")
            yield transaction

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Transaction]:
        with _our_errors():
            connection = self._begun(begin)
            try:
                yield _Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._keep(connection)

    def _begun(self, begin: str) -> Connection:
        """A connection on which it has begun: one of those that are kept, if the server has not closed it."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise StorageError("the state has been closed")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect()
                connection.execute(begin)
                return connection
            try:
                connection.execute(begin)
            except psycopg.OperationalError:
                connection.close()
            else:
                return connection

    def _connect(self) -> Connection:
        connection = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
        connection.execute(_SESSION)
        return connection

    def _keep(self, connection: Connection) -> None:
        is_idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if not self._is_closed and is_idle and len(self._idle) < _KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """See `State.close`."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _upgrade(connection: Connection) -> None:
    """Bring the schema to this version, all of it or nothing, while others who want the same wait."""
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute("CREATE TABLE IF NOT EXISTS format (version BIGINT NOT NULL)")
        row = connection.execute("SELECT version FROM format").fetchone()
        found = 0 if row is None else row[0]
        if found > len(VERSIONS):
            raise StorageError(
                f"{SCHEMA} was written by a newer Catchment (state format {found}, this one knows {len(VERSIONS)})",
                "run the newer version here too",
            )
        for script in VERSIONS[found:]:
            for statement in statements(script):
                connection.execute(statement.encode())
        if row is None:
            connection.execute("INSERT INTO format VALUES (%s)", [len(VERSIONS)])
        else:
            connection.execute("UPDATE format SET version = %s", [len(VERSIONS)])


@lru_cache(maxsize=500)
def _written(sql: str) -> bytes:
    """With psycopg's placeholders. No statement of the repositories has a question mark or a % of its own."""
    return sql.replace("?", "%s").encode()


def _storable(value: Any) -> Any:
    """PostgreSQL's texts cannot hold NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


@contextmanager
def _our_errors() -> Iterator[None]:
    """PostgreSQL's errors as ours, without its details, which may quote a row."""
    try:
        yield
    except psycopg.Error as error:
        said = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
        state = error.sqlstate or ""
        if isinstance(error, psycopg.ProgrammingError) and not state:
            raise UsageError(f"[state] url: {said}", "postgresql://user:password@host/database") from error
        if state == "53100":
            raise NoSpace(f"the state's disk is full: {said}", "make room there") from error
        if state in {"42501", "3D000"} or state.startswith("28"):
            hint = "GRANT CREATE ON DATABASE … TO the role of `url` in [state]"
            raise StorageError(f"PostgreSQL refuses the state: {said}", hint) from error
        if isinstance(error, psycopg.OperationalError) or state.startswith(("40", "55P03", "57014")):
            raise Retry(f"the state on PostgreSQL cannot be reached: {said}", "catchment doctor") from error
        raise
