"""The demo's dashboards: no mistake in their files, each query quick and right on the data that the demo makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import msgspec
import pytest

from catchment.demo.company import Call
from catchment.demo.company.calls import stamp
from catchment.demo.company.issues import KEY, Issues
from catchment.demo.company.project import dashboards
from catchment.serve.dashboards.board import Board, Fence
from catchment.serve.dashboards.compose import compose
from catchment.serve.dashboards.numbers import judge
from catchment.serve.dashboards.periods import Period, parse_period
from catchment.serve.dashboards.read import read_board
from catchment.serve.dashboards.sql_text import nothing_chosen
from catchment.sql.choices import Choice, Equal, Span
from catchment.sql.splice import splice
from tests.demo.conftest import NOW
from tests.demo.segment_tables import load

ZONE = ZoneInfo("Europe/London")
"""Of the demo's project."""
BOARDS = [read_board(f"dashboards/{name}", text) for name, text in dashboards()]
TILES = [
    pytest.param(board, tile, id=f"{Path(board.path).stem}-{tile.id}") for board in BOARDS for tile in board.tiles
]
"""In the zone of the demo's project."""


@pytest.fixture(scope="module")
def calls(half_year: list[Call], last_hour: list[Call]) -> list[Call]:
    """All that the demo has sent when it has sent the history."""
    return [*Issues(1, NOW).history(), *half_year, *last_hour]


@pytest.fixture(scope="module")
def tables(calls: list[Call], tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("tables")
    events = (call for call in calls if call.source != "github" and call.body["type"] in {"track", "identify"})
    with load(events, folder) as connection:
        issues = {call.body[KEY]: call.body for call in calls if call.source == "github"}
        (folder / "issues.json").write_bytes(msgspec.json.Encoder().encode_lines(issues.values()))
        connection.execute("SET TimeZone = 'Europe/London'")
        connection.execute("CREATE SCHEMA github")
        connection.execute(
            "CREATE TABLE github.issues AS SELECT * REPLACE (labels::JSON AS labels,"
            " created_at::TIMESTAMPTZ AS created_at, updated_at::TIMESTAMPTZ AS updated_at,"
            " closed_at::TIMESTAMPTZ AS closed_at) FROM read_json($file, format = 'newline_delimited')",
            {"file": str(folder / "issues.json")},
        )
        yield connection


def period(board: Board) -> Period:
    assert board.period is not None
    return parse_period(str(board.period.default)).at(NOW.astimezone(ZONE))


def choices(board: Board, **chosen: Choice) -> dict[str, Choice]:
    """What the page begins with, but for what is chosen."""
    now = period(board)
    return {**nothing_chosen(board.filters), "period": Span(now.start, now.end, now.grain), **chosen}


def asked(tables: duckdb.DuckDBPyConnection, sql: str, filters: Mapping[str, Choice]) -> list[dict[str, Any]]:
    """Its rows, `NOW` being now."""
    spliced = splice(sql, filters)
    text = spliced.text.replace("now()", f"TIMESTAMPTZ '{stamp(NOW)}'")
    cursor = tables.execute(text, spliced.values)
    names = [column[0] for column in cursor.description or ()]
    assert len(set(names)) == len(names)
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def rows_of(tables: duckdb.DuckDBPyConnection, board: Board, tile: Fence, **chosen: Choice) -> list[dict[str, Any]]:
    composed = compose(board, tile, lambda _: None)
    assert not composed.mistakes
    return asked(tables, composed.text, choices(board, **chosen))


def rows(tables: duckdb.DuckDBPyConnection, name: str, tile: str, **chosen: Choice) -> list[dict[str, Any]]:
    board = next(board for board in BOARDS if Path(board.path).stem == name)
    fence = board.fence(tile)
    assert fence is not None
    return rows_of(tables, board, fence, **chosen)


def number(tables: duckdb.DuckDBPyConnection, name: str, tile: str, **chosen: Choice) -> Any:
    [row] = rows(tables, name, tile, **chosen)
    [value] = row.values()
    return value


def test_there_are_four_without_a_mistake() -> None:
    assert [Path(board.path).stem for board in BOARDS] == ["chat-queue", "fraud", "github-issues", "home"]
    assert [str(mistake) for board in BOARDS for mistake in board.all_mistakes()] == []
    for board in BOARDS:
        assert board.title
        assert board.owner
        assert [tile.kind for tile in board.tiles[:4]] == ["number"] * 4
        width = 0
        for tile in board.tiles:
            width = (width + tile.width) % 12 if width + tile.width <= 12 else 99
        assert width == 0, f"the last row of {board.path} is full, as all before it"


@pytest.mark.parametrize(("board", "tile"), TILES)
def test_every_tile_shows_something(tables: duckdb.DuckDBPyConnection, board: Board, tile: Fence) -> None:
    found = rows_of(tables, board, tile)
    if tile.kind == "number":
        assert len(found) == 1
        assert len(found[0]) == 1
    else:
        assert 2 <= len(found) <= 400
    if tile.kind != "table":
        assert all(value is not None and value == value for row in found for value in row.values())
    for name in (tile.options.x, *tile.options.y, tile.options.color, *tile.options.bars):
        assert name is None or name in found[0]
    for link in tile.options.links:
        assert all(link.address(row) for row in found)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: Path(board.path).stem)
def test_filters_and_annotations_have_something_to_choose(tables: duckdb.DuckDBPyConnection, board: Board) -> None:
    for each in board.filters.values():
        if each.source is not None:
            options = [next(iter(row.values())) for row in asked(tables, each.source.text, choices(board))]
            assert len(set(options)) == len(options) >= 3
            assert None not in options
            for tile in board.tiles:
                if f"${each.name}" in compose(board, tile, lambda _: None).text:
                    rows_of(tables, board, tile, **{each.name: Equal((options[0],), many=each.type == "many")})
    if board.annotations is not None:
        marks = asked(tables, board.annotations.text, choices(board))
        assert len(marks) >= 2
        assert all(mark.keys() == {"at", "name"} for mark in marks)


def test_goals_are_partly_reached(tables: duckdb.DuckDBPyConnection) -> None:
    reached = {}
    for board in BOARDS:
        for tile in board.tiles:
            if tile.kind == "number" and tile.options.target is not None:
                [row] = rows_of(tables, board, tile)
                [value] = row.values()
                target = judge(value, None, tile.options).target
                assert target is not None
                reached[f"{Path(board.path).stem} {tile.id}"] = target.is_reached
                assert abs(value - float(target.value)) < 0.7 * float(target.value), "within sight"
    assert 4 <= sum(reached.values()) <= len(reached) - 4
    home = [is_reached for name, is_reached in reached.items() if name.startswith("home")]
    assert set(home) == {True, False}


def test_nps_rises_over_its_target(tables: duckdb.DuckDBPyConnection) -> None:
    weeks = [row["nps"] for row in rows(tables, "home", "nps_by_week")]
    assert len(weeks) == 12
    assert 25 < weeks[0] < 35 < weeks[-1] < 45


def test_chats_are_counted_as_they_were_sent(tables: duckdb.DuckDBPyConnection, calls: list[Call]) -> None:
    chats = {
        event: {call.body["properties"]["chat_id"]: call for call in calls if call.body.get("event") == event}
        for event in ("Chat Opened", "Chat First Reply", "Chat Closed")
    }
    opened, replied = chats["Chat Opened"], chats["Chat First Reply"]
    waiting = opened.keys() - replied.keys() - chats["Chat Closed"].keys()
    assert number(tables, "chat-queue", "waiting_now") == len(waiting) >= 12
    oldest = min(opened[chat_id].at for chat_id in waiting)
    assert number(tables, "chat-queue", "longest_wait") == pytest.approx((NOW - oldest).total_seconds() / 60, abs=1)

    since = datetime(2026, 10, 28, tzinfo=ZONE)
    minutes = [(replied[chat].at - opened[chat].at).seconds / 60 for chat in replied if opened[chat].at >= since]
    assert number(tables, "chat-queue", "first_response") == pytest.approx(median(minutes), abs=0.1)
    cards = Equal(("Cards",), many=True)
    expected = [call for call in opened.values() if call.at >= since and call.body["properties"]["topic"] == "Cards"]
    assert sum(row["chats"] for row in rows(tables, "chat-queue", "volume", topic=cards)) == len(expected)
    website = [call for call in opened.values() if call.at >= since and call.source == "website"]
    assert sum(row["chats"] for row in rows(tables, "chat-queue", "volume", channel=Equal(("Website",)))) == len(
        website
    )

    today = [row for row in rows(tables, "chat-queue", "today") if row["which"] == "today"]
    assert [row["hour"] for row in today] == [f"{hour:02}:00" for hour in range(14)], "the running hour is not over"
    assert sum(row["chats"] for row in today) == sum(
        call.at.date() == NOW.date() and call.at.hour < NOW.hour for call in opened.values()
    )


def test_fraud_is_what_was_confirmed(tables: duckdb.DuckDBPyConnection) -> None:
    weeks = {row["week"].date(): row["fraud_rate"] for row in rows(tables, "fraud", "by_week")}
    worst = max(weeks, key=lambda week: weeks[week])
    assert worst == datetime(2026, 10, 5).date()
    assert weeks[worst] > 3 * sorted(weeks.values())[-2]
    after = [rate for week, rate in weeks.items() if week > worst]
    before = [rate for week, rate in weeks.items() if week < worst]
    assert sum(after) / len(after) < 0.75 * sum(before) / len(before), "the new rules help"
    outcomes = {row["outcome"] for row in rows(tables, "fraud", "flags")}
    assert {"Flagged and confirmed", "Confirmed alone", "False alarms"} <= outcomes
    assert outcomes <= {"Flagged and confirmed", "Confirmed alone", "False alarms", "Undecided"}


def test_issues_are_filtered_by_what_they_belong_to(tables: duckdb.DuckDBPyConnection, calls: list[Call]) -> None:
    issues = {call.body[KEY]: call.body for call in calls if call.source == "github"}.values()
    still_open = [issue for issue in issues if issue["state"] == "open"]
    assert number(tables, "github-issues", "open_now") == len(still_open)
    chosen: dict[str, Choice] = {
        "organization": Equal(("ferry",)), "repository": Equal(("ledger", "website"), many=True),
        "label": Equal(("feature", "docs"), many=True),
    }  # fmt: skip
    expected = [
        issue for issue in still_open if issue["organization"] == "ferry"
        and issue["repository"] in {"ledger", "website"} and {"feature", "docs"} & set(issue["labels"])
    ]  # fmt: skip
    assert number(tables, "github-issues", "open_now", **chosen) == len(expected) > 5
    assert sum(row["issues"] for row in rows(tables, "github-issues", "open_by_age", **chosen)) == len(expected)
    [most, *_] = rows(tables, "github-issues", "wished", **chosen)
    assert most["plus_ones"] == max(issue["plus_ones"] for issue in expected)
    [oldest, *_] = rows(tables, "github-issues", "oldest")
    assert oldest["_url"] == min(still_open, key=lambda issue: issue["created_at"])["url"]
