"""Whether the queue can be reached and is set up as it should be, for `catchment doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from catchment.errors import CatchmentError
from catchment.finding import Finding
from catchment.queues.sqs_config import SqsConfig
from catchment.queues.sqs_requests import MAX_MESSAGE_BYTES, Requests

_DAY_S = 86_400


def diagnose(config: SqsConfig) -> list[Finding]:
    """Ask the service; nothing is received."""
    try:
        with contextlib.closing(Requests(config)) as requests:
            told = requests.one("look at", "get_queue_attributes", AttributeNames=["All"])["Attributes"]
    except CatchmentError as error:
        return [Finding("queue", False, f"sqs: {error.message}", error.hint)]
    return list(_look(told, config))


def _look(told: dict[str, str], config: SqsConfig) -> Iterator[Finding]:
    waiting = int(told.get("ApproximateNumberOfMessages", 0))
    yield Finding("queue", True, f"sqs: {config.queue_url} answers; about {waiting} messages wait")
    most_bytes = int(told.get("MaximumMessageSize", MAX_MESSAGE_BYTES))
    if most_bytes < MAX_MESSAGE_BYTES:
        yield Finding(
            "queue", False, f"sqs: the queue takes messages of {most_bytes} bytes at most",
            f"aws sqs set-queue-attributes --queue-url {config.queue_url}"
            f" --attributes MaximumMessageSize={MAX_MESSAGE_BYTES}",
        )  # fmt: skip
    if int(told.get("MessageRetentionPeriod", _DAY_S)) < _DAY_S:
        yield Finding(
            "queue", False, "sqs: the queue forgets messages within a day, loaded or not",
            f"aws sqs set-queue-attributes --queue-url {config.queue_url} --attributes MessageRetentionPeriod=1209600",
        )  # fmt: skip
    if "RedrivePolicy" in told:
        yield Finding(
            "queue", False, "sqs: messages that came often without being deleted go to another queue, unseen",
            "no redrive policy: what cannot be loaded becomes a dead letter of Catchment's",
        )  # fmt: skip
