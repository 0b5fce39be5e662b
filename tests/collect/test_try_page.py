"""The page of buttons at `GET /`: only where it is wanted, and locked to what it holds itself."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from catchment.collect.config import SourceConfig
from catchment.collect.handler import Handler
from tests.collect.asking import APP_KEY, KEY, Asked, ask, handler, post


@pytest.fixture
def page() -> Asked:
    return ask(handler(try_page=True), "GET", "/")


def policy(page: Asked) -> dict[str, list[str]]:
    rules = [rule.split() for rule in page.headers["content-security-policy"].split(";")]
    return {name: values for name, *values in rules}


def contents(page: Asked, tag: str) -> list[str]:
    return re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", page.body.decode(), re.DOTALL)


def test_there_is_none_unless_it_is_wanted() -> None:
    assert ask(handler(), "GET", "/").status == 404
    assert ask(handler(try_page=True, sources={}), "GET", "/").status == 404


def test_it_is_a_page_that_nobody_keeps(page: Asked) -> None:
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert int(page.headers["content-length"]) == len(page.body)
    assert page.answer.lines == []


def test_it_is_under_the_prefix_too() -> None:
    assert ask(handler(try_page=True, path_prefix="/hello"), "GET", "/hello/").status == 200


def test_only_the_first_sources_key_is_in_it(page: Asked) -> None:
    assert f'data-key="{KEY}" data-source="website"' in page.body.decode()
    assert APP_KEY not in page.body.decode()
    assert "{{" not in page.body.decode()


def test_a_key_cannot_break_out_of_its_place() -> None:
    source = SourceConfig(write_key='"><script>alert(1)</script>')
    page = ask(handler(try_page=True, sources={"website": source}), "GET", "/")
    assert b"<script>alert" not in page.body
    assert b"&quot;&gt;&lt;script&gt;" in page.body
    assert len(contents(page, "script")) == 1


def test_what_runs_and_styles_is_what_the_policy_names(page: Asked) -> None:
    rules = policy(page)
    for tag in ("script", "style"):
        [content] = contents(page, tag)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == [f"'sha256-{digest}'"]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == ["'none'"]
    assert rules["connect-src"] == ["'self'"]


def test_nothing_in_it_comes_from_elsewhere_or_is_inline(page: Asked) -> None:
    """The policy would forbid it, and the browser leave it out."""

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                assert not name.startswith("on"), (tag, name)
                assert name != "style", tag
                assert name not in {"src", "href"} or value == "data:,", (tag, value)

    Tags().feed(page.body.decode())
    assert "innerHTML" not in page.body.decode()


def test_what_a_button_sends_is_filed() -> None:
    """The call as the page's script writes it."""
    collect: Handler = handler(try_page=True)
    call = {
        "writeKey": APP_KEY, "event": "NPS Answered", "properties": {"score": 9}, "anonymousId": "visitor_1",
        "messageId": "m1", "timestamp": "2026-11-30T11:59:00.000Z", "sentAt": "2026-11-30T11:59:00.000Z",
    }  # fmt: skip
    asked = post(collect, "/v1/track", call, key=None, Origin="http://127.0.0.1:8000")
    assert asked.status == 200
    [row] = asked.rows("app.nps_answered")
    assert (row["score"], row["timestamp"]) == (9, row["received_at"]), "however wrong its clock is"
