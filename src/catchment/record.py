"""The record: one row for one warehouse table, as a JSON message.

Everything upstream of the loader speaks this one schema. Only `table` and `data` are required of a sender;
the rest is stamped at the first durable enqueue (`Stamp`), so that in a pack every record has all of it.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from catchment.errors import Malformed

MAX_RECORD_BYTES = 1_000_000
MAX_ID_CHARACTERS = 512
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
    "duplicate-key": "an object names the same key twice",
    "number-out-of-range": "a number too large for any column",
    "broken-frame": "a pack is cut short, or its checksum or header does not match",
    "unknown-version": "a pack of a newer format than this Catchment knows",
    "oversized": "a record above 1 MB, or a pack that expands beyond its bounds",
    "key-mismatch": "a keyed record whose key is not the table's",
    "contract": "the table's contract rejects a field of it",
    "not-loadable": "the warehouse refused it, alone",
    "wrong-fields": "a line of a file with too few or too many fields",
}
"""Why something became a dead letter, in one word each."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}\Z")
_RESERVED = ("catchment.", "information_schema.", "pg_catalog.", "pg_toast.", "system.", "temp.")


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """A record as sent: only `table` and `data` are sure to be there. `data` and `rescued` stay raw JSON."""

    table: str
    data: msgspec.Raw
    id: str | None = None
    received_at: datetime | None = None
    not_before: datetime | None = None
    source: str | None = None
    rescued: msgspec.Raw | None = None
    op: Literal["insert", "upsert", "delete"] = "insert"
    key: tuple[str, ...] | None = None
    version: str | None = None


_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode
_known_tables: set[str] = set()


def decode(line: bytes | memoryview) -> Record:
    """One record out of its JSON bytes.

    Raises `Malformed` with one of `REASONS`.
    """
    if len(line) > MAX_RECORD_BYTES:
        raise Malformed("oversized", f"{len(line):,} bytes; a record may have {MAX_RECORD_BYTES:,}")
    try:
        bytes(line).decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid-utf8", f"byte {error.start}") from None
    try:
        record = _decode(line)
    except msgspec.ValidationError as error:
        raise Malformed("not-a-record", str(error)) from None
    except msgspec.DecodeError as error:
        raise Malformed("not-json", str(error)) from None
    check(record)
    return record


def check(record: Record) -> None:
    """What the type alone does not say. Raises `Malformed`."""
    if record.table not in _known_tables:
        check_table(record.table)
        _known_tables.add(record.table)
    if bytes(record.data)[:1] != b"{":
        raise Malformed("not-a-record", "`data` is not an object - at `$.data`")
    if record.rescued is not None and bytes(record.rescued)[:1] not in {b"{", b"n"}:
        raise Malformed("not-a-record", "`rescued` is not an object - at `$.rescued`")
    if record.id is not None and not 0 < len(record.id) <= MAX_ID_CHARACTERS:
        raise Malformed("not-a-record", f"`id` needs 1 to {MAX_ID_CHARACTERS} characters - at `$.id`")
    if (record.op == "insert") != (not record.key):
        raise Malformed("not-a-record", "`key` goes with the ops `upsert` and `delete` - at `$.key`")
    for moment in (record.received_at, record.not_before):
        if moment is not None and moment.tzinfo is None:
            raise Malformed("not-a-record", "a time needs a zone, such as Z - at `$.received_at`")


def check_table(table: str) -> None:
    """Raise `Malformed` unless records may be filed into `table`."""
    if not _NAME.match(table):
        raise Malformed("bad-table", f"{table[:200]!r} is not schema.table in lower case - at `$.table`")
    if table.startswith(_RESERVED) and table not in {DEAD_LETTERS, CORRECTIONS}:
        raise Malformed("bad-table", f"{table} is Catchment's own - at `$.table`")


@dataclass(frozen=True, slots=True)
class Line:
    """A stamped record as one line of NDJSON, newline included, with what a pack's header needs of it."""

    table: str
    text: bytes
    received_at: datetime
    not_before: datetime


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a record is given at its first durable enqueue, where it does not have it yet.

    `identity` names the message or file the record came in, and `ordinal` its place there: an id made of
    them is the same in every redelivery. With neither id nor identity the id is a new UUIDv7.
    """

    received_at: datetime
    source: str
    identity: str | None = None
    own_time: datetime | None = None
    window: timedelta = DEFAULT_WINDOW

    def line(self, record: Record, ordinal: int = 0) -> Line:
        """The record with everything stamped, as one line."""
        received_at = record.received_at or self.received_at
        identity = record.id
        if identity is None:
            identity = uuid7() if self.identity is None else f"{self.identity}/{ordinal}"
        not_before = record.not_before or self._not_before(record, received_at)
        parts = [
            b'{"table":"', record.table.encode(),
            b'","id":', _encode(identity),
            b',"received_at":"', timestamp(received_at),
            b'","not_before":"', timestamp(not_before),
            b'","source":', _encode(record.source or self.source),
        ]  # fmt: skip
        if record.op != "insert":
            parts += [b',"op":"', record.op.encode(), b'","key":', _encode(record.key)]
            parts += [b',"version":', _encode(record.version or timestamp(received_at).decode())]
        if record.rescued is not None:
            parts += [b',"rescued":', one_line(record.rescued)]
        parts += [b',"data":', one_line(record.data), b"}\n"]
        return Line(record.table, b"".join(parts), received_at, not_before)

    def _not_before(self, record: Record, received_at: datetime) -> datetime:
        """No copy of the record came earlier, by a time that is the same in every copy."""
        floor = received_at - self.window
        if record.id is None:
            # Copies come only from redelivery, which keeps identity and received_at.
            return received_at - OWN_TIME_MARGIN if self.own_time is None else self.own_time - OWN_TIME_MARGIN
        own = self.own_time or uuid7_time(record.id)
        return floor if own is None else max(floor, own - OWN_TIME_MARGIN)


def one_line(raw: msgspec.Raw) -> bytes:
    """Raw JSON without line breaks between its tokens; inside strings JSON has none."""
    text = bytes(raw)
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text


def timestamp(moment: datetime) -> bytes:
    """RFC 3339 in UTC with six digits, such as 2026-11-23T10:00:00.123456Z: its text sorts as its time does."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text[:-6].encode() + b"Z"


def now() -> datetime:
    """This moment, with its zone."""
    return datetime.now(UTC)


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562): its first 48 bits are the Unix time in milliseconds."""
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return str(UUID(int=value | 0b10 << 62 | secrets.randbits(62)))


def uuid7_time(text: str) -> datetime | None:
    """The time inside a UUIDv7; None for any other text."""
    if len(text) != 36 or text[14] != "7":
        return None
    try:
        milliseconds = UUID(text).int >> 80
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def json_schema() -> dict[str, Any]:
    """The record as JSON Schema (draft 2020-12), for services that send records by themselves."""
    moment = {"type": "string", "format": "date-time"}
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
                "description": "schema.table in lower case.",
            },
            "data": {"type": "object", "description": "The row: field names and values; may nest."},
            "id": {
                "type": ["string", "null"], "minLength": 1, "maxLength": MAX_ID_CHARACTERS,
                "description": "Unique within its source, assigned once and kept in every copy.",
            },
            "received_at": {**moment, "description": "Stamped at the first durable enqueue; leave it out."},
            "not_before": {**moment, "description": "No copy of the record was received before it."},
            "source": {"type": "string", "description": "Who sent it; ids are unique within it."},
            "rescued": {"type": "object", "description": "What the edge could not keep in data."},
            "op": {"enum": ["insert", "upsert", "delete"], "default": "insert"},
            "key": {
                "type": "array", "items": {"type": "string"}, "minItems": 1,
                "description": "The fields that identify a row of a mirrored table; with upsert and delete.",
            },
            "version": {
                "type": "string",
                "description": "Of several writes to one key the highest wins, compared bytewise.",
            },
        },
        "dependentRequired": {"version": ["key"]},
    }  # fmt: skip
