"""Rewriting: what it makes of rounds' files, in which order, and what a crash or a rival leaves."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from catchment.archives.disk import DiskArchive, DiskConfig
from catchment.load import files
from catchment.load.rewrite import Done, Limits, forget, rewrite
from catchment.load.verify import problems
from catchment.load.walk import walk
from catchment.pack import build, read
from catchment.record import Line
from catchment.warehouses import LedgerEntry

from .archives import Dying, Killed, MemoryArchive, MemoryLedger, all_lines, incoming, line, lines_of, tables_of

TEN = datetime(2026, 11, 23, 10, tzinfo=UTC)
NOON = TEN + timedelta(hours=2)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def lines(table: str, count: int, start: datetime = TEN, *, first: int = 0, apart: timedelta = MINUTE) -> list[Line]:
    return [line(table, first + number, start + number * apart) for number in range(count)]


def filled(
    *contents: list[bytes], at: datetime = TEN, apart: timedelta = MINUTE
) -> tuple[MemoryArchive, MemoryLedger]:
    """An archive with a round's file of each list of packs, and a ledger that has them all."""
    archive, ledger = MemoryArchive(), MemoryLedger()
    for number, packed in enumerate(contents):
        name, content = incoming(at + number * apart, packed, nonce=number)
        archive.files[name] = content
        ledger.load(name, tables_of(content))
    return archive, ledger


def run(archive: MemoryArchive, ledger: MemoryLedger, now: datetime = NOON, **options: object) -> list[Done]:
    return list(rewrite(archive, ledger, now=now, **options))  # type: ignore[arg-type]


def record_files(archive: MemoryArchive) -> dict[str, bytes]:
    return {name: content for name, content in archive.files.items() if files.parse(name)}


def rich() -> tuple[MemoryArchive, MemoryLedger]:
    """Three files, two tables, large and small packs, some of which reach into another hour."""
    return filled(
        [build("a.a", lines("a.a", 60, TEN - 30 * MINUTE)), build("b.b", lines("b.b", 5))],
        [build("a.a", lines("a.a", 55, first=100, apart=MINUTE / 2)), build("a.a", lines("a.a", 3, first=200))],
        [build("b.b", lines("b.b", 4, TEN + 58 * MINUTE, first=300))],
    )


def test_records_are_sorted_by_table_and_hour() -> None:
    archive, ledger = rich()
    before = all_lines(archive)
    (done,) = run(archive, ledger)
    assert all_lines(archive, "table=") == before
    folders = {name.rsplit("/", 1)[0] for name in record_files(archive)}
    assert folders == {
        "table=a.a/date=2026-11-23/hour=09",
        "table=a.a/date=2026-11-23/hour=10",
        "table=b.b/date=2026-11-23/hour=10",
        "table=b.b/date=2026-11-23/hour=11",
    }
    assert set(done.written) == set(record_files(archive))
    assert len(done.removed) == 3
    assert not done.refused
    for name in record_files(archive):
        assert problems(archive, name) == []


def test_the_first_header_names_the_batches_and_the_ledger_has_them() -> None:
    archive, ledger = rich()
    old = sorted(archive.files)
    run(archive, ledger)
    found = {}
    for name, content in record_files(archive).items():
        headers = [pack.header for pack in read(content)]
        found[name.split("/date")[0], name.split("hour=")[1][:2]] = headers[0].batches
        assert not any(header.batches for header in headers[1:])
        entry = ledger.entries[name, headers[0].table]
        assert entry == LedgerEntry(
            name,
            headers[0].table,
            sum(header.count for header in headers),
            min(header.first_received_at for header in headers),
            max(header.last_received_at for header in headers),
            headers[0].batches,
        )
        assert files.in_full(name, ledger.ledger([name])[name])
    assert found == {
        ("table=a.a", "09"): (old[0],),
        ("table=a.a", "10"): (old[0], old[1]),
        ("table=b.b", "10"): (old[0], old[2]),
        ("table=b.b", "11"): (old[2],),
    }


def test_large_packs_of_one_hour_keep_their_frames() -> None:
    packs = [build("a.a", lines("a.a", 50, apart=MINUTE / 2, first=first)) for first in (0, 100)]
    archive, ledger = filled([packs[0]], [packs[1]])
    run(archive, ledger)
    ((_, content),) = record_files(archive).items()
    assert [bytes(pack.frame) for pack in read(content)] == [bytes(pack.frame) for one in packs for pack in read(one)]
    assert content.endswith(packs[1])


def test_small_packs_are_merged_in_order_of_time() -> None:
    """Frames of up to 1,000 records."""
    start = TEN + 20 * MINUTE
    contents = [[build("a.a", lines("a.a", 3, start - n * SECOND, first=3 * n))] for n in range(600)]
    archive, ledger = filled(*contents, apart=SECOND)
    before = all_lines(archive)
    run(archive, ledger)
    ((_, content),) = record_files(archive).items()
    assert [pack.header.count for pack in read(content)] == [999, 801]
    assert all_lines(archive) == before
    for pack in read(content):
        times = [text.split(b'"received_at":"')[1][:27] for text in pack.plain().splitlines()]
        assert times == sorted(times)


def test_merged_packs_keep_the_lowest_not_before() -> None:
    early = Line("a.a", b'{"received_at":"2026-11-23T10:00:00Z","not_before":"2026-11-01T10:00:00Z"}\n', TEN, TEN)
    archive, ledger = filled([build("a.a", [early])], [build("a.a", lines("a.a", 2))])
    run(archive, ledger)
    ((_, content),) = record_files(archive).items()
    (pack,) = read(content)
    assert pack.header.not_before == datetime(2026, 11, 1, 10, tzinfo=UTC)


def test_lines_that_are_no_records_are_kept() -> None:
    """The loader made dead letters of them; the archive keeps what was received."""
    odd = [b"no json\n", b"\xff\n", b'{"received_at":"yesterday","not_before":null}\n', b'{"a":"\\r"}\r\n']
    one_hour = build("a.a", [Line("a.a", text, TEN, TEN) for text in odd])
    two_hours = build("b.b", [Line("b.b", odd[0], TEN, TEN), Line("b.b", odd[1], TEN + 90 * MINUTE, TEN)])
    archive, ledger = filled([one_hour, two_hours])
    before = all_lines(archive)
    run(archive, ledger)
    assert all_lines(archive, "table=") == before


def test_only_files_that_the_ledger_has_in_full_are_taken() -> None:
    archive, ledger = rich()
    first, second, _ = sorted(archive.files)
    ledger.entries.pop((first, "b.b"))
    ledger.forget([second])
    before = all_lines(archive)
    (done,) = run(archive, ledger)
    assert [name for name in archive.files if name.startswith("incoming/")] == [first, second]
    assert len(done.removed) == 1
    assert all_lines(archive) == before


@pytest.mark.parametrize(
    ("now", "ready"), [(NOON, 2), (NOON - MINUTE, 0), (NOON + 59 * MINUTE, 2), (NOON + 60 * MINUTE, 3)]
)
def test_only_hours_that_ended_long_enough_ago_are_taken(now: datetime, ready: int) -> None:
    archive, ledger = filled([build("a.a", lines("a.a", 1))], [build("a.a", lines("a.a", 1))], at=TEN + 58 * MINUTE)
    name, content = incoming(TEN + 61 * MINUTE, [build("a.a", lines("a.a", 1))])
    archive.files[name] = content
    ledger.load(name, ["a.a"])
    assert sum(len(done.removed) for done in run(archive, ledger, now)) == ready


def test_late_rows_stay_in_files_of_their_own() -> None:
    archive, ledger = filled([build("a.a", lines("a.a", 1))])
    name, content = incoming(TEN, [build("a.a", lines("a.a", 1, first=9))], late=True)
    archive.files[name] = content
    ledger.load(name, ["a.a"])
    run(archive, ledger)
    assert sorted(files.is_late(name) for name in record_files(archive)) == [False, True]
    (late,) = [content for name, content in record_files(archive).items() if files.is_late(name)]
    assert lines_of(late) == lines_of(content)


@pytest.mark.parametrize(
    ("limits", "sets"), [(Limits(), 1), (Limits(bytes=1), 3), (Limits(packs=1), 3), (Limits(packs=3), 2)]
)
def test_a_set_ends_where_the_limits_say(limits: Limits, sets: int) -> None:
    archive, ledger = rich()
    before = all_lines(archive)
    assert len(run(archive, ledger, limits=limits)) == sets
    assert all_lines(archive, "table=") == before


def test_files_that_are_none_of_ours_are_left_alone() -> None:
    archive, ledger = rich()
    archive.files["incoming/notes.txt"] = b"x"
    ledger.load("incoming/notes.txt", ["a.a"])
    run(archive, ledger)
    assert archive.files["incoming/notes.txt"] == b"x"


def test_the_ledger_comes_first_and_deleting_last() -> None:
    archive, ledger = rich()
    steps: list[str] = []

    class Telling(Dying):
        def put(self, name: str, data: Iterable[bytes]) -> None:
            steps.append(f"put {name.split('/', 1)[0]}")
            super().put(name, data)

        def delete(self, name: str) -> None:
            steps.append(f"delete {name.split('/', 1)[0]}")
            super().delete(name)

        def enter(self, entries: Sequence[LedgerEntry]) -> None:
            steps.append(f"enter {len(entries)}")
            super().enter(entries)

    telling = Telling(archive, ledger, 1_000)
    list(rewrite(telling, telling, now=NOON))
    assert steps == [
        "enter 4",
        *["put table=a.a"] * 2,
        *["put table=b.b"] * 2,
        "put removed",
        *["delete incoming"] * 3,
    ]


def test_a_crash_after_any_step_harms_nobody_and_is_mended_by_the_next_run() -> None:
    archive, ledger = rich()
    records = all_lines(archive)
    run(archive, ledger)
    expected = record_files(archive)
    survived = 0
    for at in range(100):
        archive, ledger = rich()
        dying = Dying(archive, ledger, at)
        try:
            list(rewrite(dying, dying, now=NOON))
            survived += 1
        except Killed:
            assert set(all_lines(archive)) == set(records), f"records are missing after step {at}"
        run(archive, ledger, NOON + timedelta(hours=5))
        assert record_files(archive) == expected, f"another result after step {at}"
        if survived:
            break
    assert at == 9


def test_a_crash_is_mended_although_more_files_are_ready_by_then() -> None:
    for at in range(9):
        archive, ledger = rich()
        records = all_lines(archive)
        partly = sorted(archive.files)[1]
        ledger.forget([partly])
        dying = Dying(archive, ledger, at)
        with suppress(Killed):
            list(rewrite(dying, dying, now=NOON))
        ledger.load(partly, ["a.a"])
        run(archive, ledger)
        assert all_lines(archive, "table=") == records


class Interrupted(Dying):
    """Calls something before its write number `at`."""

    def __init__(self, archive: MemoryArchive, ledger: MemoryLedger, at: int, then: Callable[[], object]) -> None:
        super().__init__(archive, ledger, at)
        self._then = then

    def _step(self) -> None:
        if self._left == 0:
            self._then()
        self._left -= 1


@pytest.mark.parametrize("at", range(9))
def test_a_rival_that_overtakes_at_any_step_harms_nobody(at: int) -> None:
    archive, ledger = rich()
    run(archive, ledger)
    expected = record_files(archive)
    archive, ledger = rich()
    overtaken = Interrupted(archive, ledger, at, lambda: run(archive, ledger))
    list(rewrite(overtaken, overtaken, now=NOON))
    assert record_files(archive) == expected
    assert ledger.names() >= set(expected)


@pytest.mark.parametrize("at", range(7))
def test_a_rival_that_knows_of_more_loses_no_record(at: int) -> None:
    archive, ledger = rich()
    records = all_lines(archive)
    held_back = sorted(archive.files)[0]
    tables = tables_of(archive.files[held_back])
    ledger.forget([held_back])

    def rival() -> None:
        ledger.load(held_back, tables)
        run(archive, ledger)

    overtaken = Interrupted(archive, ledger, at, rival)
    list(rewrite(overtaken, overtaken, now=NOON))
    run(archive, ledger)
    assert set(all_lines(archive, "table=")) == set(records)


def test_rivals_in_threads_on_disk(tmp_path: Path) -> None:
    memory, ledger = rich()
    records = all_lines(memory)
    archive = DiskArchive(DiskConfig(), tmp_path)
    for name, content in memory.files.items():
        archive.put(name, [content])
    errors: list[BaseException] = []

    def rival() -> None:
        try:
            list(rewrite(DiskArchive(DiskConfig(), tmp_path), ledger, now=NOON, limits=Limits(packs=2)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=rival) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    found: list[bytes] = []
    for met in walk(archive):
        assert met.name.startswith("table=")
        with archive.open(met.name) as file:
            found += lines_of(file.read())
    assert set(found) == set(records)


def test_a_broken_file_is_refused_and_the_others_are_not() -> None:
    archive, ledger = rich()
    records = all_lines(archive)
    first, second, third = sorted(archive.files)
    archive.files[second] = archive.files[second][:-20]  # its last frame is cut: seen only when it is read
    broken = archive.files[second]
    third_lines = lines_of(archive.files[third])
    (done,) = run(archive, ledger)
    assert set(done.refused) == {second}
    assert "missing" in done.refused[second]
    assert sorted(done.removed) == [first, third]
    assert archive.files[second] == broken
    whole = {text for name, content in record_files(archive).items() if name != second for text in lines_of(content)}
    assert set(third_lines) < whole
    assert whole < set(records)
    (again,) = run(archive, ledger)
    assert set(again.refused) == {second}
    assert not again.removed


def test_a_file_without_a_readable_header_is_refused() -> None:
    archive, ledger = rich()
    first = min(archive.files)
    archive.files[first] = b"garbage"
    (done,) = run(archive, ledger)
    assert "no pack begins here" in done.refused[first]
    assert len(done.removed) == 2


def test_a_warehouse_put_back_meanwhile_stops_the_set() -> None:
    archive, ledger = rich()
    before = dict(archive.files)

    class Losing(Dying):
        asked = 0

        def __init__(self) -> None:
            super().__init__(archive, ledger, 1_000)
            self.ledger = self._ledger_once

        def _ledger_once(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
            self.asked += 1
            return ledger.ledger(names) if self.asked == 1 else {}

    (done,) = rewrite(archive, Losing(), now=NOON)
    assert done == Done((), (), {})
    assert archive.files == before
    assert ledger.names() == set(before)


def test_another_versions_bytes_are_left_as_they_are() -> None:
    archive, ledger = filled([build("a.a", lines("a.a", 3))])
    (old,) = archive.files
    name = files.rewritten("a.a", TEN, [old]).name
    archive.files[name] = build("a.a", lines("a.a", 3)[:2]) + build("a.a", lines("a.a", 3)[2:])
    content = archive.files[name]
    (done,) = run(archive, ledger)
    assert done.removed == (old,)
    assert record_files(archive) == {name: content}


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x50\x2a\x4d\x18"])
def test_a_new_file_that_is_unreadable_counts_as_nothing(content: bytes) -> None:
    archive, ledger = filled([build("a.a", lines("a.a", 3))])
    records = all_lines(archive)
    broken = files.rewritten("a.a", TEN, ["another"]).name
    archive.files[broken] = content
    run(archive, ledger)
    assert archive.files.pop(broken) == content
    assert all_lines(archive, "table=") == records


def test_old_entries_are_forgotten_after_a_day() -> None:
    archive, ledger = rich()
    old = set(archive.files)
    run(archive, ledger)
    assert forget(archive, ledger, now=NOON + timedelta(hours=23)) == 0
    assert ledger.names() == old | set(record_files(archive))
    assert forget(archive, ledger, now=NOON + timedelta(hours=24)) == 3
    assert ledger.names() == set(record_files(archive))
    assert set(archive.files) == set(record_files(archive))
    assert forget(archive, ledger, now=NOON + timedelta(hours=24)) == 0


def test_forgetting_is_repeated_after_a_crash() -> None:
    for at in range(2):
        archive, ledger = rich()
        run(archive, ledger)
        dying = Dying(archive, ledger, at)
        with pytest.raises(Killed):
            forget(dying, dying, now=NOON + timedelta(days=2))
        forget(archive, ledger, now=NOON + timedelta(days=2))
        assert ledger.names() == set(record_files(archive)) == set(archive.files)


def test_a_list_that_a_rival_took_is_passed_over() -> None:
    archive, ledger = rich()
    run(archive, ledger)

    class Gone(MemoryArchive):
        def open(self, name: str) -> BinaryIO:
            raise FileNotFoundError(name)

    gone = Gone()
    gone.files = archive.files
    assert forget(gone, ledger, now=NOON + timedelta(days=2)) == 0


def test_memory_does_not_grow_with_the_bytes(tmp_path: Path) -> None:
    """24 MB of lines, all of which have to be decompressed, since the packs reach into another hour."""
    archive, ledger = DiskArchive(DiskConfig(), tmp_path), MemoryLedger()

    def big(first: int) -> Iterator[Line]:
        for number in range(10):
            yield line("a.a", first + number, TEN + number * 12 * MINUTE, pad=50_000)

    for number in range(24):
        name, content = incoming(TEN + number * MINUTE, [build("a.a", list(big(10 * number)))], nonce=number)
        archive.put(name, [content])
        ledger.load(name, ["a.a"])
    tracemalloc.start()
    try:
        (done,) = rewrite(archive, ledger, now=NOON)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(done.removed) == 24
    assert len(done.written) == 2
    assert peak_bytes < 10_000_000
