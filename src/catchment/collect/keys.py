"""The write key of a request, wherever an SDK puts it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache


def key_of(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> str | None:
    """The write key of a request's head. It goes before what the body says, which may be masked there."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        key = _basic_key(authorization)
        if key:
            return key
    given = headers.get(b"x-write-key")
    if given:
        return given.decode("latin-1")
    return query.get("writeKey") or query.get("write_key") or query.get("api_key")


@lru_cache(maxsize=1_000)
def _basic_key(authorization: bytes) -> str | None:
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text.partition(":")[0] or None
