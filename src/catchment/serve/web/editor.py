"""The SQL editor: what its page calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from catchment.errors import CatchmentError, UsageError
from catchment.log import get_log
from catchment.record import uuid7
from catchment.serve.accounts import User, client_of, current_user, require
from catchment.serve.asking import Handle, Question
from catchment.serve.restarts import through_restarts
from catchment.serve.results import Result, read
from catchment.serve.tiles.payloads import tell
from catchment.serve.tiles.running import error_place
from catchment.serve.tiles.tables import number_text, value_text
from catchment.serve.versions import fingerprint
from catchment.serve.web import completing
from catchment.serve.web.sent import sent_as
from catchment.serve.web.site import Site
from catchment.serve.web.streaming import in_thread
from catchment.serve.web.templates import render
from catchment.state import Transaction
from catchment.state.audit import Outcome
from catchment.state.drafts import Drafts
from catchment.state.editor_tabs import EditorTabs, Tab
from catchment.state.query_history import QueryHistory
from catchment.state.saved_queries import SavedQueries
from catchment.state.shared_queries import SharedQueries

TIMEOUT_S = 300.0
MAX_GRID_ROWS = 100_000
MAX_SQL = 256 * 1024
MAX_TABS = 50
_ROWS_AT_ONCE = 2_000
_ENCODER = msgspec.json.Encoder()
_log = get_log("serve")

Sql = Annotated[str, Meta(max_length=MAX_SQL)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]


class _Run(msgspec.Struct, frozen=True):
    sql: Sql


class _Complete(msgspec.Struct, frozen=True):
    sql: Sql
    offset: Annotated[int, Meta(ge=0)]


class _Tab(msgspec.Struct, frozen=True):
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    title: Title
    sql: Sql


class _Chart(msgspec.Struct, frozen=True):
    sql: Sql
    kind: Literal["line", "area", "bar", "scatter", "heat"]


class _Add(msgspec.Struct, frozen=True):
    sql: Sql
    kind: Literal["line", "area", "bar", "scatter", "heat", "table"]
    title: Title
    dashboard: Annotated[str, Meta(min_length=1, max_length=300)]


class _Keep(msgspec.Struct, frozen=True):
    tab: _Tab
    place: Annotated[int, Meta(ge=0, le=MAX_TABS)]


class _Drop(msgspec.Struct, frozen=True):
    id: str


class _Named(msgspec.Struct, frozen=True):
    title: Title
    sql: Sql


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""
    pages = _Editor(site)
    return [
        Route("/sql", pages.page),
        Route("/sql/run", pages.run, methods=["POST"]),
        Route("/sql/complete", pages.complete, methods=["POST"]),
        Route("/sql/chart", pages.chart, methods=["POST"]),
        Route("/sql/add", pages.add, methods=["POST"]),
        Route("/sql/keep", pages.keep, methods=["POST"]),
        Route("/sql/drop", pages.drop, methods=["POST"]),
        Route("/sql/save", pages.save, methods=["POST"]),
        Route("/sql/share", pages.share, methods=["POST"]),
        Route("/sql/history", pages.history),
    ]


class _Editor:
    def __init__(self, site: Site) -> None:
        self._site = site
        self.page = require("analyst")(self._page)
        self.run = require("analyst")(self._run)
        self.complete = require("analyst")(self._complete)
        self.chart = require("analyst")(self._chart)
        self.add = require("analyst")(self._add)
        self.keep = require("analyst")(self._keep)
        self.drop = require("analyst")(self._drop)
        self.save = require("analyst")(self._save)
        self.share = require("analyst")(self._share)
        self.history = require("analyst")(self._history)

    async def _page(self, request: Request) -> Response:
        user = current_user(request)
        shared = request.query_params.get("shared", "")

        def kept(transaction: Transaction) -> tuple[list[Tab], list[Any], Any]:
            tabs = EditorTabs(transaction, user.id)
            found = SharedQueries(transaction).get(shared) if shared else None
            if found is not None:
                tabs.keep(Tab(f"shared-{found.id}", found.title, found.sql), MAX_TABS, datetime.now(UTC))
            return tabs.all(), SavedQueries(transaction, user.id).all(), found

        tabs, saved, found = await self._site.in_state(kept)
        given = request.query_params.get("sql", "")[:MAX_SQL]
        shown = [{"id": tab.id, "title": tab.title, "sql": tab.sql} for tab in tabs]
        if given or not shown:
            shown.append({"id": uuid7(), "title": f"Untitled {len(shown) + 1}", "sql": given})
        try:
            tables = list((await self._site.catalogue.tables()).values())
        except CatchmentError:
            tables = []
        return self._site.page(
            request,
            "sql.html",
            title="SQL",
            here="sql",
            tabs=msgspec.json.encode(shown).decode().replace("<", "\\u003c"),
            tab=len(shown) - 1 if found is not None or given else 0,
            tables=tables,
            saved=saved,
            boards=[entry for entry in self._site.library.entries() if user.sees(entry.board.groups)],
            limits=f"{TIMEOUT_S:.0f} s, {MAX_GRID_ROWS:,} rows",
        )

    async def _run(self, request: Request) -> Response:
        sent = await sent_as(request, _Run)
        question = Question(sent.sql, (), self._site.zone.key, timeout_s=TIMEOUT_S, max_rows=MAX_GRID_ROWS)
        return StreamingResponse(self._rows(request, question), media_type="application/x-ndjson")

    async def _rows(self, request: Request, question: Question) -> AsyncIterator[bytes]:
        """The result as lines: columns, rows some at a time, and what is said of it. Whoever leaves ends the query."""
        user, handle, began_s = current_user(request), Handle(), time.perf_counter()

        def ask() -> Result:
            return through_restarts(
                lambda: read(self._site.asked.run(question, handle), question.max_rows),
                question.timeout_s,
                lambda: handle.is_ended,
            )

        outcome: Outcome = "done"
        result: Result | None = None
        error_text = ""
        try:
            with self._site.turns.of(user):
                result = await in_thread(ask)
            columns = [
                {"name": column.name, "type": column.sql_type, "right": column.kind == "number"}
                for column in result.columns
            ]
            yield _ENCODER.encode({"columns": columns}) + b"\n"
            for start in range(0, len(result.rows), _ROWS_AT_ONCE):
                some = result.rows[start : start + _ROWS_AT_ONCE]
                yield _ENCODER.encode({"rows": [[self._text(value) for value in row] for row in some]}) + b"\n"
                await asyncio.sleep(0)
            took_ms = (time.perf_counter() - began_s) * 1000
            count = (
                f"{'first ' if result.is_cut else ''}{len(result.rows):,} row{'' if len(result.rows) == 1 else 's'}"
            )
            cut = "; downloads are whole" if result.is_cut else ""
            yield _ENCODER.encode({"said": f"{count} · {took_ms:,.0f} ms{cut}"}) + b"\n"
        except CatchmentError as error:
            outcome, error_text = "failed", str(error)
            yield _ENCODER.encode(_problem(error, question.sql)) + b"\n"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            handle.end()
            raise
        finally:
            rows = None if result is None else len(result.rows)
            ms = round((time.perf_counter() - began_s) * 1000)
            note = asyncio.create_task(self._note(request, user, question.sql, outcome, ms, rows, error_text))
            note.add_done_callback(_said)

    def _text(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool | str) or hasattr(value, "isoformat"):
            return value_text(value, self._site.zone) if not isinstance(value, str) else value
        return number_text(value, None)

    async def _note(
        self, request: Request, user: User, sql: str, outcome: Outcome, ms: int, rows: int | None, error: str
    ) -> None:
        now = datetime.now(UTC)
        client = client_of(request)
        began = now - timedelta(milliseconds=ms)
        self._site.recorder.query(
            user, client, sql, began_at=began, ms=ms, outcome=outcome, rows=rows, about="SQL editor"
        )

        def add(transaction: Transaction) -> None:
            QueryHistory(transaction, user.id).add(now, sql, outcome, ms, rows, error[:500])

        await self._site.in_state(add)

    async def _complete(self, request: Request) -> Response:
        sent = await sent_as(request, _Complete)
        tables = await self._site.catalogue.for_sql()
        found = await asyncio.to_thread(completing.in_sql, sent.sql, sent.offset, tables, self._site.dialect)
        return JSONResponse(found)

    async def _chart(self, request: Request) -> Response:
        """The result as a chart, drawn as a dashboard would."""
        sent = await sent_as(request, _Chart)
        site = self._site
        board = await asyncio.to_thread(
            site.library.board, "sql", f"---\ntitle: SQL\n---\n{_fence(sent.sql, sent.kind)}"
        )
        view = await site.view(request, board, is_chosen=False)
        if not board.tiles:
            raise UsageError("that is no query to be drawn")
        told = await tell(view, board.tiles[0], site.palette)
        return Response(_ENCODER.encode(told.payload), media_type="application/json")

    async def _add(self, request: Request) -> Response:
        """Put the query at the end of a dashboard, as a draft to be looked at and saved."""
        sent, user = await sent_as(request, _Add), current_user(request)
        entry = self._site.library.entry(sent.dashboard)
        if entry is None or not user.sees(entry.board.groups):
            raise UsageError(f"there is no dashboard {sent.dashboard!r}")
        file = entry.board.path
        title = sent.title.replace('"', "'")

        def keep(transaction: Transaction) -> None:
            drafts = Drafts(transaction)
            known = drafts.get(user.id, file)
            text, base = (known.text, known.base) if known is not None else (entry.text, fingerprint(entry.text))
            added = f"{text.rstrip()}\n\n{_fence(sent.sql, sent.kind, title)}\n"
            drafts.keep(user.id, file, added, base, datetime.now(UTC))

        await self._site.in_state(keep)
        return JSONResponse({"where": f"{self._site.base}/edit/{entry.name}"})

    async def _keep(self, request: Request) -> Response:
        sent, user = await sent_as(request, _Keep), current_user(request)
        tab = Tab(sent.tab.id, sent.tab.title, sent.tab.sql)

        def keep(transaction: Transaction) -> None:
            EditorTabs(transaction, user.id).keep(tab, sent.place, datetime.now(UTC))

        await self._site.in_state(keep)
        return JSONResponse({})

    async def _drop(self, request: Request) -> Response:
        sent, user = await sent_as(request, _Drop), current_user(request)
        await self._site.in_state(lambda transaction: EditorTabs(transaction, user.id).drop(sent.id))
        return JSONResponse({})

    async def _save(self, request: Request) -> Response:
        sent, user = await sent_as(request, _Named), current_user(request)
        now = datetime.now(UTC)

        def save(transaction: Transaction) -> list[Any]:
            queries = SavedQueries(transaction, user.id)
            own = next((each for each in queries.all() if each.title == sent.title and each.user_id == user.id), None)
            if own is None:
                queries.add(sent.title, sent.sql, now)
            else:
                queries.change(own.id, sent.title, sent.sql, now, is_shared=own.is_shared)
            return queries.all()

        return HTMLResponse(render("saved.html", saved=await self._site.in_state(save)))

    async def _share(self, request: Request) -> Response:
        sent, user = await sent_as(request, _Named), current_user(request)
        now = datetime.now(UTC)
        made = await self._site.in_state(lambda at: SharedQueries(at).add(user.id, sent.title, sent.sql, now))
        return JSONResponse({"id": made})

    async def _history(self, request: Request) -> Response:
        user = current_user(request)
        runs = await self._site.in_state(lambda transaction: QueryHistory(transaction, user.id).latest(100))
        shown = [
            {"at": value_text(run.at, self._site.zone), "sql": run.sql, "ms": f"{run.ms:,} ms", "outcome": run.outcome}
            for run in runs
        ]
        return HTMLResponse(render("history.html", runs=shown))


def _fence(sql: str, kind: str, title: str = "Result") -> str:
    return f'```sql {kind} "{title}"\n{sql.strip().rstrip(";")}\n```'


def _problem(error: CatchmentError, sql: str) -> dict[str, Any]:
    """An error with its place, from 1, where the warehouse says one."""
    at = error_place(str(error), sql)
    text = " ".join(str(error).split("LINE ")[0].split())
    return {"error": text, **({"line": at[0], "column": at[1]} if at else {})}


def _said(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("a query could not be noted", exc=error)
