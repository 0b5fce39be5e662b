"""`collect`, the service: listens, and drains in order when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import threading
from datetime import timedelta
from pathlib import Path

import uvloop

from catchment import metrics
from catchment.collect.commit import GroupCommit
from catchment.collect.config import CollectConfig
from catchment.collect.handler import Handler
from catchment.collect.http import Server
from catchment.collect.tls import Certificate
from catchment.errors import Abort
from catchment.queues import Queue
from catchment.service import Health, Stop

_BACKLOG = 4_096
_OTHER_DESCRIPTORS = 200
_TICK_S = 0.5
_LONGEST_DRAIN_S = 20.0


class CollectService:
    """The `collect` service of one project, or one of its workers. `window` is the loader's dedupe window, `folder`
    the project's, from which files are named."""

    def __init__(
        self, queue: Queue, config: CollectConfig, window: timedelta, folder: Path, name: str = "collect"
    ) -> None:
        self._queue = queue
        self._config = config
        self._window = window
        self._folder = folder
        self.name = name
        self._address: str | None = None
        self._commit: GroupCommit | None = None

    def health(self) -> Health:
        """Ready while it listens and what it takes in can be kept."""
        trouble = self._commit.trouble if self._commit is not None else ""
        ready = self._address is not None and not trouble
        return Health(ok=True, ready=ready, detail=trouble, address=self._address)

    def run(self, stop: Stop) -> None:
        """See `Service`. Closes nothing that it was given."""
        certificate = self._certificate()
        _allow_descriptors(self._config.max_connections)
        with _listen(self._config) as listening:
            uvloop.run(self._serve(listening, certificate, stop))

    def _certificate(self) -> Certificate | None:
        config = self._config
        if config.tls_certificate is None or config.tls_key is None:
            return None
        return Certificate(self._folder / config.tls_certificate, self._folder / config.tls_key)

    async def _serve(self, listening: socket.socket, certificate: Certificate | None, stop: Stop) -> None:
        loop = asyncio.get_running_loop()
        self._commit = commit = GroupCommit(self._queue, loop.call_soon, loop.call_soon_threadsafe)
        handler = Handler(self._config, self._window, is_ready=lambda: not commit.trouble)
        server = Server(self._config, handler, commit)
        committing = stop.start("commit", commit.run)
        draining = asyncio.Event()

        def drain() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(draining.set)

        stop.on_drain(drain)
        context = certificate.context if certificate else None
        listener = await loop.create_server(server.connect, sock=listening, backlog=_BACKLOG, ssl=context)
        self._address = _url(listening, "https" if certificate else "http")
        try:
            while not draining.is_set():
                await _wait(draining, _TICK_S)
                _keep(server, commit)
                if certificate:
                    certificate.refresh()
        finally:
            self._address = None
            listener.close()
            server.drain()
            await _until_empty(server, min(_LONGEST_DRAIN_S, stop.remaining_s))
            server.abort()
            commit.close()
            await asyncio.to_thread(_join, committing)
            await asyncio.sleep(0)  # the last answers


def _keep(server: Server, commit: GroupCommit) -> None:
    """What is done beside the requests, twice a second."""
    server.close_late()
    metrics.connections.set(len(server.connections))
    metrics.collect_pending_bytes.set(commit.pending_bytes)
    if server.refused:
        metrics.requests_refused.add(server.refused)
        server.refused = 0


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


async def _until_empty(server: Server, within_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while server.connections and loop.time() < deadline_s:
        await asyncio.sleep(0.02)
        server.close_late()


def _allow_descriptors(connections: int) -> None:
    """As many open files as connections want, as far as we may: many systems begin with 1,024, and a flood of that
    many would shut everybody out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _join(thread: threading.Thread) -> None:
    thread.join(_LONGEST_DRAIN_S)


def _listen(config: CollectConfig) -> socket.socket:
    """The bound socket. Raises `Abort` where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Abort(f"[collect] listen: {config.listen}: {error.strerror}", "an address of this machine") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if config.workers > 1:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise Abort(
            f"cannot listen on {config.listen}: {error.strerror}",
            "another port as [collect] listen, or --collect-port 0",
        ) from None
    listening.setblocking(False)
    return listening


def _url(listening: socket.socket, scheme: str) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
