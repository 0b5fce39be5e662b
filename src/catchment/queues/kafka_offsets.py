"""What of a partition is acknowledged: a committed offset, and beside it whatever was acknowledged out of order.

Kafka itself knows one offset a partition, before which all is done. What was acknowledged beyond it goes into the
text that Kafka keeps with a committed offset, so that it is not delivered again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

_MAX_TEXT = 4_000
"""Brokers keep 4,096 bytes. What finds no room is delivered again."""
_SPAN = re.compile(r"(\d+)-(\d+)")


@dataclass(eq=False, slots=True)
class Span:
    """Some messages of a partition that were delivered together: offsets from `start` to before `end`."""

    claim: Claim
    start: int
    end: int
    done: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it is still to be acknowledged, and by us."""
        return not self.done and not self.claim.lost


@dataclass(eq=False, slots=True)
class Claim:
    """A partition while it is ours, from its assignment on. `base` is the offset before which all is acknowledged,
    None as long as nothing was ever committed or delivered."""

    partition: int
    base: int | None
    beyond: deque[tuple[int, int]] = field(default_factory=deque)
    """What was acknowledged out of order before the partition came to us, in order."""
    lost: bool = False
    _spans: deque[Span] = field(default_factory=deque)
    _saved: tuple[int, str] | None = None

    @classmethod
    def of(cls, partition: int, offset: int, text: str | None) -> Claim:
        """As it was committed; a negative offset for never."""
        if offset < 0:
            return cls(partition, None)
        return cls(partition, offset, deque(spans_of(offset, text)), _saved=(offset, text or ""))

    def is_done(self, offset: int) -> bool:
        """Whether this message, the next of its partition, was acknowledged before; then it counts as delivered."""
        while self.beyond and self.beyond[0][1] <= offset:
            self.beyond.popleft()
        if self.beyond and self.beyond[0][0] <= offset:
            self.take(offset).done = True
            return True
        return False

    def take(self, offset: int) -> Span:
        """Deliver the next message, in a span of its own."""
        if self.base is None:
            self.base = offset
        span = Span(self, offset, offset + 1)
        self._spans.append(span)
        return span

    def unsaved(self) -> tuple[int, str] | None:
        """The offset to commit and its text, unless they are committed already."""
        while self._spans and self._spans[0].done:
            self.base = max(self.base or 0, self._spans.popleft().end)
        if self.base is None:
            return None
        done = [(span.start, span.end) for span in self._spans if span.done]
        now = self.base, text_of(self.base, sorted([*done, *self.beyond]))
        return None if now == self._saved else now

    def saved(self, offset: int, text: str) -> None:
        """It is committed."""
        self._saved = offset, text


def text_of(base: int, done: list[tuple[int, int]]) -> str:
    """Spans beyond `base`, in order, as the text that goes with it; adjoining ones as one."""
    joined: list[tuple[int, int]] = []
    for start, end in done:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    text = ""
    for start, end in joined:
        more = f"{',' if text else 'acked '}{start - base}-{end - base}"
        if len(text) + len(more) > _MAX_TEXT:
            break
        text += more
    return text


def spans_of(base: int, text: str | None) -> Iterator[tuple[int, int]]:
    """The spans that such a text names; none in anybody else's."""
    if text and text.startswith("acked "):
        for start, end in _SPAN.findall(text):
            yield base + int(start), base + int(end)
