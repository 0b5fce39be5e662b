"""Late rows of large tables wait here and are loaded together, about once a minute: each needs a wide search, and
a stray clock must not cost everybody else one. They are archived already; a crash leaves them to the sweep."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from catchment.errors import CatchmentError
from catchment.load.in_flight import InFlight
from catchment.load.round import Part
from catchment.log import get_log
from catchment.warehouses import Warehouse

_log = get_log("load")

EVERY_S = 45.0
LARGE_ROWS = 1_000_000
MAX_WAITING_ROWS = 250_000
"""More do not wait, since they do so in memory; a search for so many pays for its width."""
MAX_REMEMBERED = 10_000
_ASK_AGAIN_S = 300.0


class LateParts:
    """What waits. Thread-safe."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._waiting: list[Part] = []
        self._waiting_rows = 0
        self._first_s = 0.0
        self._large: dict[str, tuple[bool, float]] = {}

    def take(self, parts: Sequence[Part], in_flight: InFlight) -> list[Part]:
        """Keep the late parts of large tables, as in flight; the others."""
        others = []
        for part in parts:
            if part.late and self._has_room(part) and self._is_large(part):
                in_flight.add([part.name])
                with self._lock:
                    self._first_s = self._first_s if self._waiting else time.monotonic()
                    self._waiting.append(part)
                    self._waiting_rows += part.rows
            else:
                others.append(part)
        return others

    def due(self, *, all_of_them: bool = False) -> list[Part]:
        """What has waited long enough; the caller loads it and takes it out of flight."""
        with self._lock:
            if not self._waiting or (not all_of_them and time.monotonic() - self._first_s < EVERY_S):
                return []
            waiting, self._waiting = self._waiting, []
            self._waiting_rows = 0
            return waiting

    def _has_room(self, part: Part) -> bool:
        with self._lock:
            return self._waiting_rows + part.rows <= MAX_WAITING_ROWS

    def _is_large(self, part: Part) -> bool:
        """Whether the table has over a million rows since the part's lowest not_before; asked now and then."""
        known, at_s = self._large.get(part.table, (False, float("-inf")))
        if time.monotonic() - at_s < _ASK_AGAIN_S:
            return known
        since = min(held.pack.header.not_before for held in part.held)
        try:
            large = self._warehouse.row_count(part.table, since, LARGE_ROWS) >= LARGE_ROWS
        except CatchmentError as error:
            _log.debug("cannot tell how large a table is", table=part.table, exc=error)
            large = False
        if len(self._large) >= MAX_REMEMBERED:
            self._large.clear()
        self._large[part.table] = (large, time.monotonic())
        return large
