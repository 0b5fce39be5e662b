"""From messages to archive files: which records share one, what is no record, and what is left of a broken pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.archives.disk import DiskArchive
from catchment.errors import Retry
from catchment.load.files import Incoming, parse
from catchment.load.guard import Sight, joined_sight
from catchment.load.round import (
    OWN_FILE_ROWS,
    SMALL_PACK_RECORDS,
    Held,
    Part,
    Round,
    merge,
    read_parts,
)
from catchment.pack import MAX_PLAIN_BYTES, Pack, build, plain_size, read, read_file
from catchment.queues import Delivery, Message
from catchment.record import DEAD_LETTERS, Line
from tests.load.loading import T0, event, packed, stamped


@pytest.fixture
def archive(tmp_path: Path) -> DiskArchive:
    return DiskArchive(DiskArchive.Config(), tmp_path)


@pytest.fixture
def taken() -> Round:
    return Round(unseen, "orders")


def unseen(table: str, plain: bytes) -> None:
    """A guard that vouches for nothing."""


def sight(*identities: str, source: str | None = "web", version: int = 1) -> Sight:
    return Sight(version, len(identities), tuple(identities), source, T0, T0, T0, False)


def add(taken: Round, *messages: Message) -> None:
    taken.add(Delivery(messages, None))


def plain(*records: object, identity: str | None = "queue/1") -> Message:
    return Message(b"\n".join(map(msgspec.json.encode, records)), identity, T0)


def many(count: int, table: str = "web.event", **other: float) -> list[Line]:
    return [stamped(f"{table}-{at}", table=table, **other) for at in range(count)]  # type: ignore[arg-type]


def lines_of(archive: DiskArchive, part: Part) -> list[bytes]:
    """The part's lines as the archive has them."""
    with archive.open(part.name) as file:
        return [
            line
            for pack in read_file(file, frozenset({part.table}))
            for line in pack.plain().splitlines(keepends=True)
        ]


# ---- messages ------------------------------------------------------------------------------


def test_an_empty_round_writes_nothing(taken: Round, archive: DiskArchive) -> None:
    assert taken.close(archive, T0) == []
    assert list(archive.list()) == []


def test_plain_records_of_several_tables_share_a_file(taken: Round, archive: DiskArchive) -> None:
    add(taken, plain(event("1", "web.a"), event("2", "web.b"), event("3", "web.a")))
    parts = taken.close(archive, T0)
    assert taken.rows == 3
    assert {part.table: part.rows for part in parts} == {"web.a": 2, "web.b": 1}
    [name] = {part.name for part in parts}
    file = parse(name)
    assert isinstance(file, Incoming)
    assert (file.batches, file.archived_at) == (2, T0)
    assert not any(part.alone for part in parts)


def test_packs_are_archived_as_they_came(taken: Round, archive: DiskArchive) -> None:
    pack = packed(*many(SMALL_PACK_RECORDS))
    add(taken, pack)
    [part] = taken.close(archive, T0)
    with archive.open(part.name) as file:
        assert file.read() == pack.body
    assert part.alone


@pytest.mark.parametrize(("rows", "alone"), [(OWN_FILE_ROWS, False), (OWN_FILE_ROWS + 1, True)])
def test_a_table_of_many_rows_has_a_file_of_its_own(
    taken: Round, archive: DiskArchive, rows: int, alone: bool
) -> None:
    big = many(rows, "web.big")
    add(taken, packed(*big[:600]), packed(*big[600:]), packed(*many(1, "web.small")), packed(*many(1, "web.tiny")))
    parts = {part.table: part for part in taken.close(archive, T0)}
    assert parts["web.big"].alone is alone
    assert (parts["web.big"].name != parts["web.small"].name) is alone
    assert parts["web.small"].name == parts["web.tiny"].name
    assert not parts["web.small"].alone


def test_late_rows_have_files_of_their_own(taken: Round, archive: DiskArchive) -> None:
    hour = 3600
    add(
        taken,
        packed(stamped("1", age_s=hour), stamped("2", age_s=0)),
        packed(stamped("3", age_s=hour + 1)),
        packed(stamped("4", table="web.other", age_s=2 * hour)),
    )
    late = {(part.table, part.late): part for part in taken.close(archive, T0)}
    assert {key: part.rows for key, part in late.items()} == {
        ("web.event", False): 2, ("web.event", True): 1, ("web.other", True): 1
    }  # fmt: skip
    assert late["web.event", True].name == late["web.other", True].name != late["web.event", False].name
    for (_, is_late), part in late.items():
        file = parse(part.name)
        assert isinstance(file, Incoming)
        assert file.late is is_late


def test_plain_records_are_late_by_their_own_time(taken: Round, archive: DiskArchive) -> None:
    times = {"received_at": "2026-11-23T10:00:00Z", "not_before": "2026-11-23T09:00:00Z"}
    add(taken, plain({**event("1"), **times}, {**event("2"), **times, "not_before": "2026-11-23T08:59:59Z"}))
    assert {part.late: part.rows for part in taken.close(archive, T0)} == {False: 1, True: 1}


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_times_at_either_end_of_the_calendar(taken: Round, archive: DiskArchive, year: str) -> None:
    add(taken, plain({**event("1"), "received_at": year}))
    [part] = taken.close(archive, T0)
    assert part.rows == 1


def test_plain_records_are_stamped_with_the_message(taken: Round, archive: DiskArchive) -> None:
    add(taken, plain({"table": "web.event", "data": {}}, {"table": "web.event", "data": {}}, identity="topic/0/7"))
    [part] = taken.close(archive, T0)
    records = [msgspec.json.decode(line) for line in lines_of(archive, part)]
    assert [(r["id"], r["source"], r["received_at"][:19]) for r in records] == [
        ("topic/0/7/0", "orders", "2026-11-23T10:00:00"),
        ("topic/0/7/1", "orders", "2026-11-23T10:00:00"),
    ]


@pytest.mark.parametrize(
    ("body", "reason", "bodies"),
    [
        (b"", "not-json", [b""]),
        (b"nonsense", "not-json", [b"nonsense"]),
        (b"\xff\xfe", "invalid-utf8", [b"\xff\xfe"]),
        (b"[1]", "not-a-record", [b"[1]"]),
        (b'{"table":"web.event"}', "not-a-record", [b'{"table":"web.event"}']),
        (b'{"table":"Web","data":{}}', "bad-table", [b'{"table":"Web","data":{}}']),
        (
            b'{"table":"catchment.corrections","data":{}}',
            "bad-table",
            [b'{"table":"catchment.corrections","data":{}}'],
        ),
        (b"\x28\xb5\x2f\xfd garbage", "broken-frame", [b"\x28\xb5\x2f\xfd garbage"]),
    ],
)
def test_a_message_that_is_no_record_is_a_dead_letter(
    taken: Round, archive: DiskArchive, body: bytes, reason: str, bodies: list[bytes]
) -> None:
    add(taken, Message(body, "queue/9", T0))
    assert dead_letters(archive, taken.close(archive, T0)) == [(reason, each) for each in bodies]


def dead_letters(archive: DiskArchive, parts: list[Part]) -> list[tuple[str, bytes]]:
    """Reason and bytes of each."""
    found = [
        msgspec.json.decode(line)["data"] for p in parts if p.table == DEAD_LETTERS for line in lines_of(archive, p)
    ]
    return [(letter["reason"], msgspec.json.decode(f'"{letter["bytes"]}"', type=bytes)) for letter in found]


def test_a_bad_line_among_good_ones(taken: Round, archive: DiskArchive) -> None:
    good = msgspec.json.encode(event("1"))
    add(taken, Message(good + b"\n{broken\n" + good, "queue/1", T0))
    parts = taken.close(archive, T0)
    assert {part.table: part.rows for part in parts} == {"web.event": 2, DEAD_LETTERS: 1}
    assert dead_letters(archive, parts) == [("not-json", b"{broken")]


def test_a_broken_pack_costs_its_neighbours_nothing(taken: Round, archive: DiskArchive) -> None:
    """Its header can be read, so what follows it is found."""
    first, middle, last = (packed(*many(3, f"web.t{at}")).body for at in range(3))
    broken = middle[:-1] + bytes([middle[-1] ^ 1])
    add(taken, Message(first + broken + last, "queue/1", T0))
    parts = taken.close(archive, T0)
    assert {part.table: part.rows for part in parts} == {"web.t0": 3, "web.t2": 3, DEAD_LETTERS: 1}
    assert dead_letters(archive, parts) == [("broken-frame", broken)]


def test_from_a_broken_header_on_the_rest_is_one_dead_letter(taken: Round, archive: DiskArchive) -> None:
    first, middle, last = (packed(*many(3, f"web.t{at}")).body for at in range(3))
    rest = b"\0\0\0\0" + middle[4:] + last
    add(taken, Message(first + rest, "queue/1", T0))
    parts = taken.close(archive, T0)
    assert {part.table: part.rows for part in parts} == {"web.t0": 3, DEAD_LETTERS: 1}
    assert dead_letters(archive, parts) == [("broken-frame", rest)]


@pytest.mark.parametrize("cut", [1, 4, 30, 300])
def test_a_pack_that_is_cut_short(taken: Round, archive: DiskArchive, cut: int) -> None:
    body = packed(*many(20)).body
    add(taken, Message(body[:-cut], "queue/1", T0))
    assert dead_letters(archive, taken.close(archive, T0)) == [("broken-frame", body[:-cut])]


def test_a_header_that_counts_wrong(taken: Round, archive: DiskArchive) -> None:
    [pack] = read(packed(*many(3)).body)
    wrong = bytes(pack.raw).replace(b'"count":3', b'"count":4')
    add(taken, Message(wrong, "queue/1", T0))
    assert dead_letters(archive, taken.close(archive, T0)) == [("broken-frame", wrong)]


class FullDisk(DiskArchive):
    """Takes nothing."""

    def put(self, name: str, data: Iterable[bytes]) -> None:
        raise Retry("full")


def test_closing_again_after_a_failure_loses_nothing(taken: Round, archive: DiskArchive, tmp_path: Path) -> None:
    add(taken, plain(event("1", "web.a"), event("2", "web.b")), packed(*many(2, "web.c")))
    with pytest.raises(Retry):
        taken.close(FullDisk(DiskArchive.Config(), tmp_path), T0)
    assert {part.table: part.rows for part in taken.close(archive, T0)} == {"web.a": 1, "web.b": 1, "web.c": 2}


# ---- merging -------------------------------------------------------------------------------


def held(*lines: Line, seen: Sight | None = None) -> Held:
    [pack] = read(build(lines[0].table, lines))
    return Held(pack, seen)


def rows_of(packs: list[Held]) -> list[int]:
    return [each.pack.header.count for each in packs]


def test_small_packs_become_one_and_large_ones_stay() -> None:
    large = held(*many(SMALL_PACK_RECORDS))
    small = [held(stamped(str(at), at_s=at, age_s=at)) for at in range(5)]
    merged = merge("web.event", [small[0], large, *small[1:]])
    assert merged[0] is large
    assert rows_of(merged) == [SMALL_PACK_RECORDS, 5]
    header = merged[1].pack.header
    assert (header.first_received_at, header.last_received_at) == (T0, T0 + timedelta(seconds=4))
    assert header.not_before == T0
    assert merged[1].pack.plain() == b"".join(each.pack.plain() for each in small)
    [again] = read(merged[1].pack.raw)
    assert again.plain() == merged[1].pack.plain()


def test_few_large_records_are_not_joined_beyond_what_a_reader_takes() -> None:
    """A hundred of a megabyte each would be one frame that nobody opens."""
    large = [held(stamped(str(n), b'{"text":"%b"}' % (b"x" * 900_000))) for n in range(100)]
    few = [held(stamped(str(n))) for n in range(100, 103)]
    merged = merge("web.event", [*large, *few])
    assert rows_of(merged) == [1] * 99 + [4]
    assert all(plain_size(each.pack.frame) <= MAX_PLAIN_BYTES for each in merged)
    assert b"".join(each.pack.plain() for each in merged) == b"".join(e.pack.plain() for e in [*large, *few])


def test_a_lone_small_pack_stays_as_it_is() -> None:
    alone = held(stamped("1"))
    assert merge("web.event", [alone]) == [alone]


def test_merged_packs_are_bounded() -> None:
    assert rows_of(merge("web.event", [held(*many(40)) for _ in range(60)])) == [1000, 1000, 400]


@given(st.lists(st.integers(1, 120), max_size=40))
def test_merging_keeps_every_line(counts: list[int]) -> None:
    packs = [held(*[stamped(f"{at}-{place}") for place in range(count)]) for at, count in enumerate(counts)]
    before = sorted(line for each in packs for line in each.pack.plain().splitlines())
    merged = merge("web.event", packs) if packs else []
    assert sorted(line for each in merged for line in each.pack.plain().splitlines()) == before


def test_sights_join_where_they_tell_the_same_story() -> None:
    joined = joined_sight([sight("1", "2"), sight("3")])
    assert joined == sight("1", "2", "3")
    assert joined_sight([sight("1"), None]) is None
    assert joined_sight([sight("1"), sight("2", version=2)]) is None
    assert joined_sight([sight("1"), sight("2", source="app")]) is None
    doubled = joined_sight([sight("1"), sight("1")])
    assert doubled is not None
    assert (doubled.count, len(set(doubled.identities))) == (2, 1)


# ---- reading back --------------------------------------------------------------------------


def packs_of(*bodies: bytes) -> Iterator[Pack]:
    for body in bodies:
        yield from read(body)


def test_parts_of_a_file() -> None:
    bodies = [packed(*many(2, table)).body for table in ("web.a", "web.b", "web.a")]
    parts = read_parts("f", packs_of(*bodies), unseen, tables=None, late=True)
    assert [(p.table, p.rows, p.alone, p.late) for p in parts] == [
        ("web.a", 4, False, True), ("web.b", 2, False, True)
    ]  # fmt: skip
    [part] = read_parts("f", packs_of(*bodies), unseen, tables=frozenset({"web.a"}), late=False)
    assert (part.rows, part.alone) == (4, False)
    [part] = read_parts("f", packs_of(bodies[0], bodies[2]), unseen, tables=None, late=False)
    assert (part.rows, part.alone) == (4, True)
