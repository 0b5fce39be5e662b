"""From published to visible: paced publishing, and probes that see each record once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from bench import clicks
from bench.latency import Pace, Probe, Sent, look_for, look_until_seen, publish

from catchment import pack, record
from catchment.queues import Delivery, QueueStats


@dataclass
class Collected:
    """A queue that keeps what is published; `fails` raises instead."""

    messages: list[bytes] = field(default_factory=list)
    fails: bool = False

    def publish(self, messages: Sequence[bytes]) -> None:
        if self.fails:
            raise OSError("disk full")
        self.messages += messages

    def receive(self, max_bytes: int, wait_s: float) -> Delivery | None:
        raise NotImplementedError

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        raise NotImplementedError

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        raise NotImplementedError

    def stats(self) -> QueueStats:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def seqs(self) -> list[int]:
        """In the data of every record published so far."""
        found = [each for message in list(self.messages) for each in pack.read(message)]
        lines = [line for each in found for line in each.plain().splitlines()]
        return [_seq(record.decode(line)) for line in lines]


def _seq(found: record.Record) -> int:
    return int(msgspec.json.decode(found.data)["seq"])


def everything(queue: Collected) -> Callable[[str, Sequence[Any]], list[tuple[int]]]:
    return lambda _query, _params: [(seq,) for seq in queue.seqs()]


def test_a_record_is_measured_once_and_from_the_call_of_publish() -> None:
    queue, probe = Collected(), Probe("select", every_s=0.01)
    publish(queue, [clicks.record(seq) for seq in (1, 2)], lambda _: probe)
    assert probe.unseen == 2
    time.sleep(0.05)
    probe.look(lambda _query, _params: [(1,)])
    probe.look(everything(queue))
    probe.look(everything(queue))
    assert probe.unseen == 0
    assert len(probe.latencies_s) == 2
    assert 0.05 <= min(probe.latencies_s) < 5


def test_the_probe_asks_from_the_oldest_unseen_on() -> None:
    asked: list[Any] = []

    def answer(params: Sequence[Any], seq: int) -> list[tuple[int]]:
        asked.extend(params)
        return [(seq,)]

    first, second = clicks.record(1), clicks.record(2)
    probe = Probe("select", every_s=0.01)
    probe.expect([first, second])
    probe.look(lambda _query, params: answer(params, 1))
    probe.look(lambda _query, params: answer(params, 2))
    probe.look(lambda _query, _params: pytest.fail("nothing is on its way"))
    assert asked == [first.line.received_at, second.line.received_at]


def test_what_nobody_looks_for_is_published_too() -> None:
    queue, late = Collected(), Probe("select", every_s=1)
    records = [clicks.record(seq) for seq in range(1, 101)]
    publish(queue, records, lambda sent: late if clicks.is_late(sent.seq) else None)
    assert sorted(queue.seqs()) == list(range(1, 101))
    assert late.unseen == 1


def test_pace_keeps_its_rate_and_every_tick() -> None:
    queue, probe = Collected(), Probe("select", every_s=0.01)
    with Pace(queue, 0.02, lambda tick: [clicks.record(tick + 1)], lambda _: probe):
        look_for(everything(queue), [probe], seconds=0.4)
    look_until_seen(everything(queue), [probe], within_s=5)
    seqs = queue.seqs()
    assert seqs == list(range(1, len(seqs) + 1))
    assert 5 <= len(seqs) <= 60
    assert len(probe.latencies_s) == len(seqs)


def test_a_publisher_that_fails_fails_the_bench() -> None:
    pace = Pace(Collected(fails=True), 0.01, lambda tick: [clicks.record(tick + 1)], lambda _: None)
    pace.__enter__()
    deadline = time.monotonic() + 10
    while pace.error is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(OSError, match="disk full"):
        pace.__exit__()


def test_records_that_never_come_are_an_error() -> None:
    probe = Probe("select", every_s=0.01)
    probe.expect([clicks.record(1)])
    with pytest.raises(RuntimeError, match="1 records are still not visible"):
        look_until_seen(lambda _query, _params: [], [probe], within_s=0.1)


def test_warming_up_does_not_count() -> None:
    probe = Probe("select", every_s=0.01)
    probe.expect([clicks.record(1)])
    probe.look(lambda _query, _params: [(1,)])
    probe.forget()
    assert probe.latencies_s == []


def is_early(sent: Sent) -> bool:
    return sent.line.not_before > sent.line.received_at


def test_clicks_are_one_percent_late_and_half_a_percent_early() -> None:
    records = [clicks.record(seq) for seq in range(1, 2_001)]
    hours_back = [(sent.line.received_at - sent.line.not_before).total_seconds() / 3_600 for sent in records]
    assert sum(each > 1 for each in hours_back) == 20
    assert max(hours_back) < 24
    assert sum(map(is_early, records)) == 10
    assert all(is_early(sent) == clicks.is_fast(sent.seq) for sent in records)
