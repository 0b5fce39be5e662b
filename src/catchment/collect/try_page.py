"""The page at `GET /` whose buttons send events, where `[collect] try_page` wants it.

It holds the write key of the first source, as every page that sends events holds one. Nothing is loaded from anywhere
else, and the browser is told to run and to style nothing but what is in the page.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

from catchment.collect import answers
from catchment.collect.config import CollectConfig


def try_page(config: CollectConfig) -> bytes:
    """The whole response. There must be a source."""
    name, source = next(iter(config.sources.items()))
    page = Path(__file__).with_name("try_page.html").read_text(encoding="utf-8")
    policy = _policy(page)
    for place, value in (("{{source}}", name), ("{{key}}", source.keys[0])):
        page = page.replace(place, html.escape(value))
    headers = (
        f"content-security-policy: {policy}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        "referrer-policy: same-origin\r\n"
    )
    return answers.answer(200, page.encode(), headers.encode(), b"text/html; charset=utf-8")


def _policy(page: str) -> str:
    """What the page may do: its one script and its one style sheet, by their hashes, and requests to this address."""
    script, style = (_hash(page, tag) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(page: str, tag: str) -> str:
    [content] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
