"""Messages as Kafka tells of them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from catchment.queues import Message


def message_of(topic: str, message: Any, body: bytes) -> Message:
    """One of a topic, of the client's message and its body."""
    kind, milliseconds = message.timestamp()
    moment = _moment(milliseconds)
    return Message(
        body,
        f"{topic}/{message.partition()}/{message.offset()}",
        moment if kind == TIMESTAMP_LOG_APPEND_TIME else None,
        moment if kind == TIMESTAMP_CREATE_TIME else None,
    )


@lru_cache(maxsize=1_000)
def _moment(milliseconds: int) -> datetime | None:
    """None for what no calendar has: a producer may send any number."""
    try:
        return datetime.fromtimestamp(milliseconds / 1_000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
