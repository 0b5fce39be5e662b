"""How settings name what is in a message: `data.order.id`, `header.x-tenant`, `routing_key`; and templates with such
names in braces, `chat.{routing_key}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgspec

from catchment.sources import Heard

DATA, HEADER = "data", "header"
ABOUT = ("exchange", "routing_key", "message_id", "topic", "partition", "offset", "key", "timestamp", "group")
"""All that any broker says of a message; which of them one says is in its settings' `ABOUT`."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_encode = msgspec.json.Encoder().encode

Look = Callable[[Any, Heard], Any]
"""Takes a message's data and the message; None for what is not there."""


def check_name(name: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what names nothing of a message."""
    first, dot, rest = name.partition(".")
    if first in {DATA, HEADER}:
        if dot and not all(rest.split(".")):
            raise ValueError("must name a field", "such as data.order.id or header.x-tenant")
        if first == HEADER and not dot:
            raise ValueError("must name one header", "such as header.x-tenant")
        return
    if name not in ABOUT:
        known = (*ABOUT, f"{DATA}.{name}")
        nearest = get_close_matches(name, ABOUT, n=1) or [known[-1]]
        raise ValueError("must be data.FIELD, header.NAME or what a broker says", f"did you mean {nearest[0]}?")


def check_path(path: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what is no path to a field."""
    if not path or not all(path.split(".")):
        raise ValueError("must name a field", "such as amount, or order.amount for one within another")


def look(name: str) -> Look:
    """Finds what a name says."""
    first, _, rest = name.partition(".")
    if first == DATA:
        return (lambda data, heard: value_at(data, rest)) if rest else (lambda data, heard: data)
    if first == HEADER:
        return lambda data, heard: heard.headers.get(rest)
    return lambda data, heard: heard.about.get(name)


def value_at(data: Any, path: str) -> Any:
    """What lies at a path, None where nothing does; a field whose own name has the dots goes before others."""
    if not isinstance(data, Mapping):
        return None
    if path in data:
        return data[path]
    first, dot, rest = path.partition(".")
    return value_at(data.get(first), rest) if dot else None


@dataclass(frozen=True, slots=True)
class Template:
    """A text with names in braces."""

    text: str

    @property
    def names(self) -> Sequence[str]:
        """The names in it."""
        return _BRACES.findall(self.text)

    def fill(self) -> Look:
        """Finds its value: where it is one name alone that value as it is, else a text."""
        if (alone := _BRACES.fullmatch(self.text)) is not None:
            return look(alone[1])
        return self.filled_with(lambda name, value: text_of(value))

    def filled_with(self, write: Callable[[str, Any], str]) -> Callable[[Any, Heard], str]:
        """The text, with each value as `write` writes it, given its name."""
        finders = [(name, look(name)) for name in self.names]
        pieces = _BRACES.split(self.text)[::2]

        def filled(data: Any, heard: Heard) -> str:
            text = pieces[0]
            for (name, find), after in zip(finders, pieces[1:], strict=True):
                text += write(name, find(data, heard)) + after
            return text

        return filled


def text_of(value: Any) -> str:
    """A value within a text; nothing for null."""
    if isinstance(value, str):
        return value
    return "" if value is None else _encode(value).decode()


def check_template(text: object) -> None:
    """Raise `ValueError`, as a setting's check does, for a text whose braces hold no names."""
    if not isinstance(text, str):
        return
    left = _BRACES.sub("", text)
    if "{" in left or "}" in left:
        raise ValueError("must have a name between each pair of braces", "such as {routing_key}")
    for name in Template(text).names:
        check_name(name)
