"""The disk archive: the conformance suite, and what only a disk can do wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catchment.archives import disk
from catchment.archives.disk import DiskArchive, DiskConfig
from catchment.errors import Retry, StorageError
from catchment.testing.archives import ArchiveConformance, Factory, read


class TestDiskArchive(ArchiveConformance):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return partial(DiskArchive, DiskConfig(), tmp_path / "new" / "runtime")


@pytest.fixture
def archive(tmp_path: Path) -> DiskArchive:
    return DiskArchive(DiskConfig(), tmp_path)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def test_the_folder_is_where_the_configuration_says(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    DiskArchive(DiskConfig(path=str(elsewhere)), tmp_path / "runtime").put("a", [b"1"])
    DiskArchive(DiskConfig(path="relative"), tmp_path / "runtime").put("a", [b"2"])
    DiskArchive(DiskConfig(), tmp_path / "runtime").put("a", [b"3"])
    assert (elsewhere / "a").read_bytes() == b"1"
    assert (tmp_path / "relative" / "a").read_bytes() == b"2"
    assert (tmp_path / "runtime" / "archive" / "a").read_bytes() == b"3"


def test_opening_it_touches_nothing(tmp_path: Path) -> None:
    archive = DiskArchive(DiskConfig(), tmp_path / "runtime")
    assert list(archive.list()) == []
    archive.delete("a")
    assert not (tmp_path / "runtime").exists()


def test_the_url_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = DiskArchive(DiskConfig(), Path("runtime"))
    archive.put("a", [b"x"])
    assert archive.url("a") == str(tmp_path / "runtime" / "archive" / "a")


def test_files_of_others_are_not_listed(archive: DiskArchive, tmp_path: Path) -> None:
    archive.put("folder/a", [b""])
    root = tmp_path / "archive"
    for name in (".DS_Store", "my notes.txt", "folder/.0123456789abcdef.tmp", "folder/a~", "é"):
        (root / name).write_bytes(b"x")
    (root / "no folder" / "of ours").mkdir(parents=True)
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to(root / "nothing")
    assert [entry.name for entry in archive.list()] == ["folder/a"]


def test_folders_may_go_while_they_are_listed(archive: DiskArchive, tmp_path: Path) -> None:
    for name in ("a/1", "b/1", "c/1"):
        archive.put(name, [b""])
    listing = archive.list()
    assert next(listing).name == "a/1"
    (tmp_path / "archive" / "b" / "1").unlink()
    (tmp_path / "archive" / "b").rmdir()
    assert [entry.name for entry in listing] == ["c/1"]


def test_only_folders_that_the_prefix_leads_to_are_read(
    archive: DiskArchive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for table in ("a.a", "a.b"):
        for hour in ("10", "11"):
            archive.put(f"table={table}/date=2026-11-23/hour={hour}/x", [b""])
    scanned: list[Path] = []
    scandir = os.scandir

    def note(path: Path) -> Any:
        scanned.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", note)
    assert len(list(archive.list("table=a.b/date=2026-11-23/hour=1"))) == 2
    root = tmp_path / "archive"
    day = root / "table=a.b" / "date=2026-11-23"
    assert scanned == [root, root / "table=a.b", day, day / "hour=10", day / "hour=11"]


def test_a_removed_folder_is_made_again(archive: DiskArchive, tmp_path: Path) -> None:
    archive.put("a/b/c", [b"1"])
    (tmp_path / "archive/a/b/c").unlink()
    (tmp_path / "archive/a/b").rmdir()
    (tmp_path / "archive/a").rmdir()
    archive.put("a/b/c", [b"2"])
    assert read(archive, "a/b/c") == b"2"


def test_what_dead_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "incoming"
    folder.mkdir(parents=True)
    dead, living, other = (folder / name for name in (f".{'d' * 16}.tmp", f".{'e' * 16}.tmp", ".other.tmp"))
    for path in (dead, living, other):
        path.write_bytes(b"half")
    with living.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        DiskArchive(DiskConfig(), tmp_path).put("incoming/a", [b"x"])
        assert not dead.exists()
        assert living.exists()
        assert other.exists()
    DiskArchive(DiskConfig(), tmp_path).put("incoming/a", [b"x"])
    assert not living.exists()


def test_another_process_does_not_remove_what_is_being_written(tmp_path: Path) -> None:
    archive = DiskArchive(DiskConfig(), tmp_path)

    def source() -> Iterator[bytes]:
        yield b"one"
        assert len(leftovers(tmp_path)) == 1
        DiskArchive(DiskConfig(), tmp_path).put("b", [b"x"])
        yield b"two"

    archive.put("a", source())
    assert read(archive, "a") == b"onetwo"


def test_a_writer_whose_new_file_looked_dead_makes_another(
    archive: DiskArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the file and locking it, a writer has nothing to show that it lives."""
    archive.put("a", [b"x"])
    flock, calls = fcntl.flock, []

    def swept_before_the_lock(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            disk._remove_leftovers(tmp_path / "archive")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", swept_before_the_lock)
    archive.put("b", [b"y"])
    assert read(archive, "b") == b"y"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("failing", ["writev", "fsync", "link"])
@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "mount"), (errno.EIO, "health")]
)
def test_a_disk_that_fails_says_so_and_leaves_nothing(
    archive: DiskArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, number: int, hint: str
) -> None:
    archive.put("folder/before", [b"x"])
    real, calls = getattr(os, failing), []

    def fail(*arguments: Any) -> Any:
        calls.append(arguments)
        if failing != "writev" or len(calls) == 2:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(StorageError, match=hint) as raised:
        archive.put("folder/a", [b"x"] * 1_000)
    assert str(tmp_path / "archive" / "folder") in raised.value.message
    assert os.strerror(number) in raised.value.message
    monkeypatch.undo()
    assert [entry.name for entry in archive.list()] == ["folder/before"]
    assert leftovers(tmp_path) == []


def test_a_file_that_cannot_grow_on_is_removed(tmp_path: Path) -> None:
    """A real failure in the middle of a write, which comes as a short write first."""
    script = f"""
import resource, signal
from pathlib import Path
from catchment.archives.disk import DiskArchive, DiskConfig
from catchment.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    DiskArchive(DiskConfig(), Path({str(tmp_path)!r})).put("a", [b"x" * 30_000] * 10)
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "ulimit -f" in done.stdout
    assert list((tmp_path / "archive").iterdir()) == []


def test_short_writes_are_written_on(archive: DiskArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, buffers: writev(descriptor, [bytes(buffers[0])[:7]]))
    archive.put("a", [b"0123456789", b"", b"abc", b"x" * 50])
    monkeypatch.undo()
    assert read(archive, "a") == b"0123456789abc" + b"x" * 50


def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    archive = DiskArchive(DiskConfig(), tmp_path)
    archive.put("a", [b"x"])
    (tmp_path / "archive").chmod(0o500)
    try:
        with pytest.raises(StorageError, match="give this user the right"):
            archive.put("b", [b"x"])
        assert read(archive, "a") == b"x"
    finally:
        (tmp_path / "archive").chmod(0o700)


def test_a_file_where_the_archive_needs_a_folder(archive: DiskArchive, tmp_path: Path) -> None:
    archive.put("a", [b"x"])
    with pytest.raises(StorageError, match="move the file"):
        archive.put("a/b", [b"x"])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="move the file"):
        DiskArchive(DiskConfig(path=str(tmp_path / "file")), tmp_path).put("b", [b"x"])


def test_a_folder_where_a_file_should_be(archive: DiskArchive) -> None:
    archive.put("a/b", [b"x"])
    with pytest.raises(FileExistsError):
        archive.put("a", [b"x"])


def test_too_many_open_files_will_pass(archive: DiskArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.put("a", [b"x"])

    def fail(*arguments: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(Retry, match="open files"):
        archive.put("b", [b"x"])


def test_the_umask_decides_who_may_read(archive: DiskArchive, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        archive.put("a", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "archive" / "a").stat().st_mode) == 0o640
