"""What a page sends as JSON."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from catchment.errors import UsageError

T = TypeVar("T")


async def sent_as(request: Request, kind: type[T]) -> T:
    """The body, as what it should be. Raises `UsageError` for anything else."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.MsgspecError as error:
        raise UsageError(f"that was not understood: {error}") from None
