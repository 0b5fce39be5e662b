"""A dashboard: its page, and its tiles as they come."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.log import get_log
from catchment.serve.accounts import client_of, current_user
from catchment.serve.dashboards.board import Fence
from catchment.serve.dashboards.choices import AddressError
from catchment.serve.dashboards.shape import shape_of
from catchment.serve.library import Entry
from catchment.serve.tiles import payloads, saying, tables
from catchment.serve.tiles.payloads import CHARTS, Told, tell
from catchment.serve.tiles.recent import Recent
from catchment.serve.tiles.running import Unaskable
from catchment.serve.tiles.view import View
from catchment.serve.web import filtering, listing
from catchment.serve.web.foot import as_of, foot
from catchment.serve.web.parts import parts_of
from catchment.serve.web.presence import while_there
from catchment.serve.web.site import Site
from catchment.serve.web.streaming import whole
from catchment.serve.web.templates import render
from catchment.serve.web.words import ago
from catchment.state.audit import Outcome

MAX_DOWNLOAD_ROWS = 10_000_000
_PAYLOAD = b'<script type="application/json" class="payload">%b</script>\n'
_ENCODER = msgspec.json.Encoder()
_log = get_log("serve")


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""
    pages = _Boards(site)
    return [
        Route("/", while_there(pages.home)),
        Route("/d/{name:path}/tiles/{id}/{what}", while_there(pages.piece)),
        Route("/d/{name:path}/tiles", while_there(pages.tiles)),
        Route("/d/{name:path}/options/{filter}", while_there(pages.options)),
        Route("/d/{name:path}", while_there(pages.board)),
    ]


class _Boards:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._recent = Recent()

    async def home(self, request: Request) -> Response:
        """The dashboard that the project names, else the list."""
        entry = self._site.library.entry(self._site.config.home or "home")
        if entry is None or not current_user(request).sees(entry.board.groups):
            return await listing.page(self._site, request)
        return await self._page(request, entry, here="home")

    async def board(self, request: Request) -> Response:
        """`GET /d/NAME`: the page, and in it each tile as it comes."""
        entry, refusal = self._site.entry_of(request)
        return refusal or await self._page(request, _known(entry), here="dashboards")

    async def _page(self, request: Request, entry: Entry, here: str) -> Response:
        board = entry.board
        try:
            view = await self._site.view(request, board)
        except AddressError as error:
            return self._site.message(request, 400, board.title, *error.texts, back=f"/d/{entry.name}")
        self._site.recorder.view(entry.name)
        head = self._site.text(request, "board.html", **self._shell(request, entry, view, here))
        return _streamed(request, self._whole(request, entry.name, head, view))

    def _shell(self, request: Request, entry: Entry, view: View, here: str) -> dict[str, Any]:
        board = entry.board
        lede, parts = parts_of(board, self._site.base)
        return {
            "title": board.title,
            "here": here,
            "name": entry.name,
            "crumb": entry.name.rpartition("/")[0].replace("/", " / "),
            "lede": lede,
            "refresh_s": view.refresh_s,
            "filters": filtering.bar(view),
            "folded": " · ".join(filtering.says(at) for at in view.chosen.selections.values()),
            "said": "; ".join(dropped.text for dropped in view.chosen.dropped),
            "mistakes": [str(mistake) for mistake in board.mistakes] if view.viewer.may_write else [],
            "parts": parts,
            "query": view.chosen.address(),
            "may_edit": view.viewer.may_write,
            "state": foot(view),
            "file": board.path,
            "changed": ago(entry.changed_s),
        }

    async def _whole(self, request: Request, name: str, head: str, view: View) -> AsyncIterator[bytes]:
        yield head.encode()
        told: list[Told] = []
        async for some in self._told(request, name, view):
            told += some
            yield b"".join(_PAYLOAD % each.json for each in some)
        yield _PAYLOAD % Told({"foot": foot(view, as_of(view, told)), "tag": _tag(told)}).json
        yield b"</div>\n</body>\n</html>\n"

    async def _told(self, request: Request, name: str, view: View) -> AsyncIterator[Sequence[Told]]:
        """Tiles as they are answered; when nobody listens any more, what is not answered ends."""
        tasks = [asyncio.create_task(self._tell(request, name, view, fence)) for fence in view.board.tiles]
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                yield [task.result() for task in tasks if task in done]
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def _tell(self, request: Request, name: str, view: View, fence: Fence) -> Told:
        """A tile, and a row in the audit for what was asked of the warehouse; an answer from before asked nothing.
        What nobody has thought of fails this tile alone."""
        began_s = time.time()
        try:
            told = await self._recent.tell(view, fence, self._site.palette)
        except Exception as error:
            _log.error("a tile failed", dashboard=name, tile=fence.id, exc=error)
            return Told({"id": fence.id, "state": "error", "sub": "", "html": saying.unforeseen()})
        question = None if told.asked is None else told.asked.question
        if question is None or (told.answer is not None and told.answer.is_cached):
            return told
        result = None if told.answer is None else told.answer.result
        self._site.recorder.query(
            current_user(request),
            client_of(request),
            question.sql,
            began_at=datetime.fromtimestamp(began_s if result is None else result.ran_at_s, UTC),
            ms=round((time.time() - began_s) * 1000 if result is None else result.ran_ms),
            outcome="failed" if result is None else "done",
            rows=None if result is None else len(result.rows),
            tables=None if question.tables is None else tuple(sorted(question.tables)),
            about=f"dashboard {name}, {fence.id}",
        )
        return told

    async def tiles(self, request: Request) -> Response:
        """`GET /d/NAME/tiles`: the tiles for other choices, a line of JSON each; 304 where nothing is new."""
        entry, refusal = self._site.entry_of(request)
        if refusal is not None:
            return JSONResponse({"error": "not for you, or not there"}, refusal.status_code)
        board, board_name = _known(entry).board, _known(entry).name
        try:
            view = await self._site.view(request, board)
        except AddressError as error:
            return JSONResponse({"error": "; ".join(error.texts)}, 400)
        if "if-none-match" not in request.headers:
            return _streamed(request, self._lines(request, board_name, view), "application/x-ndjson")
        told = [each async for some in self._told(request, board_name, view) for each in some]
        tag, now = _tag(told), as_of(view, told)
        headers = {"ETag": tag, "As-Of": now}
        if request.headers["if-none-match"] == tag:
            return Response(status_code=304, headers=headers)
        body = b"".join(each.json + b"\n" for each in told)
        body += _ENCODER.encode({"foot": foot(view, now)}) + b"\n"
        return Response(body, headers=headers, media_type="application/x-ndjson")

    async def _lines(self, request: Request, name: str, view: View) -> AsyncIterator[bytes]:
        dropped = "; ".join(each.text for each in view.chosen.dropped)
        yield _ENCODER.encode({"filters": filtering.bar(view), "said": dropped}) + b"\n"
        told: list[Told] = []
        async for some in self._told(request, name, view):
            told += some
            yield b"".join(each.json + b"\n" for each in some)
        yield _ENCODER.encode({"foot": foot(view, as_of(view, told)), "tag": _tag(told)}) + b"\n"

    async def piece(self, request: Request) -> Response:
        """`GET /d/NAME/tiles/ID/rows|details|csv|parquet`."""
        entry, refusal = self._site.entry_of(request)
        if refusal is not None:
            return refusal
        board = _known(entry).board
        fence = board.fence(request.path_params["id"])
        if fence is None or fence.kind == "query":
            return self._site.message(request, 404, "There is no such tile")
        try:
            view = await self._site.view(request, board)
        except AddressError as error:
            return self._site.message(request, 400, board.title, *error.texts)
        try:
            match request.path_params["what"]:
                case "rows":
                    return await self._rows(request, view, fence)
                case "details":
                    return await self._details(request, view, fence, _known(entry))
                case "csv" | "parquet" | "json" | "arrow" as format_:
                    return await self._download(request, view, fence, _known(entry), format_)
        except (Unaskable, UsageError) as error:
            # It may hold the SQL, which is not for everybody.
            why = [str(error)] if view.viewer.may_write else []
            return self._site.message(request, 400, f"{fence.title} cannot be had", *why)
        except CatchmentError as error:
            status = 503 if isinstance(error, Retry) else 500
            why = [str(error)] if view.viewer.may_write else []
            return self._site.message(request, status, f"{fence.title} cannot be had at the moment", *why)
        return self._site.message(request, 404, "There is no such page")

    async def _download(self, request: Request, view: View, fence: Fence, entry: Entry, format_: str) -> Response:
        if fence.mistakes:
            raise Unaskable(fence.mistakes)
        if view.chosen.waiting:
            raise UsageError(f"choose {' and '.join(each.label for each in view.chosen.waiting)} before")
        asked = view.asked(fence)
        about = f"dashboard {entry.name}, {fence.id}, {format_}"
        question = replace(asked.question, max_rows=MAX_DOWNLOAD_ROWS)
        began_at = datetime.now(UTC)
        outcome: Outcome = "failed"
        try:
            with self._site.turns.of(current_user(request)):
                answer = await whole(self._site.asked, question, format_, fence.id)
            outcome = "done"
            return answer
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            ms = round((datetime.now(UTC) - began_at).total_seconds() * 1000)
            user, client = current_user(request), client_of(request)
            self._site.recorder.query(
                user, client, question.sql, began_at=began_at, ms=ms, outcome=outcome, about=about
            )  # fmt: skip

    async def _rows(self, request: Request, view: View, fence: Fence) -> Response:
        if fence.mistakes:
            raise Unaskable(fence.mistakes)
        asked = view.asked(fence)
        result = (await view.answer(asked)).result
        shape = shape_of(view.board.path, fence, result.columns, None)
        if shape.mistakes:
            raise Unaskable(tuple(shape.mistakes))
        text = request.query_params.get("_page", "")
        page = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1
        return HTMLResponse(tables.html(tables.page_of(view, fence, shape, result, page)))

    async def _details(self, request: Request, view: View, fence: Fence, entry: Entry) -> Response:
        told = await tell(view, fence, self._site.palette)
        facts = []
        values: list[tuple[str, str]] = []
        sql = fence.sql.text
        if told.asked is not None:
            sql = told.asked.question.sql
            values = [(f"${name}", tables.value_text(value, view.zone)) for name, value in told.asked.question.values]
            read = told.asked.question.tables
            facts.append(("Tables", ", ".join(sorted(read)) if read else "not known, or changing with the clock"))
        if told.answer is not None:
            at = datetime.fromtimestamp(told.answer.result.ran_at_s, view.zone)
            cached = ", cached" if told.answer.is_cached else ""
            facts.insert(0, ("Ran", f"{at:%H:%M:%S}, {told.answer.result.ran_ms:.0f} ms{cached}"))
            facts.append(("Zone", view.zone.key))
        if not view.viewer.may_write:
            sql, values = "Analysts see the SQL here.", []
        here = f"{self._site.base}/d/{entry.name}/tiles/{fence.id}"
        return HTMLResponse(
            render(
                "details.html", id=fence.id, title=fence.title, sql=sql, values=values, facts=facts, here=here,
                query=view.chosen.address(), is_chart=fence.kind in CHARTS, sql_href="",
            )
        )  # fmt: skip

    async def options(self, request: Request) -> Response:
        """`GET /d/NAME/options/FILTER`: what there is to choose."""
        entry, refusal = self._site.entry_of(request)
        if refusal is not None:
            return refusal
        board = _known(entry).board
        try:
            view = await self._site.view(request, board, all_lists=True)
        except AddressError as error:
            return self._site.message(request, 400, board.title, *error.texts)
        selection = view.chosen.selections.get(request.path_params["filter"])
        if selection is None:
            return self._site.message(request, 404, "There is no such filter")
        return HTMLResponse(filtering.options(view, selection))


def _known(entry: Entry | None) -> Entry:
    assert entry is not None, "it was looked for before"
    return entry


def _tag(told: Sequence[Told]) -> str:
    """What tells other tiles apart, however long they took."""
    return payloads.tag([each.payload | {"ms": 0} for each in sorted(told, key=lambda at: at.payload["id"])])


def _streamed(request: Request, pieces: AsyncIterator[bytes], type_: str = "text/html; charset=utf-8") -> Response:
    """An answer in pieces, each sent at once; packed where the browser takes that."""
    headers = {"X-Accel-Buffering": "no", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return StreamingResponse(pieces, headers=headers, media_type=type_)
    return StreamingResponse(_packed(pieces), headers=headers | {"Content-Encoding": "gzip"}, media_type=type_)


async def _packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packing = zlib.compressobj(5, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    async for piece in pieces:
        yield packing.compress(piece) + packing.flush(zlib.Z_SYNC_FLUSH)
    yield packing.flush()
