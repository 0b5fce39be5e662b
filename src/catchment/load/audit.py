"""The archive and the ledger against each other: every file read, and every batch looked for on the other side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from catchment.archives import Archive
from catchment.load import files
from catchment.load.verify import problems

_NAMES_AT_ONCE = 1_000


class Ledger(Protocol):
    """The part of `Warehouse` that is asked."""

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """See `Warehouse.ledger`."""


@dataclass(slots=True)
class Audit:
    """What was found."""

    files: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    """Files that are not as they were written, each with what is wrong first."""
    unloaded: list[str] = field(default_factory=list)
    """Files of which the ledger lacks something: they are new, their table has halted, or the warehouse was put back
    to a backup; the sweep loads them."""
    missing: list[str] = field(default_factory=list)
    """Files that were loaded, and that the archive lacks: no restore would bring their rows back."""

    @property
    def is_well(self) -> bool:
        return not self.damaged and not self.missing


def audit(
    archive: Archive,
    ledger: Ledger,
    loaded: Iterable[str],
    prefix: str = "",
    told: Callable[[Audit], object] = lambda found: None,
) -> Audit:
    """Read every file whose name begins with `prefix`. `loaded` are the files that the ledger names, as of before the
    call; `told` hears how far it is, after each file. Files that are rewritten meanwhile are no fault, nor are those
    that retention has removed."""
    lacking = {name for name in loaded if name.startswith(prefix)}
    found = Audit()
    names: list[str] = []
    for entry in archive.list(prefix):
        lacking.discard(entry.name)
        if files.parse(entry.name) is None:
            continue
        try:
            wrong = problems(archive, entry.name)
        except FileNotFoundError:
            continue
        if wrong:
            found.damaged[entry.name] = wrong[0]
        names.append(entry.name)
        found.files += 1
        found.bytes += entry.bytes
        told(found)
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = names[start : start + _NAMES_AT_ONCE]
        has = ledger.ledger(some)
        found.unloaded += [name for name in some if not files.in_full(name, has.get(name, frozenset()))]
    if lacking:
        lacking -= _removed(archive)
        lacking -= {entry.name for entry in archive.list(prefix)}
        lacking &= set(ledger.ledger(sorted(lacking)))  # what it has forgotten meanwhile was removed
    found.missing = sorted(lacking)
    return found


def _removed(archive: Archive) -> set[str]:
    """The files that rewriting and retention have removed, and that the ledger has not forgotten yet."""
    names: set[str] = set()
    for entry in archive.list(files.REMOVED):
        if files.removed_at(entry.name) or files.expired_at(entry.name):
            with contextlib.suppress(FileNotFoundError), archive.open(entry.name) as file:
                names |= set(file.read().decode().split("\n"))
    return names
