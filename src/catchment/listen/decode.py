"""From a message's bytes to its values: JSON, JSON lines, or a registry's wire format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from catchment.pack import plain_lines
from catchment.sources.json_text import decoded
from catchment.sources.schemas import SchemaRegistry, is_framed


def values_of(body: bytes, schemas: SchemaRegistry | None) -> Iterator[Any]:
    """The values that a message holds: each item of an array, each line of JSON lines. A message without a body, a
    tombstone, is an empty object.

    Raises `Malformed`; `Retry` or `StorageError` while the registry cannot be asked.
    """
    if schemas is not None and is_framed(body):
        yield from _items(schemas.decode(body))
    elif not body:
        yield {}
    else:
        for line in plain_lines(body):
            yield from _items(decoded(line))


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    else:
        yield value
