"""An exchange of RabbitMQ, tapped: a durable queue of our own is bound to it, and consumed as Catchment's own is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pika

from catchment.errors import CatchmentError, Retry
from catchment.finding import Finding
from catchment.queues import Delivery, QueueStats
from catchment.queues.rabbitmq_consumer import Consumer, moment_of, text_of
from catchment.queues.rabbitmq_errors import explained
from catchment.queues.rabbitmq_link import Steps, declare_queue, parameters_of
from catchment.record import timestamp
from catchment.sources import Heard
from catchment.sources.rabbitmq_config import RabbitMQTapConfig, TappedQueue

__all__ = ["RabbitMQTap"]

_POLL_S = 0.1
_OF_DELIVERIES = frozenset({"x-delivery-count", "x-acquired-count"})
"""What a quorum queue adds when a message comes again: a redelivery is to be the same message."""


class RabbitMQTap:
    """A `Tap` on an exchange. `folder` is the project's runtime folder; `name` the listener's."""

    Config = RabbitMQTapConfig

    def __init__(self, config: RabbitMQTapConfig, folder: Path, name: str) -> None:
        self._queue = config.tapped(name)
        self._keys = config.routing_keys
        self._folder = folder
        self._name = name
        self._consumer: Consumer | None = None

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`."""
        if self._consumer is None:
            self._consumer = Consumer(
                self._queue, self._folder, declared=self._declared, message=_heard, name=f"listen {self._name}"
            )
        delivery = self._consumer.receive(max_bytes, wait_s)
        if delivery is None and not self._consumer.is_up:
            raise Retry(f"{self._queue.place}: it is being connected to", "look at the network, and at the broker")
        return delivery

    def _declared(self, channel: Any) -> Steps:
        yield from declare_queue(channel, self._queue)
        for key in self._keys:
            yield partial(channel.queue_bind, self._queue.queue, self._queue.exchange, key)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""
        return self._consumer.keep(deliveries) if self._consumer else []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""
        if self._consumer:
            self._consumer.ack(deliveries)

    def close(self) -> None:
        """As `Queue.close`."""
        if self._consumer:
            self._consumer.close()

    def stats(self) -> QueueStats:
        """What is ready in the queue; without what a listener holds at the moment, which the broker does not tell."""
        with _channel(self._queue, self._folder) as channel:
            found = channel.queue_declare(self._queue.queue, passive=True).method
            return QueueStats(messages=found.message_count)

    def peek(self, limit: int, wait_s: float) -> Generator[Heard]:
        """What comes from now on, by a queue of its own that is gone afterwards: nothing else would leave what waits
        as it is."""
        queue = f"{self._queue.queue}.preview"
        with _channel(self._queue, self._folder) as channel:
            channel.queue_declare(queue, exclusive=True, auto_delete=True)
            for key in self._keys:
                channel.queue_bind(queue, self._queue.exchange, key)
            give_up_s = time.monotonic() + wait_s
            for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=_POLL_S):
                if method is not None:
                    yield _heard(method, properties, body)
                    limit -= 1
                if limit <= 0 or time.monotonic() >= give_up_s:
                    return

    @staticmethod
    def diagnose(config: RabbitMQTapConfig, folder: Path, name: str) -> list[Finding]:
        """Whether the broker lets us in, and has the exchange; declares nothing."""
        queue = config.tapped(name)
        subject = f"listen.{name}"
        try:
            with _channel(queue, folder) as channel:
                channel.exchange_declare(queue.exchange, passive=True)
        except CatchmentError as error:
            return [Finding(subject, False, f"rabbitmq: {error.message}", error.hint)]
        words = f"rabbitmq: {queue.place}: the exchange {queue.exchange} is there"
        try:
            with _channel(queue, folder) as channel:
                found = channel.queue_declare(queue.queue, passive=True).method
        except CatchmentError:
            return [Finding(subject, True, f"{words}; its queue {queue.queue} is made when it is listened to")]
        said = f"{found.message_count} messages wait in {queue.queue}, {found.consumer_count} listen"
        return [Finding(subject, True, f"{words}; {said}")]


@contextlib.contextmanager
def _channel(queue: TappedQueue, folder: Path) -> Iterator[Any]:
    """A channel for a question. Raises `Retry`, `StorageError`."""
    try:
        connection = pika.BlockingConnection(parameters_of(queue, folder, f"listen {queue.name}"))
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == 404 and "no queue" in error.reply_text:
            raise Retry(f"{queue.place}: nobody has listened yet: there is no queue {queue.queue}") from error
        raise explained(error, queue) from error
    except (pika.exceptions.AMQPError, OSError) as error:
        raise explained(error, queue) from error


def _heard(method: Any, properties: Any, body: bytes) -> Heard:
    moment = moment_of(properties.timestamp)
    identity = text_of(properties.message_id)
    about = {
        "exchange": method.exchange,
        "routing_key": method.routing_key,
        "message_id": identity,
        "timestamp": timestamp(moment).decode() if moment is not None else None,
    }
    headers = {name: _value(value) for name, value in (properties.headers or {}).items() if name not in _OF_DELIVERIES}
    return Heard(body, identity, moment, None, headers, about)


def _value(value: Any) -> Any:
    """A header's value as JSON has it."""
    match value:
        case bytes() | bytearray():
            return bytes(value).decode(errors="backslashreplace")
        case datetime():
            return timestamp(value).decode() if value.tzinfo else f"{value.isoformat()}Z"
        case Decimal():
            return str(value)
        case bool():
            return value
        case int():
            return int(value)  # the client has a kind of its own for long ones
        case Mapping():
            return {str(name): _value(below) for name, below in value.items()}
        case list() | tuple():
            return [_value(below) for below in value]
    return value
