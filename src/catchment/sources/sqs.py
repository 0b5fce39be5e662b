"""A queue of Amazon SQS, tapped, and what an SNS topic sends to one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from catchment.errors import CatchmentError
from catchment.finding import Finding
from catchment.queues.sqs import SqsQueue
from catchment.queues.sqs_requests import MAX_ENTRIES, Requests
from catchment.record import timestamp
from catchment.sources import Heard
from catchment.sources.sqs_config import SqsTapConfig

__all__ = ["SqsTap"]

_SYSTEM = ("SentTimestamp", "MessageGroupId")
_LONGEST_POLL_S = 20


class SqsTap:
    """A `Tap` on a queue. `folder` is not used; `name` is the listener's."""

    Config = SqsTapConfig

    def __init__(self, config: SqsTapConfig, folder: Path, name: str) -> None:
        self._config = config.tapped(name)
        self._heard = _from_sns if config.sns else _heard
        self._queue = SqsQueue(
            self._config, folder, message=self._heard, attributes=["All"], system_attributes=_SYSTEM
        )
        self.receive, self.keep, self.ack = self._queue.receive, self._queue.keep, self._queue.ack
        self.stats, self.close = self._queue.stats, self._queue.close

    def peek(self, limit: int, wait_s: float) -> Generator[Heard]:
        """Messages that wait, and stay visible to everybody. SQS counts them as received once more."""
        seen: set[str] = set()
        give_up_s = time.monotonic() + wait_s
        with contextlib.closing(Requests(self._config)) as requests:
            while len(seen) < limit and (left_s := give_up_s - time.monotonic()) > 0:
                answer = requests.one(
                    "look at",
                    "receive_message",
                    MaxNumberOfMessages=MAX_ENTRIES,
                    WaitTimeSeconds=min(_LONGEST_POLL_S, round(left_s)),
                    VisibilityTimeout=0,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=list(_SYSTEM),
                )
                new = [each for each in answer.get("Messages", []) if each["MessageId"] not in seen]
                if not new:
                    return  # all that there is has been seen
                for each in new[: limit - len(seen)]:
                    seen.add(each["MessageId"])
                    yield self._heard(each)

    @staticmethod
    def diagnose(config: SqsTapConfig, folder: Path, name: str) -> list[Finding]:
        """Ask the service; nothing is received."""
        subject = f"listen.{name}"
        tapped = config.tapped(name)
        try:
            with contextlib.closing(Requests(tapped)) as requests:
                told = requests.one("look at", "get_queue_attributes", AttributeNames=["All"])["Attributes"]
        except CatchmentError as error:
            return [Finding(subject, False, f"sqs: {error.message}", error.hint)]
        waiting = int(told.get("ApproximateNumberOfMessages", 0))
        return [Finding(subject, True, f"sqs: {tapped.queue_url} answers; about {waiting} messages wait")]


def _heard(received: dict[str, Any]) -> Heard:
    sent_at = datetime.fromtimestamp(int(received["Attributes"]["SentTimestamp"]) / 1_000, UTC)
    identity = received["MessageId"]
    about = {
        "message_id": identity,
        "timestamp": timestamp(sent_at).decode(),
        "group": received["Attributes"].get("MessageGroupId"),
        "topic": None,
    }
    headers = {name: _value(each) for name, each in received.get("MessageAttributes", {}).items()}
    return Heard(received["Body"].encode(), identity, sent_at, None, headers, about)


class _Envelope(msgspec.Struct, rename="pascal", gc=False):
    """What SNS puts around a message."""

    type: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: datetime
    message_attributes: dict[str, dict[str, Any]] = {}


_envelope = msgspec.json.Decoder(_Envelope).decode


def _from_sns(received: dict[str, Any]) -> Heard:
    """What the topic was sent. SNS may bring it to the queue twice, as two messages: its own id names it."""
    heard = _heard(received)
    try:
        envelope = _envelope(heard.body)
    except msgspec.DecodeError:
        return heard
    if envelope.type != "Notification" or envelope.timestamp.tzinfo is None:
        return heard
    sent_at = envelope.timestamp.astimezone(UTC)
    about = {
        "message_id": envelope.message_id,
        "timestamp": timestamp(sent_at).decode(),
        "group": heard.about["group"],
        "topic": envelope.topic_arn,
    }
    headers = {name: _sns_value(each) for name, each in envelope.message_attributes.items()}
    return Heard(envelope.message.encode(), envelope.message_id, sent_at, None, headers, about)


def _value(attribute: Mapping[str, Any]) -> Any:
    if "BinaryValue" in attribute:
        return attribute["BinaryValue"].decode(errors="backslashreplace")
    return _number(attribute.get("DataType", ""), attribute.get("StringValue"))


def _sns_value(attribute: Mapping[str, Any]) -> Any:
    return _number(attribute.get("Type", ""), attribute.get("Value"))


def _number(kind: str, text: Any) -> Any:
    """A number where the attribute says so and it is one; else its text."""
    if kind.partition(".")[0] != "Number" or not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text, type=int | float)
    except msgspec.DecodeError:
        return text
