"""Listeners' settings and messages as tests want them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from catchment.config.check import read_struct
from catchment.listen.config import ListenConfig
from catchment.listen.transform import Outcome, Transformation
from catchment.record import DEFAULT_WINDOW
from catchment.sources import Heard

T0 = datetime(2026, 11, 23, 10, tzinfo=UTC)
ABOUT = {"routing_key": "message.created", "exchange": "chat", "timestamp": "2026-11-23T10:00:00.000000Z"}


def settings(**written: Any) -> ListenConfig:
    """As a project file has them."""
    noted: list[Any] = []
    config = read_struct({"table": "chat.all", **written}, ListenConfig, (), lambda *mistake: noted.append(mistake))
    assert not noted, noted
    assert isinstance(config, ListenConfig)
    return config


def heard(body: Any, **more: Any) -> Heard:
    """A message; a body that is no bytes as JSON."""
    known = {"identity": "q/0/7", "enqueued_at": T0, "about": ABOUT, **more}
    return Heard(body if isinstance(body, bytes) else msgspec.json.encode(body), **known)


def transformed(message: Heard, root: Path = Path(), **written: Any) -> Outcome:
    return Transformation("chats", settings(**written), root, DEFAULT_WINDOW).outcome(message)


def records(outcome: Outcome) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line.text) for line in outcome.lines]


def data_of(body: Any, **written: Any) -> list[dict[str, Any]]:
    """What is filed of a message with this body."""
    outcome = transformed(heard(body), **written)
    assert not outcome.is_dead, records(outcome)
    return [record["data"] for record in records(outcome)]


def reason_of(outcome: Outcome) -> str:
    """Why it is a dead letter."""
    assert outcome.is_dead
    ((letter),) = records(outcome)
    assert letter["table"] == "catchment.dead_letters"
    reason: str = letter["data"]["reason"]
    return reason
