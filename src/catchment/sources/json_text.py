"""JSON as objects of Python, refused where a record's data could not be it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from catchment.errors import Malformed
from catchment.record import MAX_DEPTH

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def decoded(text: bytes) -> Any:
    """One JSON value, as a record's data has to be: no key twice, no number beyond all columns. Raises `Malformed`."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid-utf8", f"byte {error.start}") from None
    try:
        value = _decode(text)
    except msgspec.DecodeError as error:
        if "out of range" in str(error):
            raise Malformed("number-out-of-range", str(error)) from None
        raise Malformed("not-json", str(error)) from None
    except RecursionError:
        raise Malformed("too-deep", f"more than {MAX_DEPTH} levels of objects and arrays") from None
    # Written again it has as many quotes, unless one was escaped otherwise, or a key was there twice.
    if b'"' in text and text.count(b'"') != _encode(value).count(b'"'):
        json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed("duplicate-key", f"`{twice}` is there twice")
    return found
