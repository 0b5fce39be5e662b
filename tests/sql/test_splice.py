"""Filters in SQL: every line of the format's table, what databases make of it, and: any SQL, any value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.sql.choices import Between, Choice, Contains, Equal, Span, Value
from catchment.sql.lexer import place, tokens
from catchment.sql.splice import SpliceError, names_used, splice

START, END = datetime(2026, 10, 27, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)
PERIOD = {"period_start": START, "period_end": END}
QUEUES = {"queue_0": "Cards", "queue_1": "Other"}
FILTERS: dict[str, Choice] = {
    "queue": Equal(("Cards", "Other"), many=True),
    "also_null": Equal(("Cards",), null=True, many=True),
    "just_null": Equal(null=True, many=True),
    "org": Equal(many=True),
    "one": Equal(("x",)),
    "none": Equal(),
    "period": Span(START, END, "day"),
    "always": Span(grain="month"),
    "search": Contains("50%"),
    "nothing": Contains(),
    "least": Between(low=5),
    "most": Between(high=9),
    "range": Between(5, 9),
    "any_range": Between(),
    "user.email": Value("ann@example.com"),
    "nobody": Value(None),
}


@pytest.mark.parametrize(
    ("written", "sent", "values"),
    [
        ("queue in $queue", "queue in ($queue_0, $queue_1)", QUEUES),
        ("queue in ($queue)", "queue in ($queue_0, $queue_1)", QUEUES),
        ("lower(q) not in $queue", "lower(q) not in ($queue_0, $queue_1)", QUEUES),
        ("org in $org", "true", {}),
        ("org not in $org", "true", {}),
        (
            "(ts at time zone 'UTC') in $period",
            "((ts at time zone 'UTC') >= $period_start and (ts at time zone 'UTC') < $period_end)",
            PERIOD,
        ),
        ("queue in $also_null", "(queue in ($also_null_0) or queue is null)", {"also_null_0": "Cards"}),
        ("title in $search", r"title ilike $search escape '\'", {"search": r"%50\%%"}),
        ("amount in $least", "amount >= $least_min", {"least_min": 5}),
        ("'in $queue'", "'in $queue'", {}),
        ("-- in $queue", "-- in $queue", {}),
        ("$$in $queue$$", "$$in $queue$$", {}),
        # beyond the table
        ("queue not in $also_null", "(queue not in ($also_null_0) and queue is not null)", {"also_null_0": "Cards"}),
        ("queue not in $just_null and a", "queue is not null and a", {}),
        ("queue in $just_null = b", "(queue is null) = b", {}),
        ("ts not in $period", "(not (ts >= $period_start and ts < $period_end))", PERIOD),
        ("amount in $range", "(amount >= $range_min and amount <= $range_max)", {"range_min": 5, "range_max": 9}),
        ("amount in $most)", "amount <= $most_max)", {"most_max": 9}),
        ("amount in $most is null", "(amount <= $most_max) is null", {"most_max": 9}),
        ("amount in $any_range or b", "true or b", {}),
        ("title not in ( $search )", r"title not ilike $search escape '\'", {"search": r"%50\%%"}),
        ("ts in $always, t in $nothing", "true, true", {}),
        ("a where not org in $org and b", "a where true and b", {}),
        ("not ((org in $org)) or f(org in $org)", "true or f(true)", {}),
        ("not (a in $org and b in $queue)", "not (true and b in ($queue_0, $queue_1))", QUEUES),
        ("a = $one, b = $none, $search", "a = $one, b = $none, $search", {"one": "x", "none": None, "search": "50%"}),
        ("$search, t in $search", r"$search, t ilike $search_ escape '\'", {"search": "50%", "search_": r"%50\%%"}),
        ("date_trunc($period.grain, ts)", "date_trunc($period_grain, ts)", {"period_grain": "day"}),
        (
            "$always.start, $always.grain",
            "$always_start, $always_grain",
            {"always_start": None, "always_grain": "month"},
        ),
        ("who = $user.email", "who = $user_email", {"user_email": "ann@example.com"}),
        ("who in $nobody", "who in ($nobody)", {"nobody": None}),
        ("case a when b then c end in $org", "true", {}),
        (
            "case when q in $queue then 1 else ts in $org end",
            "case when q in ($queue_0, $queue_1) then 1 else true end",
            QUEUES,
        ),
        (
            "date_trunc($period.grain,\n  ts /* $one */) in -- $org\n $period",
            "(date_trunc($period_grain,\n  ts /* $one */) >= -- $org\n $period_start"
            " and date_trunc($period_grain, ts ) < $period_end)",
            PERIOD | {"period_grain": "day"},
        ),
        ("list_filter(l, x -> lower(x) in $org)", "list_filter(l, x -> true)", {}),
        ("data -> 'a' in $org", "true", {}),
        ("x and if(a, b, c) in $org", "x and true", {}),
        ("select count(*) filter (where a) in $org", "select true", {}),
        ("count(*) filter (q in $org)", "count(*) filter (true)", {}),
        ("sum(n) over (partition by q) in $org", "true", {}),
        ("where filter in $org and by in $queue", "where true and by in ($queue_0, $queue_1)", QUEUES),
        ("pivot t on q in $queue using sum(n)", "pivot t on q in ($queue_0, $queue_1) using sum(n)", QUEUES),
        ("lambda x: x in $org", "lambda x: true", {}),
        ("{'a': q in $org}, q[1:2] in $org, a::text in $org", "{'a': true}, true, true", {}),
        ('"in" in $org, t."where" in $org, t.where in $org', "true, true, true", {}),
        ("select q in $org group by q in $org; (q) in $org", "select true group by true; true", {}),
        ("(q in $queue) in $org", "true", {}),
    ],
)
def test_each_way_to_write_a_filter(written: str, sent: str, values: dict[str, Any]) -> None:
    spliced = splice(written, FILTERS)
    assert (spliced.text, spliced.values) == (sent, values)


def test_redshift_reads_a_backslash_as_an_escape() -> None:
    assert splice("t in $search", FILTERS, "redshift").text == r"t ilike $search escape '\\'"
    assert splice(r"'\' in $queue'", FILTERS, "redshift").text == r"'\' in $queue'"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("select a\nfrom t where q in $qeue", "2:19: $qeue is no filter here; did you mean $queue?"),
        ("$user.emial", "1:1: $user.emial is no filter here; did you mean $user.email?"),
        ("a = $queue", "1:5: $queue may be several values: write `column in $queue`"),
        ("a = $period", "1:5: $period is a period: write `column in $period`, or $period.start, .end, .grain"),
        ("a = $range", "1:5: $range is a range: write `column in $range`"),
        ("$period.first", "1:1: $period is a period and has .start, .end and .grain, and no .first"),
        ("$one.end", "1:1: $one is no period: only they have .start, .end and .grain, and no .end"),
        ("where in $queue", "1:10: nothing stands before `in $queue`: write `column in $queue`"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(written: str, message: str) -> None:
    with pytest.raises(SpliceError) as raised:
        splice(written, FILTERS)
    assert str(raised.value) == message


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(SpliceError) as raised:
        splice("select $a1,\n $queue", {"queue": Equal(many=True)})
    assert [(each.offset, each.line, each.column) for each in raised.value.mistakes] == [(7, 1, 8), (13, 2, 2)]
    assert raised.value.mistakes[0].message == "$a1 is no filter here; filters: queue"


def test_which_filters_are_named_is_known_also_where_nothing_is_chosen() -> None:
    sql = "select $period.grain from t where a in $org -- $one"
    assert splice(sql, FILTERS).used == {"period", "org"}
    assert names_used(sql) == [("period.grain", 7), ("org", 39)]


def test_a_place_in_what_was_sent_leads_back_to_what_was_written() -> None:
    written = "select *\nfrom t where ts in $period and org in\n\n$org and chanel = 1\nand x"
    spliced = splice(written, FILTERS)
    sent = spliced.text
    assert sent.count("\n") == written.count("\n") - 2, "the places of what became true are gone"

    def of(word: str) -> tuple[int, int]:
        return place(written, spliced.written_offset(sent.index(word)))

    assert of("chanel") == (4, 10)
    assert of("ts >=") == (2, 14)
    assert of("x") == (5, 5)
    assert of("true") == (2, 32)
    assert spliced.written_offset(len(sent)) == len(written)


def test_names_that_filters_make_do_not_meet() -> None:
    filters = {"q": Equal(("a", "b"), many=True), "q_0": Equal(("c",)), "Q_1": Equal(("d",))}
    spliced = splice("x in $q and y in $q_0 and z = $q_0 and w = $Q_1", filters)
    assert list(spliced.values.values()) == ["a", "b", "c", "c", "d"]
    assert len({name.lower() for name in spliced.values}) == 5


def test_duckdb_finds_the_rows_that_were_meant() -> None:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE t AS FROM (VALUES (1, 'Cards', 5), (2, 'Other', 9), (3, NULL, 4), (4, '50%', 10)) v(id, q, n)"
    )

    def ids(where: str) -> list[int]:
        spliced = splice(f"SELECT id FROM t WHERE {where} ORDER BY id", FILTERS)
        return [row[0] for row in connection.execute(spliced.text, spliced.values).fetchall()]

    assert ids("q in $queue") == [1, 2]
    assert ids("q not in $queue") == [4]
    assert ids("q in $also_null") == [1, 3]
    assert ids("q not in $also_null") == [2, 4]
    assert ids("q in $just_null") == [3]
    assert ids("q in $search") == [4]
    assert ids("q not in $search") == [1, 2]
    assert ids("n in $range") == [1, 2]
    assert ids("n not in $range or not (q in $org)") == [1, 2, 3, 4]
    assert ids("not n in $range") == [3, 4]
    assert ids("q in $nobody or not q in $nobody") == []


_parser = duckdb.connect()

# ---- any SQL, any value -------------------------------------------------------------------

_UNTOUCHED = st.sampled_from(
    ["a", "lower(q)", "'in $queue'", "'it''s $org'", '"q $one"', "-- in $queue\n", "/* /* $one */ in $org */", "1.5e3",
     "$$ in $queue $$", "$t$ $$ in $org $t$", "E'\\' in $queue'", "x ->> 'a.b'", "a$queue", "::int", "é", "\n",
     "%", "?"]
)  # fmt: skip
_PLACES = st.sampled_from(
    [(" and (q in $queue) ", " and (q in ($queue_0, $queue_1)) "), (" or\tq not in ($org) and ", " or\ttrue and "),
     (" , q in $period) ", " , (q >= $period_start and q < $period_end)) "), (" = $one ", " = $one "),
     ("(case when q in $least then 1 end)", "(case when q >= $least_min then 1 end)")]
)  # fmt: skip
_VALUES = st.text() | st.integers() | st.sampled_from(["'; drop table t; --", "$queue_1", "%s", "%(queue_0)s", "\\"])


@settings(deadline=None)
@given(st.lists(_UNTOUCHED.map(lambda text: (f" {text} ",) * 2) | _PLACES), _VALUES, _VALUES)
def test_any_sql_keeps_its_text_outside_of_filters_and_any_value_is_bound(
    parts: list[tuple[str, str]], first: object, second: object
) -> None:
    filters = FILTERS | {"queue": Equal((first, second), many=True), "one": Equal((first,))}
    spliced = splice("".join(written for written, _ in parts), filters)
    assert spliced.text == "".join(sent for _, sent in parts)
    wanted = {"queue_0": first, "queue_1": second, "one": first, **PERIOD, "least_min": 5}
    named = {token.text[1:] for token in tokens(spliced.text) if token.kind == "parameter"}
    assert spliced.values == {name: wanted[name] for name in named}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*"'\"$-/*\\ \neEq1.()[]", "$queue", "$org", " in ", " not ", "case ", " end ", "$$"]))
)
def test_whatever_is_written_the_names_of_what_is_sent_are_those_of_the_values(parts: list[str]) -> None:
    written = "".join(parts)
    assert "".join(token.text for token in tokens(written)) == written
    try:
        spliced = splice(written, FILTERS)
    except SpliceError:
        return
    assert {token.text[1:] for token in tokens(spliced.text) if token.kind == "parameter"} == set(spliced.values)
    ends = [at for at, _, _ in spliced.pieces[1:]] + [len(spliced.text)]
    for (at, was, is_same), end in zip(spliced.pieces, ends, strict=True):
        assert not is_same or spliced.text[at:end] == written[was : was + end - at]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["'", '"', "$", "-", "/*", "*/", "\\", " ", "\n", "E", "t", "1", "(", "x"])))
def test_duckdb_sees_texts_and_comments_where_the_lexer_does(parts: list[str]) -> None:
    """Of what DuckDB parses: a text that it returns is the text that we passed over."""
    sql = "".join(parts)
    connection = _parser
    try:
        connection.extract_statements(f"select {sql} 'end'")
    except duckdb.Error:
        return
    names = [token for token in tokens(f"select {sql} 'end'") if token.kind == "parameter"]
    found = connection.extract_statements(f"select {sql} 'end'")
    assert {token.text[1:].lower() for token in names} == {
        name.lower() for each in found for name in each.named_parameters
    }
