from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.serve.dashboards.board import Fence
from catchment.serve.dashboards.completing import Completion, complete
from catchment.serve.dashboards.describe import EXAMPLE
from catchment.serve.dashboards.read import read_board

BOARD = """\
---
title: Chats
filters:
  period: {type: period, default: last 30 days}
  queue: {type: many, from: "select queue from chats"}
  region:
    type: one
    options: [West, East]
---
Words.
```sql query mine
select * from chats where queue in $queue
```
```sql area conversations "Conversations" stack=100%
select day, channel, n from mine
```
```vega-lite mine
{}
```
"""


def columns(fence: Fence) -> list[str]:
    return ["day", "channel", "n"] if fence.id == "conversations" else []


def at_mark(text: str) -> Completion:
    """The completion at `¦`."""
    before, _, after = text.partition("¦")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    found = complete(read_board("a.md", before + after), before + after, line, column, columns)
    written = before[len(before) - (found.end - found.start) :] if found.end > found.start else ""
    assert found.end == column
    assert "\n" not in written
    return found


def texts(old: str, new: str) -> list[str]:
    assert old in BOARD
    return [each.text for each in at_mark(BOARD.replace(old, new, 1)).suggestions]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # The front matter.
        ("title: Chats", "ti¦", ["title: ", "annotations: "]),
        ("title: Chats", "own¦", ["owner: "]),
        ("title: Chats", "refresh: 1¦", ["1m", "15m", "1h", "1d"]),
        ("type: period", "type: ¦", ["period", "one", "many", "range", "text"]),
        ("type: period", "ty¦", ["type: "]),
        ("last 30 days", "last 30 f¦", ["last 30 full days"]),
        ("    type: one", "    opt¦", ["options: "]),
        ("options: [West, East]", "options: [West, East]\n    default: ¦", ["West", "East"]),
        # A fence's first line.
        ("sql area", "sql ar¦", ["area", "bar"]),
        ("sql area", "sql ¦", ["number", "line", "area", "bar", "scatter", "heat", "table", "query"]),
        (" stack=100%", " st¦", ["stack="]),
        (" stack=100%", " stack=100% st¦", []),
        (" stack=100%", " stack=¦", ["zero", "100%", "none"]),
        (" stack=100%", " click=r¦", ["region", "period"]),
        (" stack=100%", " y=n,ch¦", ["channel"]),
        (" stack=100%", " comp¦", ["compare"]),
        ('"Conversations"', '"Conv¦', []),
        ("vega-lite mine", "vega-lite ¦", ["mine"]),
        # SQL.
        ("in $queue", "in $¦", [
            "period", "queue", "region", "period.start", "period.end", "period.grain", "user.email",
        ]),
        ("in $queue", "in $period.g¦", ["period.grain"]),
        ("in $queue", "= '$qu¦'", []),
        ("in $queue", "-- $qu¦", []),
    ],
)  # fmt: skip
def test_what_may_stand_there(old: str, new: str, expected: list[str]) -> None:
    assert texts(old, new) == expected


def test_options_of_columns_are_those_of_the_result() -> None:
    board = BOARD.replace("area conversations", "table conversations").replace("stack=100%", "li¦")
    assert [each.text for each in at_mark(board).suggestions] == ["link.day=", "link.channel=", "link.n=", "click="]


def test_what_is_written_is_replaced() -> None:
    found = at_mark(BOARD.replace("stack=100%", "stack=ze¦", 1))
    assert (found.end - found.start, [each.text for each in found.suggestions]) == (2, ["zero"])


def test_in_sql_tables_and_columns_are_anothers_to_know() -> None:
    found = at_mark(BOARD.replace("channel, n from mine", "channel, n from mi¦"))
    assert found.sql is not None
    assert found.sql.text[: found.offset] == "select day, channel, n from mi"
    assert (found.end - found.start, found.queries) == (2, ("mine",))
    below = at_mark(BOARD.replace("channel, n from mine", "channel,\n  n\nfrom mi¦"))
    assert below.sql is not None
    assert below.sql.text[: below.offset] == "select day, channel,\n  n\nfrom mi"
    in_query = at_mark(BOARD.replace("* from chats", "* from ch¦"))
    assert in_query.queries == ()
    in_filter = at_mark(BOARD.replace("queue from chats", "queue from ch¦"))
    assert in_filter.sql is not None
    assert in_filter.sql.text[: in_filter.offset] == "select queue from ch"


def test_in_prose_and_json_nothing_is_suggested() -> None:
    assert at_mark(BOARD.replace("Words.", "Wo¦")) == Completion(3, 3)
    assert at_mark(BOARD.replace("{}", "{¦}")).suggestions == ()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 100))
def test_anywhere_there_is_an_answer(line: int, column: int) -> None:
    found = complete(read_board("a.md", EXAMPLE), EXAMPLE, line, column, columns)
    assert found.start <= found.end
