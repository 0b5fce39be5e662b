"""Real processes for the tests, none of which outlives its test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from catchment import presence
from catchment.presence import ServiceState
from catchment.process import PARENT_ENV

PROGRAM = Path(__file__).with_name("program.py")
PATIENCE_S = 30.0
"""For a machine that does a lot else; nothing waits longer than it has to."""


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition to hold."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for {what or condition}"
        time.sleep(0.01)


def runs(pid: int | None) -> bool:
    """The process is there and no zombie."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Programs:
    """Starts `program.py` on one runtime folder."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self._started: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._pids: set[int] = set()

    def start(self, what: str, *services: str, parent_fd: int | None = None, **env: str) -> subprocess.Popen[bytes]:
        """`program.py what …`, its output going where `said` finds it; `parent_fd` as its parent's pipe."""
        if parent_fd is not None:
            env[PARENT_ENV] = str(parent_fd)
        errors = self.runtime / f"stderr-{len(self._started)}"
        with errors.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, str(PROGRAM), what, str(self.runtime), *services],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **env},
                pass_fds=[] if parent_fd is None else [parent_fd],
                start_new_session=True,
            )
        self._started.append((popen, errors))
        return popen

    def said(self, popen: subprocess.Popen[bytes]) -> str:
        """What the program has written to stderr."""
        return next(errors for started, errors in self._started if started is popen).read_text()

    def state(self, name: str) -> ServiceState:
        """What the project shows of a service."""
        state = presence.service(self.runtime, name)
        return state or ServiceState(name, None, "stopped")

    def ready(self, *names: str, but: int | None = None) -> list[int]:
        """Wait until the services are ready (in another process than `but`); their pids."""

        def all_ready() -> bool:
            states = [self.state(name) for name in names]
            return all(state.state == "ready" and state.pid != but for state in states)

        until(all_ready, f"{names} to be ready")
        pids = [self.state(name).pid or 0 for name in names]
        self._pids.update(pids)
        return pids

    def file(self, name: str) -> str:
        """A file that a service has written, or nothing."""
        path = self.runtime / name
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """End everything."""
        pids = self._pids | {state.pid or 0 for state in presence.services(self.runtime)}
        pids |= {int(pid) for pid in self.file("grandchild").split()}
        for popen, _ in self._started:
            popen.kill()
            popen.communicate()
        for pid in pids - {0, os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Programs on a fresh runtime folder."""
    made = Programs(tmp_path)
    yield made
    made.close()
