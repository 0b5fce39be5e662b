"""An endpoint that keeps every request, and that fails those that it is told to."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Answer = Literal["ok", "unavailable", "limited", "closed"]
"""`unavailable` is 503, `limited` 429 with `Retry-After`. `closed`: the request is read whole and the connection then
ends without an answer; its events may have arrived."""
RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, when, and what it was answered with."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answer: Answer = "ok"
    at_s: float = 0.0

    def events(self) -> list[dict[str, Any]]:
        """The events in its body, each with the batch's `sentAt` where it has none of its own."""
        # Judged by its first bytes: not every SDK names its encoding.
        plain = gzip.decompress(self.body) if self.body[:2] == b"\x1f\x8b" else self.body
        body = json.loads(plain)
        if "batch" not in body:
            return [body]
        return [{"sentAt": body["sentAt"], **event} for event in body["batch"]]


def settings_with_key(path: str) -> dict[str, Any]:
    """What Segment's SDK for browsers asks for first, at `/v1/projects/<write key>/settings`."""
    key = path.removeprefix("/v1/projects/").removesuffix("/settings")
    return {"integrations": {"Segment.io": {"apiKey": key}}}


class Recorder:
    """The endpoint. Of the requests that bring events, the first few are `answers[0]`, `answers[1]`, … and then ok."""

    def __init__(
        self, answers: tuple[Answer, ...] = (), settings: Callable[[str], dict[str, Any]] = settings_with_key
    ) -> None:
        self._answers = list(answers)
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = recorder._keep("POST", self.path, dict(self.headers.items()), body)
                if answer == "closed":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif answer == "unavailable":
                    self._reply(503, b'{"error":"busy"}')
                elif answer == "limited":
                    self._reply(429, b'{"error":"too many"}')
                else:
                    self._reply(200, b'{"success":true}')

            def do_GET(self) -> None:
                recorder._keep("GET", self.path, dict(self.headers.items()), b"")
                self._reply(200, json.dumps(settings(self.path)).encode())

            def do_OPTIONS(self) -> None:
                recorder._keep("OPTIONS", self.path, dict(self.headers.items()), b"")
                self._reply(204, b"")

            def _reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == 429:
                    self.send_header("Retry-After", str(RETRY_AFTER_S))
                if origin := self.headers.get("Origin"):
                    # Without this a page does not see the header, and its SDK tries again at once.
                    self.send_header("Access-Control-Expose-Headers", "Retry-After")
                    self.send_header("Access-Control-Allow-Origin", origin)
                    self.send_header("Access-Control-Allow-Credentials", "true")
                if asked := self.headers.get("Access-Control-Request-Headers"):
                    self.send_header("Access-Control-Allow-Headers", asked)
                    self.send_header("Access-Control-Allow-Methods", "GET, POST")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing: what came is in `requests`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def _keep(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            answer = self._answers.pop(0) if method == "POST" and self._answers else "ok"
            self.requests.append(Request(method, path, headers, body, answer, time.monotonic()))
        return answer

    def recover(self) -> None:
        """Fail nothing more."""
        with self._lock:
            self._answers.clear()

    def posts(self) -> list[Request]:
        """The requests that brought events, in the order in which they came."""
        with self._lock:
            return [each for each in self.requests if each.method == "POST"]

    @contextlib.contextmanager
    def running(self) -> Iterator[Recorder]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def mark_of(event: dict[str, Any]) -> str:
    """Which call an event comes from."""
    if event["type"] == "alias":
        return str(event["previousId"])
    return str(values_of(event)["mark"])


def values_of(event: dict[str, Any]) -> dict[str, Any]:
    """An event's properties or traits."""
    values = event["traits"] if event["type"] in {"identify", "group"} else event.get("properties", {})
    assert isinstance(values, dict)
    return values
