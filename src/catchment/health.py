"""The private port of a process: `/healthz`, `/readyz` and `/metrics`, for whoever watches over it.

It must neither harm nor hold up the process it reports on, whatever is sent to it: a request has 16 KB and 5
seconds in all, 16 may be open at once, and each connection carries one.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Final

import msgspec

from catchment.errors import UsageError
from catchment.log import get_log, mask
from catchment.service import Health

PATHS: Final = ("/healthz", "/readyz", "/metrics")
MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_REQUEST_S: Final = 5.0
MAX_CONNECTIONS: Final = 16

Checks = Callable[[], Mapping[str, Health]]

_log = get_log()


class HealthServer:
    """Answers on `host`:`port` (0 takes a free one) from its construction until `close`.

    `/healthz` and `/readyz` are 200 while every service is ok (ready), else 503, with each one's health as JSON;
    `/metrics` is Prometheus's text format. Raises `UsageError` when the port cannot be had.
    """

    def __init__(self, checks: Checks, *, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            message = f"cannot listen on {host}:{port} for health checks: {error.strerror or error}"
            raise UsageError(message, "choose another port, or 0 for any free one") from error
        self._listener.setblocking(False)
        shown = f"[{host}]" if ":" in host else host
        self.address: Final = f"http://{shown}:{self._listener.getsockname()[1]}"
        self.checks: Final = checks
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._closing, self._close = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering. Twice does nothing."""
        if self._close < 0:
            return
        os.close(self._close)
        self._close = -1
        self._thread.join()
        self._listener.close()
        os.close(self._closing)

    def _serve(self) -> None:
        while self._closing not in select.select([self._listener.fileno(), self._closing], [], [])[0]:
            try:
                connection, peer = self._listener.accept()
            except OSError as error:  # the caller is gone already, or we are out of descriptors
                _log.debug("cannot accept a connection", exc=error)
                time.sleep(0.05)
                continue
            if self._slots.acquire(blocking=False):
                threading.Thread(target=self._answer, args=(connection, peer), name="health", daemon=True).start()
            else:
                connection.close()

    def _answer(self, connection: socket.socket, peer: object) -> None:
        try:
            with connection:
                _Handler(connection, peer, self)
        except Exception as error:  # whatever a stranger sends costs him his connection and nobody else anything
            _log.debug("a health request failed", exc=error)
        finally:
            self._slots.release()


class _Limited(io.RawIOBase):
    """What a connection sends, up to the limits of a request."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left_bytes = MAX_REQUEST_BYTES
        self._deadline_s = time.monotonic() + MAX_REQUEST_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0 or self._left_bytes <= 0:
            raise TimeoutError("a request too slow or too large")
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(memoryview(buffer)[: self._left_bytes])
        self._left_bytes -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer  # type: ignore[assignment]
    protocol_version = "HTTP/1.0"  # which closes the connection after its answer
    server_version = "catchment"
    sys_version = ""
    timeout = MAX_REQUEST_S
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def __init__(self, connection: socket.socket, peer: object, server: HealthServer) -> None:
        super().__init__(connection, peer, server)  # type: ignore[arg-type]

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Limited(self.connection))

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the caller has gone without its answer
            super().finish()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path in PATHS:
            self._health(ready=path == "/readyz")
        else:
            self._send(HTTPStatus.NOT_FOUND, f"there are {', '.join(PATHS)}\n".encode())

    do_HEAD = do_GET  # noqa: N815

    def _health(self, *, ready: bool) -> None:
        health = self.server.checks()
        well = all(one.ready if ready else one.ok for one in health.values())
        shown = {name: {"ok": one.ok, "ready": one.ready, "detail": mask(one.detail)} for name, one in health.items()}
        body = msgspec.json.encode({"ready" if ready else "ok": well, "services": shown}) + b"\n"
        self._send(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, body, "application/json")

    def _metrics(self) -> None:
        # prometheus-client is only worth its memory in a process that somebody scrapes.
        from catchment import metrics

        self._send(HTTPStatus.OK, metrics.exposition(), metrics.CONTENT_TYPE)

    def _send(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stdlib writes each request to stderr."""
        _log.debug("health request", said=format % args, peer=self.client_address[0])
