"""One process of Catchment: runs services until it is told to stop, and tells the world how they are.

A process stops for one of four reasons: a signal, an ended parent, a failed part, or a `Stop` that somebody
asked for. Whatever the reason, it drains within a bound, is then interrupted, and at last ends the hard way.
It never goes on half alive.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from catchment.errors import CatchmentError, StorageError, UsageError
from catchment.log import get_log, mask
from catchment.presence import Presence, State
from catchment.service import Health, Service, Stop

PARENT_ENV: Final = "CATCHMENT_PARENT_FD"
RESTARTS_ENV: Final = "CATCHMENT_RESTARTS"

DONE: Final = 0
FAILED: Final = 1
WRONG_CONFIGURATION: Final = 2

DRAIN_S: Final = 30.0
ORPHAN_DRAIN_S: Final = 5.0
"""When the parent is gone: the next `up` may be waiting for us already."""
INTERRUPT_S: Final = 3.0
"""From an interrupt to the hard end."""
_TELL_AGAIN_S: Final = 1.0

_log = get_log()


def run_services(
    services: Sequence[Service],
    *,
    runtime: Path | None = None,
    health_host: str = "127.0.0.1",
    health_port: int | None = 0,
    stop: Stop | None = None,
    drain_s: float = DRAIN_S,
    interrupt_s: float = INTERRUPT_S,
) -> int:
    """Run the services, each in a thread, until all have returned; then the exit code of the process.

    0: stopped as asked. 1: something failed, or did not stop in time. 2: wrong configuration. What went wrong
    has been logged. `runtime` is the project's `.catchment`, where each service makes itself known; None for
    none. `health_port` 0 takes a free one; None for none. The first SIGTERM or SIGINT drains, a second one or
    `drain_s` interrupts, a third or `interrupt_s` more ends the process at once. Signals are only listened to
    in the main thread. With a `stop` that is asked for already nothing is started.
    """
    stop = stop or Stop()
    if stop.draining:
        return _exit_code(stop)
    with contextlib.ExitStack() as closing, wakeups() as woken:
        try:
            run = _Run(services, runtime, stop, woken, drain_s, interrupt_s, closing)
            run.open(health_host, health_port)
        except CatchmentError as error:
            _log.error("cannot start", exc=error)
            return WRONG_CONFIGURATION if isinstance(error, UsageError) else FAILED
        run.start()
        run.wait()
    return _exit_code(stop)


class Wakeups:
    """A pipe that wakes the main thread: by a signal's number, or by `wake` for anything else.

    The handlers of Python run between any two steps of the main thread, where taking a lock may be a deadlock;
    so they do nothing, and the main thread reads here which signals came.
    """

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._closed = False

    @property
    def write_fd(self) -> int:
        """For `signal.set_wakeup_fd`."""
        return self._write

    def wake(self) -> None:
        """Wake the main thread. From any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):  # full: it will wake anyway
                    os.write(self._write, b"\0")

    def read(self) -> bytes:
        """The numbers of the signals that came since the last call."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, 4096).replace(b"\0", b"")
        return b""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self.fd)
            os.close(self._write)


@contextlib.contextmanager
def wakeups(*more: signal.Signals) -> Iterator[Wakeups]:
    """Wakeups that carry the signals asking for a stop, and `more`. Outside the main thread: no signals."""
    woken = Wakeups()
    if threading.current_thread() is not threading.main_thread():
        with contextlib.closing(woken):
            yield woken
        return
    wanted = [signal.SIGTERM, signal.SIGINT, *more]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    fd_before = signal.set_wakeup_fd(woken.write_fd, warn_on_full_buffer=False)
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        woken.close()


def take_parent_fd() -> int | None:
    """The read end of a pipe whose write end only our supervisor has: its end of file is the supervisor's end.

    Taken once: our own children are to neither see nor inherit it. None when nobody supervises us.
    """
    text = os.environ.pop(PARENT_ENV, None)
    if text is None:
        return None
    fd = int(text)
    os.set_inheritable(fd, False)
    return fd


def take_restarts() -> int:
    """How often our supervisor has restarted us; 0 where nobody supervises us. Our own children are not to see it."""
    text = os.environ.pop(RESTARTS_ENV, "")
    return int(text) if text.isdecimal() else 0


class _Run:
    """The services of this process while they run; used by the main thread alone."""

    def __init__(
        self,
        services: Sequence[Service],
        runtime: Path | None,
        stop: Stop,
        woken: Wakeups,
        drain_s: float,
        interrupt_s: float,
        closing: contextlib.ExitStack,
    ) -> None:
        self._services = services
        self._runtime = runtime
        self._stop = stop
        self._woken = woken
        self._drain_s = drain_s
        self._interrupt_s = interrupt_s
        self._closing = closing
        self._parent = take_parent_fd()
        self._supervised = self._parent is not None
        self._restarts = take_restarts()
        self._presences: dict[str, Presence] = {}
        self._running: set[str] = set()
        self._unready = [service.name for service in services]
        self._untold: dict[str, State] = {}
        """What a full disk has kept us from saying."""
        self._poll_s = 0.01
        self._said_draining = False
        self._failures_said = 0
        self._end_at_s = math.inf

    def open(self, host: str, port: int | None) -> None:
        """Make the process known: its port and its entries in the project."""
        address = None
        if port is not None:
            # Not at the top: the supervisor shares this module, and stdlib's HTTP weighs as much as all of it.
            from catchment import metrics
            from catchment.health import HealthServer

            metrics.restarts.set(self._restarts)
            server = HealthServer(self._health, host=host, port=port)
            self._closing.callback(server.close)
            address = server.address
        if self._runtime is not None:
            for service in self._services:
                presence = Presence.claim(self._runtime, service.name)
                self._closing.callback(presence.close)
                self._presences[service.name] = presence
                self._tell(service.name, "starting", metrics_address=address)

    def start(self) -> None:
        self._stop.on_drain(self._woken.wake)
        self._running = {service.name for service in self._services}
        for service in self._services:
            threading.Thread(target=self._work, args=[service], name=service.name, daemon=True).start()

    def wait(self) -> None:
        """Until every service has returned."""
        while self._running:
            self._listen()
            self._announce()
            for name, state in list(self._untold.items()):
                self._tell(name, state)
            self._press()
        self._say_failures()

    def _work(self, service: Service) -> None:
        """One service, in its thread."""
        try:
            service.run(self._stop)
            if not self._stop.draining:
                raise RuntimeError(f"{service.name} has ended by itself")
        except BaseException as reason:  # also SystemExit, on which a thread would end in silence
            self._stop.fail(service.name, reason)
        finally:
            self._running.discard(service.name)
            self._woken.wake()

    def _listen(self) -> None:
        """Wait for the next thing to happen: a signal, the parent's end, a returned service, or time."""
        fds = [self._woken.fd] if self._parent is None else [self._woken.fd, self._parent]
        readable, _, _ = select.select(fds, [], [], self._patience_s())
        if self._parent is not None and self._parent in readable:
            self._orphaned(self._parent)
        for _ in self._woken.read():
            self._signalled()

    def _patience_s(self) -> float | None:
        """How long nothing may happen; None for as long as it likes."""
        if self._stop.draining:
            return 0.05
        if self._unready:
            return self._poll_s
        return _TELL_AGAIN_S if self._untold else None

    def _signalled(self) -> None:
        if self._stop.interrupted:
            self._end_at_s = 0
        elif self._stop.draining:
            _log.warning("interrupted: leaving things unfinished", parts=sorted(self._running))
            self._stop.interrupt()
        else:
            self._stop.drain(self._drain_s)

    def _orphaned(self, parent: int) -> None:
        """The supervisor is gone, perhaps by kill -9: nobody but us ends us, and what we have started."""
        os.close(parent)
        self._parent = None
        _log.warning("the supervisor is gone: stopping", within_s=ORPHAN_DRAIN_S)
        self._stop.drain(ORPHAN_DRAIN_S)
        atexit.register(_end_group)
        # Should anything hang on the way out, the caller's own closing included.
        last = threading.Timer(ORPHAN_DRAIN_S + self._interrupt_s + 1, _end_group)
        last.daemon = True
        last.start()

    def _announce(self) -> None:
        """Say in the project which services have become ready."""
        if not self._unready or self._stop.draining:
            return
        health = self._health()
        for name in list(self._unready):
            if not health[name].ready:
                self._tell_why(name, health[name].detail)
                continue
            self._unready.remove(name)
            self._tell(name, "ready", health[name].address)
            _log.info("ready", part=name, address=health[name].address)
        self._poll_s = min(self._poll_s * 1.1, 1.0)  # it may be waiting for a warehouse that is down

    def _press(self) -> None:
        """See that a stop comes to its end."""
        self._say_failures()
        if not self._stop.draining:
            return
        if not self._said_draining:
            self._said_draining = True
            self._stop.drain(self._drain_s)  # whoever began it may have set no limit
            _log.info("draining", parts=sorted(self._running))
            for name in self._presences:
                self._tell(name, "draining")
        if self._stop.remaining_s == 0 and not self._stop.interrupted:
            _log.error("not drained in time: interrupting", parts=sorted(self._running))
            self._stop.interrupt()
        if self._stop.interrupted:
            self._end_at_s = min(self._end_at_s, time.monotonic() + self._interrupt_s)
        if time.monotonic() >= self._end_at_s and self._running:
            self._abandon()

    def _abandon(self) -> NoReturn:
        """A thread cannot be ended, but its process can: what is durable was made to bear that."""
        _log.error("did not stop: ending the process", parts=sorted(self._running))
        if self._parent is None and self._supervised:
            _end_group()
        os._exit(FAILED)

    def _say_failures(self) -> None:
        failures = self._stop.failures
        for failure in failures[self._failures_said :]:
            _log.error("failed", part=failure.part, exc=failure.reason)
        self._failures_said = len(failures)

    def _tell(
        self,
        name: str,
        state: State,
        address: str | None = None,
        *,
        metrics_address: str | None = None,
        waits_for: str = "",
    ) -> None:
        if name in self._presences:
            try:
                self._presences[name].update(
                    state, address=address, metrics_address=metrics_address, waits_for=waits_for
                )
            except StorageError as error:  # what `status` shows is not worth stopping a service for
                if name not in self._untold:
                    _log.error("cannot say how a service is", part=name, exc=error)
                self._untold[name] = state
            else:
                self._untold.pop(name, None)

    def _tell_why(self, name: str, detail: str) -> None:
        """Say in the project what a service waits for, each time that this changes."""
        why = mask(detail)
        if name in self._presences and why != self._presences[name].waits_for:
            self._tell(name, "starting", waits_for=why)

    def _health(self) -> Mapping[str, Health]:
        return {service.name: _health_of(service) for service in self._services}


def _health_of(service: Service) -> Health:
    try:
        return service.health()
    except Exception as error:
        return Health(ok=False, ready=False, detail=f"{type(error).__name__}: {error}")


def _exit_code(stop: Stop) -> int:
    if any(isinstance(failure.reason, UsageError) for failure in stop.failures):
        return WRONG_CONFIGURATION
    return FAILED if stop.failures or stop.interrupted else DONE


def _end_group() -> None:
    """End this process and all that it has started: the supervisor gave each child a group of its own."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(FAILED)
