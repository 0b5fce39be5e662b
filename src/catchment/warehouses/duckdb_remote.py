"""An embedded warehouse that another process has open, asked through its socket: the same protocol from afar."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from catchment import __version__
from catchment.errors import Retry, StorageError, UsageError, WarehouseDown, WarehouseGone
from catchment.warehouses import (
    ArrowStream,
    Asker,
    Batch,
    Fill,
    Filled,
    Halt,
    LatestView,
    LedgerEntry,
    Loaded,
    Rebuild,
    Rebuilt,
    Rows,
    SchemaChange,
)
from catchment.warehouses import duckdb_wire as wire
from catchment.warehouses.ipc import IpcFile
from catchment.warehouses.shape import Shape

CONNECT_S = 5.0
ANSWER_MARGIN_S = 30.0
"""Beyond a query's own timeout, for waiting in line and for the way."""


def find(runtime: Path) -> RemoteDuckDB | None:
    """The warehouse process of the project with this runtime folder; None where none runs.

    It may die, or another may start, right after: who then finds the file locked looks here again.
    Raises `UsageError` where it is of a version that this one can't talk to.
    """
    description = _described(runtime)
    if description is None:
        return None
    remote = RemoteDuckDB(runtime)
    try:
        remote.connect()
    except WarehouseDown:
        return None  # the file of a process that was killed
    return remote


def _described(runtime: Path) -> wire.Description | None:
    path = runtime / wire.DESCRIPTION_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=wire.Description)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StorageError(f"{path} can't be read: {error}", f"restart `catchment up`, or remove {path}") from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, description: wire.Description) -> None:
        super().__init__("localhost", timeout=CONNECT_S)
        self.description = description

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(self.description.socket)
        except BaseException:
            connection.close()
            raise
        self.sock = connection

    def ask(self, name: str, body: bytes, answer_s: float | None) -> http.client.HTTPResponse:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(answer_s)
        headers = {
            wire.PROTOCOL_HEADER: str(wire.PROTOCOL),
            wire.TOKEN_HEADER: self.description.token,
        }
        self.request("POST", f"/{name}", body, headers)
        return self.getresponse()


class RemoteDuckDB:
    """`Warehouse` over the socket. After the process has been restarted, the next call finds the new one.

    Every call is safe to make again, as the protocol has it: so one that meets a connection which the process
    closed while it was idle is made once more, on a new one. When the process goes in the middle of a call, or
    is not there, it raises `WarehouseDown`.
    """

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def connect(self) -> None:
        """See that the process is there. Raises `WarehouseDown`, `UsageError` for another version."""
        connection = self._new_connection()
        try:
            connection.connect()
        except OSError as error:
            raise _down(error) from None
        try:
            _check_version(connection.description)
        except UsageError:
            connection.close()
            raise
        self._give_back(connection)

    def _new_connection(self) -> _Connection:
        description = _described(self._runtime)
        if description is None:
            raise WarehouseDown("the warehouse process is not running", "catchment up")
        return _Connection(description)

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _ask(
        self, name: str, body: bytes, answer_s: float | None = None
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        """Send a call and wait for the head of its answer."""
        if len(body) > wire.MAX_LOAD_BYTES:
            raise UsageError(f"a call of {len(body):,} bytes; at most {wire.MAX_LOAD_BYTES:,} are taken")
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            was_idle = connection is not None
            connection = connection or self._new_connection()
            try:
                return connection, connection.ask(name, body, answer_s)
            except TimeoutError:
                connection.close()
                raise Retry(f"the warehouse process did not answer within {answer_s:g} s") from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not was_idle:
                    raise _down(error) from None

    def _call(self, name: str, *arguments: Any) -> Any:
        connection, response = self._ask(name, wire.encode(arguments))
        try:
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _down(error) from None
        self._give_back(connection)
        if response.status != 200:
            raise wire.raised(msgspec.msgpack.decode(body, type=wire.Problem))
        return msgspec.msgpack.decode(body, type=wire.CALLS[name].value)

    def shape(self, table: str) -> Shape:
        """As `Warehouse.shape`."""
        shape: Shape = self._call("shape", table)
        return shape

    def reads(self, url: str) -> bool:
        """See `Warehouse.reads`: files on this machine's disk."""
        return "://" not in url

    def tables(self, schema: str) -> Sequence[str]:
        """As `Warehouse.tables`."""
        tables: list[str] = self._call("tables", schema)
        return tables

    def latest_view(self, view: LatestView) -> bool:
        """As `Warehouse.latest_view`."""
        made: bool = self._call("latest_view", view)
        return made

    def load(self, batches: Sequence[Batch], *, past_ledger: bool = False) -> list[Loaded]:
        """As `Warehouse.load`; files among the rows are read by the process, so a path must be absolute."""
        loaded: list[Loaded] = self._call("load", batches, past_ledger)
        return loaded

    def staged(self, fill: Fill) -> frozenset[str]:
        """As `Warehouse.staged`."""
        staged: frozenset[str] = self._call("staged", fill)
        return staged

    def stage(self, fill: Fill, names: Sequence[str], rows: Sequence[Rows]) -> None:
        """As `Warehouse.stage`; files among the rows are read by the process, so a path must be absolute."""
        self._call("stage", fill, names, rows)

    def fill(self, fill: Fill) -> Filled:
        """As `Warehouse.fill`."""
        filled: Filled = self._call("fill", fill)
        return filled

    def begin_rebuild(self, rebuild: Rebuild) -> None:
        """As `Warehouse.begin_rebuild`."""
        self._call("begin_rebuild", rebuild)

    def end_rebuild(
        self,
        rebuild: Rebuild,
        *,
        without: Sequence[str] = (),
        noted: Sequence[SchemaChange] = (),
        drops_others: bool = False,
        holds_back: bool = False,
    ) -> Rebuilt:
        """As `Warehouse.end_rebuild`."""
        rebuilt: Rebuilt = self._call("end_rebuild", rebuild, without, noted, drops_others, holds_back)
        return rebuilt

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """As `Warehouse.ledger`."""
        tables: dict[str, frozenset[str]] = self._call("ledger", names)
        return tables

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        """As `Warehouse.enter`."""
        self._call("enter", entries)

    def forget(self, names: Sequence[str]) -> None:
        """As `Warehouse.forget`."""
        self._call("forget", names)

    def expire(self, table: str, before: datetime, limit: int, *, about: str | None = None) -> int:
        """As `Warehouse.expire`."""
        count: int = self._call("expire", table, before, limit, about)
        return count

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        """As `Warehouse.versions`."""
        versions: dict[str, str] = self._call("versions", tables)
        return versions

    def row_count(self, table: str, since: datetime, enough: int) -> int:
        """As `Warehouse.row_count`."""
        count: int = self._call("row_count", table, since, enough)
        return count

    def halts(self) -> Sequence[Halt]:
        """As `Warehouse.halts`."""
        halts: list[Halt] = self._call("halts")
        return halts

    def halt(self, table: str, reason: str) -> None:
        """As `Warehouse.halt`."""
        self._call("halt", table, reason)

    def resume(self, table: str) -> None:
        """As `Warehouse.resume`."""
        self._call("resume", table)

    def tidy(self, early_before: datetime) -> None:
        """As `Warehouse.tidy`."""
        self._call("tidy", early_before)

    def backup(self, destination: Path) -> None:
        """As `Warehouse.backup`; the process writes the file."""
        self._call("backup", str(destination.absolute()))

    def query(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        max_rows: int | None = None,
        asker: Asker | None = None,
    ) -> ArrowStream:
        """As `Warehouse.query`; also raises `Retry` where too many queries are running."""
        body = wire.encode(wire.Query(sql, wire.packed(params), timeout_s, max_rows, asker))
        connection, response = self._ask("query", body, None if timeout_s is None else timeout_s + ANSWER_MARGIN_S)
        if response.status != 200:
            body = response.read()
            self._give_back(connection)
            raise wire.raised(msgspec.msgpack.decode(body, type=wire.Problem))
        return _RemoteStream(connection, response, self._give_back)

    def cancel(self, query_id: str) -> bool:
        """As `Warehouse.cancel`; also of one that waits in line there."""
        ended: bool = self._call("cancel", query_id)
        return ended

    def close(self) -> None:
        """Let go of the connections; the process goes on. Twice does nothing."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _RemoteStream:
    """A result on its way; `close` in the middle hangs up, which ends the query there."""

    def __init__(
        self,
        connection: _Connection,
        response: http.client.HTTPResponse,
        give_back: Callable[[_Connection], None],
    ) -> None:
        self._connection = connection
        self._response = response
        self._give_back = give_back
        self._pieces = self._read()
        self._closed = False
        self._given_back = False

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface; for DuckDB's `from_arrow` hand over the capsule, since it asks twice."""
        return IpcFile(self.ipc()).capsule()

    def ipc(self) -> Iterator[bytes]:
        """The result as an Arrow IPC stream. Raises what the query raised there, and `WarehouseDown`."""
        yield from self._pieces
        if self._closed:  # by another thread between two pieces: not the end of the result
            raise Retry("the query was given up by its reader")

    def close(self) -> None:
        """Give up the rest; the query ends. Twice does nothing."""
        self._closed = True
        try:
            self._pieces.close()
        except ValueError:  # another thread waits for a piece: this wakes it, and it hangs up
            with suppress(OSError):
                assert self._connection.sock is not None
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        else:
            # Not started, or at its end: in the middle the generator has done it.
            self._hang_up()

    def _read(self) -> Generator[bytes, None, None]:
        try:
            while True:
                kind, length = wire.FRAME.unpack(self._exactly(wire.FRAME.size))
                data = self._exactly(length)
                if kind != wire.DATA:
                    break
                yield data
            self._response.read()
        except TimeoutError:
            self._hang_up()
            raise Retry("the warehouse process fell silent in the middle of a result") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._hang_up()
            if self._closed:
                raise Retry("the query was given up by its reader") from None
            raise _down(error) from None
        except GeneratorExit:
            self._hang_up()
            raise
        self._given_back = True
        self._give_back(self._connection)
        if kind == wire.PROBLEM:
            raise wire.raised(msgspec.msgpack.decode(data, type=wire.Problem))

    def _exactly(self, count: int) -> bytes:
        data = self._response.read(count)
        if len(data) < count:
            raise ConnectionResetError("the result ends in the middle")
        return data

    def _hang_up(self) -> None:
        if not self._given_back:
            self._response.close()
            self._connection.close()


def _check_version(description: wire.Description) -> None:
    if description.protocol != wire.PROTOCOL:
        raise UsageError(
            f"the running warehouse process is of Catchment {description.version}, and this is {__version__}: "
            "they don't understand each other",
            "restart `catchment up`",
        )


def _down(error: Exception) -> WarehouseDown:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return WarehouseDown("the warehouse process is not running", "catchment up")
    return WarehouseGone(f"the warehouse process has gone ({error or type(error).__name__})", "catchment status")
