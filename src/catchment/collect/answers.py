"""Answers as bytes, with what browsers want to see of other origins' endpoints (CORS)."""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec

_encode = msgspec.json.Encoder().encode
_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_MAX_ECHO = 1_000

PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""A transparent GIF of one pixel."""


class Refused(Exception):
    """An answer other than 200, at once."""

    def __init__(self, status: int, message: str, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def answer(status: int, body: bytes, headers: bytes = b"", content_type: bytes = b"application/json") -> bytes:
    """A whole response. `headers` are lines, each with its end."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        _LINES[status],
        content_type,
        len(body),
        headers,
        body,
    )


def head(response: bytes) -> bytes:
    """The same answer to HEAD: it tells of a body, and has none."""
    return response[: response.index(b"\r\n\r\n") + 4]


def failure(status: int, message: str, headers: bytes = b"", *, reason: str = "") -> bytes:
    """An error as JSON: what is wrong, in words, and in the word of `record.REASONS` where there is one."""
    body = {"success": False, "error": message}
    if reason:
        body["reason"] = reason
    return answer(status, _encode(body), headers)


def retry_after(seconds: float) -> bytes:
    """The header that asks a client to come again, no sooner than in a second."""
    return b"retry-after: %d\r\n" % max(1, math.ceil(seconds))


def cors(origin: bytes | None) -> bytes:
    """For a page of that origin. It is named, since `*` is no answer to a request with credentials."""
    if origin is None or len(origin) > _MAX_ECHO or b"\r" in origin or b"\n" in origin:
        return b""
    return (
        b"access-control-allow-origin: %b\r\naccess-control-allow-credentials: true\r\n"
        b"access-control-expose-headers: retry-after\r\nvary: origin\r\n" % origin
    )


def preflight(origin: bytes | None, wanted_headers: bytes) -> bytes:
    """The answer to OPTIONS: any header that the page asks for."""
    allowed = (
        wanted_headers if 0 < len(wanted_headers) <= _MAX_ECHO else b"authorization, content-type, content-encoding"
    )
    return (
        _LINES[204]
        + cors(origin)
        + b"access-control-allow-methods: GET, POST, OPTIONS\r\naccess-control-allow-headers: "
        + allowed
        + b"\r\naccess-control-max-age: 86400\r\n\r\n"
    )


SUCCESS = answer(200, b'{"success":true}')
