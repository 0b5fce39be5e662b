"""Changing a dashboard: its text beside what it shows, kept as a draft, saved as a commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from catchment.errors import CatchmentError, UsageError
from catchment.serve.accounts import current_user, require
from catchment.serve.dashboards.board import Board, Mistake
from catchment.serve.dashboards.choices import AddressError
from catchment.serve.dashboards.compose import table_mistakes
from catchment.serve.tiles.payloads import tell
from catchment.serve.versions import Moved, Versions, fingerprint
from catchment.serve.web import completing, filtering
from catchment.serve.web.parts import parts_of
from catchment.serve.web.sent import sent_as
from catchment.serve.web.site import Closed, Site
from catchment.serve.web.templates import render
from catchment.serve.web.words import ago
from catchment.state.drafts import Drafts

MAX_TEXT = 500_000
_ENCODER = msgspec.json.Encoder()

NEW = """\
---
title: {title}
owner: {owner}
filters:
  period: {{type: period, default: last 30 days}}
---
What this shows, in a sentence.

```sql number "How many"
select count(*) from schema.table where timestamp in $period
```
"""


class _Text(msgspec.Struct, frozen=True):
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    base: str = ""


class _Save(msgspec.Struct, frozen=True):
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    base: str
    what: Annotated[str, Meta(max_length=200)] = ""


class _Complete(msgspec.Struct, frozen=True):
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    offset: Annotated[int, Meta(ge=0)]


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""
    pages = _Editing(site)
    need = require("analyst")
    return [
        Route("/edit/{name:path}/preview", need(pages.preview), methods=["POST"]),
        Route("/edit/{name:path}/draft", need(pages.draft), methods=["PUT", "DELETE"]),
        Route("/edit/{name:path}/save", need(pages.save), methods=["POST"]),
        Route("/edit/{name:path}/complete", need(pages.complete), methods=["POST"]),
        Route("/edit/{name:path}/history", need(pages.history)),
        Route("/edit/{name:path}/version/{version}", need(pages.version)),
        Route("/edit", need(pages.new), methods=["POST"]),
        Route("/edit/{name:path}", need(pages.page)),
    ]


class _Editing:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._versions = Versions(site.library.root)

    def _path(self, request: Request) -> tuple[str, Path]:
        """The dashboard's name and file. Raises `UsageError` for what is no name, `Closed` for what is for others."""
        name = request.path_params["name"]
        path = self._site.library.path(name)
        if path is None:
            raise UsageError(f"{name!r} is no name of a dashboard")
        entry = self._site.library.entry(name)
        if entry is not None and not current_user(request).sees(entry.board.groups):
            raise Closed(entry.board)
        return name, path

    async def new(self, request: Request) -> Response:
        """`POST /edit`: a new dashboard of the name that the form says."""
        form = await request.form()
        title = str(form.get("title", "")).strip()[:100]
        name = "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
        if not name:
            raise UsageError("a dashboard needs a title")
        return RedirectResponse(f"{self._site.base}/edit/{name}", 303)

    async def page(self, request: Request) -> Response:
        """`GET /edit/NAME`."""
        user, (name, _) = current_user(request), self._path(request)
        why_not = await asyncio.to_thread(self._versions.why_not)
        entry = self._site.library.entry(name)
        file = self._site.library.file(name)
        draft = await self._site.in_state(lambda transaction: Drafts(transaction).get(user.id, file))
        saved = entry.text if entry is not None else ""
        new = NEW.format(title=name.rpartition("/")[2].replace("-", " ").capitalize(), owner=user.name or user.email)
        text = draft.text if draft is not None else saved or new
        base = draft.base if draft is not None else (fingerprint(saved) if entry is not None else "")
        return self._site.page(
            request, "edit.html", title=f"Edit {name}", here="dashboards", name=name, file=file, text=text,
            base_text=base,
            why_not=why_not, has_draft=draft is not None, is_new=entry is None,
            moved=entry is not None and draft is not None and draft.base != fingerprint(saved),
        )  # fmt: skip

    async def preview(self, request: Request) -> Response:
        """`POST /edit/NAME/preview`: mistakes, the page's parts, then each tile, a line of JSON each."""
        name, _ = self._path(request)
        sent = await sent_as(request, _Text)
        return StreamingResponse(self._preview(request, name, sent.text), media_type="application/x-ndjson")

    async def _preview(self, request: Request, name: str, text: str) -> AsyncIterator[bytes]:
        site = self._site
        board = await asyncio.to_thread(site.library.board, name, text)
        mistakes = [_told(mistake) for mistake in await self._mistakes(board)]
        try:
            view = await site.view(request, board)
        except AddressError:  # the text may have filters that the address knows nothing of, and the other way round
            view = await site.view(request, board, is_chosen=False)
        lede, parts = await asyncio.to_thread(parts_of, board, self._site.base)
        page = render(
            "preview.html", title=board.title, lede=lede, parts=parts, filters=filtering.bar(view)
        )  # fmt: skip
        yield _ENCODER.encode({"page": page, "mistakes": mistakes}) + b"\n"
        tasks = [asyncio.create_task(tell(view, fence, self._site.palette)) for fence in board.tiles]
        try:
            for each in asyncio.as_completed(tasks):
                told = await each
                lines = [_told(mistake) for mistake in told.mistakes]
                yield _ENCODER.encode({"tile": told.payload, "mistakes": lines}) + b"\n"
        finally:
            for task in tasks:
                task.cancel()

    async def _mistakes(self, board: Board) -> list[Mistake]:
        """Those of the text, and of its queries that hide a table of the warehouse."""
        hiding = table_mistakes(board, await self._site.catalogue.for_sql()) if board.queries else {}
        return sorted({*board.all_mistakes(), *hiding.values()})

    async def draft(self, request: Request) -> Response:
        """`PUT` and `DELETE /edit/NAME/draft`."""
        user, (name, _) = current_user(request), self._path(request)
        file = self._site.library.file(name)
        if request.method == "DELETE":
            await self._site.in_state(lambda transaction: Drafts(transaction).drop(user.id, file))
            return JSONResponse({})
        sent = await sent_as(request, _Text)
        now = datetime.now(UTC)
        await self._site.in_state(
            lambda transaction: Drafts(transaction).keep(user.id, file, sent.text, sent.base, now)
        )
        return JSONResponse({"at": now.astimezone(self._site.zone).strftime("%H:%M")})

    async def save(self, request: Request) -> Response:
        """`POST /edit/NAME/save`: 409 with the other text where the file has moved on."""
        user, (name, path) = current_user(request), self._path(request)
        sent = await sent_as(request, _Save)
        why_not = await asyncio.to_thread(self._versions.why_not)
        if why_not:
            return JSONResponse({"error": why_not}, 403)
        what = sent.what.strip() or f"{'Change' if sent.base else 'Add'} {self._site.library.file(name)}"
        try:
            await asyncio.to_thread(
                self._versions.save, path, sent.text, sent.base, user.name or user.email, user.email, what
            )
        except Moved as moved:
            return JSONResponse(
                {"error": "The file has moved on. Your draft is kept.", "theirs": moved.text,
                 "base": fingerprint(moved.text)},
                409,
            )  # fmt: skip
        except CatchmentError as error:
            return JSONResponse({"error": str(error)}, 500)
        file = self._site.library.file(name)
        await self._site.in_state(lambda transaction: Drafts(transaction).drop(user.id, file))
        return JSONResponse({"base": fingerprint(sent.text)})

    async def complete(self, request: Request) -> Response:
        """`POST /edit/NAME/complete`: what may stand at the cursor."""
        name, _ = self._path(request)
        sent = await sent_as(request, _Complete)
        board = await asyncio.to_thread(self._site.library.board, name, sent.text)
        tables = await self._site.catalogue.for_sql()
        return JSONResponse(await asyncio.to_thread(completing.in_dashboard, board, sent.text, sent.offset, tables))

    async def history(self, request: Request) -> Response:
        """`GET /edit/NAME/history`."""
        _, path = self._path(request)
        versions = await asyncio.to_thread(self._versions.history, path)
        shown = [{"id": each.id, "who": each.who, "what": each.what, "at": ago(each.at_s)} for each in versions]
        return HTMLResponse(render("versions.html", versions=shown))

    async def version(self, request: Request) -> Response:
        """`GET /edit/NAME/version/ID`: the text as it was."""
        _, path = self._path(request)
        text = await asyncio.to_thread(self._versions.text_of, path, request.path_params["version"])
        return JSONResponse({"text": text})


def _told(mistake: Mistake) -> dict[str, object]:
    return {name: getattr(mistake, name) for name in ("line", "column", "text")}
