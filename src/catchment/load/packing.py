"""Lines on their way into packs: as soon as a pack is full a thread compresses it, which lets go of the interpreter,
while more lines come in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from catchment.load.fitting import SeenLine
from catchment.load.guard import Sight, joined_sight
from catchment.pack import Pack, build_bounded, has_room
from catchment.record import Line

MANY_LINES = 5_000
"""From here on a thread that compresses is worth starting for packs that are not full."""

Key = tuple[str, bool]
"""Table, and whether late."""

Packed = tuple[Pack, bytes, Sight | None]
"""A pack, and what was seen of its lines where that is known of each; else these lines."""


@dataclass(slots=True)
class _Open:
    """The lines of the next pack."""

    lines: list[Line] = field(default_factory=list)
    count: int = 0
    size: int = 0


@dataclass(slots=True)
class Packing:
    """Takes lines, gives packs: those of one table in the order of their lines."""

    _open: dict[Key, _Open] = field(default_factory=dict)
    _begun: deque[tuple[Key, Callable[[], list[Packed]]]] = field(default_factory=deque)
    _thread: ThreadPoolExecutor | None = None

    def add(self, key: Key, line: Line) -> None:
        """Take one more line, or several in one."""
        piece = self._open.get(key)
        if piece is None:
            piece = self._open[key] = _Open()
        elif not has_room(piece.count, piece.size, line):
            self._compress(key, piece.lines)
            piece = self._open[key] = _Open()
        piece.lines.append(line)
        piece.count += line.count
        piece.size += len(line.text)

    def packs(self) -> Iterator[tuple[Key, list[Packed]]]:
        """All that was added, packed. What was given is forgotten once the next is asked for: after an error the rest
        comes again."""
        many = sum(piece.count for piece in self._open.values()) > MANY_LINES
        for key, piece in self._open.items():
            if self._thread is not None or many:
                self._compress(key, piece.lines)
            else:
                self._begun.append((key, partial(_packed, key, piece.lines)))
        self._open.clear()
        while self._begun:
            key, packed = self._begun[0]
            yield key, packed()
            self._begun.popleft()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _compress(self, key: Key, lines: Sequence[Line]) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "compress")
        self._begun.append((key, self._thread.submit(_packed, key, lines).result))


def _packed(key: Key, lines: Sequence[Line]) -> list[Packed]:
    table, _ = key
    packs = list(build_bounded(table, lines))
    sights = [line.sight if isinstance(line, SeenLine) else None for line in lines]
    sight = joined_sight(sights) if len(packs) == 1 else None
    return [(pack, b"" if sight else plain, sight) for pack, plain in packs]
