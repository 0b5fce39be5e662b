"""What is done beside the rounds, by one thread: sweep, late rows, checkpoints, rewriting, retention, gauges.

Each chore has its own time. One that fails is tried again sooner, at growing distances, and holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from catchment import metrics
from catchment.archives import Archive
from catchment.errors import CatchmentError
from catchment.load.config import LoadConfig
from catchment.load.in_flight import InFlight
from catchment.load.late import LateParts
from catchment.load.loader import Loader
from catchment.load.retaining import Removed, Retaining
from catchment.load.rewrite import forget, rewrite
from catchment.load.sweep import Sweep
from catchment.load.vanished import Vanishing
from catchment.log import get_log
from catchment.queues import Queue
from catchment.service import Stop
from catchment.warehouses import Warehouse

_log = get_log("load")

TICK_S = 1.0
SWEEP_EVERY_S = 60.0
VANISHED_EVERY_S = 1800.0
EVERYTHING_EVERY_S = 3600.0
RETAIN_EVERY_S = 3600.0
RETAIN_TURN_S = 5.0
EARLY_WINDOWS = 3
"""So many dedupe windows rows of fast clocks stay in `early`; batches older than one are searched wide."""

Attempt = Callable[[Callable[[], object]], bool]
"""Does something to the warehouse; whether it worked. Says what did not."""


@dataclass(slots=True)
class _Chore:
    every_s: float
    work: Callable[[Stop], bool]
    is_unfinished: Callable[[], bool] = lambda: False
    """Whether it has stopped in the middle, for the others' sake, and goes on as soon as they have had their turn."""
    _next_s: float = field(default_factory=time.monotonic)
    _pause_s: float = TICK_S

    def run_if_due(self, stop: Stop) -> None:
        if stop.draining or time.monotonic() < self._next_s:
            return
        if self.work(stop):
            self._pause_s = TICK_S
            self._next_s = time.monotonic() + (TICK_S if self.is_unfinished() else self.every_s)
        else:
            self._next_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, SWEEP_EVERY_S)

    def soon(self) -> None:
        """Not at its time, but after the pause that a failure asks for."""
        self._next_s = min(self._next_s, time.monotonic() + self._pause_s)


class Housekeeping:
    """The chores of one loader."""

    def __init__(
        self,
        queue: Queue,
        archive: Archive,
        warehouse: Warehouse,
        loader: Loader,
        late: LateParts,
        in_flight: InFlight,
        config: LoadConfig,
        attempt: Attempt,
    ) -> None:
        self._queue = queue
        self._archive = archive
        self._warehouse = warehouse
        self._loader = loader
        self._halts = loader.halts
        self._late = late
        self._in_flight = in_flight
        self._config = config
        self._attempt = attempt
        self._sweep = Sweep(loader, archive, in_flight)
        self._vanishing = Vanishing(warehouse, loader.changes)
        self._retaining = Retaining(archive, warehouse, loader.retention, config)
        self._retention_left: Iterator[Removed] | None = None
        self._wanted = threading.Event()
        self._sweeping = _Chore(SWEEP_EVERY_S, self._sweep_incoming)
        self._chores = [
            self._sweeping,
            _Chore(TICK_S, self._load_late),
            _Chore(EVERYTHING_EVERY_S, lambda stop: self._attempt(lambda: self._sweep.everything(stop))),
            _Chore(SWEEP_EVERY_S, lambda stop: self._attempt(lambda: self._rewrite(stop))),
            _Chore(
                RETAIN_EVERY_S,
                lambda stop: self._attempt(lambda: self._retain(stop)),
                lambda: self._retention_left is not None,
            ),
            _Chore(TICK_S, self._measure_queue),
            _Chore(VANISHED_EVERY_S, lambda stop: self._attempt(lambda: self._vanishing.look(stop))),
        ]

    def sweep_soon(self) -> None:
        """A round was left to the sweep. From any thread."""
        self._wanted.set()

    def run(self, stop: Stop) -> None:
        """Until draining; late rows that still wait are loaded then."""
        while not stop.wait(TICK_S / 4):
            if self._wanted.is_set():
                self._wanted.clear()
                self._sweeping.soon()
            for chore in self._chores:
                chore.run_if_due(stop)
        if late := self._late.due(all_of_them=True):
            self._attempt(lambda: self._loader.load(late))
            self._in_flight.remove(part.name for part in late)

    def refresh_halts(self) -> None:
        """What other processes halted or resumed."""
        self._attempt(self._halts.refresh)
        metrics.tables_halted.set(len(self._halts.halted()))

    def _sweep_incoming(self, stop: Stop) -> bool:
        self.refresh_halts()
        if not self._attempt(lambda: self._sweep.incoming(stop)):
            return False
        metrics.batches_unloaded.set(self._sweep.unloaded)
        early_before = datetime.now(UTC) - EARLY_WINDOWS * self._config.dedupe_window
        return self._attempt(lambda: self._warehouse.tidy(early_before))

    def _load_late(self, stop: Stop) -> bool:
        late = self._late.due()
        if not late:
            return True
        try:
            return self._attempt(lambda: self._loader.load(late))
        finally:
            self._in_flight.remove(part.name for part in late)

    def _rewrite(self, stop: Stop) -> None:
        now = datetime.now(UTC)
        for done in rewrite(self._archive, self._warehouse, now=now, age=self._config.rewrite_after):
            for file, problem in done.refused.items():
                _log.error("an archive file is damaged and stays as it is", file=file, problem=problem)
            if stop.draining:
                return
        forget(self._archive, self._warehouse, now=now)

    def _retain(self, stop: Stop) -> None:
        """A turn of it: where there is much to remove, the other chores have theirs in between."""
        steps, self._retention_left = self._retention_left or self._retaining.run(datetime.now(UTC)), None
        ends_s = time.monotonic() + RETAIN_TURN_S
        for _ in steps:
            if stop.draining:
                return
            if time.monotonic() > ends_s:
                self._retention_left = steps
                return

    def _measure_queue(self, stop: Stop) -> bool:
        try:
            stats = self._queue.stats()
        except CatchmentError as error:
            _log.debug("cannot tell what waits in the queue", exc=error)
            return False
        metrics.queue_messages.set(stats.messages)
        metrics.queue_bytes.set(stats.bytes)
        metrics.queue_oldest_seconds.set(stats.oldest_s)
        return True
