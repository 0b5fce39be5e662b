from __future__ import annotations

from dataclasses import dataclass

import pytest

from catchment.serve.dashboards.board import Filter, Place
from catchment.serve.dashboards.shape import Shape, in_order, shape_of
from tests.serve.dashboards.boards import fence


@dataclass(frozen=True)
class Column:
    name: str
    kind: str


def columns(words: str) -> list[Column]:
    """`day:time channel:text chats:number`."""
    return [Column(*word.split(":")) for word in words.split()]


def shape(info: str, words: str, click: str | None = None) -> Shape:
    chosen = Filter(click, "many", click, None, False, (), None, Place(1, 1)) if click else None
    return shape_of("x.md", fence(info), columns(words), chosen)


@pytest.mark.parametrize(
    ("info", "words", "x", "y", "color", "is_flat"),
    [
        # x the first time or text, y the first number, color the next text.
        ("area", "day:time channel:text chats:number", 0, (2,), 1, False),
        ("line", "chats:number day:date", 1, (0,), None, False),
        ("bar", "queue:text waiting:number", 0, (1,), None, False),
        ("bar", "n:number queue:text region:text", 1, (0,), 2, False),
        ("bar", "is_new:bool n:number", 0, (1,), None, False),
        ("bar", "score:number answers:number", 0, (1,), None, False),
        ("line", "_order:number day:time n:number _x:text", 1, (2,), None, False),
        # As named.
        ("line x=week y=nps", "week:time other:number nps:number", 0, (2,), None, False),
        ("line y=opened,closed", "week:time opened:number closed:number", 0, (1, 2), None, False),
        ("line y=opened,closed", "week:time who:text opened:number closed:number", 0, (2, 3), None, False),
        ("area x=week y=n color=group", "week:time n:number kind:text group:text", 0, (1,), 3, False),
        ("line x=DAY y=N", "day:time n:number", 0, (1,), None, False),
        # Bars lie flat if only x is a number; then x has the names.
        ("bar x=waiting y=queue", "queue:text waiting:number", 0, (1,), None, True),
        ("bar x=waiting y=queue color=region", "queue:text waiting:number region:text", 0, (1,), 2, True),
        ("bar x=score y=answers", "score:number answers:number", 0, (1,), None, False),
        ("bar x=n y=day", "day:time n:number", 0, (1,), None, True),
        # Points are of two numbers.
        ("scatter", "agent:text wait:number csat:number", 1, (2,), 0, False),
        ("scatter", "at:time wait:number csat:number", 0, (1,), None, False),
        ("scatter", "agent:text wait:number", 0, (1,), None, False),
        # A heat map's colour is its number.
        (
            "heat x=hour y=weekday color=chats",
            "hour:number weekday:text _order:number chats:number",
            0,
            (1,),
            3,
            False,
        ),
        ("heat", "hour:number weekday:text _order:number chats:number", 0, (1,), 3, False),
        ("heat y=hour", "hour:number weekday:text chats:number", 1, (0,), 2, False),
        ("heat", "age:number month:text share:number", 0, (1,), 2, False),
    ],
)
def test_charts(info: str, words: str, x: int, y: tuple[int, ...], color: int | None, is_flat: bool) -> None:
    found = shape(info, words)
    assert [mistake.text for mistake in found.mistakes] == []
    assert (found.x, found.y, found.color, found.is_flat) == (x, y, color, is_flat)


@pytest.mark.parametrize(
    ("info", "words", "column", "text"),
    [
        ("line x=dya", "day:time n:number", 13, "x: no column 'dya'; did you mean day?"),
        ("line y=m", "day:time n:number", 13, "y: no column 'm'; the result has day (time), n (number)"),
        ("line y=day", "day:time n:number", 13, "y=day: must be a number; the result has day (time), n (number)"),
        ("line", "day:time who:text", 8, "a chart needs a column for x and a number for y; the result has day (time), "
         "who (text)"),
        ("line", "n:number", 8, "a chart needs a column for x and a number for y; the result has n (number)"),
        ("line y=a,b color=c", "t:time a:number b:number c:text", 19,
         "color: several y are told apart by their names, so there can be no color"),
        ("line compare", "t:time a:number c:text", 13, "compare: only a chart of one series can be compared"),
        ("heat", "a:text b:text", 8,
         "a heat map needs x, y and a number for its colour; the result has a (text), b (text)"),
        ("heat color=a", "a:text b:text c:number", 13, "color: a is no number but a text"),
        ("number", "a:number b:number", 8, "a number is one value; the result has 2 columns: a, b"),
        ("table", "_a:number", 8, "the result has no column that is shown: their names begin with _"),
        ("table link.id=/x/{idd}", "id:number", 14, "link.id: no column 'idd'; did you mean id?"),
        ("table bar.name", "name:text", 14, "bar.name: name is no number but a text"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn(info: str, words: str, column: int, text: str) -> None:
    [mistake] = shape(info, words).mistakes
    assert (mistake.line, mistake.column, mistake.text) == (12, column, text)


def test_tables_and_numbers() -> None:
    table = shape(
        "table link.name=/x/{_id} bar.minutes total", "_id:number name:text minutes:number n:number day:time"
    )
    assert (table.visible, table.links, table.bars, table.totals) == ((1, 2, 3, 4), (1,), (2,), (2, 3))
    assert table.mistakes == ()
    assert shape("number", "_helper:number n:number").y == (1,)


def test_what_a_click_chooses() -> None:
    assert shape("bar x=n y=queue", "n:number queue:text", "queue").click == 1
    assert shape("bar", "name:text n:number", "queue").click == 0
    assert shape("area", "day:time channel:text n:number", "queue").click == 1
    assert shape("heat", "hour:number weekday:text n:number", "hour").click == 0
    assert shape("table", "id:number name:text", "queue").click == 1
    assert shape("line", "day:time n:number").click is None


def test_rows_are_sorted_by_order() -> None:
    found = shape("heat", "hour:number weekday:text _order:number n:number")
    rows = [(1, "Tue", 2, 5), (1, "?", None, 0), (1, "Mon", 1, 7)]
    assert [row[1] for row in in_order(rows, found)] == ["Mon", "Tue", "?"]
    assert in_order(rows, shape("table", "a:number b:text c:number d:number")) == rows


def test_whether_it_is_over_time() -> None:
    assert shape("line", "day:date n:number").is_over_time
    assert not shape("bar", "name:text n:number").is_over_time
    assert shape("line y=a,b", "day:date a:number b:number").has_series
