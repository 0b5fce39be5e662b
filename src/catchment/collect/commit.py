"""Group commit: while one group of requests is made durable, the next one gathers; each is answered by its own.

The event loop hands lines over and goes on; one thread packs and publishes them. An answer never comes before the
queue has said that everything of it is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from catchment import metrics
from catchment.errors import CatchmentError
from catchment.log import get_log
from catchment.pack import messages_of
from catchment.queues import Queue
from catchment.record import Line

_TRY_AGAIN_S = 5.0

_log = get_log("collect")

Done = Callable[[CatchmentError | None], None]
"""Told once that everything is durable, or what went wrong."""


@dataclass(slots=True)
class _Group:
    lines: list[Line] = field(default_factory=list)
    waiting: list[Done] = field(default_factory=list)
    size_bytes: int = 0
    events: int = 0
    rejected: int = 0


class GroupCommit:
    """Makes lines durable in groups. All but `run` belongs to the event loop's thread; `call_soon` has something
    called there in its next turn, `call_soon_threadsafe` from any thread."""

    def __init__(
        self,
        queue: Queue,
        call_soon: Callable[[Callable[[], None]], object],
        call_soon_threadsafe: Callable[[Callable[[], None]], object],
    ) -> None:
        self._queue = queue
        self._call_soon = call_soon
        self._call_soon_threadsafe = call_soon_threadsafe
        self._gathering = _Group()
        self._handed_over: SimpleQueue[_Group | None] = SimpleQueue()
        self._in_flight_bytes = 0
        self._busy = False
        self._trouble = ""
        self._failed_at_s = 0.0

    @property
    def trouble(self) -> str:
        """Why the last group could not be kept; empty while all is well, and once it is worth another try: who sends
        nothing to a collector that is not ready would never hear that it is."""
        return self._trouble if time.monotonic() < self._failed_at_s + _TRY_AGAIN_S else ""

    @property
    def pending_bytes(self) -> int:
        """What waits for its commit, as lines."""
        return self._gathering.size_bytes + self._in_flight_bytes

    def submit(self, lines: Sequence[Line], events: int, rejected: int, done: Done) -> None:
        """Have these lines made durable with whatever else comes in, then call `done`."""
        group = self._gathering
        group.lines += lines
        group.waiting.append(done)
        group.events += events
        group.rejected += rejected
        for line in lines:
            group.size_bytes += len(line.text)
        if not self._busy:
            self._busy = True
            self._call_soon(self._hand_over)  # in the next turn: what else this one brings shares its commit

    def _hand_over(self) -> None:
        group, self._gathering = self._gathering, _Group()
        self._in_flight_bytes = group.size_bytes
        self._handed_over.put(group)

    def _finish(self, group: _Group, error: CatchmentError | None) -> None:
        if self._gathering.waiting:
            self._hand_over()
        else:
            self._busy = False
            self._in_flight_bytes = 0
        for done in group.waiting:
            done(error)

    def close(self) -> None:
        """Let `run` return once everything is committed; nothing is submitted any more."""
        if self._gathering.waiting:
            self._hand_over()
        self._handed_over.put(None)

    # ---- in a thread of its own -------------------------------------------------------

    def run(self) -> None:
        """Commit until `close`."""
        while (group := self._handed_over.get()) is not None:
            error = self._commit(group)
            self._call_soon_threadsafe(partial(self._finish, group, error))

    def _commit(self, group: _Group) -> CatchmentError | None:
        began_s = time.perf_counter()
        try:
            self._queue.publish(messages_of(group.lines))
        except CatchmentError as error:
            if not self._trouble:
                _log.error("events cannot be kept; clients are told to come again", exc=error)
            self._trouble = error.message
            self._failed_at_s = time.monotonic()
            return error
        if self._trouble:
            _log.info("events are kept again")
            self._trouble = ""
        metrics.commit_seconds.observe(time.perf_counter() - began_s)
        if group.events:
            metrics.events_collected.add(group.events)
        if group.rejected:
            metrics.events_rejected.add(group.rejected)
        return None
