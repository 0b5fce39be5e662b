"""Expiry of the archive: what goes, what stays of a mirrored table, and what a crash or a rival leaves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.load import files
from catchment.load.audit import audit
from catchment.load.config import ColumnConfig, LoadConfig, TableLoadConfig
from catchment.load.contracts import Contracts
from catchment.load.expire import Expired, Limits, expire, forget_expired
from catchment.load.retention import Retention, RetentionConfig, TableRetentionConfig
from catchment.load.rewrite import rewrite
from catchment.load.verify import problems
from catchment.load.walk import walk
from catchment.pack import build
from catchment.record import CORRECTIONS, Line, Record, Stamp
from catchment.warehouses import LedgerEntry
from catchment.warehouses.shape import Column, Shape

from .archives import Dying, Killed, MemoryArchive, MemoryLedger, all_lines, incoming, line, lines_of, tables_of

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEPT = Retention(RetentionConfig(archive=10 * DAY, rows=10 * DAY))
EVENTS, MIRROR = "web.event", "shop.customer"
CONTRACTS = Contracts(LoadConfig())


class Warehouse(MemoryLedger):
    """A ledger that knows tables as well."""

    def __init__(self, mirrored: Sequence[str] = (MIRROR,), unknown: Sequence[str] = ()) -> None:
        super().__init__()
        self.mirrored, self.unknown = mirrored, unknown

    def shape(self, table: str) -> Shape:
        columns = (Column("k", "k", "bigint"), Column("n", "n", "bigint"))
        if table in self.unknown:
            return Shape(table)
        return Shape(table, 1, columns, ("k",) if table in self.mirrored else ())

    def enter(self, entries: Sequence[LedgerEntry]) -> None:
        for entry in entries:
            assert all((name, entry.table) in self.entries for name in entry.same_as), "not loaded"
        super().enter(entries)


class DyingBoth(Dying):
    """With the tables, too."""

    def __init__(self, archive: MemoryArchive, warehouse: Warehouse, at: int) -> None:
        super().__init__(archive, warehouse, at)
        self.shape = warehouse.shape


def keyed(
    key: object,
    version: str,
    at: datetime,
    *,
    op: str = "upsert",
    id: str = "",  # noqa: A002
    table: str = MIRROR,
    **data: Any,
) -> Line:
    """A stamped record of a mirrored table."""
    raw = msgspec.Raw(msgspec.json.encode({"k": key, **data}))
    record = Record(table, raw, id=id or f"{key}@{version}", op=op, key=("k",), version=version)  # type: ignore[arg-type]
    return Stamp(at, "mirror").line(record)


def stored(*rounds: Sequence[Line], warehouse: Warehouse | None = None) -> tuple[MemoryArchive, Warehouse]:
    """An archive of these rounds, loaded and rewritten into files of one table and hour; `put` adds to one."""
    archive, warehouse = MemoryArchive(), warehouse or Warehouse()
    for number, lines in enumerate(rounds):
        put(archive, warehouse, lines, number)
    return archive, warehouse


def put(archive: MemoryArchive, warehouse: Warehouse, lines: Sequence[Line], number: int) -> None:
    tables: dict[str, list[Line]] = {}
    for each in lines:
        tables.setdefault(each.table, []).append(each)
    at = NOW - 300 * DAY + number * timedelta(minutes=1)
    name, content = incoming(at, [build(table, some) for table, some in tables.items()], nonce=number)
    archive.files[name] = content
    warehouse.load(name, tables_of(content))
    list(rewrite(archive, warehouse, now=NOW))


def run(
    archive: MemoryArchive, warehouse: Warehouse, retention: Retention = KEPT, now: datetime = NOW, **more: Any
) -> list[Expired]:
    steps = expire(archive, warehouse, retention, more.pop("contracts", CONTRACTS), now=now, **more)
    return [step for step in steps if step is not None]


def state(archive: MemoryArchive) -> dict[Any, tuple[Any, ...]]:
    """What a rebuild of the mirrored table comes to: each key's highest (version, id), deletions included."""
    best: dict[Any, tuple[Any, ...]] = {}
    for text in all_lines(archive, f"table={MIRROR}/"):
        with suppress(msgspec.DecodeError):
            record = msgspec.json.decode(text)
            if record.get("key") == ["k"] and record["data"].get("k") is not None:
                found = (record["version"], record["id"], record["op"], str(record["data"]))
                best[record["data"]["k"]] = max(best.get(record["data"]["k"], ("",)), found)
    return best


def newest_files(archive: MemoryArchive) -> list[str]:
    return [name for name in archive.files if isinstance(files.parse(name), files.Newest)]


def events(at: datetime, count: int = 3, first: int = 0) -> list[Line]:
    return [line(EVENTS, first + number, at) for number in range(count)]


# ---- tables of events -----------------------------------------------------------------------------------


def test_files_of_hours_that_ended_too_long_ago_go() -> None:
    edge = NOW - 10 * DAY
    archive, warehouse = stored(events(edge - HOUR, first=0), events(edge, first=10), events(NOW, first=20))
    hours = sorted(archive.files)
    (done,) = run(archive, warehouse)
    assert done.table == EVENTS
    (gone,) = done.removed
    assert "date=2026-11-20/hour=11" in gone
    assert {n for n in hours if n.startswith("table=")} - set(archive.files) == {gone}
    assert done.bytes > 0
    assert run(archive, warehouse) == []


def test_one_microsecond_short_of_the_hours_end_stays() -> None:
    archive, warehouse = stored(events(NOW - 10 * DAY - HOUR))
    assert run(archive, warehouse, now=NOW - timedelta(microseconds=1)) == []
    assert len(run(archive, warehouse)) == 1


def test_what_is_kept_for_good_stays() -> None:
    archive, warehouse = stored(events(NOW - 400 * DAY))
    before = dict(archive.files)
    assert run(archive, warehouse, Retention(RetentionConfig())) == []
    own = RetentionConfig(tables={"web.other": TableRetentionConfig(archive=10 * DAY, rows=10 * DAY)})
    assert run(archive, warehouse, Retention(own)) == []
    assert archive.files == before


def test_the_archive_of_rows_that_stay_stays() -> None:
    """Whatever its own age: a restore would lose them."""
    archive, warehouse = stored(events(NOW - 400 * DAY), [keyed(1, "1", NOW - 400 * DAY)])
    done = run(archive, warehouse, Retention(RetentionConfig(archive=10 * DAY)))
    assert [each.table for each in done] == [MIRROR]
    assert any(name.startswith(f"table={EVENTS}/") for name in archive.files)


def test_corrections_stay_for_good() -> None:
    archive, warehouse = stored([line(CORRECTIONS, 1, NOW - 400 * DAY)], warehouse=Warehouse())
    assert run(archive, warehouse) == []


def test_what_is_not_loaded_stays() -> None:
    archive, warehouse = stored(events(NOW - 20 * DAY), [keyed(1, "1", NOW - 20 * DAY)])
    for name in warehouse.names():
        warehouse.forget([name])
    before = dict(archive.files)
    assert run(archive, warehouse) == []
    assert archive.files == before


def test_rounds_that_nobody_rewrote_stay() -> None:
    archive, warehouse = MemoryArchive(), Warehouse()
    name, content = incoming(NOW - 20 * DAY, [build(EVENTS, events(NOW - 20 * DAY))])
    archive.files[name] = content
    warehouse.load(name, [EVENTS])
    assert run(archive, warehouse) == []


def test_a_damaged_file_of_events_goes_as_any_other() -> None:
    archive, warehouse = stored(events(NOW - 20 * DAY))
    (name,) = [name for name in archive.files if name.startswith("table=")]
    archive.files[name] = archive.files[name][:-4]
    assert [done.removed for done in run(archive, warehouse)] == [(name,)]


@pytest.mark.parametrize(("limits", "sets"), [(Limits(), 1), (Limits(files=2), 3), (Limits(bytes=1), 5)])
def test_a_set_ends_where_the_limits_say(limits: Limits, sets: int) -> None:
    archive, warehouse = stored(*[events(NOW - 20 * DAY + n * HOUR, first=10 * n) for n in range(5)])
    assert len(run(archive, warehouse, limits=limits)) == sets
    assert not any(name.startswith("table=") for name in archive.files)


# ---- mirrored tables ------------------------------------------------------------------------------------


def rich() -> tuple[MemoryArchive, Warehouse]:
    """Three old hours, in which versions come in no order, ties break by id, a key is deleted, another comes back;
    and a young hour."""
    old = NOW - 20 * DAY
    return stored(
        [keyed(1, "01", old, n=1), keyed(2, "05", old, n=5), keyed(3, "01", old), keyed(4, "02", old, op="delete")],
        [
            keyed(1, "03", old + HOUR, id="b", n=3),
            keyed(1, "03", old + HOUR, id="a", n=33),
            keyed(2, "04", old + HOUR),
        ],
        [keyed(3, "02", old + 2 * HOUR, op="delete"), keyed(4, "01", old + 2 * HOUR), keyed("x", "9", old + 2 * HOUR)],
        [keyed(1, "02", NOW), keyed(5, "01", NOW)],
    )


def test_the_newest_version_of_each_key_stays_deletions_too() -> None:
    archive, warehouse = rich()
    before = state(archive)
    (done,) = run(archive, warehouse)
    assert len(done.removed) == 3
    (name,) = done.written
    assert newest_files(archive) == [name]
    kept = [msgspec.json.decode(text) for text in lines_of(archive.files[name])]
    assert {(r["data"]["k"], r["version"], r["id"], r["op"]) for r in kept} == {
        (1, "03", "b", "upsert"),
        (2, "05", "2@05", "upsert"),
        (3, "02", "3@02", "delete"),
        (4, "02", "4@02", "delete"),
        ("x", "9", "x@9", "upsert"),
    }
    assert state(archive) == before
    assert problems(archive, name) == []
    assert warehouse.ledger([name]) == {name: {MIRROR}}
    assert run(archive, warehouse) == []


def test_every_walk_meets_what_was_kept() -> None:
    archive, warehouse = rich()
    run(archive, warehouse)
    (name,) = newest_files(archive)
    assert name in {found.name for found in walk(archive)}
    assert name in {found.name for found in walk(archive, tables=[MIRROR], until=NOW - DAY)}
    assert name not in {found.name for found in walk(archive, tables=[MIRROR], since=NOW - DAY)}
    assert name not in {found.name for found in walk(archive, tables=[EVENTS])}


def test_what_was_kept_is_kept_again_beside_what_comes_in() -> None:
    archive, warehouse = rich()
    run(archive, warehouse)
    (first,) = newest_files(archive)
    old = NOW - 15 * DAY
    put(archive, warehouse, [keyed(1, "04", old), keyed(6, "01", old)], 10)
    before = state(archive)
    run(archive, warehouse)
    (second,) = newest_files(archive)
    assert first != second
    assert state(archive) == before
    keys = [msgspec.json.decode(text)["data"]["k"] for text in lines_of(archive.files[second])]
    assert sorted(map(str, keys)) == ["1", "2", "3", "4", "6", "x"]


def test_a_large_file_is_not_written_again_for_a_small_one() -> None:
    old = NOW - 20 * DAY
    archive, warehouse = stored([keyed(n, f"{random.Random(n).random()}", old, text=str(n**9)) for n in range(2_000)])
    run(archive, warehouse)
    (large,) = newest_files(archive)
    for number in range(4):
        put(archive, warehouse, [keyed(number, "99", old + (number + 2) * HOUR)], 10 + number)
        before = state(archive)
        run(archive, warehouse)
        assert large in archive.files
        assert state(archive) == before
    assert len(newest_files(archive)) <= 3


def test_keys_are_shared_out_where_there_is_much() -> None:
    archive, warehouse = stored(
        [keyed(n, "1", NOW - 20 * DAY) for n in range(300)],
        [keyed(n, "2", NOW - 20 * DAY + HOUR) for n in range(200)],
    )
    before = state(archive)
    size = sum(len(content) for content in archive.files.values())
    (done,) = run(archive, warehouse, limits=Limits(share_bytes=size // 3))
    assert len(done.written) > 1
    assert state(archive) == before
    assert sum(all_lines(archive).values()) == 300


def test_lines_that_are_no_records_of_the_table_go() -> None:
    """They are dead letters, which are not kept longer than the archive; so they beat nothing."""
    old = NOW - 20 * DAY
    good = keyed(1, "01", old)
    bad = [
        Line(MIRROR, b"no json\n", old, old),
        Line(MIRROR, keyed(1, "02", old, n=1).text.replace(b'"n":1', b'"n":1,"n":2'), old, old),
        Line(MIRROR, keyed(1, "03", old).text.replace(b'"key":["k"]', b'"key":["n"]'), old, old),
        Line(MIRROR, keyed(1, "04", old).text.replace(b'"k":1', b'"k":null'), old, old),
        line(MIRROR, 5, old),
    ]
    archive, warehouse = stored([good, *bad])
    (done,) = run(archive, warehouse)
    (name,) = done.written
    assert lines_of(archive.files[name]) == [good.text]


def test_where_a_contract_may_refuse_a_record_the_newest_that_it_takes_stays_too() -> None:
    old = NOW - 20 * DAY
    lines = [keyed(1, "01", old, n=1), keyed(1, "02", old, n=2), keyed(1, "03", old, other=3)]
    for own in (TableLoadConfig(contract="reject"), TableLoadConfig(columns={"n": ColumnConfig(not_null=True)})):
        archive, warehouse = stored(lines)
        run(archive, warehouse, contracts=Contracts(LoadConfig(tables={MIRROR: own})))
        kept = [msgspec.json.decode(text)["version"] for text in all_lines(archive)]
        assert sorted(kept) == ["02", "03"]


def test_a_dead_letter_and_what_it_was_mended_to_both_stay() -> None:
    """One of them is refused, and which of them the archive cannot tell."""
    old = NOW - 20 * DAY
    one, other = keyed(1, "01", old, n="x"), keyed(1, "01", old, n=1)
    archive, warehouse = stored([one], [other])
    run(archive, warehouse)
    assert set(all_lines(archive)) == {one.text, other.text}


def test_of_a_table_that_the_warehouse_does_not_know_whatever_has_a_key_stays() -> None:
    old = NOW - 20 * DAY
    archive, warehouse = stored(
        [keyed(1, "01", old), *events(old)], warehouse=Warehouse(mirrored=(), unknown=(MIRROR, EVENTS))
    )
    run(archive, warehouse)
    assert set(all_lines(archive)) == {keyed(1, "01", old).text}


def test_a_damaged_file_of_a_mirrored_table_stays_and_is_told() -> None:
    archive, warehouse = rich()
    damaged = sorted(name for name in archive.files if name.startswith(f"table={MIRROR}/date"))[1]
    archive.files[damaged] = archive.files[damaged][:-4]
    (done,) = run(archive, warehouse)
    assert done.refused.keys() == {damaged}
    assert damaged in archive.files
    assert len(done.removed) == 2
    assert len(newest_files(archive)) == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from("ab"), st.booleans(), st.integers(0, 60)),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(100, 1_000),
    st.integers(1, 4),
)
def test_any_history_is_rebuilt_the_same(
    rounds: list[list[tuple[int, int, str, bool, int]]], share_bytes: int, files_at_once: int
) -> None:
    """As hours become too old one by one, whatever is merged with whatever."""
    archive, warehouse = stored(
        *[
            [
                keyed(k, f"{v}", NOW - 20 * DAY + h * HOUR, id=i, op="delete" if gone else "upsert")
                for k, v, i, gone, h in some
            ]
            for some in rounds
        ]
    )
    before = {key: found[:2] for key, found in state(archive).items()}
    limits = Limits(files=files_at_once, share_bytes=share_bytes)
    for hours in (0, 30, 45, 100):
        run(archive, warehouse, now=NOW - 10 * DAY + hours * HOUR, limits=limits)
        assert {key: found[:2] for key, found in state(archive).items()} == before
        assert all(problems(archive, name) == [] for name in newest_files(archive))
    assert not any(isinstance(files.parse(name), files.Rewritten) for name in archive.files)


# ---- crashes and rivals ---------------------------------------------------------------------------------


def test_new_files_come_first_and_deleting_last() -> None:
    archive, warehouse = rich()
    steps: list[str] = []

    class Telling(DyingBoth):
        def put(self, name: str, data: Iterable[bytes]) -> None:
            steps.append(f"put {name.split('/', maxsplit=1)[0]}")
            super().put(name, data)

        def delete(self, name: str) -> None:
            steps.append(f"delete {name.split('/', maxsplit=1)[0]}")
            super().delete(name)

        def enter(self, entries: Sequence[LedgerEntry]) -> None:
            steps.append("enter")
            super().enter(entries)

    telling = Telling(archive, warehouse, 1_000)
    list(expire(telling, telling, KEPT, CONTRACTS, now=NOW))
    assert steps == [f"put table={MIRROR}", "enter", "put removed", *[f"delete table={MIRROR}"] * 3]


def test_a_crash_after_any_step_loses_nothing_and_the_next_run_does_the_rest() -> None:
    survived = False
    for at in range(100):
        archive, warehouse = rich()
        put(archive, warehouse, events(NOW - 20 * DAY), 20)
        before = state(archive)
        dying = DyingBoth(archive, warehouse, at)
        try:
            list(expire(dying, dying, KEPT, CONTRACTS, now=NOW, limits=Limits(share_bytes=200)))
            survived = True
        except Killed:
            assert state(archive) == before, f"something is missing after step {at}"
        found = audit(archive, warehouse, warehouse.names())
        assert found.is_well
        run(archive, warehouse)
        assert state(archive) == before
        assert not [n for n in archive.files if n.startswith(f"table={EVENTS}/")]
        assert len([n for n in archive.files if n.startswith(f"table={MIRROR}/date")]) == 1
        if survived:
            break
    assert at > 8


class Interrupted(DyingBoth):
    """Calls something before its write number `at`."""

    def __init__(self, archive: MemoryArchive, warehouse: Warehouse, at: int, then: Callable[[], object]) -> None:
        super().__init__(archive, warehouse, at)
        self._then = then

    def _step(self) -> None:
        if self._left == 0:
            self._then()
        self._left -= 1


@pytest.mark.parametrize("at", range(6))
def test_a_rival_that_overtakes_at_any_step_loses_nothing(at: int) -> None:
    archive, warehouse = rich()
    before = state(archive)

    def rival() -> None:
        put(archive, warehouse, [keyed(1, "07", NOW - 15 * DAY)], 30)
        before.update(state(archive))
        run(archive, warehouse)

    overtaken = Interrupted(archive, warehouse, at, rival)
    with suppress(AssertionError):  # as `enter` refuses what the ledger has forgotten
        list(expire(overtaken, overtaken, KEPT, CONTRACTS, now=NOW))
    assert state(archive) == before
    run(archive, warehouse)
    assert state(archive) == before


def test_a_ledger_that_has_lost_a_file_meanwhile_removes_nothing() -> None:
    archive, warehouse = rich()
    before = dict(archive.files)
    lost = sorted(name for name in archive.files if name.startswith("table="))[1]

    class Losing(Warehouse):
        asked = 0

        def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
            self.asked += 1
            if self.asked == 2:
                self.forget([lost])
            return super().ledger(names)

    losing = Losing()
    losing.entries = dict(warehouse.entries)
    assert [done.removed for done in run(archive, losing)] == [()]
    assert archive.files == before


# ---- the ledger -----------------------------------------------------------------------------------------


def test_entries_of_removed_files_are_forgotten_when_their_time_has_come() -> None:
    archive, warehouse = rich()
    old = {name for name in archive.files if name.startswith(f"table={MIRROR}/date")}
    run(archive, warehouse)
    gone = old - set(archive.files)
    assert forget_expired(archive, warehouse, KEPT, now=NOW + 6 * DAY) == 0
    assert gone <= warehouse.names()
    assert audit(archive, warehouse, warehouse.names()).is_well
    assert forget_expired(archive, warehouse, KEPT, now=NOW + 8 * DAY) == 3
    assert warehouse.names().isdisjoint(gone)
    assert not any(name.startswith(files.REMOVED) and name.endswith(".expired") for name in archive.files)
    assert audit(archive, warehouse, warehouse.names()).is_well


def test_an_entry_of_a_file_that_is_there_is_never_forgotten() -> None:
    """The crash came before it was removed, and then the project said to keep it."""
    archive, warehouse = stored(events(NOW - 20 * DAY), events(NOW - 21 * DAY, first=10))
    dying = DyingBoth(archive, warehouse, 2)
    with pytest.raises(Killed):
        list(expire(dying, dying, KEPT, CONTRACTS, now=NOW))
    (left,) = [name for name in archive.files if name.startswith("table=")]
    assert forget_expired(archive, warehouse, KEPT, now=NOW + 30 * DAY) == 1
    assert left in warehouse.names()


def test_each_table_has_its_own_time_in_the_ledger() -> None:
    archive, warehouse = stored(events(NOW - 20 * DAY), [keyed(1, "1", NOW - 20 * DAY)])
    config = RetentionConfig(archive=10 * DAY, rows=10 * DAY, tables={"web.*": TableRetentionConfig(ledger=365 * DAY)})
    run(archive, warehouse, Retention(config))
    assert forget_expired(archive, warehouse, Retention(config), now=NOW + 30 * DAY) == 1
    assert [name for name in warehouse.names() if name.startswith(f"table={EVENTS}/")]
