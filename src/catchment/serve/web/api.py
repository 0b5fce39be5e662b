"""`POST /api/query`: programs ask in SQL, and take the answer as JSON, CSV, Parquet or a stream of Arrow."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.serve.accounts import Forbidden, client_of, current_user
from catchment.serve.asking import Question
from catchment.serve.web.presence import while_there
from catchment.serve.web.site import Site
from catchment.serve.web.streaming import TYPES, whole
from catchment.state.audit import Outcome

MAX_BODY_BYTES = 1_000_000
TIMEOUT_S = 300.0
MAX_ROWS = 10_000_000
_BY_TYPE = {type_.partition(";")[0]: name for name, type_ in TYPES.items()}


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent. Parameters are `$1`, `$2` of a list, or `$name` of an object."""

    sql: Annotated[str, Meta(min_length=1, max_length=256 * 1024)]
    params: dict[str, Any] | list[Any] | None = None
    format: Literal["json", "csv", "arrow", "parquet"] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=TIMEOUT_S)] = 60.0
    max_rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)] = MAX_ROWS


def of(site: Site) -> list[Route]:
    """The route; its path is below the base path."""

    async def query(request: Request) -> Response:
        user = current_user(request)
        if not user.may("analyst"):
            raise Forbidden("analyst")
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            return JSONResponse({"error": f"at most {MAX_BODY_BYTES:,} bytes"}, 413)
        try:
            asked = msgspec.json.decode(body, type=Asking)
        except msgspec.DecodeError as error:
            return JSONResponse({"error": f"{error}", "expected": '{"sql": "select 1"}'}, 400)
        format_ = asked.format or _accepted(request)
        params = asked.params or {}
        named = params if isinstance(params, dict) else {str(at): value for at, value in enumerate(params, 1)}
        question = Question(
            asked.sql, tuple(named.items()), site.zone.key, timeout_s=asked.timeout_s, max_rows=asked.max_rows
        )
        began = datetime.now(UTC)
        outcome: Outcome = "failed"
        try:
            with site.turns.of(user):
                answer = await whole(site.asked, question, format_, "result")
            outcome = "done"
        except CatchmentError as error:
            status = 503 if isinstance(error, Retry) else 400 if isinstance(error, UsageError) else 500
            answer = JSONResponse({"error": str(error)}, status)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            ms = round((datetime.now(UTC) - began).total_seconds() * 1000)
            site.recorder.query(
                user, client_of(request), asked.sql, began_at=began, ms=ms, outcome=outcome, about="/api/query"
            )
        return answer

    return [Route("/api/query", while_there(query), methods=["POST"])]


def _accepted(request: Request) -> str:
    for part in request.headers.get("accept", "").split(","):
        name = _BY_TYPE.get(part.partition(";")[0].strip().lower())
        if name:
            return name
    return "json"
