"""The record: one row for one warehouse table, as a JSON message.

Everything upstream of the loader speaks this one schema. Only `table` and `data` are required of a sender;
the rest is stamped at the first durable enqueue (`Stamp`), so that in a pack every record has all of it.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from catchment.errors import Malformed

MAX_RECORD_BYTES = 1_000_000
MAX_ID_CHARACTERS = 512
MAX_DEPTH = 200
"""Of nesting, counted from the record itself: parsers further on recurse, and none of them may reach its end."""
OWN_TIME_MARGIN = timedelta(minutes=5)
DEFAULT_WINDOW = timedelta(days=7)
OWN_SCHEMA = "catchment"
DEAD_LETTERS = "catchment.dead_letters"
"""The one table of our own schema that records may be filed into: what could not become a record of another."""
CORRECTIONS = "catchment.corrections"
"""What Catchment's own commands removed or mended; read before anything else of the archive."""

REASONS = {
    "not-json": "the bytes are no JSON",
    "not-a-record": "JSON, but not an object with `table` and `data` as the schema has them",
    "bad-table": "the table's name is not `schema.table` in lower case, or is one of Catchment's own",
    "invalid-utf8": "the bytes are not UTF-8",
    "nul": "a string holds NUL, which no warehouse keeps",
    "lone-surrogate": "a string holds half of a surrogate pair, which is no Unicode text",
    "too-deep": "objects and arrays nested more than 200 levels deep",
    "duplicate-key": "an object names the same key twice",
    "number-out-of-range": "a number too large for any column",
    "broken-frame": "a pack is cut short, or its checksum or header does not match",
    "unknown-version": "a pack of a newer format than this Catchment knows",
    "oversized": "a record above 1 MB, or a pack that expands beyond its bounds",
    "key-mismatch": "a keyed record whose key is not the table's",
    "contract": "the table's contract rejects a field of it",
    "not-loadable": "the warehouse refused it, alone",
    "wrong-fields": "a line of a file with too few or too many fields",
    "function-failed": "the project's own function raised, or returned what is no row",
    "unknown-schema": "the registry has no schema of that number",
    "not-decodable": "the bytes do not fit their schema, or it is of a kind that is not known",
}
"""Why something became a dead letter, in one word each."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}\Z")
_RESERVED = ("catchment.", "information_schema.", "memory.", "pg_catalog.", "pg_toast.", "system.", "temp.")
"""The engines' own schemas."""


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """A record as sent: only `table` and `data` are sure to be there. `data` and `rescued` stay raw JSON."""

    table: str
    data: msgspec.Raw
    id: str | None = None
    received_at: datetime | None = None
    not_before: datetime | None = None
    source: str | None = None
    if TYPE_CHECKING:
        rescued: msgspec.Raw | None = None
    else:  # msgspec takes `Raw | None` for null alone
        rescued: msgspec.Raw = None
    op: Literal["insert", "upsert", "delete"] = "insert"
    key: tuple[str, ...] | None = None
    version: str | None = None
    retries: str | None = None
    """The dead letter that this is another attempt at."""


_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


def decode(line: bytes | memoryview) -> Record:
    """One record out of its JSON bytes. Keys named twice inside `data` are left to the loader's guard.

    Raises `Malformed` with one of `REASONS`.
    """
    text = bytes(line)
    if len(text) > MAX_RECORD_BYTES:
        raise Malformed("oversized", f"{len(text):,} bytes; a record may have {MAX_RECORD_BYTES:,}")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid-utf8", f"byte {error.start}") from None
    if len(text) > 2 * MAX_DEPTH and text.count(b"{") + text.count(b"[") > MAX_DEPTH:
        _check_depth(text)
    _check_escapes(text)
    try:
        record = _decode(text)
    except msgspec.ValidationError as error:
        raise Malformed("not-a-record", str(error)) from None
    except msgspec.DecodeError as error:
        raise Malformed("not-json", str(error)) from None
    check(record)
    _check_envelope(text, record)
    return record


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_HAZARD = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


def _check_depth(text: bytes) -> None:
    depth = 0
    for bracket in re.findall(rb"[\[{\]}]", _STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Malformed("too-deep", f"more than {MAX_DEPTH} levels of objects and arrays")


def may_escape_badly(text: bytes) -> bool:
    """Whether there are escapes that may be JSON and yet no text: NUL, and halves of surrogate pairs."""
    # Backslashes are rare, and one byte is found many times faster than two.
    return b"\\" in text and b"\\u" in text and _HAZARD.search(text) is not None


def _check_escapes(text: bytes) -> None:
    """NUL, and halves of surrogate pairs (msgspec sees some)."""
    if not may_escape_badly(text):
        return
    high_ends = None  # where the low half of a pair must begin
    for escape in _ESCAPE.finditer(text):
        code = int(escape[1], 16) if escape[1] else -1
        low = 0xDC00 <= code <= 0xDFFF
        if low != (high_ends == escape.start()) or (high_ends is not None and not low):
            raise Malformed("lone-surrogate", f"byte {escape.start()}")
        if code == 0:
            raise Malformed("nul", f"byte {escape.start()}")
        high_ends = escape.end() if 0xD800 <= code <= 0xDBFF else None
    if high_ends is not None:
        raise Malformed("lone-surrogate", f"byte {high_ends}")


def _check_envelope(text: bytes, record: Record) -> None:
    """No key of the record itself twice: msgspec would take the last one in silence.

    Counting quotes tells at once for most: each field that was taken accounts for so many, and another of
    its name would bring more. Where the count differs (an escaped quote, a null, an op spelled out), the
    record is read once more.
    """
    quotes = 6 + bytes(record.data).count(b'"')  # "table":"…","data":
    for value in (record.id, record.received_at, record.not_before, record.source, record.version, record.retries):
        if value is not None:
            quotes += 4
    if record.op != "insert":
        quotes += 4
    if record.key is not None:
        quotes += 2 + 2 * len(record.key)
    if record.rescued is not None:
        quotes += 2 + bytes(record.rescued).count(b'"')
    if text.count(b'"') == quotes:
        return
    pairs = json.loads(text, object_pairs_hook=list, parse_int=str, parse_float=str)
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise Malformed("duplicate-key", f"`{name}` is there twice - at `$`")


def check(record: Record) -> None:
    """What the type alone does not say. Raises `Malformed`."""
    check_table(record.table)
    if bytes(record.data)[:1] != b"{":
        raise Malformed("not-a-record", "`data` is not an object - at `$.data`")
    if record.rescued is not None and bytes(record.rescued)[:1] not in {b"{", b"n"}:
        raise Malformed("not-a-record", "`rescued` is not an object - at `$.rescued`")
    if record.id is not None and not 0 < len(record.id) <= MAX_ID_CHARACTERS:
        raise Malformed("not-a-record", f"`id` needs 1 to {MAX_ID_CHARACTERS} characters - at `$.id`")
    if (record.op == "insert") != (record.key is None):
        raise Malformed("not-a-record", "`key` goes with the ops `upsert` and `delete` - at `$.key`")
    if record.key is not None and not 0 < len(set(record.key)) == len(record.key):
        raise Malformed("not-a-record", "`key` names one or more fields, each once - at `$.key`")
    if record.version is not None and record.key is None:
        raise Malformed("not-a-record", "`version` goes with a `key` - at `$.version`")
    if record.received_at is not None:
        _check_moment(record.received_at, "received_at")
    if record.not_before is not None:
        _check_moment(record.not_before, "not_before")


def _check_moment(moment: datetime, field: str) -> None:
    if moment.tzinfo is None:
        raise Malformed("not-a-record", f"a time needs a zone, such as Z - at `$.{field}`")
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise Malformed("not-a-record", f"in UTC the time lies outside the years 1 to 9999 - at `$.{field}`") from None


@lru_cache(maxsize=10_000)
def check_table(table: str) -> None:
    """Raise `Malformed` unless records may be filed into `table`."""
    if not _NAME.match(table):
        raise Malformed("bad-table", f"{table[:200]!r} is not schema.table in lower case - at `$.table`")
    if table.startswith(_RESERVED) and table not in {DEAD_LETTERS, CORRECTIONS}:
        raise Malformed("bad-table", f"{table} is Catchment's own - at `$.table`")


def check_table_setting(table: str) -> None:
    """Raise `ValueError`, as a setting's check does, unless records may be filed into `table`."""
    try:
        check_table(table)
    except Malformed:
        raise ValueError("must be a table's name, schema.table in lower case, and none of Catchment's own") from None


TableName = Annotated[str, msgspec.Meta(extra={"check": check_table_setting})]
"""A table's name as a setting of a project file."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A stamped record as one line of NDJSON, newline included, with what a pack's header needs of it; or `count` of
    them, one behind the other, that share their times."""

    table: str
    text: bytes
    received_at: datetime
    not_before: datetime
    count: int = 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a record is given at its first durable enqueue, where it does not have it yet.

    `identity` names the message or file the record came in, and `ordinal` its place there: an id made of
    them is the same in every redelivery. `received_at` must then be, too: the message's enqueue time. With
    neither id nor identity the id is a new UUIDv7.

    `own_time` is the record's own, the same in every copy that could ever come. The time of a message is
    that only where a copy is always the same message: not if a producer may send its record again.
    """

    received_at: datetime
    source: str
    identity: str | None = None
    own_time: datetime | None = None
    window: timedelta = DEFAULT_WINDOW

    def line(self, record: Record, ordinal: int = 0) -> Line:
        """The record with everything stamped, as one line."""
        received_at = record.received_at or self.received_at
        not_before = record.not_before or self._not_before(record.id, received_at)
        received = timestamp(received_at)
        text = b'{"table":"%b","id":%b,"received_at":"%b","not_before":"%b","source":%b%b,"data":%b}\n' % (
            record.table.encode(),
            _encode(self._new_id(ordinal) if record.id is None else record.id),
            received,
            timestamp(not_before),
            _encode(record.source or self.source),
            _rarer_fields(record, received) if _has_rarer_fields(record) else b"",
            one_line(record.data),
        )
        return Line(record.table, text, received_at, not_before)

    def _new_id(self, ordinal: int) -> str:
        return uuid7() if self.identity is None else f"{self.identity}/{ordinal}"

    def _not_before(self, given_id: str | None, received_at: datetime) -> datetime:
        """No copy of the record came earlier, by a time that is the same in every copy."""
        if given_id is None:  # copies come by redelivery alone, which keeps identity and received_at
            return earlier(received_at, OWN_TIME_MARGIN)
        floor = earlier(received_at, self.window)
        own = self.own_time or uuid7_time(given_id)
        return floor if own is None else max(floor, earlier(own, OWN_TIME_MARGIN))


_BEGINNING = datetime.min.replace(tzinfo=UTC)


def earlier(moment: datetime, by: timedelta) -> datetime:
    """Down to the beginning of time as Python knows it."""
    try:
        return moment - by
    except OverflowError:
        return _BEGINNING


def _has_rarer_fields(record: Record) -> bool:
    return record.op != "insert" or record.rescued is not None or record.retries is not None


def _rarer_fields(record: Record, received: bytes) -> bytes:
    text = b""
    if record.op != "insert":
        version = _encode(record.version or received.decode())
        text = b',"op":"%b","key":%b,"version":%b' % (record.op.encode(), _encode(record.key), version)
    if record.rescued is not None and bytes(record.rescued) != b"null":
        text += b',"rescued":' + one_line(record.rescued)
    if record.retries is not None:
        text += b',"retries":' + _encode(record.retries)
    return text


def one_line(raw: msgspec.Raw) -> bytes:
    """Raw JSON without line breaks between its tokens; inside strings JSON has none."""
    text = bytes(raw)
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text


def timestamp(moment: datetime) -> bytes:
    """RFC 3339 in UTC with six digits, such as 2026-11-23T10:00:00.123456Z: its text sorts as its time does."""
    text = _encode(moment if moment.tzinfo is UTC else moment.astimezone(UTC))  # ten times as fast as isoformat
    return text[1:-1] if len(text) == 29 else text[1:20] + b".000000Z"


def now() -> datetime:
    """This moment, with its zone."""
    return datetime.now(UTC)


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562): its first 48 bits are the Unix time in milliseconds."""
    randomness = secrets.randbits(74)
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | randomness >> 62 << 64
    text = f"{value | 0b10 << 62 | randomness & (1 << 62) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7_time(text: str) -> datetime | None:
    """The time inside a UUIDv7; None for any other text."""
    if len(text) != 36 or text[8::5][:4] != "----" or text[14] != "7" or text[19] not in "89abAB":
        return None
    try:
        milliseconds = int.from_bytes(bytes.fromhex(text[:8] + text[9:13]))
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except (ValueError, OverflowError):
        return None


def json_schema() -> dict[str, Any]:
    """The record as JSON Schema (draft 2020-12), for services that send records by themselves.

    It refuses Catchment's own tables altogether; what a schema cannot see are doubled keys and bad escapes.
    """
    moment = {
        "type": ["string", "null"],
        "format": "date-time",
        "pattern": "^\\d{4}-\\d{2}-\\d{2}[Tt ]\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?([Zz]|[+-]\\d{2}:?\\d{2})$",
    }
    text = {"type": ["string", "null"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Catchment record",
        "description": "One row for one warehouse table.",
        "type": "object",
        "required": ["table", "data"],
        "additionalProperties": False,
        "properties": {
            "table": {
                "type": "string",
                "pattern": "^[a-z_][a-z0-9_]{0,62}\\.[a-z_][a-z0-9_]{0,62}$",
                "not": {"pattern": f"^({'|'.join(name[:-1] for name in _RESERVED)})\\."},
                "description": "schema.table in lower case.",
            },
            "data": {"type": "object", "description": "The row: field names and values; may nest."},
            "id": {
                **text, "minLength": 1, "maxLength": MAX_ID_CHARACTERS,
                "description": "Unique within its source, assigned once and kept in every copy.",
            },
            "received_at": {**moment, "description": "Stamped at the first durable enqueue; leave it out."},
            "not_before": {**moment, "description": "No copy of the record was received before it."},
            "source": {**text, "description": "Who sent it; ids are unique within it."},
            "rescued": {"type": ["object", "null"], "description": "What the edge could not keep in data."},
            "op": {"enum": ["insert", "upsert", "delete"], "default": "insert"},
            "key": {
                "type": ["array", "null"], "items": {"type": "string"}, "minItems": 1, "uniqueItems": True,
                "description": "The fields that identify a row of a mirrored table; with upsert and delete.",
            },
            "version": {
                **text,
                "description": "Of several writes to one key the highest wins, compared bytewise.",
            },
            "retries": {**text, "description": "The dead letter that this is another attempt at; leave it out."},
        },
        "if": {"required": ["op"], "properties": {"op": {"enum": ["upsert", "delete"]}}},
        "then": {"required": ["key"], "properties": {"key": {"type": "array"}}},
        "else": {"properties": {"key": {"type": "null"}, "version": {"type": "null"}}},
    }  # fmt: skip
