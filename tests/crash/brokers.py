"""Every kind of queue as the tests want it: a project's settings, and clients of other people, who publish one record
a message and know nothing of Catchment but the record's schema."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
import pika
import pytest

from catchment.queues.kafka_config import KafkaConfig
from catchment.queues.rabbitmq import RabbitMQQueue
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.sqs_config import SqsConfig
from tests.servers import kafka
from tests.servers.moto import KEY, SECRET

KINDS = ("rabbitmq", "kafka", "sqs")


@dataclass(frozen=True, slots=True)
class Broker:
    """`settings` are lines of a project file; `publish` returns once the broker has confirmed all."""

    kind: str
    settings: str
    publish: Callable[[Sequence[bytes]], None]


@contextlib.contextmanager
def serving(kind: str, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A fresh queue of this kind; on Kafka with several partitions, among which whoever publishes picks any."""
    match kind:
        case "rabbitmq":
            server = request.getfixturevalue("rabbit_server")
            config = server.new_config()
            with contextlib.closing(RabbitMQQueue(config, Path())) as queue:
                queue.receive(1, 0)  # makes exchange and queue
            with server.channel() as channel:
                channel.confirm_delivery()
                yield Broker(kind, rabbitmq_settings(config), lambda bodies: _with_pika(channel, config, bodies))
            server.drop(config)
        case "kafka":
            # A real one, since members of its group are killed.
            config = request.getfixturevalue("kafka_broker").config()
            yield Broker(kind, kafka_settings(config), lambda bodies: _with_confluent(config, bodies))
        case "sqs" | "sqs.fifo":
            server = request.getfixturevalue("sqs_server")
            config = server.config(fifo=kind == "sqs.fifo")
            with contextlib.closing(server.client()) as client:
                yield Broker(kind, sqs_settings(config), lambda bodies: _with_boto(client, config, bodies))


def rabbitmq_settings(config: RabbitMQConfig) -> str:
    return (
        f'[queue]\ntype = "rabbitmq"\nurl = "{config.url}"\nexchange = "{config.exchange}"\nqueue = "{config.queue}"\n'
    )


def kafka_settings(config: KafkaConfig) -> str:
    options = "".join(f'"{name}" = "{value}"\n' for name, value in config.options.items())
    return (
        f'[queue]\ntype = "kafka"\nbrokers = "{config.brokers}"\ntopic = "{config.topic}"\n'
        f'group = "{config.group}"\n[queue.options]\n{options}'
    )


def sqs_settings(config: SqsConfig) -> str:
    return (
        f'[queue]\ntype = "sqs"\nqueue_url = "{config.queue_url}"\nendpoint = "{config.endpoint}"\n'
        f'region = "{config.region}"\naccess_key_id = "{KEY}"\nsecret_access_key = "{SECRET}"\nvisibility_s = 30\n'
    )


def _with_pika(channel: Any, config: RabbitMQConfig, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        channel.basic_publish(config.exchange, "any.key", body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def _with_confluent(config: KafkaConfig, bodies: Sequence[bytes]) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": config.brokers, "acks": "all", **kafka.OLD})
    failed: list[Any] = []
    for body in bodies:
        producer.produce(
            config.topic, body, partition=random.randrange(kafka.PARTITIONS),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )  # fmt: skip
    assert producer.flush(60) == 0
    assert failed == []


def _with_boto(client: Any, config: SqsConfig, bodies: Sequence[bytes]) -> None:
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(at), "MessageBody": body.decode()} for at, body in enumerate(bodies[start : start + 10])]
        if config.is_fifo:
            for entry in entries:
                entry["MessageGroupId"] = entry["MessageDeduplicationId"] = f"{random.getrandbits(128):x}"
        answer = client.send_message_batch(QueueUrl=config.queue_url, Entries=entries)
        assert not answer.get("Failed")
