"""The way back after signing in: only ever to a page of ours."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_MAX_CHARACTERS = 2_000
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
"""Browsers drop some of these and take `\\` for `/`: what looks local to us would not be to them."""


def way_back(asked: str | None, base_path: str) -> str:
    """The path and query asked for if it is a page below `base_path`, else the first page."""
    home = f"{base_path}/"
    if not asked or len(asked) > _MAX_CHARACTERS or _FORBIDDEN.search(asked):
        return home
    try:
        parts = urlsplit(asked)
    except ValueError:
        return home
    path = parts.path
    if parts.scheme or parts.netloc or asked.startswith("//") or not path.startswith(home):
        return home
    if any(step in {".", ".."} for step in _unquoted(path).split("/")):
        return home  # browsers resolve these, which may lead out of the base path
    return path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")


def _unquoted(path: str) -> str:
    """With dots plain: browsers take `%2e` for one."""
    return re.sub("%2e", ".", path, flags=re.I)
