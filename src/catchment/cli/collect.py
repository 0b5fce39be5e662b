"""The `collect` service as a process runs it."""

from __future__ import annotations

import contextlib

from catchment.collect.service import CollectService
from catchment.config import Project
from catchment.service import Health, Service, Stop


def collect(project: Project, name: str = "collect") -> Service:
    """The service, not yet running; `name` tells several workers apart."""
    return CollectProcess(project, name)


class CollectProcess:
    """Opens the queue and collects into it."""

    def __init__(self, project: Project, name: str) -> None:
        self.name = name
        self._project = project
        self._collecting: CollectService | None = None

    def health(self) -> Health:
        """See `CollectService.health`."""
        return Health(ok=True, ready=False) if self._collecting is None else self._collecting.health()

    def run(self, stop: Stop) -> None:
        """See `Service`."""
        with contextlib.closing(self._project.queue.open()) as queue:
            self._collecting = CollectService(
                queue, self._project.collect, self._project.load.dedupe_window, self._project.root, self.name
            )
            self._collecting.run(stop)
