"""The settings of a tap on RabbitMQ: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, field

from catchment.queues.rabbitmq_config import RabbitMQConfig, check_name, check_url


class RabbitMQTapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[listen.NAME]` with `type = "rabbitmq"`."""

    ABOUT: ClassVar[tuple[str, ...]] = ("exchange", "routing_key", "message_id", "timestamp")
    """What a broker says of a message, by the names that settings may use."""

    url: Annotated[
        str,
        Meta(
            description="The broker: `amqps://user:password@host:5671/vhost`, or `amqp://`; keep it in a variable.",
            extra={"check": check_url},
        ),
    ]
    exchange: Annotated[
        str,
        Meta(min_length=1, max_length=255, description="The exchange. It must exist, and stays as it is."),
    ]
    routing_keys: Annotated[
        list[Annotated[str, Meta(max_length=255)]],
        Meta(min_length=1, description="What is heard, as the exchange's kind has it, such as `message.*`."),
    ] = field(default_factory=lambda: ["#"])
    queue: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A quorum queue of its own, bound to the exchange, in which messages wait; made where"
                " there is none. `catchment.listen.NAME` where none is given.",
                extra={"check": check_name},
            ),
        ]
        | None
    ) = None
    ca_file: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Certificates to trust with `amqps`, relative to the project; else the system's.",
            ),
        ]
        | None
    ) = None
    prefetch_bytes: Annotated[
        int, Meta(ge=1_000_000, description="About how much is held unacknowledged at most.")
    ] = 32_000_000
    heartbeat_s: Annotated[
        int,
        Meta(ge=1, le=600, description="A connection that is silent for twice as long is given up, in seconds."),
    ] = 10

    def tapped(self, name: str) -> TappedQueue:
        """The queue of the listener of this name."""
        return TappedQueue(
            name=name,
            url=self.url,
            exchange=self.exchange,
            queue=self.queue or f"catchment.listen.{name}",
            ca_file=self.ca_file,
            prefetch_bytes=self.prefetch_bytes,
            heartbeat_s=self.heartbeat_s,
        )


class TappedQueue(RabbitMQConfig, frozen=True, kw_only=True):
    """A queue of our own, bound to an exchange that is not."""

    name: str

    @property
    def section(self) -> str:
        """See `RabbitMQConfig`."""
        return f"[listen.{self.name}]"

    @property
    def makes_exchange(self) -> bool:
        """See `RabbitMQConfig`."""
        return False

    @property
    def permissions(self) -> str:
        """See `RabbitMQConfig`."""
        queue, exchange = (re.escape(each).replace("\\-", "-") for each in (self.queue, self.exchange))
        return rf"'^{queue}(\.preview)?$' '^{queue}(\.preview)?$' '^({exchange}|{queue}(\.preview)?)$'"
