"""The consuming side of the queue on RabbitMQ: how much is held unacknowledged is bounded by bytes, a round is
acknowledged at once, and what is held by a connection that was lost is let go of.

AMQP bounds what a consumer holds by a count of messages alone, and these may have any size. So it begins with few,
and asks for more at once where they are small; where they are large it cancels its subscription until enough is
acknowledged. Both keep the order: everything comes over one channel.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from catchment.errors import CatchmentError, Retry, StorageError
from catchment.queues import Delivery, Message
from catchment.queues.rabbitmq_census import Holding, answer_questions
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.rabbitmq_link import CONNECT_TIMEOUT_S, Link, Steps, declare, run_steps

FEW_MESSAGES = 100
_MOST_MESSAGES = 65_535
"""The most that a subscription can ask for."""
_ACK_S = 30.0
_GATHER_S = 0.01
"""So long the loader's thread is left asleep between two times that it is told of messages: to wake it costs more than
to take one in. The first after a pause it hears of at once."""
_MILLISECONDS_FROM = 100_000_000_000
"""A timestamp is in seconds; this one is of the year 5138, or in milliseconds, as some clients write it."""


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What one `receive` took: delivery tags of one connection, rising, with gaps where it was asked something."""

    tags: Sequence[int]
    bytes: int
    oldest: datetime | None


class Consumer:
    """The one consumer of this process; all but `receive`, `keep`, `ack` and `close` is the link's."""

    def __init__(
        self,
        config: RabbitMQConfig,
        folder: Path,
        *,
        declared: Callable[[Any], Steps] | None = None,
        message: Callable[[Any, Any, bytes], Message] | None = None,
        name: str = "consumer",
    ) -> None:
        """`declared` makes what is consumed from, on a channel; `message` a message of method, properties and body:
        else both are those of Catchment's own queue."""
        self._config = config
        self._declared = declared or self._own
        self._message = message or _message
        self._changed = threading.Condition()
        self._buffer: deque[tuple[Any, Any, bytes]] = deque()
        """Method, properties and body. The link's thread appends, and needs no lock for that."""
        self._came_bytes = 0
        self._acked_bytes = 0
        """Both of this connection. The link's thread counts what came, the loader's what is acknowledged."""
        self._open: dict[int, _Receipt] = {}
        """Received and not acknowledged, by the first tag."""
        self._open_messages = 0
        self._connection = 0
        self._channel: Any = None
        self._subscription: str | None = None
        self._subscriptions = 0
        self._is_changing = self._is_telling = False
        self._told_s = 0.0
        self._limit = FEW_MESSAGES
        self._closed = False
        self._unanswered: set[threading.Event] = set()
        """Acknowledgements that the broker has not answered behind."""
        self._link = Link(config, folder, self, name)
        self._link.start()
        self._link.wait(CONNECT_TIMEOUT_S)

    @property
    def is_up(self) -> bool:
        """Whether it is connected, and what it consumes from is declared."""
        return self._link.is_up

    # ---- the loader's thread ----------------------------------------------------------

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`. Raises `Retry` or `StorageError` while there is no connection."""
        give_up_s = time.monotonic() + wait_s
        with self._changed:
            while not self._buffer:
                if self._is_starved():
                    self._link.submit(self._grow)
                left_s = give_up_s - time.monotonic()
                if self._closed:
                    return None
                if left_s <= 0 or isinstance(self._link.trouble, StorageError):
                    if not self._link.is_up and (trouble := self._link.trouble) is not None:
                        raise trouble
                    return None
                self._changed.wait(left_s)
            return self._take(max_bytes)

    def _take(self, max_bytes: int) -> Delivery:
        messages: list[Message] = []
        size = 0
        tags: list[int] = []
        while self._buffer:
            method, properties, body = self._buffer[0]
            if messages and size + len(body) > max_bytes:
                break
            self._buffer.popleft()
            messages.append(self._message(method, properties, body))
            size += len(body)
            tags.append(method.delivery_tag)
        times = [message.enqueued_at for message in messages if message.enqueued_at is not None]
        receipt = _Receipt(tags, size, min(times, default=None))
        self._open[tags[0]] = receipt
        self._open_messages += len(messages)
        return Delivery(messages, receipt)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`: there are no leases, but a connection that was lost took what it had delivered along."""
        with self._changed:
            return [delivery for delivery in deliveries if self._is_open(delivery.receipt)]

    def _is_open(self, receipt: Any) -> bool:
        return isinstance(receipt, _Receipt) and self._open.get(receipt.tags[0]) is receipt

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`; returns once the broker has answered behind it, since an acknowledgement has no answer of
        its own. Raises `Retry` when it doesn't: then they come again, or not."""
        with self._changed:
            acked = [self._open.pop(each.receipt.tags[0]) for each in deliveries if self._is_open(each.receipt)]
            if not acked:
                return
            for receipt in acked:
                self._open_messages -= len(receipt.tags)
                self._acked_bytes += receipt.bytes
            first_held = min(
                [*self._open, *(method.delivery_tag for method, *_ in islice(self._buffer, 1))], default=math.inf
            )
            connection = self._connection
        # One acknowledgement for all that nothing held lies before: for a round, that is all of it.
        at_once = max((receipt.tags[-1] for receipt in acked if receipt.tags[-1] < first_held), default=0)
        one_by_one = [tag for receipt in acked if receipt.tags[-1] > at_once for tag in receipt.tags]
        answered = threading.Event()
        if not self._link.submit(lambda: self._send_acks(connection, at_once, one_by_one, answered)):
            return  # lost meanwhile
        is_answered = answered.wait(_ACK_S)
        self._unanswered.discard(answered)
        if not is_answered:
            raise Retry(f"{self._config.place}: it has not answered for {_ACK_S:g} s", "look at the broker")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._link.close()

    def held(self) -> Holding:
        """What this consumer has been given and not acknowledged."""
        with self._changed:
            times = [receipt.oldest for receipt in self._open.values() if receipt.oldest is not None]
            first = [moment_of(properties.timestamp) for _, properties, _ in islice(self._buffer, 1)]
            times += [moment for moment in first if moment is not None]
            messages = self._open_messages + len(self._buffer)
            oldest = min(times, default=None)
            return Holding(messages, self._held_bytes(), oldest, self._subscriptions)

    # ---- in the link's thread ---------------------------------------------------------

    def prepare(self, channel: Any) -> Steps:
        """See `User`."""
        yield from self._declared(channel)
        with self._changed:
            self._connection += 1
        self._channel = channel
        channel.add_on_cancel_callback(lambda _: self._link.give_up(self._cancelled()))
        yield from self._subscribe()

    def _own(self, channel: Any) -> Steps:
        yield from declare(channel, self._config)
        yield from answer_questions(channel, self._config, self.held)

    def _cancelled(self) -> CatchmentError:
        return Retry(f"{self._config.place}: somebody removed the queue {self._config.queue}", "it is made anew")

    def _subscribe(self) -> Steps:
        channel, limit = self._channel, self._limit
        yield lambda callback: channel.basic_qos(prefetch_count=limit, callback=callback)
        self._subscriptions += 1
        self._subscription = f"catchment-{self._connection}-{time.monotonic_ns()}"
        yield lambda callback: channel.basic_consume(
            self._config.queue, self._on_message, consumer_tag=self._subscription, callback=callback
        )

    def lost(self, error: CatchmentError) -> None:
        """All that was delivered comes again."""
        self._channel, self._subscription, self._subscriptions = None, None, 0
        self._is_changing = self._is_telling = False
        for answered in [*self._unanswered]:
            answered.set()
        self._unanswered.clear()
        with self._changed:
            self._connection += 1
            self._buffer.clear()
            self._open.clear()
            self._came_bytes = self._acked_bytes = self._open_messages = 0
            self._changed.notify_all()

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._buffer.append((method, properties, body))
        self._came_bytes += len(body)
        if not self._is_telling:
            self._is_telling = True
            self._link.later(max(0.0, self._told_s + _GATHER_S - time.monotonic()), self._tell)
        if self._held_bytes() >= self._config.prefetch_bytes:
            self._pause()

    def _tell(self) -> None:
        self._is_telling = False
        self._told_s = time.monotonic()
        with self._changed:
            self._changed.notify_all()

    def _held_bytes(self) -> int:
        return self._came_bytes - self._acked_bytes

    def _is_starved(self) -> bool:
        """Whether the broker sends nothing because we hold as many as we asked for, small as they are."""
        return (
            self._open_messages >= self._limit
            and self._limit < _MOST_MESSAGES
            and 2 * self._held_bytes() < self._config.prefetch_bytes
        )

    def _grow(self) -> None:
        with self._changed:
            if not self._is_starved() or self._is_changing or self._subscription is None:
                return
            fitting = self._config.prefetch_bytes * self._open_messages // max(1, self._held_bytes())
            self._limit = min(_MOST_MESSAGES, max(2 * self._limit, fitting // 2))
        self._change(again=True)

    def _pause(self) -> None:
        if self._is_changing or self._subscription is None:
            return
        with self._changed:
            mean_bytes = self._held_bytes() // (self._open_messages + len(self._buffer))
            self._limit = max(FEW_MESSAGES, min(self._limit, self._config.prefetch_bytes // max(1, mean_bytes)))
        self._change(again=False)

    def _change(self, *, again: bool) -> None:
        self._is_changing = True
        subscription, self._subscription = self._subscription, None

        def cancelled(_: Any) -> None:
            self._is_changing = False
            if again:
                self._resume()

        self._channel.basic_cancel(subscription, callback=cancelled)
        # What is on its way is ours and comes to us: the client would give it back, to come again behind the others.
        self._channel._cancelled.discard(subscription)

    def _resume(self) -> None:
        """Subscribe again where we are not, and have room."""
        channel = self._channel
        if channel is None or not channel.is_open or self._is_changing or self._subscription is not None:
            return
        with self._changed:
            if 2 * self._held_bytes() > self._config.prefetch_bytes:
                return
        self._is_changing = True
        run_steps(self._subscribe(), self._resumed)

    def _resumed(self) -> None:
        self._is_changing = False

    def _send_acks(self, connection: int, at_once: int, one_by_one: Sequence[int], answered: threading.Event) -> None:
        channel = self._channel
        if channel is None or not channel.is_open or connection != self._connection:
            answered.set()
            return
        self._unanswered.add(answered)
        if at_once:
            channel.basic_ack(at_once, multiple=True)
        for tag in one_by_one:
            channel.basic_ack(tag)
        # Behind the acknowledgements, on the same channel: answered once they have reached the queue.
        channel.queue_declare(self._config.queue, passive=True, callback=lambda _: answered.set())
        self._resume()


def _message(method: Any, properties: Any, body: bytes) -> Message:
    return Message(body, text_of(properties.message_id), moment_of(properties.timestamp))


def text_of(message_id: str | bytes | None) -> str | None:
    """The publisher's own id; whatever the bytes are, the same for the same ones."""
    if isinstance(message_id, bytes):
        return message_id.decode(errors="backslashreplace")
    return message_id or None


@lru_cache(maxsize=1_000)
def moment_of(timestamp: int | None) -> datetime | None:
    """A message's `timestamp`; None where it has none, or one that no calendar has."""
    if not timestamp:
        return None
    seconds = timestamp / 1_000 if timestamp >= _MILLISECONDS_FROM else timestamp
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
