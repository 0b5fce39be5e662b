"""The queries that run under an id, so that whoever knows it can end one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from catchment.errors import UsageError


class Running:
    """For any number of threads."""

    def __init__(self) -> None:
        self._ends: dict[str, Callable[[], object]] = {}
        self._lock = threading.Lock()

    def enter(self, query_id: str, end: Callable[[], object]) -> None:
        """`end` is called, by another thread, to end the query; it returns at once and may be called when it is over.

        Raises `UsageError` where another query runs under the id.
        """
        with self._lock:
            if query_id in self._ends:
                raise UsageError(f"a query of the id {query_id!r} is running already", "an id of its own for each")
            self._ends[query_id] = end

    def leave(self, query_id: str) -> None:
        """It has ended."""
        with self._lock:
            self._ends.pop(query_id, None)

    def cancel(self, query_id: str) -> bool:
        """End it; False where none of this id runs."""
        with self._lock:
            end = self._ends.get(query_id)
        if end is None:
            return False
        end()
        return True
