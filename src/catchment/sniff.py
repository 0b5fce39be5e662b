"""Column types for data of unknown shape.

A column has a type only where every one of its values is that type's *canonical* text, the one text that the
value would be written as: then nothing is guessed, and the text can be had back from the value. `0412`,
`1_000`, `7.50`, `1e5` and `-0` are no canonical numbers, so a column that holds one is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

Type = Literal["boolean", "bigint", "double", "timestamptz", "varchar"]
"""As the warehouse names them."""

MAX_EXACT_INTEGER = 2**53
"""Up to here a double holds every integer."""

_LONGEST_DOUBLE = len("-2.2250738585072014e-308")

_small_integer = re.compile(r"0|-?[1-9][0-9]{0,14}").fullmatch
_integer = re.compile(r"0|-?[1-9][0-9]{0,18}").fullmatch
_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[-+][0-9]+)?").fullmatch
_moment = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[-+][0-9]{2}:[0-9]{2})"
).fullmatch


def is_boolean(text: str) -> bool:
    """`true` or `false`, nothing else."""
    return text in {"true", "false"}


def is_bigint(text: str) -> bool:
    """An integer of 64 bits without sign or zeros that it does not need."""
    return _integer(text) is not None and -(2**63) <= int(text) < 2**63


def is_pointed(text: str) -> bool:
    """A double as Python writes it: `1.0`, `0.1`, `1e-07`; the shortest text that reads back as the same value."""
    return len(text) <= _LONGEST_DOUBLE and _number(text) is not None and repr(float(text)) == text


def is_whole(text: str) -> bool:
    """A double as R and JavaScript write it: like Python's, but whole numbers as integers, `1` and not `1.0`."""
    if _integer(text):
        return abs(int(text)) <= MAX_EXACT_INTEGER
    return is_pointed(text) and not text.endswith(".0")


def is_timestamptz(text: str) -> bool:
    """Strict RFC 3339 with a zone and at most microseconds."""
    if not _moment(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


# Two ways to write a double, of which a column must keep to one: both `1` and `1.0` would be the same value.
_TYPES: dict[Callable[[str], bool], Type] = {
    is_boolean: "boolean",
    is_bigint: "bigint",
    is_pointed: "double",
    is_whole: "double",
    is_timestamptz: "timestamptz",
}


class Column:
    """What one column can still be, given every value so far. None is a null and fits every type."""

    __slots__ = ("_possible", "_seen")

    def __init__(self) -> None:
        self._possible = set(_TYPES)
        self._seen = False

    def add(self, values: Iterable[str | None]) -> None:
        """Look at more values."""
        if self._seen and not self._possible:
            return
        distinct = set(values)
        distinct.discard(None)
        if not distinct:
            return
        self._seen = True
        texts: set[str] = distinct  # type: ignore[assignment]  # None has just been taken out
        if all(map(_small_integer, texts)):  # by far the most common, and one regular expression tells
            self._possible &= {is_bigint, is_whole}
        else:
            self._possible = {fits for fits in self._possible if all(map(fits, texts))}

    @property
    def is_empty(self) -> bool:
        """Whether every value so far is a null."""
        return not self._seen

    @property
    def type(self) -> Type:
        """The type that every value so far is canonical text of; without values, or with mixed ones, text."""
        if self._seen:
            for fits, name in _TYPES.items():
                if fits in self._possible:
                    return name
        return "varchar"
