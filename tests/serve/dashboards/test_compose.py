from __future__ import annotations

import duckdb
import pytest

from catchment.serve.dashboards.board import Board
from catchment.serve.dashboards.compose import Composed, compose, table_mistakes
from catchment.serve.dashboards.table_words import tables_named
from tests.serve.dashboards.boards import board, said


def made(*fences: tuple[str, str]) -> Board:
    found = board("".join(f"```sql {info}\n{sql}\n```\n" for info, sql in fences))
    assert said(found) == []
    return found


def composed(found: Board, fence_id: str) -> Composed:
    fence = found.fence(fence_id)
    assert fence is not None
    return compose(found, fence)


def test_queries_stand_in_front_each_behind_what_it_reads() -> None:
    found = made(
        ("table seen", "select * from c -- the end;"),
        ("query c", "select * from b;"),
        ("query a", "select 1 as x -- one"),
        ("query b", "with o as (select x + 1 as x from a) select * from o"),
        ("query unused", "select 9"),
    )
    whole = composed(found, "seen")
    assert whole.queries == ("a", "b", "c")
    assert whole.text == (
        "with a as (\nselect 1 as x\n), b as (\nwith o as (select x + 1 as x from a) select * from o\n), "
        "c as (\nselect * from b\n)\nselect * from c"
    )
    assert duckdb.execute(whole.text).fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select x from a", [(1,)]),
        ("-- first\nwith b as (select x + 1 as x from a) select x from b", [(2,)]),
        (
            "with recursive r as (select x from a union all select x + 1 from r where x < 3) select max(x) from r",
            [(3,)],
        ),
        ("(select x from a) union all (select x from a)", [(1,), (1,)]),
        ("from a", [(1,)]),
        ('select "A".x from A', [(1,)]),
        ("with a as (select 7 as x) select x from a", [(7,)]),
        ("select x from a;;\n-- done", [(1,)]),
        ("select 5", [(5,)]),
    ],
)
def test_every_form_of_statement_reads_a_query(sql: str, rows: list[tuple[int]]) -> None:
    found = made(("query a", "select 1 as x"), ("table t", sql))
    assert duckdb.execute(composed(found, "t").text).fetchall() == rows


def test_a_place_in_the_whole_is_a_place_in_the_file() -> None:
    found = made(
        ("query a", "select 1 as x,\n  wrong"), ("table t", "with b as (\n  select bad from a) select * from b")
    )
    whole = composed(found, "t")
    for word, line, column in (("wrong", 14, 3), ("bad", 18, 10), ("from b", 18, 31)):
        place = whole.at(whole.text.index(word))
        assert (place.line, place.column) == (line, column), word
    assert (whole.at(0).line, whole.at(0).column) == (13, 1)
    assert (whole.at(10_000).line) == 18


def test_what_is_wrong_with_a_query_is_known_to_whoever_reads_it() -> None:
    found = board(
        "```sql query a\nselect $oops\n```\n```sql number n\nselect 1 from a\n```\n```sql number m\nselect 1\n```\n"
    )
    assert [mistake.line for mistake in composed(found, "n").mistakes] == [13]
    assert composed(found, "m").mistakes == ()


def test_queries_that_need_each_other() -> None:
    found = board(
        "```sql query a\nselect * from b\n```\n```sql query b\nselect * from a\n```\n"
        "```sql query c\nselect * from c\n```\n```sql query d\nwith d as (select 1) select * from d\n```\n"
        "```sql table t\nfrom a\n```\n```sql table u\nfrom d\n```\n"
    )
    assert said(found) == [
        "12:14: queries a and b each need the other first",
        "15:14: queries a and b each need the other first",
        "18:14: query c needs itself first",
    ]
    assert composed(found, "t").queries == ("b", "a")
    assert len(composed(found, "t").mistakes) == 2, "a tile that reads one says so, and is not asked"
    assert composed(found, "u").mistakes == ()


def test_a_query_named_like_a_table() -> None:
    found = made(("query chats", "select 1"), ("query mine", "select 1"))
    mistakes = table_mistakes(found, ["website.tracks", "support.chats"])
    assert [str(each).partition(":")[2] for each in mistakes.values()] == [
        "12:14: query chats is named like the table support.chats: give it another name"
    ]


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select a, b from mine m, other as o join third on m.x = third.y, fourth where x in (select y from fifth)",
         "mine other third fourth fifth"),
        ("select open from t group by a, b order by c, d", "t"),
        ("from mine select a, b", "mine"),
        ('select * from "Mine" where a is not distinct from b and c is distinct from d', "mine"),
        ("select extract(year from ts), substring(a from 2), trim(both from b) from t", "t"),
        ("select * from s.mine, range(0, 7) as a(age), lateral (select 1), mine2", "mine2"),
        ("select * from (a join b using (x)), (select 1) c, (values (1, 2)) v", "a b"),
        ("with own as (select * from a), own2(x, y) as materialized (select * from own) select * from own, own2, b",
         "a b"),
        ("select 'from x', $$ from y $$ -- from z\nfrom t", "t"),
        ("pivot mine on a using sum(b)", "mine"),
        ("select * from mine pivot (sum(x) for y in ('a', 'b'))", "mine"),
        ("select approximate count(distinct a) from t1 union all select 1 from t2", "t1 t2"),
        ("select t.from, a from t", "t"),
    ],
)  # fmt: skip
def test_tables_by_the_words_alone(sql: str, names: str) -> None:
    assert tables_named(sql, "duckdb") == set(names.split())


def test_a_parser_knows_better_than_the_words() -> None:
    found = made(("query a", "select 1"), ("table t", "select * from a"))
    fence = found.fence("t")
    assert fence is not None
    assert compose(found, fence, lambda sql: set()).queries == ()
    assert compose(found, fence, lambda sql: {"A"}).queries == ("a",)
