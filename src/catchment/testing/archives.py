"""The conformance suite that every archive passes.

class TestMyArchive(ArchiveConformance):
    @pytest.fixture
    def factory(self, tmp_path):
        return partial(MyArchive, MyConfig(...), tmp_path)
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import pytest

from catchment.archives import Archive

T = TypeVar("T")
Factory = Callable[[], Archive]

_KILLS = 5
_BIG_PIECES = 50
_MEGABYTE = 1024 * 1024

BAD_NAMES = [
    "", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/..", "./a", ".hidden", "a/.b", "a b", "a\\b",
    "a\nb", "a\0b", "é", "a*", "a?", "a[1]", "a%2F", "a:b", "~a", "x" * 256, "x/" * 600 + "x",
]  # fmt: skip


class ArchiveConformance:
    """Subclass it under a name that begins with `Test`, and give it a `factory`."""

    @pytest.fixture
    def factory(self) -> Factory:
        """Opens one empty archive, the same at each call. It is pickled and called in other processes too."""
        raise NotImplementedError("a subclass of ArchiveConformance overrides the fixture `factory`")

    def read_url(self, url: str) -> bytes:
        """What a warehouse would read at an address that `url` returned."""
        return Path(url).read_bytes()

    @pytest.fixture
    def archive(self, factory: Factory) -> Archive:
        return factory()

    def test_what_was_put_is_read(self, archive: Archive) -> None:
        archive.put("table=a.b/date=2026-11-23/hour=10/x-1_Y.ndjson.zst", [b"one", b"", b"two"])
        with archive.open("table=a.b/date=2026-11-23/hour=10/x-1_Y.ndjson.zst") as file:
            assert file.read() == b"onetwo"

    def test_many_small_pieces_make_one_file(self, archive: Archive) -> None:
        archive.put("many", (b"%d\n" % number for number in range(5_000)))
        assert read(archive, "many") == b"".join(b"%d\n" % number for number in range(5_000))

    def test_no_bytes_make_an_empty_file(self, archive: Archive) -> None:
        archive.put("empty", [])
        assert read(archive, "empty") == b""
        assert [entry.bytes for entry in archive.list()] == [0]

    def test_it_is_there_for_whoever_opens_the_archive_next(self, factory: Factory) -> None:
        factory().put("a/b", [b"bytes"])
        assert read(factory(), "a/b") == b"bytes"

    def test_files_are_seekable(self, archive: Archive) -> None:
        archive.put("a", [b"0123456789"])
        with archive.open("a") as file:
            assert file.seekable()
            assert file.read(3) == b"012"
            assert file.tell() == 3
            file.seek(3, 1)
            assert file.read(2) == b"67"
            file.seek(-1, 2)
            assert file.read() == b"9"
            assert file.read() == b""

    def test_a_large_file_comes_and_goes_in_pieces(self, archive: Archive) -> None:
        archive.put("large", (_big_piece(number) for number in range(_BIG_PIECES)))
        (entry,) = archive.list("large")
        assert entry.bytes == _BIG_PIECES * _MEGABYTE
        with archive.open("large") as file:
            for number in range(_BIG_PIECES):
                assert file.read(_MEGABYTE) == _big_piece(number)
            assert file.read(1) == b""
            file.seek(17 * _MEGABYTE)
            assert file.read(_MEGABYTE) == _big_piece(17)

    @pytest.mark.parametrize("name", ["missing", "folder/missing", "folder", "file/below"])
    def test_open_of_a_file_that_is_not_there(self, archive: Archive, name: str) -> None:
        archive.put("folder/file", [b""])
        archive.put("file", [b""])
        with pytest.raises(FileNotFoundError):
            archive.open(name)

    def test_the_same_bytes_again_are_fine(self, archive: Archive) -> None:
        archive.put("a", [b"one", b"two"])
        archive.put("a", [b"on", b"etwo"])
        assert read(archive, "a") == b"onetwo"

    @pytest.mark.parametrize("other", [b"onetwO", b"onetwo!", b"one", b""])
    def test_other_bytes_are_refused(self, archive: Archive, other: bytes) -> None:
        archive.put("a", [b"one", b"two"])
        with pytest.raises(FileExistsError):
            archive.put("a", [other])
        assert read(archive, "a") == b"onetwo"
        assert [entry.name for entry in archive.list()] == ["a"]

    def test_a_failing_source_leaves_nothing_and_its_error_passes(self, archive: Archive) -> None:
        class SourceFailed(OSError):
            pass

        def source() -> Iterator[bytes]:
            yield b"x" * _MEGABYTE
            raise SourceFailed

        with pytest.raises(SourceFailed):
            archive.put("a/b", source())
        assert list(archive.list()) == []
        with pytest.raises(FileNotFoundError):
            archive.open("a/b")

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_odd_names_are_refused(self, archive: Archive, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: archive.put(name, [b""]),
            lambda: archive.open(name),
            lambda: archive.delete(name),
            lambda: archive.url(name),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="no name in the archive"):
                call()
        assert list(archive.list()) == []

    @pytest.mark.parametrize("prefix", ["..", "../", "/", ".h", "a/../", "a//", "é"])
    def test_odd_prefixes_are_refused(self, archive: Archive, prefix: str) -> None:
        with pytest.raises(ValueError, match="no name in the archive"):
            list(archive.list(prefix))

    def test_files_are_listed_in_order_of_name(self, archive: Archive) -> None:
        names = ["a", "a-b", "a.b", "a=b", "a0/z", "a0/-", "ab", "A/b", "b/a/c", "b/a-/c", "b/a.c", "B", "_a", "0"]
        for name in names:
            archive.put(name, [name.encode()])
        entries = list(archive.list())
        assert [entry.name for entry in entries] == sorted(names)
        assert [entry.bytes for entry in entries] == [len(name) for name in sorted(names)]

    def test_entries_say_when_they_were_put(self, archive: Archive) -> None:
        archive.put("a", [b"a"])
        (entry,) = archive.list()
        assert entry.modified_at.tzinfo is not None
        assert abs(entry.modified_at.timestamp() - time.time()) < 600

    @pytest.mark.parametrize(
        ("prefix", "names"),
        [
            ("b/", ["b/1", "b/2", "b/c/3"]),
            ("b", ["b/1", "b/2", "b/c/3", "b0"]),
            ("b/c", ["b/c/3"]),
            ("b/c/", ["b/c/3"]),
            ("b/c/3", ["b/c/3"]),
            ("b/c/3/", []),
            ("b/c/34", []),
            ("a", ["a"]),
            ("a/", []),
            ("nothing", []),
            ("nothing/at/all", []),
        ],
    )
    def test_a_prefix_narrows_the_list(self, archive: Archive, prefix: str, names: list[str]) -> None:
        for name in ["a", "b/1", "b/2", "b/c/3", "b0", "c/1"]:
            archive.put(name, [b""])
        assert [entry.name for entry in archive.list(prefix)] == names

    def test_an_empty_archive_lists_nothing(self, archive: Archive) -> None:
        assert list(archive.list()) == []
        assert list(archive.list("incoming/")) == []

    def test_files_may_go_while_they_are_listed(self, archive: Archive) -> None:
        for number in range(50):
            archive.put(f"folder{number % 5}/{number:02}", [b""])
        met = []
        for entry in archive.list():
            met.append(entry.name)
            for other in ("folder1/06", "folder4/04", entry.name):
                archive.delete(other)
        assert len(met) == len(set(met))
        assert {name for name in met if name.startswith("folder3/")} == {f"folder3/{n:02}" for n in range(3, 50, 5)}
        assert [entry.name for entry in archive.list()] == []

    def test_delete_is_idempotent(self, archive: Archive) -> None:
        archive.put("a/b", [b"x"])
        archive.delete("a/b")
        archive.delete("a/b")
        archive.delete("never/was")
        assert list(archive.list()) == []
        archive.put("a/b", [b"other bytes"])
        archive.delete("a")
        archive.delete("a/b/c")
        assert read(archive, "a/b") == b"other bytes"

    def test_an_open_file_outlives_its_deletion_or_says_that_it_is_gone(self, archive: Archive) -> None:
        archive.put("a", [b"x" * 100_000])
        with archive.open("a") as file:
            archive.delete("a")
            try:
                assert file.read() == b"x" * 100_000
            except FileNotFoundError:
                return

    def test_the_url_leads_to_the_bytes(self, archive: Archive) -> None:
        archive.put("table=a.b/date=2026-11-23/x.zst", [b"bytes"])
        assert self.read_url(archive.url("table=a.b/date=2026-11-23/x.zst")) == b"bytes"

    @pytest.mark.parametrize("attempt", range(5))
    def test_of_several_writers_of_a_name_one_wins(self, factory: Factory, attempt: int) -> None:
        won: list[bytes] = []
        lost: list[bytes] = []
        barrier = threading.Barrier(6)

        def write(content: bytes) -> None:
            archive = factory()
            barrier.wait()
            try:
                archive.put(f"a/{attempt}", [content] * 20)
                won.append(content)
            except FileExistsError:
                lost.append(content)

        # Each content has two writers: the winner's second is content too, since its bytes are there.
        in_threads(write, [b"%d" % (number // 2) * 10_000 for number in range(6)])
        assert len(set(won)) == 1
        assert (len(won), len(lost)) == (2, 4)
        assert read(factory(), f"a/{attempt}") == won[0] * 20

    def test_writers_of_different_names_do_not_meet(self, factory: Factory) -> None:
        archive = factory()
        in_threads(lambda name: archive.put(name, [name.encode()]), [f"new{n % 3}/folder/{n}" for n in range(30)])
        assert {entry.name for entry in archive.list()} == {f"new{n % 3}/folder/{n}" for n in range(30)}

    def test_killed_writers_leave_whole_files_or_none(self, factory: Factory) -> None:
        """Kill -9 at random moments: what `put` confirmed is there, and nothing is there by half."""
        rng = random.Random(1)  # noqa: S311 - moments, not secrets
        confirmed: set[str] = set()
        for kill in range(_KILLS):
            confirmed |= _killed_writer(factory, f"killed/{kill}-", rng.uniform(0, 0.15))
        archive = factory()
        names = [entry.name for entry in archive.list()]
        assert confirmed <= set(names)
        assert confirmed, "no writer lived long enough to write one file"
        for name in names:
            assert read(archive, name) == b"".join(_killed_content(name))
        for name in sorted({*names, "killed/0-9999"}):
            archive.put(name, _killed_content(name))


def read(archive: Archive, name: str) -> bytes:
    """The file's bytes."""
    with archive.open(name) as file:
        return file.read()


def in_threads(call: Callable[[T], object], arguments: Iterable[T]) -> None:
    """Run the call for all arguments at the same time; the first error in a thread is raised here."""
    errors: list[BaseException] = []

    def run(argument: T) -> None:
        try:
            call(argument)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _big_piece(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest() * (_MEGABYTE // 32)


def _killed_content(name: str) -> Iterator[bytes]:
    for number in range(40):
        yield hashlib.sha256(f"{name} {number}".encode()).digest() * 1_000


def _killed_writer(factory: Factory, prefix: str, lives_s: float) -> set[str]:
    """Let a process write files and kill it `lives_s` after its first; the names it had confirmed."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_write_until_killed, args=(factory, prefix, writer))
    process.start()
    writer.close()
    confirmed = set()
    try:
        assert reader.poll(60), "the writing process did not start"
        time.sleep(lives_s)
    finally:
        process.kill()
        process.join()
    while True:
        try:
            confirmed.add(reader.recv_bytes().decode())
        except (EOFError, OSError):
            reader.close()
            return confirmed - {"ready"}


def _write_until_killed(factory: Factory, prefix: str, confirm: Connection) -> None:
    archive = factory()
    confirm.send_bytes(b"ready")
    for number in range(10_000):
        name = f"{prefix}{number:04}"
        archive.put(name, _killed_content(name))
        confirm.send_bytes(name.encode())
