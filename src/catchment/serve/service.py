"""`serve`, the service: the pages over HTTP, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from catchment.listening import bind, inherited
from catchment.serve.config import ServeConfig
from catchment.service import Health, Stop

_DRAIN_S = 5.0
"""For answers on their way; a page that refreshes asks again by itself."""


class ServeService:
    """The `serve` service of one project. `made` makes the application, and ends what it has begun;
    `on_ready` is told the address once it listens."""

    name = "serve"

    def __init__(
        self,
        config: ServeConfig,
        folder: Path,
        made: Callable[[], AbstractAsyncContextManager[ASGIApp]],
        on_ready: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._made = made
        self._on_ready = on_ready
        self._address: str | None = None

    def health(self) -> Health:
        """Ready while it listens. What the warehouse is at the moment the pages say themselves."""
        return Health(ok=True, ready=self._address is not None, address=self._address)

    def run(self, stop: Stop) -> None:
        """See `Service`."""
        with contextlib.ExitStack() as closing:
            listening = [closing.enter_context(each) for each in inherited() or [self._bind()]]
            uvloop.run(self._serve(listening, stop))

    def _bind(self) -> socket.socket:
        return bind(self._config.host, self._config.port)

    async def _serve(self, listening: Sequence[socket.socket], stop: Stop) -> None:
        async with self._made() as app:
            server = uvicorn.Server(self._settings(app))
            loop = asyncio.get_running_loop()

            def drain() -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                    loop.call_soon_threadsafe(setattr, server, "should_exit", True)

            stop.on_drain(drain)
            serving = asyncio.create_task(server.serve(list(listening)))
            await _until(lambda: server.started or serving.done())
            scheme = "https" if self._config.tls_certificate else "http"
            self._address = _url(listening[0], scheme, self._config.base_path)
            self._on_ready(_url(listening[0], scheme, ""))
            try:
                await serving
            finally:
                self._address = None

    def _settings(self, app: ASGIApp) -> uvicorn.Config:
        config = self._config
        return uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=round(_DRAIN_S),
            ssl_certfile=None if config.tls_certificate is None else self._folder / config.tls_certificate,
            ssl_keyfile=None if config.tls_key is None else str(self._folder / config.tls_key),
        )


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def _url(listening: socket.socket, scheme: str, path: str) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}{path}"
