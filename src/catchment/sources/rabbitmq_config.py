"""The settings of a tap on RabbitMQ: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, field

from catchment.queues.rabbitmq_config import BrokerUrl, CaFile, Heartbeat, RabbitMQConfig, check_name


class RabbitMQTapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[listen.NAME]` with `type = "rabbitmq"`."""

    ABOUT: ClassVar[tuple[str, ...]] = ("exchange", "routing_key", "message_id", "timestamp")
    """What a broker says of a message, by the names that settings may use."""

    url: BrokerUrl
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
    ca_file: CaFile | None = None
    prefetch_bytes: Annotated[
        int, Meta(ge=1_000_000, description="About how much is held unacknowledged at most.")
    ] = 32_000_000
    heartbeat_s: Heartbeat = 10

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
