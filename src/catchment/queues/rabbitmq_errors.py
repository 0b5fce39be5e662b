"""What RabbitMQ and its client say, in words that tell what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from pika import exceptions

from catchment.errors import Abort, CatchmentError, Retry, StorageError
from catchment.queues.rabbitmq_config import RabbitMQConfig


def explained(error: BaseException, config: RabbitMQConfig) -> CatchmentError:
    """`Retry` where the same may succeed later, `StorageError` where somebody must act. Never shows the address
    with its password."""
    if isinstance(error, CatchmentError):
        return error
    for each in _within(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return StorageError(
                f"{config.place}: its certificate is not trusted: {each.verify_message}",
                f"ca_file = the certificates of whoever signed it, in {config.section}",
            )
        if isinstance(each, exceptions.ProbableAuthenticationError | exceptions.AuthenticationError):
            return StorageError(f"{config.place}: it refuses the user or the password", f"see url in {config.section}")
        if isinstance(each, exceptions.ProbableAccessDeniedError):
            return StorageError(
                f"{config.place}: there is no such vhost, or the user may not enter it",
                f"rabbitmqctl list_vhosts; rabbitmqctl set_permissions -p VHOST USER {config.permissions}",
            )
        if isinstance(each, exceptions.ConnectionClosedByBroker | exceptions.ChannelClosedByBroker):
            return _refusal(each, config)
        if isinstance(each, exceptions.ConnectionBlockedTimeout):
            return Retry(f"{config.place}: it takes nothing in: its disk or memory is low", "rabbitmqctl status")
        if isinstance(each, exceptions.AMQPHeartbeatTimeout):
            return Retry(f"{config.place}: it has been silent for too long", "look at the network, and at the broker")
    last = list(_within(error))[-1]
    said = getattr(last, "strerror", None) or str(last) or type(last).__name__
    return Retry(f"{config.place}: it cannot be reached: {said}", "look at the network, and at the broker")


def _refusal(error: exceptions.ChannelClosed | exceptions.ConnectionClosed, config: RabbitMQConfig) -> CatchmentError:
    said = f"{config.place}: it says {error.reply_text}"
    kind: type[Retry | Abort] = StorageError
    match error.reply_code:
        case 406 if "inequivalent" in error.reply_text:
            hint = (
                "somebody declared that name otherwise: remove it once it is empty, or take other names for exchange"
                f" and queue in {config.section}"
            )
        case 406:  # such as a delivery that was held for longer than consumer_timeout
            kind, hint = Retry, "rabbitmqctl list_queues name type arguments"
        case 403:
            hint = f"rabbitmqctl set_permissions -p VHOST USER {config.permissions}"
        case 404 if not config.makes_exchange and "exchange" in error.reply_text:
            hint = f"have its owner make it, or name another as exchange in {config.section}"
        case 530:
            hint = "rabbitmqctl list_vhosts; rabbitmqctl list_user_permissions USER"
        case _:
            kind, hint = Retry, "look at the broker's log"
    return kind(said, hint)


def _within(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps, outermost first."""
    yield error
    inner = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None), error.__cause__]
    for each in inner:
        if isinstance(each, BaseException):
            yield from _within(each)
