"""NDJSON and JSON: each object is a row's data, byte for byte, so that no number loses a digit."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator

import msgspec

from catchment.errors import Malformed, UsageError
from catchment.record import MAX_DEPTH, MAX_RECORD_BYTES, REASONS, decode, one_line
from catchment.send.lines import byte_blocks
from catchment.send.render import id_fault
from catchment.send.rows import Bad, Batch
from catchment.send.source import Source

MAX_JSON_BYTES = 256 << 20
"""A JSON file is held in memory as a whole."""
_ITEMS_PER_BATCH = 5_000

_raw = msgspec.json.Decoder(msgspec.Raw).decode
_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

IdOf = Callable[[str], str | None]


def ndjson(source: Source, id_field: str | None = None) -> Iterator[Batch]:
    """Each line's object. Lines that hold none are bad, empty lines are nothing."""
    id_of = None if id_field is None else field_text(id_field)
    number = line = 1
    for block in byte_blocks(source):
        batch = Collector(id_of, id_field)
        lines = block.lines.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for raw in lines:
            text = raw.strip(b" \t\r")
            if text:
                batch.add(number, line, text)
                number += 1
            line += 1
        yield batch.batch(block.at_bytes)


def array(source: Source, id_field: str | None = None) -> Iterator[Batch]:
    """The objects of a JSON array, or the one object that the file is. Items that are no objects are bad.

    Raises `UsageError` when the file as a whole is no such JSON, or too large.
    """
    if source.size_bytes > MAX_JSON_BYTES:
        raise UsageError(
            f"{source.name} has {source.size_bytes:,} bytes; a JSON file may have {MAX_JSON_BYTES:,}",
            "make it NDJSON, one object a line, which may have any size: jq -c '.[]' FILE",
        )
    with source.open() as file:
        text = file.read().removeprefix(codecs.BOM_UTF8)
    items = _items(source, text)
    id_of = None if id_field is None else field_text(id_field)
    for start in range(0, len(items), _ITEMS_PER_BATCH):
        batch = Collector(id_of, id_field)
        for number, item in enumerate(items[start : start + _ITEMS_PER_BATCH], start + 1):
            batch.add(number, number, bytes(item))
        yield batch.batch(source.size_bytes * min(start + _ITEMS_PER_BATCH, len(items)) // len(items))


def _items(source: Source, text: bytes) -> list[msgspec.Raw]:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{source.name} line {line:,}, byte {error.start + 1:,}: not UTF-8, which JSON is", "convert it: iconv"
        ) from None
    begins = text.lstrip()[:1]
    try:
        if begins == b"[":
            return _raw_list(text)
        if begins == b"{":
            return [_raw(text)]
    except RecursionError:
        raise UsageError(f"{source.name} is nested too deep for JSON", "flatten it") from None
    except msgspec.DecodeError as error:
        found = re.search(r"\(byte ([0-9]+)\)", str(error))
        where = f" line {text.count(10, 0, int(found[1])) + 1:,}" if found else ""
        raise UsageError(
            f"{source.name}{where}: {error}", "mend it; if it has one object a line, --format ndjson"
        ) from None
    raise UsageError(f"{source.name} holds neither an array of objects nor an object", "check --format")


class Collector:
    """Gathers a batch, one record's bytes at a time."""

    def __init__(self, id_of: IdOf | None, id_field: str | None) -> None:
        self._id_of = id_of
        self._id_field = id_field or ""
        self._data: list[str] = []
        self._numbers: list[int] = []
        self._lines: list[int] = []
        self._ids: list[str] | None = None if id_of is None else []
        self._bad: list[Bad] = []

    def add(self, number: int, line: int, raw: bytes) -> None:
        """One record of the file, which may turn out bad."""
        try:
            text = object_text(raw)
            if self._id_of is not None and self._ids is not None:
                identity = self._id_of(text)
                if fault := id_fault(identity, self._id_field):
                    raise Malformed("not-a-record", fault)
                self._ids.append(identity or "")
        except Malformed as error:
            self._bad.append(Bad(number, line, error.reason, error.detail, raw))
            return
        self._data.append(text)
        self._numbers.append(number)
        self._lines.append(line)

    def batch(self, at_bytes: int) -> Batch:
        """What was gathered."""
        return Batch(self._data, self._numbers, self._lines, self._data, self._ids, self._bad, at_bytes)


def object_text(raw: bytes) -> str:
    """The JSON object in these bytes, on one line.

    Raises `Malformed`. Duplicate keys and numbers beyond every type are left to the loader's guard, which
    looks for them in every record; NUL to the publisher, which does so for all formats.
    """
    if len(raw) > MAX_RECORD_BYTES:
        raise Malformed("oversized", f"{len(raw):,} bytes; a record may have {MAX_RECORD_BYTES:,}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid-utf8", f"byte {error.start + 1}") from None
    try:
        _raw(raw)
    except RecursionError:
        raise Malformed("too-deep", REASONS["too-deep"]) from None
    except msgspec.DecodeError as error:
        _check_as_data(raw)  # which knows half a surrogate pair, where the decoder says malformed or cut short
        raise Malformed("not-json", str(error)) from None
    if text[0] != "{":
        raise Malformed("not-a-record", "JSON, but not an object")
    if raw.count(b"{") + raw.count(b"[") >= MAX_DEPTH:
        _check_as_data(raw)
    if "\n" in text or "\r" in text:
        return one_line(msgspec.Raw(raw)).decode()
    return text


def _check_as_data(raw: bytes) -> None:
    """Raise `Malformed` for what only a record's own check finds in its data; its syntax is the caller's to judge."""
    try:
        decode(b'{"table":"a.b","data":' + raw + b"}")
    except Malformed as error:
        if error.reason not in {"not-json", "not-a-record"}:
            raise Malformed(error.reason, REASONS[error.reason]) from None


def field_text(field: str) -> IdOf:
    """A function from an object's JSON to the text of this field: a string's own, a number's digits, else None."""
    only = msgspec.defstruct(
        "Identified", [("value", msgspec.Raw, msgspec.field(name=field, default=msgspec.Raw(b"")))]
    )
    decode = msgspec.json.Decoder(only).decode
    string = msgspec.json.Decoder(str).decode

    def text_of(text: str) -> str | None:
        raw = bytes(decode(text).value)  # type: ignore[attr-defined]  # of the struct just defined
        if raw.startswith(b'"'):
            return string(raw)
        return raw.decode() if raw[:1].isdigit() or raw.startswith(b"-") else None

    return text_of
