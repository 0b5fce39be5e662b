"""The queue on RabbitMQ: a durable exchange that everyone publishes to, and a quorum queue bound to it.

`link` keeps a connection up and runs the client; `publisher` confirms and sends again; `consumer` receives and
acknowledges; `census` counts; `errors` says what the broker says. Publishing, consuming and counting have connections
of their own: RabbitMQ blocks a connection that publishes while its disk is full, and consuming must go on then.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pika

from catchment.errors import CatchmentError, StorageError
from catchment.finding import Finding
from catchment.queues import Delivery, QueueStats
from catchment.queues.rabbitmq_census import Census
from catchment.queues.rabbitmq_config import RabbitMQConfig as Config
from catchment.queues.rabbitmq_consumer import Consumer
from catchment.queues.rabbitmq_errors import explained
from catchment.queues.rabbitmq_link import parameters_of
from catchment.queues.rabbitmq_publisher import Publisher

__all__ = ["Config", "RabbitMQQueue"]


class RabbitMQQueue:
    """A `Queue` on a broker; any number of processes publish and consume. `folder` is the project's runtime folder."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._lock = threading.Lock()
        self._closed = False
        self._publisher: Publisher | None = None
        self._consumer: Consumer | None = None
        self._census: Census | None = None

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`: what a lost connection has not confirmed is sent again, with the same ids, until
        `publish_timeout_s`."""
        if not messages:
            return
        with self._lock:
            self._check_open()
            self._publisher = self._publisher or Publisher(self._config, self._folder)
        self._publisher.publish(messages)

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`."""
        with self._lock:
            self._check_open()
            self._consumer = self._consumer or Consumer(self._config, self._folder)
        return self._consumer.receive(max_bytes, wait_s)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""
        return self._consumer.keep(deliveries) if self._consumer else []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""
        if self._consumer:
            self._consumer.ack(deliveries)

    def stats(self) -> QueueStats:
        """As `Queue.stats`: bytes where all that waits is with consumers, as when they keep up."""
        with self._lock:
            self._check_open()
            self._census = self._census or Census(self._config, self._folder)
        return self._census.ask()

    def close(self) -> None:
        """As `Queue.close`."""
        with self._lock:
            self._closed = True
            parts = [self._publisher, self._consumer, self._census]
            self._publisher = self._census = None
        for part in parts:
            if part is not None:
                part.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the queue has been closed in this process", "open another one")

    @staticmethod
    def diagnose(config: Config, folder: Path) -> list[Finding]:
        """Whether the broker lets us in, and whether exchange and queue are as they should be; declares nothing."""
        try:
            parameters = parameters_of(config, folder, "doctor")
            connection = pika.BlockingConnection(parameters)
        except (CatchmentError, pika.exceptions.AMQPError, OSError) as error:
            told = explained(error, config)
            return [Finding("queue", False, f"rabbitmq: {told.message}", told.hint)]
        try:
            return [_look(connection, config)]
        finally:
            if connection.is_open:
                connection.close()


def _look(connection: pika.BlockingConnection, config: Config) -> Finding:
    try:
        channel = connection.channel()
        found = channel.queue_declare(config.queue, passive=True).method
        channel.exchange_declare(config.exchange, "fanout", passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == 404:
            return Finding("queue", True, f"rabbitmq: {config.place}: reached; its queue is made when used")
        told = explained(error, config)
        return Finding("queue", False, f"rabbitmq: {told.message}", told.hint)
    words = f"{found.message_count} messages wait, {found.consumer_count} consumers"
    return Finding("queue", True, f"rabbitmq: {config.place}: {words}")
