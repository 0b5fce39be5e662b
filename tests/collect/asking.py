"""Requests to a handler without any socket, and what it files read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from catchment.collect.config import CollectConfig, MirrorConfig, SourceConfig
from catchment.collect.handler import Answer, Handler, Request
from catchment.record import Line, decode

NOW = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
WINDOW = timedelta(days=7)
KEY = "site-key"
APP_KEY, NEXT_APP_KEY = "app-key", "app-key-to-come"


@dataclass
class Asked:
    """An answer, as a client and as the queue see it."""

    answer: Answer

    @property
    def status(self) -> int:
        return int(self.answer.response[9:12])

    @property
    def headers(self) -> dict[str, str]:
        head = self.answer.response.partition(b"\r\n\r\n")[0].decode("latin-1")
        return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])

    @property
    def body(self) -> bytes:
        return self.answer.response.partition(b"\r\n\r\n")[2]

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [read(line) for line in self.answer.lines]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The data of the records of one table."""
        return [record["data"] for record in self.records if record["table"] == table]

    def rescued(self, table: str) -> dict[str, Any]:
        [record] = [record for record in self.records if record["table"] == table]
        return dict(record.get("rescued", {}))


def read(line: Line) -> dict[str, Any]:
    """One line, which the loader must take as a record, as plain values."""
    assert line.text.endswith(b"\n")
    assert line.text.count(b"\n") == 1
    record = decode(line.text)
    assert (record.table, record.received_at, record.not_before) == (line.table, line.received_at, line.not_before)
    return dict(json.loads(line.text))


def config(**settings: Any) -> CollectConfig:
    sources = {
        "website": SourceConfig(write_key=KEY, origins=["https://www.acme.example"], records=["shop.*"]),
        "app": SourceConfig(
            write_keys=[APP_KEY, NEXT_APP_KEY],
            mirrors={"app.issues": MirrorConfig(key=["repo", "number"], version="updated_at")},
        ),
    }
    return CollectConfig(**{"sources": sources, "requests_per_s": 0.0, **settings})


def handler(**settings: Any) -> Handler:
    return Handler(config(**settings), WINDOW)


def ask(
    handler: Handler,
    method: str,
    target: str,
    body: Any = b"",
    headers: dict[str, str] | None = None,
    *,
    peer: str = "192.0.2.7",
    clock_s: float = 1000.0,
) -> Asked:
    """One request. A body that is no bytes is sent as JSON."""
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.lower().encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
    return Asked(handler(Request(method.encode(), target.encode(), named, text, peer, NOW, clock_s)))


def post(handler: Handler, target: str, body: Any, key: str | None = APP_KEY, **headers: str) -> Asked:
    """A POST with the key in a header of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(handler, "POST", target, body, named if key is None else {"X-Write-Key": key, **named})


def batch(handler: Handler, calls: Sequence[Any], **more: Any) -> Asked:
    return post(handler, "/v1/batch", {"batch": calls, **more})
