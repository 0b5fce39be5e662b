"""Calls that are waited for so long and no longer, whatever they wait for themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from catchment.errors import CatchmentError


class _Call:
    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # it is raised where the call is waited for
            self.error = error
        self.done.set()


class Calls:
    """Makes calls in threads, which are used again. One that never returns costs its thread and nobody's time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._lock = threading.Lock()
        self._closed = False

    def within(self, seconds: float, work: Callable[[], None]) -> CatchmentError | TimeoutError | None:
        """What it failed with, or that it takes longer: it goes on then. Raises what is no error of Catchment's."""
        call = _Call(work)
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
        inbox.put(call)
        if not call.done.wait(seconds):
            return TimeoutError()
        if call.error is None or isinstance(call.error, CatchmentError):
            return call.error
        raise call.error

    def _serve(self, inbox: SimpleQueue[_Call | None]) -> None:
        while (call := inbox.get()) is not None:
            call.run()
            with self._lock:
                if self._closed:
                    return
                self._idle.append(inbox)

    def close(self) -> None:
        """End the threads that have nothing to do, and the others once they have."""
        with self._lock:
            self._closed = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()
