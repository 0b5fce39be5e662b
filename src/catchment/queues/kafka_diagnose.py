"""Whether the topic can be reached and is kept as it should be, for `catchment doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from catchment.errors import CatchmentError
from catchment.finding import Finding
from catchment.queues.kafka_config import KafkaConfig
from catchment.queues.kafka_consumer import ANSWER_S, consumer_options
from catchment.queues.kafka_faults import connecting, explained, made

_MESSAGE_BYTES = 1_048_588
"""The default of brokers; Catchment's messages fit."""
_DAY_MS = 86_400_000


def diagnose(config: KafkaConfig) -> list[Finding]:
    """Ask the brokers; no group is joined and nothing is made."""
    heard: list[Any] = []
    try:
        client = made(Consumer, consumer_options(config) | {"error_cb": heard.append}, config)
        with contextlib.closing(client):
            try:
                return list(_look(client, config))
            except KafkaException as error:
                raise explained(error.args[0], "look at", config, heard[-1] if heard else None) from error
    except CatchmentError as error:
        return [Finding("queue", False, f"kafka: {error.message}", error.hint)]


def _look(client: Any, config: KafkaConfig) -> Iterator[Finding]:
    topic = client.list_topics(config.topic, timeout=ANSWER_S).topics[config.topic]
    if topic.error is not None:
        raise KafkaException(topic.error)
    replicas = min(len(partition.replicas) for partition in topic.partitions.values())
    partitions = len(topic.partitions)
    said = f"kafka: {config.topic} has {partitions} partition{'' if partitions == 1 else 's'}"
    yield Finding("queue", True, f"{said} of {replicas} replica{'' if replicas == 1 else 's'}")
    settings = _settings(config)
    if replicas < 2 or int(settings.get("min.insync.replicas", 2)) < 2:
        yield Finding(
            "queue", False, "kafka: a message is confirmed that only one broker has",
            f"three replicas, and min.insync.replicas=2 for {config.topic}: docs/how-to/kafka.md",
        )  # fmt: skip
    if "compact" in settings.get("cleanup.policy", ""):
        yield Finding("queue", False, f"kafka: {config.topic} is compacted", "cleanup.policy=delete")
    if int(settings.get("max.message.bytes", _MESSAGE_BYTES)) < _MESSAGE_BYTES:
        yield Finding(
            "queue", False, f"kafka: {config.topic} takes messages of {settings['max.message.bytes']} bytes at most",
            f"max.message.bytes={_MESSAGE_BYTES}",
        )  # fmt: skip
    if 0 <= int(settings.get("retention.ms", -1)) < _DAY_MS:
        yield Finding(
            "queue", False, f"kafka: {config.topic} forgets messages within a day, loaded or not",
            "retention.ms=604800000, a week: as long as an outage may last",
        )  # fmt: skip


def _settings(config: KafkaConfig) -> Mapping[str, str]:
    """The topic's settings; none where the brokers do not tell, or not us."""
    admin = made(AdminClient, connecting(config), config)
    resource = ConfigResource(ConfigResource.Type.TOPIC, config.topic)
    asked = admin.describe_configs([resource], request_timeout=ANSWER_S)
    try:
        (answer,) = asked.values()
        return {name: entry.value for name, entry in answer.result(ANSWER_S + 1).items() if entry.value is not None}
    except (KafkaException, TimeoutError):
        return {}
