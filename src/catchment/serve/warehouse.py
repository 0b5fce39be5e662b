"""The warehouse as pages ask it: opened when it is first asked, opened again after it has gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from catchment.errors import Retry, WarehouseDown
from catchment.record import uuid7
from catchment.serve.asking import Handle, Question
from catchment.warehouses import ArrowStream, Asker, Warehouse

_TRIES = 20
_BETWEEN_TRIES_S = 0.05


class Asked:
    """One warehouse for all questions of a process. Calls may come from several threads."""

    def __init__(self, open_warehouse: Callable[[], Warehouse]) -> None:
        self._open = open_warehouse
        self._lock = threading.Lock()
        self._opened: Warehouse | None = None

    def warehouse(self) -> Warehouse:
        """The warehouse. Raises `WarehouseDown` where it is not there."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def run(self, question: Question, handle: Handle) -> ArrowStream:
        """Run a question for somebody who is not trusted; `handle` ends it wherever it stands."""
        warehouse = self.warehouse()
        query_id = uuid7()
        handle.on_end(lambda: self._cancel(warehouse, query_id))
        try:
            stream = warehouse.query(
                question.sql,
                dict(question.values),
                timeout_s=question.timeout_s,
                max_rows=question.max_rows + 1,
                asker=Asker(query_id, question.zone),
            )
        except WarehouseDown:
            self._let_go(warehouse)
            raise
        if handle.is_ended:
            stream.close()
            raise Retry("ended: nobody waits for it")
        return stream

    def _cancel(self, warehouse: Warehouse, query_id: str) -> None:
        threading.Thread(target=_end, args=(warehouse, query_id), name="cancel", daemon=True).start()

    def versions(self, tables: frozenset[str]) -> Mapping[str, str]:
        """See `Warehouse.versions`."""
        warehouse = self.warehouse()
        try:
            return warehouse.versions(sorted(tables))
        except WarehouseDown:
            self._let_go(warehouse)
            raise

    def _let_go(self, gone: Warehouse) -> None:
        with self._lock:
            if self._opened is gone:
                self._opened = None
        gone.close()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


def _end(warehouse: Warehouse, query_id: str) -> None:
    """It may be about to begin: then it is not known yet."""
    with suppress(WarehouseDown):
        for _ in range(_TRIES):
            if warehouse.cancel(query_id):
                return
            time.sleep(_BETWEEN_TRIES_S)
