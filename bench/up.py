"""`catchment up` in a project folder of its own, driven from outside as a user would."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nanoarrow

from catchment.config import PROJECT_FILE, Project, load_project
from catchment.errors import CatchmentError
from catchment.warehouses.duckdb_remote import RemoteDuckDB, find

COMMAND = Path(sys.executable).with_name("catchment")
READY_WITHIN_S = 30
DRAINED_WITHIN_S = 120
PROJECT_TEXT = '[project]\nname = "bench"\n'


def make_project(folder: Path, settings: str = "") -> Project:
    """A project with nothing but defaults, and these lines."""
    folder.mkdir(exist_ok=True)
    (folder / PROJECT_FILE).write_text(PROJECT_TEXT + settings)
    return load_project(folder)


class Up:
    """A running `catchment up`: its first process, and its warehouse to ask."""

    def __init__(self, pid: int, warehouse: RemoteDuckDB, ready_s: float) -> None:
        self.pid = pid
        self.ready_s = ready_s
        self._warehouse = warehouse

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The answer of a query, as tuples."""
        stream = self._warehouse.query(query, list(params))
        return list(nanoarrow.ArrayStream(stream).iter_tuples())

    def row_counts(self, schema: str) -> dict[str, int]:
        """Rows of each of the schema's tables that exist by now."""
        found = self.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = $1", [schema])
        counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {schema}.{name}" for (name,) in found)
        return {name: int(count) for name, count in self.rows(counts)} if found else {}


@contextlib.contextmanager
def up(project: Project) -> Iterator[Up]:
    """Start it, wait until the warehouse answers, and drain it at the end. What it says goes to `up.log`.

    Raises `RuntimeError` with the end of its log when it isn't ready in time or has died.
    """
    log = project.root / "up.log"
    began = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(
            [COMMAND, "up", "--project", project.root], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        warehouse = _wait_until_ready(process, project, log)
        with contextlib.closing(warehouse):
            yield Up(process.pid, warehouse, time.monotonic() - began)
        if process.poll() is not None:
            raise RuntimeError(f"catchment up ended with {process.returncode}:\n{_end(log)}")
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], project: Project, log: Path) -> RemoteDuckDB:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        # A warehouse process that is just starting refuses or is not there yet.
        with contextlib.suppress(CatchmentError):
            warehouse = find(project.runtime)
            if warehouse is not None:
                Up(process.pid, warehouse, 0).rows("SELECT 1")
                return warehouse
        time.sleep(0.02)
    raise RuntimeError(f"catchment up is not ready after {READY_WITHIN_S} s:\n{_end(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(DRAINED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"catchment up did not drain within {DRAINED_WITHIN_S} s") from None


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]
