"""The publishing side of the embedded queue: shared commits, files, forks, and disks that fail."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.missing import without

from catchment.errors import CatchmentError, Malformed, Retry, StorageError
from catchment.queues import Queue
from catchment.queues.sqlite import Config, SqliteQueue, publisher, writer
from catchment.queues.sqlite.publisher import Publisher
from catchment.queues.sqlite.writer import Writer
from catchment.testing.queues import MANY_BYTES, messages_of, take

PATIENCE_S = 20.0


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SqliteQueue]:
    with closing(SqliteQueue(Config(), tmp_path)) as opened:
        yield opened


def bodies(queue: Queue, count: int) -> list[bytes]:
    return [message.body for message in messages_of(take(queue, count))]


def wait_until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def publisher_of(queue: SqliteQueue) -> Publisher:
    assert queue._publishing is not None
    return queue._publishing[1]


def writer_of(queue: SqliteQueue) -> Writer:
    opened = publisher_of(queue)._writer
    assert opened is not None
    return opened


# Threads that share a commit


class Gate:
    """Stands before `Writer.append`: holds the first group back, and notes the size of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.groups: list[int] = []
        self.error: BaseException | None = None
        self.append: Callable[[Writer, Sequence[bytes]], None] = Writer.append

        def append(writer: Writer, messages: Sequence[bytes]) -> None:
            self.pass_through(writer, messages)

        monkeypatch.setattr(Writer, "append", append)

    def pass_through(self, writer: Writer, messages: Sequence[bytes]) -> None:
        self.groups.append(len(messages))
        self.reached.set()
        assert self.open.wait(PATIENCE_S)
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.append(writer, messages)


def publish_in_threads(queue: SqliteQueue, count: int) -> tuple[list[threading.Thread], list[BaseException]]:
    errors: list[BaseException] = []

    def publish(number: int) -> None:
        try:
            queue.publish([b"%d" % number])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads, errors


def test_who_comes_during_a_commit_shares_the_next_one(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.publish([b"first file is there"])
    gate = Gate(monkeypatch)
    first = threading.Thread(target=queue.publish, args=([b"first"],), daemon=True)
    first.start()
    assert gate.reached.wait(PATIENCE_S)
    others, errors = publish_in_threads(queue, 7)
    wait_until(lambda: len(publisher_of(queue)._collecting.messages) == 7)
    gate.open.set()
    for thread in (first, *others):
        thread.join(PATIENCE_S)
    assert not errors
    assert gate.groups == [1, 7]
    assert len(bodies(queue, 9)) == 9


def test_each_thread_of_a_failed_commit_hears_of_it(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.publish([b"before"])
    gate = Gate(monkeypatch)
    first = threading.Thread(target=queue.publish, args=([b"first"],), daemon=True)
    first.start()
    assert gate.reached.wait(PATIENCE_S)
    others, errors = publish_in_threads(queue, 3)
    wait_until(lambda: len(publisher_of(queue)._collecting.messages) == 3)
    append = gate.append

    def fail_for_three(writer: Writer, messages: Sequence[bytes]) -> None:
        if len(messages) == 3:
            raise sqlite3.OperationalError("disk I/O error")
        append(writer, messages)

    gate.append = fail_for_three
    gate.open.set()
    for thread in (first, *others):
        thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [StorageError] * 3
    assert len(set(map(id, errors))) == 3
    assert bodies(queue, 2) == [b"before", b"first"]
    queue.publish([b"after"])
    assert bodies(queue, 1) == [b"after"]


def test_an_interrupted_commit_leaves_nobody_waiting(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.error = KeyboardInterrupt()
    gate.open.set()
    with pytest.raises(KeyboardInterrupt):
        queue.publish([b"interrupted"])
    followers, errors = publish_in_threads(queue, 5)
    for thread in followers:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert not errors
    assert sorted(bodies(queue, 5)) == [b"%d" % number for number in range(5)]


def test_followers_of_an_interrupted_leader_are_told_to_try_again(
    queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = publisher._Group()
    group.messages.append(b"x")
    queue.publish([b"a file is there"])
    gate = Gate(monkeypatch)
    gate.error = KeyboardInterrupt()
    gate.open.set()
    with pytest.raises(KeyboardInterrupt):
        publisher_of(queue)._lead(group)
    assert group.done.is_set()
    assert isinstance(group.error, Retry)


# Files


def test_a_publisher_rotates_and_its_order_holds(tmp_path: Path) -> None:
    sent = [b"%03d" % at + b"x" * 500 for at in range(100)]
    with closing(SqliteQueue(Config(rotate_bytes=5_000), tmp_path)) as queue:
        for body in sent:
            queue.publish([body])
        assert len(list(queue.folder.glob("*.db"))) >= 10
        assert bodies(queue, 100) == sent


def test_the_wal_is_written_over_rather_than_growing(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 200_000)
    queue.publish([b"a file is there"])
    opened = writer_of(queue)
    opened._copy_at_bytes = 200_000
    (wal,) = queue.folder.glob("*.db-wal")
    sizes = []
    for _ in range(8):
        for _ in range(21):
            queue.publish([b"x" * 10_000])
        wait_until(lambda: opened._is_copied)
        sizes.append(wal.stat().st_size)
    assert max(sizes) < 2 * sizes[0]
    assert len(bodies(queue, 1 + 8 * 21)) == 169


def test_a_reader_inside_the_wal_delays_nothing_but_its_reuse(
    queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.publish([b"one", b"two"])
    opened = writer_of(queue)
    (db,) = queue.folder.glob("*.db")
    with closing(sqlite3.connect(db)) as reader:
        rows = reader.execute("SELECT body FROM messages")
        rows.fetchone()
        opened.copy_wal()
        queue.publish([b"three"])
        assert opened._in_wal_bytes > 0
        rows.close()
    opened.copy_wal()
    queue.publish([b"four"])
    assert opened._in_wal_bytes == len(b"four")
    assert bodies(queue, 4) == [b"one", b"two", b"three", b"four"]


def test_the_clock_may_jump(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = iter([2_000_000_000_000_000_000, 1_000, 1_500_000_000_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock_ns))
    for body in (b"2033", b"1970", b"2017"):
        queue.publish([body])
    messages = messages_of(take(queue, 3))
    assert [message.body for message in messages] == [b"2033", b"1970", b"2017"]
    assert [message.enqueued_at.year for message in messages if message.enqueued_at] == [2033, 1970, 2017]


def test_a_message_beyond_sqlite_is_refused_and_its_neighbours_are_not(
    queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "MAX_MESSAGE_BYTES", 10)
    with pytest.raises(Malformed, match="oversized"):
        queue.publish([b"x" * 11])
    queue.publish([b"x" * 10])
    assert bodies(queue, 1) == [b"x" * 10]


def test_a_closed_queue_says_so(tmp_path: Path) -> None:
    queue = SqliteQueue(Config(), tmp_path)
    queue.publish([b"x"])
    queue.close()
    with pytest.raises(StorageError, match="closed"):
        queue.publish([b"y"])
    with pytest.raises(StorageError, match="closed"):
        queue.receive(1, 0)


def test_the_folder_may_be_configured(tmp_path: Path) -> None:
    runtime = tmp_path / "project" / ".catchment"
    assert SqliteQueue(Config(), runtime).folder == runtime / "queue"
    assert SqliteQueue(Config(path="data/queue"), runtime).folder == tmp_path / "project" / "data" / "queue"
    assert SqliteQueue(Config(path=str(tmp_path / "q")), runtime).folder == tmp_path / "q"
    with closing(SqliteQueue(Config(path="deep/er/queue"), runtime)) as queue:
        queue.publish([b"x"])
        assert bodies(queue, 1) == [b"x"]


# Forks


def run_script(script: str, *arguments: object) -> list[str]:
    """Run in a process of its own, and return the lines it printed. Forks and limits stay away from pytest."""
    preamble = """
        import os, sys
        from pathlib import Path
        from catchment.errors import StorageError
        from catchment.queues.sqlite import Config, SqliteQueue
        from catchment.testing.queues import messages_of, take
        """
    # A fork with threads around is what Python 3.12 warns of, and what is tested here.
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(preamble) + textwrap.dedent(script)]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_child_publishes_to_a_file_of_its_own(tmp_path: Path) -> None:
    lines = run_script(
        """
        queue = SqliteQueue(Config(), Path(sys.argv[1]))
        queue.publish([b"before"])
        first = take(queue, 1)
        child = os.fork()
        if child == 0:
            queue.publish([b"child"])
            try:
                queue.receive(1, 0)
            except StorageError as error:
                print("refused:", error.message.partition("already")[2])
            sys.exit()  # the interpreter's own end, which collects what is left
        assert os.waitpid(child, 0)[1] == 0
        queue.publish([b"parent"])
        print(sorted(message.body.decode() for message in messages_of(take(queue, 2))))
        print(len(queue.keep(first)), len(list(queue.folder.glob("*-0*.db"))))
        queue.close()
        """,
        tmp_path,
    )
    assert lines[0].startswith("refused:  has a consumer: process")
    assert lines[1:] == ["['child', 'parent']", "1 2"]


def test_a_child_does_not_hold_the_locks_of_a_dead_parent(tmp_path: Path) -> None:
    run_script(
        """
        queue = SqliteQueue(Config(), Path(sys.argv[1]))
        queue.publish([b"parent"])
        take(queue, 1)
        if os.fork():
            os._exit(0)
        os.setsid()
        sys.stdout.close(), sys.stderr.close(), os.close(1), os.close(2)
        Path(sys.argv[1], "child").write_text(str(os.getpid()))
        sys.stdin.read()
        """,
        tmp_path,
    )
    with closing(SqliteQueue(Config(), tmp_path)) as queue:
        queue.ack(take(queue, 1))
        assert queue.receive(1, 0.05) is None
        assert list(queue.folder.glob("*.db")) == [queue.folder / "positions.db"]


def test_forks_amid_commits_lose_and_block_nothing(tmp_path: Path) -> None:
    lines = run_script(
        """
        import threading
        queue = SqliteQueue(Config(rotate_bytes=200_000), Path(sys.argv[1]))
        stop = threading.Event()
        sent = [0, 0, 0]
        def publish(thread):
            while not stop.is_set():
                queue.publish([b"x" * 5_000])
                sent[thread] += 1
        threads = [threading.Thread(target=publish, args=(thread,)) for thread in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(15):
            child = os.fork()
            if child == 0:
                queue.publish([b"child"])
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        messages = messages_of(take(queue, sum(sent) + 15))
        print(len([message for message in messages if message.body == b"child"]))
        queue.close()
        """,
        tmp_path,
    )
    assert lines == ["15"]


# Disks that fail


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's way around permissions."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        with closing(SqliteQueue(Config(), place)) as before, closing(SqliteQueue(Config(), place)) as late:
            before.publish([b"a file is there"])
            before.folder.chmod(0o555)
            place.chmod(0o555)
            with as_nobody():
                with pytest.raises(StorageError, match="cannot be written") as raised:
                    late.publish([b"y"])
                assert "[queue] path" in raised.value.hint
                with pytest.raises(StorageError, match="cannot be written"):
                    late.receive(1, 0)
                before.publish([b"who has a file can go on"])
            before.folder.chmod(0o755)
            late.publish([b"mended"])
            assert len(bodies(late, 3)) == 3
    finally:
        shutil.rmtree(place)


def test_a_full_disk_is_a_clear_error_and_passes(queue: SqliteQueue) -> None:
    queue.publish([b"before"])
    db = writer_of(queue)._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match="no space is left") as raised:
        queue.publish([b"x" * 50_000])
    assert "free some space" in raised.value.hint
    db.execute("PRAGMA max_page_count = 1000000")
    queue.publish([b"after"])
    assert bodies(queue, 2) == [b"before", b"after"]
    assert len(list(queue.folder.glob("*-000*.db"))) == 1


@pytest.fixture
def small_disk() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        place.rmdir()
        without("a small file system cannot be mounted here: that takes Linux and root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


def test_a_disk_that_is_full_in_earnest(small_disk: Path) -> None:
    with closing(SqliteQueue(Config(), small_disk)) as queue, closing(SqliteQueue(Config(), small_disk)) as other:
        for _ in range(20):
            queue.publish([b"while there is room"])
            other.ack(take(other, 1))
        sent = 0
        with pytest.raises(StorageError, match="no space is left"):  # noqa: PT012
            for _ in range(1_000):
                queue.publish([b"x" * 20_000])
                sent += 1
        for _ in range(20):
            with pytest.raises(CatchmentError):
                other.publish([b"x" * 20_000])
        assert len(list(queue.folder.iterdir())) < 12, "each try leaves something behind"
        # What is there can be read and acknowledged, which makes room.
        while delivery := other.receive(MANY_BYTES, 0.1):
            sent -= len(delivery.messages)
            other.ack([delivery])
        assert sent == 0
        queue.close()
        assert other.receive(1, 0.05) is None
        other.publish([b"again"])
        assert bodies(other, 1) == [b"again"]


def test_after_a_failed_write_a_new_file_is_begun(tmp_path: Path) -> None:
    lines = run_script(
        """
        import resource
        queue = SqliteQueue(Config(), Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        sent = 0
        try:
            while True:
                queue.publish([b"x" * 20_000])
                sent += 1
        except StorageError as error:
            print(error.message.partition("cannot be used: ")[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        queue.publish([b"after"])
        bodies = [message.body for message in messages_of(take(queue, sent + 1))]
        print(bodies[-1], sent > 5, len(list(queue.folder.glob("*-0*.db"))))
        queue.close()
        """,
        tmp_path,
    )
    assert lines == ["disk I/O error SQLITE_IOERR_WRITE", "b'after' True 2"]
