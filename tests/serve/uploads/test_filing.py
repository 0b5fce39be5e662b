"""What a file holds is found again in the warehouse, under the names and types that were shown before."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.errors import WarehouseDown
from catchment.record import now
from catchment.serve.uploads.fitting import fit
from catchment.serve.uploads.upload import Going, Upload
from catchment.warehouses import Warehouse
from tests.load.loading import Rig, columns, event
from tests.serve.uploads.files import csv, filed, look, workbook
from tests.serve.uploads.through import filing_of

TABLE = "uploads.file"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "project")
    yield made
    made.close()


def shown_types(rig: Rig, table: str = TABLE) -> dict[str, str]:
    return {column.name: column.type for column in rig.warehouse.shape(table).columns}


def test_csv_arrives_as_it_was_shown(rig: Rig, tmp_path: Path) -> None:
    file = csv(
        tmp_path, 'Order ID,Total,ok,when,_id,Order-ID\n07,1.5,true,2026-01-01T00:00:00Z,a,x\n8,2,false,,"",y\n'
    )
    found = look(file)
    fitted = filed(rig, file, "csv", found, TABLE)
    assert shown_types(rig) == {fit.column: fit.type for fit in fitted.columns}
    names = [fit.column for fit in fitted.columns]
    assert names[:4] == ["order_id", "total", "ok", "when"]
    assert names[4].startswith("_id_")
    assert names[5].startswith("order_id_")
    assert rig.ask(f"SELECT order_id, total, ok, {names[4]}, {names[5]} FROM {TABLE} ORDER BY order_id") == [
        ("07", 1.5, True, "a", "x"), ("8", 2.0, False, "", "y"),
    ]  # fmt: skip
    assert rig.ask(f"SELECT DISTINCT _source FROM {TABLE}") == [("upload",)]


def test_the_same_file_again_adds_nothing_and_its_columns_are_found_again(rig: Rig, tmp_path: Path) -> None:
    file = csv(tmp_path, "a b,a-b,_key\n1,2,3\n4,5,6\n7\n")
    found = look(file, delimiter=",")
    assert (found.rows, found.bad) == (2, 1)
    filed(rig, file, "csv", found, TABLE)
    before = shown_types(rig)
    again = filed(rig, file, "csv", found, TABLE)
    assert {fit.state for fit in again.columns} == {"fits"}
    assert shown_types(rig) == before
    assert rig.ask(f"SELECT count(*) FROM {TABLE}") == [(2,)]
    assert rig.ask("SELECT count(*), min(origin) FROM catchment.dead_letters") == [(1, "file file.csv line 4")]


def test_a_key_replaces_rows_and_the_last_of_a_file_wins(rig: Rig, tmp_path: Path) -> None:
    rows = "".join(f"{n % 3},{n}\n" for n in range(12))  # ids sort as texts: 9 above 11
    first = csv(tmp_path, f"K,v\n{rows},99\n")
    filed(rig, first, "csv", look(first), TABLE, key=["K"])
    assert rig.ask(f"SELECT k, v FROM {TABLE} ORDER BY k") == [(0, 9), (1, 10), (2, 11)]
    assert rig.ask("SELECT reason FROM catchment.dead_letters") == [("key-mismatch",)]
    second = csv(tmp_path, "v,K\n-1,2\n-2,3\n", "second.csv")
    fitted = filed(rig, second, "csv", look(second), TABLE)
    assert fitted.key == ("K",)
    assert rig.ask(f"SELECT k, v FROM {TABLE} ORDER BY k") == [(0, 9), (1, 10), (2, -1), (3, -2)]
    filed(rig, first, "csv", look(first), TABLE)
    assert rig.ask(f"SELECT k, v FROM {TABLE} ORDER BY k") == [(0, 9), (1, 10), (2, 11), (3, -2)]


def test_into_a_table_that_is_there(rig: Rig, tmp_path: Path) -> None:
    rig.file(event("e1", table=TABLE, userId="u1", n=1, text="t", ok=True, big={"a": 1}))
    file = csv(tmp_path, "user_id,n,text,ok,big,new\n1,1.5,7,maybe,[1],x\n2,2.5,8,no,,y\n")
    found = look(file, delimiter=",")
    fitted = filed(rig, file, "csv", found, TABLE)
    assert {fit.column: fit.state for fit in fitted.columns} == {
        "user_id": "as text", "n": "widens", "text": "as text", "ok": "rescued", "big": "fits", "new": "new",
    }  # fmt: skip
    assert shown_types(rig) == {fit.column: fit.type for fit in fitted.columns}
    assert rig.ask(f"SELECT user_id, n, text, ok, new, _rescued FROM {TABLE} WHERE _source = 'upload' ORDER BY n") == [
        ("1", 1.5, "7", None, "x", '{"ok":"maybe"}'), ("2", 2.5, "8", None, "y", '{"ok":"no"}'),
    ]  # fmt: skip
    assert columns(rig, TABLE)["userId"] == "varchar"


def test_two_sheets_of_a_workbook_in_one_table(rig: Rig, tmp_path: Path) -> None:
    file = workbook(tmp_path, {"Jan <b>": [["n"], [1], [2]], "Feb": [["n"], [3], [4]]})
    for sheet in ("Jan <b>", "Feb", "Feb"):
        filed(rig, file, "excel", look(file, "excel", sheet=sheet), TABLE)
    assert rig.ask(f"SELECT n FROM {TABLE} ORDER BY n") == [(1,), (2,), (3,), (4,)]


def test_parquet_with_numbers_written_as_text(rig: Rig, tmp_path: Path) -> None:
    rig.file(event("e1", table=TABLE, a="x", b="y", c="z"))
    path = tmp_path / "file.parquet"
    duckdb.connect().execute(f"COPY (SELECT 12 AS a, true AS b, 1.50::DECIMAL(4, 2) AS c, [1, 2] AS d) TO '{path}'")
    file = csv(tmp_path, path.read_bytes(), "file.parquet")
    found = look(file, "parquet")
    filed(rig, file, "parquet", found, TABLE)
    assert rig.ask(f"SELECT a, b, c, d FROM {TABLE} WHERE _source = 'upload'") == [("12", "true", "1.50", "[1,2]")]


def test_what_became_of_rows_is_not_made_up_where_the_warehouse_cannot_be_asked(rig: Rig, tmp_path: Path) -> None:
    def away() -> Warehouse:
        raise WarehouseDown("the warehouse is not running")

    file = csv(tmp_path, "a,b\n1,2\n")
    found = look(file)
    upload = Upload("id", "user", file, rig.folder / "upload", "csv", found=found)
    upload.folder.mkdir()
    going = Going(TABLE, (), fit(found, rig.warehouse.shape(TABLE)).written)
    upload.file(going, filing_of(rig, rig.folder), away, now(), 10)
    assert (upload.state, upload.error, upload.became) == ("loaded", None, None)
    assert rig.ask(f"SELECT a, b FROM {TABLE}") == [(1, 2)]


NAMES = st.text(alphabet=string.ascii_letters + " _-éß<>&\"'0123456789", min_size=1, max_size=12)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(-1e300, 1e300, allow_subnormal=False).map(lambda value: float(f"{value:.12g}")),  # as openpyxl writes
    st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20),
    st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    st.dates(date(1950, 1, 1), date(2100, 1, 1)),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=5))
    width = len(names)
    kinds = [draw(st.sampled_from([CELLS, st.integers(-99, 99), st.booleans(), st.none()])) for _ in names]
    rows = draw(st.lists(st.tuples(*kinds).map(list), min_size=1, max_size=8))
    assert all(len(row) == width for row in rows)
    return names, rows


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=tables())
def test_what_a_sheet_holds_is_found_again(tmp_path_factory: pytest.TempPathFactory, table: Any) -> None:
    names, rows = table
    folder = tmp_path_factory.mktemp("sheet")
    kept = [row for row in rows if any(cell is not None and cell != "" for cell in row)]
    if not kept:
        return
    file = workbook(folder, {"S": [names, *rows]})
    found = look(file, "excel")
    assert found.rows == len(kept)
    rig = Rig(folder / "project")
    try:
        fitted = filed(rig, file, "excel", found, TABLE)
        there = shown_types(rig)
        assert there == {fit.column: fit.type for fit in fitted.columns if fit.state != "no values"}
        used = [at for at, name in enumerate(names) if name.strip() or any(row[at] not in {None, ""} for row in rows)]
        assert len(used) == len(fitted.columns)
        chosen = [(at, fit) for at, fit in zip(used, fitted.columns, strict=True) if fit.column in there]
        if not chosen:
            return
        sql = ", ".join(f'"{fit.column}"' for _, fit in chosen)
        got = rig.ask(f"SELECT {sql} FROM {TABLE} ORDER BY CAST(split_part(_id, ':', 2) AS INTEGER)")
        for row, values in zip(kept, got, strict=True):
            for (at, fit), value in zip(chosen, values, strict=True):
                _same(row[at], value, fit.type)
    finally:
        rig.close()


def _same(cell: Any, value: Any, kind: str) -> None:
    if cell is None or cell == "":
        assert value is None
    elif kind in {"boolean", "bigint", "double"}:
        assert value == cell
    elif isinstance(cell, bool):
        assert value == str(cell).lower()
    elif isinstance(cell, int | float):
        assert float(value) == cell
    elif isinstance(cell, datetime):
        assert value == str(cell) or value == str(cell.date())
    elif isinstance(cell, date):
        assert value in {str(cell), f"{cell} 00:00:00"}
    else:
        assert isinstance(value, str) or kind == "timestamptz"
        assert kind == "timestamptz" or value.strip() == cell.strip()


def test_times_and_durations_of_a_sheet(rig: Rig, tmp_path: Path) -> None:
    file = workbook(tmp_path, {"S": [["t", "d", "m"], [time(3, 4, 5), timedelta(hours=26, seconds=1), "7"],
                                     [None, None, 7], [None, None, 7.5]]})  # fmt: skip
    filed(rig, file, "excel", look(file, "excel"), TABLE)
    assert sorted(rig.ask(f"SELECT m FROM {TABLE}")) == [("7",), ("7",), ("7.5",)]
    assert rig.ask(f"SELECT t, d FROM {TABLE} WHERE t IS NOT NULL") == [("03:04:05", "26:00:01")]
