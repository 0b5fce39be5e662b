"""A queue with an outbox: publishers outlive the broker.

While all is well messages go straight to the queue. When it fails, or says nothing for `patience_s`, they are written
to a lane of the outbox on disk, and from then on everything new goes there, behind what waits; one thread brings it
to the queue in its order, and once nothing is left, publishing is direct again. A message that the queue had taken
without saying so comes twice: its records have their ids and stamps by then, so the warehouse has them once.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from catchment import metrics
from catchment.errors import CatchmentError, Retry, Skip, StorageError
from catchment.log import get_log
from catchment.queues import Delivery, Queue, QueueStats
from catchment.queues.outbox_calls import Calls
from catchment.queues.outbox_config import OutboxConfig
from catchment.queues.outbox_lanes import Lane, adopt, new_lane, waiting

_log = get_log("outbox")

_MOVE_BYTES = 4_000_000
_IDLE_S = 1.0
_ADOPT_EVERY_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


class Outbox:
    """A `Queue`: `queue`, with an outbox in `folder` for what it does not take. `start` drains what earlier
    processes left there; publishing starts it too."""

    def __init__(self, queue: Queue, folder: Path, config: OutboxConfig) -> None:
        self.folder = folder
        self._queue = queue
        self._config = config
        self._gate = threading.Condition()
        self._is_direct = True
        self._is_holding = False
        """The last of the lane is on its way: whoever publishes waits for a moment, so that the lane runs empty."""
        self._entering = self._entries = 0
        """Who is writing to the lane, and how often anybody has begun to."""
        self._own: Lane | None = None
        self._adopted: list[Lane] = []
        self._in_hand: tuple[Lane, Delivery] | None = None
        self._adopted_at_s = 0.0
        self._trouble = ""
        self.waiting_here = 0
        """Messages in this process's lanes, as counted within the last seconds."""
        self._calls = Calls("outbox-call")
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- publishing -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to drain. What waits from before goes before what is new."""
        with self._gate:
            if self._thread is not None or self._closing.is_set():
                return
            try:
                self._adopt()
            except StorageError as error:
                _log.error("the outbox cannot be read; messages go to the queue alone", exc=error)
            self._is_direct = not self._adopted
            self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
            self._thread.start()

    def publish(self, messages: Sequence[bytes]) -> None:
        """As `Queue.publish`; durable in the queue, or in the outbox where the queue fails or takes too long.

        Raises `QueueFull` or `StorageError` of the outbox.
        """
        if not messages:
            return
        if self._thread is None:
            self.start()
        give_up_s = time.monotonic() + self._config.patience_s
        if self._enter(give_up_s):
            error = self._calls.within(give_up_s - time.monotonic(), lambda: self._queue.publish(messages))
            if error is None:
                return
            if isinstance(error, Skip):
                raise error  # of these messages, not of the queue
            self._fall_back(error)
        try:
            self._lane().publish(messages)
        finally:
            with self._gate:
                self._entering -= 1
            self._wanted.set()

    def _enter(self, give_up_s: float) -> bool:
        """Whether to publish directly; else an entry to the lane has begun."""
        with self._gate:
            while self._is_holding and (left_s := give_up_s - time.monotonic()) > 0:
                self._gate.wait(left_s)
            if not self._is_direct:
                self._begin_entry()
            return self._is_direct

    def _begin_entry(self) -> None:
        self._entering += 1
        self._entries += 1

    def _fall_back(self, error: CatchmentError | TimeoutError) -> None:
        silent = f"it has said nothing for {self._config.patience_s:g} s"
        with self._gate:
            was_direct, self._is_direct = self._is_direct, False
            self._begin_entry()
            self._trouble = error.message if isinstance(error, CatchmentError) else silent
        if was_direct:
            _log.error("the queue takes nothing; the outbox does until it is back", why=self._trouble)

    def _lane(self) -> Lane:
        with self._gate:
            if self._closing.is_set():
                raise StorageError("the queue has been closed in this process", "open another one")
            self._own = self._own or new_lane(self.folder, self._config.max_bytes)
            return self._own

    # ---- draining, in a thread of its own ---------------------------------------------

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                has_moved = self._move() or not self._is_empty()
                if not has_moved:
                    self._count()
            except Exception as error:  # whatever it is, draining must not end in silence
                self._fails(error)
                self._closing.wait(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - not all at once
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            if not has_moved:
                self._wanted.wait(_IDLE_S)
                self._wanted.clear()

    def _fails(self, error: Exception) -> None:
        with self._gate:
            self._is_holding = False
            self._gate.notify_all()
        if not isinstance(error, Retry | StorageError):
            _log.error("the outbox cannot be drained; what waits in it is kept", exc=error)
        self._trouble = self._trouble or getattr(error, "message", str(error))
        with contextlib.suppress(StorageError):
            self._count()

    def _move(self) -> bool:
        """Bring the next messages of the outbox to the queue; False if there are none."""
        taken = self._in_hand or self._next()
        if taken is None:
            return False
        lane, delivery = self._in_hand = taken
        self._queue.publish([message.body for message in delivery.messages])
        lane.ack(delivery)
        self._in_hand = None
        if lane is self._own and delivery.bytes < _MOVE_BYTES // 2:
            with self._gate:
                self._is_holding = not self._is_direct
        return True

    def _next(self) -> tuple[Lane, Delivery] | None:
        """From lanes that others left first, and then from our own."""
        if time.monotonic() > self._adopted_at_s + _ADOPT_EVERY_S:
            self._adopt()
        while self._adopted:
            lane = self._adopted[0]
            if (delivery := lane.receive(_MOVE_BYTES)) is not None:
                return lane, delivery
            if lane.stats().messages:
                continue  # it has not seen them yet
            self._adopted.pop(0)
            lane.leave()
        if self._own is not None and (delivery := self._own.receive(_MOVE_BYTES)) is not None:
            return self._own, delivery
        return None

    def _adopt(self) -> None:
        self._adopted_at_s = time.monotonic()
        self._adopted += adopt(self.folder, self._config.max_bytes)

    def _is_empty(self) -> bool:
        """Whether nothing waits and publishing is direct (again)."""
        with self._gate:
            if self._is_direct:
                return True
            self._is_holding = True
            entries = self._entries
        # Counted in the files themselves: a receive may not have seen a file that has just been begun.
        left = self._own.stats().messages if self._own is not None else 0
        with self._gate:
            if left or self._entering or self._entries != entries:
                return False
            self._is_direct, self._is_holding = True, False
            self._gate.notify_all()
        _log.info("the queue takes messages again; the outbox is empty")
        self._trouble = ""
        return True

    def _count(self) -> None:
        lanes = [lane for lane in (*self._adopted, self._own) if lane is not None]
        every = [lane.stats() for lane in lanes]
        self.waiting_here = sum(stats.messages or 0 for stats in every)
        metrics.outbox_messages.set(self.waiting_here)
        metrics.outbox_bytes.set(sum(stats.bytes or 0 for stats in every))

    # ---- the rest of a queue ----------------------------------------------------------

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        """As `Queue.receive`: from the queue alone."""
        return self._queue.receive(max_bytes, wait_s)

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """As `Queue.keep`."""
        return self._queue.keep(deliveries)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As `Queue.ack`."""
        self._queue.ack(deliveries)

    def stats(self) -> QueueStats:
        """As `Queue.stats`, with what waits in the outbox's folder."""
        outside = self.waiting()  # first: what is drained meanwhile counts twice rather than not at all
        inside = self._queue.stats()
        if not outside.messages:
            return inside
        is_age_known = inside.oldest_s is not None or inside.messages == 0
        return QueueStats(
            None if inside.messages is None else inside.messages + outside.messages,
            None if inside.bytes is None else inside.bytes + (outside.bytes or 0),
            max(inside.oldest_s or 0.0, outside.oldest_s or 0.0) if is_age_known else None,
        )

    def waiting(self) -> QueueStats:
        """What waits in the outbox, of all processes that share its folder."""
        return waiting(self.folder)

    @property
    def trouble(self) -> str:
        """Why the outbox is in use; empty while publishing is direct."""
        return "" if self._is_direct else self._trouble or "what an earlier process left is brought to the queue first"

    def close(self) -> None:
        """As `Queue.close`. What is left in the outbox is drained by whoever comes next; what the queue takes at once
        is waited for."""
        give_up_s = time.monotonic() + self._config.patience_s
        while self._thread is not None and self.trouble and not self._closing.is_set():
            if time.monotonic() > give_up_s:
                break
            self._wanted.set()
            time.sleep(0.02)
        with self._gate:
            self._closing.set()
        self._wanted.set()
        self._queue.close()
        if self._thread is not None:
            self._thread.join()
        self._calls.close()
        with self._gate:
            lanes = [lane for lane in (*self._adopted, self._own) if lane is not None]
            self._adopted, self._own = [], None
        for lane in lanes:
            lane.leave()
