"""Queries that go on although they were ended: a thread in the middle of DuckDB can be interrupted, and cannot be
ended. Some never look at the interruption, such as one that sorts a list or matches a pattern within one value."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from catchment.log import get_log

LATE_S: Final = 5.0
"""How long a query may go on after it was ended; then the process is."""
_FAILED: Final = 1
_log = get_log("warehouse")
_LOOK_EVERY_S = 0.5


class Computing:
    """One query: whether the warehouse computes at this moment, and since when it should be over."""

    def __init__(self, timeout_s: float | None) -> None:
        now_s = time.monotonic()
        self._over_s = None if timeout_s is None else now_s + timeout_s
        self._since_s: float | None = now_s

    def end(self) -> None:
        """It should be over from now on."""
        now_s = time.monotonic()
        self._over_s = now_s if self._over_s is None else min(self._over_s, now_s)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it lasts nothing is computed: a slow reader is waited for."""
        self._since_s = None
        try:
            yield
        finally:
            self._since_s = time.monotonic()

    def late_s(self) -> float:
        """For how long it has computed without a pause although it should be over."""
        since_s, over_s = self._since_s, self._over_s
        return 0.0 if since_s is None or over_s is None else time.monotonic() - max(since_s, over_s)


class Overdue:
    """Watches over the queries of a process. `give_up` is called, by another thread, where one is late by `late_s`."""

    def __init__(self, late_s: float, give_up: Callable[[], None]) -> None:
        self._late_s = late_s
        self._give_up = give_up
        self._lock = threading.Lock()
        self._queries: set[Computing] = set()
        self._is_watching = False

    @contextmanager
    def watched(self, timeout_s: float | None) -> Iterator[Computing]:
        """While it lasts, one query more is watched."""
        query = Computing(timeout_s)
        with self._lock:
            self._queries.add(query)
            if not self._is_watching:
                self._is_watching = True
                threading.Thread(target=self._watch, name="warehouse-overdue", daemon=True).start()
        try:
            yield query
        finally:
            with self._lock:
                self._queries.discard(query)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            with self._lock:
                if not self._queries:
                    self._is_watching = False
                    return
                is_late = any(query.late_s() >= self._late_s for query in self._queries)
            if is_late:
                self._give_up()
                return


def end_process() -> NoReturn:
    """A thread cannot be ended, but its process can: what is durable was made to bear that, and `up` restarts it."""
    _log.error("a query went on after it was ended: ending the process, for `up` to restart it", late_s=LATE_S)
    os._exit(_FAILED)
