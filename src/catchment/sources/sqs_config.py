"""The settings of a tap on Amazon SQS: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from catchment.queues.sqs_config import Connections, Endpoint, Region, SecretAccessKey, SqsConfig, check_queue_url


class SqsTapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[listen.NAME]` with `type = "sqs"`."""

    ABOUT: ClassVar[tuple[str, ...]] = ("message_id", "timestamp", "group", "topic")
    """What SQS says of a message, by the names that settings may use; `topic` is SNS's ARN."""

    queue_url: Annotated[
        str,
        Meta(
            description="The queue's address. What is heard is deleted there: give Catchment a queue of its own.",
            extra={"check": check_queue_url},
        ),
    ]
    sns: Annotated[
        bool,
        Meta(description="Whether messages come from an SNS topic, in its envelope; what has none is taken as it is."),
    ] = False
    region: Region | None = None
    endpoint: Endpoint | None = None
    access_key_id: (
        Annotated[str, Meta(min_length=1, description="A key of its own; else as everywhere at AWS, see `[queue]`.")]
        | None
    ) = None
    secret_access_key: SecretAccessKey | None = None
    visibility_s: Annotated[
        int,
        Meta(
            ge=30,
            le=43_200,
            description="So long nobody else is given what was received; extended while it is being filed. What a"
            " listener held that was killed comes again after it.",
        ),
    ] = 120
    connections: Connections = 4

    def tapped(self, name: str) -> TappedSqsQueue:
        """The queue as the listener of this name consumes it."""
        return TappedSqsQueue(
            name=name,
            queue_url=self.queue_url,
            region=self.region,
            endpoint=self.endpoint,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            visibility_s=self.visibility_s,
            connections=self.connections,
        )


class TappedSqsQueue(SqsConfig, frozen=True, kw_only=True):
    """A queue that others send to."""

    name: str

    @property
    def section(self) -> str:
        """See `SqsConfig`."""
        return f"[listen.{self.name}]"
