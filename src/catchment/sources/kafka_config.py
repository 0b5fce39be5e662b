"""The settings of a tap on Kafka: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from catchment.queues.kafka_config import Brokers, ForSasl, KafkaConfig, Options, Topic


class KafkaTapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[listen.NAME]` with `type = "kafka"`."""

    ABOUT: ClassVar[tuple[str, ...]] = ("topic", "partition", "offset", "key", "timestamp")
    """What a broker says of a message, by the names that settings may use."""

    brokers: Brokers
    topic: Topic
    group: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=249,
                description="The consumer group, its own; `catchment.listen.NAME` where none is given.",
            ),
        ]
        | None
    ) = None
    start: Annotated[
        Literal["earliest", "latest"],
        Meta(description="Where a new group begins: with all that the topic has, or with now."),
    ] = "earliest"
    username: ForSasl | None = None
    password: ForSasl | None = None
    options: Options = {}

    def tapped(self, name: str) -> TappedTopic:
        """The topic as the listener of this name consumes it."""
        return TappedTopic(
            name=name,
            brokers=self.brokers,
            topic=self.topic,
            group=self.group or f"catchment.listen.{name}",
            username=self.username,
            password=self.password,
            options=self.options,
        )


class TappedTopic(KafkaConfig, frozen=True, kw_only=True):
    """A topic that is not ours."""

    name: str

    @property
    def section(self) -> str:
        """See `KafkaConfig`."""
        return f"[listen.{self.name}]"
