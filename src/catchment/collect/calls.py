"""Segment's calls as they come in: one, or a batch of them, decoded as leniently as the SDKs of the world need it.

A field that is wrong spoils its event, not the batch: a batch is decoded in one pass, and event by event only where
that fails.
"""

from __future__ import annotations

from typing import Any

import msgspec

from catchment.collect.repair import repaired
from catchment.errors import Malformed
from catchment.record import may_escape_badly

KINDS = ("track", "identify", "page", "screen", "group", "alias")

Object = dict[str, Any]


class Call(msgspec.Struct, rename="camel", gc=False):
    """One call. Ids and times may be of any type; what else an SDK says of itself (`integrations`, `_metadata`,
    `channel`) tells nothing about the event, and is left out."""

    type: str | None = None
    message_id: Any = None
    anonymous_id: Any = None
    user_id: Any = None
    group_id: Any = None
    previous_id: Any = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    timestamp: Any = None
    original_timestamp: Any = None
    sent_at: Any = None
    properties: Object | None = None
    traits: Object | None = None
    context: Object | None = None
    write_key: str | None = None


class _Batch(msgspec.Struct, rename="camel", gc=False):
    batch: list[Call]
    sent_at: Any = None
    context: Object | None = None
    write_key: str | None = None
    api_key: str | None = msgspec.field(default=None, name="api_key")


class _RawBatch(msgspec.Struct, rename="camel", gc=False):
    batch: list[msgspec.Raw]
    sent_at: Any = None
    context: msgspec.Raw = msgspec.Raw(b"null")
    write_key: str | None = None
    api_key: str | None = msgspec.field(default=None, name="api_key")


class BadCall(msgspec.Struct, gc=False):
    """An event of a batch that cannot be filed, and why."""

    body: bytes
    error: Malformed


class Calls(msgspec.Struct, gc=False):
    """What one request holds. `write_key` is what its body says, if anything; `texts` those of the good calls, where
    they were looked at one by one."""

    body: bytes
    good: list[Call]
    bad: list[BadCall]
    sent_at: Any = None
    context: Object | None = None
    write_key: str | None = None
    texts: list[bytes] | None = None
    is_changed: bool = False
    """The good calls are no longer what was sent: what was taken out of them must not be kept elsewhere."""

    def text(self, at: int) -> bytes:
        """The good call at this place, as it was sent, or as it is now."""
        if self.is_changed:
            return msgspec.json.encode(self.good[at])
        if self.texts is None:
            self.texts = list(map(bytes, _read_raw(self.body).batch))
        return self.texts[at]


_decode_call = msgspec.json.Decoder(Call).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_raw_batch = msgspec.json.Decoder(_RawBatch).decode
_decode_context = msgspec.json.Decoder(Object | None).decode

_MAX_VALUES = 300_000
"""A body of more values takes up many times its size once it is decoded."""


def read_call(body: bytes) -> Calls:
    """A request with one call. Raises `Malformed` (not-json, not-a-record)."""
    call = _read(_decode_call, body)
    return Calls(body, [call], [], None, None, call.write_key, [body])


def read_batch(body: bytes, max_events: int, max_event_bytes: int, max_shared_bytes: int) -> Calls:
    """A request with a batch: an object with `batch`, or nothing but a list. What its context adds to all its events
    together is bounded as well. Raises `Malformed` (not-json, not-a-record; oversized for too much of anything)."""
    if body[:1] == b"[":
        body = b'{"batch":' + body + b"}"
    if len(body) <= max_event_bytes:  # so none of its events is larger
        try:
            batch = _read(_decode_batch, body)
        except Malformed as error:
            if error.reason != "not-a-record":
                raise
        else:
            check_count(len(batch.batch), max_events)
            if batch.context is None or len(body) * len(batch.batch) <= max_shared_bytes:
                return Calls(body, batch.batch, [], batch.sent_at, batch.context, batch.write_key or batch.api_key)
    return _one_by_one(body, max_events, max_event_bytes, max_shared_bytes)


def _one_by_one(body: bytes, max_events: int, max_event_bytes: int, max_shared_bytes: int) -> Calls:
    check_values(body)
    batch = _read_raw(body)
    check_count(len(batch.batch), max_events)
    shared = bytes(batch.context)
    if len(shared) > max_event_bytes or len(shared) * len(batch.batch) > max_shared_bytes:
        raise Malformed("oversized", f"a context of {len(shared):,} bytes for {len(batch.batch):,} events")
    context = _read(_decode_context, shared)
    texts: list[bytes] = []
    calls = Calls(body, [], [], batch.sent_at, context, batch.write_key or batch.api_key, texts)
    for raw in batch.batch:
        text = bytes(raw)
        try:
            if len(text) > max_event_bytes:
                raise Malformed("oversized", f"an event of {len(text):,} bytes; it may have {max_event_bytes:,}")
            calls.good.append(_read(_decode_call, text))
            texts.append(text)
        except Malformed as error:
            calls.bad.append(BadCall(text, error))
    return calls


def _read_raw(body: bytes) -> _RawBatch:
    batch: _RawBatch = _read(_decode_raw_batch, body)
    return batch


def check_values(body: bytes) -> None:
    """Raises `Malformed` (oversized) for a body that would take up far more memory than it has bytes."""
    values = max(body.count(b","), body.count(b"\n"))
    if values > _MAX_VALUES:
        raise Malformed("oversized", f"a body of {values:,} values; it may have {_MAX_VALUES:,}")


def check_count(events: int, max_events: int) -> None:
    """Raises `Malformed` (oversized) for too many of them."""
    if events > max_events:
        raise Malformed("oversized", f"a batch of {events:,} events; it may have {max_events:,}")


def read_any(body: bytes) -> Any:
    """Any JSON. Raises `Malformed` (not-json, not-a-record)."""
    return _read(msgspec.json.decode, body)


def _read(decode: Any, body: bytes) -> Any:
    if may_escape_badly(body):
        body = repaired(body)
    try:
        return _decoded(decode, body)
    except Malformed as error:
        again = body if error.reason == "not-a-record" else repaired(body)
        if again == body:
            raise
    return _decoded(decode, again)


def _decoded(decode: Any, body: bytes) -> Any:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise Malformed("not-a-record", str(error)) from None
    except RecursionError:
        raise Malformed("too-deep", "objects and arrays nested too deep to be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("not-json", str(error)) from None
