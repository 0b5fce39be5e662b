"""The pages as one ASGI application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.log import get_log
from catchment.serve.accounts import Forbidden
from catchment.serve.accounts import api as account_api
from catchment.serve.accounts import routes as account_routes
from catchment.serve.accounts.access import Access
from catchment.serve.accounts.accounts import Accounts
from catchment.serve.accounts.recorder import Recorder
from catchment.serve.accounts.user import user_or_none
from catchment.serve.asking import Asking
from catchment.serve.catalogue import Catalogue
from catchment.serve.config import ServeConfig
from catchment.serve.library import Library
from catchment.serve.tiles import colours
from catchment.serve.tiles.palette import Palette
from catchment.serve.uploads.filing import Filing
from catchment.serve.uploads.uploads import Uploads
from catchment.serve.warehouse import Asked
from catchment.serve.web import api, boards, cataloguing, editing, editor, listing, people, signing, uploading
from catchment.serve.web.assets import Assets
from catchment.serve.web.headers import SecurityHeaders
from catchment.serve.web.limits import BodyLimit
from catchment.serve.web.site import Closed, Site
from catchment.serve.web.turns import Turns
from catchment.state import State
from catchment.warehouses import Warehouse

_log = get_log("serve")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pages are made of. `dialect` is the SQL's; `root` and `runtime` are the project's folders."""

    project: str
    zone: ZoneInfo
    config: ServeConfig
    root: Path
    runtime: Path
    state: State
    open_warehouse: Callable[[], Warehouse]
    dialect: str
    filing: Filing | None = None
    """Where uploaded files go; None where none are taken."""


@asynccontextmanager
async def application(parts: Parts) -> AsyncIterator[ASGIApp]:
    """The application, and the end of what it has begun. The state is its owner's to close."""
    asked = Asked(parts.open_warehouse)
    asking = Asking(asked.run, asked.versions)
    accounts = Accounts(parts.state, parts.config)
    recorder = Recorder(parts.state, parts.config)
    keeping = ThreadPoolExecutor(1, "colours")

    def remember(column: str, value: str, color: int) -> None:
        keeping.submit(colours.keep, parts.state, column, value, color)

    recording = threading.Thread(target=recorder.run, name="audit", daemon=True)
    recording.start()
    library = Library(parts.root, parts.dialect)
    site = Site(
        project=parts.project,
        zone=parts.zone,
        config=parts.config,
        assets=Assets(parts.config.base_path, parts.runtime / "cache"),
        accounts=accounts,
        library=library,
        asked=asked,
        asking=asking,
        catalogue=Catalogue(asked.warehouse, library, parts.dialect),
        palette=Palette(colours.known(parts.state), remember),
        recorder=recorder,
        turns=Turns(),
        dialect=parts.dialect,
        uploads=_uploads(parts, asked.warehouse),
    )
    if site.uploads is not None:
        site.uploads.open()
    try:
        yield wrapped(site)
    finally:
        if site.uploads is not None:
            await asyncio.to_thread(site.uploads.close)
        asking.close()
        asked.close()
        accounts.close()
        recorder.close()
        keeping.shutdown()
        await asyncio.to_thread(recording.join)


def _uploads(parts: Parts, warehouse: Callable[[], Warehouse]) -> Uploads | None:
    settings = parts.config.upload
    if parts.filing is None or not settings.enabled:
        return None
    return Uploads(parts.runtime / "uploads", settings, parts.filing, warehouse)


def wrapped(site: Site) -> ASGIApp:
    """The routes behind what guards them."""
    routes: list[BaseRoute] = [
        Route("/healthz", _healthz, methods=["GET"]),
        Route("/static/{name}", site.assets.serve, methods=["GET"]),
        *signing.of(site),
        *account_routes.of(site.accounts),
        *account_api.of(site.accounts),
        *listing.of(site),
        *boards.of(site),
        *cataloguing.of(site),
        *api.of(site),
        *editor.of(site),
        *editing.of(site),
        *people.of(site),
        *uploading.of(site),
    ]
    if site.base:
        routes = [Mount(site.base, routes=routes)]

    async def forbidden(request: Request, error: Exception) -> Response:
        assert isinstance(error, Forbidden)
        return _said(site, request, 403, "This is not for you", f"It needs the role {error.role}. Ask an admin.")

    async def closed(request: Request, error: Exception) -> Response:
        assert isinstance(error, Closed)
        return _said(site, request, 403, error.title, error.whom)

    async def missing(request: Request, error: Exception) -> Response:
        del error
        return _said(site, request, 404, "There is no such page", "It may have been renamed, or removed.")

    async def troubled(request: Request, error: Exception) -> Response:
        assert isinstance(error, CatchmentError)
        status = 503 if isinstance(error, Retry) else 400 if isinstance(error, UsageError) else 500
        return _said(site, request, status, "That did not work", str(error))

    async def failed(request: Request, error: Exception) -> Response:
        _log.error("a page failed", path=request.url.path, exc=error)
        return PlainTextResponse("That did not work; the log of `serve` says why.", 500)

    return Starlette(
        routes=routes,
        middleware=[
            Middleware(BodyLimit, streamed=site.base + uploading.RECEIVE),
            Middleware(SecurityHeaders),
            Middleware(Access, accounts=site.accounts, config=site.config),
        ],
        exception_handlers={
            Forbidden: forbidden,
            Closed: closed,
            404: missing,
            CatchmentError: troubled,
            Exception: failed,
        },
    )


def _said(site: Site, request: Request, status: int, title: str, *lines: str) -> Response:
    """One thing said, as a page for people and as JSON for programs."""
    if user_or_none(request) is None or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": " ".join((f"{title}.", *lines))}, status)
    return site.message(request, status, title, *lines)


async def _healthz(request: Request) -> Response:
    del request
    return PlainTextResponse("ok\n")
