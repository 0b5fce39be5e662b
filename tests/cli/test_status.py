"""What `catchment status` says of a warehouse with very many tables."""

from __future__ import annotations

from pathlib import Path

from catchment.cli.status import tables
from catchment.collect.tables import users_of
from catchment.testing.batches import T0, add, batch, row
from catchment.warehouses import duckdb_sql as sql
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.shape import Shape

SCHEMAS = 4
TABLES = 2_000


def test_thousands_of_tables_are_counted_within_the_default_memory(tmp_path: Path) -> None:
    """Made by hand, since loading so many takes half a minute."""
    warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), tmp_path)
    names = [f"schema_{at % SCHEMAS}.an_event_of_some_length_{at:04}" for at in range(TABLES)]
    cursor = warehouse._new_cursor()
    cursor.execute("BEGIN")
    for schema in range(SCHEMAS):
        cursor.execute(f"CREATE SCHEMA schema_{schema}")
    for name in names:
        cursor.execute(sql.create_table(Shape(name, 1)))
        cursor.execute(f"INSERT INTO {name} SELECT n, {sql.moment(T0)}, 'web', NULL, now(), NULL FROM range(2) t(n)")
    cursor.execute("COMMIT")
    found = tables(warehouse, {})
    warehouse.close()
    assert [each.table for each in found] == sorted(names)
    assert {each.rows for each in found} == {2}
    assert {each.last_received_at for each in found} == {T0}


def test_views_are_no_tables(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), tmp_path)
    lines = [row("1", table="site.identifies", user_id="u")]
    warehouse.load([batch(lines, table="site.identifies", changes=add(user_id="varchar"))])
    assert warehouse.latest_view(users_of("site"))
    assert [each.table for each in tables(warehouse, {})] == ["site.identifies"]
    warehouse.close()
