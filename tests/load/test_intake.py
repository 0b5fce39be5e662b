"""Receiving, archiving, acknowledging: in this order, whatever fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from catchment.archives.disk import DiskArchive
from catchment.errors import Retry
from catchment.load import intake as intake_module
from catchment.load.config import LoadConfig
from catchment.load.in_flight import InFlight
from catchment.load.intake import Intake
from catchment.load.round import Part
from catchment.queues import Message
from catchment.service import Stop
from tests.load.loading import packed, stamped
from tests.load.queues import ListQueue


class Watched(DiskArchive):
    """Says in `events` when it has written, after as many failures as it is told to have."""

    failures: int = 0
    before_put: Callable[[], None] = staticmethod(lambda: None)

    def put(self, name: str, data: Iterable[bytes]) -> None:
        self.before_put()
        if self.failures:
            self.failures -= 1
            raise Retry("the archive is away")
        super().put(name, data)


@pytest.fixture
def archive(tmp_path: Path) -> Watched:
    return Watched(DiskArchive.Config(), tmp_path)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "_LONGEST_PAUSE_S", 0.001)
    waited = Stop.wait
    monkeypatch.setattr(Stop, "wait", lambda self, seconds=None: waited(self, min(seconds or 0.0, 0.001)))


def message(identity: str, count: int = 1) -> Message:
    return packed(*[stamped(f"{identity}-{at}") for at in range(count)], identity=identity)


def run(
    queue: ListQueue, archive: DiskArchive, config: LoadConfig | None = None, age_s: float = 0.0
) -> list[list[Part]]:
    """Until the queue is empty; what was handed over."""
    stop = Stop()
    queue.on_empty = stop.drain
    handed: list[list[Part]] = []
    intake(queue, archive, handed, config, age_s).run(stop)
    return handed


def intake(
    queue: ListQueue,
    archive: DiskArchive,
    handed: list[list[Part]],
    config: LoadConfig | None = None,
    age_s: float = 0.0,
    *,
    is_wanted: bool = False,
) -> Intake:
    return Intake(
        queue,
        archive,
        lambda table, plain: None,
        config or LoadConfig(),
        lambda: age_s,
        handed.append,
        lambda: is_wanted,
        InFlight(),
    )


def rows(handed: list[list[Part]]) -> list[int]:
    return [sum(part.rows for part in parts) for parts in handed]


def test_by_age_each_delivery_is_a_round(archive: Watched) -> None:
    queue = ListQueue([message("1")], [message("2"), message("3")])
    assert rows(run(queue, archive)) == [1, 2]
    assert [m.identity for m in queue.acknowledged] == ["1", "2", "3"]


def test_until_it_is_old_a_round_takes_what_comes(archive: Watched) -> None:
    queue = ListQueue([message("1")], [message("2")], [message("3")])
    assert rows(run(queue, archive, age_s=60)) == [3]


def test_a_round_closes_at_so_many_rows(archive: Watched) -> None:
    queue = ListQueue(*[[message(str(at), 10)] for at in range(4)])
    assert rows(run(queue, archive, LoadConfig(max_rows=20), age_s=60)) == [20, 20]


def test_a_round_closes_at_so_many_bytes_and_asks_for_no_more_than_fit(archive: Watched) -> None:
    big = [Message(b"x" * 700_000, str(at)) for at in range(4)]
    queue = ListQueue(*[[each] for each in big])
    assert len(run(queue, archive, LoadConfig(max_bytes=1_000_000), age_s=60)) == 2
    assert queue.asked_bytes[:2] == [4_000_000, 300_000]


def test_acknowledged_only_once_every_file_is_written(archive: Watched) -> None:
    queue = ListQueue([message("1", 2000), packed(stamped("2", table="web.other"), identity="2")])
    acknowledged_before: list[int] = []
    archive.before_put = lambda: acknowledged_before.append(len(queue.acknowledged))
    [parts] = run(queue, archive)
    assert len({part.name for part in parts}) == 2
    assert acknowledged_before == [0, 0]
    assert len(queue.acknowledged) == 2


def test_while_the_archive_is_away_the_round_waits_for_it(archive: Watched) -> None:
    """Nobody else would ever deliver its messages again while this process lives."""
    archive.failures = 3
    queue = ListQueue([message("1")], [message("2")])
    assert rows(run(queue, archive)) == [1, 1]
    assert [m.identity for m in queue.acknowledged] == ["1", "2"]
    assert queue.kept == 5


def test_what_cannot_be_archived_before_the_stop_is_not_acknowledged(archive: Watched) -> None:
    archive.failures = 10**9
    queue = ListQueue([message("1")])
    stop = Stop()
    handed: list[list[Part]] = []
    archive.before_put = stop.drain
    intake(queue, archive, handed).run(stop)
    assert (handed, queue.acknowledged) == ([], [])


def test_an_acknowledgement_that_fails_is_made_again_and_nothing_is_archived_twice(archive: Watched) -> None:
    queue = ListQueue([message("1")])
    queue.failures["ack"] = [Retry("a"), Retry("b")]
    assert rows(run(queue, archive)) == [1]
    assert len(queue.acknowledged) == 1
    assert len(list(archive.list())) == 1


def test_receiving_that_fails_in_the_middle_closes_the_round_with_what_it_has(archive: Watched) -> None:
    class Flaky(ListQueue):
        def receive(self, max_bytes: int, wait_s: float):  # type: ignore[no-untyped-def]
            if len(self.asked_bytes) == 1:
                self.asked_bytes.append(0)
                raise Retry("the broker is away")
            return super().receive(max_bytes, wait_s)

    queue = Flaky([message("1")], [message("2")])
    assert rows(run(queue, archive, age_s=60)) == [1, 1]
    assert len(queue.acknowledged) == 2


def test_receiving_that_fails_goes_on(archive: Watched) -> None:
    queue = ListQueue([message("1")])
    queue.failures["receive"] = [Retry("a"), Retry("b")]
    assert rows(run(queue, archive)) == [1]


def test_a_stop_closes_the_open_round(archive: Watched) -> None:
    queue = ListQueue([message("1")])  # then empty, which drains: long before the round is old
    assert rows(run(queue, archive, age_s=3600)) == [1]
    assert len(queue.acknowledged) == 1


def test_a_large_round_closes_once_it_is_wanted(archive: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "_ENOUGH_ROWS", 20)
    monkeypatch.setattr(intake_module, "_RECEIVE_BYTES", 10)  # so that more seems to wait
    deliveries = [[message(str(at), 10)] for at in range(5)]
    assert rows(drained(ListQueue(*deliveries), archive, is_wanted=True)) == [20, 20, 10]
    assert rows(drained(ListQueue(*deliveries), archive, is_wanted=False)) == [50]


def test_having_caught_up_a_round_waits_no_longer(archive: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last of a backlog would wait as long as a round may while there is one."""
    monkeypatch.setattr(intake_module, "_RECEIVE_BYTES", 1_000)
    big, small = [message("1", 500)], [Message(b"x", "2")]
    assert rows(drained(ListQueue(big, small, small), archive)) == [501, 1]


def test_a_file_is_in_flight_before_it_is_there_and_until_it_is_handed_over(archive: Watched) -> None:
    """Else the sweep would load it at the same time."""
    seen: list[bool] = []
    queue = ListQueue([message("1")])
    stop = Stop()
    queue.on_empty = stop.drain
    working = intake(queue, archive, [], age_s=0.0)
    archive.before_put = lambda: seen.append(bool(vars(working.in_flight)["_names"]))
    working.hand_over = lambda parts: seen.append(all(part.name in working.in_flight for part in parts))
    working.run(stop)
    assert seen == [True, True]
    assert not vars(working.in_flight)["_names"]


def test_a_file_that_could_not_be_written_is_in_flight_no_more(archive: Watched) -> None:
    archive.failures = 2
    queue = ListQueue([message("1")])
    stop = Stop()
    queue.on_empty = stop.drain
    working = intake(queue, archive, [])
    working.run(stop)
    assert not vars(working.in_flight)["_names"]


def drained(queue: ListQueue, archive: DiskArchive, *, is_wanted: bool = False) -> list[list[Part]]:
    """What is handed over of all that the queue has, where no round closes by its age."""
    stop = Stop()
    queue.on_empty = stop.drain
    handed: list[list[Part]] = []
    intake(queue, archive, handed, age_s=60, is_wanted=is_wanted).run(stop)
    return handed


def test_what_an_open_round_holds_is_kept_while_more_comes_and_while_the_archive_is_slow(
    archive: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "KEEP_EVERY_S", 0.0)
    queue = ListQueue([message("1")], [message("2")], [message("3")])
    slow = threading.Event()
    before: list[int] = []

    def put() -> None:
        before.append(queue.kept)
        monkeypatch.setattr(intake_module, "KEEP_EVERY_S", 0.01)
        slow.wait(0.2)

    archive.before_put = put
    run(queue, archive, age_s=60)
    assert before[0] >= 3, "kept while it was open, and before it was archived"
    assert queue.kept > before[0] + 2
    assert len(queue.acknowledged) == 3
