"""The warehouse process as it is, with adapters that end it by SIGKILL at a named point between its steps.

Production code has no such points: the adapters of a project are wrapped here, by the same `Part` that opens them.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import duckdb

from catchment.cli.load import WarehouseProcess
from catchment.config import Project, load_project
from catchment.process import run_services
from catchment.warehouses import postgres_connections
from catchment.warehouses.duckdb import DuckDBWarehouse

Event = Callable[[str, Literal["before", "after"]], None]
"""Called around each step; the first argument names it, such as `archive.put`."""

STEPS = {
    "archive": ("put", "delete"),
    "queue": ("ack",),
    "warehouse": ("load", "enter", "forget", "expire"),
}
COMMIT = "commit of a load"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """Before or after the n-th time of a step. `only` narrows `archive.put` to names that begin so."""

    step: str
    when: Literal["before", "after"]
    nth: int = 1
    only: str = ""

    def __str__(self) -> str:
        of = f" of {self.only}" if self.only else ""
        return f"{self.when} {self.step}{of} {self.nth}"


class Watched:
    """An adapter that says before and after each of some methods which one it is."""

    def __init__(self, kind: str, adapter: Any, event: Event) -> None:
        self._kind = kind
        self._adapter = adapter
        self._event = event

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._adapter, name)
        if name not in STEPS[self._kind]:
            return method

        def watched(*args: Any, **more: Any) -> Any:
            step = f"{self._kind}.{name}"
            about = args[0] if isinstance(args[0], str) else ""
            self._event(f"{step} {about}", "before")
            with _in_load(step == "warehouse.load"):
                result = method(*args, **more)
            self._event(f"{step} {about}", "after")
            return result

        return watched


def watched(project: Project, event: Event) -> Project:
    """The project with every adapter watched, and each load's COMMIT."""

    _watch_commits(event)
    parts: dict[str, Any] = {kind: WatchedPart(kind, getattr(project, kind), event) for kind in STEPS}
    return dataclasses.replace(project, **parts)


class WatchedPart:
    """A part of the project that opens its adapter watched."""

    def __init__(self, kind: str, part: Any, event: Event) -> None:
        self._kind = kind
        self._part = part
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def open(self, **more: Any) -> Watched:
        return Watched(self._kind, self._part.open(**more), self._event)


_local = threading.local()


class _in_load:  # noqa: N801 - reads as a statement
    """This thread is inside `warehouse.load`."""

    def __init__(self, loading: bool) -> None:
        self._loading = loading

    def __enter__(self) -> None:
        _local.loading = self._loading

    def __exit__(self, *_: object) -> None:
        _local.loading = False


class _Cursor:
    """A cursor that says before and after the COMMIT of a load."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, event: Event) -> None:
        self._cursor = cursor
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, *args: Any) -> Any:
        if sql != "COMMIT" or not getattr(_local, "loading", False):
            return self._cursor.execute(sql, *args)
        self._event(COMMIT, "before")
        result = self._cursor.execute(sql)
        self._event(COMMIT, "after")
        return result


def _watch_commits(event: Event) -> None:
    """In this process alone, which is for nothing else."""
    commit = postgres_connections.commit

    def watched(connection: Any) -> None:
        loading = getattr(_local, "loading", False)
        if loading:
            event(COMMIT, "before")
        commit(connection)
        if loading:
            event(COMMIT, "after")

    postgres_connections.commit = watched
    plain = DuckDBWarehouse._cursor
    DuckDBWarehouse._cursor = lambda warehouse: _Cursor(plain(warehouse), event)  # type: ignore[method-assign,assignment,return-value]


class Deadly:
    """An event that is the end at a point."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self._left = point.nth
        self._lock = threading.Lock()

    def __call__(self, step: str, when: Literal["before", "after"]) -> None:
        if when != self._point.when or not f"{step} ".startswith(f"{self._point.step} {self._point.only}".rstrip()):
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, point: Point | None) -> None:
    """The project's warehouse process until it is told to stop or comes to the point."""
    project = load_project(folder, None)
    if point is not None:
        project = watched(project, Deadly(point))
    os._exit(run_services([WarehouseProcess(project)], health_port=None))
