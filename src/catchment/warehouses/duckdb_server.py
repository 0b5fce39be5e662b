"""The embedded warehouse for everyone else on this machine: the `Warehouse` protocol over a Unix socket.

DuckDB lets one writing process in and shuts out all others, so whoever wants to read or write asks the process
that owns the file. Who may: the user who runs it (the socket lies in a folder that nobody else can enter, and
the peer's user is checked where the system tells), and for writing calls whoever can read the token in
`.catchment/warehouse.json`.
"""

from __future__ import annotations

import errno
import hmac
import logging
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import msgspec

from catchment import __version__
from catchment.errors import Abort, CatchmentError, NoSpace, Retry, Skip, StorageError, UsageError, WarehouseDown
from catchment.warehouses import ArrowStream, Warehouse
from catchment.warehouses import duckdb_wire as wire
from catchment.warehouses.overdue import LATE_S, Computing, Overdue, end_process
from catchment.warehouses.running import Running
from catchment.warehouses.traffic import DEPARTED_EVERY_S, Traffic

log = logging.getLogger(__name__)

MAX_QUERIES = 8
"""That run at a time; each holds a transaction and a share of DuckDB's memory."""
QUEUE_S = 10.0
"""How long a query waits in line for one to end."""
MAX_CONNECTIONS = 256
IDLE_S = 60.0
"""Between two requests, and within one: a client that says nothing for so long is cut off."""
SLOW_READER_S = 600.0
"""A reader may stop for so long in the middle of a result, such as in a pager."""


class WarehouseServer:
    """Serves a warehouse on the socket of a runtime folder, with threads of its own, until `stop`."""

    def __init__(
        self,
        warehouse: Warehouse,
        runtime: Path,
        *,
        max_queries: int = MAX_QUERIES,
        queue_s: float = QUEUE_S,
        give_up: Callable[[], None] | None = None,
    ) -> None:
        """`give_up` is called where a query ignores that it was ended; it ends this process, unless another is
        given."""
        self._overdue = Overdue(LATE_S, give_up or end_process)
        self._warehouse = warehouse
        self._runtime = runtime
        self._max_queries = max_queries
        self._queue_s = queue_s
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, then tell of it in `warehouse.json`. Raises `StorageError`, also where another one listens."""
        path = wire.socket_path(self._runtime)
        _clear(path)
        token = secrets.token_urlsafe(32)
        try:
            self._listener = _Listener(path, self._warehouse, token, self._max_queries, self._queue_s, self._overdue)
            path.chmod(0o600)
            description = wire.Description(wire.PROTOCOL, __version__, os.getpid(), str(path), token)
            _write_private(self._runtime / wire.DESCRIPTION_FILE, msgspec.json.encode(description))
        except OSError as error:
            self.stop(0)
            kind = NoSpace if error.errno in {errno.ENOSPC, errno.EDQUOT} else StorageError
            raise kind(f"{error.filename or path}: {error.strerror}") from None
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.05,), name="warehouse-server", daemon=True
        )
        self._thread.start()

    def stop(self, drain_s: float = 10.0) -> None:
        """Take nothing new, let what runs end within `drain_s`, then end it. Twice, or never started, is fine."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.draining = True
        self._forget(listener)
        thread, self._thread = self._thread, None
        if thread is not None:
            listener.shutdown()
            thread.join()
        listener.server_close()
        listener.traffic.drain(drain_s)

    def _forget(self, listener: _Listener) -> None:
        """Remove our two files; a successor may have put its own there already."""
        description = self._runtime / wire.DESCRIPTION_FILE
        with suppress(FileNotFoundError, msgspec.DecodeError):
            if msgspec.json.decode(description.read_bytes(), type=wire.Description).token == listener.token:
                description.unlink()
        with suppress(FileNotFoundError):
            if listener.path.stat().st_ino == listener.inode:
                listener.path.unlink()


def _clear(path: Path) -> None:
    """Remove the socket of a process that died. Raises `StorageError` where one lives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise StorageError(f"another warehouse process of this project listens at {path}", "stop it first")


def _write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, and for nobody else to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    unfinished.replace(path)


class _Listener(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, path: Path, warehouse: Warehouse, token: str, max_queries: int, queue_s: float, overdue: Overdue
    ) -> None:
        super().__init__(str(path), _Handler)
        self.path = path
        self.inode = path.stat().st_ino
        self.warehouse = warehouse
        self.token = token
        self.max_queries = max_queries
        self.queue_s = queue_s
        self.queries = threading.BoundedSemaphore(max_queries)
        self.traffic = Traffic()
        self.running = Running()
        self.overdue = overdue
        self.draining = False

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse other users, and more connections than there may be threads."""
        return self.traffic.count() < MAX_CONNECTIONS and _peer_uid(request) in {os.geteuid(), 0}

    def process_request(self, request: Any, client_address: Any) -> None:
        self.traffic.enter(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.traffic.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that leaves or talks nonsense is its own problem; the rest is ours, and is in the log.
        log.debug("a connection to the warehouse broke", exc_info=True)

    @contextmanager
    def named(self, query_id: str, end: Callable[[], None]) -> Iterator[None]:
        """While it lasts, `end` is called where somebody cancels the query of this id, if it has one."""
        if query_id:
            self.running.enter(query_id, end)
        try:
            yield
        finally:
            if query_id:
                self.running.leave(query_id)

    @contextmanager
    def a_query(self, gone: threading.Event) -> Iterator[None]:
        """Wait in line. Raises `Retry` when it takes too long."""
        deadline = time.monotonic() + self.queue_s
        while not self.queries.acquire(timeout=DEPARTED_EVERY_S):
            if self.draining:
                raise WarehouseDown("the warehouse process is stopping")
            if gone.is_set():
                raise Retry("the query was cancelled")
            if time.monotonic() >= deadline:
                raise Retry(
                    f"{self.max_queries} queries are running, and none ended within {self.queue_s:g} s",
                    "ask again later, or end one of them",
                )
        try:
            yield
        finally:
            self.queries.release()


def _peer_uid(connection: socket.socket) -> int:
    """The user at the other end; our own where the system doesn't tell: the folder keeps others out."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.geteuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    server: _Listener

    def do_POST(self) -> None:
        with self.server.traffic.request(self.connection):
            try:
                self._answer()
            except CatchmentError as error:
                self._send_problem(error)
            except OSError:
                self.close_connection = True  # the client has gone, or is too slow
            except Exception as error:
                log.exception("the warehouse failed at %s", self.path)
                self._send_problem(Abort(f"the warehouse process failed: {type(error).__name__}: {error}"))

    def _answer(self) -> None:
        # Until its body is read, which else would be taken for the next request.
        self.close_connection = True
        if self.server.draining:
            raise WarehouseDown("the warehouse process is stopping")
        if self.headers.get(wire.PROTOCOL_HEADER) != str(wire.PROTOCOL):
            raise UsageError(
                f"the warehouse process is of Catchment {__version__}, and speaks protocol {wire.PROTOCOL}",
                "use the same version everywhere, and restart `catchment up`",
            )
        may_write = hmac.compare_digest(self.headers.get(wire.TOKEN_HEADER, "").encode(), self.server.token.encode())
        body = self._body(wire.MAX_LOAD_BYTES if may_write else wire.MAX_CALL_BYTES)
        if self.path == "/query":
            self._query(_decoded(body, wire.Query))
            return
        if self.path == "/cancel":  # of ours, since it may wait in line yet
            self._send(200, wire.encode(self.server.running.cancel(*_decoded(body, wire.CALLS["cancel"].arguments))))
            return
        call = wire.CALLS.get(self.path.removeprefix("/"))
        if call is None:
            raise UsageError(f"the warehouse process knows no call {self.path!r}")
        if call.writes and not may_write:
            raise UsageError(f"{self.path} writes, which needs the token in {wire.DESCRIPTION_FILE}")
        value = call.make(self.server.warehouse, _decoded(body, call.arguments))
        self._send(200, wire.encode(value))

    def _body(self, limit_bytes: int) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise UsageError("a call needs a Content-Length")
        if int(length) > limit_bytes:
            raise UsageError(f"a call of {int(length):,} bytes; at most {limit_bytes:,} are taken")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        return body

    def _query(self, query: wire.Query) -> None:
        try:
            params = wire.unpacked(query.params)
        except (ValueError, ArithmeticError) as error:
            raise UsageError(f"a parameter can't be read: {error}") from None
        departed = threading.Event()
        streams: list[ArrowStream] = []
        computing: list[Computing] = []
        query_id = query.asker.query_id if query.asker else ""

        def leave() -> None:
            departed.set()
            for each in computing:
                each.end()
            if query_id:
                self.server.warehouse.cancel(query_id)  # before it has a stream, too
            for stream in streams:
                stream.close()

        with (
            self.server.named(query_id, leave),
            self.server.traffic.watched(self.connection, leave),
            self.server.a_query(departed),
            self.server.overdue.watched(query.timeout_s) as watched,
        ):
            computing.append(watched)
            if departed.is_set():
                raise Retry("the query was cancelled")
            stream = self.server.warehouse.query(
                query.sql, params, timeout_s=query.timeout_s, max_rows=query.max_rows, asker=query.asker
            )
            streams.append(stream)
            try:
                if departed.is_set():
                    raise Retry("the query was cancelled")
                self._send_stream(stream, watched)
            finally:
                stream.close()

    def _send_stream(self, stream: ArrowStream, computing: Computing) -> None:
        self.connection.settimeout(SLOW_READER_S)
        self.send_response_only(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in stream.ipc():
                view = memoryview(piece)
                with computing.paused():
                    for start in range(0, len(view), wire.PIECE_BYTES):
                        self._send_frame(wire.DATA, view[start : start + wire.PIECE_BYTES])
        except CatchmentError as error:
            ended = WarehouseDown("the warehouse process is stopping") if self.server.draining else error
            self._send_frame(wire.PROBLEM, wire.encode(wire.problem(ended)))
        else:
            self._send_frame(wire.END, b"")
        self.wfile.write(b"0\r\n\r\n")
        self.connection.settimeout(IDLE_S)

    def _send_frame(self, kind: bytes, data: bytes | memoryview) -> None:
        head = wire.FRAME.pack(kind, len(data))
        self.wfile.write(b"".join((b"%x\r\n" % (len(head) + len(data)), head, data, b"\r\n")))

    def _send_problem(self, error: CatchmentError) -> None:
        status = 503 if isinstance(error, Retry) else 422 if isinstance(error, Skip) else 400
        try:
            self._send(status, wire.encode(wire.problem(error)))
        except OSError:
            self.close_connection = True  # nobody is left to be told

    def _send(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/x-msgpack")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base class)
        log.debug("warehouse socket: " + format, *args)


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise UsageError(f"the arguments can't be read: {error}") from None
