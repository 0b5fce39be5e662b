"""Lines become packs in their order, within the bounds, however many come and whoever compresses them."""

from __future__ import annotations

import gc
import threading

import pytest

from catchment.load.packing import Packing
from catchment.pack import MAX_PLAIN_BYTES, MAX_RECORDS, Pack
from catchment.record import Line
from tests.load.loading import T0


def line(table: str, text: bytes, count: int = 1) -> Line:
    return Line(table, text, T0, T0, count)


def taken(packing_lines: Packing) -> dict[str, list[Pack]]:
    found: dict[str, list[Pack]] = {}
    for (table, _), packs in packing_lines.packs():
        for each, plain, _ in packs:
            assert each.plain() == plain
            found.setdefault(table, []).append(each)
    return found


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 12_345])
def test_every_line_is_in_a_pack_in_its_order(count: int) -> None:
    working = Packing()
    for number in range(count):
        working.add(("a.b" if number % 3 else "c.d", False), line("a.b", b"%d\n" % number))
    packs = taken(working)
    numbers = {table: [int(n) for each in some for n in each.plain().split()] for table, some in packs.items()}
    assert numbers.get("a.b", []) == [n for n in range(count) if n % 3]
    assert numbers.get("c.d", []) == [n for n in range(count) if not n % 3]
    assert all(each.header.count <= MAX_RECORDS for some in packs.values() for each in some)
    assert taken(working) == {}
    working.add(("a.b", False), line("a.b", b"more\n"))
    assert [each.plain() for each in taken(working)["a.b"]] == [b"more\n"]


def test_late_ones_are_packed_apart_and_large_ones_alone() -> None:
    working = Packing()
    large = b"x" * (MAX_PLAIN_BYTES - 11) + b"\n"
    for late in (False, True):
        working.add(("a.b", late), line("a.b", large))
        working.add(("a.b", late), line("a.b", b"y" * 10 + b"\n"))
    assert sorted(len(each.plain()) for each in taken(working)["a.b"]) == [11, 11, len(large), len(large)]


def test_lines_of_many_records_fill_a_pack_as_so_many_do() -> None:
    working = Packing()
    for _ in range(30):
        working.add(("a.b", False), line("a.b", b"x\n" * 150, 150))
    assert [each.header.count for each in taken(working)["a.b"]] == [900] * 5


@pytest.mark.parametrize("finishes", [True, False])
def test_no_thread_outlives_it(finishes: bool) -> None:
    before = set(threading.enumerate())
    working = Packing()
    for number in range(3 * MAX_RECORDS):
        working.add(("a.b", False), line("a.b", b"%d\n" % number))
    (thread,) = [each for each in set(threading.enumerate()) - before if each.name.startswith("compress")]
    if finishes:
        taken(working)
    del working
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("count", [10, 3_500])
def test_after_an_error_what_was_not_dealt_with_comes_again(count: int) -> None:
    working = Packing()
    for number in range(count):
        for table in ("a.b", "c.d"):
            working.add((table, False), line(table, b"%d\n" % number))
    giving = working.packs()
    (table, _), first = next(giving)
    next(giving)  # and what it is given now it cannot deal with
    del giving
    found = {table: [int(n) for each, plain, _ in first for n in plain.split()]}
    for table, packs in taken(working).items():
        found.setdefault(table, []).extend(int(n) for each in packs for n in each.plain().split())
    assert found == {"a.b": list(range(count)), "c.d": list(range(count))}
