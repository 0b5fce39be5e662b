"""What every demo has: a project of its own, perhaps from an earlier run, and the command line's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from catchment import presence
from catchment.archives import Archive
from catchment.config import PROJECT_FILE, RUNTIME_FOLDER, Project
from catchment.errors import UsageError
from catchment.warehouses import Warehouse


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What a demo has from the command line, which puts the parts of a project together."""

    make_project: Callable[[Path], None]
    warehouse: Callable[[Project], AbstractContextManager[Warehouse]]
    running_warehouse: Callable[[Path], Warehouse | None]
    unloaded_batches: Callable[[Archive, Warehouse], int]
    is_loaded: Callable[[Project], bool]
    sign_in: Callable[[Project, str], str | None]
    """A link that signs the demo's own user in to the pages at an address, once."""
    drawn: Callable[[Warehouse, str, int | None], Iterator[str]]
    """A query's answer as a table, as wide as that."""


def is_of_an_earlier_run(folder: Path, mark: str) -> bool:
    """Whether the folder has a project whose file begins with the mark. Raises `UsageError` while it runs."""
    file = folder / PROJECT_FILE
    if not file.is_file() or not file.read_text(encoding="utf-8").startswith(mark):
        return False
    pid = presence.holder(folder.absolute() / RUNTIME_FOLDER / presence.UP_LOCK)
    if pid is not None:
        raise UsageError(f"`catchment up` runs in {folder} already (pid {pid})", "stop it first, or --dir DIR")
    return True
