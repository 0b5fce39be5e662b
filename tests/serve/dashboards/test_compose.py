from __future__ import annotations

import duckdb
import pytest

from catchment.serve.dashboards.board import Board
from catchment.serve.dashboards.compose import Composed, compose, cycle_mistakes, table_mistakes
from tests.serve.dashboards.boards import board, said


def no_tree(sql: str) -> None:
    """As where a statement cannot be parsed: then its words tell."""


def made(*fences: tuple[str, str]) -> Board:
    found = board("".join(f"```sql {info}\n{sql}\n```\n" for info, sql in fences))
    assert said(found) == []
    return found


def composed(found: Board, fence_id: str) -> Composed:
    fence = found.fence(fence_id)
    assert fence is not None
    return compose(found, fence, no_tree)


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
    found = made(
        ("query a", "select * from b"),
        ("query b", "select * from a"),
        ("query c", "select * from c"),
        ("table t", "from a"),
    )
    mistakes = cycle_mistakes(found, no_tree)
    assert {name: str(mistake).partition(":")[2] for name, mistake in mistakes.items()} == {
        "a": "12:14: queries a and b each need the other first",
        "b": "15:14: queries a and b each need the other first",
        "c": "18:14: query c needs itself first",
    }
    assert composed(found, "t").queries == ("b", "a")


def test_a_query_named_like_a_table() -> None:
    found = made(("query chats", "select 1"), ("query mine", "select 1"))
    mistakes = table_mistakes(found, ["website.tracks", "support.chats"])
    assert [str(each).partition(":")[2] for each in mistakes.values()] == [
        "12:14: query chats is named like the table support.chats: give it another name"
    ]
