"""A project that really runs, and commands on it in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from catchment import presence
from catchment.cli.init import make_project
from tests.cli.conftest import Ended

CATCHMENT = (sys.executable, "-m", "catchment")
PATIENCE_S = 60.0
"""For a machine that does a lot else; nothing waits longer than it has to."""

T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "") -> T:
    """Wait for a condition to hold; what it says then."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < give_up_s, f"waited in vain for {what or condition}"
        time.sleep(0.05)
    return found


class Live:
    """A fresh project in `folder`; `up` starts it."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        make_project(folder)
        if settings:
            (folder / "catchment.toml").write_text(settings)
        self._up: subprocess.Popen[bytes] | None = None
        self._pids: set[int] = set()
        self.said = folder.parent / f"{folder.name}.up"

    @property
    def runtime(self) -> Path:
        return self.folder / ".catchment"

    def up(self) -> None:
        """Start `catchment up` and wait until it is ready."""
        before = self.pid()
        with self.said.open("ab") as said:
            self._up = subprocess.Popen(
                [*CATCHMENT, "up", "-p", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        self.ready(but=before)

    def ready(self, but: int | None = None) -> int:
        """Wait until the warehouse process is ready, in another process than `but`; its pid."""

        def is_ready() -> int | None:
            assert self._up is None or self._up.poll() is None, self.said.read_text()
            state = presence.service(self.runtime, "load")
            return state.pid if state is not None and state.state == "ready" and state.pid != but else None

        pid = until(is_ready, "load to be ready")
        assert pid is not None
        self._pids.add(pid)
        return pid

    def pid(self) -> int | None:
        state = presence.service(self.runtime, "load")
        return state.pid if state is not None else None

    def kill_warehouse_process(self) -> int:
        """kill -9; the pid it had."""
        pid = self.ready()
        os.kill(pid, signal.SIGKILL)
        return pid

    def down(self) -> int:
        """Stop it in order; the exit code."""
        assert self._up is not None
        self._up.send_signal(signal.SIGTERM)
        code = self._up.wait(timeout=PATIENCE_S)
        self._up = None
        return code

    def close(self) -> None:
        """End all of it."""
        if self._up is not None:
            self._up.kill()
            self._up.wait()
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, command: str, *arguments: str | Path, stdin: str | bytes = b"") -> Ended:
        """A command on the project; "dead-letters list" is a command, too."""
        ended = subprocess.run(
            [*CATCHMENT, *command.split(), "-p", str(self.folder), *map(str, arguments)],
            input=stdin.encode() if isinstance(stdin, str) else stdin, capture_output=True, check=False,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert b"Traceback" not in ended.stderr, ended.stderr.decode()
        assert b"unexpected error" not in ended.stderr, ended.stderr.decode()
        return Ended(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))

    def done(self, command: str, *arguments: str | Path, stdin: str | bytes = b"") -> str:
        """The same, which must succeed; what it printed."""
        ended = self.run(command, *arguments, stdin=stdin)
        assert ended.code == 0, ended
        return ended.out

    def send(self, table: str, *records: dict[str, Any] | str, id_field: str | None = None) -> None:
        """Rows as NDJSON, until they are loaded."""
        lines = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in records)
        ids = ("--id", id_field) if id_field else ()
        self.done("send", table, "--format", "ndjson", "--wait", *ids, stdin=lines)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """A query's answer."""
        found: list[dict[str, Any]] = json.loads(self.done("query", "--format", "json", sql))
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").out)
        return found

    def letters(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("dead-letters list", "--json").out.splitlines()]

    def get(self, path: str) -> tuple[int, str]:
        """What the warehouse process answers on its private port."""
        state = presence.service(self.runtime, "load")
        assert state is not None
        try:
            with urllib.request.urlopen(f"{state.metrics_address}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Every metric by its name with labels."""
        _, text = self.get("/metrics")
        found = re.findall(r"^(catchment_\S+) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}


def on_terminal(*arguments: str | Path, columns: int = 80) -> tuple[int, str]:
    """The exit code of a command and all that a terminal of that width is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*CATCHMENT, *map(str, arguments)],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way of saying that the other side has closed
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return process.wait(timeout=PATIENCE_S), shown.decode().replace("\r\n", "\n")
