"""Secrets: values that came from `${…}` are used, and never shown.

Such a value is a `Secret`, whose repr is `***`, and is remembered for the life of the process: `redact` replaces
it in any text that people may read. Logs, errors and crash reports pass through `redact`.
"""

from __future__ import annotations

import re
import threading

MASK = "***"

_URL_PASSWORD = re.compile(r"(?P<start>[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:]*):(?P<password>[^\s/?#@]+)@")
_MIN_CHARACTERS = 4
"""Shorter values (a port's, a yes) are found in all that is written: masking them would leave nothing to read."""
_MIN_LINE_CHARACTERS = 8
_lock = threading.Lock()
_forms: set[str] = set()
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
    """Have `redact` replace this value from now on: also each line of it, and the password of a URL for itself."""
    global _pattern  # noqa: PLW0603 - one set of secrets a process is the point
    parts = [value, *(line for line in value.splitlines() if len(line) >= _MIN_LINE_CHARACTERS)]
    parts += [match["password"] for match in _URL_PASSWORD.finditer(value)]
    new = {form for part in parts for form in _written_forms(part) if len(form) >= _MIN_CHARACTERS}
    with _lock:
        if new <= _forms:
            return
        _forms.update(new)
        # The longest first: a secret that begins another must not leave the other's rest in sight.
        _pattern = re.compile("|".join(map(_bounded, sorted(_forms, key=len, reverse=True))))


def redact(text: str) -> str:
    """The text with every remembered secret, and every password within a URL, replaced by `***`."""
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    return _URL_PASSWORD.sub(rf"\g<start>:{MASK}@", text) if "://" in text else text


def _written_forms(secret: str) -> set[str]:
    """The secret as URLs, JSON and Python write it."""
    import json
    from urllib.parse import quote, quote_plus, unquote

    plain = {secret, secret.strip(), unquote(secret)}
    return plain.union(
        *(
            (
                quote(form, safe=""),
                quote(form),
                quote_plus(form),
                repr(form)[1:-1],
                repr(form.encode(errors="replace"))[2:-1],
                json.dumps(form)[1:-1],
                json.dumps(form, ensure_ascii=False)[1:-1],
            )
            for form in map(str, plain)
        )
    )


def _bounded(form: str) -> str:
    """The shortest count only where they stand alone."""
    return re.escape(form) if len(form) > _MIN_CHARACTERS else rf"(?<!\w){re.escape(form)}(?!\w)"
