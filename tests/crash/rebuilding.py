"""A rebuild in a process of its own, a file at a time, that kills itself at a point: `… FOLDER POINT [URL]`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catchment.archives.disk import DiskArchive
from catchment.load import rebuild as rebuilding
from catchment.load.loader import Loader
from catchment.warehouses import duckdb_rebuild, postgres_rebuild
from tests.crash.filling import opened
from tests.load.loading import UNLIMITED
from tests.load.test_contracts import TABLE

POINTS = ("begun", "gathered", "caught up", "before commit", "after commit", "nowhere")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(function: Callable[..., Any], nth: int = 1) -> Callable[..., Any]:
    """The same, and death after its nth call."""
    calls = iter(range(1, 1_000))

    def made(*arguments: Any, **named: Any) -> Any:
        found = function(*arguments, **named)
        if next(calls) == nth:
            die()
        return found

    return made


def main() -> None:
    folder, point = Path(sys.argv[1]), sys.argv[2]
    rebuilding.CHUNK_FILES = 1
    archive = DiskArchive(DiskArchive.Config(), folder)
    with contextlib.closing(opened(folder, *sys.argv[3:])) as warehouse:
        loader = Loader.of(warehouse, archive, UNLIMITED, paced=False)
        whole: Any = warehouse
        match point:
            case "begun":
                whole.begin_rebuild = after(whole.begin_rebuild)
            case "gathered":
                whole.load = after(whole.load, 3)
            case "caught up":  # as if the first look had met nothing
                setattr(rebuilding, "walk", lambda *_, **__: iter(()))  # noqa: B010 (as no type allows)
                whole.end_rebuild = after(whole.end_rebuild)
            case "before commit":
                duckdb_rebuild.replace = after(duckdb_rebuild.replace)
                postgres_rebuild.replace = after(postgres_rebuild.replace)
            case "after commit":
                whole.end_rebuild = after(whole.end_rebuild)
        done = rebuilding.rebuild(loader, archive, TABLE)
    print(done.rows, done.files, flush=True)


if __name__ == "__main__":
    main()
