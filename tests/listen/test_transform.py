from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.listen.letters import heard_again, is_heard, listener_of
from catchment.listen.transform import Transformation
from catchment.record import DEFAULT_WINDOW, decode, now
from tests.listen.hearing import T0, data_of, heard, reason_of, records, settings, transformed

BODY = {"id": 5, "kind": "chat", "user": {"id": "u1", "name": "Ada", "cards": [{"number": "4711", "kind": "visa"}]}}


def test_a_message_as_it_is() -> None:
    (record,) = records(transformed(heard(BODY)))
    assert record["table"] == "chat.all"
    assert record["data"] == BODY
    assert (record["id"], record["source"]) == ("q/0/7/0", "chats")
    assert record["received_at"] == "2026-11-23T10:00:00.000000Z"
    assert record["not_before"] == "2026-11-23T09:55:00.000000Z"


def test_a_message_of_many_is_a_record_for_each() -> None:
    for body in (b'[{"a":1},{"a":2}]', b'{"a":1}\n{"a":2}\n', b'{"a":1}\n[{"a":2}]'):
        found = records(transformed(heard(body)))
        assert [(record["id"], record["data"]) for record in found] == [("q/0/7/0", {"a": 1}), ("q/0/7/1", {"a": 2})]


def test_a_tombstone_is_an_empty_row() -> None:
    assert data_of(b"") == [{}]
    assert data_of(b"", set={"key": "{routing_key}"}) == [{"key": "message.created"}]
    assert data_of(b"", only="data") == []


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("chat.{routing_key}", "chat.message_created"),
        ("{exchange}.{routing_key}", "chat.message_created"),
        ("chat.{data.kind}", "chat.chat"),
        ("chat.by_{header.tenant}", "chat.by_a_cme"),
        ("chat.{data.user.name}", "chat.ada"),
    ],
)
def test_tables_of_what_a_message_says(table: str, found: str) -> None:
    (record,) = records(transformed(heard(BODY, headers={"tenant": "a.cme"}), table=table))
    assert record["table"] == found


@pytest.mark.parametrize("table", ["chat.{header.none}", "chat.{data.nothing}", "{header.own}.letters"])
def test_a_table_that_cannot_be_is_a_dead_letter(table: str) -> None:
    assert reason_of(transformed(heard(BODY, headers={"own": "catchment"}), table=table)) == "bad-table"


def test_catchments_own_tables_are_nobodys() -> None:
    assert reason_of(transformed(heard({"t": "dead_letters"}), table="{header.s}.{data.t}")) == "bad-table"
    message = heard({"t": "dead_letters"}, headers={"s": "catchment"})
    assert reason_of(transformed(message, table="{header.s}.{data.t}")) == "bad-table"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({"id": "data.id"}, "5"),
        ({"id": "data.user.id"}, "u1"),
        ({"id": "header.x-id"}, "h1"),
        ({"id": "data.none"}, "q/0/7/0"),
        ({"id": "data.user.id", "drop": ["user"]}, "u1"),
        ({"id": "data.user.id", "rename": {"user.id": "who"}}, "u1"),
    ],
)
def test_ids(written: dict[str, Any], found: str) -> None:
    (record,) = records(transformed(heard(BODY, headers={"x-id": "h1"}), **written))
    assert record["id"] == found


def test_an_id_that_is_nowhere_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    listening = Transformation("chats", settings(id="data.user.no"), Path(), DEFAULT_WINDOW)
    for _ in range(3):
        listening.outcome(heard(BODY))
    (line,) = caplog.records
    assert "nothing where `id` looks" in line.message
    assert "data.user.no" in str(vars(line))


def test_an_id_that_is_no_text_is_a_dead_letter() -> None:
    assert reason_of(transformed(heard(BODY), id="data.user")) == "not-a-record"
    assert reason_of(transformed(heard({"id": "x" * 600}), id="data.id")) == "not-a-record"


def test_one_id_twice_in_a_message_is_two_rows_the_same_each_time() -> None:
    message = heard(b'[{"id":"a"},{"id":"a"},{"id":"b"}]')
    once = [record["id"] for record in records(transformed(message, id="data.id"))]
    assert once == ["a", "a/1", "b"]
    assert once == [record["id"] for record in records(transformed(message, id="data.id"))]


def test_an_own_time_bounds_the_search_for_copies() -> None:
    body = {"id": "a", "at": 1795428000}
    (without,) = transformed(heard(body), id="data.id").lines
    assert without.not_before == T0 - DEFAULT_WINDOW
    (bounded,) = transformed(heard(body), id="data.id", time="data.at").lines
    assert without.not_before < bounded.not_before <= bounded.received_at
    (odd,) = transformed(heard({"id": "a", "at": "soon"}), id="data.id", time="data.at").lines
    assert odd.not_before == T0 - DEFAULT_WINDOW


def test_a_senders_clock_bounds_the_search_where_the_broker_names_the_message() -> None:
    sent_at = now().replace(microsecond=0) - timedelta(minutes=30)
    (line,) = transformed(heard(BODY, enqueued_at=None, sent_at=sent_at)).lines
    assert line.not_before == sent_at - timedelta(minutes=5)
    assert json.loads(line.text)["id"] == "q/0/7/0"


@pytest.mark.parametrize(
    ("body", "written", "reason"),
    [
        (b"no JSON", {}, "not-json"),
        (b'{"a":1', {}, "not-json"),
        (b"3", {}, "not-a-record"),
        (b'[1,{"a":1}]', {}, "not-a-record"),
        (b'{"a":"\xff"}', {}, "invalid-utf8"),
        (b'{"a":"\xff"}', {"drop": ["b"]}, "invalid-utf8"),
        (b'{"a":"\\u0000"}', {}, "nul"),
        (b'{"a":"\\u0000"}', {"drop": ["b"]}, "nul"),
        (b'{"a":"\\ud800"}', {}, "lone-surrogate"),
        (b'{"a":1,"a":2}', {"drop": ["b"]}, "duplicate-key"),
        (b'{"a":1e999}', {"drop": ["b"]}, "number-out-of-range"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", {}, "too-deep"),
        (b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", {"drop": ["b"]}, "too-deep"),
        *(
            (b'{"a":' + b"[" * depth + b"]" * depth + b"}", written, "too-deep")
            for depth in (250, 450, 900)
            for written in (
                {"flatten": True, "id": "data.b"},
                {"keep": ["a"]},
                {"only": "data.a == data.a"},
                {"set": {"b": "{data.a}"}},
            )
        ),
        (b'{"a":"' + b"x" * 1_100_000 + b'"}', {}, "oversized"),
        (b'{"a":1},"source":"mine"', {}, "not-json"),
    ],
)
def test_what_cannot_be_filed_is_a_dead_letter(body: bytes, written: dict[str, Any], reason: str) -> None:
    outcome = transformed(heard(body), **written)
    assert reason_of(outcome) in {reason, "not-json"} if reason == "lone-surrogate" else reason_of(outcome) == reason
    assert len(outcome.lines[0].text) < 1_000_000


def test_a_letter_holds_all_that_was_said_and_can_be_heard_again() -> None:
    message = heard(b"no JSON", headers={"tenant": "acme\x00", "n": 3})
    (letter,) = records(transformed(message, table="chat.{routing_key}"))
    origin = letter["data"]["origin"]
    assert is_heard(origin)
    assert listener_of(origin) == "chats"
    again = heard_again(origin, b'{"a":1}', message.enqueued_at or T0, letter["id"])
    assert again.about == message.about
    assert again.headers == {"tenant": "acme\ufffd", "n": 3}
    (record,) = records(transformed(again, table="chat.{routing_key}", set={"n": "{header.n}"}))
    assert (record["table"], record["id"], record["data"]) == ("chat.message_created", "q/0/7/0", {"a": 1, "n": 3})


def test_a_redelivery_is_the_same_letter_and_another_listeners_is_another() -> None:
    message = heard(b"no JSON")
    ids = [records(transformed(message))[0]["id"] for _ in range(2)]
    assert ids[0] == ids[1]
    other = Transformation("mails", settings(), Path(), DEFAULT_WINDOW).outcome(message)
    assert records(other)[0]["id"] != ids[0]


def test_a_message_is_filed_whole_or_not_at_all() -> None:
    assert reason_of(transformed(heard(b'[{"a":1},3]'))) == "not-a-record"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({"keep": ["id", "user.name"]}, {"id": 5, "user": {"name": "Ada"}}),
        ({"keep": ["user.cards.kind"]}, {"user": {"cards": [{"kind": "visa"}]}}),
        ({"drop": ["user.cards.number", "kind", "none.of.it"]},
         {"id": 5, "user": {"id": "u1", "name": "Ada", "cards": [{"kind": "visa"}]}}),
        ({"keep": ["user"], "drop": ["user.cards"]}, {"user": {"id": "u1", "name": "Ada"}}),
        ({"keep": ["user.id"], "rename": {"user.id": "user_id"}}, {"user_id": "u1", "user": {}}),
        ({"keep": ["id"], "rename": {"id": "chat.number"}}, {"chat": {"number": 5}}),
        ({"keep": ["id"], "cast": {"id": "text", "none": "text"}}, {"id": "5"}),
        ({"drop": ["user.cards"], "flatten": True},
         {"id": 5, "kind": "chat", "user_id": "u1", "user_name": "Ada"}),
        ({"keep": ["id"], "set": {"key": "{routing_key}", "n": 3, "text": "a {exchange}!", "at": "{timestamp}",
                                  "none": "{header.none}", "was": "{data.kind}"}},
         {"id": 5, "key": "message.created", "n": 3, "text": "a chat!", "at": "2026-11-23T10:00:00.000000Z",
          "none": None, "was": "chat"}),
    ],
)  # fmt: skip
def test_the_light_transformation(written: dict[str, Any], found: dict[str, Any]) -> None:
    assert data_of(BODY, **written) == [found]


def test_what_stands_in_place_of_a_kept_object_is_not_kept() -> None:
    keep = ["user.name"]
    assert data_of({"user": "Ada, 4711", "x": 1}, keep=keep) == [{}]
    assert data_of({"user": ["4711", {"name": "Ada", "card": "4711"}]}, keep=keep) == [{"user": [{"name": "Ada"}]}]


def test_a_name_that_is_taken_loses_no_value() -> None:
    (record,) = records(transformed(heard({"a": {"b": 1}, "a_b": 2}), flatten=True))
    assert (record["data"], record["rescued"]) == ({"a_b": 1}, {"a_b": 2})
    (record,) = records(transformed(heard({"a": 1, "b": 2}), rename={"a": "b"}))
    assert (record["data"], record["rescued"]) == ({"b": 2}, {"a": 1})
    (record,) = records(transformed(heard({"a": 1, "b": 2}), rename={"a": "b.c"}))
    assert (record["data"], record["rescued"]) == ({"b": 2}, {"a": 1})


def test_a_field_whose_own_name_has_dots() -> None:
    assert data_of({"a.b": 1, "a": {"b": 2}}, drop=["a.b"]) == [{"a": {}}]
    assert data_of({"a.b": 1}, rename={"a.b": "c"}, set={"d": "{data.a.b}"}) == [{"c": 1, "d": 1}]


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text('abé"\\\n', max_size=3)
values = st.recursive(
    leaves,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)
rows = st.dictionaries(st.sampled_from(["a", "b", "c", "a_b", "a.b"]), values, max_size=4)


@given(rows)
def test_a_message_goes_through_unchanged_whichever_way(row: dict[str, Any]) -> None:
    """Raw, by way of Python's objects, pretty-printed."""
    assert data_of(row) == [row]
    assert data_of(row, drop=["none"]) == [row]
    assert data_of(json.dumps(row, indent=2).encode(), only="not header.none") == [row]


bodies = st.one_of(
    st.binary(max_size=60),
    rows.map(lambda row: json.dumps(row).encode()),
    st.lists(values, max_size=3).map(lambda row: json.dumps(row).encode()),
    st.tuples(rows.map(lambda row: json.dumps(row).encode()), st.integers(0, 60), st.binary(max_size=3)).map(
        lambda found: found[0][: found[1]] + found[2] + found[0][found[1] :]
    ),
)
headers = st.dictionaries(st.sampled_from(["tenant", "x"]), st.none() | st.integers() | st.text(max_size=4))
WRITTEN: list[dict[str, Any]] = [
    {},
    {"table": "chat.{data.a}", "id": "data.b", "time": "data.c"},
    {"table": "{header.tenant}.{header.x}", "id": "header.x"},
    {"only": "data.a > 3 or 'b' in data.b", "rename": {"a.b": "c"}, "cast": {"a": "time", "b": "number"}},
    {"keep": ["a", "b.c"], "drop": ["b.c.a"], "flatten": True, "set": {"a": "{data.a}", "b": "x {header.x}"}},
]


@given(bodies, headers, st.sampled_from(WRITTEN))
def test_whatever_comes_is_filed_or_dead_and_the_same_again(
    body: bytes, found: dict[str, Any], written: dict[str, Any]
) -> None:
    """Nothing that a stranger can send holds up what is behind it."""
    message = heard(body, headers=found)
    outcome = transformed(message, **written)
    for record in records(outcome):
        assert (record["table"] == "catchment.dead_letters") is outcome.is_dead
    assert transformed(message, **written).lines == outcome.lines
    for line in outcome.lines:
        decode(line.text)


def leaves_of(value: Any) -> list[Any]:
    """Values that are no objects, and empty objects."""
    if isinstance(value, dict) and value:
        return [leaf for below in value.values() for leaf in leaves_of(below)]
    return [value]


@given(rows, st.permutations(["a", "b", "c", "a.b", "b.c"]))
def test_renaming_and_flattening_lose_no_value(row: dict[str, Any], names: list[str]) -> None:
    written: dict[str, Any] = {"rename": dict(zip(["a", "b.c", "c"], names, strict=False)), "flatten": True}
    (record,) = records(transformed(heard(row), **written))

    def counted(*each: Any) -> Counter[str]:
        found = [json.dumps(leaf, sort_keys=True) for value in each for leaf in leaves_of(value)]
        return Counter(text for text in found if text not in {"{}", "null"})  # null and a missing field are the same

    kept = counted(record["data"], record.get("rescued", {}))
    assert counted(row) - kept == Counter()


@given(rows, st.sampled_from(["a", "b", "a.b", "c.a"]))
def test_what_is_dropped_is_gone_and_the_rest_is_as_it_was(row: dict[str, Any], path: str) -> None:
    (found,) = data_of(row, drop=[path])
    assert path not in found
    if "." not in path:
        assert found == {name: value for name, value in row.items() if name != path}
