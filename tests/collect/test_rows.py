"""Calls as rows: the columns of Segment's warehouse, clients' clocks, and what the limits turn away."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.collect.handler import Handler
from catchment.record import DEAD_LETTERS, uuid7
from tests.collect.asking import APP_KEY, KEY, NOW, WINDOW, Asked, ask, batch, handler, post


@pytest.fixture
def collect() -> Handler:
    return handler()


def call(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": "m1", "userId": "u1", "anonymousId": "a1", **fields}


def sent(collect: Handler, made: dict[str, Any]) -> Asked:
    asked = batch(collect, [made])
    assert asked.status == 200
    assert asked.rows(DEAD_LETTERS) == []
    return asked


COMMON = {
    "id": "m1",
    "user_id": "u1",
    "anonymous_id": "a1",
    "received_at": "2026-11-30T12:00:00.123456Z",
    "timestamp": "2026-11-30T12:00:00.123456Z",
}


# ---- the tables -----------------------------------------------------------------------


def test_track_is_filed_in_tracks_and_in_its_events_table(collect: Handler) -> None:
    asked = sent(collect, call("track", event="Order Completed", properties={"orderId": 17, "Total": 9.5}))
    named = {"event": "order_completed", "event_text": "Order Completed"}
    assert asked.rows("app.tracks") == [COMMON | named]
    assert asked.rows("app.order_completed") == [COMMON | named | {"order_id": 17, "total": 9.5}]


@pytest.mark.parametrize(("made", "table", "columns"), [
    (call("identify", traits={"email": "a@b.c", "plan": {"name": "pro"}}), "identifies",
     {"email": "a@b.c", "plan_name": "pro"}),
    (call("identify", context={"traits": {"email": "a@b.c"}}), "identifies",
     {"email": "a@b.c", "context_traits_email": "a@b.c"}),
    (call("page", name="Home", category="Web", properties={"url": "https://x/"}), "pages",
     {"name": "Home", "category": "Web", "url": "https://x/"}),
    (call("page", name="Home", properties={"name": "Home", "title": "H"}), "pages", {"name": "Home", "title": "H"}),
    (call("screen", name="Login"), "screens", {"name": "Login"}),
    (call("group", groupId="g1", traits={"employees": 3}), "groups", {"group_id": "g1", "employees": 3}),
    (call("alias", previousId="a1"), "aliases", {"previous_id": "a1"}),
])  # fmt: skip
def test_every_kind_has_its_table(collect: Handler, made: dict[str, Any], table: str, columns: Any) -> None:
    asked = sent(collect, made)
    assert [record["table"] for record in asked.records] == [f"app.{table}"]
    assert asked.rows(f"app.{table}") == [COMMON | columns]
    assert asked.rescued(f"app.{table}") == {}


def test_both_rows_of_a_track_have_the_id_of_the_message(collect: Handler) -> None:
    assert [record["id"] for record in sent(collect, call("track", event="E")).records] == ["m1", "m1"]


@pytest.mark.parametrize(("event", "table"), [
    ("Signed Up", "signed_up"), ("signedUp", "signed_up"), ("Tracks", "event_tracks"), ("Users", "event_users"),
    ("Other events", "event_other_events"),
    ("2nd Try", "_2nd_try"), ("select", "select"),
])  # fmt: skip
def test_event_tables(collect: Handler, event: str, table: str) -> None:
    assert sent(collect, call("track", event=event)).records[1]["table"] == f"app.{table}"


def test_events_of_other_scripts_have_tables_of_their_own(collect: Handler) -> None:
    tables = {sent(collect, call("track", event=event)).records[1]["table"] for event in ("東京", "大阪", "注文")}
    assert len(tables) == 3


def test_a_very_long_event_name_is_cut_and_told_apart(collect: Handler) -> None:
    one, other = ("x" * 500 + end for end in "ab")
    tables = {sent(collect, call("track", event=event)).records[1]["table"] for event in (one, other)}
    assert len(tables) == 2
    assert all(len(table.partition(".")[2]) <= 63 for table in tables)


def test_ids_may_be_numbers_and_null(collect: Handler) -> None:
    asked = sent(collect, call("track", event="E", userId=17, anonymousId=None, messageId=5))
    row = asked.rows("app.e")[0]
    assert (row["id"], row["user_id"]) == ("5", "17")
    assert "anonymous_id" not in row


def test_an_id_that_is_none_is_rescued(collect: Handler) -> None:
    asked = sent(collect, call("track", event="E", userId={"a": 1}))
    assert "user_id" not in asked.rows("app.e")[0]
    assert asked.rescued("app.e") == {"userId": {"a": 1}}


def test_without_a_message_id_each_gets_a_new_one(collect: Handler) -> None:
    made = call("track", event="E", messageId=None)
    ids = {record["id"] for _ in range(3) for record in sent(collect, made).records}
    assert len(ids) == 3


# ---- context --------------------------------------------------------------------------


def test_context_is_flattened(collect: Handler) -> None:
    context = {"page": {"url": "https://x/", "referrer": None}, "userAgent": "UA", "screen": {"width": 3}}
    row = sent(collect, call("page", context=context)).rows("app.pages")[0]
    assert row["context_page_url"] == "https://x/"
    assert row["context_user_agent"] == "UA"
    assert row["context_screen_width"] == 3
    assert "context_page_referrer" not in row


def test_what_a_batch_says_holds_for_its_calls(collect: Handler) -> None:
    own = call("page", context={"locale": "de"})
    asked = batch(collect, [own], context={"locale": "en", "app": "x"}, sentAt="2026-11-30T12:00:00Z")
    row = asked.rows("app.pages")[0]
    assert (row["context_locale"], row["context_app"], row["sent_at"]) == ("de", "x", "2026-11-30T12:00:00Z")
    assert asked.rescued("app.pages") == {}


@pytest.mark.parametrize(("headers", "address"), [
    ({"Origin": "https://x.example"}, "192.0.2.0"),
    ({}, None),
])  # fmt: skip
def test_a_browsers_address_is_kept_as_far_as_wanted(
    collect: Handler, headers: dict[str, str], address: str | None
) -> None:
    asked = post(collect, "/v1/p", call("page"), key=APP_KEY, **headers)
    assert asked.rows("app.pages")[0].get("context_ip") == address


# ---- clocks ---------------------------------------------------------------------------


def at(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("off", [timedelta(0), timedelta(hours=2), -timedelta(days=1), timedelta(days=365),
                                 timedelta(days=-365 * 56)])  # fmt: skip
def test_a_wrong_clock_is_corrected(collect: Handler, off: timedelta) -> None:
    """It happened 10 seconds before it was sent, whatever the client's clock said."""
    happened = NOW + off - timedelta(seconds=10)
    asked = sent(collect, call("page", timestamp=at(happened), sentAt=at(NOW + off)))
    row = asked.rows("app.pages")[0]
    assert row["timestamp"] == at(NOW - timedelta(seconds=10))
    assert row["original_timestamp"] == at(happened)


def test_original_timestamp_goes_before_timestamp(collect: Handler) -> None:
    made = call("page", originalTimestamp="2026-11-30T11:00:00Z", timestamp="2026-11-30T11:30:00Z")
    row = sent(collect, made).rows("app.pages")[0]
    assert row["original_timestamp"] == "2026-11-30T11:00:00Z"
    assert row["timestamp"] == "2026-11-30T11:30:00Z", "when it happened, as its caller says"


@pytest.mark.parametrize(("given", "read"), [
    ("2026-11-30T11:00:00.123456789Z", "2026-11-30T11:00:00.123456Z"),
    ("2026-11-30T12:00:00+01:00", "2026-11-30T11:00:00Z"),
    ("2026-11-30 11:00:00", "2026-11-30T11:00:00Z"),
    (1796036400, "2026-11-30T11:00:00Z"),
    (1796036400000, "2026-11-30T11:00:00Z"),
    (1796036400000.5, "2026-11-30T11:00:00.000500Z"),
])  # fmt: skip
def test_times_as_clients_write_them(collect: Handler, given: Any, read: str) -> None:
    assert sent(collect, call("page", timestamp=given)).rows("app.pages")[0]["original_timestamp"] == read


@pytest.mark.parametrize("given", ["yesterday", "", True, {"a": 1}, 1e300, "9999-12-31T23:59:59-12:00", "0001-01-01"])
def test_a_time_that_is_none_is_rescued(collect: Handler, given: Any) -> None:
    asked = sent(collect, call("page", timestamp=given))
    if given == "0001-01-01":
        assert asked.status == 200
        return
    assert asked.rescued("app.pages") == {"timestamp": given}
    assert asked.rows("app.pages")[0]["timestamp"] == COMMON["timestamp"]


@pytest.mark.parametrize(("own", "not_before"), [
    (NOW, NOW - timedelta(minutes=5)),
    (NOW - timedelta(days=2), NOW - timedelta(days=2, minutes=5)),
    (NOW - timedelta(days=30), NOW - WINDOW),
    (NOW + timedelta(hours=2), NOW + timedelta(hours=2) - timedelta(minutes=5)),
    (None, NOW - WINDOW),
])  # fmt: skip
def test_copies_are_searched_by_the_clients_own_time(
    collect: Handler, own: datetime | None, not_before: datetime
) -> None:
    """As it was sent: the corrected one differs in each copy."""
    made = call("page", timestamp=own and at(own), sentAt=at(NOW + timedelta(days=3)))
    [line] = sent(collect, made).answer.lines
    assert line.not_before == not_before


def test_an_id_of_ours_has_no_copies(collect: Handler) -> None:
    made = call("page", messageId=None, timestamp=at(NOW - timedelta(days=2)))
    [line] = sent(collect, made).answer.lines
    assert line.not_before == NOW - timedelta(minutes=5)


# ---- values ---------------------------------------------------------------------------


def test_values_arrive_as_they_are(collect: Handler) -> None:
    values = {
        "emoji": "😀é",
        "n": 2**53 + 1,
        "f": 0.1,
        "yes": True,
        "list": [1, {"a": None}],
        "empty": {},
        "none": None,
    }
    row = sent(collect, call("track", event="E", properties=values)).rows("app.e")[0]
    assert {name: row.get(name) for name in values} == values | {"empty": None}


@pytest.mark.parametrize(("name", "value"), [("id", 1), ("received_at", "x"), ("timestamp", "x"), ("userId", "x"),
                                             ("event", "x"), ("eventText", "x")])  # fmt: skip
def test_a_property_never_replaces_a_column_of_the_call(collect: Handler, name: str, value: Any) -> None:
    made = call("track", event="E", timestamp=at(NOW), properties={name: value})
    asked = sent(collect, made)
    assert asked.rows("app.e")[0]["id"] == "m1"
    assert asked.rescued("app.e") == {f"properties.{name}": value}
    assert asked.rescued("app.tracks") == {}


def test_two_properties_of_one_column_are_both_kept(collect: Handler) -> None:
    asked = sent(collect, call("track", event="E", properties={"planName": 1, "plan_name": 2, "plan": {"name": 3}}))
    assert asked.rows("app.e")[0]["plan_name"] == 1
    assert asked.rescued("app.e") == {"properties.plan_name": 2, "properties.plan.name": 3}


def test_values_that_only_seem_equal_are_both_kept(collect: Handler) -> None:
    asked = sent(
        collect, call("track", event="E", properties={"planName": 1, "plan_name": True, "plan": {"name": 1.0}})
    )
    assert asked.rows("app.e")[0]["plan_name"] == 1
    assert asked.rescued("app.e") == {"properties.plan_name": True, "properties.plan.name": 1.0}


def test_what_the_limits_turn_away_is_rescued() -> None:
    collect = handler(max_depth=2, max_properties=12, max_string_chars=5)
    properties = {
        "long": "123456",
        "fits": "12345",
        "deep": {"down": {"below": 1}},
        "beyond": 2**63,
        "below": -(2**63),
        "d": 1, "e": 1, "f": 1, "g": 1,
    }  # fmt: skip
    asked = sent(collect, call("track", event="E", properties=properties))
    row = asked.rows("app.e")[0]
    assert (row["fits"], row["below"]) == ("12345", -(2**63))
    assert asked.rescued("app.e") == {
        "properties.long": "123456",
        "properties.deep.down": {"below": 1},
        "properties.beyond": 2**63,
        "properties.g": 1,
    }


def test_what_is_no_text_is_repaired(collect: Handler) -> None:
    values = rb'"nul":"a\u0000b","half":"\ud83d","pair":"\ud83d\ude00","slash":"\\u0000","utf8":"' + b'\xff\xfe"'
    body = b'\xef\xbb\xbf{"batch":[{"type":"track","event":"E","properties":{%b}}]}' % values
    asked = post(collect, "/v1/batch", body)
    row = asked.rows("app.e")[0]
    assert row["nul"] == "a\ufffdb"
    assert row["half"] == "\ufffd"
    assert row["pair"] == "😀"
    assert row["utf8"] == "\ufffd\ufffd"
    assert row["slash"] == "\\u0000"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(properties=st.dictionaries(st.text(max_size=20), json_values, max_size=12))
def test_no_value_is_ever_lost(properties: dict[str, Any]) -> None:
    """Whatever an object holds is in a column, or rescued under its path."""
    body = json.dumps({"event": "E", "messageId": "m1", "properties": properties}).encode()
    asked = ask(
        Handler(handler(max_depth=3, max_properties=20).config, WINDOW), "POST", f"/v1/track?writeKey={KEY}", body
    )
    assert asked.status == 200
    row, rescued = asked.rows("website.e")[0], asked.rescued("website.e")
    found = [json.dumps(value, sort_keys=True) for value in [*row.values(), *rescued.values()]]
    for value in leaves(properties, 3):
        assert json.dumps(clean(value), sort_keys=True) in found


def leaves(value: dict[str, Any], depth: int) -> list[Any]:
    """Values that are no objects, and objects too deep to be opened."""
    found: list[Any] = []
    for inner in value.values():
        if isinstance(inner, dict) and depth > 1:
            found += leaves(inner, depth - 1)
        elif inner is not None:
            found.append(inner)
    return found


def clean(value: Any) -> Any:
    """As the collector repairs it: NUL is no text."""
    return json.loads(json.dumps(value).replace("\\u0000", "\\ufffd")) if "\\u0000" in json.dumps(value) else value


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_body_makes_it_fail(body: bytes) -> None:
    for path in ("/v1/track", "/v1/batch", "/v1/records/app.t"):
        asked = post(handler(), path, body)
        assert asked.status in {200, 400, 413}
        for record in asked.records:
            assert record["id"]


def test_an_id_that_holds_a_time_is_nothing_special(collect: Handler) -> None:
    made = call("page", messageId=uuid7(), timestamp=at(datetime(2026, 11, 30, 11, 0, tzinfo=UTC)))
    [line] = sent(collect, made).answer.lines
    assert line.not_before == datetime(2026, 11, 30, 10, 55, tzinfo=UTC)
