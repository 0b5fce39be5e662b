"""The first step: receive until the round is full, write its files, acknowledge it. Nothing here waits for the
warehouse: a warehouse outage exhausts neither the queue's leases nor memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from catchment import metrics
from catchment.archives import Archive
from catchment.errors import Retry, StorageError
from catchment.load.config import LoadConfig
from catchment.load.round import Look, Part, Round
from catchment.log import get_log
from catchment.queues import Queue
from catchment.service import Stop

_log = get_log("load")

_RECEIVE_BYTES = 8_000_000
_IDLE_WAIT_S = 0.5
_LONGEST_PAUSE_S = 30.0

ANY_TROUBLE = (Retry, StorageError)
T = TypeVar("T")


@dataclass(slots=True)
class Intake:
    """Receives, archives, acknowledges, and hands over what it archived."""

    queue: Queue
    archive: Archive
    look: Look
    config: LoadConfig
    age_s: Callable[[], float]
    """At which age a round closes, as of now."""
    hand_over: Callable[[list[Part]], None]
    """Takes the parts of a round that is archived and acknowledged."""
    source: str = "queue"
    trouble: str = ""
    """What keeps it from receiving or archiving at the moment."""

    def run(self, stop: Stop) -> None:
        """Until draining; the round that is open then is archived and acknowledged like any other.

        What was received is held until it is archived and acknowledged, however long that takes: a queue gives
        it to no other consumer meanwhile, and a full disk is no reason to end a process that answers queries.
        Only a stop in the middle of such trouble raises it; the round is delivered again.
        """
        while not stop.draining:
            self._one(stop)

    def _one(self, stop: Stop) -> None:
        open_round = Round(self.look, self.source, self.config.dedupe_window)
        with contextlib.suppress(Retry):  # raised while draining alone: what is in hand is archived all the same
            self._insist(lambda: self._fill(open_round, stop), stop, Retry)
        if open_round.deliveries:
            parts = self._insist(lambda: open_round.close(self.archive, datetime.now(UTC)), stop)
            self._insist(lambda: self.queue.ack(open_round.deliveries), stop)
            self._finished(parts)

    def _insist(
        self, step: Callable[[], T], stop: Stop, passing: type[Exception] | tuple[type[Exception], ...] = ANY_TROUBLE
    ) -> T:
        """Take the step, again and again while it fails with what may pass."""
        pause_s = 0.0
        while True:
            try:
                done = step()
            except passing as error:
                if stop.draining:
                    raise
                pause_s = min(max(1.0, pause_s * 2), _LONGEST_PAUSE_S)
                self.trouble = str(error).splitlines()[0]
                _log.error("receiving or archiving failed; nothing is lost", again_in_s=pause_s, exc=error)
                stop.wait(pause_s)
            else:
                self.trouble = ""
                return done

    def _fill(self, open_round: Round, stop: Stop) -> None:
        """Receive until the round is full, or old enough; called again after an error, it goes on."""
        closes_at_s = time.monotonic() + self.age_s()
        while open_round.rows < self.config.max_rows and open_round.received_bytes < self.config.max_bytes:
            is_open = bool(open_round.deliveries)
            wait_s = closes_at_s - time.monotonic() if is_open else _IDLE_WAIT_S
            if wait_s <= 0 or stop.draining:
                break
            room = max(1, self.config.max_bytes - open_round.received_bytes)
            delivery = self.queue.receive(min(room, _RECEIVE_BYTES), min(wait_s, _IDLE_WAIT_S))
            if delivery is not None:
                if not is_open:
                    closes_at_s = time.monotonic() + self.age_s()
                open_round.add(delivery)

    def _finished(self, parts: list[Part]) -> None:
        metrics.rounds.add()
        for part in parts:
            metrics.records_archived.add(part.rows, table=part.table)
        self.hand_over(parts)
