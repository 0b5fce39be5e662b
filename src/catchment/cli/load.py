"""The `load` service as a process runs it: the embedded warehouse is its own, and others ask through it."""

from __future__ import annotations

import contextlib

from catchment.cli.parts import open_here
from catchment.cli.wanted import wanted_of
from catchment.config import Project
from catchment.load.service import LoadService
from catchment.service import Health, Service, Stop
from catchment.warehouses.duckdb_server import WarehouseServer


def load(project: Project) -> Service:
    """The service, not yet running."""
    return WarehouseProcess(project)


class WarehouseProcess:
    """Opens the warehouse and the queue, serves the one and loads from the other."""

    name = "load"

    def __init__(self, project: Project) -> None:
        self._project = project
        self._loading: LoadService | None = None

    def health(self) -> Health:
        """Ready once the warehouse answers; see `LoadService.health`."""
        return Health(ok=True, ready=False) if self._loading is None else self._loading.health()

    def run(self, stop: Stop) -> None:
        """See `Service`."""
        with contextlib.closing(open_here(self._project)) as warehouse:
            server = WarehouseServer(warehouse, self._project.runtime)
            server.start()
            try:
                with contextlib.closing(self._project.queue.open()) as queue:
                    archive = self._project.archive.open()
                    wanted = wanted_of(self._project)
                    self._loading = LoadService(queue, archive, warehouse, self._project.load, wanted)
                    self._loading.run(stop)
            finally:
                server.stop(drain_s=min(10.0, stop.remaining_s))
