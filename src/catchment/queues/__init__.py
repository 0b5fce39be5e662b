"""The queue: where messages wait durably between those who publish and the loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Protocol

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as received.

    `identity` names the message within its queue and is the same at each redelivery (SQLite: file and row;
    Kafka: topic, partition, offset; SQS: message id); None where the backend has none (plain RabbitMQ).
    `enqueued_at` is the time of the first durable enqueue, the same at each redelivery; None where unknown.
    `sent_at` is the time that the sender gave the message (a Kafka topic of CreateTime), by a clock that may be
    wrong, and also the same at each redelivery; None where the queue's own clock tells better, or nothing does.
    """

    body: bytes
    identity: str | None = None
    enqueued_at: datetime | None = None
    sent_at: datetime | None = None


KEEP_EVERY_S = 10.0
"""So often at least `keep` or `receive` is called while a round is open: leases have to last longer."""

_body = attrgetter("body")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one `receive` returned. `receipt` is the backend's own and acknowledges all of it: a consumer may let go
    of the messages before."""

    messages: Sequence[Message]
    receipt: Any = field(repr=False)

    @property
    def bytes(self) -> int:
        """Bytes of all bodies, as received."""
        return sum(map(len, map(_body, self.messages)))


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What waits in the queue, received but unacknowledged messages included; None where a backend can't tell."""

    messages: int | None = None
    bytes: int | None = None
    oldest_s: float | None = None


class Queue(Protocol):
    """A durable queue of messages: one implementation a file in this folder.

    Ordering: messages of one publisher are received in the order it published them, as far as the backend
    keeps an order (SQLite, a Kafka partition, SQS FIFO); nothing is promised between publishers, nor after a
    redelivery. Whoever needs an order carries a version in the record.

    Blocking: `publish` blocks until every message is durable, `receive` at most `wait_s`; the other calls
    return at once or with the backend's round trip. All calls may come from several threads; `receive`,
    `keep` and `ack` are called by one consumer.

    Durability: once `publish` has returned, its messages survive kill -9 of any process, a restart of the
    broker and a power cut. When it raises, some, all or none of them may have been kept: publish them again,
    with the same ids. A message leaves the queue only through `ack`.

    Duplicates: each message is delivered at least once. It comes again when the consumer dies before `ack`,
    when an ack is lost, when a lease runs out or a rebalance moves a partition; `Message.identity` and
    `Message.enqueued_at` are then the same as before.

    Errors: `Retry` (and its `QueueFull`) when the same call may succeed later, `StorageError` when it can't
    until somebody acts. A message's content is never the queue's business.
    """

    def publish(self, messages: Sequence[bytes]) -> None:
        """Make all messages durable, then return."""

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """The next messages: at least one, however large, then as many as fit in `max_bytes` of bodies.

        None if nothing came within `wait_s` seconds. A message is delivered again only after this consumer
        has gone or lost it.
        """

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Extend the leases of what an open round holds; return what is still ours, in the same order.

        Also while another thread of the consumer is busy elsewhere. A delivery that was lost in part comes back with
        a receipt of the rest. What cannot be asked at the moment counts as ours until its lease is over.
        """

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Remove these messages for good. In any order; acknowledging twice, or what was lost, does nothing."""

    def stats(self) -> QueueStats:
        """What waits at this moment. Any process may ask, also one that is no consumer."""

    def close(self) -> None:
        """Release everything; what was received and not acknowledged is delivered again. Twice does nothing."""
