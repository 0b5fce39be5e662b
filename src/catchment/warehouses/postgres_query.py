"""One reading statement, run on PostgreSQL for somebody who must not change anything.

Three fences: PostgreSQL parses the text by itself first, which lets one statement through and no second behind a
`;`; it runs as a cursor (SELECT, VALUES, TABLE, WITH), or is EXPLAIN or SHOW; and it runs in a transaction that
PostgreSQL keeps read-only. What a role may read, and which functions it may call, its rights say: give people a
role of their own (`reader_role`). What a person asks, `postgres_guard` looks through as well.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from nanoarrow.c_array_stream import CArrayStream
from nanoarrow.ipc import StreamWriter
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from catchment.errors import CatchmentError, Retry, UsageError, WarehouseDown
from catchment.sql.lexer import tokens
from catchment.warehouses import Asker
from catchment.warehouses.ipc import IpcBuffer, IpcFile
from catchment.warehouses.postgres_arrow import Cell, Field, batch, schema, settled
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.postgres_errors import first_line, translated
from catchment.warehouses.postgres_guard import check_allowed
from catchment.warehouses.quoting import name as quoted
from catchment.warehouses.running import Running

MAX_SQL_CHARACTERS = 256 * 1024
FIRST_ROWS, MOST_ROWS = 1_024, 8_192
PIECE_BYTES = 8_000_000
"""About what is fetched at a time, once it is known how large a row is."""
_CANCEL_EVERY_S = 0.2

Params = Sequence[Any] | Mapping[str, Any] | None

_BY_CURSOR = frozenset({"select", "values", "table", "with", "("})
_AT_ONCE = frozenset({"explain", "show"})
_CURSOR = b"DECLARE asked NO SCROLL CURSOR FOR "


def run_query(
    connection: Connection,
    sql: str,
    params: Params = None,
    timeout_s: float | None = None,
    max_rows: int | None = None,
    asker: Asker | None = None,
    role: str | None = None,
    running: Running | None = None,
) -> PostgresStream:
    """Check one reading statement, which runs when its stream is read. The stream owns the connection.

    An asker's is entered in `running` under its id while it lasts, and runs as `role` where one is given.
    Parameters are `$1`, `$2` for a sequence, `$name` for a mapping. Raises `UsageError` for SQL that is wrong or
    would change something. What shows only while running is raised by the stream: `UsageError` (a value that does
    not convert), `Retry` (`timeout_s`, counted from here, is over).
    """
    limit = _Limit(connection, running, asker.query_id if asker else "")
    try:
        limit.start(timeout_s)
        statement = _Statement(connection, sql, params, timeout_s, asker, role)
    except psycopg.Error as error:
        limit.finish()
        limit.check()
        raise explained(error, sql) from None
    except BaseException:
        limit.finish()
        raise
    return PostgresStream(limit, statement, max_rows)


def by_number(sql: str, params: Params) -> tuple[str, list[Any]]:
    """The SQL with `$1`, `$2` in place of `$name`, outside of texts and comments, and the values in that order.

    Raises `UsageError` for a name without a value.
    """
    if not isinstance(params, Mapping):
        return sql, list(params or ())
    numbers: dict[str, int] = {}
    text: list[str] = []
    for token in tokens(sql, "postgres"):
        name = token.text[1:] if token.kind == "parameter" and not token.text[1].isdigit() else None
        if name is None:
            text.append(token.text)
        elif name in params:
            text.append(f"${numbers.setdefault(name, len(numbers) + 1)}")
        else:
            raise UsageError(f"the parameter ${name} has no value", f"one of {', '.join(map(str, params))}")
    return "".join(text), [params[name] for name in numbers]


class _Statement:
    """A statement that PostgreSQL has parsed, in a read-only transaction, ready to run."""

    def __init__(
        self,
        connection: Connection,
        sql: str,
        params: Params,
        timeout_s: float | None,
        asker: Asker | None,
        role: str | None,
    ) -> None:
        if len(sql) > MAX_SQL_CHARACTERS:
            raise UsageError(
                f"a query of {len(sql):,} characters; at most {MAX_SQL_CHARACTERS:,} are taken", "use parameters"
            )
        self.sql = sql
        self.connection = connection
        numbered, values = by_number(sql, params)
        self._text = numbered.encode()
        first = _first_word(sql)
        if not first:
            raise UsageError("a query is one statement; here there is none", "SELECT 1, say")
        if "\0" in sql:
            raise UsageError("SQL holds no NUL character")
        connection.execute("BEGIN READ ONLY" if connection.autocommit else "SET TRANSACTION READ ONLY")
        if timeout_s is not None:
            connection.execute(f"SET LOCAL statement_timeout = {max(1, int(timeout_s * 1000))}")
        if asker is not None:
            check_allowed(connection, sql)
            connection.execute("SELECT set_config('TimeZone', %s, true)", [asker.zone])
            if role is not None:
                connection.execute(f"SET LOCAL ROLE {quoted(role)}")
        transformer = Transformer(connection)
        dumped = transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))
        self._values = [None if value is None else bytes(value) for value in dumped]
        self._types = transformer.types or ()
        self.fields = self._parse()
        if first not in _BY_CURSOR | _AT_ONCE or (asker is not None and first == "show"):
            raise _not_reading(first.upper())
        self.is_cursor = first in _BY_CURSOR

    def _parse(self) -> list[Field]:
        """Have the server parse it, alone, and say what its result is."""
        pgconn = self.connection.pgconn
        _checked(pgconn.prepare(b"", self._text, self._types))
        described = _checked(pgconn.describe_prepared(b""))
        return [
            Field((described.fname(at) or b"").decode(errors="replace"), described.ftype(at), described.fmod(at))
            for at in range(described.nfields)
        ]

    def pieces(self, max_rows: int | None) -> Generator[list[list[Cell]], None, None]:
        """Run it: its rows, as columns of cells, some rows at a time; once at least."""
        if not self.is_cursor:
            result = self._run(self._text)
            rows = result.ntuples if max_rows is None else min(result.ntuples, max_rows)
            yield _columns(result, rows)
            return
        self._run(_CURSOR + self._text)
        wanted, left = FIRST_ROWS, max_rows
        while True:
            asked = wanted if left is None else min(wanted, left)
            result = _checked(self.connection.pgconn.exec_params(b"FETCH FORWARD %d FROM asked" % asked, None))
            columns = _columns(result, result.ntuples)
            yield columns
            if left is not None:
                left -= result.ntuples
            if result.ntuples < asked or left == 0:
                return
            size = sum(len(cell) for column in columns for cell in column if cell is not None)
            wanted = max(1, min(MOST_ROWS, PIECE_BYTES * result.ntuples // max(size, 1)))

    def _run(self, text: bytes) -> Any:
        return _checked(self.connection.pgconn.exec_params(text, self._values, self._types))


def _columns(result: Any, rows: int) -> list[list[Cell]]:
    return [[result.get_value(row, column) for row in range(rows)] for column in range(result.nfields)]


def _checked(result: Any) -> Any:
    if result.status in {pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE}:
        raise error_from_result(result, encoding="utf-8")
    return result


def _first_word(sql: str) -> str:
    """The first word in lower case, comments left out, or the parenthesis that it begins with."""
    token = next((token for token in tokens(sql, "postgres") if not token.is_silent), None)
    return "" if token is None or token.text == ";" else token.text.lower()


def _not_reading(what: str) -> UsageError:
    return UsageError(
        f"a query only reads, and {what} does more", "SELECT, VALUES, TABLE, WITH … SELECT, EXPLAIN or SHOW"
    )


class _Limit:
    """Ends a query: on time-out, or because its reader gave it up. It cancels until the query has ended: a request
    that comes between two fetches is lost."""

    def __init__(self, connection: Connection, running: Running | None, query_id: str) -> None:
        self._connection = connection
        self._running = running if query_id else None
        self._query_id = query_id
        self._is_entered = False
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self.timeout_s: float | None = None
        self.over = False
        self.given_up = False
        self.cancelled = False

    def start(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        if self._running is not None:
            self._running.enter(self._query_id, self.end)
            self._is_entered = True
        if timeout_s is not None:
            threading.Thread(target=self._wait, name="query-timeout", daemon=True).start()

    def _wait(self) -> None:
        if not self._finished.wait(self.timeout_s):
            self.over = True
            self._cancel()

    def end(self) -> None:
        """End it, whatever its reader does; returns at once."""
        self.cancelled = True
        self.cancel()

    def cancel(self) -> None:
        """End what another thread is reading at this moment; returns at once."""
        threading.Thread(target=self._cancel, name="query-cancel", daemon=True).start()

    def _cancel(self) -> None:
        while not self._finished.is_set():
            with contextlib.suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=5.0)
            self._finished.wait(_CANCEL_EVERY_S)

    def finish(self) -> None:
        """End the transaction and let go of the connection. Twice does nothing."""
        with self._lock:
            if not self._finished.is_set():
                self._finished.set()
                self._connection.close()
                if self._is_entered and self._running is not None:
                    self._running.leave(self._query_id)

    def check(self) -> None:
        """Raise what is to be said of a query that was ended."""
        if self.over:
            raise Retry(
                f"the query took longer than {self.timeout_s:g} s and was ended",
                "a longer timeout, fewer rows, or a WHERE on _received_at",
            )
        if self.cancelled:
            raise Retry("the query was cancelled")
        if self.given_up:
            raise Retry("the query was given up by its reader")


class PostgresStream:
    """A query's result, read once; its `ipc()` and `close()` may be called by different threads."""

    def __init__(self, limit: _Limit, statement: _Statement, max_rows: int | None) -> None:
        self._limit = limit
        self._pieces = _read(limit, statement, max_rows)
        weakref.finalize(self, limit.finish)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface; for DuckDB's `from_arrow` hand over the capsule, since it asks twice."""
        return IpcFile(self.ipc()).capsule()

    def ipc(self) -> Iterator[bytes]:
        """The result as an Arrow IPC stream. Raises `UsageError`, `Retry`, `WarehouseDown`."""
        yield from self._pieces
        if self._limit.given_up:  # closed by another thread between two pieces: not the end of the result
            self._limit.check()

    def close(self) -> None:
        """Give up the rest. What another thread is fetching is cancelled."""
        self._limit.given_up = True
        try:
            self._pieces.close()
        except ValueError:  # another thread is in the middle of a piece: it lets go of the connection itself
            self._limit.cancel()
        else:
            self._limit.finish()


def _read(limit: _Limit, statement: _Statement, max_rows: int | None) -> Generator[bytes, None, None]:
    started_s = time.monotonic()
    try:
        limit.check()
        buffer = IpcBuffer()
        with StreamWriter.from_writable(buffer) as writer:
            result_schema: Any = None
            fields = statement.fields
            for columns in statement.pieces(max_rows):
                limit.check()
                rows = len(columns[0]) if columns else 0
                if result_schema is None:
                    fields = settled(statement.fields, columns, more=rows >= FIRST_ROWS)
                    result_schema = schema(fields)
                    writer.write_stream(CArrayStream.from_c_arrays([], result_schema, validate=False))
                if rows:
                    arrow = batch(result_schema, fields, columns, rows)
                    writer.write_stream(CArrayStream.from_c_arrays([arrow], result_schema, validate=False))
                yield buffer.taken()
        yield buffer.taken()
    except psycopg.errors.QueryCanceled:
        limit.over = limit.over or (
            limit.timeout_s is not None and time.monotonic() - started_s >= limit.timeout_s - 1
        )
        limit.check()
        raise Retry("the query was cancelled, by PostgreSQL's statement_timeout or by an administrator") from None
    except psycopg.Error as error:
        limit.check()
        raise explained(error, statement.sql) from None
    finally:
        limit.finish()


def explained(error: psycopg.Error, sql: str) -> CatchmentError:
    """An error of PostgreSQL's as one of ours, with the place in the SQL."""
    state = error.sqlstate or ""
    found = translated(error)
    if isinstance(found, WarehouseDown) and state != "25006":
        return found
    if state == "25006" or (state == "0A000" and "data-modifying" in first_line(error)):
        return _not_reading("a statement that writes")
    if state.startswith(("53", "57")):
        return found
    said = first_line(error)
    if state == "42P01":
        return UsageError(said + _place(error, sql), "catchment status lists the tables")
    if state == "42601" and "multiple commands" in said:
        return UsageError(
            "a query is one statement; here there are several", "one SELECT, without another after its `;`"
        )
    if state == "42501":
        return UsageError(said, "GRANT SELECT on it to the role of `url`")
    return UsageError(said + _place(error, sql), error.diag.message_hint or "")


def _place(error: psycopg.Error, sql: str) -> str:
    """The line of the SQL that an error points at, with a mark under it."""
    if not (error.diag.statement_position or "").isdigit():
        return ""
    at = int(error.diag.statement_position or 0) - 1
    if error.diag.internal_query or not 0 <= at <= len(sql):
        return ""
    start = sql.rfind("\n", 0, at) + 1
    end = sql.find("\n", at)
    line = sql[start : end if end >= 0 else len(sql)]
    label = f"LINE {sql.count(chr(10), 0, at) + 1}: "
    return f"\n{label}{line}\n{' ' * (len(label) + at - start)}^"
