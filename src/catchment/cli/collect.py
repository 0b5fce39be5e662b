"""The `collect` service as a process runs it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from catchment.cli.parts import outbox_of
from catchment.collect.service import CollectService
from catchment.config import Project
from catchment.service import Health, Service, Stop

if TYPE_CHECKING:
    from catchment.queues.outbox import Outbox


def collect(project: Project, name: str = "collect") -> Service:
    """The service, not yet running; `name` tells several workers apart."""
    return CollectProcess(project, name)


class CollectProcess:
    """Opens the queue and collects into it."""

    def __init__(self, project: Project, name: str) -> None:
        self.name = name
        self._project = project
        self._collecting: CollectService | None = None
        self._outbox: Outbox | None = None

    def health(self) -> Health:
        """See `CollectService.health`; it is as ready with the outbox as without, and says what waits there."""
        if self._collecting is None:
            return Health(ok=True, ready=False)
        health = self._collecting.health()
        return replace(health, detail=health.detail or (words_of(self._outbox) if self._outbox else ""))

    def run(self, stop: Stop) -> None:
        """See `Service`."""
        with contextlib.closing(self._project.queue.open()) as queue:
            self._outbox = outbox_of(queue)
            if self._outbox is not None:
                self._outbox.start()
            self._collecting = CollectService(
                queue, self._project.collect, self._project.load.dedupe_window, self._project.root, self.name
            )
            self._collecting.run(stop)


def words_of(outbox: Outbox) -> str:
    """What waits in the outbox and why; empty while it is not needed."""
    return f"{outbox.waiting_here:,} messages wait in the outbox: {outbox.trouble}" if outbox.trouble else ""
