"""A table that is built anew from the archive, in each warehouse: what somebody has spoiled is whole again, and
nothing that was loaded meanwhile is lost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from catchment.errors import Retry, UsageError
from catchment.load.config import ColumnConfig
from catchment.load.patience import patiently
from catchment.load.rebuild import HOLDS_BACK_AFTER, RebuildDone, rebuild
from catchment.load.rewrite import rewrite
from catchment.testing.content import content
from catchment.warehouses import Loaded, Rebuilt
from catchment.warehouses.postgres import PostgresWarehouse
from tests.load.loading import columns, event
from tests.load.test_contracts import MANY, TABLE, Contracted, contracted, many
from tests.servers.postgres import PostgresServer


@pytest.fixture(params=["duckdb", "postgres"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Contracted]:
    """With `mine`, which runs a statement of somebody else's."""
    if request.param == "duckdb":
        with contracted(tmp_path) as made:
            made.mine = lambda sql: made.warehouse._new_cursor().execute(sql)  # type: ignore[attr-defined]
            yield made
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.emptied_database()

    def mine(sql: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(sql.encode())

    with contracted(tmp_path, PostgresWarehouse(PostgresWarehouse.Config(url), tmp_path)) as made:
        made.mine = mine  # type: ignore[attr-defined]
        yield made


def mine(rig: Contracted, sql: str) -> None:
    rig.mine(sql)  # type: ignore[attr-defined]


def run(rig: Contracted, **options: Any) -> RebuildDone:
    return rebuild(rig.loader, rig.archive, TABLE, **options)


def leftovers(rig: Contracted) -> list[tuple[Any, ...]]:
    """What is still known of a table beside another."""
    tables = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'rebuild%'"
    owns = ("ledger", "columns", "tombstones", "early")
    known = [f"SELECT table_name FROM catchment.{own} WHERE table_name LIKE 'catchment.rebuild%'" for own in owns]
    return rig.ask(" UNION ALL ".join([tables, *known, "SELECT side FROM catchment.staged"]))


def test_what_somebody_has_spoiled_is_as_it_was(rig: Contracted) -> None:
    rig.file(*many(a=1, b="x", c=[1, {"d": None}]))
    rig.file(*many(1_000, a=2.5, b="y"), event("odd", a="no number"))
    rig.file(b'{"table":"web.event","id":"dead","source":"web","data":{"a":1,"a":2}}')
    rig.file(event("other", "web.other", a=1))
    before, letters, shape = content(rig.warehouse, TABLE), rig.letters(), columns(rig)
    mine(rig, f"UPDATE {TABLE} SET b = 'spoiled' WHERE _id IN ('0', '1', '2')")
    mine(rig, f"DELETE FROM {TABLE} WHERE _id IN ('3', '1001')")
    mine(rig, f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE _id = '1'")
    done = run(rig)
    assert (done.rows, done.records, done.files, done.others) == (2 * MANY + 1, 2 * MANY + 2, 3, 0)
    assert content(rig.warehouse, TABLE) == before
    assert rig.letters() == letters
    assert columns(rig) == shape
    assert leftovers(rig) == []
    assert rig.ask("SELECT count(*) FROM web.other") == [(1,)]
    assert [loaded.inserted for loaded in rig.file(event("after", a=1, b="z"))] == [1]


def test_it_takes_the_projects_types_and_leaves_out_what_it_drops(rig: Contracted) -> None:
    rig.file(event("first", a="text", gone="secret"))
    rig.file(*many(a="7", b=1, gone="secret"))
    rig.agree(contract="freeze")
    rig.file(event("second", a="x", b=2, c=3, new=1))
    declared = {"a": ColumnConfig(type="json"), "new": ColumnConfig(type="bigint")}
    rig.agree(contract="freeze", drop=["gone"], columns=declared)
    assert run(rig).rows == MANY + 2
    assert columns(rig) == {"a": "json", "b": "bigint", "new": "bigint"}
    found = rig.ask(
        f"SELECT _id, CAST(a AS VARCHAR), b, new, CAST(_rescued AS VARCHAR) FROM {TABLE} WHERE _id <> 'second'"
    )
    assert ("0", '"7"', 1, None, None) in found
    assert content(rig.warehouse, TABLE)["web", "second"] == {"a": "x", "b": 2, "c": 3, "new": 1}
    told = [(each.kind, each.field, each.before, each.after) for each in rig.told]
    assert told[-3:] == [
        ("column added", "new", "", "bigint"),
        ("retyped", "a", "varchar", "json"),
        ("dropped", "gone", "varchar", ""),
    ]


@pytest.mark.parametrize("contract", ["freeze", "evolve"])
def test_columns_stay_whatever_the_contract(rig: Contracted, contract: str) -> None:
    """So that a column which was filled, say, does not go back to `_rescued`."""
    rig.file(event("1", a=1))
    rig.file(event("2", b="x"))
    rig.agree(contract=contract)
    before = columns(rig)
    run(rig)
    assert columns(rig) == before == {"a": "bigint", "b": "varchar"}


def test_a_keyed_table_has_its_winners_and_no_deleted_row(rig: Contracted) -> None:
    keyed = {"table": TABLE, "source": "crm", "key": ["k"]}
    rig.file({**keyed, "id": "1", "op": "upsert", "version": "1", "data": {"k": 1, "b": "old"}})
    rig.file({**keyed, "id": "2", "op": "upsert", "version": "2", "data": {"k": 1, "b": "new"}})
    rig.file({**keyed, "id": "3", "op": "upsert", "version": "1", "data": {"k": 2, "b": "gone"}})
    rig.file({**keyed, "id": "4", "op": "delete", "version": "2", "data": {"k": 2}})
    mine(rig, f"UPDATE {TABLE} SET b = 'spoiled'")
    assert run(rig).rows == 1
    assert rig.ask(f"SELECT k, b FROM {TABLE}") == [(1, "new")]
    rig.file({**keyed, "id": "5", "op": "upsert", "version": "1", "data": {"k": 2, "b": "late"}})
    assert rig.ask(f"SELECT k, b FROM {TABLE}") == [(1, "new")]
    assert leftovers(rig) == []


def test_rows_that_the_archive_does_not_have_are_not_lost_unasked(rig: Contracted) -> None:
    rig.file(*many(b="lost"))
    for entry in list(rig.archive.list("incoming/")):
        rig.archive.delete(entry.name)
    rig.file(*many(1_000, b="kept"))
    with pytest.raises(UsageError, match="300 rows of web"):
        run(rig)
    assert rig.ask(f"SELECT count(*) FROM {TABLE}") == [(2 * MANY,)]
    done = run(rig, drops_others=True)
    assert (done.rows, done.others, done.records) == (MANY, MANY, 0)
    assert leftovers(rig) == []


def test_a_damaged_file_is_counted_and_loses_nothing(rig: Contracted) -> None:
    rig.file(*many(b=1))
    (entry,) = rig.archive.list("incoming/")
    path = Path(rig.archive.url(entry.name))
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(UsageError, match="1 of its files are damaged"):
        run(rig)
    path.write_bytes(whole)
    assert run(rig).rows == MANY


def test_a_table_that_cannot_be_built_anew_is_refused(rig: Contracted) -> None:
    with pytest.raises(UsageError, match="there is no table"):
        run(rig)
    rig.file(event("1", a=1))
    rig.warehouse.halt(TABLE, "test")
    with pytest.raises(UsageError, match="has halted"):
        run(rig)


def test_files_that_were_rewritten_before_and_meanwhile(rig: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.rebuild.CHUNK_FILES", 1)
    rig.file(*many(b=1))
    age(rig)
    for at in range(1, 4):
        rig.file(*many(1_000 * at, b=1))
    mine(rig, f"UPDATE {TABLE} SET b = 0")
    calls = iter([False, True])
    done = run(rig, progress=lambda _: age(rig) if next(calls, False) else None)
    assert done.rows == 4 * MANY
    assert rig.ask(f"SELECT count(*) FROM {TABLE} WHERE b = 1") == [(4 * MANY,)]


def age(rig: Contracted) -> None:
    """Rewrite all files, as is done after an hour."""
    assert list(rewrite(rig.archive, rig.warehouse, now=rig.now + timedelta(days=2), age=timedelta(hours=1)))


def test_one_that_was_stopped_is_gone_on_with(rig: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.rebuild.CHUNK_FILES", 1)
    for at in range(4):
        rig.file(*many(1_000 * at, b=at))
    mine(rig, f"UPDATE {TABLE} SET b = -1")

    class Died(BaseException):
        pass

    def die(done: RebuildDone) -> None:
        if done.files == 3:
            raise Died

    with pytest.raises(Died):
        run(rig, progress=die)
    assert rig.ask(f"SELECT DISTINCT b FROM {TABLE}") == [(-1,)]
    rig.file(*many(9_000, b=9))
    done = run(rig)
    assert (done.rows, done.records) == (5 * MANY, 2 * MANY)
    assert rig.ask(f"SELECT count(*) FROM {TABLE} WHERE b = -1") == [(0,)]


def test_loading_goes_on_meanwhile(rig: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as it can. Readers see the old rows or the new ones."""
    monkeypatch.setattr("catchment.load.rebuild.CHUNK_FILES", 2)
    for at in range(6):
        rig.file(*many(1_000 * at, b=at))
    mine(rig, f"UPDATE {TABLE} SET b = -1")
    stop = threading.Event()
    sent: set[str] = set()
    seen: set[tuple[int, int]] = set()
    failed: list[BaseException] = []

    def loading() -> None:
        try:
            at = 10
            while not stop.is_set():
                parts = rig.put(rig.message(event(str(1_000 * at), b=at, extra=at)))
                patiently(lambda parts=parts: rig.loader.load(parts))  # type: ignore[misc]
                sent.add(str(1_000 * at))
                at += 1
        except BaseException as error:
            failed.append(error)

    def reading() -> None:
        counted = f"SELECT count(*), count(CASE WHEN b < 0 THEN 1 END) FROM {TABLE} WHERE CAST(_id AS INT) < 10000"
        while not stop.is_set():
            seen.update((total, spoiled) for total, spoiled in rig.ask(counted))

    threads = [threading.Thread(target=loading), threading.Thread(target=reading)]
    for thread in threads:
        thread.start()
    try:
        run(rig)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert seen <= {(6 * MANY, 6 * MANY), (6 * MANY, 0)}
    assert rig.ask(f"SELECT count(*), count(DISTINCT _id) FROM {TABLE}") == [(6 * MANY + len(sent),) * 2]
    late = rig.ask(f"SELECT _id FROM {TABLE} WHERE CAST(_id AS INT) >= 10000 AND extra = b")
    assert {identity for (identity,) in late} == sent
    assert leftovers(rig) == []


def test_it_comes_to_an_end_however_fast_the_table_is_loaded(rig: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that it is at its end, something has come in; then that is held back, and loaded afterwards."""
    rig.file(*many(b=1))
    real = rig.warehouse.end_rebuild
    loaded: list[Loaded] = []

    def beaten(*arguments: Any, **named: Any) -> Rebuilt:
        with contextlib.suppress(Retry):
            loaded.extend(rig.file(event(f"late {len(loaded)}", b=1)))
        return real(*arguments, **named)

    monkeypatch.setattr(rig.warehouse, "end_rebuild", beaten)
    assert run(rig).rows == MANY + len(loaded)
    assert len(loaded) == HOLDS_BACK_AFTER + 1
    assert rig.swept() == 1
    assert rig.ask(f"SELECT count(*) FROM {TABLE}") == [(MANY + len(loaded) + 1,)]


def test_one_that_never_catches_up_says_so(rig: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.rebuild._ATTEMPTS", 3)
    monkeypatch.setattr(rig.warehouse, "end_rebuild", lambda *_, **__: Rebuilt(missing=("incoming/unheard of",)))
    rig.file(event("1", a=1))
    with pytest.raises(Retry, match="faster than it is built"):
        run(rig)
    monkeypatch.undo()
    assert run(rig).rows == 1
