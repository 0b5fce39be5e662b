"""What requests mean: paths, keys, origins, encodings, and what is answered."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import pytest

from catchment.collect.handler import Handler
from catchment.record import DEAD_LETTERS
from tests.collect.asking import APP_KEY, KEY, NEXT_APP_KEY, ask, batch, handler, post

TRACK: dict[str, Any] = {"type": "track", "event": "Signed Up", "userId": "u1", "messageId": "m1"}
ORIGIN = "https://www.acme.example"


@pytest.fixture
def collect() -> Handler:
    return handler()


@pytest.mark.parametrize(
    "path",
    ["/v1/track", "/v1/t", "/beacon/v1/track", "/api/s/track", "/api/s/s2s/track"],
)
def test_every_sdks_path_files_a_call(collect: Handler, path: str) -> None:
    asked = post(collect, path, TRACK)
    assert (asked.status, asked.said) == (200, {"success": True})
    assert [record["table"] for record in asked.records] == ["app.tracks", "app.signed_up"]
    assert asked.answer.events == 1


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch", "/api/s/s2s/batch"])
def test_every_sdks_path_files_a_batch(collect: Handler, path: str) -> None:
    assert len(post(collect, path, {"batch": [TRACK, TRACK | {"messageId": "m2"}]}).records) == 4


@pytest.mark.parametrize(
    ("short", "table"),
    [("i", "identifies"), ("p", "pages"), ("s", "screens"), ("g", "groups"), ("a", "aliases")],
)
def test_short_paths_name_the_kind(collect: Handler, short: str, table: str) -> None:
    asked = post(collect, f"/v1/{short}", {"userId": "u1", "messageId": "m1"})
    assert [record["table"] for record in asked.records] == [f"app.{table}"]


def test_a_path_prefix_works_beside_the_plain_paths() -> None:
    collect = handler(path_prefix="/hello/there")
    assert post(collect, "/hello/there/v1/track", TRACK).status == 200
    assert post(collect, "/v1/track", TRACK).status == 200
    assert post(collect, "/hello/therev1/track", TRACK).status == 404


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/nothing", 404), ("GET", "/v1/track", 404), ("PUT", "/v1/track", 405), ("GET", "/", 404),
    ("GET", "/healthz", 200), ("GET", "/readyz", 200),
])  # fmt: skip
def test_other_paths_and_methods(collect: Handler, method: str, path: str, status: int) -> None:
    assert ask(collect, method, path).status == status


def test_not_ready_is_said() -> None:
    collect = handler()
    collect.is_ready = lambda: False
    assert ask(collect, "GET", "/readyz").status == 503
    assert ask(collect, "GET", "/healthz").status == 200


# ---- keys -----------------------------------------------------------------------------


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "query", "in_body"),
    [
        (basic(f"{APP_KEY}:"), "", None),
        (basic(APP_KEY), "", None),
        ({"X-Write-Key": APP_KEY}, "", None),
        ({}, f"?writeKey={APP_KEY}", None),
        ({}, "", APP_KEY),
        (basic(f"{NEXT_APP_KEY}:"), "", None),
        ({"X-Write-Key": APP_KEY}, "", "app-***"),
    ],
    ids=["basic", "basic without colon", "header", "query", "body", "the next key", "masked in the body"],
)
def test_four_ways_to_give_the_key(collect: Handler, headers: dict[str, str], query: str, in_body: str | None) -> None:
    call = TRACK | ({"writeKey": in_body} if in_body else {})
    asked = ask(collect, "POST", f"/v1/track{query}", call, headers)
    assert asked.status == 200
    assert asked.records[0]["source"] == "app"
    batched = ask(collect, "POST", f"/v1/batch{query}", {"batch": [TRACK], "writeKey": in_body}, headers)
    assert batched.status == 200


@pytest.mark.parametrize(
    "headers", [{}, {"X-Write-Key": "guessed"}, basic("guessed:"), {"Authorization": "Bearer x"},
                {"Authorization": "Basic !!!"}]
)  # fmt: skip
def test_without_a_key_nothing_is_kept(collect: Handler, headers: dict[str, str]) -> None:
    asked = ask(collect, "POST", "/v1/track", TRACK, headers)
    assert (asked.status, asked.records) == (401, [])
    assert "guessed" not in asked.said["error"]


def test_jitsus_key_has_an_id_and_a_secret() -> None:
    assert post(handler(), "/api/s/s2s/track", TRACK, key=f"{APP_KEY}:secret").status == 200


# ---- browsers -------------------------------------------------------------------------


def test_a_page_of_a_known_origin_may_send(collect: Handler) -> None:
    asked = post(collect, "/v1/t", TRACK, key=KEY, Origin=ORIGIN)
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert asked.headers["access-control-allow-credentials"] == "true"
    assert asked.headers["access-control-expose-headers"] == "retry-after"


def test_a_page_of_another_origin_may_not(collect: Handler) -> None:
    asked = post(collect, "/v1/t", TRACK, key=KEY, Origin="https://evil.example")
    assert (asked.status, asked.records) == (403, [])


def test_any_origin_where_none_is_named(collect: Handler) -> None:
    assert post(collect, "/v1/t", TRACK, Origin="https://else.example").status == 200


def test_errors_can_be_read_by_the_page(collect: Handler) -> None:
    asked = post(collect, "/v1/t", b"{", key=None, Origin=ORIGIN)
    assert asked.headers["access-control-allow-origin"] == ORIGIN


def test_preflight_allows_what_is_asked_for(collect: Handler) -> None:
    wanted = {"Origin": ORIGIN, "Access-Control-Request-Headers": "x-anything, content-type"}
    asked = ask(collect, "OPTIONS", "/v1/t", b"", wanted)
    assert asked.status == 204
    assert asked.headers["access-control-allow-headers"] == "x-anything, content-type"
    assert int(asked.headers["access-control-max-age"]) > 600
    assert asked.body == b""


def test_a_header_cannot_be_forged_by_an_origin(collect: Handler) -> None:
    asked = post(collect, "/v1/t", TRACK, Origin="https://a.example\r\nset-cookie: x=1")
    assert "set-cookie" not in asked.headers


def test_browser_sdks_start_against_it_alone(collect: Handler) -> None:
    segment = ask(collect, "GET", f"/v1/projects/{KEY}/settings").said
    assert segment["integrations"]["Segment.io"]["apiKey"] == KEY
    rudder = ask(collect, "GET", f"/sourceConfig/?writeKey={KEY}").said
    assert rudder["source"]["enabled"] is True
    assert ask(collect, "GET", "/v1/projects/guessed/settings").status == 401
    assert "stale-if-error" in ask(collect, "GET", f"/v1/projects/{KEY}/settings").headers["cache-control"]


# ---- bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("compressed", [False, True, "unsaid"])
def test_any_content_type_and_gzip_said_or_not(collect: Handler, content_type: str, compressed: bool | str) -> None:
    body = json.dumps(TRACK).encode()
    headers = {"Content-Type": content_type}
    if compressed:
        body = gzip.compress(body)
    if compressed is True:
        headers["Content-Encoding"] = "gzip"
    assert post(collect, "/v1/track", body, **headers).status == 200


def test_deflate(collect: Handler) -> None:
    body = zlib.compress(json.dumps(TRACK).encode())
    assert post(collect, "/v1/track", body, Content_Encoding="deflate").status == 200


def test_a_bomb_is_refused_early(collect: Handler) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert post(collect, "/v1/batch", bomb, Content_Encoding="gzip").status == 413


@pytest.mark.parametrize("body", [gzip.compress(b"{}" * 100, mtime=0)[:-9], b"\x1f\x8bnonsense"])
def test_a_broken_gzip_is_refused(collect: Handler, body: bytes) -> None:
    assert post(collect, "/v1/track", body).status == 400


def test_another_encoding_is_refused(collect: Handler) -> None:
    assert post(collect, "/v1/track", b"...", Content_Encoding="br").status == 415


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]x", b'{"event":1e999}', b'"text"', b"12", b"\x00\x01", b'{"event":NaN}']
)
def test_what_cannot_be_read_is_kept_and_refused(collect: Handler, body: bytes) -> None:
    asked = post(collect, "/v1/track", body)
    assert asked.status == 400
    assert asked.said["reason"] in {"not-json", "not-a-record"}
    [letter] = asked.rows(DEAD_LETTERS)
    assert base64.b64decode(letter["bytes"]) == body
    assert letter["record_source"] == "app"
    assert (asked.answer.events, asked.answer.rejected) == (0, 1)


def test_the_same_bad_bytes_are_one_dead_letter(collect: Handler) -> None:
    once, again = post(collect, "/v1/track", b"{"), post(collect, "/v1/track", b"{")
    assert once.records[0]["id"] == again.records[0]["id"]


def test_one_bad_event_spoils_no_batch(collect: Handler) -> None:
    bad: list[Any] = [
        {"type": "track", "messageId": "no event"},
        {"type": "nonsense"},
        {"messageId": "no type"},
        {"type": "track", "event": 7},
        {"type": "track", "event": "E", "properties": "text"},
        "no object",
        None,
        TRACK | {"messageId": "x" * 101},
    ]
    asked = batch(collect, [TRACK, *bad, TRACK | {"messageId": "m2"}])
    assert asked.status == 200
    assert asked.said["rejected"] == len(bad)
    assert [row["id"] for row in asked.rows("app.tracks")] == ["m1", "m2"]
    letters = asked.rows(DEAD_LETTERS)
    kept = [json.loads(base64.b64decode(letter["bytes"])) for letter in letters]
    assert sorted(map(json.dumps, kept)) == sorted(map(json.dumps, bad))
    assert (asked.answer.events, asked.answer.rejected) == (2, len(bad))


def test_a_number_out_of_range_costs_its_event_alone(collect: Handler) -> None:
    body = b'{"batch":[{"type":"track","event":"A","messageId":"1"},{"type":"track","event":"A","x":1,' \
        b'"properties":{"n":1e999}}]}'  # fmt: skip
    asked = post(collect, "/v1/batch", body)
    assert asked.status == 200
    assert len(asked.rows("app.a")) == 1
    [letter] = asked.rows(DEAD_LETTERS)
    assert b"1e999" in base64.b64decode(letter["bytes"])


def test_events_of_a_large_batch_are_measured_one_by_one(collect: Handler) -> None:
    calls = [TRACK | {"messageId": str(n), "properties": {"pad": "x" * 2_000}} for n in range(30)]
    calls.insert(10, TRACK | {"messageId": "large", "properties": {"pad": "x" * 40_000}})
    asked = batch(collect, calls)
    assert asked.status == 200
    assert [row["id"] for row in asked.rows("app.tracks")] == [str(n) for n in range(30)]
    assert [letter["reason"] for letter in asked.rows(DEAD_LETTERS)] == ["oversized"]


def test_a_single_event_that_is_too_large_is_kept(collect: Handler) -> None:
    asked = post(collect, "/v1/track", TRACK | {"properties": {"pad": "x" * 40_000}})
    assert asked.status == 413
    assert [letter["reason"] for letter in asked.rows(DEAD_LETTERS)] == ["oversized"]


def test_too_many_events_at_once_are_refused(collect: Handler) -> None:
    asked = batch(handler(max_batch_events=3), [TRACK] * 4)
    assert asked.status == 413
    assert batch(handler(max_batch_events=3), [TRACK] * 3).status == 200


def test_a_bare_list_is_a_batch(collect: Handler) -> None:
    assert post(collect, "/v1/batch", [TRACK]).status == 200


def test_an_empty_batch_files_nothing(collect: Handler) -> None:
    asked = batch(collect, [])
    assert (asked.status, asked.records) == (200, [])


# ---- the pixel ------------------------------------------------------------------------


def test_the_pixel_files_its_event(collect: Handler) -> None:
    asked = ask(collect, "GET", f"/v1/pixel?writeKey={KEY}&event=Email%20Opened&userId=u1&messageId=m1&campaign=may")
    assert (asked.status, asked.headers["content-type"]) == (200, "image/gif")
    assert asked.body.startswith(b"GIF89a")
    [row] = asked.rows("website.email_opened")
    assert (row["campaign"], row["user_id"], row["id"]) == ("may", "u1", "m1")
    assert "write_key" not in row


def test_the_pixel_takes_a_call_in_base64(collect: Handler) -> None:
    data = base64.urlsafe_b64encode(json.dumps(TRACK).encode()).decode().rstrip("=")
    asked = ask(collect, "GET", f"/v1/pixel?writeKey={KEY}&data={data}")
    assert asked.status == 200
    assert asked.rows("website.signed_up")[0]["id"] == "m1"


@pytest.mark.parametrize("query", ["data=!!!", "data=e30", "type=nonsense&event=x"])
def test_a_bad_pixel_is_kept(collect: Handler, query: str) -> None:
    asked = ask(collect, "GET", f"/v1/pixel?writeKey={KEY}&{query}")
    assert asked.status == 400
    assert len(asked.rows(DEAD_LETTERS)) == 1


# ---- plain records --------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    b'[{"n":1},{"n":2}]', b'{"n":1}\n{"n":2}\n', b'[\n{"n":1},\n{"n":2}\n]',
])  # fmt: skip
def test_records_go_into_their_table_as_they_are(collect: Handler, body: bytes) -> None:
    asked = post(collect, "/v1/records/app.numbers", body)
    assert asked.said == {"success": True, "records": 2, "rejected": 0}
    assert asked.rows("app.numbers") == [{"n": 1}, {"n": 2}]
    assert len({record["id"] for record in asked.records}) == 2


def test_records_take_a_field_for_their_id(collect: Handler) -> None:
    asked = post(collect, "/v1/records/app.orders?id=order", [{"order": 17, "sum": 2}, {"sum": 3}])
    assert [record["id"] for record in asked.records if record["table"] == "app.orders"] == ["17"]
    assert [letter["detail"] for letter in asked.rows(DEAD_LETTERS)] == ["the record has no order"]
    assert (asked.answer.events, asked.answer.rejected) == (1, 1)


def test_records_of_a_mirror_replace_one_another(collect: Handler) -> None:
    issue = {"repo": "money", "number": 7, "updated_at": "2026-11-30T12:00:00.000Z", "state": "open"}
    [record] = post(collect, "/v1/records/app.issues", issue).records
    assert (record["op"], record["key"], record["version"]) == ("upsert", ["repo", "number"], issue["updated_at"])
    assert record["data"] == issue
    [other] = post(collect, "/v1/records/app.orders", issue).records
    assert not {"op", "key", "version"} & other.keys(), "a table that is none has new rows alone"


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"updated_at": None}, "updated_at, by which the mirror knows the newest, must be a text"),
        ({"updated_at": 1732968000}, "updated_at, by which the mirror knows the newest, must be a text"),
        ({"number": None}, "the record has no number, which is in the mirror's key"),
    ],
)
def test_what_a_mirror_could_not_tell_apart_is_a_dead_letter(
    collect: Handler, changed: dict[str, Any], detail: str
) -> None:
    issue = {"repo": "money", "number": 7, "updated_at": "2026-11-30T12:00:00.000Z"}
    asked = post(collect, "/v1/records/app.issues", [issue | changed, issue])
    assert asked.said["rejected"] == 1
    assert asked.rows("app.issues") == [issue]
    assert [letter["detail"] for letter in asked.rows(DEAD_LETTERS)] == [detail]


@pytest.mark.parametrize(
    ("key", "table", "status"),
    [
        (APP_KEY, "app.orders", 200),
        (APP_KEY, "website.orders", 403),
        (APP_KEY, "shop.orders", 403),
        (KEY, "shop.orders", 200),
        (KEY, "catchment.ledger", 400),
        (KEY, "Shop.Orders", 400),
        (KEY, "shop", 400),
    ],
)
def test_a_key_writes_where_it_may(collect: Handler, key: str, table: str, status: int) -> None:
    assert post(collect, f"/v1/records/{table}", {"n": 1}, key=key).status == status


# ---- rates ----------------------------------------------------------------------------


def test_a_key_that_sends_too_much_is_told_when_to_come_again() -> None:
    collect = handler(events_per_s=1.0)
    assert batch(collect, [TRACK] * 10).status == 200
    asked = batch(collect, [TRACK])
    assert (asked.status, asked.headers["retry-after"]) == (429, "1")
    assert asked.records == []
    later = ask(collect, "POST", "/v1/track", TRACK, {"X-Write-Key": APP_KEY}, clock_s=1002.0)
    assert later.status == 200
    assert post(collect, "/v1/track", TRACK, key=KEY).status == 200, "another key"


def test_an_address_that_asks_too_often_is_told_so() -> None:
    collect = handler(requests_per_s=1.0)
    statuses = [ask(collect, "POST", "/v1/track", TRACK, {"X-Write-Key": APP_KEY}).status for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    other = ask(collect, "POST", "/v1/track", TRACK, {"X-Write-Key": APP_KEY}, peer="192.0.2.8")
    assert other.status == 200


def test_behind_a_trusted_proxy_the_clients_own_address_counts() -> None:
    collect = handler(requests_per_s=1.0, trusted_proxies=["192.0.2.0/24"])
    for n in range(30):
        asked = ask(collect, "POST", "/v1/t", TRACK, {"X-Write-Key": APP_KEY, "X-Forwarded-For": f"198.51.100.{n}"})
        assert asked.status == 200
