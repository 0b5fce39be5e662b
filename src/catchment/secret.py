"""Secrets: values that came from `${…}` are used, and never shown.

Such a value is a `Secret`, whose repr is `***`, and is remembered for the life of the process: `redact` replaces
it in any text that people may read. Logs, errors and crash reports pass through `redact`.
"""

from __future__ import annotations

import json
import re
import threading
from urllib.parse import quote, unquote

MASK = "***"
MIN_CHARACTERS = 4
"""Shorter values (a port, a yes) are too common in other words to be replaced in free text."""

_URL_PASSWORD = re.compile(r"(?P<start>[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:]*):(?P<password>[^\s/@]+)@")
_lock = threading.Lock()
_remembered: set[str] = set()
_pattern: re.Pattern[str] | None = None


class Secret(str):
    """A text that must not be shown: as usable as any other, with `***` as its repr.

    It is no more than a guard against showing a configuration by accident: `str()` and formatting give the text
    itself, since that is what a driver needs; what is shown to people goes through `redact`. `written` is how
    the project file has it, such as `${DATABASE_URL}`.
    """

    __slots__ = ("written",)
    written: str

    def __new__(cls, value: str, written: str) -> Secret:
        secret = super().__new__(cls, value)
        secret.written = written
        return secret

    def __repr__(self) -> str:
        return f"'{MASK}'"

    def __reduce__(self) -> tuple[type[Secret], tuple[str, str]]:
        return Secret, (str(self), self.written)


def remember(value: str) -> None:
    """Have `redact` replace this value, also as URLs and JSON write it, and a URL's password for itself."""
    global _pattern  # noqa: PLW0603 - one set of secrets a process is the point
    forms = {value, *value.splitlines()}
    forms |= {match["password"] for match in _URL_PASSWORD.finditer(value)}
    for form in tuple(forms):
        forms |= {unquote(form), quote(form, safe=""), json.dumps(form)[1:-1]}
    with _lock:
        _remembered.update(form for form in forms if len(form) >= MIN_CHARACTERS)
        longest_first = sorted(_remembered, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def redact(text: str) -> str:
    """The text with every remembered secret, and every password within a URL, replaced by `***`."""
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    return _URL_PASSWORD.sub(rf"\g<start>:{MASK}@", text) if "://" in text else text
