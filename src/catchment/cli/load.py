"""The `load` service as a process runs it: an embedded warehouse is its own, and others ask through it."""

from __future__ import annotations

import contextlib
from itertools import chain, repeat

from catchment.cli.parts import is_embedded, open_here, outbox_of
from catchment.cli.wanted import wanted_of
from catchment.config import Project
from catchment.errors import NoSpace
from catchment.load.service import LoadService
from catchment.log import get_log
from catchment.service import Health, Service, Stop
from catchment.warehouses.duckdb_server import WarehouseServer

_WAITS_S = (0.5, 1.0, 2.0, 5.0)

_log = get_log("load")


def load(project: Project) -> Service:
    """The service, not yet running."""
    return WarehouseProcess(project)


class WarehouseProcess:
    """Opens the warehouse and the queue, serves the one if it is embedded, and loads from the other."""

    name = "load"

    def __init__(self, project: Project) -> None:
        self._project = project
        self._loading: LoadService | None = None
        self._trouble = ""

    def health(self) -> Health:
        """Ready once the warehouse answers; see `LoadService.health`."""
        if self._loading is None:
            return Health(ok=True, ready=False, detail=self._trouble)
        return self._loading.health()

    def run(self, stop: Stop) -> None:
        """See `Service`."""
        with contextlib.ExitStack() as closing:
            self._loading = self._opened(closing, stop)
            if self._loading is not None:
                self._loading.run(stop)

    def _opened(self, closing: contextlib.ExitStack, stop: Stop) -> LoadService | None:
        """The service with all that it needs, which `closing` closes. As long as the disk is full it waits, since a
        process started anew would fare no better; None when a stop comes first."""
        for wait_s in chain(_WAITS_S, repeat(_WAITS_S[-1])):
            if stop.draining:
                break
            with contextlib.ExitStack() as opened:
                try:
                    loading = self._open(opened, stop)
                except NoSpace as error:
                    if not self._trouble:
                        _log.error("cannot start on a full disk; waiting for space", exc=error)
                    self._trouble = error.message
                else:
                    closing.push(opened.pop_all())
                    return loading
            stop.wait(wait_s)
        return None

    def _open(self, closing: contextlib.ExitStack, stop: Stop) -> LoadService:
        warehouse = closing.enter_context(contextlib.closing(open_here(self._project)))
        if is_embedded(self._project):
            server = WarehouseServer(warehouse, self._project.runtime)
            server.start()
            closing.callback(lambda: server.stop(drain_s=min(10.0, stop.remaining_s)))
        queue = closing.enter_context(contextlib.closing(self._project.queue.open()))
        if (outbox := outbox_of(queue)) is not None:
            outbox.start()  # what a publisher left that has gone
        archive = self._project.archive.open()
        project = self._project
        return LoadService(queue, archive, warehouse, project.load, wanted_of(project), project.retention)
