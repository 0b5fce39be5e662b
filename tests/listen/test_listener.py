"""One listener between a tap and queues of the tests' own: in which order things are done, and what is waited for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment import metrics
from catchment.errors import QueueFull, Retry, StorageError
from catchment.listen.config import Send
from catchment.listen.listener import Listener
from catchment.listen.service import ListenService
from catchment.listen.transform import Transformation
from catchment.pack import MAX_MESSAGE_BYTES, is_packed, read
from catchment.queues import Delivery, QueueStats
from catchment.record import DEFAULT_WINDOW
from catchment.service import Stop
from catchment.sources import Heard
from tests.listen.hearing import heard, settings
from tests.listen.tapping import until


@dataclass
class Log:
    """What was done, in order, by whom."""

    done: list[tuple[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, about: Any) -> None:
        with self.lock:
            self.done.append((what, about))


class Waiting:
    """A tap with messages that wait; what fails is told beforehand."""

    def __init__(self, log: Log, batches: Sequence[Sequence[Heard]]) -> None:
        self.log = log
        self.batches = list(batches)
        self.failing: list[Exception] = []
        self.closed = False

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        if self.failing:
            raise self.failing.pop(0)
        if not self.batches:
            threading.Event().wait(0.01)
            return None
        messages = self.batches.pop(0)
        return Delivery(messages, [each.identity for each in messages])

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return list(deliveries)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.log.add("ack", [name for each in deliveries for name in each.receipt])

    def stats(self) -> QueueStats:
        return QueueStats()

    def peek(self, limit: int, wait_s: float) -> Generator[Heard]:
        yield from ()

    def close(self) -> None:
        self.closed = True


class Taking:
    """A queue that keeps what is published, unless it is told to fail."""

    def __init__(self, log: Log, name: str) -> None:
        self.log = log
        self.name = name
        self.failing: list[Exception] = []
        self.bodies: list[bytes] = []

    def publish(self, messages: Sequence[bytes]) -> None:
        if self.failing:
            raise self.failing.pop(0)
        self.bodies += messages
        self.log.add(self.name, len(messages))

    def records(self) -> list[dict[str, Any]]:
        lines = [line for body in self.bodies for pack in read(body) for line in pack.plain().splitlines()]
        return [msgspec.json.decode(line) for line in lines]

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is nobody's business here")


@contextlib.contextmanager
def listening(
    log: Log, tap: Waiting, queue: Taking, forward: Taking | None = None, send: Send = "records", **written: Any
) -> Iterator[tuple[ListenService, Stop]]:
    transformation = Transformation("chats", settings(**written), Path(), DEFAULT_WINDOW)
    service = ListenService([Listener("chats", lambda: tap, transformation, queue, forward, send)])
    stop = Stop()
    thread = threading.Thread(target=service.run, args=[stop], daemon=True)
    thread.start()
    try:
        yield service, stop
    finally:
        stop.drain(10)
        thread.join(20)
        assert not thread.is_alive()
        assert not stop.failures
        assert tap.closed


def batch(*numbers: int) -> list[Heard]:
    return [heard({"n": number}, identity=f"m{number}") for number in numbers]


def test_a_batch_is_acknowledged_at_once_and_only_when_the_queue_has_it() -> None:
    log = Log()
    tap, queue = Waiting(log, [batch(1, 2, 3), batch(4)]), Taking(log, "publish")
    with listening(log, tap, queue) as (service, _):
        until(lambda: len(log.done) == 4, "both batches")
        assert service.health().ready
    assert log.done == [("publish", 1), ("ack", ["m1", "m2", "m3"]), ("publish", 1), ("ack", ["m4"])]
    assert [record["data"]["n"] for record in queue.records()] == [1, 2, 3, 4]


def test_a_queue_that_takes_nothing_is_waited_for_and_nothing_is_acknowledged() -> None:
    log = Log()
    tap, queue = Waiting(log, [batch(1)]), Taking(log, "publish")
    queue.failing = [QueueFull("the queue is full"), Retry("away"), StorageError("no disk")]
    with listening(log, tap, queue) as (service, _):
        until(lambda: service.health().detail, "a word")
        assert not service.health().ready
        assert service.health().ok
        assert log.done == []
        until(lambda: log.done, "it to go on")
        until(lambda: service.health().ready, "it to be ready")
    assert log.done == [("publish", 1), ("ack", ["m1"])]


def test_a_stop_while_the_queue_takes_nothing_acknowledges_nothing() -> None:
    log = Log()
    tap, queue = Waiting(log, [batch(1)]), Taking(log, "publish")
    queue.failing = [Retry("away")] * 1_000
    with listening(log, tap, queue) as (service, stop):
        until(lambda: service.health().detail == "chats: away", "a word")
        stop.drain(5)
    assert log.done == []


def test_a_tap_that_is_away_is_waited_for_and_said() -> None:
    log = Log()
    tap, queue = Waiting(log, [batch(1)]), Taking(log, "publish")
    tap.failing = [StorageError("there is no exchange"), Retry("no connection")]
    with listening(log, tap, queue) as (service, _):
        until(lambda: "there is no exchange" in service.health().detail, "a word")
        until(lambda: len(log.done) == 2, "it to go on")


def test_what_is_left_out_and_what_is_dead_is_acknowledged_and_counted() -> None:
    log = Log()
    messages = [*batch(1, 2), heard(b"no JSON", identity="m3")]
    tap, queue = Waiting(log, [messages]), Taking(log, "publish")

    def counted() -> dict[str, float]:
        lines = metrics.exposition().decode().splitlines()
        found = [line.split(" ") for line in lines if 'listener="counted"' in line and "_created" not in line]
        return {name.partition("{")[0]: float(value) for name, value in found}

    transformation = Transformation("chats", settings(only="data.n != 2"), Path(), DEFAULT_WINDOW)
    listener = Listener("counted", lambda: tap, transformation, queue)
    stop = Stop()
    thread = threading.Thread(target=listener.run, args=[stop])
    thread.start()
    until(lambda: len(counted()) == 4, "the counters")
    stop.drain(10)
    thread.join(20)
    assert counted() == {
        "catchment_messages_heard_total": 3, "catchment_messages_skipped_total": 1,
        "catchment_messages_dead_total": 1, "catchment_records_filed_total": 1,
    }  # fmt: skip
    assert log.done[-1] == ("ack", ["m1", "m2", "m3"])
    assert sorted(record["table"] for record in queue.records()) == ["catchment.dead_letters", "chat.all"]


def test_of_nothing_but_what_is_left_out_nothing_is_published() -> None:
    log = Log()
    tap, queue = Waiting(log, [batch(1)]), Taking(log, "publish")
    with listening(log, tap, queue, only="data.n != 1"):
        until(lambda: log.done, "the acknowledgement")
    assert log.done == [("ack", ["m1"])]


@pytest.mark.parametrize("send", ["records", "data", "message"])
def test_forwarding_sends_elsewhere_and_keeps_dead_letters_here(send: Send) -> None:
    log = Log()
    messages = [*batch(1, 2), heard(b"no JSON", identity="m3"), heard(b'{"n": 4}', identity="m4")]
    tap, queue, other = Waiting(log, [messages]), Taking(log, "own"), Taking(log, "forward")
    other.failing = [Retry("away")]
    with listening(log, tap, queue, other, send, only="data.n != 2", set={"x": 1}):
        until(lambda: len(log.done) == 3, "all of it")
    assert [what for what, _ in log.done] == ["forward", "own", "ack"]
    assert [record["table"] for record in queue.records()] == ["catchment.dead_letters"]
    if send == "records":
        assert all(map(is_packed, other.bodies))
        assert [record["data"] for record in other.records()] == [{"n": 1, "x": 1}, {"n": 4, "x": 1}]
    elif send == "data":
        assert other.bodies == [b'{"n":1,"x":1}', b'{"n":4,"x":1}']
    else:
        assert other.bodies == [b'{"n":1}', b'{"n": 4}']


def test_what_is_too_large_to_be_sent_on_as_it_is_holds_up_nobody() -> None:
    log = Log()
    large = heard(b'{"n":1,"x":"' + b"x" * MAX_MESSAGE_BYTES + b'"}', identity="m1")
    tap, queue, other = Waiting(log, [[large, *batch(2)]]), Taking(log, "own"), Taking(log, "forward")
    with listening(log, tap, queue, other, "message", keep=["n"]):
        until(lambda: len(log.done) == 3, "all of it")
    assert other.bodies == [b'{"n":2}']
    assert queue.records()[0]["data"]["reason"] == "oversized"
