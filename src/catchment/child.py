"""One child process of the supervisor: its start, its output, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from catchment.listening import FDS_ENV, Port
from catchment.log import FORMAT_ENV, look, mask
from catchment.process import PARENT_ENV, RESTARTS_ENV

TAIL_LINES: Final = 20
MAX_LINE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Child:
    """A process to run. `name` is that of the service by which it makes itself known in the project; `env` comes
    on top of our own. It accepts connections from `port`, which the supervisor holds."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    port: Port | None = None


class ChildProcess:
    """A child as it is now: running or not, for how long, and after how many failures."""

    def __init__(self, child: Child) -> None:
        self.name: Final = child.name
        self.output: Output | None = None
        self.started_at_s = inf
        self.ready_at_s: float | None = None
        self.restart_at_s = 0.0
        """When to start it (again), while it does not run."""
        self.kill_at_s = inf
        self.failures = 0
        """In a row, without a healthy while in between."""
        self.slow_said = False
        self._child = child
        self._popen: subprocess.Popen[bytes] | None = None
        self._restarts = -1

    @property
    def alive(self) -> bool:
        """Started, and its end not yet seen by `poll`."""
        return self._popen is not None

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    def start(self, life_fd: int) -> None:
        """Run it, as the leader of a process group. `life_fd` is the end of a pipe by which it watches over us."""
        self._restarts += 1
        ours = {
            PARENT_ENV: str(life_fd),
            RESTARTS_ENV: str(self._restarts),
            FORMAT_ENV: look(sys.stderr),
        }
        listening = self._child.port.fds if self._child.port else []
        if listening:
            ours[FDS_ENV] = ",".join(map(str, listening))
        read, write = os.pipe()
        try:
            self._popen = subprocess.Popen(
                self._child.argv,
                env={**os.environ, **self._child.env, **ours},
                stdin=subprocess.DEVNULL,
                stdout=write,  # the supervisor's own stdout is data
                stderr=write,
                pass_fds=[life_fd, *listening],
                process_group=0,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self.output = Output(read)
        self.started_at_s = time.monotonic()
        self.ready_at_s = None
        self.restart_at_s = self.kill_at_s = inf
        self.slow_said = False

    def poll(self) -> int | None:
        """The exit code once it has ended (negative: by this signal), else None. Once said, it is not `alive`.

        What it leaves behind in its process group is ended: a task's program could hold on to the warehouse.
        """
        if self._popen is None or self._popen.poll() is None:
            return None
        self._kill_group(self._popen.pid)
        code = self._popen.returncode
        self._popen = None
        return code

    def terminate(self) -> None:
        """Ask it to drain; asked twice, it is to interrupt."""
        if self._popen:
            self._popen.terminate()

    def kill(self) -> None:
        """End it and all it has started."""
        if self._popen:
            self._kill_group(self._popen.pid)

    @staticmethod
    def _kill_group(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; macOS says it the other way
            os.killpg(pid, signal.SIGKILL)


class Output:
    """What a child says: passed on to stderr in whole lines, so that children do not cut into each other."""

    def __init__(self, fd: int) -> None:
        self.fd: Final = fd
        os.set_blocking(fd, False)
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def tail(self) -> str:
        """Its last lines, indented."""
        return "\n".join(f"  {line}" for line in self._tail)

    def read(self) -> bool:
        """Pass on what is there; False once nothing can come any more."""
        try:
            data = os.read(self.fd, MAX_LINE_BYTES)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= MAX_LINE_BYTES or not data:
            lines, self._rest = [*lines, self._rest], b""
        for line in filter(None, lines):
            self._pass_on(mask(line.decode(errors="replace")))
        return bool(data)

    def finish(self) -> None:
        """Pass on what a child that has ended still said, and close."""
        # Bounded: what it started may have escaped its group, and go on talking.
        for _ in range(16):
            before = self._rest
            if not self.read() or self._rest == before:
                break
        if self._rest:
            self._pass_on(mask(self._rest.decode(errors="replace")))
        os.close(self.fd)

    def _pass_on(self, line: str) -> None:
        self._tail.append(line)
        with contextlib.suppress(OSError, ValueError):  # nobody listens to us any more: no reason to fail
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
