"""A project: the folder with a catchment.toml, and what that file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from catchment import registry
from catchment.archives import Archive
from catchment.collect.config import CollectConfig
from catchment.config.sections import MetricsConfig
from catchment.errors import UsageError
from catchment.listen.config import ListenConfig, Send
from catchment.load.config import LoadConfig
from catchment.load.retention import RetentionConfig
from catchment.queues import Queue
from catchment.queues.outbox_config import OutboxConfig
from catchment.serve.config import ServeConfig
from catchment.sources import Tap
from catchment.state import State
from catchment.warehouses import Warehouse

PROJECT_FILE = "catchment.toml"
RUNTIME_FOLDER = ".catchment"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """An adapter chosen and configured, not opened yet. `folder` is the project's `runtime`."""

    kind: str
    type: str
    config: Any
    folder: Path

    @property
    def adapter(self) -> Callable[..., Any]:
        """Its class; loads its driver."""
        return registry.adapter_class(self.kind, self.type)

    def open(self, **more: Any) -> T:
        """Construct the adapter, with what it may want besides its settings; the caller closes it."""
        return cast(T, self.adapter(self.config, self.folder, **more))


@dataclass(frozen=True, slots=True)
class QueuePart(Part[Queue]):
    """The queue: with an outbox in front, unless it is embedded and so needs none."""

    outbox: OutboxConfig

    @property
    def outbox_folder(self) -> Path | None:
        """Where the outbox lies; None where there is none."""
        is_embedded = bool(getattr(self.adapter, "is_embedded", False))
        return None if is_embedded else self.outbox.folder(self.folder)

    def open(self, **more: Any) -> Queue:
        """See `Part.open`."""
        queue = Part.open(self, **more)
        folder = self.outbox_folder
        if folder is None:
            return queue
        from catchment.queues.outbox import Outbox  # which brings the embedded queue along

        return Outbox(queue, folder, self.outbox)


@dataclass(frozen=True, slots=True)
class ListenPart(Part[Tap]):
    """A listener: what it taps, what becomes of what it hears, and the queue that takes that in place of the
    project's, where there is one."""

    name: str
    settings: ListenConfig
    forward: Part[Queue] | None
    send: Send

    def open(self, **more: Any) -> Tap:
        """See `Part.open`."""
        return Part.open(self, name=self.name, **more)


@dataclass(frozen=True, slots=True)
class Project:
    """A project's settings, all of them right. `profile` is the one laid over the rest, if any."""

    root: Path
    profile: str | None
    name: str
    timezone: str
    queue: QueuePart
    archive: Part[Archive]
    warehouse: Part[Warehouse]
    outbox: OutboxConfig
    state: Part[State]
    load: LoadConfig
    retention: RetentionConfig
    collect: CollectConfig
    listen: Mapping[str, ListenPart]
    serve: ServeConfig
    metrics: MetricsConfig

    @property
    def runtime(self) -> Path:
        """The folder of files that Catchment itself keeps; it may not exist yet."""
        return self.root / RUNTIME_FOLDER


def find_project(start: Path) -> Path:
    """The nearest folder with a catchment.toml, from `start` upwards. Raises `UsageError` if there is none."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise UsageError(
        f"there is no {PROJECT_FILE} in {start} or any folder above it",
        "catchment init DIR to make a project, or -p DIR to name one",
    )
