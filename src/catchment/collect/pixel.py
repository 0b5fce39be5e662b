"""The pixel: one event by the address of a picture, for mails and pages without scripts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from catchment.collect.repair import repaired
from catchment.errors import Malformed

_FIELDS = {"type", "event", "userId", "anonymousId", "messageId", "timestamp", "name", "category"}
_KEY_FIELDS = {"writeKey", "write_key", "api_key", "data"}


def call_of(query: Mapping[str, str]) -> bytes:
    """The call as JSON: `data`, base64 of it, or its fields by name. Raises `Malformed` (not-json)."""
    if "data" in query:
        encoded = query["data"].replace("-", "+").replace("_", "/").replace(" ", "+").encode("latin-1", "replace")
        try:
            return repaired(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True))
        except binascii.Error as error:
            raise Malformed("not-json", f"`data` is no base64: {error}") from None
    call: dict[str, object] = {name: value for name, value in query.items() if name in _FIELDS}
    call["properties"] = {
        name: value for name, value in query.items() if name not in _FIELDS and name not in _KEY_FIELDS
    }
    return msgspec.json.encode(call)
