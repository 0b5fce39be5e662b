"""A project of the crash tests and its processes, all of which the tests may kill at any moment."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from catchment import presence
from catchment.archives import Archive
from catchment.cli.parts import is_all_loaded, open_here
from catchment.config import Project, load_project
from catchment.pack import read_file
from catchment.warehouses import Warehouse
from tests.crash.publisher import TRAFFIC
from tests.crash.traffic import Traffic

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 120.0
"""For a machine that does a lot else; nothing waits longer than it has to."""


def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition to hold."""
    give_up_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_s, f"waited in vain for {what}"
        time.sleep(0.05)  # each look costs the process that it looks at


def make_project(folder: Path, settings: str = "") -> Project:
    """A project with these lines in its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catchment.toml").write_text(f'[project]\nname = "crash"\n{settings}')
    return load_project(folder, None)


class Running:
    """The processes of a project: `catchment up` with what it starts, and publishers."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.root
        self._up: subprocess.Popen[bytes] | None = None
        self._publishers: dict[int, subprocess.Popen[bytes]] = {}
        self._log = (project.root / "said").open("ab")

    # ---- up ---------------------------------------------------------------------------

    def start_up(self) -> None:
        """`catchment up`, whether or not the warehouse process of a killed one is still on its way out."""
        self._up = self._start("-m", "catchment", "up", "-p", str(self.folder))

    def stop_up(self) -> None:
        """In order, as Ctrl-C does."""
        assert self._up is not None
        self._up.terminate()
        code = self._up.wait(PATIENCE_S)
        assert code == 0, f"`up` ended with {code}:\n{self.said()[-4000:]}"
        self._up = None

    def warehouse_process(self) -> psutil.Process | None:
        """The child of `up` that owns the warehouse, if there is one at the moment."""
        if self._up is None:
            return None
        try:
            return next(iter(psutil.Process(self._up.pid).children()), None)
        except psutil.NoSuchProcess:
            return None

    def is_ready(self) -> bool:
        state = presence.service(self.project.runtime, "load")
        return state is not None and state.state == "ready"

    def is_loaded(self) -> bool:
        """Whether everything published so far is in the warehouse."""
        return is_all_loaded(self.project)

    # ---- publishers -------------------------------------------------------------------

    def publish(self, traffic: list[Traffic]) -> None:
        """Start a publisher for each."""
        (self.folder / TRAFFIC).write_bytes(msgspec.json.encode(traffic))
        for each in traffic:
            self.start_publisher(each.publisher)

    def start_publisher(self, number: int) -> None:
        self._publishers[number] = self._start("-m", "tests.crash.publisher", str(self.folder), str(number))

    def publishers(self) -> list[int]:
        """Those at work. One that failed by itself fails the test."""
        for number, popen in self._publishers.items():
            assert popen.poll() in {None, 0, -signal.SIGKILL}, f"publisher {number} failed:\n{self.said()[-4000:]}"
        return [number for number, popen in self._publishers.items() if popen.poll() is None]

    # ---- kill -9 ----------------------------------------------------------------------

    def kill_publisher(self, number: int) -> None:
        self._kill(self._publishers[number])
        self.start_publisher(number)

    def kill_supervisor(self) -> None:
        assert self._up is not None
        self._kill(self._up)
        self.start_up()

    def kill_warehouse_process(self) -> bool:
        """Whether there was one."""
        process = self.warehouse_process()
        with contextlib.suppress(psutil.NoSuchProcess):
            if process is not None:
                process.kill()
                return True
        return False

    @staticmethod
    def _kill(popen: subprocess.Popen[bytes]) -> None:
        popen.kill()
        popen.wait()

    # ---- all of it --------------------------------------------------------------------

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *command], cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def said(self) -> str:
        """What all of them have said so far."""
        return (self.folder / "said").read_text(errors="replace")

    def close(self) -> None:
        """End everything, whatever happened. A warehouse process without its supervisor ends by itself."""
        for popen in self._publishers.values():
            self._kill(popen)
        if self._up is not None:
            child = self.warehouse_process()
            self._kill(self._up)
            if child is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self._log.close()


@contextlib.contextmanager
def opened_warehouse(project: Project) -> Iterator[Warehouse]:
    """The project's warehouse; an embedded one while none of its processes runs."""
    with contextlib.closing(open_here(project)) as warehouse:
        yield warehouse


def archived(archive: Archive) -> list[tuple[str, str, str]]:
    """Table, source and id of every record in the archive."""
    found = []
    for entry in archive.list():
        if entry.name.endswith(".ndjson.zst"):
            with archive.open(entry.name) as file:
                for pack in read_file(file):
                    for line in pack.plain().splitlines():
                        record = msgspec.json.decode(line)
                        found.append((record["table"], record["source"], record["id"]))
    return found


def now() -> datetime:
    return datetime.now(UTC)
