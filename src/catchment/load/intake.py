"""The first step: receive until the round is full, write its files, acknowledge it. Nothing here waits for the
warehouse: a warehouse outage exhausts neither the queue's leases nor memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from catchment import metrics
from catchment.archives import Archive
from catchment.errors import Retry
from catchment.load.config import LoadConfig
from catchment.load.round import Look, Part, Round
from catchment.log import get_log
from catchment.queues import Queue
from catchment.service import Stop

_log = get_log("load")

_RECEIVE_BYTES = 8_000_000
_IDLE_WAIT_S = 0.5
_BEHIND_AGE_S = 3.0
_LONGEST_PAUSE_S = 30.0


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

    def run(self, stop: Stop) -> None:
        """Until draining; the round that is open then is archived and acknowledged like any other."""
        pause_s = 0.0
        while not stop.draining:
            try:
                self._one(stop)
                pause_s = 0.0
            except Retry as error:
                pause_s = min(max(1.0, pause_s * 2), _LONGEST_PAUSE_S)
                _log.warning("receiving or archiving failed; going on", again_in_s=pause_s, exc=error)
                stop.wait(pause_s)

    def _one(self, stop: Stop) -> None:
        open_round = Round(self.look, self.source, self.config.dedupe_window)
        first = self.queue.receive(_RECEIVE_BYTES, _IDLE_WAIT_S)
        if first is None:
            return
        opened_s = time.monotonic()
        age_s = self.age_s()
        open_round.add(first)
        is_behind = first.bytes >= _RECEIVE_BYTES // 2
        while open_round.rows < self.config.max_rows and open_round.received_bytes < self.config.max_bytes:
            # Where more waits than one receive takes, a full round drains it faster than a young one.
            closes_at_s = opened_s + (max(age_s, _BEHIND_AGE_S) if is_behind else age_s)
            wait_s = closes_at_s - time.monotonic()
            if wait_s <= 0 or stop.draining:
                break
            room = min(_RECEIVE_BYTES, max(1, self.config.max_bytes - open_round.received_bytes))
            delivery = self.queue.receive(room, min(wait_s, _IDLE_WAIT_S))
            is_behind = delivery is not None and delivery.bytes >= room // 2
            if delivery is not None:
                open_round.add(delivery)
        self._finish(open_round)

    def _finish(self, closing: Round) -> None:
        parts = closing.close(self.archive, datetime.now(UTC))
        self.queue.ack(closing.deliveries)
        metrics.rounds.add()
        for part in parts:
            metrics.records_archived.add(part.rows, table=part.table)
        self.hand_over(parts)
