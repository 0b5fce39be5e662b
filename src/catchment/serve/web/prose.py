"""A dashboard's prose: Markdown, without HTML of its own."""

from __future__ import annotations

import html
from functools import cache, lru_cache
from typing import cast

from markdown_it import MarkdownIt

MAX_CHARACTERS = 20_000
"""Brackets and stars without an end cost the parser 40 µs each, and more prose than this is no dashboard."""


@cache
def _markdown() -> MarkdownIt:
    # `html` is off: what looks like tags is shown as written. Links with other schemes than the web's are no links.
    return (
        MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"]).disable("image")
    )


@lru_cache(maxsize=256)
def html_of(text: str, base: str = "") -> str:
    """The HTML. Links to pages of ours, which begin with a slash, are below `base`."""
    if len(text) > MAX_CHARACTERS:
        return f"<pre>{html.escape(text)}</pre>\n"
    tokens = _markdown().parse(text)
    for token in tokens:
        for child in token.children or ():
            href = child.attrs.get("href", "")
            if isinstance(href, str) and href.startswith("/") and not href.startswith("//"):
                child.attrs["href"] = base + href
    return cast(str, _markdown().renderer.render(tokens, _markdown().options, {}))
