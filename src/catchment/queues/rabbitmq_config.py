"""The settings of the queue on RabbitMQ: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote, urlsplit

from msgspec import Meta, Struct


def check_url(url: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what is no broker's address."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname or port == 0:
        raise ValueError("must be an address with amqp:// or amqps://", 'such as "${RABBITMQ_URL}"')
    if parts.query or parts.fragment:
        raise ValueError(
            "must be an address alone, without options behind a `?`", "settings of their own, such as heartbeat_s"
        )
    if parts.username and not parts.password:
        raise ValueError("names a user without a password", "amqps://user:password@host/vhost")
    if "/" in parts.path[1:]:
        raise ValueError("has more than one / behind the host", "a / within the name of a vhost is written %2F")


def check_name(name: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what we may not call an exchange or a queue."""
    if len(name.encode()) > 200 or name.startswith("amq.") or not name.isprintable():
        raise ValueError("must be a name of at most 200 bytes that does not begin with amq.", 'such as "catchment"')


BrokerUrl = Annotated[
    str,
    Meta(
        description="The broker: `amqps://user:password@host:5671/vhost`, or `amqp://`; keep it in a variable.",
        extra={"check": check_url},
    ),
]
CaFile = Annotated[
    str,
    Meta(min_length=1, description="Certificates to trust with `amqps`, relative to the project; else the system's."),
]
Heartbeat = Annotated[
    int, Meta(ge=1, le=600, description="A connection that is silent for twice as long is given up, in seconds.")
]
"""Settings that whoever uses RabbitMQ has, be it as the queue or as a source."""


class RabbitMQConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[queue]` with `type = "rabbitmq"`."""

    url: BrokerUrl
    exchange: Annotated[
        str,
        Meta(
            min_length=1,
            description="The exchange that everyone publishes to, under any routing key; made where there is none.",
            extra={"check": check_name},
        ),
    ] = "catchment"
    queue: Annotated[
        str,
        Meta(
            min_length=1,
            description="The quorum queue bound to it, from which the loader takes; made where there is none.",
            extra={"check": check_name},
        ),
    ] = "catchment.load"
    ca_file: CaFile | None = None
    publish_timeout_s: Annotated[
        float,
        Meta(gt=0, le=3600, description="So long a publisher waits for the broker's confirms, reconnects included."),
    ] = 10.0
    prefetch_bytes: Annotated[
        int,
        Meta(
            ge=1_000_000,
            description="About how much the loader holds unacknowledged; it must take a round, `load.max_bytes`.",
        ),
    ] = 64_000_000
    heartbeat_s: Heartbeat = 10
    blocked_connection_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="A connection that the broker keeps blocked for so long (its disk or memory is low) is given"
            " up, and another one tried.",
        ),
    ] = 60.0

    @property
    def place(self) -> str:
        """Where the broker is, as it may be shown."""
        parts = urlsplit(self.url)
        vhost = unquote(parts.path[1:]) or "/"
        return f"RabbitMQ at {parts.hostname}:{parts.port or (5671 if self.is_tls else 5672)}, vhost {vhost}"

    @property
    def section(self) -> str:
        """Where in the project file these settings stand, for errors' hints."""
        return "[queue]"

    @property
    def makes_exchange(self) -> bool:
        """Whether the exchange is ours to declare."""
        return True

    @property
    def permissions(self) -> str:
        """What a user needs: patterns of what it may configure, write and read."""
        return "'.*' '.*' '.*'"

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("amqps")
