"""`up`: starts a project's processes, restarts what dies, and stops them in order.

It holds nothing that could be lost and imports little, so that it never is what fails: one thread, one loop,
woken by signals, by the children's output and by time. Each child leads a process group of its own, so that
Ctrl-C reaches it through us alone and whatever it leaves behind can be ended with it; and it holds the read end
of a pipe of ours, so that it learns of our end, however that comes.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, Literal

from catchment import presence
from catchment.child import Child, ChildProcess
from catchment.errors import Abort, StorageError, UsageError
from catchment.log import get_log
from catchment.presence import ServiceState
from catchment.process import DONE, DRAIN_S, FAILED, WRONG_CONFIGURATION, Wakeups, take_parent_fd, wakeups

LOUD_FAILURES: Final = 3
"""So many in a row are no accident."""

_log = get_log("up")
_PARENT: Final = "parent"
"""What the selector knows the pipe of our own parent by."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits for what."""

    first_restart_s: float = 0.1
    last_restart_s: float = 30.0
    healthy_s: float = 60.0
    """Once ready for so long, a child's failures are forgotten."""
    slow_start_s: float = 15.0
    """Who is not ready by then is told of."""
    drain_s: float = DRAIN_S + 5
    """For each child; by itself it takes a little less."""
    interrupt_s: float = 5.0
    orphan_s: float = 3.0
    """For a child of an earlier supervisor that was killed to begin to drain: milliseconds, on an idle machine."""
    leftover_s: float = 15.0
    """For such a child to stop, which it does by itself."""


class Supervisor:
    """Runs children until it is told to stop.

    They are started together, and stopped one after the other in the order given: who publishes comes before
    who consumes. `on_ready` is called once, when all are ready for the first time; `on_slow` before that, once the
    first of them takes long, with those that are ready and what the others wait for.
    """

    _life_fd: int
    _woken: Wakeups
    _selector: selectors.BaseSelector

    def __init__(
        self,
        runtime: Path,
        children: Sequence[Child],
        *,
        on_ready: Callable[[Sequence[ServiceState]], None] = lambda states: None,
        on_slow: Callable[[Sequence[ServiceState]], None] = lambda states: None,
        patience: Patience | None = None,
    ) -> None:
        self._runtime = runtime
        self._children = [ChildProcess(child) for child in children]
        self._ports = {child.port for child in children if child.port}
        self._on_ready = on_ready
        self._on_slow = on_slow
        self._patience = patience or Patience()
        self._all_were_ready = False
        self._said_slow = False
        self._poll_s = 0.01
        self._stopping = False
        self._interrupted = False
        self._kill_at_s = inf
        self._exit_code = DONE
        self._refusal: UsageError | None = None

    def run(self) -> int:
        """Until the first SIGTERM, SIGINT or SIGHUP (drain) or a second one (interrupt); then the exit code. Who
        started us with the read end of a pipe (`process.PARENT_ENV`) drains us by its own end as well.

        0: stopped as asked. 1: interrupted, or a child failed to stop in order. Raises `UsageError` when a child
        found its configuration wrong, with what it said, once the others have stopped; `Abort` when another `up`
        runs for this project, or a service that is to be started here, or an address cannot be listened on.
        """
        with presence.hold(self._runtime / presence.UP_LOCK) as other_pid:
            if other_pid is not None:
                raise Abort(
                    f"`catchment up` already runs for this project (pid {other_pid or 'unknown'})",
                    "see `catchment status`; Ctrl-C where it runs, or a SIGTERM, stops it",
                )
            for process in self._children:
                self._await_leftover(process.name)
            parent_fd = take_parent_fd()
            with self._open_ports():
                self._run(parent_fd)
        if self._refusal:
            raise self._refusal
        return self._exit_code

    @contextlib.contextmanager
    def _open_ports(self) -> Iterator[None]:
        """Hold the addresses as long as anything runs: while a child restarts, who connects to it waits."""
        with contextlib.ExitStack() as closing:
            for port in self._ports:
                port.open()
                closing.callback(port.close)
            yield

    def _run(self, parent_fd: int | None) -> None:
        # The write end closes on exec: no child holds it, so none keeps another from seeing our end.
        self._life_fd, ours_fd = os.pipe()
        try:
            with wakeups(signal.SIGCHLD) as self._woken, selectors.DefaultSelector() as self._selector:
                self._selector.register(self._woken.fd, selectors.EVENT_READ)
                if parent_fd is not None:
                    self._selector.register(parent_fd, selectors.EVENT_READ, _PARENT)
                self._supervise()
        finally:
            os.close(ours_fd)
            os.close(self._life_fd)

    def _supervise(self) -> None:
        while not self._stopping or any(process.alive for process in self._children):
            self._start_due()
            self._listen()
            self._reap()
            self._announce()
            self._press()

    def _await_leftover(self, name: str) -> None:
        """Wait for a service of an earlier `up` that was killed. One that does not stop is somebody else's."""
        began_s = time.monotonic()
        said = drains = False
        while (state := presence.service(self._runtime, name)) and state.alive:
            waited_s = time.monotonic() - began_s
            # In its very last moments it shows as something else.
            drains = drains or state.state == "draining"
            if waited_s > (self._patience.leftover_s if drains else self._patience.orphan_s):
                raise Abort(
                    f"{name} already runs for this project (pid {state.pid or 'unknown'})",
                    f"stop that process first, or leave {name} to it and `run` the others",
                )
            if not said:
                said = True
                _log.info("waiting for an earlier process to stop", part=name, pid=state.pid)
            time.sleep(0.02)

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for process in self._children:
            if process.alive or self._stopping or now_s < process.restart_at_s:
                continue
            try:
                process.start(self._life_fd)
            except OSError as error:  # no memory, no descriptors, no such program
                _log.error("cannot start", part=process.name, exc=error)
                self._fail(process)
                continue
            assert process.output is not None
            self._selector.register(process.output.fd, selectors.EVENT_READ, process)
            self._poll_s = 0.01
            _log.debug("started", part=process.name, pid=process.pid)

    def _listen(self) -> None:
        """Wait for the next thing to happen, pass on what the children say, and note what we are asked to do."""
        for key, _ in self._selector.select(self._patience_s()):
            process = key.data
            if isinstance(process, ChildProcess) and process.output and not process.output.read():
                self._selector.unregister(process.output.fd)
            elif process is _PARENT:
                self._selector.unregister(key.fd)
                _log.warning("the process that started us has ended")
                self._signalled()
        for number in self._woken.read():
            if number != signal.SIGCHLD:
                self._signalled()

    def _patience_s(self) -> float | None:
        """How long nothing may happen; None for as long as it likes."""
        now_s = time.monotonic()
        due_s = [self._kill_at_s, *(process.kill_at_s for process in self._children)]
        if not self._stopping:
            due_s += [process.restart_at_s for process in self._children if not process.alive]
            if any(process.alive and process.ready_at_s is None for process in self._children):
                due_s.append(now_s + self._poll_s)
                self._poll_s = min(self._poll_s * 1.1, 0.5)
        first_s = min(due_s)
        return None if first_s == inf else max(0.0, first_s - now_s)

    def _signalled(self) -> None:
        if self._interrupted:
            self._kill_at_s = 0
        elif self._stopping:
            self._interrupted = True
            self._exit_code = FAILED
            self._kill_at_s = time.monotonic() + self._patience.interrupt_s
            _log.warning("interrupted: leaving things unfinished")
            for process in self._children:
                process.terminate()
        else:
            _log.info("stopping", parts=[process.name for process in self._children if process.alive])
            self._stopping = True

    def _reap(self) -> None:
        """See which children have ended, and decide what is to be done about it."""
        for process in self._children:
            code = process.poll()
            if code is None:
                continue
            output = process.output
            assert output is not None
            with contextlib.suppress(KeyError):  # it may have closed its output before
                self._selector.unregister(output.fd)
            output.finish()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            if self._stopping:
                self._note(process, "stopped")
                # Ours may have met it before it could listen.
                if code != DONE and not (code == -signal.SIGTERM and process.ready_at_s is None):
                    self._exit_code = FAILED
                    _log.warning("did not stop in order", part=process.name, ended_by=how)
            elif code == WRONG_CONFIGURATION:
                self._note(process, "stopped")
                said = f"{process.name} cannot run with this configuration; it said:\n{output.tail}"
                self._refusal = UsageError(said, "correct what it names, and see `catchment validate`")
                self._stopping = True
            elif code in {DONE, -signal.SIGTERM}:
                self._again(process)
            else:
                _log.warning("died", part=process.name, ended_by=how)
                self._fail(process)

    def _fail(self, process: ChildProcess) -> None:
        """Have it started again, the later the more often it has failed in a row."""
        now_s = time.monotonic()
        if process.ready_at_s is not None and now_s - process.ready_at_s >= self._patience.healthy_s:
            process.failures = 0
        # The exponent has a bound of its own: a child may fail for weeks.
        delay_s = min(self._patience.first_restart_s * 2 ** min(process.failures, 30), self._patience.last_restart_s)
        delay_s *= random.uniform(0.75, 1.25)  # noqa: S311 - so that children which fail together don't return together
        process.failures += 1
        process.ready_at_s = None
        process.restart_at_s = now_s + delay_s
        self._note(process, "restarting")
        if process.failures >= LOUD_FAILURES:
            said = process.output.tail if process.output else ""
            error = Abort(f"its last words:\n{said}" if said else "it said nothing")
            _log.error("keeps failing", part=process.name, failures=process.failures, exc=error)
        _log.info("restarting", part=process.name, in_s=round(delay_s, 3))

    def _again(self, process: ChildProcess) -> None:
        """Somebody has asked it to stop, which is no failure: start it again at once."""
        process.ready_at_s = None
        process.restart_at_s = time.monotonic() + self._patience.first_restart_s
        self._note(process, "restarting")
        _log.info("was stopped: restarting", part=process.name)

    def _note(self, process: ChildProcess, state: Literal["restarting", "stopped"]) -> None:
        try:
            presence.note(self._runtime, process.name, state)
        except StorageError as error:  # what `status` shows is not worth stopping anything for
            _log.error("cannot say how a service is", part=process.name, exc=error)

    def _announce(self) -> None:
        """See which children have become ready."""
        for process in self._children:
            if process.alive and process.ready_at_s is None:
                state = presence.service(self._runtime, process.name)
                if state and state.pid == process.pid and state.state == "ready":
                    process.ready_at_s = time.monotonic()
                elif time.monotonic() - process.started_at_s > self._patience.slow_start_s and not process.slow_said:
                    process.slow_said = True
                    why = state.waits_for if state else ""
                    waiting_s = self._patience.slow_start_s
                    _log.warning("is not ready yet", part=process.name, waiting_s=waiting_s, why=why or None)
        if self._all_were_ready:
            return
        if all(process.alive and process.ready_at_s for process in self._children):
            self._all_were_ready = True
            self._on_ready(self._states())
        elif not self._said_slow and any(process.slow_said for process in self._children):
            self._said_slow = True
            self._on_slow(self._states())

    def _states(self) -> list[ServiceState]:
        names = [process.name for process in self._children]
        return [state for state in presence.services(self._runtime) if state.name in names]

    def _press(self) -> None:
        """See that a stop comes to its end: one child after the other, or all at once when interrupted."""
        if not self._stopping:
            return
        for port in self._ports:  # nobody will come to accept: once its children are gone, who connects is refused
            port.close()
        now_s = time.monotonic()
        alive = [process for process in self._children if process.alive]
        if now_s >= self._kill_at_s:
            self._kill_at_s = inf
            for process in alive:
                process.kill()
        elif alive and not self._interrupted:
            first = alive[0]
            if first.kill_at_s == inf:
                first.kill_at_s = now_s + self._patience.drain_s
                first.terminate()
            elif now_s >= first.kill_at_s:
                _log.error("not drained in time: ending it", part=first.name, after_s=self._patience.drain_s)
                first.kill_at_s = now_s + self._patience.drain_s
                first.kill()
