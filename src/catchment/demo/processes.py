"""The commands that the demo runs as processes of their own: `catchment up` and `catchment send`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from catchment import presence
from catchment.demo.data import NULL, Dataset
from catchment.errors import Abort
from catchment.log import FORMAT_ENV
from catchment.presence import ServiceState
from catchment.process import PARENT_ENV

START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 60.0
"""More than `up` itself allows its processes."""
_TAIL_LINES = 12


class Up:
    """`catchment up` in a project's folder. It drains when we end, however that comes."""

    def __init__(self, root: Path, runtime: Path) -> None:
        self._runtime = runtime
        self._log = runtime / "up.log"
        runtime.mkdir(exist_ok=True)
        read, self._life = os.pipe()
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command("up"),
                cwd=root,
                env=environment() | {PARENT_ENV: str(read), FORMAT_ENV: "human"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[read],
                process_group=0,  # Ctrl-C on the terminal is ours, and so is the order in which things stop
            )
        os.close(read)

    def wait_ready(self, name: str = "load") -> ServiceState:
        """The service, ready; by default the warehouse process. Raises `Abort` when it does not get there."""
        give_up_s = time.monotonic() + START_PATIENCE_S
        while True:
            self.check()
            state = self.ready(name)
            if state is not None:
                return state
            if time.monotonic() > give_up_s:
                raise Abort(f"`catchment up` is not ready after {START_PATIENCE_S:.0f} s; it said:\n{self._tail()}")
            time.sleep(0.02)

    def warehouse_process(self) -> ServiceState | None:
        """The process that loads, while it is ready."""
        return self.ready("load")

    def ready(self, name: str) -> ServiceState | None:
        """The service, while it is ready."""
        state = presence.service(self._runtime, name)
        return state if state is not None and state.state == "ready" else None

    def serves(self) -> bool:
        """Whether it has pages."""
        return presence.service(self._runtime, "serve") is not None

    def check(self) -> None:
        """Raise `Abort` if it has ended."""
        if self._popen.poll() is not None:
            raise Abort(f"`catchment up` ended with exit code {self._popen.returncode}; it said:\n{self._tail()}")

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def wait(self) -> None:
        """Until it ends."""
        self._popen.wait()

    def stop(self) -> bool:
        """Drain it; whether it ended in order. A second Ctrl-C meanwhile interrupts it. Twice does nothing."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_PATIENCE_S)
            except KeyboardInterrupt:
                self._popen.terminate()
                self._popen.wait(STOP_PATIENCE_S)
        return self._popen.returncode == 0

    def close(self) -> None:
        """Stop it, if it still runs."""
        try:
            self.stop()
        finally:
            os.close(self._life)

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  nothing"


class Sending:
    """`catchment send` of one file while it runs."""

    def __init__(self, popen: subprocess.Popen[bytes], table: str) -> None:
        self._popen = popen
        self._table = table

    def runs(self) -> bool:
        """Whether it is still at it."""
        return self._popen.poll() is None

    def result(self) -> dict[str, Any]:
        """What it printed at its end. Raises `Abort` if it failed."""
        out, words = self._popen.communicate()
        if self._popen.returncode != 0:
            raise Abort(f"sending {self._table} failed; it said:\n{words.decode(errors='replace').rstrip()}")
        return msgspec.json.decode(out, type=dict[str, Any])


@contextmanager
def sending(root: Path, dataset: Dataset) -> Iterator[Sending]:
    """Send a dataset; ended with the block, finished or not."""
    with subprocess.Popen(
        command(*send_arguments(dataset), "--json"),
        cwd=root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as popen:
        try:
            yield Sending(popen, dataset.table)
        finally:
            popen.terminate()


def send_arguments(dataset: Dataset) -> list[str]:
    """The words behind `catchment`, as anybody would type them in the project's folder."""
    return ["send", dataset.table, str(dataset.file), "--null", NULL]


def command(*arguments: str) -> Sequence[str]:
    """A command line of this Catchment."""
    return [sys.executable, "-m", "catchment", *arguments]


def environment() -> dict[str, str]:
    """Ours, without what names another project."""
    return {
        name: value for name, value in os.environ.items() if name not in {"CATCHMENT_PROJECT", "CATCHMENT_PROFILE"}
    }
