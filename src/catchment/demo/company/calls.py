"""Segment API calls, written as Segment's own libraries write them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal

Json = dict[str, Any]
Source = Literal["website", "app", "github"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the tracking API; of the source `github`, an issue as it is then, which goes as a plain record.

    `at` is when it is due, in UTC to the millisecond; `body` is what is posted.

    Bodies share parts, such as the context of one device: they are to be encoded, not to be changed.
    """

    source: Source
    at: datetime
    body: Json


@dataclass(frozen=True, slots=True)
class Device:
    """A browser or a phone: what its calls have in common."""

    source: Source
    anonymous_id: str
    context: Json


def later(at: datetime, seconds: float) -> datetime:
    """That many seconds later, to the millisecond."""
    return at + timedelta(milliseconds=int(seconds * 1000))


def stamp(at: datetime) -> str:
    """RFC 3339 with milliseconds and Z. `at` is in UTC."""
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"


class Sdk:
    """Writes calls. Ids come from the namespace and from how many were taken before, so that they can be had again."""

    def __init__(self, namespace: str) -> None:
        self.begin(namespace)

    def begin(self, namespace: str) -> None:
        """Take ids from another namespace from now on."""
        self._ids = Random(namespace)  # noqa: S311  # they are to be the same again, not secret

    def name(self, prefix: str) -> str:
        """A new id such as `chat_6f1c0a93d2b7`."""
        return f"{prefix}_{self._digits()[:12]}"

    def uuid(self) -> str:
        """A new UUID, of version 8: its bits are ours."""
        digits = self._digits()
        return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def _digits(self) -> str:
        return f"{self._ids.getrandbits(128):032x}"

    def page(self, at: datetime, browser: Device, user_id: str | None, name: str, properties: Json) -> Call:
        """A page seen. Its address stands in the properties and in the context, as analytics.js has it."""
        context = {**browser.context, "page": properties}
        return self._call("page", at, browser, user_id, {"name": name, "properties": properties, "context": context})

    def screen(self, at: datetime, phone: Device, user_id: str, name: str, properties: Json) -> Call:
        """A screen seen."""
        return self._call("screen", at, phone, user_id, {"name": name, "properties": properties})

    def track(self, at: datetime, device: Device, user_id: str | None, event: str, properties: Json) -> Call:
        """Something done."""
        return self._call("track", at, device, user_id, {"event": event, "properties": properties})

    def identify(self, at: datetime, device: Device, user_id: str, traits: Json) -> Call:
        """Who somebody is, or what is new about them."""
        return self._call("identify", at, device, user_id, {"traits": traits})

    def _call(self, kind: str, at: datetime, device: Device, user_id: str | None, fields: Json) -> Call:
        body = {
            "type": kind,
            "messageId": self.uuid(),
            "anonymousId": device.anonymous_id,
            "timestamp": stamp(at),
            "context": device.context,
            **fields,
        }
        if user_id is not None:
            body["userId"] = user_id
        return Call(device.source, at, body)
