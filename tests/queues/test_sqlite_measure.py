"""How much waits in the embedded queue, and how publishers are held back when that is too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from catchment.errors import QueueFull, Retry
from catchment.queues import QueueStats
from catchment.queues.sqlite import Config, SqliteQueue, files, measure
from catchment.testing.queues import receive_one, take

FULL_AT_BYTES = 100_000
IMPATIENT = Config(max_bytes=FULL_AT_BYTES, publish_timeout_s=0.1)
PATIENT = Config(max_bytes=FULL_AT_BYTES, publish_timeout_s=30)
BODY = b"x" * 1_000


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[SqliteQueue]:
    with closing(SqliteQueue(Config(), tmp_path)) as opened:
        yield opened


def publish_until_full(queue: SqliteQueue) -> int:
    """How many messages of a thousand bytes it took."""
    for count in range(10_000):
        try:
            queue.publish([BODY])
        except QueueFull:
            return count
    raise AssertionError("the queue has no bound")


def test_nothing_waits_where_nothing_was_ever_published(tmp_path: Path) -> None:
    assert SqliteQueue(Config(), tmp_path).stats() == QueueStats(0, 0, 0.0)
    assert not (tmp_path / "queue").exists()


def test_stats_follow_acknowledgements_in_any_order_and_over_many_files(consumer: SqliteQueue, tmp_path: Path) -> None:
    onlooker = SqliteQueue(Config(), tmp_path)
    with closing(SqliteQueue(Config(rotate_bytes=5), tmp_path)) as publisher:
        for size in range(1, 10):
            publisher.publish([b"x" * size])
    deliveries = [receive_one(consumer) for _ in range(9)]
    left = {len(delivery.messages[0].body): delivery for delivery in deliveries}
    for size in (5, 1, 9, 2, 3, 8):
        consumer.ack([left.pop(size)])
        stats = onlooker.stats()
        assert (stats.messages, stats.bytes) == (len(left), sum(left))


def test_stats_know_the_oldest_that_was_not_acknowledged(
    consumer: SqliteQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    clock_ns = iter([int((now_s - 3_000) * 1e9), int((now_s - 2_000) * 1e9), int((now_s + 1_000) * 1e9)])
    with monkeypatch.context() as clock:
        clock.setattr(time, "time_ns", lambda: next(clock_ns))
        for body in (b"1", b"2", b"3"):
            consumer.publish([body])
    deliveries = take(consumer, 3)
    assert 3_000 <= (consumer.stats().oldest_s or 0) < 3_100
    consumer.ack(deliveries)
    consumer.close()
    assert SqliteQueue(Config(), tmp_path).stats().oldest_s == 0


def test_the_oldest_is_found_behind_what_was_acknowledged(
    consumer: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    clock_ns = iter([int((now_s - 3_000) * 1e9), int((now_s - 2_000) * 1e9), int((now_s + 1_000) * 1e9)])
    with monkeypatch.context() as clock:
        clock.setattr(time, "time_ns", lambda: next(clock_ns))
        for body in (b"1", b"2", b"3"):
            consumer.publish([body])
    first, second, _future = (receive_one(consumer) for _ in range(3))
    consumer.ack([first])
    assert 2_000 <= (consumer.stats().oldest_s or 0) < 2_100
    consumer.ack([second])
    assert consumer.stats().oldest_s == 0, "a message of the future has no age below zero"


def test_stats_leave_nothing_open_and_nothing_behind(consumer: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(Config(), tmp_path)) as publisher:
        publisher.publish([b"x"])
    descriptors = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        assert consumer.stats().messages == 1
    assert len(list(Path("/dev/fd").iterdir())) == descriptors
    assert not list(consumer.folder.glob("*-wal"))


def test_what_is_on_disk_is_never_less_than_what_waits(tmp_path: Path) -> None:
    with closing(SqliteQueue(Config(rotate_bytes=300_000), tmp_path)) as publisher:
        for size in (1, 50_000, 3, 200_000, 100_000, 7):
            publisher.publish([b"x" * size])
            assert files.disk_bytes(publisher.folder) >= (publisher.stats().bytes or 0)


# Back-pressure


def test_a_full_queue_holds_publishers_back_then_says_so(tmp_path: Path) -> None:
    with closing(SqliteQueue(IMPATIENT, tmp_path)) as publisher:
        count = publish_until_full(publisher)
        assert FULL_AT_BYTES <= count * len(BODY) < 1.2 * FULL_AT_BYTES
        began_s = time.monotonic()
        with pytest.raises(QueueFull, match="holds its maximum of 100,000 bytes") as raised:
            publisher.publish([BODY])
        assert 0.1 <= time.monotonic() - began_s < 10
        assert "max_bytes in [queue]" in raised.value.hint
        assert isinstance(raised.value, Retry)
        assert publisher.stats().messages == count, "a refused message was kept"


def test_publishers_share_one_bound(tmp_path: Path) -> None:
    with closing(SqliteQueue(IMPATIENT, tmp_path)) as one, closing(SqliteQueue(IMPATIENT, tmp_path)) as other:
        count = publish_until_full(one)
        assert publish_until_full(other) <= 2
        assert one.stats().messages in range(count, count + 3)


def test_who_waits_goes_on_as_soon_as_there_is_room(consumer: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(IMPATIENT, tmp_path)) as impatient:
        publish_until_full(impatient)
    with closing(SqliteQueue(PATIENT, tmp_path)) as patient:
        waiting = threading.Thread(target=patient.publish, args=([b"at last"],))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        while delivery := consumer.receive(20_000, 1):
            consumer.ack([delivery])
            if b"at last" in {message.body for message in delivery.messages}:
                break
        waiting.join(10)
        assert not waiting.is_alive()


def test_consumed_files_of_live_publishers_take_no_room(consumer: SqliteQueue, tmp_path: Path) -> None:
    publishers = [SqliteQueue(IMPATIENT, tmp_path) for _ in range(3)]
    for _ in range(3):
        for publisher in publishers:
            publisher.publish([BODY] * 60)
            consumer.ack(take(consumer, 60))
    assert files.disk_bytes(consumer.folder) > 3 * FULL_AT_BYTES
    assert 100 <= publish_until_full(publishers[0]) <= 120
    for publisher in publishers:
        publisher.close()


def test_a_message_larger_than_the_queue_waits_for_an_empty_one(consumer: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(IMPATIENT, tmp_path)) as publisher:
        publisher.publish([b"x" * 3 * FULL_AT_BYTES])
        with pytest.raises(QueueFull):
            publisher.publish([b"y"])
        consumer.ack(take(consumer, 1))
        publisher.publish([b"y"])


def test_closing_ends_the_wait(tmp_path: Path) -> None:
    queue = SqliteQueue(PATIENT, tmp_path)
    queue.publish([b"x" * 2 * FULL_AT_BYTES])
    errors: list[Exception] = []

    def publish() -> None:
        try:
            queue.publish([b"y"])
        except QueueFull as error:
            errors.append(error)

    waiting = threading.Thread(target=publish)
    waiting.start()
    waiting.join(0.05)
    queue.close()
    waiting.join(10)
    assert not waiting.is_alive()
    assert len(errors) == 1


def test_an_ordinary_publish_asks_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> QueueStats:
        raise AssertionError("stats are too dear for each publish")

    monkeypatch.setattr(measure, "stats", fail)
    looks: list[Path] = []
    disk_bytes = files.disk_bytes

    def look(folder: Path) -> int:
        looks.append(folder)
        return disk_bytes(folder)

    monkeypatch.setattr(files, "disk_bytes", look)
    with closing(SqliteQueue(Config(), tmp_path)) as publisher:
        for _ in range(100):
            publisher.publish([BODY])
    assert len(looks) == 1
