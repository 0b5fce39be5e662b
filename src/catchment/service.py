"""A service, the long-running part of Catchment, and how it is told to stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from catchment.log import get_log

_log = get_log()


@dataclass(frozen=True, slots=True)
class Health:
    """How a service is at this moment.

    `ok`: it works, or waits for something that will come back; when False, only a restart helps.
    `ready`: it does its work now. `detail` says in a few words what is wrong. `address` is where it is reached:
    a URL or the path of a socket; None for one that nobody calls.
    """

    ok: bool
    ready: bool
    detail: str = ""
    address: str | None = None


class Service(Protocol):
    """A part that runs until it is told to stop.

    `run` is called once, in a thread of its own. It opens what it needs, works until `stop.draining`, finishes
    what it has begun (a round, an answer), closes everything and returns; soon after `stop.interrupted` it
    returns whatever is unfinished. Before a stop it never returns: what it cannot overcome it raises, and the
    process ends with that reason, the other services being drained first. `Retry` errors are its own to
    overcome, by waiting with `stop.wait`.

    Threads of its own are started with `stop.start`, so that none dies unnoticed.

    `health` may be called from any thread, before, during and after `run`, and does not block.
    """

    @property
    def name(self) -> str:
        """One of DESIGN's names of services, such as `load`."""

    def run(self, stop: Stop) -> None:
        """Work until told to stop; return when drained."""

    def health(self) -> Health:
        """How it is at this moment."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process stops that nobody asked to."""

    part: str
    reason: BaseException


class Stop:
    """Tells a process's services when to stop, and hears from them when they must.

    It moves one way: running, draining, interrupted. All calls may come from any thread, but not from a signal
    handler (which could meet a lock that its own thread holds); each may be made twice, or before anything runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._interrupted = threading.Event()
        self._deadline_s = math.inf
        self._failures: list[Failure] = []
        self._on_drain: list[Callable[[], None]] = []
        self._on_interrupt: list[Callable[[], None]] = []

    @property
    def draining(self) -> bool:
        """Take in nothing new, finish what is begun, return."""
        return self._draining.is_set()

    @property
    def interrupted(self) -> bool:
        """Leave everything as it is and return."""
        return self._interrupted.is_set()

    @property
    def remaining_s(self) -> float:
        """How long draining may still take before it is interrupted; infinite while nobody has set a limit."""
        return max(0.0, self._deadline_s - time.monotonic())

    @property
    def failures(self) -> list[Failure]:
        """What has failed, in order; empty for a stop that was asked for."""
        with self._lock:
            return list(self._failures)

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until `seconds` have passed or a stop is asked for; True when it is. None: until then."""
        return self._draining.wait(seconds)

    def drain(self, within_s: float = math.inf) -> None:
        """Ask for an orderly stop. A second call can only shorten the time it may take."""
        with self._lock:
            self._deadline_s = min(self._deadline_s, time.monotonic() + within_s)
            self._draining.set()
            callbacks, self._on_drain = self._on_drain, []
        _call(callbacks)

    def interrupt(self) -> None:
        """Ask for a stop at once, leaving things unfinished."""
        self.drain(within_s=0)
        with self._lock:
            self._interrupted.set()
            callbacks, self._on_interrupt = self._on_interrupt, []
        _call(callbacks)

    def fail(self, part: str, reason: BaseException) -> None:
        """Report that `part` cannot go on: the process drains and ends with this reason."""
        with self._lock:
            self._failures.append(Failure(part, reason))
        self.drain()

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Call once when draining begins, at once if it has: for what `wait` cannot wake, such as a server."""
        with self._lock:
            if not self._draining.is_set():
                self._on_drain.append(callback)
                return
        _call([callback])

    def on_interrupt(self, callback: Callable[[], None]) -> None:
        """Call once when interrupted, at once if it has been: such as to interrupt a running query."""
        with self._lock:
            if not self._interrupted.is_set():
                self._on_interrupt.append(callback)
                return
        _call([callback])

    def start(self, name: str, function: Callable[[], None]) -> threading.Thread:
        """Run a side task in a thread. If it raises, the process stops with its reason."""

        def guarded() -> None:
            try:
                function()
            except BaseException as reason:  # also SystemExit, on which a thread would end in silence
                self.fail(name, reason)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread


def _call(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception as error:  # the others must still hear of the stop
            _log.error("a callback failed while stopping", exc=error)
