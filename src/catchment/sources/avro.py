"""Avro as values of JSON. What JSON has no type for becomes text: decimals with all their digits, times in RFC 3339,
dates, UUIDs; bytes in base64."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from catchment.errors import Malformed, UsageError
from catchment.record import timestamp


def reader_of(texts: Sequence[str], place: str) -> Callable[[bytes], Any]:
    """Reads values of the last of these schemas; the others are named in it. Raises `UsageError` where the driver is
    missing; reading raises `Malformed` for what is no value, or no schema."""
    try:
        import fastavro
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{place} hears Avro, which needs the module fastavro", "pip install 'catchment[avro]'"
        ) from error
    named: dict[str, Any] = {}
    schema: Any = None
    try:
        for text in texts:
            schema = fastavro.parse_schema(json.loads(text), named)
    except Exception as error:  # of the library, of any type: the schema is somebody else's
        fault = f"its schema is none of Avro: {type(error).__name__}: {error}"
    else:
        fault = ""

    def read(body: bytes) -> Any:
        if fault:
            raise Malformed("not-decodable", fault)
        stream = io.BytesIO(body)
        try:
            value = fastavro.schemaless_reader(stream, schema, None)
        except Exception as error:  # as above: the bytes are, too
            raise Malformed("not-decodable", f"it does not fit its schema: {type(error).__name__}: {error}") from None
        if stream.read(1):
            raise Malformed("not-decodable", "it goes on behind what its schema has")
        return plain(value)

    return read


def plain(value: Any) -> Any:
    """A value as JSON has it, and the loader keeps it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {str(name): plain(below) for name, below in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case datetime():
            return timestamp(value).decode() if value.tzinfo is not None else value.isoformat()
        case date() | time():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case UUID():
            return str(value)
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
    raise Malformed("not-decodable", f"it holds a {type(value).__name__}, for which there is no column")
