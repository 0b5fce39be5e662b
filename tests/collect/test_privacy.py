"""What a source does not want to know: dropped and masked fields, people who ask not to be tracked; bots and staff."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from catchment.collect.config import SourceConfig
from catchment.collect.handler import Handler
from catchment.record import DEAD_LETTERS
from tests.collect.asking import ask, batch, handler, post

KEY = "k"
CALL: dict[str, Any] = {
    "type": "identify",
    "messageId": "m1",
    "userId": "u1",
    "anonymousId": "a1",
    "traits": {"email": "a@b.c", "plan": "pro", "address": {"street": "S", "city": "C"}},
    "context": {"ip": "192.0.2.7", "page": {"search": "?token=1", "path": "/x"}, "traits": {"email": "a@b.c"}},
}


def source(**settings: Any) -> Handler:
    return handler(sources={"app": SourceConfig(write_key="app-key", **settings)})


def identified(collect: Handler, **headers: str) -> dict[str, Any]:
    asked = post(collect, "/v1/identify", CALL, **headers)
    assert asked.status == 200
    [row] = asked.rows("app.identifies")
    return row


def test_dropped_fields_are_nowhere() -> None:
    paths = ["traits.email", "traits.address.street", "context.page.search", "context.ip", "anonymousId"]
    collect = source(drop=paths)
    asked = post(collect, "/v1/identify", CALL, Origin="https://x.example")
    [row] = asked.rows("app.identifies")
    for name in ("email", "address_street", "context_page_search", "context_ip", "anonymous_id"):
        assert name not in row
    assert (row["plan"], row["address_city"], row["context_page_path"]) == ("pro", "C", "/x")
    assert b"token" not in asked.answer.lines[0].text


def test_a_masked_field_can_be_counted_and_not_read() -> None:
    collect = source(mask=["traits.email", "userId"])
    row, again = identified(collect), identified(collect)
    assert row["email"] == again["email"] != "a@b.c"
    assert len(row["email"]) == 32
    assert row["user_id"] not in {"u1", row["email"]}
    other = handler(sources={"other": SourceConfig(write_key="app-key", mask=["traits.email"])})
    [elsewhere] = post(other, "/v1/identify", CALL).rows("other.identifies")
    assert elsewhere["email"] != row["email"], "another source's is another"


def test_what_a_batch_says_of_all_its_calls_is_cleaned_as_well() -> None:
    collect = source(drop=["context.ip"])
    asked = batch(collect, [{"type": "page", "messageId": "m"}], context={"ip": "192.0.2.7", "locale": "de"})
    [row] = asked.rows("app.pages")
    assert row["context_locale"] == "de"
    assert "context_ip" not in row


def test_traits_are_traits_within_the_context_too() -> None:
    """RudderStack's SDKs put them there, and `identifies` takes them from there."""
    collect = source(drop=["traits.email"])
    asked = post(collect, "/v1/identify", {"userId": "u", "context": {"traits": {"email": "a@b.c", "plan": "pro"}}})
    [row] = asked.rows("app.identifies")
    assert (row["plan"], row["context_traits_plan"]) == ("pro", "pro")
    assert b"a@b.c" not in asked.answer.lines[0].text


def test_an_anonymous_batch_says_nothing_of_its_sender() -> None:
    collect = source(do_not_track="anonymous")
    context = {"ip": "192.0.2.7", "traits": {"email": "a@b.c"}, "locale": "de"}
    body = {"batch": [{"type": "page", "messageId": "m", "userId": "u"}, {"type": "nonsense", "userId": "u-bad"}]}
    asked = post(collect, "/v1/batch", body | {"context": context}, DNT="1")
    [row] = asked.rows("app.pages")
    assert row["context_locale"] == "de"
    assert not {"user_id", "context_ip", "context_traits_email"} & row.keys()
    [letter] = asked.rows(DEAD_LETTERS)
    assert b"u-bad" not in base64.b64decode(letter["bytes"])


@pytest.mark.parametrize(
    "body",
    [
        {"event": 7, "traits": {"email": "a@b.c"}, "n": 1},
        {"batch": [{"event": 7, "traits": {"email": "a@b.c"}, "n": 1}, {"type": "page", "messageId": "m"}]},
        {"batch": 7, "traits": {"email": "a@b.c"}, "n": 1},
        [{"event": 7, "context": {"traits": {"email": "a@b.c"}}, "n": 1}],
    ],
)
def test_what_is_json_and_no_call_keeps_no_more_either(body: Any) -> None:
    path = "/v1/batch" if "batch" in body or isinstance(body, list) else "/v1/track"
    asked = post(source(drop=["traits.email"]), path, body)
    [letter] = asked.rows(DEAD_LETTERS)
    kept = base64.b64decode(letter["bytes"])
    assert b"a@b.c" not in kept
    assert b'"n":1' in kept


def test_what_is_to_be_dropped_is_not_kept_for_being_unreadable() -> None:
    asked = post(source(do_not_track="drop"), "/v1/track", b"{", Sec_GPC="1")
    assert (asked.status, asked.records) == (400, [])


def test_a_dead_letter_keeps_no_more() -> None:
    collect = source(drop=["properties.secret"])
    asked = batch(collect, [{"type": "track", "messageId": "m", "properties": {"secret": "s3cret", "n": 1}}])
    [letter] = asked.rows(DEAD_LETTERS)
    kept = base64.b64decode(letter["bytes"])
    assert b"s3cret" not in kept
    assert b'"n":1' in kept


@pytest.mark.parametrize("header", ["Sec-GPC", "DNT"])
def test_people_who_ask_not_to_be_tracked(header: str) -> None:
    asks = {header.replace("-", "_"): "1", "Origin": "https://x.example"}
    assert identified(source(), **asks)["user_id"] == "u1"
    row = identified(source(do_not_track="anonymous", ip="full"), **asks)
    assert not {"user_id", "anonymous_id", "email", "context_ip", "context_traits_email"} & row.keys()
    assert row["context_page_path"] == "/x"
    dropped = post(source(do_not_track="drop"), "/v1/identify", CALL, **asks)
    assert (dropped.status, dropped.records) == (200, [])
    assert identified(source(do_not_track="drop"), Origin="https://x.example")["user_id"] == "u1"


@pytest.mark.parametrize("how", ["anonymous", "drop"])
def test_the_pixel_asks_as_well(how: str) -> None:
    collect = source(do_not_track=how)
    asked = ask(collect, "GET", "/v1/pixel?writeKey=app-key&event=E&userId=u1", b"", {"Sec-GPC": "1"})
    assert (asked.status, asked.headers["content-type"]) == (200, "image/gif")
    assert [row.get("user_id") for row in asked.rows("app.e")] == ([None] if how == "anonymous" else [])


@pytest.mark.parametrize(
    ("agent", "is_bot"),
    [("Mozilla/5.0 (compatible; Googlebot/2.1)", True), ("Mozilla/5.0 HeadlessChrome/1", True), ("Mozilla/5.0", None)],
)
def test_bots_are_flagged_and_kept(agent: str, is_bot: bool | None) -> None:
    by_header = identified(source(), Origin="https://x.example", User_Agent=agent)
    assert by_header.get("context_is_bot") == is_bot
    [row] = batch(source(), [{"type": "page", "messageId": "m", "context": {"userAgent": agent}}]).rows("app.pages")
    assert row.get("context_is_bot") == is_bot


def test_bots_of_ones_own() -> None:
    assert identified(source(bots=["Probe"]), Origin="https://x.example", User_Agent="our-probe/1")["context_is_bot"]


def test_a_bot_that_a_batch_names_once() -> None:
    context = {"userAgent": "Googlebot"}
    [row] = batch(source(), [{"type": "page", "messageId": "m"}], context=context).rows("app.pages")
    assert row["context_is_bot"] is True


def test_a_servers_own_name_makes_no_bot() -> None:
    assert "context_is_bot" not in identified(source(), User_Agent="some-bot/1")


def test_staff_is_flagged() -> None:
    collect = source(internal=["192.0.2.0/24"])
    assert identified(collect, Origin="https://x.example")["context_is_internal"] is True
    assert "context_is_internal" not in identified(collect), "a server's address is not its users'"
    assert "context_is_internal" not in identified(source(internal=["10.0.0.0/8"]), Origin="https://x.example")
