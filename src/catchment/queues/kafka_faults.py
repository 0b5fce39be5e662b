"""What Kafka's errors mean to whoever called, and what librdkafka says beside them."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException

from catchment.errors import CatchmentError, Retry, StorageError, UsageError
from catchment.log import get_log
from catchment.queues.kafka_config import KafkaConfig
from catchment.secret import redact

_log = get_log("queue")

_NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError._AUTHENTICATION,
    }
)
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
LOST = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
    }
)
"""The group has given our partitions to others."""


def explained(error: KafkaError, doing: str, config: KafkaConfig, cause: KafkaError | None = None) -> CatchmentError:
    """The error that the caller is to raise. `cause` is what the connections said last: a time that ran out has a
    reason."""
    deciding = cause if cause is not None and error.code() in _VAGUE else error
    code = deciding.code()
    words = f"cannot {doing} {config.topic} on {config.brokers}: {_said(error)}"
    if deciding is not error:
        words += f"; {_said(deciding)}"
    if code in _NOT_ALLOWED:
        return StorageError(words, "a user who may read and write the topic and read the group: docs/how-to/kafka.md")
    if code in _NO_TOPIC:
        return StorageError(words, f"make the topic {config.topic}, or name another as topic in {config.section}")
    if code in _TOO_LARGE:
        return StorageError(
            words, f"max.message.bytes of {config.topic} must be at least 1048588, which is the default"
        )
    if code == KafkaError.INVALID_RECORD:
        return StorageError(words, f"{config.topic} must not be compacted: cleanup.policy=delete")
    return Retry(words, "see that the brokers run, and that this machine reaches the addresses they tell it")


_VAGUE = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})


def _said(error: KafkaError) -> str:
    return redact(" ".join(error.str().split()))[:300]


def made(kind: Any, options: dict[str, Any], config: KafkaConfig) -> Any:
    """A client of this kind. Raises `UsageError` for options that librdkafka does not take."""
    try:
        return kind(options)
    except KafkaException as error:
        raise UsageError(
            f"Kafka's client does not take the settings of {config.section}: {_said(error.args[0])}",
            "the options that librdkafka lists in its CONFIGURATION.md",
        ) from None


def connecting(config: KafkaConfig) -> dict[str, Any]:
    """The options that all clients share."""
    options: dict[str, Any] = {
        "client.id": "catchment",
        "logger": _Words(),
        # Ten seconds, the default, are long where a loader waits for a broker that is back.
        "reconnect.backoff.max.ms": 2_000,
        # A request for metadata at the end of an outage may be lost with the connection it was sent on, and a member
        # of a group waits for the answer before it joins again: no longer than this, instead of five minutes.
        "topic.metadata.refresh.interval.ms": 10_000,
        **config.options,
        "bootstrap.servers": config.brokers,
    }
    if config.username is not None:
        options["sasl.username"] = str(config.username)
    if config.password is not None:
        options["sasl.password"] = str(config.password)
    return options


class _Words:
    """Takes the lines that librdkafka would write to stderr. What matters of them is raised as well."""

    @staticmethod
    def log(level: int, form: str, *words: str) -> None:
        _log.debug("librdkafka says", level=level, words=form % words)
