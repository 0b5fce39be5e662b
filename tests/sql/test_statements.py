"""Statements told apart, the tables that they read, and what makes a result change by itself."""

from __future__ import annotations

import pytest

from catchment.sql.statements import changes_by_itself, statement_at, statements
from catchment.sql.tables import tables_read


def test_statements_are_told_apart() -> None:
    sql = "select ';' -- ;\n; ;\n/* ; */ from $$ ; $$ ;values (1)"
    assert [sql[each.start : each.end] for each in statements(sql)] == ["select ';'", "from $$ ; $$", "values (1)"]
    at = statement_at(sql, sql.index("from") + 2)
    assert at is not None
    assert sql[at.start : at.end] == "from $$ ; $$"
    assert statement_at(" ; ", 1) is None


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("select * from b, A.c join lateral (select * from d) x on true", {"b", "a.c", "d"}),
        ("with a as (select * from b), b as (select * from a) select * from b, c.d", {"b", "c.d"}),
        ("with orders as (select * from orders) select * from orders", {"orders"}),
        ("with recursive t as (select 1 as x union all select x from t) select * from t, u", {"u"}),
        ("with a as (select 1) select * from (with b as (select 1) select * from a, b) x, b", {"b"}),
        ("select * from t where x in (select y from main.u) and exists (select 1 from v)", {"t", "main.u", "v"}),
        ("select * from s.t union select * from generate_series(1, 3)", {"s.t"}),
        ("select * from warehouse.s.t where a = $a and b in ($b_0)", {"s.t"}),
        ("select approximate count(distinct a) b c from t", None),
        ("select 1; select 2", None),
        ("insert into t select * from u", None),
        ("(" * 3000, None),
    ],
)
@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_tables_read(sql: str, read: set[str] | None, dialect: str) -> None:
    assert tables_read(sql, dialect) == read


def test_postgres_keeps_the_case_of_what_is_quoted() -> None:
    read = tables_read('select * from "Shop"."Orders", Shop.Items', "postgres")
    assert read == frozenset({"Shop.Orders", "shop.items"})
    assert tables_read('select * from "Shop"."Orders"', "duckdb") == frozenset({"shop.orders"})


def test_what_asks_for_the_time_or_for_chance_changes_by_itself() -> None:
    for sql in (
        "select now ()",
        "select a < current_date",
        "select Random()",
        "from t using sample 5",
        "select age(a)",
    ):
        assert changes_by_itself(sql), sql
    for sql in ("select 'now()'", "select now from t -- now()", 'select "current_date"', "select a using (b)"):
        assert not changes_by_itself(sql), sql
