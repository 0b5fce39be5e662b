"""A dashboard's prose: Markdown, without HTML of its own."""

from __future__ import annotations

from functools import cache
from typing import cast

from markdown_it import MarkdownIt


@cache
def _markdown() -> MarkdownIt:
    # `html` is off: what looks like tags is shown as written. Links with other schemes than the web's are no links.
    return (
        MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"]).disable("image")
    )


def html_of(text: str) -> str:
    """The HTML."""
    return cast(str, _markdown().render(text))
