"""What the tests run as processes of their own.

program.py run RUNTIME NAME=MODE…   services in this process
program.py up RUNTIME NAME=MODE…    a supervisor with one child per service
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from catchment import log
from catchment.child import Child
from catchment.errors import CatchmentError, UsageError
from catchment.listening import Port
from catchment.presence import ServiceState
from catchment.process import run_services
from catchment.service import Health, Stop
from catchment.supervisor import Patience, Supervisor

SECRET = "correct horse battery"


class Example:
    """A service that behaves as its mode says."""

    def __init__(self, name: str, mode: str, runtime: Path) -> None:
        self.name = name
        self._mode = mode
        self._runtime = runtime
        self._ready = False

    def run(self, stop: Stop) -> None:
        """Until told to stop, in the mode's way."""
        log.get_log(self.name).info("running", mode=self._mode)
        if self._mode == "crash":
            print("the disk is on fire", file=sys.stderr)
            raise RuntimeError(f"cannot open with {SECRET}")
        if self._mode == "wrong":
            while not (self._runtime / "go").exists():
                stop.wait(0.01)
            raise UsageError("[queue] type is wrong", "use sqlite")
        if self._mode == "grandchild":
            # It ignores SIGTERM, as a program of somebody else may.
            program = "import os, signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
            grandchild = subprocess.Popen([sys.executable, "-c", program])
            self._write("grandchild", str(grandchild.pid))
        if self._mode == "side-task":
            stop.start("flusher", _fail)
        if self._mode == "returns":
            return
        self._ready = self._mode != "never-ready"
        stop.wait()
        self._write("drained", f"{self.name}\n")
        if self._mode == "slow":
            interrupted = threading.Event()
            stop.on_interrupt(interrupted.set)
            interrupted.wait()
            self._write("interrupted", f"{self.name}\n")
        if self._mode == "hung":
            threading.Event().wait()

    def health(self) -> Health:
        """Ready as soon as it runs."""
        why = "" if self._mode != "never-ready" else f"nobody answers at user:{SECRET}@db"
        return Health(ok=True, ready=self._ready, detail=why, address=f"/run/{self.name}.sock")

    def _write(self, what: str, text: str) -> None:
        with (self._runtime / what).open("a") as file:
            file.write(text)


def _fail() -> None:
    raise OSError("the flusher has died")


def run(runtime: Path, specs: Sequence[tuple[str, str]]) -> int:
    """Services in this process."""
    code = run_services(
        [Example(name, mode, runtime) for name, mode in specs],
        runtime=runtime,
        drain_s=float(os.environ.get("DRAIN_S", "30")),
        interrupt_s=0.3,
    )
    if "HANG_AFTERWARDS" in os.environ:
        threading.Event().wait()
    return code


def up(runtime: Path, specs: Sequence[tuple[str, str]]) -> int:
    """A supervisor of one child per service; writes what it says when ready."""

    def ready(states: Sequence[ServiceState]) -> None:
        (runtime / "all-ready").write_text("\n".join(f"{state.name} {state.address}" for state in states))

    def slow(states: Sequence[ServiceState]) -> None:
        lines = [f"{state.name} {state.state} {state.waits_for}" for state in states]
        (runtime / "not-all-ready").write_text("\n".join(lines))

    program = [sys.executable, __file__, "run", str(runtime)]
    port = Port("127.0.0.1", int(os.environ["PORT"])) if "PORT" in os.environ else None
    children = [
        Child(name, [*program, f"{name}={mode}"], port=port if name == "collect" else None) for name, mode in specs
    ]
    patience = Patience(
        first_restart_s=0.02,
        last_restart_s=0.1,
        healthy_s=float(os.environ.get("HEALTHY_S", "60")),
        slow_start_s=float(os.environ.get("SLOW_START_S", "15")),
        drain_s=float(os.environ.get("UP_DRAIN_S", "30")),
        interrupt_s=1,
    )
    return Supervisor(runtime, children, on_ready=ready, on_slow=slow, patience=patience).run()


def main(arguments: Sequence[str]) -> int:
    """As the command line would: errors to stderr, and the exit code."""
    what, runtime, *services = arguments
    log.hide(SECRET)
    log.setup(what)
    specs = [(name, mode) for name, _, mode in (text.partition("=") for text in services)]
    try:
        return (up if what == "up" else run)(Path(runtime), specs)
    except CatchmentError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
