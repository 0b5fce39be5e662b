"""The consuming side of the embedded queue: one consumer, fair turns, whole removal, damaged files."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.errors import StorageError
from catchment.queues.sqlite import Config, SqliteQueue, files
from catchment.queues.sqlite.consumer import Consumer
from catchment.queues.sqlite.files import FileName
from catchment.queues.sqlite.lock import FileLock
from catchment.queues.sqlite.positions import Span, merge
from catchment.queues.sqlite.reader import Reader
from catchment.testing.queues import MANY_BYTES, messages_of, receive_one, take

SMALL_FILES = Config(rotate_bytes=20_000)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SqliteQueue]:
    """The consumer of most tests."""
    with closing(SqliteQueue(Config(), tmp_path)) as opened:
        yield opened


def publish(tmp_path: Path, *bodies: bytes) -> FileName:
    """A publisher that comes, publishes and goes; returns the name of its file."""
    before = message_files(tmp_path)
    with closing(SqliteQueue(Config(), tmp_path)) as publisher:
        publisher.publish(bodies)
    (name,) = message_files(tmp_path) - before
    return name


def message_files(tmp_path: Path) -> set[FileName]:
    folder = tmp_path / "queue"
    return set(files.list_folder(folder).files) if folder.exists() else set()


def drain(queue: SqliteQueue) -> list[bytes]:
    """Receive and acknowledge until nothing comes."""
    bodies = []
    while delivery := queue.receive(MANY_BYTES, 0.05):
        bodies += [message.body for message in delivery.messages]
        queue.ack([delivery])
    return bodies


# One consumer


def test_a_second_consumer_is_refused(queue: SqliteQueue, tmp_path: Path) -> None:
    queue.receive(1, 0)
    with closing(SqliteQueue(Config(), tmp_path)) as second:
        with pytest.raises(StorageError, match=f"already has a consumer: process {os.getpid()}"):
            second.receive(1, 0)
        second.publish([b"but may publish"])
        queue.close()
        assert second.receive(1, 1) is not None


def test_receipts_of_an_earlier_consumer_acknowledge_nothing(tmp_path: Path) -> None:
    publish(tmp_path, b"x")
    with closing(SqliteQueue(Config(), tmp_path)) as first:
        lost = receive_one(first)
        first.ack([])
    with closing(SqliteQueue(Config(), tmp_path)) as second:
        again = receive_one(second)
        second.ack([lost])
        first.ack([lost])
        assert second.keep([lost, again]) == [again]
        assert second.stats().messages == 1


def test_closing_ends_a_receive_that_waits(tmp_path: Path) -> None:
    queue = SqliteQueue(Config(), tmp_path)
    queue.receive(1, 0)
    closer = threading.Timer(0.05, queue.close)
    closer.start()
    began_s = time.monotonic()
    assert queue.receive(1, 30) is None
    assert time.monotonic() - began_s < 15
    closer.join()


def test_waiting_costs_little(queue: SqliteQueue, tmp_path: Path) -> None:
    publishers = [SqliteQueue(Config(), tmp_path) for _ in range(4)]
    for publisher in publishers:
        publisher.publish([b"x"])
    assert len(drain(queue)) == 4
    cpu_s = time.process_time()
    assert queue.receive(MANY_BYTES, 0.45) is None
    assert time.process_time() - cpu_s < 0.1
    for publisher in publishers:
        publisher.close()


# Turns and memory


def test_a_long_backlog_of_one_keeps_nobody_else_waiting(queue: SqliteQueue, tmp_path: Path) -> None:
    publish(tmp_path, *[b"x" * 10_000] * 300)
    publish(tmp_path, b"hello")
    first_two = [queue.receive(1_000_000, 1) for _ in range(2)]
    assert any(message.body == b"hello" for message in messages_of(filter(None, first_two)))


@pytest.mark.parametrize("max_bytes", [1, 1_000, 20_000, 1_000_000])
def test_publishers_take_turns_at_any_size(queue: SqliteQueue, tmp_path: Path, max_bytes: int) -> None:
    for letter in b"abc":
        publish(tmp_path, *[bytes([letter]) * 1_000] * 100)
    seen: list[int] = []
    one_turn_each = max(3, 3 * max_bytes // 1_000)
    while len(seen) < min(one_turn_each, 300):
        delivery = queue.receive(max_bytes, 1)
        assert delivery is not None
        assert len(delivery.messages) == 1 or delivery.bytes <= max_bytes
        seen += [message.body[0] for message in delivery.messages]
    if max_bytes < 100_000:
        assert set(seen[:one_turn_each]) == set(b"abc")
    assert len(seen) + sum(len(delivery.messages) for delivery in take(queue, 300 - len(seen))) == 300


def test_a_backlog_of_many_messages_takes_no_memory_and_no_time(queue: SqliteQueue, tmp_path: Path) -> None:
    publish(tmp_path, *[b"%07d" % number for number in range(200_000)])
    tracemalloc.start()
    began_s = time.monotonic()
    delivery = queue.receive(70_000, 5)
    assert delivery is not None
    assert len(delivery.messages) == 10_000
    queue.ack([delivery])
    assert queue.stats().messages == 190_000
    assert time.monotonic() - began_s < 2
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10_000_000


def test_large_messages_behind_small_ones_are_not_read_by_the_hundred(queue: SqliteQueue, tmp_path: Path) -> None:
    publish(tmp_path, *[b"%d" % number for number in range(2_100)], *[b"x" * 1_000_000] * 100)
    tracemalloc.start()
    left = 2_200
    while left:
        delivery = queue.receive(4_000_000, 5)
        assert delivery is not None
        left -= len(delivery.messages)
        del delivery
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 50_000_000


def test_hundreds_of_dead_publishers_need_few_open_files(queue: SqliteQueue, tmp_path: Path) -> None:
    for number in range(80):
        publish(tmp_path, b"%d" % number)
    delivery = queue.receive(MANY_BYTES, 1)
    assert delivery is not None
    assert len(delivery.messages) == 80
    descriptors = Path("/dev/fd")
    assert len(list(descriptors.iterdir())) < 60
    queue.ack([delivery])
    assert not message_files(tmp_path)


# Removal


def test_drained_files_are_removed_whole_and_others_stay(queue: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(SMALL_FILES, tmp_path)) as alive:
        for number in range(10):
            alive.publish([b"%d" % number * 5_000])
        publish(tmp_path, b"x")
        publish(tmp_path, b"y")
        deliveries = take(queue, 12)
        assert len(message_files(tmp_path)) == 5
        queue.ack(deliveries)
        queue.receive(1, 0.05)
        (left,) = message_files(tmp_path)
        alive.publish([b"more"])
        assert drain(queue) == [b"more"]
        assert message_files(tmp_path) == {left}
    assert queue.receive(1, 0.05) is None
    assert {path.name for path in queue.folder.iterdir()} == {
        "positions.db", "positions.db-wal", "positions.db-shm", "consumer.lock",
    }  # fmt: skip
    queue.close()
    with closing(sqlite3.connect(queue.folder / "positions.db")) as db:
        assert db.execute("SELECT count(*) FROM acked").fetchone() == (0,)


def test_the_last_word_of_a_dying_publisher_is_heard(
    queue: SqliteQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = SqliteQueue(Config(), tmp_path)
    publisher.publish([b"first"])
    assert drain(queue) == [b"first"]
    has_no_publisher = Reader._has_no_publisher

    def dies_now(reader: Reader) -> bool:
        publisher.publish([b"last"])  # after the consumer has found nothing, before it looks at the lock
        publisher.close()
        monkeypatch.undo()
        return has_no_publisher(reader)

    monkeypatch.setattr(Reader, "_has_no_publisher", dies_now)
    assert drain(queue) == [b"last"]


def test_rotated_files_are_read_in_order_while_their_publisher_lives(queue: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(Config(rotate_bytes=1_000), tmp_path)) as publisher:
        sent = []
        received: list[bytes] = []
        for number in range(200):
            sent.append(b"%03d" % number + b"x" * 200)
            publisher.publish(sent[-1:])
            if number % 7 == 0 and (delivery := queue.receive(700, 1)):
                received += [message.body for message in delivery.messages]
        received += [message.body for message in messages_of(take(queue, 200 - len(received)))]
        assert received == sent


def test_a_message_too_large_for_now_is_not_overtaken_by_the_next_file(queue: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(Config(rotate_bytes=1_000), tmp_path)) as publisher:
        publisher.publish([b"1", b"2" * 2_000])
        publisher.publish([b"3"])
        received = [queue.receive(100, 1) for _ in range(3)]
    assert [message.body[:1] for message in messages_of(filter(None, received))] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("step", range(6))
def test_a_crash_while_removing_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    publish(tmp_path, b"drained")
    publisher = SqliteQueue(Config(), tmp_path)
    publisher.publish([b"alive"])
    first = SqliteQueue(Config(), tmp_path)
    deliveries = take(first, 2)
    unlink, sync_folder = Path.unlink, files.sync_folder
    steps = iter(range(100))

    def crash_at_step(path: Path, **options: bool) -> None:
        if next(steps) == step:
            raise InterruptedError("crash")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", crash_at_step)
    if step == 5:
        monkeypatch.setattr(files, "sync_folder", lambda folder: crash_at_step(folder / "absent", missing_ok=True))
    with pytest.raises(StorageError):
        first.ack(deliveries)
    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(files, "sync_folder", sync_folder)
    first.close()

    with closing(SqliteQueue(Config(), tmp_path)) as second:
        assert drain(second) == []
        publisher.publish([b"later"])
        assert drain(second) == [b"later"]
        publisher.close()
        assert second.receive(1, 0.05) is None
        assert {path.name.partition(".")[0] for path in second.folder.iterdir()} == {"positions", "consumer"}


def test_leftovers_are_removed_unless_a_publisher_is_just_starting(queue: SqliteQueue, tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    folder.mkdir()
    dead, starting = FileName("0" * 16, 1), FileName("1" * 16, 1)
    for name in (dead, starting):
        for suffix in (".lock", ".db.new", ".db-wal", ".db-shm"):
            name.path(folder, suffix).touch()
    lock = FileLock.take(starting.path(folder, ".lock"))
    assert lock is not None
    queue.receive(1, 0.05)
    assert files.list_folder(folder).leftovers == {starting}
    assert len(list(folder.glob("1*"))) == 4
    lock.release()


def test_a_lock_file_removed_while_it_is_being_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.lock"
    flock = fcntl.flock

    def remove_then_lock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        path.unlink()  # whoever had the lock cleans up after we opened its file
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    lock = FileLock.take(path)
    assert lock is not None
    assert FileLock.take(path) is None, "two hold the lock, one of them on a file that is gone"
    lock.release()
    again = FileLock.take(path)
    assert again is not None
    again.release()


def test_a_file_removed_by_hand_stops_nothing(
    queue: SqliteQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = publish(tmp_path, b"x" * 1_000)
    publish(tmp_path, b"y")
    connect = files.connect_to_read

    def remove_first(path: Path) -> sqlite3.Connection:
        name.path(tmp_path / "queue").unlink(missing_ok=True)
        return connect(path)

    monkeypatch.setattr(files, "connect_to_read", remove_first)
    assert drain(queue) == [b"y"]
    assert "removed by somebody else" in caplog.text
    assert not message_files(tmp_path)


# Damage


def overwrite(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * length)


def numbered(count: int) -> list[bytes]:
    return [b"%04d" % number + b"x" * 3_000 for number in range(count)]


def test_what_is_readable_of_a_damaged_file_is_delivered_then_it_is_set_aside(
    queue: SqliteQueue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent = numbered(400)
    damaged = publish(tmp_path, *sent)
    whole = publish(tmp_path, b"whole")
    path = damaged.path(tmp_path / "queue")
    overwrite(path, path.stat().st_size // 2, 3 * 4096)
    received = drain(queue)
    assert b"whole" in received
    received.remove(b"whole")
    assert set(received) < set(sent)
    assert received == sorted(received)
    assert len(received) >= 390
    assert received[0] == sent[0]
    assert received[-1] == sent[-1]
    assert f"{len(sent) - len(received)} messages of a damaged queue file" in caplog.text
    assert queue.broken_files() == [queue.folder / "broken" / path.name]
    assert {damaged, whole} & message_files(tmp_path) == set()


@pytest.mark.parametrize(
    ("damage", "readable"),
    [
        (lambda path: overwrite(path, 0, 100), 0),  # no SQLite file at all
        (lambda path: overwrite(path, 100, 4_000), 0),  # its table is gone
        (lambda path: os.truncate(path, 0), 0),
        (lambda path: os.truncate(path, path.stat().st_size // 2), 100),
        (lambda path: overwrite(path, path.stat().st_size - 40_000, 40_000), 300),
    ],
    ids=["header", "schema", "empty", "half", "end"],
)
def test_a_file_damaged_at_its_beginning_or_end(
    queue: SqliteQueue, tmp_path: Path, damage: object, readable: int, caplog: pytest.LogCaptureFixture
) -> None:
    sent = numbered(400)
    damaged = publish(tmp_path, *sent)
    assert callable(damage)
    damage(damaged.path(tmp_path / "queue"))
    publish(tmp_path, b"whole")
    received = [body for body in drain(queue) if body != b"whole"]
    assert received == sent[: len(received)]
    assert len(received) >= readable
    assert "damaged" in caplog.text
    assert len(queue.broken_files()) == 1
    assert not message_files(tmp_path)
    assert len(queue.broken_files()) == 1


def test_a_damaged_file_is_read_again_the_same_after_a_restart(tmp_path: Path) -> None:
    damaged = publish(tmp_path, *numbered(400))
    path = damaged.path(tmp_path / "queue")
    overwrite(path, path.stat().st_size // 2, 4096)
    with closing(SqliteQueue(Config(), tmp_path)) as first:
        readable = [message.body for message in messages_of(iter(lambda: first.receive(100_000, 0.05), None))]
    with closing(SqliteQueue(Config(), tmp_path)) as second:
        some = second.receive(500_000, 1)
        assert some is not None
        second.ack([some])
    with closing(SqliteQueue(Config(), tmp_path)) as third:
        rest = drain(third)
        assert [message.body for message in some.messages] + rest == readable
        assert len(third.broken_files()) == 1


def test_a_live_publishers_damaged_file_stays_where_it_is(queue: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(Config(), tmp_path)) as publisher:
        sent = numbered(300)
        publisher.publish(sent)
        assert publisher._publishing is not None
        opened = publisher._publishing[1]._writer
        assert opened is not None
        opened.copy_wal()
        publisher.publish([b"restarts the wal"])
        (name,) = message_files(tmp_path)
        path = name.path(queue.folder)
        overwrite(path, path.stat().st_size // 2, 4096)
        received = drain(queue)
        assert 290 <= len(received) < 301
        publisher.publish([b"still alive"])
        assert drain(queue) == [b"still alive"]
        assert message_files(tmp_path) == {name}
        assert queue.broken_files() == []
    assert drain(queue) == []
    assert len(queue.broken_files()) == 1


def test_damaged_positions_are_set_aside_and_what_waits_comes_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, b"a", b"b")
    with closing(SqliteQueue(Config(), tmp_path)) as first:
        first.ack([receive_one(first)])
    overwrite(first.folder / "positions.db", 0, 4_096)
    with closing(SqliteQueue(Config(), tmp_path)) as second:
        assert drain(second) == [b"a", b"b"]
        assert "positions.db is damaged" in caplog.text
        assert (second.folder / "broken" / "positions.db").exists()


@pytest.mark.parametrize("which", ["messages", "positions"])
def test_a_newer_format_is_refused(tmp_path: Path, which: str) -> None:
    name = publish(tmp_path, b"x")
    with closing(SqliteQueue(Config(), tmp_path)) as queue:
        queue.receive(1, 1)
    path = tmp_path / "queue" / (f"{name}.db" if which == "messages" else "positions.db")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with closing(SqliteQueue(Config(), tmp_path)) as queue:
        with pytest.raises(StorageError, match=r"newer Catchment .queue format 2, this one knows 1"):
            queue.receive(1, 1)
        with pytest.raises(StorageError, match="newer Catchment"):
            queue.stats()
        assert path.exists()


def test_a_folder_copied_elsewhere_goes_on_from_its_positions(tmp_path: Path) -> None:
    publish(tmp_path, b"a", b"b", b"c")
    with closing(SqliteQueue(Config(), tmp_path)) as queue:
        queue.ack([receive_one(queue)])
    shutil.copytree(queue.folder, tmp_path / "elsewhere" / "queue")
    with closing(SqliteQueue(Config(), tmp_path / "elsewhere")) as copy:
        assert drain(copy) == [b"b", b"c"]


def test_losses_are_logged_as_errors(queue: SqliteQueue, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = publish(tmp_path, b"x")
    overwrite(damaged.path(queue.folder), 0, 100)
    drain(queue)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert all(record.name == "catchment.queue" for record in caplog.records)


spans = st.builds(lambda first, length: Span(first, first + length), st.integers(1, 30), st.integers(0, 8))


@given(st.lists(spans))
def test_merging_keeps_every_id_in_the_fewest_spans(given_spans: list[Span]) -> None:
    merged = merge(given_spans)
    ids = {row_id for span in given_spans for row_id in range(span.first, span.last + 1)}
    assert {row_id for span in merged for row_id in range(span.first, span.last + 1)} == ids
    assert all(one.last + 1 < next_one.first for one, next_one in pairwise(merged))


def test_a_consumer_that_fails_to_start_leaves_the_folder_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue").mkdir()
    with monkeypatch.context() as broken:
        broken.setattr(files, "create", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied")))
        with pytest.raises(StorageError, match="cannot be written"):
            Consumer(tmp_path / "queue")
    with closing(Consumer(tmp_path / "queue")) as consumer:
        assert consumer.receive(1, 0) is None
