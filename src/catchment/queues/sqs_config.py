"""The settings of the queue on Amazon SQS: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct


def check_address(address: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what is no service's address."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in parts.netloc:
        raise ValueError(
            "must be an address with http:// or https://",
            'such as "https://sqs.eu-central-1.amazonaws.com/123456789012/catchment"',
        )


def check_queue_url(url: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what is no queue's address."""
    check_address(url)
    if not re.fullmatch(r"/([^/]+/)*[A-Za-z0-9_-]{1,80}(\.fifo)?", urlsplit(url).path):
        raise ValueError("must end in a queue's name", "aws sqs get-queue-url --queue-name NAME prints it")


Region = Annotated[
    str, Meta(min_length=1, description="The queue's region; else as its address says, or `AWS_REGION`.")
]
Endpoint = Annotated[
    str,
    Meta(
        description="The address of another service than Amazon's, or of a VPC endpoint.",
        extra={"check": check_address},
    ),
]
SecretAccessKey = Annotated[str, Meta(min_length=1, description="The secret of that key.")]
Connections = Annotated[
    int, Meta(ge=1, le=64, description="So many requests are under way at a time where there is much to do.")
]
"""Settings that whoever uses SQS has, be it as the queue or as a source."""


class SqsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[queue]` with `type = "sqs"`; FIFO where the queue's name ends in `.fifo`."""

    queue_url: Annotated[
        str, Meta(description="The queue's address; it must exist.", extra={"check": check_queue_url})
    ]
    region: Region | None = None
    endpoint: Endpoint | None = None
    access_key_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A key of its own; else as everywhere at AWS: the environment, a profile, a web"
                " identity, the role of the task or the machine.",
            ),
        ]
        | None
    ) = None
    secret_access_key: SecretAccessKey | None = None
    visibility_s: Annotated[
        int,
        Meta(
            ge=30,
            le=43_200,
            description="So long nobody else is given what a loader has received; extended while its round is"
            " open. What a loader held that was killed comes again after it.",
        ),
    ] = 120
    connections: Connections = 8
    publish_timeout_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="So long a publisher tries before it is told, in seconds."),
    ] = 10.0

    @property
    def section(self) -> str:
        """Where in the project file these settings stand, for errors' hints."""
        return "[queue]"

    @property
    def is_fifo(self) -> bool:
        """Whether messages need a group and a name of their own."""
        return self.queue_url.endswith(".fifo")

    def region_name(self) -> str | None:
        """As set, else as Amazon's own addresses say it."""
        found = re.fullmatch(
            r"(?:.*\.)?sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?", urlsplit(self.queue_url).hostname or ""
        )
        return self.region or (found[1] if found else None)
