"""The embedded warehouse: the conformance suite, and what is its own: its file, its locks, its process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from catchment.errors import Abort, Malformed, NoSpace, Retry, SchemaChanged, StorageError, UsageError, WarehouseDown
from catchment.testing.batches import T0, TABLE, add, batch, count_rows, load, named, row
from catchment.testing.content import rows
from catchment.testing.warehouses import WarehouseConformance
from catchment.warehouses import Ids, Rows, Warehouse, duckdb_search
from catchment.warehouses import duckdb as duckdb_module
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.duckdb_config import DuckDBConfig
from catchment.warehouses.duckdb_search import known_ids
from catchment.warehouses.shape import AddColumn, Column


class TestDuckDB(WarehouseConformance):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "archive").mkdir(exist_ok=True)
        return tmp_path / "archive"

    @pytest.fixture
    def warehouse(self, tmp_path: Path, folder: Path) -> Iterator[DuckDBWarehouse]:
        opened = DuckDBWarehouse(DuckDBWarehouse.Config(), tmp_path, readable=[folder])
        yield opened
        opened.close()

    def execute(self, warehouse: Warehouse, statement: str) -> None:
        assert isinstance(warehouse, DuckDBWarehouse)
        warehouse._new_cursor().execute(statement)

    def read_backup(self, path: Path, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path), read_only=True) as backup:
            return backup.execute(sql).fetchall()


def opened(folder: Path, **config: Any) -> DuckDBWarehouse:
    return DuckDBWarehouse(DuckDBConfig(**config), folder)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckDBWarehouse]:
    made = opened(tmp_path)
    yield made
    made.close()


# ---- opening ---------------------------------------------------------------------------------


def test_what_was_learned_is_recalled(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    lines = [row("1", not_before=None, n=1, userId="x")]
    columns = (Column("n", "n", "bigint"), Column("userId", "user_id", "varchar"))
    load(warehouse, lines, [AddColumn(each) for each in columns])
    before = warehouse.shape(TABLE)
    warehouse.close()
    again = opened(tmp_path)
    try:
        assert again.shape(TABLE).columns == columns
        assert again.shape(TABLE).version > before.version
        assert count_rows(again) == 1
        with pytest.raises(SchemaChanged):
            again.load([batch([row("2")], shape_version=before.version, name="guarded before the restart")])
    finally:
        again.close()


def test_closing_leaves_no_log_behind(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, [row("1")], add())
    warehouse.close()
    warehouse.close()
    assert not warehouse.path.with_name("warehouse.duckdb.wal").exists()
    with duckdb.connect(str(warehouse.path), read_only=True) as plain:
        assert plain.execute(f"SELECT _id FROM {TABLE}").fetchall() == [("1",)]
    with pytest.raises(WarehouseDown):
        warehouse.ledger(["a"])


def test_a_file_that_does_not_open_is_set_aside_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(b"nonsense" * 1000)
    made = opened(tmp_path)
    try:
        assert made.set_aside is not None
        assert made.set_aside.read_bytes() == b"nonsense" * 1000
        assert made.set_aside.name.startswith("warehouse.duckdb.damaged-")
        assert made.shape(TABLE).version == 0
    finally:
        made.close()


@pytest.mark.parametrize("limit", ["lots", "12 parsecs"])
def test_a_wrong_setting_sets_no_good_file_aside(warehouse: DuckDBWarehouse, tmp_path: Path, limit: str) -> None:
    load(warehouse, [row("1")], add())
    warehouse.close()
    with pytest.raises(UsageError, match="memory_limit"):
        opened(tmp_path, memory_limit=limit)
    assert [each.name for each in tmp_path.glob("*.duckdb*")] == ["warehouse.duckdb"]


def test_a_newer_format_is_refused_and_left_alone(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    warehouse._new_cursor().execute("UPDATE catchment.format SET version = 99")
    warehouse.close()
    with pytest.raises(StorageError, match="format 99"):
        opened(tmp_path)
    assert [each.name for each in tmp_path.glob("*.duckdb*")] == ["warehouse.duckdb"]


def test_a_folder_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "warehouse.duckdb").mkdir()
    with pytest.raises(StorageError):
        opened(tmp_path)
    assert (tmp_path / "warehouse.duckdb").is_dir()


OPEN_AND_LOAD = """
import sys
from pathlib import Path
from catchment.errors import WarehouseDown
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.duckdb_config import DuckDBConfig
try:
    DuckDBWarehouse(DuckDBConfig(), Path(sys.argv[1]))
except WarehouseDown as error:
    print("down", error.message)
"""


def test_who_finds_the_file_in_use_touches_nothing_of_its_owner(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    in_use = tmp_path / "load-tmp" / "0123.ndjson"
    in_use.write_bytes(b"{}")
    second = subprocess.run(
        [sys.executable, "-c", OPEN_AND_LOAD, tmp_path], capture_output=True, text=True, check=True
    )
    assert second.stdout.startswith("down ")
    assert in_use.exists()
    warehouse.close()
    opened(tmp_path).close()
    assert not in_use.exists()


# ---- loading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 100])
def test_rows_as_they_lie_are_read_by_duckdb_itself_however_few(warehouse: DuckDBWarehouse, count: int) -> None:
    """It finds doubled keys, which the guard's type takes in silence."""
    lines = [row(str(at), n=1).replace(b'"n":1', b'"n":1,"n":2') for at in range(count)]
    with pytest.raises(Malformed):
        load(warehouse, lines, add(n="bigint"))


@pytest.mark.parametrize(
    "text",
    ["2026-01-01 00:00:00Z", "2026-01-01t00:00:00Z", "2026-01-01T00:00:00z", "2026-01-01T00:00:00+0530",
     "2026-01-01T00:00:00.0000000Z", "2026-01-01T00:00:00.0000000+00:00", "0001-01-01T00:00:00+05:00",
     "9999-12-31T23:59:59-05:00"],
)  # fmt: skip
def test_times_that_are_not_strict_are_refused(warehouse: DuckDBWarehouse, text: str) -> None:
    with pytest.raises(Malformed):
        load(warehouse, [row("1", t=text)], add(t="timestamptz"))


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.1+05:30", None]
)
def test_times_that_are_strict_are_taken(warehouse: DuckDBWarehouse, text: str | None) -> None:
    load(warehouse, [row("1", t=text)], add(t="timestamptz"))
    assert count_rows(warehouse) == 1


def test_a_thousand_columns_of_few_rows(warehouse: DuckDBWarehouse) -> None:
    names = [f"c{at}" for at in range(1_000)]
    data = {name: at for at, name in enumerate(names)}
    lines = [named(str(at), data) for at in range(64)]
    prepared = (Rows(b"".join(lines), 64, prepared=True),)
    changes = [AddColumn(Column(name, name, "bigint")) for name in names]
    warehouse.load([batch([], rows=prepared, record_count=64, changes=changes)])
    assert rows(warehouse, f"SELECT count(*), min(c999) FROM {TABLE}") == [(64, 999)]


def test_one_table_has_one_lock(warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though threads ask for it at the same time for the first time: two would let two loads in."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for at in range(50):
            table = f"shop.t{at}"
            found: list[Any] = []
            gate = threading.Barrier(4)

            def ask(table: str = table, found: list[Any] = found, gate: threading.Barrier = gate) -> None:
                gate.wait()
                found.append(warehouse._lock(table))

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(set(map(id, found))) == 1
    finally:
        sys.setswitchinterval(interval)


def test_the_folder_for_rows_may_be_full(warehouse: DuckDBWarehouse) -> None:
    lines = [row(str(at)) for at in range(100)]
    for leftover in warehouse._tmp.iterdir():
        leftover.unlink()
    warehouse._tmp.rmdir()
    with pytest.raises(StorageError, match="cannot be written"):
        load(warehouse, lines, add())
    warehouse._tmp.mkdir()
    load(warehouse, lines, add())
    assert count_rows(warehouse) == 100


def test_no_file_is_left_by_a_load(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, [row(str(at)) for at in range(100)], add())
    assert list(warehouse._tmp.glob("*.ndjson")) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (duckdb.TransactionException("x"), Retry),
        (duckdb.OutOfMemoryException("x"), Retry),
        (duckdb.InvalidInputException("x"), Malformed),
        (duckdb.ConversionException("x"), Malformed),
        (duckdb.IOException("No space left on device"), NoSpace),
        (duckdb.IOException("something else"), Retry),
        (duckdb.BinderException("x"), Retry),
        (duckdb.FatalException("x"), Abort),
        (duckdb.InternalException("x"), Abort),
    ],
)
def test_what_duckdb_says_becomes_what_to_do(
    warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch, error: duckdb.Error, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(duckdb_module, "load_batch", fail)
    with pytest.raises(kind) as raised:
        load(warehouse, [row("1")], add())
    assert type(raised.value) is kind
    monkeypatch.undo()
    load(warehouse, [row("1")], add())  # the transaction is over
    assert count_rows(warehouse) == 1


# ---- asking -------------------------------------------------------------------------------------


def test_a_query_sees_no_variable_of_this_process(warehouse: DuckDBWarehouse) -> None:
    import nanoarrow

    secret = nanoarrow.c_array([1], nanoarrow.int32())
    assert secret is not None
    with pytest.raises(UsageError, match="secret"):
        rows(warehouse, "SELECT * FROM secret")


def test_a_query_reads_no_file_but_the_archives(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    with pytest.raises(UsageError):
        rows(warehouse, f"SELECT * FROM read_csv('{other}')")


def test_a_schema_may_have_the_name_of_the_file(tmp_path: Path) -> None:
    for path in ("", "shop.duckdb"):
        made = opened(tmp_path / "runtime", path=path)
        try:
            for table in ("warehouse.stock", "shop.orders"):
                lines = [row(str(at), table=table) for at in range(100)]
                made.load([batch(lines, table=table, changes=add())])
                assert rows(made, f"SELECT count(*) FROM {table}") == [(100,)]
        finally:
            made.close()


def test_the_suite_knows_the_protocol() -> None:
    """Every call of it is there."""
    calls = {name for name in vars(Warehouse) if not name.startswith("_")}
    assert {name for name in calls if not hasattr(DuckDBWarehouse, name)} == set()


def test_no_thread_that_asked_holds_up_a_checkpoint(warehouse: DuckDBWarehouse) -> None:
    questions: list[Callable[[], object]] = [
        lambda: warehouse.row_count("catchment.dead_letters", datetime(2000, 1, 1, tzinfo=UTC), 10),
        lambda: warehouse.ledger(["a"]),
        warehouse.halts,
    ]
    for number, question in enumerate(questions):
        with ThreadPoolExecutor(1) as asking:  # it stays, and with it the connection it asked by
            asking.submit(question).result()
            changes = add(n="bigint") if number == 0 else []
            load(warehouse, [row(str(number), n=number)], changes, name=str(number))
            # Raises while a transaction is open; a backup would wait for its end.
            warehouse._cursor().execute("CHECKPOINT")


def test_ids_are_searched_for_though_an_answer_before_was_not_read_to_its_end(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, [row("1"), row("2", source="app"), row("3", at=-1)], add())
    cursor = warehouse._new_cursor()
    cursor.execute(f"SELECT _id FROM {TABLE}").fetchone()
    assert known_ids(cursor, TABLE, Ids("web", ("1", "2", "3", "4")), T0) == ["1"]
    assert cursor.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal AND temporary").fetchall() == [(0,)]


def test_ids_of_more_bytes_than_arrow_takes_are_searched_for_the_other_way(
    warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_search, "MAX_BYTES", 20_000)
    identities = tuple(f"{at:06}" for at in range(duckdb_search.WORTH_A_SEARCH))
    load(warehouse, [row(identities[0])], add(), name="a")
    lines = [row(each) for each in identities]
    [loaded] = load(warehouse, lines, name="b", distinct=True, ids=Ids("web", identities))
    assert (loaded.inserted, loaded.duplicates) == (len(identities) - 1, 1)
