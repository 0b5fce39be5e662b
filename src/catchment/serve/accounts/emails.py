"""Emails as names of users."""

from __future__ import annotations

import re
import unicodedata

from catchment.errors import UsageError

_EMAIL = re.compile(r"[^\s@\"'<>(),;:\\]{1,64}@[^\s@\"'<>(),;:\\]{1,189}\Z")
MAX_CHARACTERS = 254


def normal_email(text: str, *, must_be_one: bool = False) -> str:
    """As users are found by it. With `must_be_one` raises `UsageError` for what is no email."""
    email = unicodedata.normalize("NFKC", text.encode(errors="replace").decode()).strip().lower()[: MAX_CHARACTERS + 1]
    if must_be_one and not is_email(email):
        raise UsageError("that is no email", "such as ana@acme.example")
    return email


def is_email(text: str) -> bool:
    """Whether it is one, in the form in which it is kept."""
    return bool(_EMAIL.match(text)) and len(text) <= MAX_CHARACTERS and text.isprintable()
