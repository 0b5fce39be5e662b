"""Whatever the archive has and the ledger lacks is loaded, whoever left it, and nothing is read for nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from catchment.errors import Retry, WarehouseDown
from catchment.load.files import parse
from catchment.load.in_flight import InFlight
from catchment.load.rewrite import rewrite
from catchment.service import Stop
from tests.load.loading import Rig, event, packed, stamped


def put(rig: Rig, identity: str, *tables: str) -> str:
    """Archive one record of each table; the file's name."""
    parts = rig.put(rig.message(*[event(identity, table, a=1) for table in tables or ["web.event"]]))
    return parts[0].name


def counts(rig: Rig) -> list[tuple[str, int]]:
    return rig.ask("SELECT table_name, sum(inserted)::BIGINT FROM catchment.ledger GROUP BY 1 ORDER BY 1")


def test_missing_files_are_loaded_and_then_known(rig: Rig) -> None:
    put(rig, "1")
    put(rig, "2", "web.event", "web.other")
    assert rig.sweep.unloaded is None
    assert rig.swept() == 3
    assert rig.swept() == 0
    assert rig.sweep.unloaded == 0
    assert counts(rig) == [("web.event", 2), ("web.other", 1)]


def test_of_a_file_that_is_loaded_in_part_the_rest_is_loaded(rig: Rig) -> None:
    parts = rig.put(rig.message(event("1", "web.a", x=1), event("1", "web.b", x=1), event("1", "web.c", x=1)))
    rig.loader.load([part for part in parts if part.table == "web.b"])
    assert rig.swept() == 2
    assert counts(rig) == [("web.a", 1), ("web.b", 1), ("web.c", 1)]


def test_what_is_in_flight_is_left_to_its_thread(rig: Rig) -> None:
    parts = rig.put(rig.message(event("1", "web.a"), event("1", "web.b")))
    rig.sweep.in_flight.add(part.name for part in parts)
    rig.sweep.in_flight.remove(part.name for part in parts[:1])
    assert rig.swept() == 0
    rig.sweep.in_flight.remove(part.name for part in parts[1:])
    assert rig.swept() == 2


def test_in_flight_forgets() -> None:
    flying = InFlight()
    assert "x" not in flying
    assert vars(flying)["_names"] == {}


def test_a_damaged_file_is_left_and_said_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = put(rig, "1"), put(rig, "2")
    path = Path(rig.archive.url(bad))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-5])
    for _ in range(2):
        rig.swept()
    assert rig.sweep.damaged == {bad}
    assert rig.warehouse.ledger([good, bad]).keys() == {good}


def test_a_file_that_went_while_we_looked_is_no_error(rig: Rig) -> None:
    name = put(rig, "1")
    listed = rig.archive.list

    def list_and_delete(prefix: str = ""):  # type: ignore[no-untyped-def]
        found = list(listed(prefix))
        rig.archive.delete(name)
        return iter(found)

    rig.archive.list = list_and_delete  # type: ignore[method-assign]
    assert rig.swept() == 0


def test_names_that_are_not_ours_are_passed_over(rig: Rig) -> None:
    rig.archive.put("incoming/readme.txt", [b"hello"])
    rig.archive.put("notes/readme.txt", [b"hello"])
    put(rig, "1")
    assert rig.swept() == 1
    assert rig.sweep.everything(Stop()) == 0


def test_one_table_that_cannot_load_holds_up_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.sweep.CHUNK_FILES", 1)
    for at in range(3):
        put(rig, "1", f"web.t{at}")
    load = rig.warehouse.load

    def refuse(batches, **other):  # type: ignore[no-untyped-def]
        if any(batch.table == "web.t0" for batch in batches):
            raise Retry("no")
        return load(batches, **other)

    rig.warehouse.load = refuse  # type: ignore[method-assign]
    with pytest.raises(Retry):
        rig.swept()
    assert counts(rig) == [("web.t1", 1), ("web.t2", 1)]
    assert rig.sweep.unloaded == 1


def test_a_warehouse_that_is_down_ends_the_sweep(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.sweep.CHUNK_FILES", 1)
    for at in range(3):
        put(rig, str(at))
    calls = []

    def down(batches, **other):  # type: ignore[no-untyped-def]
        calls.append(batches)
        raise WarehouseDown("away")

    rig.warehouse.load = down  # type: ignore[method-assign]
    with pytest.raises(WarehouseDown):
        rig.swept()
    assert len(calls) == 1
    assert rig.sweep.unloaded == 3


def test_a_stop_ends_the_sweep(rig: Rig) -> None:
    put(rig, "1")
    stop = Stop()
    stop.drain()
    assert rig.sweep.incoming(stop) == 0
    assert rig.sweep.everything(stop) == 0
    assert counts(rig) == []


def test_everything_finds_rewritten_files_of_a_warehouse_that_lost_them(rig: Rig) -> None:
    """As if it had been put back to a backup from before."""
    for at in range(3):
        rig.file(*[event(f"{at}-{place}", a=place) for place in range(100)])
    assert list(rewrite(rig.archive, rig.warehouse, now=rig.now + timedelta(days=2), age=timedelta(hours=1)))
    names = [entry.name for entry in rig.archive.list("table=web.event/")]
    assert names
    lose_everything(rig)
    assert rig.swept() == 0
    assert rig.sweep.everything(Stop()) == len(names)
    assert rig.ask("SELECT count(*), count(DISTINCT _id), sum(a)::BIGINT FROM web.event") == [(300, 300, 3 * 4950)]
    assert rig.sweep.everything(Stop()) == 0


def lose_everything(rig: Rig) -> None:
    """Delete all rows and the ledger behind the warehouse's back."""
    cursor = rig.warehouse._new_cursor()
    for table in ("web.event", "catchment.ledger"):
        cursor.execute(f"DELETE FROM {table}")
    rig.sweep._done.clear()


def test_of_a_halted_table_nothing_is_read_again_until_it_is_resumed(rig: Rig) -> None:
    name = put(rig, "1", "web.halted")
    both = put(rig, "1", "web.halted", "web.fine")
    rig.warehouse.halt("web.halted", "test")
    rig.halts.refresh()
    opened: list[str] = []
    open_ = rig.archive.open
    rig.archive.open = lambda name: (opened.append(name), open_(name))[1]  # type: ignore[method-assign, func-returns-value]
    assert rig.swept() == 1
    assert sorted(opened) == sorted([name, both])
    rig.swept()
    assert sorted(opened) == sorted([name, both, both])  # only now it is known of the second
    rig.swept()
    assert len(opened) == 3
    assert rig.sweep.unloaded == 2
    rig.warehouse.resume("web.halted")
    rig.halts.refresh()
    assert rig.swept() == 2


def test_what_is_remembered_goes_with_its_file(rig: Rig) -> None:
    names = [put(rig, str(at)) for at in range(3)]
    rig.swept()
    rig.swept()
    assert rig.sweep._done == set(names)
    for name in names:
        assert parse(name) is not None
        rig.archive.delete(name)
    rig.swept()
    assert rig.sweep._done == set()


def test_a_large_backlog_is_loaded_a_chunk_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.sweep.CHUNK_ROWS", 150)
    for at in range(4):
        rig.put(packed(*[stamped(f"{at}-{place}", b'{"a":1}') for place in range(100)]))
    assert rig.swept() == 4
    assert rig.ask("SELECT count(*) FROM web.event") == [(400,)]
    assert rig.ask("SELECT count(DISTINCT loaded_at) FROM catchment.ledger") == [(2,)]
