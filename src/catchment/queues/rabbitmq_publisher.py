"""The publishing side of the queue on RabbitMQ: everything is confirmed, and what was not when a connection was lost
is sent again, in its order, by the next one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika

from catchment.errors import CatchmentError, Retry, StorageError
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.rabbitmq_link import Link, Steps, declare
from catchment.record import uuid7

_PERSISTENT = 2
_CONTENT_TYPE = "application/octet-stream"

_Outgoing = tuple[bytes, Any]
"""A body with its properties, among them the message's own id: the same however often it is sent."""


class _Call:
    """One call of `publish`: what of it is still to be sent, and what waits for its confirm."""

    def __init__(self, messages: Sequence[_Outgoing]) -> None:
        self.to_send: Sequence[_Outgoing] = messages
        self.sent: dict[int, _Outgoing] = {}
        self.error: CatchmentError | None = None
        self.is_over = False
        self.done = threading.Event()

    def end(self, error: CatchmentError | None = None) -> None:
        self.error = self.error or error
        self.is_over = True
        self.done.set()


class Publisher:
    """Publishes for any number of threads over one connection. All but `publish` and `close` is the link's."""

    def __init__(self, config: RabbitMQConfig, folder: Path) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._new: deque[_Call] = deque()
        self._calls: dict[int, _Call] = {}
        """By delivery tag, in order: what waits for its confirm."""
        self._returned: set[str] = set()
        self._channel: Any = None
        self._tag = 0
        self._link = Link(config, folder, self, "publisher")
        self._link.start()

    def publish(self, messages: Sequence[bytes]) -> None:
        """Returns when all are confirmed. Raises `Retry` when that takes too long, `StorageError` when the broker
        would not have them."""
        stamped_s = int(datetime.now(UTC).timestamp())
        call = _Call([(body, _properties(stamped_s)) for body in messages])
        trouble = self._link.trouble
        if isinstance(trouble, StorageError):
            raise trouble
        with self._lock:
            self._new.append(call)
        self._link.submit(self._send)
        if not call.done.wait(self._config.publish_timeout_s):
            call.end(self._too_late())
        if call.error is not None:
            raise call.error

    def _too_late(self) -> CatchmentError:
        trouble = self._link.trouble
        if trouble is not None:
            return trouble
        waited_s = self._config.publish_timeout_s
        return Retry(f"{self._config.place}: it has confirmed nothing for {waited_s:g} s", "look at the broker")

    def close(self) -> None:
        """Whoever waits for a confirm hears that none will come."""
        self._link.close()
        with self._lock:
            waiting = [*self._new]
            self._new.clear()
        for call in waiting:
            call.end(Retry(f"{self._config.place}: the queue has been closed in this process"))

    # ---- in the link's thread ---------------------------------------------------------

    def prepare(self, channel: Any) -> Steps:
        """See `User`."""
        yield from declare(channel, self._config)
        channel.add_on_return_callback(self._on_return)
        yield lambda callback: channel.confirm_delivery(self._on_confirm, callback=callback)
        self._channel, self._tag = channel, 0
        self._send()

    def lost(self, error: CatchmentError) -> None:
        """What is not confirmed is to be sent again, before what is new."""
        again = list(dict.fromkeys(self._calls.values()))
        self._calls.clear()
        self._returned.clear()
        self._channel = None
        for call in again:
            call.to_send = [*call.sent.values(), *call.to_send]
            call.sent = {}
        with self._lock:
            self._new.extendleft(reversed(again))
            waiting = list(self._new)
            if isinstance(error, StorageError):
                self._new.clear()
        if isinstance(error, StorageError):
            for call in waiting:
                call.end(error)

    def _send(self) -> None:
        while self._channel is not None and self._channel.is_open:
            with self._lock:
                if not self._new:
                    return
                call = self._new.popleft()
            if call.is_over:
                continue
            publish, exchange = self._channel.basic_publish, self._config.exchange
            messages, call.to_send = call.to_send, ()
            for body, properties in messages:
                self._tag += 1
                call.sent[self._tag] = body, properties
                self._calls[self._tag] = call
                publish(exchange, "", body, properties, mandatory=True)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        is_refused = isinstance(method, pika.spec.Basic.Nack)
        if method.multiple:
            tags = []
            for each in self._calls:
                if each > tag:
                    break
                tags.append(each)
        else:
            tags = [tag]
        for each in tags:
            call = self._calls.pop(each, None)
            if call is None:
                continue
            _, properties = call.sent.pop(each)
            if is_refused:
                call.error = Retry(f"{self._config.place}: it refused a message", "look at the queue's policies")
            elif properties.message_id in self._returned:
                self._returned.discard(properties.message_id)
                call.error = self._unroutable()
            if not call.sent and not call.to_send:
                call.end()

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """No queue took the message: somebody removed it or its binding. It is confirmed all the same, right after."""
        self._returned.add(properties.message_id)
        self._link.submit(lambda: self._link.give_up(self._unroutable()))  # the next connection declares them anew

    def _unroutable(self) -> Retry:
        exchange = self._config.exchange
        return Retry(f"{self._config.place}: no queue is bound to the exchange {exchange}", "it is bound again soon")


def _properties(stamped_s: int) -> Any:
    return pika.BasicProperties(
        content_type=_CONTENT_TYPE, delivery_mode=_PERSISTENT, message_id=uuid7(), timestamp=stamped_s
    )
