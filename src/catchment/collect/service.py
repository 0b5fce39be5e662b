"""`collect`, the service: listens, and drains in order when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import socket
import threading
from datetime import timedelta
from pathlib import Path

import uvloop

from catchment import metrics
from catchment.collect.commit import GroupCommit
from catchment.collect.config import CollectConfig
from catchment.collect.handler import Handler
from catchment.collect.server import Server
from catchment.collect.tls import Certificate
from catchment.listening import BACKLOG, bind, inherited
from catchment.queues import Queue
from catchment.service import Health, Stop

_OTHER_DESCRIPTORS = 200
_TICK_S = 0.5
_LONGEST_DRAIN_S = 20.0
_IDLE_S = 1.0
"""While draining, for a connection that has sent nothing yet, or nothing more."""
_QUEUE_S = 1.0
_LOOK_S = 0.02


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
        with contextlib.ExitStack() as closing:
            listening = [closing.enter_context(each) for each in self._listening()]
            uvloop.run(self._serve(listening, certificate, stop))

    def _listening(self) -> list[socket.socket]:
        """The sockets that who started us holds for us, or one of our own."""
        config = self._config
        return inherited() or [bind(config.host, config.port, shared=config.workers > 1)]

    def _certificate(self) -> Certificate | None:
        config = self._config
        if config.tls_certificate is None or config.tls_key is None:
            return None
        return Certificate(self._folder / config.tls_certificate, self._folder / config.tls_key)

    async def _serve(self, listening: list[socket.socket], certificate: Certificate | None, stop: Stop) -> None:
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
        handshake_s = self._config.header_timeout_s if certificate else None
        listeners = [
            await loop.create_server(
                server.connect, sock=each, backlog=BACKLOG, ssl=context, ssl_handshake_timeout=handshake_s
            )
            for each in listening
        ]
        self._address = _url(listening[0], "https" if certificate else "http")
        try:
            while not draining.is_set():
                await _wait(draining, _TICK_S)
                _keep(server, commit)
                if certificate:
                    certificate.refresh()
        finally:
            self._address = None
            await _until_accepted(listening)
            for listener in listeners:
                listener.close()
            server.drain()
            await _until_empty(server, min(_LONGEST_DRAIN_S, stop.remaining_s), shaking_hands=certificate is not None)
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


async def _until_accepted(listening: list[socket.socket]) -> None:
    """Take in who waits in the queue already: where nobody else holds the sockets, closing them would reset it."""
    waiting = select.poll()
    for each in listening:
        waiting.register(each, select.POLLIN)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _QUEUE_S
    while waiting.poll(0) and loop.time() < deadline_s:
        await asyncio.sleep(0)


async def _until_empty(server: Server, within_s: float, shaking_hands: bool) -> None:
    """Answer what is on its way. Connections without a request have a moment to send one: its answer says that it is
    the last, whereas a close may cross it. Handshakes of TLS are no connections yet, so they have the moment too."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    idle_until_s = began_s + _IDLE_S
    while (now_s := loop.time()) < began_s + within_s:
        await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(0)  # what has come by now is read
        server.close_late()
        if now_s > idle_until_s:
            server.close_idle()
        if not server.connections and (now_s > idle_until_s or not shaking_hands):
            return


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


def _url(listening: socket.socket, scheme: str) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
