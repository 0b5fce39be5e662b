"""The page that takes files, and what it calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from catchment.errors import CatchmentError, Malformed, UsageError
from catchment.log import get_log
from catchment.record import OWN_SCHEMA, check_table
from catchment.send.look import Choices, Found, Unclear
from catchment.serve.accounts import current_user, require
from catchment.serve.accounts.user import Client, User, client_of
from catchment.serve.uploads.fitting import ANYTHING, Fitted, fit
from catchment.serve.uploads.spool import too_large
from catchment.serve.uploads.upload import SOURCE, Going, Upload, proposed_table
from catchment.serve.uploads.uploads import Uploads
from catchment.serve.web.presence import GONE
from catchment.serve.web.sent import sent_as
from catchment.serve.web.site import Site
from catchment.serve.web.templates import render
from catchment.state.audit import Outcome
from catchment.warehouses.shape import Shape

RECEIVE = "/upload/file"
MAX_PROPOSED_TABLES = 1_000
_log = get_log("serve")

Table = Annotated[str, Meta(max_length=200)]
Key = Annotated[list[Annotated[str, Meta(max_length=10_000)]], Meta(max_length=50)]


class _Wanted(msgspec.Struct, frozen=True):
    """Where a file is to go. `key` are columns of the file."""

    table: Table
    mode: Literal["append", "upsert"] = "append"
    key: Key = []


@dataclass(frozen=True, slots=True)
class _Place:
    """A file in the table that it is for. `problem` is why it cannot go there."""

    fitted: Fitted
    key: tuple[str, ...]
    problem: str


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""
    pages = _Uploading(site)
    return [
        Route("/upload", pages.page, methods=["GET"]),
        Route(RECEIVE, pages.receive, methods=["POST"]),
        Route("/upload/{id}", pages.state, methods=["GET"]),
        Route("/upload/{id}", pages.discard, methods=["DELETE"]),
        Route("/upload/{id}/look", pages.look, methods=["POST"]),
        Route("/upload/{id}/fit", pages.fit, methods=["POST"]),
        Route("/upload/{id}/file", pages.file, methods=["POST"]),
    ]


class _Uploading:
    def __init__(self, site: Site) -> None:
        self._site = site
        self.page = require("analyst")(self._page)
        self.receive = require("analyst")(self._receive)
        self.state = require("analyst")(self._state)
        self.discard = require("analyst")(self._discard)
        self.look = require("analyst")(self._look)
        self.fit = require("analyst")(self._fit)
        self.file = require("analyst")(self._file)

    @property
    def _uploads(self) -> Uploads:
        if self._site.uploads is None:
            raise UsageError("this Catchment takes no files", "[serve.upload] of its project file says so")
        return self._site.uploads

    def _upload(self, request: Request) -> Upload:
        found = self._uploads.get(current_user(request).id, request.path_params["id"])
        if found is None:
            raise UsageError("that file is no longer here", "choose it again; files are kept for an hour")
        return found

    async def _page(self, request: Request) -> Response:
        if self._site.uploads is None:
            return self._site.message(request, 404, "This Catchment takes no files", "An admin may switch that on.")
        config = self._uploads.config
        try:
            tables = [name for name, each in (await self._site.catalogue.tables()).items() if each.is_loaded]
        except CatchmentError:
            tables = []  # a file can be filed while the warehouse is down
        return self._site.page(
            request,
            "upload.html",
            title="Upload",
            here="upload",
            max_bytes=config.max_bytes,
            largest=f"{config.max_bytes / 1e6:,.0f} MB",
            tables=[name for name in tables if not self._refusal(name)][:MAX_PROPOSED_TABLES],
            table=request.query_params.get("table", "")[:200],
        )

    async def _receive(self, request: Request) -> Response:
        """The body is the file, as it is; `name` in the address is what it is called."""
        uploads = self._uploads
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > uploads.config.max_bytes:
            return _refused(too_large(uploads.config.max_bytes), 413)
        name = request.query_params.get("name", "")
        try:
            upload = await uploads.receive(current_user(request).id, name, request.stream())
        except ClientDisconnect:
            return Response(status_code=GONE)
        except UsageError as error:
            return _refused(error, 413 if "larger than" in error.message else 400)
        uploads.look(upload, Choices())
        return JSONResponse(
            {
                "id": upload.id,
                "name": upload.source.name,
                "format": upload.format,
                "bytes": upload.source.size_bytes,
                "table": proposed_table(upload.source.name, uploads.config.proposed),
            }
        )

    async def _state(self, request: Request) -> Response:
        upload = self._upload(request)
        error = upload.error
        told: dict[str, Any] = {"state": upload.state, "done": round(upload.done, 3), "waits_for": upload.waits_for}
        if upload.found is not None:
            told["choices"] = msgspec.to_builtins(upload.found.choices)
            told["sheets"] = upload.found.sheets
            told["rows"], told["bad"] = upload.found.rows, upload.found.bad
        if error is not None:
            # What is tried on a command line is no help here, where the choices stand below.
            told["error"] = error.message
            told["hint"] = "" if isinstance(error, Unclear) or "--" in error.hint else error.hint
        if isinstance(error, Unclear):
            told["asks"], told["trials"] = error.asks, error.trials
        if upload.going is not None:
            told["table"] = upload.going.table
            told["sent"] = {"rows": upload.sent.rows, "dead_letters": upload.sent.dead_letters}
            told["is_keyed"] = bool(upload.going.key)
        if upload.became is not None:
            told["became"] = asdict(upload.became)
        return JSONResponse(told)

    async def _look(self, request: Request) -> Response:
        upload, choices = self._upload(request), await sent_as(request, Choices)
        self._uploads.look(upload, choices)
        return JSONResponse({})

    async def _fit(self, request: Request) -> Response:
        upload, wanted = self._upload(request), await sent_as(request, _Wanted)
        found = upload.found
        if found is None:
            raise UsageError("the file was not looked at yet")
        place = await self._place(upload, wanted)
        html = render("upload_rows.html", found=found, fits=place.fitted.columns, shown=len(found.first))
        return JSONResponse(
            {
                "html": html,
                "notes": _notes(found, place),
                "is_there": await self._is_in(upload, wanted.table, place),
                "missing": place.fitted.missing,
                "is_new": place.fitted.is_new,
                "key": place.key,
                "is_keyed": bool(place.fitted.key),
                "key_columns": place.fitted.key_columns,
                "problem": place.problem,
            }
        )

    async def _is_in(self, upload: Upload, table: str, place: _Place) -> bool:
        """Whether this file's rows are in the table already, so that they would not be added once more."""
        if place.problem or place.fitted.is_new or place.fitted.key:
            return False
        try:
            return await asyncio.to_thread(lambda: upload.is_in(table, self._uploads.warehouse()))
        except CatchmentError as error:
            _log.warning("whether a file was uploaded before cannot be told", table=table, exc=error)
            return False

    async def _file(self, request: Request) -> Response:
        upload, wanted = self._upload(request), await sent_as(request, _Wanted)
        self._uploads.check_may_go(upload)
        user, client = current_user(request), client_of(request)
        place = await self._place(upload, wanted)
        if place.problem:
            raise UsageError(place.problem)
        going = Going(wanted.table, place.fitted.key or place.fitted.key_of(place.key), place.fitted.written)
        about = _about(upload, going)
        await asyncio.to_thread(self._site.recorder.upload, "begin upload", user, client, about, "done")
        self._uploads.file(upload, going, lambda ended: self._ended(ended, user, client, about))
        return JSONResponse({})

    def _ended(self, upload: Upload, user: User, client: Client, about: str) -> None:
        """In a thread, once it is loaded, or has failed."""
        self._site.catalogue.forget()
        sent, became = upload.sent, upload.became
        rows = sent.rows if became is None else became.rows
        letters = sent.dead_letters + (0 if became is None else became.dead_letters)
        outcome: Outcome = "failed" if upload.error else "cancelled" if upload.state == "ended" else "done"
        said = f"{about}, {sent.rows + sent.dead_letters:,} sent, {letters:,} dead letters"
        said += f": {upload.error.message}" if upload.error else ""
        try:
            self._site.recorder.upload("upload", user, client, said, outcome, rows)
        except CatchmentError as error:
            _log.error("the end of an upload cannot be noted", exc=error)

    async def _discard(self, request: Request) -> Response:
        self._uploads.discard(self._upload(request))
        return JSONResponse({})

    async def _place(self, upload: Upload, wanted: _Wanted) -> _Place:
        """The file in that table, as the table is at this moment."""
        found = upload.found
        assert found is not None
        problem = self._refusal(wanted.table)
        shape = Shape(wanted.table)
        if not problem:
            there = (await self._site.catalogue.tables()).get(wanted.table)
            if there is not None and not there.is_loaded:
                kind = "a view" if there.is_view else "a table that something else made"
                problem = f"{wanted.table} is {kind}, which takes no rows from files"
            else:
                shape = await self._site.catalogue.shape(wanted.table)
        takes = ANYTHING if problem else self._uploads.filing.contract_of(wanted.table)
        fitted = fit(found, shape, takes, is_keyed=wanted.mode == "upsert")
        key = _key_in_file(fitted) if fitted.key else tuple(wanted.key) if wanted.mode == "upsert" else ()
        problem = problem or _problem_of(found, fitted) or _key_problem(fitted, wanted, key)
        return _Place(fitted, key, problem)

    def _refusal(self, table: str) -> str:
        """Why nobody may upload into a table of this name; empty where that is allowed."""
        config = self._uploads.config
        if not table:
            return "Name a table."
        try:
            check_table(table)
        except Malformed:
            if table.startswith(f"{OWN_SCHEMA}."):
                return f"The schema {OWN_SCHEMA} is Catchment's own."
            return f"A table's name is schema.table in small letters, digits and _, such as {config.proposed}.orders."
        schema = table.partition(".")[0]
        if schema == OWN_SCHEMA:
            return f"The schema {OWN_SCHEMA} is Catchment's own."
        if config.schemas:
            allowed = ", ".join(config.schemas)
            return "" if schema in config.schemas else f"Files may go to tables of {allowed}, as the project says."
        writer = self._uploads.filing.writer_of(table)
        return (
            f"{writer} writes to {table}; files may go to other tables, such as of {config.proposed}."
            if writer
            else ""
        )


def _notes(found: Found, place: _Place) -> list[tuple[str, str, bool]]:
    """Columns, what is to be said of them, and whether something is lost by it."""
    fitted = place.fitted
    told = [each for each in fitted.columns if each.said and each.state != "own"]
    told = [each for each in told if not (each.state == "new" and fitted.is_new)]
    told.sort(key=lambda each: (not each.is_lost, each.state == "new"))
    notes = [(each.column, each.said, each.is_lost) for each in told]
    for each, nulls in zip(fitted.columns, found.nulls, strict=True):
        if each.field in place.key and nulls:
            rows = f"{nulls:,} {'row has' if nulls == 1 else 'rows have'}"
            notes.insert(0, (each.column, f"is of the key: {rows} no value there, and become dead letters", True))
    own = [each for each in fitted.columns if each.state == "own"]
    if own:
        notes.append((", ".join(each.column for each in own), own[0].said, False))
    return notes


def _problem_of(found: Found, fitted: Fitted) -> str:
    if not found.rows + found.bad:
        return "The file has no rows below the names of its columns."
    if all(each.state == "own" for each in fitted.columns):
        return "The file has no columns but Catchment's own, which are left out."
    return ""


def _key_in_file(fitted: Fitted) -> tuple[str, ...]:
    """What the file calls the columns of the table's key, as far as it has them."""
    by_key = {each.key: each.field for each in fitted.columns if each.state != "own"}
    return tuple(by_key[name] for name in fitted.key if name in by_key)


def _key_problem(fitted: Fitted, wanted: _Wanted, key: Sequence[str]) -> str:
    if fitted.key:
        lacks = set(fitted.key) - {each.key for each in fitted.columns}
        return (
            f"The table's key is {', '.join(fitted.key)}; the file lacks {', '.join(sorted(lacks))}." if lacks else ""
        )
    if wanted.mode == "append":
        return ""
    if not fitted.is_new:
        return "Rows of that table have no key, so none can be replaced; add rows, or name a new table."
    if not key:
        return "Choose the columns that identify a row."
    empty = [each.field for each in fitted.columns if each.field in key and each.state in {"no values", "own"}]
    unknown = set(key) - {each.field for each in fitted.columns}
    if empty or unknown:
        return f"No row has a value in {', '.join([*empty, *sorted(unknown)])}, which so identifies none."
    return ""


def _about(upload: Upload, going: Going) -> str:
    how = f"by {', '.join(going.key)}" if going.key else "added"
    return f"{upload.source.name} (sha256 {upload.source.digest}) into {going.table}, {how}, source {SOURCE}"


def _refused(error: CatchmentError, status: int) -> Response:
    # The rest of the body is not read: the connection ends with this answer.
    return JSONResponse({"error": error.message, "hint": error.hint}, status, headers={"Connection": "close"})
