"""A whole dashboard asked of DuckDB: read, chosen, composed, spliced, run, and shaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from catchment.serve.dashboards.board import Board, Choice, Fence, Filter, Source
from catchment.serve.dashboards.choices import Chosen, Listed, choose
from catchment.serve.dashboards.compose import compose
from catchment.serve.dashboards.describe import EXAMPLE
from catchment.serve.dashboards.numbers import judge
from catchment.serve.dashboards.read import read_board
from catchment.serve.dashboards.shape import shape_of
from catchment.sql.choices import Choice as ForSql
from catchment.sql.splice import splice

ZONE = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 11, 25, 12, 40, tzinfo=ZONE)


@dataclass(frozen=True)
class Column:
    name: str
    kind: str


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Four chats an hour since 1 September, half of them of Cards; from 26 October on they wait a third less."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'America/Los_Angeles'")
        connection.execute(
            """
            create table chats as select
              row_number() over () as id, t as created_at, ['Cards', 'Other'][1 + n % 2] as queue,
              ['chat', 'email', 'phone'][1 + n % 3] as channel,
              case when t < '2026-10-27 00:00:00-07' then 120 else 80 end as wait_s,
              case when t > '2026-11-25 12:00:00-08' then 'waiting' else 'closed' end as state
            from (select t, row_number() over (order by t) as n from generate_series(
              '2026-09-01 00:07:00-07'::timestamptz, '2026-11-25 12:40:00-08'::timestamptz, interval 15 minute) s(t));
            create table releases as select '2026-11-09 00:00:00-08'::timestamptz as released_on, 'Rules' as name;
            """
        )
        yield connection


@pytest.fixture(scope="module")
def example() -> Board:
    return read_board("dashboards/chat-queue.md", EXAMPLE)


def chosen(board: Board, warehouse: duckdb.DuckDBPyConnection, **given: str) -> Chosen:
    def list_of(each: Filter, so_far: Mapping[str, ForSql]) -> Listed:
        assert each.source is not None
        rows = ask_source(warehouse, each.source, so_far)
        return Listed(tuple(Choice(row[0], str(row[-1])) for row in rows))

    return choose(board, given.items(), NOW, list_of)


def ask_source(warehouse: duckdb.DuckDBPyConnection, source: Source, choices: Mapping[str, ForSql]) -> list[Any]:
    sent = splice(source.text, choices)
    return warehouse.execute(sent.text, sent.values).fetchall()


def ask(
    warehouse: duckdb.DuckDBPyConnection, board: Board, fence: Fence, choices: Mapping[str, ForSql]
) -> tuple[list[Column], list[Any]]:
    sent = splice(compose(board, fence).text, choices)
    rows = warehouse.execute(sent.text, sent.values)
    assert rows.description is not None
    columns = [Column(name, _kind(str(type_))) for name, type_, *_ in rows.description]
    return columns, rows.fetchall()


def _kind(type_: str) -> str:
    if type_.startswith(("TIMESTAMP", "DATE")):
        return "time"
    return "text" if type_ == "VARCHAR" else "number"


def test_every_tile_is_asked_and_shaped(example: Board, warehouse: duckdb.DuckDBPyConnection) -> None:
    choices = chosen(example, warehouse, queue="Cards").for_sql(None)
    found = {}
    for fence in example.tiles:
        if fence.kind == "vega-lite":
            continue
        columns, rows = ask(warehouse, example, fence, choices)
        shape = shape_of(example.path, fence, columns, example.filters.get(fence.options.click or ""))
        assert shape.mistakes == ()
        found[fence.id] = (shape, rows)
    assert found["answered_in_90_s"][1] == [(1.0,)]
    assert found["waiting"][1] == [(1,)]
    area, rows = found["conversations"]
    assert (area.x, area.y, area.color, area.is_over_time) == (0, (2,), 1, True)
    # 25 hours on 1 November: 48 chats of Cards a day, and 50.
    by_day: dict[datetime, int] = {}
    for day, _, count in rows:
        by_day[day] = by_day.get(day, 0) + count
    assert by_day[datetime(2026, 10, 31, tzinfo=ZONE)] == 48
    assert by_day[datetime(2026, 11, 1, tzinfo=ZONE)] == 50
    bar, rows = found["by_queue"]
    assert (bar.is_flat, bar.click, rows[0][0]) == (True, 0, "Cards")
    table, rows = found["longest_waits"]
    assert (table.links, table.bars, len(rows)) == ((0,), (2,), 100)
    assert example.annotations is not None
    assert ask_source(warehouse, example.annotations, choices) == [(datetime(2026, 11, 9, tzinfo=ZONE), "Rules")]


def test_the_buckets_of_a_period_are_those_that_come(example: Board, warehouse: duckdb.DuckDBPyConnection) -> None:
    selected = chosen(example, warehouse)
    area = example.fence("conversations")
    assert area is not None
    _, rows = ask(warehouse, example, area, selected.for_sql(None))
    assert selected.period is not None
    assert sorted({day for day, _, _ in rows}) == [bucket.start for bucket in selected.period.buckets()]


def test_a_number_against_the_period_before(example: Board, warehouse: duckdb.DuckDBPyConnection) -> None:
    selected = chosen(example, warehouse)
    fence = example.fence("answered_in_90_s")
    assert fence is not None
    values = [
        ask(warehouse, example, fence, selected.for_sql(None, previous=previous))[1][0][0]
        for previous in (False, True)
    ]
    found = judge(values[0], values[1], fence.options)
    assert (found.text, found.before) == ("100%", "from 0")
    assert found.target is not None
    assert found.target.is_reached


def test_an_error_of_the_warehouse_has_its_place_in_the_file(warehouse: duckdb.DuckDBPyConnection) -> None:
    text = EXAMPLE.replace("wait_s <= 90", "wait_x <= 90")
    board = read_board("dashboards/chat-queue.md", text)
    fence = board.fence("answered_in_90_s")
    assert fence is not None
    composed = compose(board, fence)
    sent = splice(composed.text, chosen(board, warehouse).for_sql(None))
    with pytest.raises(duckdb.BinderException, match='"wait_x" not found'):
        warehouse.execute(sent.text, sent.values)
    place = composed.at(sent.written_offset(sent.text.index("wait_x")))
    lines = text.split("\n")
    assert lines[place.line - 1][place.column - 1 :].startswith("wait_x <= 90")
