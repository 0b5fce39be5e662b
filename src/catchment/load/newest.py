"""Of some archive files of a mirrored table, the records that a rebuild of it needs: each key's newest version."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load.guard import is_plainly_sound, strictly
from catchment.load.prepare import key_text
from catchment.load.regroup import using
from catchment.load.stamped import Stamped, read
from catchment.pack import read_file
from catchment.record import Line

Takes = Callable[[Stamped], bool]
"""Whether the table, as it is, takes a record."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of so many shares of all keys, by their hash: what is in memory at a time."""

    part: int = 0
    parts: int = 1

    def has(self, key: str) -> bool:
        """Whether the key is one of them."""
        return self.parts == 1 or zlib.crc32(key.encode()) % self.parts == self.part


def newest(
    archive: Archive, names: Sequence[str], table: str, key: tuple[str, ...], share: Share, takes: Takes | None = None
) -> list[Line]:
    """The lines with the highest (version, id) of each key in these files, deletions included, in order of time.

    `key` are the table's key fields, empty where they are not known. Lines that were no record of the table are dead
    letters and stay out. Where the table may refuse a record by its contract (`takes`), the newest one that it takes
    stays as well: the contract may be another one day.

    Raises `Unusable` for a file that is gone or damaged.
    """
    best, taken = _Best(), _Best()
    for record, line in _records(archive, names, table):
        try:
            if (key and record.key != key) or not record.key:
                continue
            text = key_text(record)
            identity = f"{record.key} {text}"
            if not share.has(text) or not (best.wants(identity, record) or (takes and taken.wants(identity, record))):
                continue
            if not is_plainly_sound(line.text[:-1], record):
                strictly(line.text[:-1])
        except Malformed:
            continue
        best.add(identity, record, line)
        if takes is not None and takes(record):
            taken.add(identity, record, line)
    kept = {line.text: line for each in (best, taken) for line in each.lines()}
    return sorted(kept.values(), key=lambda line: (line.received_at, line.text))


@dataclass(slots=True)
class _Best:
    _found: dict[str, tuple[tuple[str, str], list[Line]]] = field(default_factory=dict)

    def wants(self, key: str, record: Stamped) -> bool:
        found = self._found.get(key)
        return found is None or (record.version, record.id) >= found[0]

    def add(self, key: str, record: Stamped, line: Line) -> None:
        rank = record.version, record.id
        found = self._found.get(key)
        if found is None or rank > found[0]:
            self._found[key] = rank, [line]
        elif rank == found[0] and all(line.text != other.text for other in found[1]):
            found[1].append(line)  # such as a dead letter and what it was mended to

    def lines(self) -> Iterator[Line]:
        for _, lines in self._found.values():
            yield from lines


def _records(archive: Archive, names: Sequence[str], table: str) -> Iterator[tuple[Stamped, Line]]:
    for name in names:
        with using(archive, name) as file:
            for pack in read_file(file):
                for text in pack.plain().split(b"\n"):
                    if not text:
                        continue
                    try:
                        record = read(text)
                    except Malformed:
                        continue
                    if record.table == table and record.op != "insert":
                        yield record, Line(table, text + b"\n", record.received_at, record.not_before)
