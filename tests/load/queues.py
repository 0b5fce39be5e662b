"""A queue in memory whose calls fail on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from catchment.queues import Delivery, Message, QueueStats


class ListQueue:
    """Delivers one batch of messages a `receive`; `on_empty` is called when nothing is left."""

    def __init__(self, *deliveries: Sequence[Message], on_empty: Callable[[], None] = lambda: None) -> None:
        self.waiting = [list(messages) for messages in deliveries]
        self.acknowledged: list[Message] = []
        self.on_empty = on_empty
        self.failures: dict[str, list[Exception]] = {"receive": [], "ack": []}
        self.asked_bytes: list[int] = []
        self.kept = 0
        self._serial = 0

    def _fail(self, call: str) -> None:
        if self.failures[call]:
            raise self.failures[call].pop(0)

    def publish(self, messages: Sequence[bytes]) -> None:
        self.waiting.append([Message(body, f"published/{self._serial}", None) for body in messages])
        self._serial += 1

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        self._fail("receive")
        self.asked_bytes.append(max_bytes)
        if not self.waiting:
            self.on_empty()
            return None
        messages = self.waiting.pop(0)
        return Delivery(messages, messages)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        self.kept += 1
        return list(deliveries)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._fail("ack")
        self.acknowledged += [message for delivery in deliveries for message in delivery.receipt]

    def stats(self) -> QueueStats:
        return QueueStats()

    def close(self) -> None:
        pass
