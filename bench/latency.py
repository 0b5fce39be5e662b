"""From published to visible: publish at a steady pace, and look for what has not been seen yet.

The probe asks only for records received since the oldest unseen one, which the warehouse finds by its statistics
without reading the rest, so that looking costs the machine little. What it costs counts against us, and so does
the time until the next look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catchment import pack
from catchment.queues import Queue
from catchment.record import Line

Ask = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]
"""A query with its parameters → its rows."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A record to look for: the `seq` in its data, and its line."""

    seq: int
    line: Line


class Probe:
    """Records on their way, found by `query`: it selects `seq` of those received at or after its parameter."""

    def __init__(self, query: str, every_s: float) -> None:
        self.query = query
        self.every_s = every_s
        self.latencies_s: list[float] = []
        self._lock = threading.Lock()
        self._unseen: dict[int, tuple[float, datetime]] = {}

    @property
    def unseen(self) -> int:
        """How many are still on their way."""
        with self._lock:
            return len(self._unseen)

    def expect(self, records: Iterable[Sent]) -> None:
        """These are about to be published: their time runs from now."""
        now = time.monotonic()
        with self._lock:
            self._unseen.update({sent.seq: (now, sent.line.received_at) for sent in records})

    def expect_seqs(self, seqs: Iterable[int], since: datetime) -> None:
        """The same by their `seq` alone, of records that were received at or after `since`."""
        now = time.monotonic()
        with self._lock:
            self._unseen.update(dict.fromkeys(seqs, (now, since)))

    def look(self, ask: Ask) -> None:
        """Ask once, and note what has come into sight."""
        with self._lock:
            if not self._unseen:
                return
            since = min(received_at for _, received_at in self._unseen.values())
        found = ask(self.query, [since])
        now = time.monotonic()
        with self._lock:
            for (seq,) in found:
                if seq in self._unseen:
                    self.latencies_s.append(now - self._unseen.pop(seq)[0])

    def forget(self) -> None:
        """Start measuring afresh: what was seen so far was warming up."""
        with self._lock:
            self.latencies_s.clear()


Probes = Callable[[Sent], Probe | None]
"""Which probe looks for a record; None for one that is not looked for."""


class Pace:
    """Publishes what `make(tick)` gives, once every `tick_s`, in a thread, until the block ends.

    A tick that comes late is made up for at once, so that the rate holds.
    """

    def __init__(self, queue: Queue, tick_s: float, make: Callable[[int], Sequence[Sent]], probes: Probes) -> None:
        self._queue, self._tick_s, self._make, self._probes = queue, tick_s, make, probes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.behind_s = 0.0
        """The longest that a tick came late: large where the machine can't keep the pace."""
        self.error: BaseException | None = None

    def __enter__(self) -> Pace:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        began = time.monotonic()
        tick = 0
        try:
            while not self._stop.wait(max(0.0, began + tick * self._tick_s - time.monotonic())):
                self.behind_s = max(self.behind_s, time.monotonic() - began - tick * self._tick_s)
                publish(self._queue, self._make(tick), self._probes)
                tick += 1
        except BaseException as error:  # raised where the block ends
            self.error = error


def publish(queue: Queue, records: Sequence[Sent], probes: Probes) -> None:
    """Publish them as any publisher does, in packs by table, and have the probes expect them."""
    expected: dict[Probe, list[Sent]] = {}
    tables: dict[str, list[Line]] = {}
    for sent in records:
        tables.setdefault(sent.line.table, []).append(sent.line)
        probe = probes(sent)
        if probe is not None:
            expected.setdefault(probe, []).append(sent)
    packed = [each for table, lines in tables.items() for each in pack.packs(table, lines)]
    for probe, wanted in expected.items():
        probe.expect(wanted)
    queue.publish(list(pack.messages(packed)))


def look_for(ask: Ask, probes: Sequence[Probe], seconds: float) -> None:
    """Let each probe look at its own pace for so long."""
    end = time.monotonic() + seconds
    due = dict.fromkeys(probes, 0.0)
    while (now := time.monotonic()) < end:
        for probe in probes:
            if due[probe] <= now:
                due[probe] = now + probe.every_s
                probe.look(ask)
        time.sleep(max(0.0, min(*due.values(), end) - time.monotonic()))


def look_until_seen(ask: Ask, probes: Sequence[Probe], within_s: float) -> None:
    """Look until nothing is on its way. Raises `RuntimeError` when something is still missing after that."""
    deadline = time.monotonic() + within_s
    while missing := sum(probe.unseen for probe in probes):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{missing} records are still not visible {within_s:.0f} s after the last was sent")
        look_for(ask, probes, 0.2)
