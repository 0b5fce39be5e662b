"""Work that ends when nobody waits for its answer any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]
GONE = 499
"""The status of an answer to nobody, as nginx has it."""


def while_there(endpoint: Endpoint) -> Endpoint:
    """The endpoint, cancelled when the connection is closed before its answer begins."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        await request.body()  # behind it comes nothing but the end of the connection
        work = asyncio.ensure_future(endpoint(request))
        watch = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else Response(status_code=GONE)
        finally:
            watch.cancel()
            if not work.done():
                work.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    return answered


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
