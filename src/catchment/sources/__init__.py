"""The sources: what belongs to others and is listened to. Here the taps: exchanges, topics and queues whose messages
somebody else publishes, in whatever form."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

from catchment.queues import Delivery, Message, QueueStats


class Heard(Message, frozen=True, gc=True):
    """A message that was heard, with what its broker says of it.

    `headers` are texts, numbers and the like, as the publisher set them. `about` has what else can be named, by the
    names in the tap's settings (`ABOUT`), such as `routing_key` or `offset`; a time is text in RFC 3339.
    """

    headers: Mapping[str, Any] = {}
    about: Mapping[str, Any] = {}


class Tap(Protocol):
    """A source of messages that are acknowledged: one implementation a file in this folder, each built on the
    broker's queue. Its messages are `Heard`.

    `receive`, `keep`, `ack` and `close` are those of `catchment.queues.Queue`, with its promises: a message comes
    again, under the same identity, until it is acknowledged. Nothing that belongs to others is made or changed.
    """

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`."""

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""

    def stats(self) -> QueueStats:
        """What waits to be heard. Any process may ask. Raises as `receive`."""

    def peek(self, limit: int, wait_s: float) -> Generator[Heard]:
        """Some messages, at most `limit`, within `wait_s` seconds, that stay where they are: on a tap that receives
        nothing. Raises as `receive`."""

    def close(self) -> None:
        """As `Queue.close`."""
