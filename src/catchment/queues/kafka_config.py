"""The settings of the queue on Kafka: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

OWNED = {
    "bootstrap.servers": "brokers",
    "metadata.broker.list": "brokers",
    "group.id": "group",
    "sasl.username": "username",
    "sasl.password": "password",
    "delivery.timeout.ms": "publish_timeout_s",
    "message.timeout.ms": "publish_timeout_s",
}
"""Options of librdkafka that have a setting of their own."""
FIXED = frozenset(
    {
        "acks",
        "request.required.acks",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "isolation.level",
        "partition.assignment.strategy",
        "transactional.id",
    }
)
"""What the guarantees rest on."""


def check_brokers(brokers: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what are no addresses."""
    if not all(
        re.fullmatch(r"\s*(\[[0-9A-Fa-f:]+\]|[^\s:/@,]+)(:[0-9]{1,5})?\s*", each) for each in brokers.split(",")
    ):
        raise ValueError("must be addresses with commas between", 'such as "kafka-1:9092,kafka-2:9092"')


def check_topic(topic: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what is no topic's name."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in {".", ".."}:
        raise ValueError("must be a topic's name: at most 249 of the characters A-Z a-z 0-9 . _ -")


def _check_option(name: str) -> None:
    if name in OWNED:
        raise ValueError("must be set otherwise", f"{OWNED[name]} = …, beside options")
    if name in FIXED:
        raise ValueError("must be left to Catchment, whose guarantees rest on it")
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", name):
        raise ValueError("must be the name of an option of librdkafka", 'in quotes, such as "security.protocol"')


OptionName = Annotated[str, Meta(extra={"check": _check_option})]
"""An option of librdkafka that may be set."""

Brokers = Annotated[
    str, Meta(description="Addresses to begin with, with commas between.", extra={"check": check_brokers})
]
Topic = Annotated[str, Meta(description="The topic; it must exist.", extra={"check": check_topic})]
ForSasl = Annotated[str, Meta(min_length=1, description="For SASL.")]
Options = Annotated[
    dict[OptionName, str],
    Meta(
        description='Any other option of librdkafka, all in quotes, such as `"security.protocol" = "SASL_SSL"`,'
        ' `"sasl.mechanisms" = "SCRAM-SHA-512"` or `"ssl.ca.location" = "/etc/kafka/ca.pem"`.'
    ),
]
"""Settings that whoever uses Kafka has, be it as the queue or as a source."""


class KafkaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[queue]` with `type = "kafka"`."""

    brokers: Brokers
    topic: Topic
    group: Annotated[
        str,
        Meta(min_length=1, max_length=249, description="The consumer group that the loaders of this project form."),
    ] = "catchment"
    username: ForSasl | None = None
    password: ForSasl | None = None
    options: Options = {}
    publish_timeout_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="So long a publisher waits for the brokers before it is told, in seconds."),
    ] = 10.0

    @property
    def section(self) -> str:
        """Where in the project file these settings stand, for errors' hints."""
        return "[queue]"
