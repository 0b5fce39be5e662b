"""What became of a file's rows, asked of either warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from catchment.serve.uploads.arrived import Arrived, arrived, has_any
from catchment.testing.batches import T0, TABLE, add, batch, load, row
from catchment.warehouses import DeadLetter, Warehouse
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.postgres import PostgresWarehouse
from tests.servers.postgres import PostgresServer

DIGEST = "0123abcd"


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    if request.param == "duckdb":
        opened: Warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), tmp_path)
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        opened = PostgresWarehouse(PostgresWarehouse.Config(server.emptied_database()), tmp_path)
    with closing(opened):
        yield opened


def of(number: int, *, at: float = 0, source: str = "upload", digest: str = DIGEST) -> bytes:
    return row(f"{digest}:{number}", at=at, source=source, n=number)


def letter(identity: str, record_id: str, source: str = "upload", table: str = TABLE, at: float = 10) -> DeadLetter:
    received_at = T0 + timedelta(seconds=at)
    return DeadLetter(identity, table, "key-mismatch", "", "file:1", received_at, b"", source, record_id)


def test_only_rows_of_that_file_since_then_count(warehouse: Warehouse) -> None:
    since = T0 + timedelta(seconds=10)
    assert arrived(warehouse, TABLE, "upload", DIGEST, since) == Arrived(0, 0, is_there=False)
    load(warehouse, [of(1), of(2, at=10), of(3, at=11), of(4, at=11, source="web"), of(5, at=11, digest=f"{DIGEST}0")],
         add(n="bigint"))  # fmt: skip
    letters = (
        letter("a", f"{DIGEST}:6"),
        letter("b", f"{DIGEST}:7", at=0),
        letter("c", f"{DIGEST}:8", source="web"),
        letter("d", f"{DIGEST}:9", table="shop.other"),
        letter("e", "other:1"),
    )
    warehouse.load([batch([], shape_version=warehouse.shape(TABLE).version, dead=letters, name="b")])
    assert arrived(warehouse, TABLE, "upload", DIGEST, since) == Arrived(2, 1)


def test_a_file_is_known_by_any_of_its_first_rows(warehouse: Warehouse) -> None:
    load(warehouse, [of(3)], add(n="bigint"))
    ids = [f"{DIGEST}:{number}" for number in range(1, 201)]
    assert has_any(warehouse, TABLE, "upload", ids)
    assert not has_any(warehouse, TABLE, "upload", ids[3:])
    assert not has_any(warehouse, TABLE, "web", ids)
