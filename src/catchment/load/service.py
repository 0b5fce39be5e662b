"""`load`, the service: one thread takes in and archives, a few load, one sweeps and keeps house.

The steps meet only in the archive. A round is handed to the loading threads in memory because that is fast;
where they are behind or the warehouse is down, the hand-over is dropped and the sweep finds the files.
"""

from __future__ import annotations

import contextlib
import queue as queues_of_threads
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from catchment import metrics
from catchment.archives import Archive
from catchment.errors import Retry, StorageError
from catchment.load.config import LoadConfig
from catchment.load.in_flight import InFlight
from catchment.load.intake import Intake
from catchment.load.keeping import Housekeeping
from catchment.load.late import LateParts
from catchment.load.loader import Loader, Wanted
from catchment.load.pace import Pace
from catchment.load.retention import RetentionConfig
from catchment.load.round import Part
from catchment.log import get_log
from catchment.queues import Queue
from catchment.service import Health, Stop
from catchment.warehouses import Warehouse

_log = get_log("load")

MAX_REMEMBERED_OWNERS = 10_000
HAND_OVER_PATIENCE_S = 10.0
"""So long a round waits for the loading threads, which bounds memory; then its files are the sweep's."""


class LoadService:
    """The `load` service of one project."""

    name = "load"

    def __init__(
        self,
        queue: Queue,
        archive: Archive,
        warehouse: Warehouse,
        config: LoadConfig,
        wanted: Wanted | None = None,
        retention: RetentionConfig | None = None,
    ) -> None:
        self._queue = queue
        self._archive = archive
        self._config = config
        self._loader = Loader.of(warehouse, archive, config, wanted, retention)
        self._in_flight = InFlight()
        self._pace = Pace(archive.round_age_s if config.max_age_s is None else config.max_age_s)
        self._late = LateParts(warehouse)
        self._keeping = Housekeeping(
            queue,
            archive,
            warehouse,
            self._loader,
            self._late,
            self._in_flight,
            config,
            self._attempt,
        )
        self._inboxes: list[queues_of_threads.Queue[list[Part]]] = [
            queues_of_threads.Queue(1) for _ in range(config.loader_threads)
        ]
        self._owner: dict[str, int] = {}
        self._took_in = threading.Event()
        self._down_since_s: float | None = None
        self._intake: Intake | None = None
        self._ready = False
        self._idle = 0
        self._counting = threading.Lock()

    def health(self) -> Health:
        """Not ready while the warehouse is down, when archiving goes on, nor while that fails itself."""
        if self._intake is not None and self._intake.trouble:
            return Health(ok=True, ready=False, detail=self._intake.trouble)
        if self._down_since_s is not None:
            down_s = time.monotonic() - self._down_since_s
            return Health(ok=True, ready=False, detail=f"the warehouse has been down for {down_s:.0f} s")
        return Health(ok=True, ready=self._ready)

    def run(self, stop: Stop) -> None:
        """See `Service`. Closes nothing that it was given."""
        self._keeping.refresh_halts()
        self._loader.views.refresh()
        threads = [
            stop.start(f"load-{number}", lambda inbox=inbox: self._load_from(inbox, stop))  # type: ignore[misc]
            for number, inbox in enumerate(self._inboxes)
        ]
        keeping = stop.start("housekeeping", lambda: self._keeping.run(stop))
        self._ready = True
        self._intake = Intake(
            self._queue,
            self._archive,
            self._loader.look,
            self._config,
            self._pace.age_s,
            self._hand_over,
            lambda: self._idle > 0,
            self._in_flight,
            self._loader.fits_of,
        )
        try:
            self._intake.run(stop)
        finally:
            self._took_in.set()
            for thread in (*threads, keeping):
                thread.join(timeout=max(0.0, min(stop.remaining_s, 3600)))

    # ---- handing over -----------------------------------------------------------------

    def _hand_over(self, parts: list[Part]) -> None:
        """Give each loading thread the tables it owns; the late ones wait to be loaded together."""
        now = self._late.take(parts, self._in_flight)
        shares: list[list[Part]] = [[] for _ in self._inboxes]
        rows = [0] * len(shares)
        for part in sorted(now, key=lambda part: -part.rows):
            owner = self._owner_of(part, rows)
            shares[owner].append(part)
            rows[owner] += part.rows
        for inbox, share in zip(self._inboxes, shares, strict=True):
            if share:
                self._in_flight.add(part.name for part in share)
                try:
                    inbox.put(share, timeout=0.0 if self._down_since_s is not None else HAND_OVER_PATIENCE_S)
                except queues_of_threads.Full:
                    self._in_flight.remove(part.name for part in share)
                    self._keeping.sweep_soon()

    def _owner_of(self, part: Part, rows: Sequence[int]) -> int:
        """A table stays with the thread it began with, that with the fewest rows then: two threads would only wait
        for its lock."""
        if part.table not in self._owner:
            if len(self._owner) >= MAX_REMEMBERED_OWNERS:
                self._owner.clear()
            self._owner[part.table] = rows.index(min(rows))
        return self._owner[part.table]

    # ---- loading ----------------------------------------------------------------------

    def _load_from(self, inbox: queues_of_threads.Queue[list[Part]], stop: Stop) -> None:
        while not (self._took_in.is_set() and inbox.empty()):
            try:
                with self._waiting():
                    parts = inbox.get(timeout=0.1)
            except queues_of_threads.Empty:
                continue
            try:
                with self._pace.working():
                    self._attempt(lambda parts=parts: self._loader.load(parts))  # type: ignore[misc]
            finally:
                self._in_flight.remove(part.name for part in parts)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Count this thread as one with nothing to do."""
        with self._counting:
            self._idle += 1
        try:
            yield
        finally:
            with self._counting:
                self._idle -= 1

    def _attempt(self, load: Callable[[], object]) -> bool:
        """Load, or leave it to the sweep; whether it worked."""
        try:
            with metrics.load_seconds.time():
                load()
        except (Retry, StorageError) as error:
            if self._down_since_s is None:
                self._down_since_s = time.monotonic()
                _log.error("loading failed; archiving goes on, and the sweep tries again", exc=error)
            self._keeping.sweep_soon()
            return False
        if self._down_since_s is not None:
            _log.info("loading works again", after_s=round(time.monotonic() - self._down_since_s, 1))
            self._down_since_s = None
        return True
