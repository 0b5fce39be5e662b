"""The state as a file: made once, upgraded, shared by processes, and said in words when it cannot be used."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catchment.errors import Retry, StorageError
from catchment.state import schema, sqlite
from catchment.state.attempts import Attempts
from catchment.state.moments import moment, stamp
from catchment.state.sqlite import SqliteState
from catchment.state.users import Users

NOW = datetime(2026, 11, 30, 9, 0, 0, 123_456, tzinfo=UTC)


def opened(folder: Path) -> SqliteState:
    return SqliteState(SqliteState.Config(), folder)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    with closing(opened(tmp_path)) as state:
        yield state


def test_what_a_block_raises_undoes_it(state: SqliteState) -> None:
    with suppress(ZeroDivisionError), state.writing() as transaction:
        Users(transaction).add("a@b.c", "A", "viewer", [], NOW)
        raise ZeroDivisionError
    with state.reading() as transaction:
        assert Users(transaction).all() == []


def test_who_reads_waits_for_no_writer_and_sees_what_was_committed(state: SqliteState) -> None:
    with state.writing() as writing:
        Users(writing).add("a@b.c", "A", "viewer", [], NOW)
        with state.reading() as reading:
            assert Users(reading).all() == []
    with state.reading() as reading:
        [user] = Users(reading).all()
        assert (user.created_at, user.groups) == (NOW, ())


def test_only_its_owner_reads_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(opened(tmp_path)) as state, state.writing() as transaction:
            Users(transaction).add("a@b.c", "A", "viewer", [], NOW)
            files = list(tmp_path.glob("state.db*"))
    finally:
        os.umask(before)
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("state.db*")} == {0o600}


def _open_and_count(folder: Path, barrier: object, found: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    with closing(opened(folder)) as state:
        for number in range(25):
            with state.writing() as transaction:
                attempt = Attempts(transaction, timedelta(minutes=1)).begin({"x": 40}, NOW)
            if isinstance(attempt, str):
                found.put((os.getpid(), number))  # type: ignore[attr-defined]


def test_processes_make_it_together_and_count_together(tmp_path: Path) -> None:
    """100 attempts by four processes, of which 40 are allowed: exactly 40 are."""
    spawn = multiprocessing.get_context("spawn")
    barrier, found = spawn.Barrier(4), spawn.Queue()
    processes = [spawn.Process(target=_open_and_count, args=(tmp_path, barrier, found)) for _ in range(4)]
    for process in processes:
        process.start()
    got = [found.get(timeout=60) for _ in range(40)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert found.empty()
    assert len(set(got)) == 40


def _open_and_close(folder: Path) -> None:
    opened(folder).close()


def test_one_that_is_open_twice_here_survives_another_process(state: SqliteState, tmp_path: Path) -> None:
    with state.reading() as transaction:
        assert Users(transaction).all() == []
    opened(tmp_path).close()
    other = multiprocessing.get_context("spawn").Process(target=_open_and_close, args=(tmp_path,))
    other.start()
    other.join(60)
    assert other.exitcode == 0
    with state.writing() as transaction:
        Users(transaction).add("ada@example.com", "Ada", "admin", (), datetime.now(UTC))
    with closing(opened(tmp_path)) as again, again.reading() as transaction:
        assert [user.email for user in Users(transaction).all()] == ["ada@example.com"]


def test_threads_share_it(state: SqliteState) -> None:
    def count() -> None:
        for _ in range(20):
            with state.writing() as transaction:
                [(value,)] = transaction.rows("SELECT coalesce(max(CAST(value AS BIGINT)), 0) FROM facts")
                transaction.run("DELETE FROM facts")
                transaction.run("INSERT INTO facts VALUES ('count', ?)", (str(value + 1),))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with state.reading() as transaction:
        assert transaction.rows("SELECT value FROM facts") == [("160",)]


def test_an_older_one_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).close()
    newer = (*schema.VERSIONS, "ALTER TABLE facts ADD COLUMN more TEXT; CREATE TABLE other (a TEXT)")
    monkeypatch.setattr(sqlite, "VERSIONS", newer)
    with closing(opened(tmp_path)) as state, state.writing() as transaction:
        transaction.run("INSERT INTO facts (name, value, more) VALUES ('a', 'b', 'c')")
    opened(tmp_path).close()


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).close()
    with monkeypatch.context() as patched:
        patched.setattr(
            sqlite, "VERSIONS", (*schema.VERSIONS, "CREATE TABLE other (a TEXT); CREATE TABLE facts (a TEXT)")
        )
        with pytest.raises(sqlite3.OperationalError):
            opened(tmp_path)
    with closing(opened(tmp_path)) as state, state.reading() as transaction:
        assert transaction.rows("SELECT 1 FROM sqlite_master WHERE name = 'other'") == []


def test_a_newer_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "VERSIONS", (*schema.VERSIONS, "CREATE TABLE other (a TEXT)"))
        opened(tmp_path).close()
    with pytest.raises(StorageError, match="written by a newer Catchment"):
        opened(tmp_path)


@pytest.mark.parametrize("damage", ["no database", "its head", "a page"])
def test_a_damaged_one_is_said_so_and_left_alone(tmp_path: Path, damage: str) -> None:
    with closing(opened(tmp_path)) as state, state.writing() as transaction:
        for number in range(2_000):
            Users(transaction).add(f"user{number}@b.c", "A", "viewer", [], NOW)
    file = tmp_path / "state.db"
    content = bytearray(file.read_bytes())
    match damage:
        case "no database":
            content[:] = b"a text that is no database. " * 1_000
        case "its head":
            content[:100] = bytes(100)
        case "a page":
            for start in range(4_096, len(content), 4_096):
                content[start : start + 200] = b"\xff" * 200
    file.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged") as raised, closing(opened(tmp_path)) as state:  # noqa: SIM117
        with state.reading() as transaction:
            Users(transaction).all()
    assert "put a copy of it back" in raised.value.hint
    assert file.read_bytes() == content


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        opened(tmp_path / "file")
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        opened(tmp_path)


def test_one_that_stays_locked_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    with closing(opened(tmp_path)) as mine, closing(opened(tmp_path)) as other, mine.writing():
        with pytest.raises(Retry, match="stayed locked"), other.writing():
            pass
        with other.reading() as transaction:
            assert Users(transaction).all() == []


def test_after_closing_it_is_not_used(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.close()
    state.close()
    with pytest.raises(StorageError, match="closed"), state.reading():
        pass


def test_times_are_kept_to_the_microsecond() -> None:
    for at in (NOW, datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
        assert moment(stamp(at)) == at


def test_a_copy_is_whole_while_others_write(tmp_path: Path) -> None:
    stop = threading.Event()
    with closing(opened(tmp_path)) as state:

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                with state.writing() as transaction:
                    Users(transaction).add(f"user{number}@b.c", "A", "viewer", [], NOW)
                    Users(transaction).add(f"user{number}@c.d", "A", "viewer", [], NOW)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for number in range(5):
                (tmp_path / str(number)).mkdir()
                assert SqliteState.copy(tmp_path, tmp_path / str(number) / "state.db")
        finally:
            stop.set()
            thread.join()
    for number in range(5):
        with closing(opened(tmp_path / str(number))) as copied, copied.reading() as transaction:
            assert len(Users(transaction).all()) % 2 == 0
        assert stat.S_IMODE((tmp_path / str(number) / "state.db").stat().st_mode) == 0o600
    assert not SqliteState.copy(tmp_path / "nowhere", tmp_path / "x.db")


def test_the_doctor_sees_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> tuple[bool, str]:
        [finding] = SqliteState.diagnose(SqliteState.Config(), tmp_path)
        return finding.is_well, finding.detail

    assert found() == (True, "sqlite: nothing is kept yet")
    assert list(tmp_path.iterdir()) == []
    opened(tmp_path).close()
    file = tmp_path / "state.db"
    assert found() == (True, f"sqlite: {file.stat().st_size:,} bytes, whole")
    file.chmod(0o644)
    assert found() == (False, f"sqlite: others can read {file}")
    file.chmod(0o600)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "VERSIONS", schema.VERSIONS[:1])
        assert "newer Catchment" in found()[1]
    content = bytearray(file.read_bytes())
    content[4_096:8_000] = b"\xff" * 3_904
    file.write_bytes(content)
    is_well, words = found()
    assert not is_well
    assert "is damaged" in words
