"""The first step: receive until the round is full, write its files, acknowledge it. Nothing here waits for the
warehouse: a warehouse outage exhausts neither the queue's leases nor memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from catchment import metrics
from catchment.archives import Archive
from catchment.errors import CatchmentError, Retry, StorageError
from catchment.load.config import LoadConfig
from catchment.load.fitting import FitsOf
from catchment.load.in_flight import InFlight
from catchment.load.round import Look, Part, Round
from catchment.log import get_log
from catchment.queues import KEEP_EVERY_S, Queue
from catchment.service import Stop

_log = get_log("load")
_T = TypeVar("_T")

_RECEIVE_BYTES = 4_000_000
_IDLE_WAIT_S = 0.5
_BEHIND_WAIT_S = 0.05
"""Where more waits it comes at once: else we have caught up."""
_ENOUGH_ROWS = 100_000
"""So many records are worth a round of their own where the loading threads would have nothing to do."""
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
    is_wanted: Callable[[], bool]
    """Whether one of those it hands over to has nothing to do."""
    in_flight: InFlight
    fits_of: FitsOf = lambda _: None
    source: str = "queue"
    trouble: str = ""
    """What keeps it from receiving or archiving at the moment."""

    def run(self, stop: Stop) -> None:
        """Until draining; the round that is open then is archived and acknowledged like any other.

        A round is held until it is archived, however long that takes: a full disk is no reason to end a process
        that answers queries. Raises `StorageError` of the queue alone.
        """
        while not stop.draining:
            taken = self._patiently(stop, lambda: self._take_in(stop), Retry)
            if taken is not None:
                self._finish(taken, stop)

    def _take_in(self, stop: Stop) -> Round | None:
        """Receive until the round is full; None if nothing came. An error ends a round that has begun, since
        what it holds is delivered to nobody else."""
        first = self.queue.receive(_RECEIVE_BYTES, _IDLE_WAIT_S)
        if first is None:
            return None
        taken = Round(self.look, self.source, self.config.dedupe_window, self.fits_of)
        opened_s = kept_s = time.monotonic()
        age_s = self.age_s()
        is_behind = taken.add(first) >= _RECEIVE_BYTES // 2
        while taken.rows < self.config.max_rows and taken.received_bytes < self.config.max_bytes:
            # Where more waits than one receive takes, a full round drains it faster than a young one.
            closes_at_s = opened_s + (max(age_s, _BEHIND_AGE_S) if is_behind else age_s)
            wait_s = min(closes_at_s - time.monotonic(), _BEHIND_WAIT_S if is_behind else _IDLE_WAIT_S)
            if wait_s <= 0 or stop.draining or (taken.rows >= _ENOUGH_ROWS and self.is_wanted()):
                break
            if time.monotonic() - kept_s >= KEEP_EVERY_S:
                taken.deliveries = self.queue.keep(taken.deliveries)
                kept_s = time.monotonic()
            room = min(_RECEIVE_BYTES, max(1, self.config.max_bytes - taken.received_bytes))
            try:
                delivery = self.queue.receive(room, wait_s)
            except Retry as error:
                _log.warning("receiving failed; the round is closed with what it has", exc=error)
                break
            received_bytes = taken.add(delivery) if delivery is not None else 0
            was_behind, is_behind = is_behind, received_bytes >= room // 2
            if was_behind and not is_behind:
                break  # caught up: nobody waits for a round that is large already
        return taken

    def _finish(self, taken: Round, stop: Stop) -> None:
        files: list[str] = []
        try:
            with self._kept(taken):
                parts = self._patiently(stop, lambda: self._archive(taken, files), Retry, StorageError)
            if parts is None:
                return  # stopping: what was not acknowledged is delivered again
            self._patiently(stop, lambda: self.queue.ack(taken.deliveries), Retry, StorageError)
            metrics.rounds.add()
            for part in parts:
                metrics.records_archived.add(part.rows, table=part.table)
            self.hand_over(parts)
        finally:
            self.in_flight.remove(files)

    def _archive(self, taken: Round, files: list[str]) -> list[Part]:
        def begin(name: str) -> None:
            files.append(name)
            self.in_flight.add([name])

        taken.deliveries = self.queue.keep(taken.deliveries)
        return taken.close(self.archive, datetime.now(UTC), begin)

    @contextlib.contextmanager
    def _kept(self, taken: Round) -> Iterator[None]:
        """Extend what is held for as long as the archive takes, be it hours."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(KEEP_EVERY_S):
                try:
                    self.queue.keep(taken.deliveries)
                except CatchmentError as error:
                    _log.warning("cannot keep hold of messages; they may come again", exc=error)

        keeping = threading.Thread(target=keep, name="keeping", daemon=True)
        keeping.start()
        try:
            yield
        finally:
            ended.set()
            keeping.join()

    def _patiently(self, stop: Stop, action: Callable[[], _T], *passing: type[CatchmentError]) -> _T | None:
        """Do it until it succeeds, while it fails with what may pass; None once we are stopping and it does not."""
        pause_s = 1.0
        while True:
            try:
                done = action()
            except passing as error:
                self.trouble = error.message
                _log.error("receiving or archiving failed; nothing is lost", again_in_s=pause_s, exc=error)
                if stop.wait(pause_s):
                    return None
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                self.trouble = ""
                return done
