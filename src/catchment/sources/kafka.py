"""A topic of Kafka, tapped by a consumer group of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException, TopicPartition

from catchment.errors import CatchmentError
from catchment.finding import Finding
from catchment.queues import Delivery, QueueStats
from catchment.queues.kafka import lags
from catchment.queues.kafka_consumer import ANSWER_S, Consumer, consumer_options
from catchment.queues.kafka_faults import explained, made
from catchment.queues.kafka_messages import message_of
from catchment.record import timestamp
from catchment.sources import Heard
from catchment.sources.kafka_config import KafkaTapConfig, TappedTopic

__all__ = ["KafkaTap"]

_POLL_S = 0.2


class KafkaTap:
    """A `Tap` on a topic. `folder` is not used; `name` is the listener's."""

    Config = KafkaTapConfig

    def __init__(self, config: KafkaTapConfig, folder: Path, name: str) -> None:
        self._topic = config.tapped(name)
        self._start = config.start
        self._consumer: Consumer | None = None

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`."""
        if self._consumer is None:
            self._consumer = Consumer(self._topic, message=_heard, options={"auto.offset.reset": self._start})
        return self._consumer.receive(max_bytes, wait_s)

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
        """The lag of the group."""
        with _onlooker(self._topic) as client:
            return QueueStats(messages=sum(lags(client, self._topic.topic)))

    def peek(self, limit: int, wait_s: float) -> Generator[Heard]:
        """The latest messages of all partitions, oldest offsets first within each; no group is joined."""
        topic = self._topic.topic
        with _onlooker(self._topic) as client:
            ends = {}
            for partition in _partitions(client, topic):
                low, high = client.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=ANSWER_S, cached=False
                )
                if high > low:
                    ends[partition] = (max(low, high - limit), high)
            if not ends:
                return
            client.assign([TopicPartition(topic, partition, start) for partition, (start, _) in ends.items()])
            give_up_s = time.monotonic() + wait_s
            while ends and limit > 0 and time.monotonic() < give_up_s:
                message = client.poll(_POLL_S)
                if message is None or message.error() is not None:
                    continue
                partition = message.partition()
                if partition not in ends:
                    continue
                if message.offset() + 1 >= ends[partition][1]:
                    del ends[partition]
                limit -= 1
                yield _heard(topic, message, message.value() or b"")

    @staticmethod
    def diagnose(config: KafkaTapConfig, folder: Path, name: str) -> list[Finding]:
        """Ask the brokers; no group is joined."""
        topic = config.tapped(name)
        subject = f"listen.{name}"
        try:
            with _onlooker(topic) as client:
                partitions = len(_partitions(client, topic.topic))
                waiting = sum(lags(client, topic.topic))
        except CatchmentError as error:
            return [Finding(subject, False, f"kafka: {error.message}", error.hint)]
        words = f"kafka: {topic.topic} has {partitions} partition{'' if partitions == 1 else 's'}"
        return [Finding(subject, True, f"{words}; {waiting} messages wait for {topic.group}")]


@contextlib.contextmanager
def _onlooker(topic: TappedTopic) -> Iterator[Any]:
    """A client for a question, which joins no group. Raises `Retry`, `StorageError`, `UsageError`."""
    said: list[Any] = []
    client = made(Client, consumer_options(topic) | {"error_cb": said.append}, topic)
    with contextlib.closing(client):
        try:
            yield client
        except KafkaException as error:
            raise explained(error.args[0], "look at", topic, said[-1] if said else None) from error


def _partitions(client: Any, topic: str) -> list[int]:
    found = client.list_topics(topic, timeout=ANSWER_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _heard(topic: str, message: Any, body: bytes) -> Heard:
    told = message_of(topic, message, body)
    moment = told.enqueued_at or told.sent_at
    key = message.key()
    about = {
        "topic": topic,
        "partition": message.partition(),
        "offset": message.offset(),
        "key": key.decode(errors="backslashreplace") if key is not None else None,
        "timestamp": timestamp(moment).decode() if moment is not None else None,
    }
    headers = {
        name: value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
        for name, value in message.headers() or ()
    }
    return Heard(body, told.identity, told.enqueued_at, told.sent_at, headers, about)
