"""Clients that keep an HTTP server busy: so many connections, each with one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import psutil
import uvloop


class _Client(asyncio.Protocol):
    """Sends the next request once the last one has been answered."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._next()

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            self._end(RuntimeError(f"not answered 200: {data[:300]!r}"))
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or RuntimeError("the server closed a connection"))

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            self._end(None)
        else:
            self._transport.write(request)

    def _end(self, error: Exception | None) -> None:
        if not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


def keep_busy(port: int, requests: Sequence[bytes], connections: int, server: psutil.Process) -> tuple[float, float]:
    """Send every request, over so many connections: seconds it took, and CPU seconds of the server meanwhile.

    Raises `RuntimeError` for any answer but 200. Answers must come in one piece, as small ones do.
    """

    async def send() -> None:
        loop = asyncio.get_running_loop()
        waiting = iter(requests)
        done = [loop.create_future() for _ in range(connections)]
        for each in done:
            await loop.create_connection(lambda each=each: _Client(waiting, each), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*done)

    before, began_s = server.cpu_times(), time.perf_counter()
    uvloop.run(send())
    taken_s, after = time.perf_counter() - began_s, server.cpu_times()
    return taken_s, after.user + after.system - before.user - before.system
