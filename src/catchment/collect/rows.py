"""A call becomes records, one a table, as in Segment's warehouse: ready-made dbt packages and analysts know that.

`track` is filed twice, in `tracks` and in a table of its event; every other kind in one. All of a source lie in the
schema of its name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from catchment.collect.calls import KINDS, BadCall, Call
from catchment.collect.config import MirrorConfig
from catchment.collect.flatten import Limits, flatten
from catchment.collect.moments import corrected, moment
from catchment.collect.tables import TABLES, TAKEN
from catchment.errors import Malformed
from catchment.naming import identifier
from catchment.record import DEAD_LETTERS, OWN_TIME_MARGIN, Line, earlier, uuid7


class _Stamped(msgspec.Struct, omit_defaults=True, gc=False):
    """A record as it travels, all of its envelope there; the times in UTC."""

    table: str
    id: str
    received_at: datetime
    not_before: datetime
    source: str
    data: dict[str, Any]
    rescued: dict[str, Any] | None = None
    op: Literal["insert", "upsert"] = "insert"
    key: list[str] | None = None
    version: str | None = None


_encode = msgspec.json.Encoder().encode


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """What all calls of one request share. `floor` lies a dedupe window before `received_at`."""

    source: str
    received_at: datetime
    floor: datetime
    limits: Limits
    max_id_chars: int
    sent_at: Any = None
    context: dict[str, Any] | None = None
    address: str | None = None
    """Of the client, as much of it as is to be kept."""
    path: str = ""
    """Where it was sent, for dead letters."""


def lines(call: Call, kind: str | None, arrival: Arrival) -> list[Line]:
    """The records of one call; `kind` None: as the call says. Raises `Malformed` (not-a-record, oversized)."""
    kind = kind or call.type
    if kind not in KINDS:
        raise Malformed("not-a-record", f"`type` must be one of {', '.join(KINDS)}, not {_shown(kind)} - at `$.type`")
    row, rescued, identity, not_before = _common(call, arrival)
    if kind == "track":
        return _track(call, arrival, row, rescued, identity, not_before)
    values = call.properties
    if kind in {"page", "screen"}:
        _put(row, "name", call.name)
        _put(row, "category", call.category)
    else:
        values = call.traits
    if kind == "identify" and values is None and call.context:
        values = call.context.get("traits")
    elif kind == "group" and call.group_id is not None:
        _put_id(row, rescued, "group_id", "groupId", call.group_id)
    elif kind == "alias" and call.previous_id is not None:
        _put_id(row, rescued, "previous_id", "previousId", call.previous_id)
    if isinstance(values, dict):
        flatten("", values, arrival.limits, row, rescued, "properties" if kind in {"page", "screen"} else "traits")
    return [_line(TABLES[kind], identity, not_before, row, rescued, arrival)]


def _track(
    call: Call, arrival: Arrival, row: dict[str, Any], rescued: dict[str, Any], identity: str, not_before: datetime
) -> list[Line]:
    if not call.event:
        raise Malformed("not-a-record", "a `track` call names its `event` - at `$.event`")
    table = _event_tables.get(call.event) or _event_table(call.event)
    row["event"] = table
    row["event_text"] = call.event
    tracks = _line("tracks", identity, not_before, row, rescued, arrival)
    if call.properties:
        flatten("", call.properties, arrival.limits, row, rescued, "properties")
    if table in TAKEN:
        table = f"event_{table}"
    return [tracks, _line(table, identity, not_before, row, rescued, arrival)]


_event_tables: dict[str, str] = {}
_MAX_REMEMBERED, _LONGEST_REMEMBERED = 10_000, 100


def _event_table(event: str) -> str:
    table = identifier(event)
    if len(event) < _LONGEST_REMEMBERED and len(_event_tables) < _MAX_REMEMBERED:
        _event_tables[event] = table
    return table


def _common(call: Call, arrival: Arrival) -> tuple[dict[str, Any], dict[str, Any], str, datetime]:
    """The columns that every kind has, what of them is rescued, the id, and since when copies may have come."""
    rescued: dict[str, Any] = {}
    own = call.original_timestamp if call.original_timestamp is not None else call.timestamp
    happened = moment(own)
    if happened is None and own is not None:
        rescued["timestamp"] = own
    said = call.sent_at if call.sent_at is not None else arrival.sent_at
    sent = None if said is None else moment(said)
    identity = _text(call.message_id)
    if identity is None:  # no copy can have the same
        identity, not_before = uuid7(), earlier(arrival.received_at, OWN_TIME_MARGIN)
    elif len(identity) > arrival.max_id_chars:
        raise Malformed(
            "oversized", f"a messageId of {len(identity):,} characters; it may have {arrival.max_id_chars}"
        )
    else:
        not_before = arrival.floor if happened is None else max(arrival.floor, earlier(happened, OWN_TIME_MARGIN))
    row: dict[str, Any] = {"id": identity}
    if call.anonymous_id is not None:
        _put_id(row, rescued, "anonymous_id", "anonymousId", call.anonymous_id)
    if call.user_id is not None:
        _put_id(row, rescued, "user_id", "userId", call.user_id)
    row["received_at"] = arrival.received_at
    if sent is not None:
        row["sent_at"] = sent
    if happened is not None:
        row["original_timestamp"] = happened
    # With a time of the call beside that of the event (RudderStack's SDKs), the caller has named the latter.
    named = None if call.original_timestamp is None or call.timestamp is None else moment(call.timestamp)
    row["timestamp"] = named or corrected(happened, sent, arrival.received_at)
    if call.context:
        flatten("context_", call.context, arrival.limits, row, rescued, "context")
    if arrival.context:
        flatten("context_", _lacking(call.context, arrival.context), arrival.limits, row, rescued, "context")
    if arrival.address is not None and "context_ip" not in row:
        row["context_ip"] = arrival.address
    return row, rescued, identity, not_before


def _lacking(own: dict[str, Any] | None, shared: dict[str, Any]) -> dict[str, Any]:
    """What a batch says of all its calls, as far as a call does not say it itself."""
    return {name: value for name, value in shared.items() if name not in own} if own else shared


def _put(row: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        row[name] = value


def _put_id(row: dict[str, Any], rescued: dict[str, Any], name: str, sent_as: str, value: Any) -> None:
    """An id is a text or a number in the JSON of some SDKs; anything else is kept aside."""
    if value == "":
        return
    text = _text(value)
    if text is None or len(text) > 512:
        rescued[sent_as] = value
    else:
        row[name] = text


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value or None
    if type(value) is int or type(value) is float:
        return _encode(value).decode()
    return None


def _shown(kind: object) -> str:
    return "nothing" if kind is None else repr(kind)[:60]


def _line(
    table: str,
    identity: str,
    not_before: datetime,
    row: dict[str, Any],
    rescued: dict[str, Any],
    arrival: Arrival,
) -> Line:
    full = f"{arrival.source}.{table}"
    stamped = _Stamped(full, identity, arrival.received_at, not_before, arrival.source, row, rescued or None)
    return Line(full, _encode(stamped) + b"\n", arrival.received_at, not_before)


def dead_letter(bad: BadCall, arrival: Arrival) -> Line:
    """What cannot be filed, kept. Its id is a hash of its bytes: a client's retry of them is the same dead letter."""
    identity = hashlib.sha256(b"collect/%b/%b" % (arrival.source.encode(), bad.body)).hexdigest()[:32]
    data = {
        "reason": bad.error.reason,
        "detail": bad.error.detail,
        "origin": f"HTTP {arrival.path[:100]}",
        "record_source": arrival.source,
        "bytes": base64.b64encode(bad.body).decode(),
    }
    stamped = _Stamped(DEAD_LETTERS, identity, arrival.received_at, arrival.floor, "catchment", data)
    return Line(DEAD_LETTERS, _encode(stamped) + b"\n", arrival.received_at, arrival.floor)


def records(
    values: list[Any],
    table: str,
    id_field: str | None,
    max_bytes: int,
    arrival: Arrival,
    mirror: MirrorConfig | None = None,
) -> Iterator[Line | BadCall]:
    """Plain objects as records of a table, as they are. `id_field` names the field that identifies each; without
    it each gets an id of its own, and a client that sends it again doubles it, but for a table that is a mirror."""
    for value in values:
        body = _encode(value)
        try:
            if not isinstance(value, dict):
                raise Malformed("not-a-record", "a record is an object")
            identity = _text(value.get(id_field)) if id_field is not None else ""
            if identity is None:
                raise Malformed("not-a-record", f"the record has no {id_field}")
            if len(identity) > 512:
                raise Malformed("oversized", f"{id_field} has {len(identity):,} characters; it may have 512")
            if len(body) > max_bytes:
                raise Malformed("oversized", f"a record of {len(body):,} bytes; it may have {max_bytes:,}")
            line = record(value, table, None if id_field is None else identity, arrival, mirror)
        except Malformed as error:
            yield BadCall(body, error)
        else:
            yield line


def record(
    value: dict[str, Any], table: str, identity: str | None, arrival: Arrival, mirror: MirrorConfig | None = None
) -> Line:
    """One object as a record of a table, as it is; without an id it gets a new one, and no copy can have that.

    Raises `Malformed` (not-a-record) where a mirror needs a field that it lacks.
    """
    not_before = arrival.floor
    if identity is None:
        identity, not_before = uuid7(), earlier(arrival.received_at, OWN_TIME_MARGIN)
    stamped = _Stamped(table, identity, arrival.received_at, not_before, arrival.source, value)
    if mirror is not None:
        stamped.op, stamped.key, stamped.version = "upsert", mirror.key, _version(value, mirror)
    return Line(table, _encode(stamped) + b"\n", arrival.received_at, not_before)


def _version(value: dict[str, Any], mirror: MirrorConfig) -> str:
    for name in mirror.key:
        if value.get(name) is None:
            raise Malformed("not-a-record", f"the record has no {name}, which is in the mirror's key")
    version = value.get(mirror.version)
    if not isinstance(version, str) or not version:
        raise Malformed("not-a-record", f"{mirror.version}, by which the mirror knows the newest, must be a text")
    return version
