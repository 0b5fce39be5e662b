"""Batches on their way to a collector that is not always well."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, count
from typing import Any

import pytest

from catchment.demo.company import Call
from catchment.demo.company.calls import Source
from catchment.demo.company.sending import BATCH_CALLS, Connection, Crossing, Live, batches
from catchment.errors import Abort
from tests.service.conftest import until

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
KEYS = {"app": "app-key", "website": "site-key", "github": "github-key"}


def call(number: int, source: Source = "app", at: datetime = NOW) -> Call:
    return Call(source, at, {"type": "screen", "messageId": f"{source}-{number}"})


class Collector(ThreadingHTTPServer):
    """Takes batches. The answers of `troubles` come first: a status, or None for hanging up."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.troubles: list[int | None] = []
        self.seen: list[tuple[str, Any]] = []
        self.taken: list[tuple[str, Any]] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ids(self) -> Counter[str]:
        return Counter(each["messageId"] for _, batch in self.taken for each in batch["batch"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        batch = (key, json.loads(gzip.decompress(body)))
        with self.server.lock:
            trouble = self.server.troubles.pop(0) if self.server.troubles else 200
            self.server.paths.append(self.path)
            self.server.seen.append(batch)
            if trouble == 200:
                self.server.taken.append(batch)
        if trouble is None:
            self.close_connection = True
            return
        self.send_response(trouble)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.shutdown()
    made.server_close()


def test_batches_are_of_one_source_and_in_order() -> None:
    made = list(batches(chain.from_iterable((call(n), call(n, "website")) for n in range(5)), size=3))
    read = [(batch.source, batch.calls, json.loads(gzip.decompress(batch.body))) for batch in made]
    assert [(source, calls) for source, calls, _ in read] == [("app", 3), ("website", 3), ("app", 2), ("website", 2)]
    ids = [each["messageId"] for source, _, body in read for each in body["batch"] if source == "app"]
    assert ids == [f"app-{n}" for n in range(5)]
    assert all(body.keys() == {"batch"} for _, _, body in read), "a `sentAt` would move what happened long ago"


def test_each_batch_is_sent_again_until_it_is_taken(collector: Collector) -> None:
    collector.troubles = [503, None, 429, 500, None]
    calls = [call(n, "app" if n % 3 else "website") for n in range(4 * BATCH_CALLS)]
    with closing(Crossing(calls)) as crossing:
        crossing.open(collector.address, KEYS)
        until(crossing.is_done)
        assert crossing.acknowledged == crossing.sent.calls == len(calls)
    assert collector.ids() == Counter(each.body["messageId"] for each in calls)
    assert len(collector.seen) == len(collector.taken) + 5
    assert all(batch in collector.taken for batch in collector.seen), "the same messageIds each time"
    assert {key for key, _ in collector.seen} == {"app-key:", "site-key:"}
    assert Counter({table: len(ids) for table, ids in crossing.sent.ids.items()}) == Counter(
        f"{each.source}.screens" for each in calls
    )


def test_issues_go_to_their_table_as_plain_records(collector: Collector) -> None:
    issues = [Call("github", NOW, {"id": n % 3, "updated_at": f"2026-11-30T12:00:0{n}.000Z"}) for n in range(7)]
    with closing(Crossing(issues)) as crossing:
        crossing.open(collector.address, KEYS)
        until(crossing.is_done)
        assert (crossing.acknowledged, crossing.sent.batches) == (7, 1)
    assert collector.taken == [("github-key:", [issue.body for issue in issues])]
    assert collector.paths == ["/v1/records/github.issues"]
    assert crossing.sent.newest == {
        0: issues[6].body["updated_at"],
        1: issues[4].body["updated_at"],
        2: "2026-11-30T12:00:05.000Z",
    }
    assert not crossing.sent.ids


def test_what_is_refused_for_good_ends_it(collector: Collector) -> None:
    collector.troubles = [401]
    with closing(Crossing([call(1)])) as crossing:
        crossing.open(collector.address, KEYS)
        with pytest.raises(Abort, match="answered 401"):
            until(crossing.is_done)


def test_it_can_be_ended_while_nothing_is_taken() -> None:
    with closing(Crossing(call(n) for n in count())) as crossing:
        crossing.open("http://127.0.0.1:9", KEYS)
    assert crossing.acknowledged == 0


def test_live_traffic_is_sent_when_it_is_due_and_waits_for_the_collector(collector: Collector) -> None:
    calls = (call(n, at=NOW + timedelta(seconds=n)) for n in count())
    with closing(Connection(collector.address, KEYS)) as connection:
        live = Live(calls, connection)
        live.send_due(NOW.timestamp() - 1)
        assert (live.sent, collector.seen) == (0, [])
        live.send_due(NOW.timestamp() + 2)
        assert live.sent == 3
        collector.troubles = [503, None]
        live.send_due(NOW.timestamp() + 4)
        live.send_due(NOW.timestamp() + 5)
        assert live.sent == 3
        live.send_due(NOW.timestamp() + 5)
        assert live.sent == 6
    assert collector.ids() == Counter(f"app-{n}" for n in range(6))


def test_a_ctrl_c_as_a_connection_begins_ends_it_in_order(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "sending-1":
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), closing(Crossing(call(n) for n in count())) as crossing:
        crossing.open(collector.address, KEYS)
