"""What was chosen of a filter, as `splice` takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Equal:
    """One value or several, and null or not; nothing chosen where there are none of them."""

    values: tuple[Any, ...] = ()
    null: bool = False
    many: bool = False
    """Whether there may be several: outside of `in` that is a mistake, however many there are."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `start` on and before `end`; all of time without them."""

    start: Any = None
    end: Any = None
    grain: str | None = None


@dataclass(frozen=True, slots=True)
class Between:
    """From `low` to `high`, both in; either may be absent."""

    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True)
class Contains:
    """A text that is looked for in any case; nothing where it is empty."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """A plain value, such as `user.email` from the session. None is null, of which `in` is never true."""

    value: Any


Choice = Equal | Span | Between | Contains | Value
