"""Plain messages that fit their table as it stands: one decoding of many checks, stamps and guards them.

A service sends its records in one form, of which ids and data alone differ. The first one is taken apart; another is
of its form if it begins and ends as that does, with its own id, around the one object that is its data. Then a C pass
over many of them, to the table's own columns, vouches for each, and as lines they stay what they are, with what the
stamp adds put in front. What is of no such form, or does not fit, is left to `plain`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, repeat
from operator import attrgetter
from typing import Any

from catchment.load.guard import UNREADABLE, Sight, is_utf8
from catchment.load.plain_lines import front_of, in_lines, is_others_table, may_be_deep
from catchment.queues import Message
from catchment.record import MAX_DEPTH, MAX_RECORD_BYTES, Line, earlier, now

MANY = 64
"""Fewer are not worth a type for their table, which each change of its columns needs anew."""
AT_ONCE = 256
"""So many are looked at together: where one does not fit, none of them does."""

_UUID_CHARACTERS = 36

_body = attrgetter("body")
_enqueued_at = attrgetter("enqueued_at")


@dataclass(frozen=True, slots=True)
class Fits:
    """How plain records are decoded that fit a table at `shape_version`: `decode` takes lines of them."""

    decode: Callable[[bytes], list[Any]]
    shape_version: int


FitsOf = Callable[[str], Fits | None]
"""Table → how records that fit it are decoded; None where none may be loaded as it lies."""


class SeenLine(Line, frozen=True, gc=False):
    """Lines that share their times, and what the guard saw of them."""

    sight: Sight | None = None


def fitting(
    messages: Sequence[Message], source: str, window: timedelta, fits_of: FitsOf
) -> tuple[list[SeenLine], Sequence[Message]]:
    """Lines of the messages that fit, and the others, those of a table in their order."""
    if len(messages) < MANY:
        return [], messages
    alike: defaultdict[bytes, list[Message]] = defaultdict(list)
    for message, body in zip(messages, map(_body, messages), strict=True):
        alike[body[: body.find(b",")]].append(message)  # up to behind the table's name, as most write it
    lines: list[SeenLine] = []
    others: list[Message] = []
    for group in alike.values():
        if len(group) < MANY:
            others += group
            continue
        for start in range(0, len(group), AT_ONCE):
            some = group[start : start + AT_ONCE]
            found = _Together.of(some, fits_of)
            if found is None:
                others += some
            else:
                lines += found.lines(some, source, window)
    return lines, others


@dataclass(frozen=True, slots=True)
class _Form:
    """The constant parts of a message around its id and its data. Where the id stands before the data, `before` is
    how a message begins and `rest` how it ends; else the other way round."""

    table: str
    before: bytes
    after: bytes
    rest: bytes
    is_id_first: bool
    has_source: bool


_FIELDS = rb'"(?:id|source)": ?"[^"\\]*"'
_HEAD = re.compile(rb'\{ ?"table": ?"([^"\\]*)",((?: ?%b,)*) ?"data": ?\{' % _FIELDS)
_TAIL = re.compile(rb"\}((?:, ?%b)*) ?\}\Z" % _FIELDS)
_ID = re.compile(rb'"id": ?"([^"\\]*)"')


def _form_of(body: bytes) -> _Form | None:
    """The form of a message with one id and one object of data; None of any other."""
    head = _HEAD.match(body)
    tail = _TAIL.search(body, head.end()) if head else None
    if head is None or tail is None:
        return None
    first, last = _ID.findall(head[2]), _ID.findall(tail[1])
    sources = (head[2] + tail[1]).count(b'"source":')
    if len(first) + len(last) != 1 or sources > 1:
        return None
    with_id, rest = (head[0], tail[0]) if first else (tail[0], head[0])
    at = _ID.search(with_id)
    assert at is not None
    return _Form(
        head[1].decode(errors="replace"),
        with_id[: at.start(1)],
        with_id[at.end(1) :],
        rest,
        bool(first),
        sources == 1,
    )


@dataclass(frozen=True, slots=True)
class _Together:
    """Messages of one form that all fit, decoded."""

    form: _Form
    shape_version: int
    ids: list[str]
    source: str
    """Theirs; "" where they have none."""

    @classmethod
    def of(cls, some: Sequence[Message], fits_of: FitsOf) -> _Together | None:
        """None unless every one of them is of one form, and fits its table."""
        bodies = list(map(_body, some))
        form = _form_of(bodies[0])
        if form is None or not is_others_table(form.table):
            return None
        fits, text = fits_of(form.table), b"\n".join(bodies)
        if fits is None or not _is_plainly_text(text, bodies):
            return None
        try:
            records = fits.decode(text)
        except UNREADABLE:
            return None
        ids = [record.id for record in records]
        if not _are_of(form, bodies, ids) or _may_hold_times(ids):
            return None
        return cls(form, fits.shape_version, ids, records[0].source)

    def lines(self, some: Sequence[Message], source: str, window: timedelta) -> Iterator[SeenLine]:
        """Lines of these messages, those that share their time together, as `Stamp.line` would make them."""
        start = 0
        for enqueued_at, sharing in groupby(some, _enqueued_at):
            bodies = list(map(_body, sharing))
            end = start + len(bodies)
            yield from self._lines(bodies, self.ids[start:end], enqueued_at or now(), source, window)
            start = end

    def _lines(
        self, bodies: Sequence[bytes], ids: Sequence[str], received_at: datetime, source: str, window: timedelta
    ) -> Iterator[SeenLine]:
        # Copies of an id may have come a window earlier.
        not_before = earlier(received_at, window)
        front = front_of(received_at, not_before, None if self.form.has_source else source)
        for start, end, text in in_lines(front, [body[1:] for body in bodies]):
            sight = Sight(
                shape_version=self.shape_version,
                count=end - start,
                identities=tuple(ids[start:end]),
                source=self.source if self.form.has_source else source,
                first_received_at=received_at,
                last_received_at=received_at,
                search_from=not_before,
                early=False,
            )
            yield SeenLine(self.form.table, text, received_at, not_before, end - start, sight)


def _is_plainly_text(text: bytes, bodies: Sequence[bytes]) -> bool:
    """Whether bodies that are joined by line breaks hold none themselves, nothing that no warehouse keeps, and one
    field `data` each, at whatever depth: with another, the record might be named two of them."""
    return (
        text.count(b"\n") == len(bodies) - 1
        and b"\r" not in text
        and not (b"\\" in text and b"\\u" in text)  # one byte is found many times faster than two
        and text.count(b'"data"') == len(bodies)
        and is_utf8(text)
        and max(map(len, bodies)) <= MAX_RECORD_BYTES
        and not any(map(may_be_deep, [body for body in bodies if len(body) > 2 * MAX_DEPTH]))
    )


def _are_of(form: _Form, bodies: Sequence[bytes], ids: Sequence[str]) -> bool:
    """Whether the bodies, which are JSON of the four fields that a form may have, are of this one: around the ids
    that were decoded each begins and ends as it does. Then all between is the one object of its data, since nothing
    else may hold a brace outside of a string; and none has reached into the next, or is two."""
    if len(ids) != len(bodies):
        return False
    around: Iterable[bytes] = [b"%b%b%b" % (form.before, identity.encode(), form.after) for identity in ids]
    begins, ends = (around, repeat(form.rest)) if form.is_id_first else (repeat(form.rest), around)
    return all(map(bytes.startswith, bodies, begins)) and all(map(bytes.endswith, bodies, ends))


def _may_hold_times(ids: Sequence[str]) -> bool:
    """A UUIDv7 does: how far back copies of it may be is told by that."""
    return "7" in {identity[14] for identity in ids if len(identity) == _UUID_CHARACTERS}
