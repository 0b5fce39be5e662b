"""One reading statement, run on an embedded warehouse for somebody who must not change anything.

Three fences, since each alone has gaps:
- the statement's kind as DuckDB's parser has it: SELECT (with FROM, SHOW, DESCRIBE, SUMMARIZE), EXPLAIN, PIVOT.
  That keeps out SET, PRAGMA, CALL, COPY, ATTACH, INSTALL and their like;
- functions that act although they are called from a SELECT, by name (`ACTING_FUNCTIONS`): one of them would end
  the process;
- a transaction that DuckDB keeps read-only: an INSERT inside a WITH, `nextval`, EXPLAIN ANALYZE of a write.
Files of the machine, the network, Python's variables (which DuckDB would take for tables) and the settings that
all share are closed by `confine`, once, when the database is opened.
What a person asks passes a fourth one, a list of what is allowed: `duckdb_guard`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation, StatementType
from nanoarrow._utils import NanoarrowException

from catchment.errors import CatchmentError, Retry, StorageError, UsageError, WarehouseDown
from catchment.warehouses import Asker
from catchment.warehouses.duckdb_arrow import pieces, select_list
from catchment.warehouses.duckdb_guard import check_allowed
from catchment.warehouses.ipc import IpcFile
from catchment.warehouses.quoting import text as quoted
from catchment.warehouses.running import Running

ACTING_FUNCTIONS = frozenset(
    {
        "add_grammar_extension",
        "arrow_scan",
        "arrow_scan_dumb",
        "checkpoint",
        "create_external_resource",
        "deregister_external_resource",
        "destroy_external_resource",
        "disable_logging",
        "disable_profiling",
        "enable_logging",
        "enable_profiling",
        "force_checkpoint",
        "json_execute_serialized_sql",  # runs SQL that these names are not looked for in
        "nextval",
        "pandas_scan",
        "python_arrow_scan",
        "python_map_function",
        "query",  # as json_execute_serialized_sql
        "register_external_resource",
        "register_external_resource_type",
        "remove_grammar_extension",
        "setval",
        "truncate_duckdb_logs",
        "write_log",
    }
)
"""Functions of DuckDB 2.0 that change something, reach into memory or hide SQL; a test notices new ones."""

_KINDS = {StatementType.SELECT, StatementType.EXPLAIN, StatementType.MULTI}
MAX_SQL_CHARACTERS = 256 * 1024
"""Planning can't be interrupted, and 20,000 SELECTs in a UNION take minutes of it."""
_INTERRUPT_EVERY_S = 0.05
_OFF = (
    "python_enable_replacements",
    "autoload_known_extensions",
    "autoinstall_known_extensions",
    "allow_community_extensions",
    "allow_persistent_secrets",
)
_MESSAGE_CHARACTERS = 600

Params = Sequence[Any] | Mapping[str, Any] | None


def confine(connection: DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Shut SQL off from all files but those under `folders`, and lock every setting, for good.

    For the one who opened the database, after its own settings: none can be changed any more.
    """
    allowed = ", ".join("'" + str(folder.resolve()).replace("'", "''") + "/'" for folder in folders)
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    for setting in _OFF:
        connection.execute(f"SET {setting} = false")
    # A session's own; no statement of a query's can set it.
    connection.execute("SET allowed_configs = ['TimeZone']")
    connection.execute("SET lock_configuration = true")


def run_query(
    cursor: DuckDBPyConnection,
    sql: str,
    params: Params = None,
    timeout_s: float | None = None,
    max_rows: int | None = None,
    asker: Asker | None = None,
    running: Running | None = None,
    loaded: Container[str] = (),
) -> DuckDBStream:
    """Check and bind one reading statement, which runs when its stream is read. The stream owns the cursor.

    An asker's is entered in `running` under its id while it lasts; `loaded` are tables that are known to be there.

    Raises `UsageError` for SQL that is wrong or would change something. What shows only while running is raised
    by the stream: `UsageError` (a value that does not convert), `Retry` (`timeout_s`, counted from here, is over).
    """
    limit = _Limit(cursor, running, asker.query_id if asker else "")
    try:
        limit.start(timeout_s)
        text, kind = _statement(cursor, sql)
        if asker is not None:
            check_allowed(cursor, text, kind, loaded)
            _set_zone(cursor, asker.zone)
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        prepare = _Prepared(cursor, text, params, max_rows)
        # PIVOT and EXPLAIN ANALYZE run while they are bound: left to the reading, which can be given up.
        if kind is StatementType.SELECT:
            prepare()
    except duckdb.Error as error:
        limit.finish()
        limit.check()
        raise explained(error) from None
    except BaseException:
        limit.finish()
        raise
    return DuckDBStream(limit, prepare)


def _set_zone(cursor: DuckDBPyConnection, zone: str) -> None:
    try:
        cursor.execute(f"SET SESSION TimeZone = {quoted(zone)}")
    except duckdb.NotImplementedException:
        raise UsageError(f"no time zone {zone!r}", "a name such as Europe/Vienna") from None


def _statement(cursor: DuckDBPyConnection, sql: str) -> tuple[str, StatementType]:
    """The one statement of `sql` and its kind."""
    if len(sql) > MAX_SQL_CHARACTERS:
        raise UsageError(
            f"a query of {len(sql):,} characters; at most {MAX_SQL_CHARACTERS:,} are taken", "use parameters"
        )
    try:
        statements = cursor.extract_statements(sql)
        kinds = [statement.type for statement in statements]
    except ValueError:  # a kind that this client has no name for
        raise _not_reading("this statement") from None
    if len(statements) != 1:
        found = "there is none" if not statements else f"there are {len(statements)}"
        raise UsageError(f"a query is one statement; here {found}", "one SELECT, without another after its `;`")
    if kinds[0] not in _KINDS:
        raise _not_reading(kinds[0].name)
    for name in called_functions(sql):
        if name in ACTING_FUNCTIONS:
            raise UsageError(f"{name}() is not for queries: it does more than read")
    return statements[0].query, kinds[0]


def _not_reading(what: str) -> UsageError:
    return UsageError(
        f"a query only reads, and {what} does more",
        "SELECT, FROM, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE or PIVOT",
    )


def called_functions(sql: str) -> Iterator[str]:
    """The name before every opening parenthesis, in lower case: functions, and some that are none."""
    text = sql.encode()
    tokens = [(at, kind) for at, kind in duckdb.tokenize(sql) if kind is not duckdb.token_type.comment]
    for (start, _), (end, _) in pairwise(tokens):
        if text[end : end + 1] == b"(":
            name = text[start:end].decode(errors="replace")
            yield _unquoted(name)


def _unquoted(token: str) -> str:
    """An identifier's name; behind it may stand white space and comments, which are no part of it."""
    if token.startswith('"'):
        end = token.replace('""', "  ").find('"', 1)
        return token[1:end].replace('""', '"').lower()
    name = token.split("--", 1)[0].split("/*", 1)[0].split()
    return name[0].lower() if name else ""


class _Prepared:
    """A statement bound to its relation, once."""

    def __init__(self, cursor: DuckDBPyConnection, text: str, params: Params, max_rows: int | None) -> None:
        self._cursor = cursor
        self._text = text
        self._params = params
        self._max_rows = max_rows
        self._relation: DuckDBPyRelation | None = None

    def __call__(self) -> DuckDBPyRelation:
        if self._relation is None:
            # Whatever has a text as its keys is by name; DuckDB wants a list for the rest.
            params = dict(self._params) if isinstance(self._params, Mapping) else list(self._params or ())
            relation = self._cursor.sql(self._text, params=params)
            assert relation is not None, "a reading statement has a result"
            columns = select_list(relation.columns, relation.types)
            if columns is not None:
                relation = relation.project(columns)
            self._relation = relation if self._max_rows is None else relation.limit(self._max_rows)
        return self._relation


class _Limit:
    """Ends a query: on time-out, or because its reader gave it up.

    It interrupts until the query has ended, not once: an interrupt that comes just before DuckDB starts on the
    next batch is lost.
    """

    def __init__(self, cursor: DuckDBPyConnection, running: Running | None, query_id: str) -> None:
        self._cursor = cursor
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
            self._running.enter(self._query_id, self.cancel)
            self._is_entered = True
        if timeout_s is not None:
            threading.Thread(target=self._wait, name="query-timeout", daemon=True).start()

    def _wait(self) -> None:
        if not self._finished.wait(self.timeout_s):
            self.over = True
            self._interrupt()

    def cancel(self) -> None:
        """End it, whatever its reader does; returns at once."""
        self.cancelled = True
        self.interrupt()

    def interrupt(self) -> None:
        """End what another thread is reading at this moment; returns at once."""
        threading.Thread(target=self._interrupt, name="query-cancel", daemon=True).start()

    def _interrupt(self) -> None:
        while not self._finished.is_set():
            with self._lock:
                if not self._finished.is_set():
                    self._cursor.interrupt()
            self._finished.wait(_INTERRUPT_EVERY_S)

    def finish(self) -> None:
        """End the transaction and let go of the cursor. Twice does nothing."""
        with self._lock:
            if not self._finished.is_set():
                self._finished.set()
                self._cursor.close()
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


class DuckDBStream:
    """A query's result, read once; its `ipc()` and `close()` may be called by different threads."""

    def __init__(self, limit: _Limit, prepare: Callable[[], DuckDBPyRelation]) -> None:
        self._limit = limit
        self._pieces = _read(limit, prepare)
        weakref.finalize(self, limit.finish)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface; for DuckDB's `from_arrow` hand over the capsule, since it asks twice."""
        return IpcFile(self.ipc()).capsule()

    def ipc(self) -> Iterator[bytes]:
        """The result as an Arrow IPC stream. Raises `UsageError`, `Retry`, `StorageError`, `WarehouseDown`."""
        yield from self._pieces
        if self._limit.given_up:  # closed by another thread between two pieces: not the end of the result
            self._limit.check()

    def close(self) -> None:
        """Give up the rest. A batch that another thread is reading is interrupted."""
        self._limit.given_up = True
        try:
            self._pieces.close()
        except ValueError:  # another thread is in the middle of a batch: it lets go of the cursor itself
            self._limit.interrupt()
        else:
            self._limit.finish()


def _read(limit: _Limit, prepare: Callable[[], DuckDBPyRelation]) -> Generator[bytes, None, None]:
    try:
        limit.check()
        with closing(pieces(prepare())) as running:
            for piece in running:
                limit.check()
                yield piece
    except (duckdb.Error, NanoarrowException) as error:
        limit.check()
        raise explained(error) from None
    finally:
        limit.finish()


def explained(error: Exception) -> CatchmentError:
    """An error of DuckDB as one of ours: its message shortened, the place in the SQL kept."""
    message = str(error)
    if isinstance(error, NanoarrowException):
        message = message.split("failed (", 1)[-1].split("): ", 1)[-1]
    if isinstance(error, (duckdb.FatalException, duckdb.InternalException, duckdb.ConnectionException)):
        return WarehouseDown(f"the warehouse failed: {_short(message)}", "restart `catchment up`")
    if "read-only mode" in message:
        return _not_reading("a statement that writes")
    if "file system operations are disabled" in message:
        return UsageError(_short(message), "a query reads tables, and the files of the archive")
    if "to DECIMAL(38,0)" in message:
        return UsageError(_short(message), "CAST it to VARCHAR or DOUBLE: Arrow's integers end at 38 digits")
    if "No space left" in message:
        return StorageError(_short(message), "free some space: a large sort or join is kept on disk meanwhile")
    if message.startswith("Catalog Error: Table with name"):
        return UsageError(_short(message), "catchment status lists the tables")
    if message.startswith("Out of Memory"):
        return UsageError(
            _short(message), "fewer rows or columns; memory for queries is `memory_limit` of the warehouse"
        )
    return UsageError(_short(message))


def _short(message: str) -> str:
    """What is wrong, then the line of the SQL with the mark under it."""
    what, mark, place = message.partition("\n\nLINE ")
    what = what.strip()
    if len(what) > _MESSAGE_CHARACTERS:
        what = what[:_MESSAGE_CHARACTERS] + " …"
    return f"{what}\nLINE {place.rstrip()}" if mark else what
