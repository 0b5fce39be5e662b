"""One listener: hears a batch, makes it records, has them in Catchment's queue, and only then acknowledges it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from catchment import metrics
from catchment.errors import CatchmentError, Retry, StorageError
from catchment.listen.config import Send
from catchment.listen.transform import Outcome, Transformation
from catchment.log import get_log
from catchment.pack import MAX_MESSAGE_BYTES, messages_of
from catchment.queues import KEEP_EVERY_S, Delivery, Message, Queue
from catchment.record import Line
from catchment.service import Stop
from catchment.sources import Heard, Tap

_log = get_log("listen")
_T = TypeVar("_T")

_RECEIVE_BYTES = 4_000_000
_IDLE_WAIT_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


@dataclass(slots=True)
class Listener:
    """Listens to one tap, in a thread of its own. `forward` takes what is heard in place of `queue`, which has the
    dead letters in any case."""

    name: str
    open_tap: Callable[[], Tap]
    transformation: Transformation
    queue: Queue
    forward: Queue | None = None
    send: Send = "records"
    trouble: str = ""
    """What keeps it from hearing or filing at the moment."""
    is_ready: bool = False
    _held: Delivery | None = None
    _holding: threading.Lock = field(default_factory=threading.Lock)

    def run(self, stop: Stop) -> None:
        """Until draining; the batch in hand is filed and acknowledged like any other, unless its queue does not take
        it: then it comes again. Raises `UsageError` for settings that the broker's client does not take."""
        ended = threading.Event()
        with closing(self.open_tap()) as tap:
            keeping = stop.start(f"keeping {self.name}", lambda: self._keep(tap, ended))
            try:
                while not stop.draining:
                    delivery = self._patiently(stop, lambda: tap.receive(_RECEIVE_BYTES, _IDLE_WAIT_S))
                    self.is_ready = self.is_ready or not self.trouble
                    if delivery is not None:
                        self._finish(tap, delivery, stop)
            finally:
                ended.set()
                keeping.join()

    def _finish(self, tap: Tap, delivery: Delivery, stop: Stop) -> None:
        """File a batch, and acknowledge it: all of it, or nothing."""
        self._held = delivery
        try:
            outcomes = self._patiently(stop, lambda: self._outcomes(delivery.messages))
            if outcomes is None or not self._has_published(delivery.messages, outcomes, stop):
                return  # stopping: what was not acknowledged comes again
            with self._holding:
                self._held = None
                # An acknowledgement that fails brings copies, which the warehouse knows.
                self._patiently(stop, lambda: tap.ack([delivery]))
        finally:
            self._held = None
        self._count(outcomes)

    def _outcomes(self, messages: Sequence[Message]) -> list[Outcome]:
        most_bytes = MAX_MESSAGE_BYTES if self.forward is not None and self.send == "message" else None
        return [self.transformation.outcome(each, most_bytes) for each in messages if isinstance(each, Heard)]

    def _has_published(self, messages: Sequence[Message], outcomes: Sequence[Outcome], stop: Stop) -> bool:
        """Whether all is where it should be, once that is so or we stop."""
        filed: list[Line] = []
        dead: list[Line] = []
        for outcome in outcomes:
            (dead if outcome.is_dead else filed).extend(outcome.lines)
        forward = self.forward
        if forward is None:
            filed += dead
            dead = filed
        elif (bodies := bodies_of(self.send, filed, messages, outcomes)) and not self._has_sent(forward, bodies, stop):
            return False
        return not dead or self._has_sent(self.queue, messages_of(dead), stop)

    def _has_sent(self, queue: Queue, bodies: Sequence[bytes], stop: Stop) -> bool:
        def publish() -> bool:
            queue.publish(bodies)
            return True

        return self._patiently(stop, publish) is not None

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        metrics.messages_heard.add(len(outcomes), listener=self.name)
        dead = sum(outcome.is_dead for outcome in outcomes)
        skipped = sum(not outcome.lines for outcome in outcomes)
        if dead:
            metrics.messages_dead.add(dead, listener=self.name)
        if skipped:
            metrics.messages_skipped.add(skipped, listener=self.name)
        records = sum(len(outcome.lines) for outcome in outcomes) - dead
        if records:
            metrics.records_filed.add(records, listener=self.name)

    def _keep(self, tap: Tap, ended: threading.Event) -> None:
        """Extend what is held for as long as filing takes, be it hours."""
        while not ended.wait(KEEP_EVERY_S):
            with self._holding:
                if (held := self._held) is not None:
                    try:
                        tap.keep([held])
                    except CatchmentError as error:
                        _log.warning(
                            "cannot keep hold of messages; they may come again", listener=self.name, exc=error
                        )

    def _patiently(self, stop: Stop, action: Callable[[], _T]) -> _T | None:
        """Do it until it succeeds, while it fails with what may pass; None once we are stopping and it does not.

        A missing exchange, a registry that refuses us and a full queue are all waited for: nobody else is to suffer
        by them, and what is not acknowledged is safe with its broker.
        """
        pause_s = _FIRST_PAUSE_S
        failing_s = time.monotonic()
        while True:
            try:
                done = action()
            except (Retry, StorageError) as error:
                if self.trouble != error.message:
                    _log.error("listening has to wait; nothing is lost", listener=self.name, exc=error)
                self.trouble = error.message
                if stop.wait(pause_s):
                    return None
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                if self.trouble:
                    waited_s = round(time.monotonic() - failing_s)
                    _log.info("listening goes on", listener=self.name, waited_s=waited_s)
                    self.trouble = ""
                return done


def bodies_of(
    send: Send, lines: Sequence[Line], messages: Sequence[Message], outcomes: Sequence[Outcome]
) -> list[bytes]:
    """What is forwarded of a batch: packs of records, each row's data, or each message as it was heard."""
    if send == "records":
        return messages_of(lines)
    kept = [
        (message, outcome)
        for message, outcome in zip(messages, outcomes, strict=True)
        if outcome.lines and not outcome.is_dead
    ]
    if send == "message":
        return [message.body for message, _ in kept]
    return [text for _, outcome in kept for text in outcome.data]
