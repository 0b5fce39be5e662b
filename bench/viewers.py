"""Fifty people who open the same dashboard again and again: dashboards a second, and how long each takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httptools
import httpx2
import uvloop

from bench import orders, pages
from bench.measure import Check, MemoryWatch, memory_bytes, percentile, result, scratch, tree_cpu_s
from bench.up import up

VIEWERS = 50
WARM_UP_S = 3
MEASURED_S = 20
MB = 1e6


def run() -> dict[str, Any]:
    """Each has a session and a connection of their own, and asks for the whole page once the last one is there."""
    with scratch(pages.NEEDED_BYTES) as folder:
        project, _, _ = pages.make(folder / "project")
        with up(project) as running:
            serve = pages.served(project)
            address = serve.address or ""
            cookies = [pages.signed_in(project, address, f"viewer{n}@example.com") for n in range(VIEWERS)]
            requests = [request(address, f"/d/{orders.BOARD}", cookie) for cookie in cookies]
            _check_whole(address, cookies[0])
            look(address, requests, WARM_UP_S)
            assert serve.pid is not None
            cpu_s, serve_cpu_s = tree_cpu_s(running.pid), tree_cpu_s(serve.pid)
            with MemoryWatch(serve.pid, every_s=0.5) as memory:
                taken_s, sizes, wall_s = look(address, requests, MEASURED_S)
            cores = (tree_cpu_s(running.pid) - cpu_s) / wall_s
            serve_cores = (tree_cpu_s(serve.pid) - serve_cpu_s) / wall_s
            all_mb = memory_bytes(running.pid) / MB
    return result(
        [
            Check("dashboards_per_s", len(taken_s) / wall_s, must=80, goal=100, at_least=True),
            Check("p95_ms", percentile(taken_s, 0.95) * 1e3, must=None, goal=600),
            Check("serve_mb", memory.peak_bytes / MB, must=180, goal=150),
        ],
        "its own limits: whole pages a second, all nine tiles' data in each, as browsers ask for them",
        viewers=VIEWERS,
        p50_ms=round(percentile(taken_s, 0.5) * 1e3),
        page_kb=round(percentile(sizes, 0.5) / 1e3, 1),
        cores=round(cores, 2),
        serve_cores=round(serve_cores, 2),
        up_mb=round(all_mb),
    )


def request(address: str, path: str, cookie: tuple[str, str]) -> bytes:
    """What a browser asks for a page with."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nCookie: {cookie[0]}={cookie[1]}\r\n"
        "Accept: text/html\r\nAccept-Encoding: gzip\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n\r\n"
    ).encode()


def _check_whole(address: str, cookie: tuple[str, str]) -> None:
    """Raises `RuntimeError` where the page lacks a tile's data: then speed says nothing."""
    page = httpx2.get(f"{address}/d/{orders.BOARD}", cookies=dict([cookie]), timeout=pages.REQUEST_S).text
    if (found := page.count('"state":"ok"')) != len(orders.TILES):
        raise RuntimeError(f"{found} of {len(orders.TILES)} tiles came with the page")


def look(address: str, requests: Sequence[bytes], seconds: float) -> tuple[list[float], list[int], float]:
    """Of each page: seconds until it was whole, and its bytes; and the seconds of them all."""
    taken_s: list[float] = []
    sizes: list[int] = []

    async def all_of_them() -> None:
        loop = asyncio.get_running_loop()
        host = urlsplit(address)
        until_s = time.perf_counter() + seconds
        done = []
        for each in requests:
            viewer = _Viewer(each, until_s, taken_s, sizes, loop.create_future())
            await loop.create_connection(lambda viewer=viewer: viewer, str(host.hostname), host.port or 80)  # type: ignore[misc]
            done.append(viewer.done)
        await asyncio.wait(done)  # of all, so that none leaves its connection behind
        await asyncio.sleep(0)
        for looked in done:
            looked.result()

    began_s = time.perf_counter()
    uvloop.run(all_of_them())
    return taken_s, sizes, time.perf_counter() - began_s


class _Viewer(asyncio.Protocol):
    """Asks again as soon as it has been answered, until the time is over."""

    def __init__(
        self, text: bytes, until_s: float, taken_s: list[float], sizes: list[int], done: asyncio.Future[None]
    ) -> None:
        self.done = done
        self._text, self._until_s, self._taken_s, self._sizes = text, until_s, taken_s, sizes
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._asked_s = 0.0
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked_s, self._size = time.perf_counter(), 0
        self._transport.write(self._text)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        """A part of the page."""
        self._size += len(piece)

    def on_message_complete(self) -> None:
        """The page is whole."""
        if self._parser.get_status_code() != 200:
            self._end(RuntimeError(f"not answered 200 but {self._parser.get_status_code()}"))
            return
        now_s = time.perf_counter()
        self._taken_s.append(now_s - self._asked_s)
        self._sizes.append(self._size)
        if now_s < self._until_s:
            self._ask()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or RuntimeError("the server closed a connection"))

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        if self._transport is not None:
            self._transport.close()
