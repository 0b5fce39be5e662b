"""Walks of the archive: every record is met, whatever rewriting does meanwhile, and filters open little."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import pytest

from catchment.archives import Entry
from catchment.load.rewrite import Limits, rewrite
from catchment.load.walk import Found, walk
from catchment.pack import build

from .archives import MemoryArchive, MemoryLedger, all_lines, incoming, line, lines_of, tables_of

TEN = datetime(2026, 11, 23, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOON = TEN + 120 * MINUTE


def packed(table: str, *minutes: int) -> bytes:
    return build(table, [line(table, minute, TEN + minute * MINUTE) for minute in minutes])


def archive_of(*contents: list[bytes]) -> tuple[MemoryArchive, MemoryLedger, list[str]]:
    archive, ledger, names = MemoryArchive(), MemoryLedger(), []
    for number, packs in enumerate(contents):
        name, archive.files[name] = incoming(TEN + number * MINUTE, packs, nonce=number)
        ledger.load(name, tables_of(archive.files[name]))
        names.append(name)
    return archive, ledger, names


def rewritten(*contents: list[bytes]) -> MemoryArchive:
    archive, ledger, _ = archive_of(*contents)
    list(rewrite(archive, ledger, now=NOON))
    return archive


class Counting(MemoryArchive):
    """Counts what is opened."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.files = files
        self.opened: list[str] = []

    def open(self, name: str) -> BinaryIO:
        self.opened.append(name)
        return super().open(name)


def test_incoming_and_rewritten_files_are_met_alike() -> None:
    archive = rewritten([packed("a.a", 1, 2), packed("b.b", 3)])
    name, archive.files[name] = incoming(NOON, [packed("b.b", 4), packed("a.a", 5), packed("b.b", 6)])
    archive.files["notes.txt"] = archive.files["incoming/notes.txt"] = archive.files["table=x/y"] = b"not ours"
    found = list(walk(archive))
    assert found[0] == Found(name, ("b.b", "a.a"))
    assert {one.tables for one in found[1:]} == {("a.a",), ("b.b",)}
    assert len(found) == 3


def test_an_empty_archive_has_nothing_to_walk() -> None:
    assert list(walk(MemoryArchive())) == []


def test_tables_are_chosen() -> None:
    archive = rewritten([packed("a.a", 1), packed("b.b", 3)], [packed("a.ab", 1)])
    name, archive.files[name] = incoming(NOON, [packed("b.b", 4), packed("a.a", 5)])
    other, archive.files[other] = incoming(NOON, [packed("b.b", 6)], nonce=1)
    assert [found.tables for found in walk(archive, tables=["a.a"])] == [("a.a",), ("a.a",)]
    assert next(walk(archive, tables=["a.a"])).name == name
    assert len(list(walk(archive, tables=["b.b"]))) == 3
    assert list(walk(archive, tables=[])) == []


@pytest.mark.parametrize(
    ("since", "until", "minutes"),
    [
        (None, None, {-61, 0, 59, 60}),
        (0, None, {0, 59, 60}),
        (1, None, {59, 60}),
        (60, None, {60}),
        (61, None, set()),
        (None, 0, {-61}),
        (None, 1, {-61, 0}),
        (None, 60, {-61, 0, 59}),
        (-60, 59, {0}),
        (30, 40, set()),
    ],
)
def test_times_are_chosen(since: int | None, until: int | None, minutes: set[int]) -> None:
    """By `received_at`, from `since` on and before `until`, in both kinds of files."""
    contents = [[packed("a.a", minute)] for minute in (-61, 0, 59, 60)]
    wanted = {line("a.a", minute, TEN + minute * MINUTE).text for minute in minutes}
    start = None if since is None else TEN + since * MINUTE
    end = None if until is None else TEN + until * MINUTE
    archive, _, _ = archive_of(*contents)
    assert {
        text for found in walk(archive, since=start, until=end) for text in lines_of(archive.files[found.name])
    } == wanted
    # Here 0 and 59 stand in one pack: who wants one of them, or what might lie between, is shown both.
    archive = rewritten(*contents)
    hours = {(TEN + minute * MINUTE).hour for minute in minutes or ({0} if since == 30 else set())}
    assert {int(found.name.split("hour=")[1][:2]) for found in walk(archive, since=start, until=end)} == hours


def test_only_hours_at_the_edges_are_opened() -> None:
    archive = Counting(rewritten(*[[packed("a.a", 60 * hour, 60 * hour + 30)] for hour in range(-5, 1)]).files)
    assert len(list(walk(archive))) == 6
    assert archive.opened == []
    assert len(list(walk(archive, since=TEN - 240 * MINUTE, until=TEN - 50 * MINUTE))) == 4
    assert [name.split("hour=")[1][:2] for name in archive.opened] == ["09"]


@pytest.mark.parametrize("after", range(5))
def test_what_is_rewritten_meanwhile_is_met_under_its_new_name(after: int) -> None:
    archive, ledger, _ = archive_of(*[[packed("a.a", 2 * n), packed("b.b", 2 * n + 1)] for n in range(4)])
    records = all_lines(archive)
    met: set[bytes] = set()
    for number, found in enumerate(walk(archive)):
        if number == after:
            list(rewrite(archive, ledger, now=NOON))
        if found.name in archive.files:
            met |= set(lines_of(archive.files[found.name]))
    assert met == set(records)


def test_what_is_rewritten_after_its_table_was_listed_is_met_too() -> None:
    """The reason to list again: the file went after the list of its new folder had ended."""
    archive, ledger, names = archive_of([packed("b.b", 1)], [packed("b.b", 2)])
    records = all_lines(archive)

    class Late(MemoryArchive):
        """Meets no file of `incoming/` at first, as a listing may while others come and go."""

        listed = 0

        def list(self, prefix: str = "") -> Iterator[Entry]:
            self.listed += 1
            yield from super().list(prefix)
            if self.listed == 2:
                list(rewrite(self, ledger, now=NOON, limits=Limits(packs=1)))

    late = Late()
    late.files = archive.files
    met: set[bytes] = set()
    for found in walk(late):
        if late.listed == 1 and found.name == names[0]:
            continue  # the reader is slow, and opens it when it is gone
        met |= set(lines_of(late.files[found.name]))
    assert met == set(records)


def test_a_busy_loader_does_not_make_it_endless() -> None:
    archive, _, names = archive_of([packed("a.a", 1)])
    met = []
    for number, found in enumerate(walk(archive, now=TEN + 60 * MINUTE)):
        met.append(found.name)
        name, archive.files[name] = incoming(TEN + (61 + number) * MINUTE, [packed("a.a", number)], nonce=number)
        assert number < 10, "it goes on with what came after it began"
    assert names[0] in met


def test_a_broken_file_is_told_of_and_the_walk_goes_on() -> None:
    archive, _, names = archive_of([packed("a.a", 1), packed("b.b", 1)], [packed("a.a", 2)])
    start = archive.files[names[0]].index(packed("b.b", 1))
    archive.files[names[0]] = archive.files[names[0]][:start] + b"garbage" * 5
    broken, sound = walk(archive)
    assert (broken.name, broken.tables) == (names[0], ("a.a",))
    assert "no pack begins here" in broken.problem
    assert sound == Found(names[1], ("a.a",))


def test_a_file_that_goes_before_it_is_looked_at_is_passed_over() -> None:
    archive, _, names = archive_of([packed("a.a", 1)], [packed("a.a", 2)])

    class Going(MemoryArchive):
        def open(self, name: str) -> BinaryIO:
            if name == names[0]:
                self.delete(name)
            return super().open(name)

    going = Going()
    going.files = archive.files
    assert [found.name for found in walk(going)] == [names[1]]
