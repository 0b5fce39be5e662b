"""Webhooks: signatures by the senders' own rules, deliveries that come twice, and where they are filed."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
from typing import Any

import pytest

from catchment.collect.config import WebhookConfig
from catchment.collect.handler import Handler
from catchment.record import DEAD_LETTERS
from tests.collect.asking import NOW, Asked, ask, handler

SECRET = "it's a secret"
PAYLOAD: dict[str, Any] = {"id": "evt_1", "action": "opened", "issue": {"number": 7, "labels": ["a"]}}


@pytest.fixture
def collect() -> Handler:
    return handler(
        webhooks={
            "github": WebhookConfig(scheme="github", secret=SECRET),
            "stripe": WebhookConfig(scheme="stripe", secret=SECRET, table="payments.stripe_events"),
            "plain": WebhookConfig(secret=SECRET),
            "named": WebhookConfig(secret=SECRET, id="id"),
        }
    )


def signed(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def github(collect: Handler, body: bytes, **headers: str) -> Asked:
    given = {"X-Hub-Signature-256": f"sha256={signed(body)}", "X-GitHub-Delivery": "d-1", "X-GitHub-Event": "issues"}
    return ask(collect, "POST", "/v1/webhook/github", body, given | headers)


def stripe(collect: Handler, body: bytes, *, at: int | None = None, signature: str | None = None) -> Asked:
    moment = int(NOW.timestamp()) if at is None else at
    good = signed(b"%d.%b" % (moment, body))
    header = f"t={moment},v1={'0' * 64},v1={signature or good},v0=old"
    return ask(collect, "POST", "/v1/webhook/stripe", body, {"Stripe-Signature": header})


BODY = json.dumps(PAYLOAD).encode()


def test_github(collect: Handler) -> None:
    asked = github(collect, BODY)
    assert asked.status == 200
    [record] = asked.records
    assert (record["table"], record["id"], record["source"]) == ("webhook.github", "d-1", "webhook.github")
    assert record["data"] == PAYLOAD | {"webhook_event": "issues"}


def test_stripe(collect: Handler) -> None:
    [record] = stripe(collect, BODY).records
    assert (record["table"], record["id"]) == ("payments.stripe_events", "evt_1")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"X-Webhook-Secret": SECRET}, ""),
        ({"Authorization": f"Bearer {SECRET}"}, ""),
        ({}, "?secret=it%27s%20a%20secret"),
    ],
)
def test_a_secret(collect: Handler, headers: dict[str, str], query: str) -> None:
    asked = ask(collect, "POST", f"/v1/webhook/plain{query}", BODY, headers)
    assert asked.rows("webhook.plain") == [PAYLOAD]


def test_a_delivery_that_comes_again_has_the_same_id(collect: Handler) -> None:
    assert github(collect, BODY).records[0]["id"] == github(collect, BODY).records[0]["id"]
    assert stripe(collect, BODY).records[0]["id"] == stripe(collect, BODY).records[0]["id"]
    named = [ask(collect, "POST", "/v1/webhook/named", BODY, {"X-Webhook-Secret": SECRET}) for _ in range(2)]
    assert {asked.records[0]["id"] for asked in named} == {"evt_1"}


def test_without_a_name_each_delivery_is_another(collect: Handler) -> None:
    plain = [ask(collect, "POST", "/v1/webhook/plain", BODY, {"X-Webhook-Secret": SECRET}) for _ in range(2)]
    assert len({asked.records[0]["id"] for asked in plain}) == 2


@pytest.mark.parametrize("asked", [
    lambda c: github(c, BODY, **{"X-Hub-Signature-256": "sha256=" + signed(b"other")}),
    lambda c: github(c, BODY, **{"X-Hub-Signature-256": ""}),
    lambda c: github(c, BODY, **{"X-Hub-Signature-256": signed(BODY)}),
    lambda c: stripe(c, BODY, at=int(NOW.timestamp()) - 301),
    lambda c: stripe(c, BODY, at=int(NOW.timestamp()) + 301),
    lambda c: stripe(c, BODY, signature="1" * 64),
    lambda c: ask(c, "POST", "/v1/webhook/stripe", BODY, {"Stripe-Signature": "t=x,v1=y"}),
    lambda c: ask(c, "POST", "/v1/webhook/stripe", BODY, {}),
    lambda c: ask(c, "POST", "/v1/webhook/plain", BODY, {"X-Webhook-Secret": "guessed"}),
    lambda c: ask(c, "POST", "/v1/webhook/plain", BODY, {}),
    lambda c: ask(c, "POST", "/v1/webhook/plain?secret=", BODY, {}),
])  # fmt: skip
def test_nobody_else_may_call(collect: Handler, asked: Any) -> None:
    refused: Asked = asked(collect)
    assert (refused.status, refused.records) == (401, [])


def test_an_unknown_webhook(collect: Handler) -> None:
    assert ask(collect, "POST", "/v1/webhook/other", BODY).status == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'"text"'])
def test_what_cannot_be_filed_is_kept(collect: Handler, body: bytes) -> None:
    asked = github(collect, body)
    assert asked.status == 400
    assert len(asked.rows(DEAD_LETTERS)) == 1


def test_a_signature_is_of_the_bytes_as_they_came(collect: Handler) -> None:
    packed = gzip.compress(BODY)
    assert github(collect, packed).rows("webhook.github")[0]["action"] == "opened"
