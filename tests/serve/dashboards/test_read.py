from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.serve.dashboards.board import Choice, Link, Options, Prose, Range, Target
from catchment.serve.dashboards.read import read_board
from tests.serve.dashboards.boards import FRONT, board, fence, said, said_of

# ---- the file ------------------------------------------------------------------------------------

WHOLE = """\
---
title: Chat queue
owner: support
refresh: 30s
stale_after: 2h
groups: [support, sales]
filters:
  period: {type: period, default: last 30 days}
  queue:
    type: many
    label: Which queue
    default: [Cards, null]
    options: [Cards, {value: T, label: Transfers}, null]
annotations: |
  select released_on as at, name
  from releases where released_on in $period
---
# Heading

Half of everyone should have an answer within **90 seconds**.
```sql number waiting "Waiting now" target=<20 good=down
select count(*) from chats
where state = 'waiting' and queue in $queue
```
```sql table "Open ones" page=50 link.id=/chats/{id} bar.minutes total width=6
select 1 as id
```

````markdown
```sql number "an example of the format is prose"
select 1
```
````
<!--
```sql number "commented out"
select 1
```
-->
The end.
"""


def test_a_whole_file() -> None:
    found = read_board("dashboards/chat-queue.md", WHOLE)
    assert found.all_mistakes() == []
    assert (found.title, found.owner, found.groups) == ("Chat queue", "support", ("support", "sales"))
    assert (found.refresh, found.stale_after) == (timedelta(seconds=30), timedelta(hours=2))
    heading, waiting, table, rest = found.parts
    assert isinstance(heading, Prose)
    assert (heading.start, heading.end) == (18, 20)
    assert isinstance(rest, Prose)
    assert (rest.start, rest.end) == (29, 39)
    assert rest.text.startswith("````markdown")
    assert found.tiles == (waiting, table)


def test_a_fence_has_its_options_typed_and_its_places() -> None:
    waiting, table = read_board("chat-queue.md", WHOLE).fences
    assert (waiting.id, waiting.kind, waiting.title, waiting.width) == ("waiting", "number", "Waiting now", 3)
    assert waiting.options == Options(target=Target("<", Decimal(20), "<20"), good="down")
    assert (waiting.start, waiting.end) == (21, 24)
    assert waiting.sql.text == "select count(*) from chats\nwhere state = 'waiting' and queue in $queue"
    place = waiting.sql.at(waiting.sql.text.index("$queue"))
    assert (place.line, place.column) == (23, 38)
    assert (waiting.place("target").line, waiting.place("target").column) == (21, 37)
    assert (table.id, table.width) == ("open_ones", 6)
    assert table.options == Options(page=50, links=(Link("id", "/chats/{id}"),), bars=("minutes",), total=True)


def test_filters_and_annotations() -> None:
    found = read_board("chat-queue.md", WHOLE)
    queue = found.filters["queue"]
    assert (queue.label, queue.type, queue.default) == ("Which queue", "many", ("Cards", None))
    assert queue.options == (Choice("Cards", "Cards"), Choice("T", "Transfers"), Choice(None, "null"))
    assert found.filters["period"].default == "last 30 days"
    assert found.annotations is not None
    at = found.annotations.at(found.annotations.text.index("$period"))
    assert (at.line, at.column) == (16, 38)


def test_values_are_what_they_seem() -> None:
    front = """\
---
filters:
  country: {type: many, options: [NO, off, 1, 1.0, 007, 0.1, 9007199254740993, true, 2026-01-01, "1"]}
  amount: {type: range, default: 10..20}
  since: {type: range, default: 2026-01-01..}
---
"""
    found = board("", front)
    assert said(found) == ["3:47: options: 1.0 stands twice"]
    values = [choice.value for choice in found.filters["country"].options]
    assert values == ["NO", "off", 1, 7, Decimal("0.1"), 9007199254740993, True, date(2026, 1, 1), "1"]
    assert found.filters["amount"].default == Range(10, 20)
    assert found.filters["since"].default == Range(date(2026, 1, 1), None)


@pytest.mark.parametrize(
    ("style", "line", "column"),
    [
        ("from: select q from chats where x in $oops", 4, 42),
        ('from: "select q from chats where x in $oops"', 4, 43),
        ("from: 'select q from chats where x in $oops'", 4, 43),
        ("from: |\n      select q\n      from chats where x in $oops", 6, 29),
        ("from: >-\n      select q\n      from chats where x in $oops", 6, 29),
        ("from: select q\n      from chats where x in $oops", 5, 29),
    ],
)
def test_sql_in_front_matter_has_its_place_in_every_style_of_yaml(style: str, line: int, column: int) -> None:
    front = f"---\nfilters:\n  queue: \n    {style}\n    type: many\n---\n"
    [only] = said(board("", front))
    assert only.startswith(f"{line}:{column}: $oops is no filter here; filters: queue")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    plain = read_board("a.md", WHOLE)
    other = read_board("a.md", "\ufeff" + WHOLE.replace("\n", "\r\n"))
    assert other == plain


# ---- mistakes of the front matter ------------------------------------------------------------------


def test_all_mistakes_of_the_front_matter_at_once() -> None:
    front = """\
---
tilte: Chats
owner: [a, b]
refresh: 5s
stale_after: soon
send: {to: "#company"}
alerts: []
groups: []
filters:
  Queue: {type: many}
  user: {type: text}
  period: {type: period, default: last 30 dayz, options: [1]}
  kind: {typ: one}
  queue: {type: many}
  both: {type: one, options: [A], from: select 1}
  region: {type: onne, options: [A]}
  city: {type: one, options: [Rome, Oslo], default: Romee}
  text: {type: text, required: maybe}
title: Chats
title: Chats
---
"""
    assert said(board("", front)) == [
        "2:1: unknown key 'tilte'; did you mean title?",
        "3:8: owner: must be a text",
        "4:10: refresh: at least 10s",
        "5:14: stale_after: must be a duration, such as 30s, 15m or 1h",
        "6:1: send is not yet part of Catchment: leave it out",
        "7:1: alerts is not yet part of Catchment: leave it out",
        "10:3: a filter's name is lower-case letters, digits and _, not 'Queue'",
        "11:3: no filter can be named user: $user.email is who has signed in",
        "12:35: default: 'last 30 dayz': no unit 'dayz'; did you mean day?",
        "12:58: period: options is for one and many, not for period",
        "13:3: kind: a type is missing; types: many, one, period, range, text",
        "13:10: kind: unknown key 'typ'; did you mean type?",
        "14:3: queue: options or from is missing: what to choose from",
        "15:41: both: options and from: only one of them",
        "16:18: no type 'onne'; did you mean one?",
        "17:53: default: 'Romee' is none of the options; did you mean Rome?",
        "18:32: required: must be true or false",
        "20:1: title stands twice",
    ]


def test_a_filter_that_needs_itself_in_the_end() -> None:
    front = """\
---
title: Net Promoter Score
owner: insights
refresh: 1h
filters:
  period: {type: period}
  org: {type: many, from: "select org from issues where repo in $repo"}
  repo: {type: many, from: "select repo from issues where org in $org"}
---
"""
    found = board("", front, "dashboards/nps.md")
    assert [str(each) for each in found.all_mistakes()] == [
        "dashboards/nps.md:8:3: filters org and repo each need the other first"
    ]
    alone = front.replace("$org", "$period").replace("$repo", "$org")
    assert said(board("", alone)) == ["7:3: filter org needs itself first"]
    through_a_query = front.replace("issues where repo in $repo", "mine").replace(" where org in $org", "")
    query = "```sql query mine\nselect * from issues where org in $org\n```\n"
    assert said(board(query, through_a_query)) == ["7:3: filter org needs itself first"]


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("---\ntitle: a: b\n---\n", ["2:9: is no YAML: mapping values are not allowed here"]),
        ("---\ntitle: [a\n---\n", ["3:1: is no YAML: expected ',' or ']', but got '<stream end>'"]),
        ("---\n- a\n---\n", ["2:1: the front matter is lines such as `title: Chat queue`"]),
        ("---\ntitle: x\n", ["1:1: the front matter is not closed: --- alone on a line ends it"]),
        ("", ["1:1: the file must begin with --- and a title, such as `title: Chat queue`, and --- again"]),
        ("---\ntitle: &a [*a]\n---\n", ["2:8: title: must be a text"]),
    ],
)
def test_front_matter_that_cannot_be_read_leaves_prose_and_fences(front: str, expected: list[str]) -> None:
    """Names of filters are not complained about where it is not known which there are."""
    found = board("\nWords.\n```sql number a\nselect $queue\n```\n", front)
    assert [text for text in said(found) if "$queue" not in text] == expected
    assert [type(part).__name__ for part in found.parts[-2:]] == ["Prose", "Fence"]
    if "title: x" not in front and "&a" not in front:
        assert len(said(found)) == len(expected)


# ---- mistakes of fences ------------------------------------------------------------------------------


def test_the_messages_of_the_format() -> None:
    found = board(
        """\
```sql pie "A"
select 1
```
```sql number "B"
select count(*) from chats where queue in $qeue
```
```sql bar "Waiting, by queue" x=a y=b click=regoin
select 1
```
```sql bar "Waiting, by queue" x=a y=b click=xyz
select 1
```
"""
    )
    assert [str(each) for each in found.all_mistakes()] == [
        "dashboards/chat-queue.md:12:8: no kind 'pie'; kinds: area, bar, heat, line, number, query, scatter, table",
        "dashboards/chat-queue.md:16:43: $qeue is no filter here; did you mean $queue?",
        "dashboards/chat-queue.md:18:40: click=regoin: no filter 'regoin'; did you mean region?",
        "dashboards/chat-queue.md:21:40: click=xyz: no filter 'xyz'; filters: amount, period, queue, region, search",
    ]
    pie, number, *_ = found.fences
    assert pie.kind is None
    assert pie.mistakes
    assert [str(each) for each in number.mistakes] == [
        "dashboards/chat-queue.md:16:43: $qeue is no filter here; did you mean $queue?"
    ]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("", ["12:7: a kind is missing; kinds: area, bar, heat, line, number, query, scatter, table"]),
        ('"A"', ["12:8: a kind is missing; kinds: area, bar, heat, line, number, query, scatter, table"]),
        ("numbr", ["12:8: no kind 'numbr'; did you mean number?"]),
        ("number a b", ["12:17: what is 'b'? A title stands in quotes, an id first; options are written key=value"]),
        ("number “A b”", [
            "12:15: what is '“A'? A title stands in straight quotes: \"…\"",
            "12:18: what is 'b”'? A title stands in quotes, an id first; options are written key=value",
        ]),
        ('line "A" comapre', ["12:17: what is 'comapre'? Did you mean compare?"]),
        ('number "A" widht=3', ["12:19: no option 'widht' for number; did you mean width?"]),
        ('number "A" page=3', [
            "12:19: no option 'page' for number; options: click, compare, format, good, target, unit, width"
        ]),
        ('number "A" width=13', ["12:19: width=13: must be a whole number from 1 to 12"]),
        ('number "A" target=many', ["12:19: target=many: must be a number, such as 55, <20, >=0.5 or 50%"]),
        ('number "A" good=left', ["12:19: good=left: must be up or down"]),
        ('number "A" format=.0x', ["12:19: format=.0x: no type 'x' of number; types: % d e f g p r s"]),
        ('number "A" format=%b', ["12:19: format=%b: no number's format of d3, such as .0f or ,.1% or .3s"]),
        ('number "A" unit=a unit=b', ["12:26: unit stands twice"]),
        ('number "A" "B"', ["12:19: a second title \"B\"; an option's value stands in quotes behind its ="]),
        ('number "A', ['12:15: a quote is not closed: " ends it']),
        ('area "A" stack=100', ["12:17: stack=100: must be zero or 100% or none"]),
        ("table link=/x", ["12:14: link is written link.COL=/x/{COL}"]),
        ("table link.id=javascript:alert(1)", [
            "12:14: link.id=javascript:alert(1): must be an address such as /x/{id} or https://example.com/{id}"
        ]),
        ("table link.id=//evil.example/{id}", [
            "12:14: link.id=//evil.example/{id}: must be an address such as /x/{id} or https://example.com/{id}"
        ]),
        ("table page=0", ["12:14: page=0: must be a whole number from 1 to 1,000"]),
        ("line a y=a,b compare", ["12:21: compare: only a chart of one series can be compared"]),
        ("query", ["12:1: a query needs an id, by which other fences read it"]),
        ("query Mine", ["12:14: 'Mine' can be no table's name: lower-case letters, digits and _"]),
        ("query mine width=3", ["12:19: no option 'width' for query: it has none"]),
    ],
)  # fmt: skip
def test_mistakes_of_the_first_line(info: str, expected: list[str]) -> None:
    assert said_of(info) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", ["13:1: there is no SQL"]),
        ("-- nothing", ["13:1: there is no SQL"]),
        ("drop table chats", ["13:1: must be one SELECT, not DROP"]),
        ("select 1;\nselect 2", ["14:1: more than one SELECT: only one can be shown"]),
        ("select ';' ; -- the end;", []),
        ("(select 1) union (select 2)", []),
        ("with a as (select 1) select * from a", []),
        ("from chats", []),
        ("select '$oops', $$ $oops $$ -- $oops", []),
        ("select $user.email, $period.start, $region", []),
        ("select $user.name", ["13:8: $user.name is no filter here; did you mean $user.email?"]),
    ],
)
def test_mistakes_of_the_sql(sql: str, expected: list[str]) -> None:
    assert said_of("number a", sql) == expected


def test_a_fence_that_is_not_closed_spoils_only_itself() -> None:
    found = board("```sql number a\nselect 1\n\n```sql number b\nselect 2\n```\nProse.\n```sql number c\nselect 3")
    assert said(found) == [
        "12:1: the fence is not closed: ``` alone on a line ends it",
        "19:1: the fence is not closed: ``` alone on a line ends it",
    ]
    assert [(each.id, each.sql.text.strip(), bool(each.mistakes)) for each in found.fences] == [
        ("a", "select 1", True),
        ("b", "select 2", False),
        ("c", "select 3", True),
    ]
    assert [(each.start, each.end) for each in found.fences] == [(12, 14), (15, 17), (19, 20)]


def test_ids_are_unique_else_made_from_the_title() -> None:
    infos = [
        "number",
        'number "Open now"',
        'line "Open now"',
        "bar open_now_2",
        "number twice",
        "table Twice",
        "number",
    ]
    found = board("".join(f"```sql {info}\nselect 1\n```\n" for info in infos))
    assert [each.id for each in found.fences] == [
        "number", "open_now", "open_now_3", "open_now_2", "twice", "twice_2", "number_2",
    ]  # fmt: skip
    assert said(found) == ["27:14: duplicate id 'Twice': line 24 has it"]
    assert found.fences[3].title == "Open now 2"


def test_words_of_the_first_line_may_be_quoted_anywhere() -> None:
    found = fence(r'table "A \"b\" \\ = c" link."Agent name"="/x/{Agent name}?a=b" bar."Wait, s"')
    assert found.mistakes == ()
    assert found.title == r'A "b" \ = c'
    assert found.options.links == (Link("Agent name", "/x/{Agent name}?a=b"),)
    assert found.options.bars == ("Wait, s",)


def test_links_lead_only_where_links_may_lead() -> None:
    row = {
        "id": "a/b?c",
        "n": 9007199254740993,
        "none": None,
        "bad": "javascript:alert(1)",
        "good": "https://a.example",
    }
    assert Link("x", "/chats/{id}/{n}").address(row) == "/chats/a%2Fb%3Fc/9007199254740993"
    assert Link("x", "/chats/{none}").address(row) is None
    assert Link("x", "{bad}").address(row) is None
    assert Link("x", "{good}").address(row) == "https://a.example"
    assert Link("x", "{id}").address({"id": "//evil.example"}) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("<20", "20"), (">=0.5", "0.5"), ("50%", "0.5"), ("12.5%", "0.125"), ("-3", "-3"), (".5", "0.5")],
)
def test_targets(text: str, value: str) -> None:
    target = fence(f'number "A" target={text}').options.target
    assert target is not None
    assert (target.value, target.text) == (Decimal(value), text)


# ---- vega-lite ---------------------------------------------------------------------------------------

QUERY = "```sql query mine\nselect 1 as a\n```\n"


def vega(json: str, info: str = "mine") -> str:
    return f"{QUERY}```vega-lite {info}\n{json}\n```\n"


def test_a_vega_lite_fence_is_json_on_a_query() -> None:
    found = board(
        vega('{"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "mark": "bar"}', 'mine "My own" width=8')
    )
    assert said(found) == []
    own = found.fences[1]
    assert (own.id, own.kind, own.title, own.width, own.datasets) == ("my_own", "vega-lite", "My own", 8, ("mine",))
    assert own.spec == {"mark": "bar", "data": {"name": "mine"}}
    named = board(vega('{"data": {"name": "mine"}, "mark": "bar"}', "chart")).fences[1]
    assert (named.id, named.datasets, named.mistakes) == ("chart", ("mine",), ())


@pytest.mark.parametrize(
    ("json", "expected"),
    [
        ('{"data": {"url": "x.csv"}, "mark": "bar"}', ['16:11: a spec may hold no URL: "url"']),
        ('{"mark": {"type": "image"}}', ['16:19: a spec may hold no URL: "image"']),
        ('{"encoding": {"href": {"field": "a"}}}', ['16:15: a spec may hold no URL: "href"']),
        ('{"a": [{"b": "//x.example"}]}', ['16:14: a spec may hold no URL: "//x.example"']),
        ('{"a": " JavaScript:1"}', ['16:7: a spec may hold no URL: " JavaScript:1"']),
        ("{,}", ["16:2: is no JSON: Expecting property name enclosed in double quotes"]),
        ('{"a": NaN}', ["16:1: is no JSON: NaN is no number of JSON"]),
        ("[]", ["16:1: must be an object of Vega-Lite: {…}"]),
        ('{"data": {"name": "mien"}}', ["16:19: no query 'mien'; did you mean mine?"]),
    ],
)
def test_mistakes_of_a_spec(json: str, expected: list[str]) -> None:
    assert said(board(vega(json))) == expected


def test_a_spec_says_which_query() -> None:
    assert said(board(vega("{}", "chart"))) == [
        '16:1: which query? A query\'s id stands behind `vega-lite`, or in {"data": {"name": "ID"}}'
    ]


# ---- too much ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("```sql number a\nselect " + "(" * 60_000 + "\n```\n", "13:1: at most 50,000 characters of SQL"),
        (
            "```sql number " + "a" * 3000 + "\nselect 1\n```\n",
            "12:7: at most 2,000 characters in a fence's first line",
        ),
        ("```sql number\nselect 1\n```\n" * 302, "912:1: at most 300 fences: the rest is left out"),
        (
            "```sql query a\nselect 1\n```\n```vega-lite a\n" + "[" * 100_000 + "\n```\n",
            "16:1: is no JSON: nested too deeply",
        ),
    ],
)
def test_too_much(body: str, expected: str) -> None:
    """What would take an editor's preview seconds to read is refused."""
    assert said(board(body)) == [expected]


def test_front_matter_that_is_nested_without_end() -> None:
    assert said(board("", "---\ntitle: " + "[" * 50_000 + "\n---\n")) == [
        "2:1: is longer than 100,000 characters, or nested more than 50 deep"
    ]


# ---- any text ------------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [*WHOLE.split("\n"), "---", "```", "```sql", "```vega-lite", "````", "  a: {type: one", "filters:", "<!--", "-->",
     "\t", "- x", "? a", "&a [*a]", '"', "a: |", "$queue", "/*", "'", "\x00", "!!python/object:os.system x"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_PIECES | st.text(max_size=20), max_size=30))
def test_nothing_written_raises_and_mistakes_lie_within_the_file(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = read_board("x.md", text)
    number = text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    assert all(1 <= each.line <= number + 1 and each.column >= 1 for each in found.all_mistakes())
    assert len({each.id for each in found.fences}) == len(found.fences)


def test_the_eleven_lines_of_front_matter_are_right() -> None:
    assert FRONT.count("\n") == 11
    assert said(board("")) == []
