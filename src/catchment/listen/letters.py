"""Dead letters of what was heard. A letter's origin holds all that the broker said, so that the message can be filed
once more as if it came again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from catchment.errors import Malformed
from catchment.queues.foreign import dead_message
from catchment.record import Line, Stamp
from catchment.sources import Heard

MAX_KEPT_BYTES = 600_000
"""Of a message, in a letter that is a record itself and grows by a third as base64."""
_MAX_HEADERS_BYTES = 20_000
_ORIGIN = re.compile(r"listen ([a-z0-9_]+) (\{.*\})\Z", re.DOTALL)
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the broker said of a message."""

    identity: str | None = None
    about: Mapping[str, Any] = {}
    headers: Mapping[str, Any] = {}


_decode = msgspec.json.Decoder(Origin).decode


def letter_of(heard: Heard, error: Malformed, stamp: Stamp, listener: str, table: str) -> Line:
    """The dead letter of a message, as one line."""
    about = {name: value for name, value in heard.about.items() if value is not None}
    text = _text(Origin(heard.identity, about, heard.headers))
    if len(text) > _MAX_HEADERS_BYTES:
        text = _text(Origin(heard.identity, about))
    detail = error.detail
    if len(heard.body) > MAX_KEPT_BYTES:
        detail += f"; kept here are the first {MAX_KEPT_BYTES:,} of its {len(heard.body):,} bytes"
    named = f"listen {listener}"
    return dead_message(
        heard,
        Malformed(error.reason, detail),
        stamp,
        heard.body[:MAX_KEPT_BYTES],
        0,
        table,
        (named, f"{named} {text}"),
    )


def _text(origin: Origin) -> str:
    return _encode(origin).decode().replace("\\u0000", "\\ufffd")


def is_heard(origin: str) -> bool:
    """Whether a dead letter of this origin is of a message that was heard."""
    return _ORIGIN.match(origin) is not None


def listener_of(origin: str) -> str:
    """Who heard it."""
    found = _ORIGIN.match(origin)
    assert found is not None
    return found[1]


def heard_again(origin: str, body: bytes, received_at: datetime, letter: str) -> Heard:
    """The message of a dead letter, as if it came again: with the time at which it was received, and an identity in
    any case."""
    found = _ORIGIN.match(origin)
    assert found is not None
    said = _decode(found[2])
    return Heard(body, said.identity or letter, received_at, None, said.headers, said.about)
