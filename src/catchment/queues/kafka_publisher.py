"""Publishing to Kafka: whoever publishes waits until the brokers have all of its messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from catchment.errors import CatchmentError, Retry
from catchment.queues.kafka_config import KafkaConfig
from catchment.queues.kafka_faults import connecting, explained, made

_MAX_REQUEST_BYTES = 2_000_000
"""Above what a broker takes of one message: it is to decide, not the client."""
_POLL_S = 0.2
_FULL_PAUSE_S = 0.005
_MARGIN_S = 5.0
"""What librdkafka may be late with its word that a time has run out."""


class Publisher:
    """A producer, and the thread that hears what became of its messages. Thread-safe."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._cause: KafkaError | None = None
        self.is_broken = False
        """It can never send again, and another has to be made."""
        self._closed = False
        self._producer = made(
            Producer,
            {
                "enable.idempotence": True,
                "linger.ms": 1,
                "compression.type": "none",  # packs are compressed
                "message.max.bytes": _MAX_REQUEST_BYTES,
                **connecting(config),
                "acks": "all",
                "message.timeout.ms": int(config.publish_timeout_s * 1_000),
                "error_cb": self._heard,
            },
            config,
        )
        self._listening = threading.Thread(target=self._listen, name="kafka-publisher", daemon=True)
        self._listening.start()

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`. Raises `Retry`, `StorageError`."""
        sending = _Sending(len(messages))
        give_up_s = time.monotonic() + self._config.publish_timeout_s
        for body in messages:
            self._produce(body, sending, give_up_s)
        if not sending.ended.wait(max(0.0, give_up_s - time.monotonic()) + self._config.publish_timeout_s + _MARGIN_S):
            raise Retry(f"the brokers {self._config.brokers} have not answered in time", "catchment doctor")
        if sending.error is not None:
            raise self._failed(sending.error)
        self._cause = None

    def _produce(self, body: bytes, sending: _Sending, give_up_s: float) -> None:
        while True:
            try:
                self._producer.produce(self._config.topic, body, on_delivery=sending.heard)
                return
            except BufferError:  # 100,000 messages or a gigabyte wait to be sent
                if time.monotonic() >= give_up_s:
                    raise Retry(
                        f"the brokers {self._config.brokers} take no more messages at the moment", "catchment doctor"
                    ) from None
                time.sleep(_FULL_PAUSE_S)
            except KafkaException as error:
                raise self._failed(error.args[0]) from error

    def _failed(self, error: KafkaError) -> CatchmentError:
        found = explained(error, "publish to", self._config, self._cause)
        # The client remembers for minutes that it may not, also where it may by now.
        self.is_broken = self.is_broken or error.fatal() or not isinstance(found, Retry)
        return found

    def _heard(self, error: KafkaError) -> None:
        self._cause = error
        self.is_broken = self.is_broken or error.fatal()

    def _listen(self) -> None:
        while not self._closed:
            self._producer.poll(_POLL_S)

    def close(self) -> None:
        """Whoever still publishes is not waited for."""
        self._closed = True
        self._listening.join()


class _Sending:
    """The messages of one `publish` on their way."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.error: KafkaError | None = None
        self.ended = threading.Event()

    def heard(self, error: KafkaError | None, message: Any) -> None:
        """What became of one of them; called by one thread."""
        if error is not None and self.error is None:
            self.error = error
        self._left -= 1
        if not self._left:
            self.ended.set()
