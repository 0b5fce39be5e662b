"""Events over HTTP, 1,000/s alone and 10,000/s in batches: how soon after its answer a query sees each."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import uvloop

from bench.collect import BATCH, CONTEXT, HEAD, KEY, free_port, settings
from bench.latency import Probe, look_for, look_until_seen
from bench.measure import Check, percentile, progress, result, scratch, tree_cpu_s
from bench.up import Up, make_project, up

SINGLE_PER_S = 1_000
BATCHED_PER_S = 10_000
CONNECTIONS = 64
TICK_S = 0.01
EVERY_S = 0.05
WARM_UP_S = 5
MEASURED_S = 30
SEEN_WITHIN_S = 60
NEEDED_BYTES = 3_000_000_000
_CLOCKS_DIFFER = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Kind:
    """Events of one name: the table they come to, and what they say by their number and time."""

    event: str
    table: str
    properties: Callable[[int, datetime], dict[str, Any]]


VIEWS = Kind("Page Viewed", "site.page_viewed", lambda seq, _: {"path": f"/products/{seq % 500}"})


def run() -> dict[str, Any]:
    """Seconds from the answer to the sight of it in p50 and p99, of both."""
    port = free_port()
    with scratch(NEEDED_BYTES) as folder, up(make_project(folder, settings(port))) as running:
        wait_for_table(running, port)
        first = 1
        found = {}
        for name, per_s, batch in (("single", SINGLE_PER_S, 1), ("batched", BATCHED_PER_S, BATCH)):
            progress(f"{name}: {per_s:,} events/s")
            found[name] = _measure(running, port, first, per_s, batch)
            first += 1_000_000_000
    checks = [
        Check(f"{name}_{share}_s", percentile(found[name].latencies_s, at), must=must, goal=goal)
        for share, at, must, goal in (("p50", 0.5, 1, 0.6), ("p99", 0.99, 3, 1.5))
        for name in found
    ]
    return result(
        checks,
        "its own limits: seconds from the answer to a query's answer that shows the event",
        events={name: each.events for name, each in found.items()},
        max_s={name: round(max(each.latencies_s), 2) for name, each in found.items()},
        answered_p99_ms={name: round(percentile(each.answered_s, 0.99) * 1e3, 1) for name, each in found.items()},
        cores={name: round(each.cores, 2) for name, each in found.items()},
        client_behind_s={name: round(each.behind_s, 2) for name, each in found.items()},
    )


class _Found(msgspec.Struct):
    latencies_s: list[float]
    answered_s: list[float]
    events: int
    cores: float
    behind_s: float


def _measure(running: Up, port: int, first: int, per_s: int, batch: int) -> _Found:
    """One of a batch is looked for: all of it becomes visible at once."""
    probe = Probe(f"SELECT seq FROM {VIEWS.table} WHERE _received_at >= $1 AND seq >= {first} AND probe", EVERY_S)
    with Clients(port, first, per_s, batch, probe) as clients:
        look_for(running.rows, [probe], WARM_UP_S)
        probe.forget()
        clients.answered_s.clear()
        cpu_s, began_s, events = tree_cpu_s(running.pid), time.monotonic(), clients.events
        look_for(running.rows, [probe], MEASURED_S)
        cores = (tree_cpu_s(running.pid) - cpu_s) / (time.monotonic() - began_s)
        events = clients.events - events
        answered_s = list(clients.answered_s)
    look_until_seen(running.rows, [probe], SEEN_WITHIN_S)
    return _Found(probe.latencies_s, answered_s, events, cores, clients.behind_s)


def request(first: int, count: int, batch: int, kind: Kind = VIEWS) -> bytes:
    """One with so many events, numbered from `first` on; of a batch the last one is a probe."""
    now = datetime.now(UTC)
    calls = [
        {
            "type": "track",
            "event": kind.event,
            "messageId": f"m-{first + n}",
            "anonymousId": f"a{(first + n) % 1000}",
            "timestamp": now,
            "properties": {"seq": first + n, "probe": n == count - 1, **kind.properties(first + n, now)},
            "context": CONTEXT,
        }
        for n in range(count)
    ]
    body = msgspec.json.encode({"batch": calls} if batch > 1 else calls[0])
    path = b"/v1/batch" if batch > 1 else b"/v1/track"
    return HEAD % (path, KEY.encode(), len(body)) + body


class Clients:
    """Sends at a steady pace, whether or not the answers keep up, over so many connections, in a thread, until the
    block ends. A connection has one request at a time; where all are busy, requests wait for one."""

    def __init__(self, port: int, first: int, per_s: int, batch: int, probe: Probe, kind: Kind = VIEWS) -> None:
        self._port, self._next, self._batch, self._probe, self._kind = port, first, batch, probe, kind
        self._requests_per_tick = per_s * TICK_S / batch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._idle: list[_Connection] = []
        self._busy = 0
        self._waiting: deque[tuple[float, bytes, int]] = deque()
        self._error: BaseException | None = None
        self.answered_s: list[float] = []
        """From when a request was due to its answer."""
        self.behind_s = 0.0
        """The longest that a tick came late: large where the machine can't keep the pace."""
        self.events = 0

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            uvloop.run(self._send())
        except BaseException as error:  # raised where the block ends
            self._error = error

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            self._idle.append(connection)
        began_s = time.monotonic()
        tick = due = 0
        while not self._stop.is_set() and self._error is None:
            tick += 1
            late_s = time.monotonic() - began_s - tick * TICK_S
            self.behind_s = max(self.behind_s, late_s)
            await asyncio.sleep(max(0.0, -late_s))
            while due < tick * self._requests_per_tick:
                due += 1
                text = request(self._next, self._batch, self._batch, self._kind)
                self._waiting.append((time.monotonic(), text, self._next))
                self._next += self._batch
            self.hand_out()
        give_up_s = time.monotonic() + SEEN_WITHIN_S
        while self._busy and self._error is None and time.monotonic() < give_up_s:
            await asyncio.sleep(TICK_S)
        for connection in list(self._idle):
            connection.close()
        await asyncio.sleep(TICK_S)

    def hand_out(self) -> None:
        """Give waiting requests to idle connections."""
        while self._waiting and self._idle:
            self._busy += 1
            self._idle.pop().ask(*self._waiting.popleft())

    def answered(self, connection: _Connection, data: bytes) -> None:
        """The whole answer to the request of a connection."""
        if not data.startswith(b"HTTP/1.1 200"):
            self.failed(RuntimeError(f"not answered 200: {data[:300]!r}"))
            return
        now_s = time.monotonic()
        self._probe.expect_seqs([connection.first + self._batch - 1], connection.sent_at - _CLOCKS_DIFFER)
        self.answered_s.append(now_s - connection.due_s)
        self.events += self._batch
        self._busy -= 1
        self._idle.append(connection)
        self.hand_out()

    def closed(self, connection: _Connection, error: Exception | None) -> None:
        """By the collector, which it may do to one that is idle."""
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self.failed(error or RuntimeError("the collector closed a connection without an answer"))

    def failed(self, error: BaseException) -> None:
        """Ends it all."""
        self._error = self._error or error


class _Connection(asyncio.Protocol):
    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._transport: asyncio.WriteTransport | None = None
        self.due_s = 0.0
        self.first = 0
        self.sent_at = datetime.now(UTC)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, due_s: float, text: bytes, first: int) -> None:
        assert self._transport is not None
        self.due_s, self.first, self.sent_at = due_s, first, datetime.now(UTC)
        self._transport.write(text)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._clients.answered(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.closed(self, exc)


def wait_for_table(running: Up, port: int, kind: Kind = VIEWS) -> None:
    """One event makes it. Raises `RuntimeError` where it does not."""
    schema, _, name = kind.table.partition(".")
    deadline_s = time.monotonic() + SEEN_WITHIN_S
    with socket.create_connection(("127.0.0.1", port), SEEN_WITHIN_S) as connection:
        connection.sendall(request(-1, 1, 1, kind))
        connection.recv(1_000)
    while not running.row_counts(schema).get(name):
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the first event is not visible after {SEEN_WITHIN_S} s")
        time.sleep(0.05)
