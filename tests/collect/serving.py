"""A server on a port of its own in a thread, and raw sockets to it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import uvloop

from catchment.collect.handler import Handler
from catchment.collect.server import Server
from catchment.errors import CatchmentError
from catchment.record import Line
from tests.collect.asking import config

PATIENCE_S = 20.0


@dataclass
class Kept:
    """Stands where the group commit stands, and keeps lines in memory. While `held`, nothing is answered."""

    lines: list[Line] = field(default_factory=list)
    pending_bytes: int = 0
    held: bool = False
    error: CatchmentError | None = None
    waiting: list[Callable[[CatchmentError | None], None]] = field(default_factory=list)

    def submit(
        self, lines: list[Line], events: int, rejected: int, done: Callable[[CatchmentError | None], None]
    ) -> None:
        if self.error is None:
            self.lines += lines
        if self.held:
            self.waiting.append(done)
        else:
            done(self.error)


@dataclass
class Serving:
    """A server that runs."""

    port: int
    server: Server
    kept: Kept
    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[[], object]) -> None:
        """Run something in the server's thread, and wait for it."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(PATIENCE_S)

    def connect(self) -> Client:
        return Client(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S))

    def ask(self, data: bytes) -> bytes:
        """Send bytes on a new connection, and read until the server closes it."""
        with self.connect() as client:
            client.send(data)
            return client.rest()


class Client:
    """A raw connection."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(self._buffer) < length:
            self._read()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(head[9:12]), body

    def _read(self) -> None:
        data = self.socket.recv(65_536)
        assert data, f"closed; had {self._buffer!r}"
        self._buffer += data

    def rest(self) -> bytes:
        """Everything until the server closes."""
        found = self._buffer
        with suppress(ConnectionResetError):
            while data := self.socket.recv(65_536):
                found += data
        return found

    def is_closed(self, within_s: float) -> bool:
        """Whether the server closes it in time, without a word."""
        self.socket.settimeout(within_s)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True


@contextmanager
def serving(**settings: Any) -> Iterator[Serving]:
    """A server with these settings of `[collect]`, sweeping for deadlines all the time."""
    kept = Kept()
    settings_made = config(**settings)
    server = Server(settings_made, Handler(settings_made, timedelta(days=7)), kept)
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server.connect, "127.0.0.1", 0)
        found.update(port=listener.sockets[0].getsockname()[1], loop=loop, stop=asyncio.Event())
        ready.set()
        while not found["stop"].is_set():
            await asyncio.sleep(0.01)
            server.close_late()
        listener.close()
        server.abort()
        await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: uvloop.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield Serving(found["port"], server, kept, found["loop"])
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(condition: Callable[[], object], what: str) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, f"waited in vain for {what}"
        time.sleep(0.01)
