"""The queue on Kafka: one topic, of which the loaders of a project are one consumer group."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException, TopicPartition

from catchment.errors import StorageError
from catchment.finding import Finding
from catchment.queues import Delivery, QueueStats
from catchment.queues.kafka_config import KafkaConfig
from catchment.queues.kafka_consumer import ANSWER_S, Consumer, consumer_options
from catchment.queues.kafka_faults import explained, made
from catchment.queues.kafka_offsets import spans_of
from catchment.queues.kafka_publisher import Publisher

__all__ = ["KafkaQueue"]


class KafkaQueue:
    """A `Queue` that is a topic. Nothing is connected to before the first call; a fork must come before that, too.

    Durable means: on all replicas that are in sync, of which the topic's `min.insync.replicas` says how many there
    have to be.
    """

    Config = KafkaConfig

    def __init__(self, config: KafkaConfig, folder: Path) -> None:
        """`folder` is not used."""
        self._config = config
        self._lock = threading.Lock()
        self._closed = False
        self._publisher: Publisher | None = None
        self._consumer: Consumer | None = None
        self._onlooker: Any = None

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`. Raises `Retry`, `StorageError`, `UsageError`."""
        if messages:
            self._publishing().publish(messages)

    def _publishing(self) -> Publisher:
        publisher = self._publisher
        if publisher is None or publisher.is_broken or self._closed:
            with self._lock:
                self._check_open()
                publisher = self._publisher
                if publisher is None or publisher.is_broken:
                    if publisher is not None:
                        publisher.close()
                    publisher = self._publisher = Publisher(self._config)
        return publisher

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`. Raises `Retry`, `StorageError`, `UsageError`."""
        with self._lock:
            self._check_open()
            if self._consumer is None:
                self._consumer = Consumer(self._config)
            consumer = self._consumer
        return consumer.receive(max_bytes, wait_s)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""
        return self._consumer.keep(deliveries) if self._consumer else []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""
        if self._consumer:
            self._consumer.ack(deliveries)

    def stats(self) -> QueueStats:
        """As `Queue.stats`: the lag of the group. Raises `Retry`, `StorageError`, `UsageError`."""
        with self._lock:
            self._check_open()
            if self._onlooker is None:
                self._onlooker = made(Client, consumer_options(self._config), self._config)
            try:
                return QueueStats(messages=sum(lags(self._onlooker, self._config.topic)))
            except KafkaException as error:
                raise explained(error.args[0], "look at", self._config) from error

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"the queue {self._config.topic} has been closed in this process", "open another one")

    def close(self) -> None:
        """As `Queue.close`."""
        with self._lock:
            self._closed = True
            publisher, self._publisher = self._publisher, None
            consumer, self._consumer = self._consumer, None
            onlooker, self._onlooker = self._onlooker, None
        if publisher:
            publisher.close()
        if consumer:
            consumer.close()
        if onlooker:
            onlooker.close()

    @staticmethod
    def diagnose(config: KafkaConfig, folder: Path) -> list[Finding]:
        """See `catchment.registry`."""
        from catchment.queues.kafka_diagnose import diagnose

        return diagnose(config)


def lags(client: Any, topic: str) -> list[int]:
    """By partition: messages not yet acknowledged, and not expired."""
    found = client.list_topics(topic, timeout=ANSWER_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    partitions = [TopicPartition(topic, partition) for partition in found.partitions]
    found_lags = []
    for committed in client.committed(partitions, timeout=ANSWER_S):
        low, high = client.get_watermark_offsets(committed, timeout=ANSWER_S, cached=False)
        next_offset = max(committed.offset, low)
        acked = sum(max(0, end - max(start, low)) for start, end in spans_of(committed.offset, committed.metadata))
        found_lags.append(max(0, high - next_offset - acked))
    return found_lags
