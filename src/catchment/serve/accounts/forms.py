"""What a form or a program sends, read within bounds: anybody may send to the sign-in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

import msgspec

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")

MAX_BYTES = 16_384
_MAX_FIELDS = 50


class BadForm(Exception):
    """What was sent is no form, or too large. `status` is the answer's."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def is_json(request: Request) -> bool:
    """Whether a program sends it, and is to be answered as one."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json"


async def fields(request: Request) -> Mapping[str, str]:
    """The texts of a form or of a JSON object, by name. Raises `BadForm`."""
    body = await _body(request)
    if not is_json(request):
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
        except ValueError:
            raise BadForm(400, "that is no form") from None
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise BadForm(400, f"that is no object of texts: {error}") from None


async def read_as(request: Request, kind: type[T]) -> T:
    """A JSON body of this type. Raises `BadForm`."""
    if not is_json(request):
        raise BadForm(415, "Content-Type: application/json is wanted")
    try:
        return msgspec.json.decode(await _body(request) or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise BadForm(400, str(error)) from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise BadForm(413, "that is too large for a form")
    return bytes(body)
