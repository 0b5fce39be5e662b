"""Dead letters of requests, filed once more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from catchment.collect.again import is_request, refiled
from catchment.collect.config import CollectConfig, MirrorConfig, SourceConfig, WebhookConfig
from catchment.errors import Malformed, UsageError
from tests.collect.asking import NOW, WINDOW, read

CONFIG = CollectConfig(
    sources={
        "site": SourceConfig(
            write_key="k", drop=["traits.email"], mirrors={"site.stock": MirrorConfig(key=["sku"], version="at")}
        )
    },
    webhooks={"ci": WebhookConfig(secret="s" * 32, table="builds.runs")},
)


def again(body: Any, path: str = "/v1/track", source: str = "site", letter: str = "L") -> list[dict[str, Any]]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [read(line) for line in refiled(text, f"HTTP {path}", source, NOW, letter, CONFIG, WINDOW)]


def test_only_requests_are_ours() -> None:
    assert is_request("HTTP /v1/track")
    assert not is_request("message queue-1.5, part 0")


def test_a_call_is_what_its_path_or_itself_says() -> None:
    assert [each["table"] for each in again({"event": "Paid"})] == ["site.tracks", "site.paid"]
    assert [each["table"] for each in again({"userId": "u"}, "/v1/identify")] == ["site.identifies"]
    assert [each["table"] for each in again({"type": "page"}, "/v1/batch")] == ["site.pages"]
    assert [each["table"] for each in again({"event": "Seen"}, "/v1/pixel")] == ["site.tracks", "site.seen"]


def test_a_batch_that_could_not_be_read_is_mended_as_a_whole() -> None:
    calls = [{"type": "identify", "userId": "u", "messageId": "m"}, {"type": "identify", "userId": "v"}]
    found = again({"batch": calls, "context": {"locale": "de"}, "sentAt": "2026-11-30T11:00:00Z"}, "/v1/batch")
    assert [each["id"] for each in found] == ["m", "L-1"]
    assert {each["data"]["context_locale"] for each in found} == {"de"}
    assert {each["data"]["sent_at"] for each in found} == {"2026-11-30T11:00:00Z"}


def test_what_names_no_id_has_the_same_each_time() -> None:
    assert again({"event": "Paid"}) == again({"event": "Paid"})
    assert {each["id"] for each in again({"event": "Paid"})} == {"L"}


def test_the_rules_of_the_source_hold() -> None:
    (found,) = again({"userId": "u", "traits": {"email": "a@b.example", "plan": "pro"}}, "/v1/identify")
    assert found["data"]["plan"] == "pro"
    assert "email" not in found["data"]


def test_records_and_webhooks() -> None:
    assert [(each["table"], each["id"]) for each in again([{"a": 1}, {"a": 2}], "/v1/records/site.orders")] == [
        ("site.orders", "L-0"),
        ("site.orders", "L-1"),
    ]
    (found,) = again({"sku": "7", "at": "1"}, "/v1/records/site.stock")
    assert (found["op"], found["key"], found["version"]) == ("upsert", ["sku"], "1")
    (found,) = again({"a": 1}, "/v1/webhook/ci", "webhook.ci")
    assert (found["table"], found["id"], found["source"]) == ("builds.runs", "L", "webhook.ci")
    (found,) = again({"a": 1}, "/v1/webhook/gone", "webhook.gone")
    assert found["table"] == "webhook.gone"


@pytest.mark.parametrize(
    ("body", "path", "source"),
    [
        (b"{", "/v1/track", "site"),
        ({"type": "nothing"}, "/v1/batch", "site"),
        ({"batch": [{"type": "track", "event": 5}]}, "/v1/batch", "site"),
        ({"event": "x" * 40_000}, "/v1/track", "site"),
        ([1], "/v1/records/site.orders", "site"),
        ([1], "/v1/webhook/ci", "webhook.ci"),
    ],
)
def test_what_is_still_wrong_is_told(body: Any, path: str, source: str) -> None:
    with pytest.raises(Malformed):
        again(body, path, source)


def test_a_source_that_is_no_more() -> None:
    with pytest.raises(UsageError, match=r"the source gone, which is not in \[collect.sources\]"):
        again({"event": "Paid"}, source="gone")
