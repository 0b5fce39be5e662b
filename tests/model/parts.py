"""What the world is made of: records, messages, the archive, the warehouse; and what survives a kill.

Times are minutes. Only queues, archive and warehouse are durable; what a process holds in its generator's
locals dies with it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Generator, Iterable
from dataclasses import dataclass, field
from typing import Literal

START = 100_000
MARGIN = 5
WINDOW = 7 * 1440
CLIENT_GIVES_UP = WINDOW - 2 * 1440
"""A client retries less long than the window, by more than any collector's clock is wrong."""
EARLY_KEPT = 2 * WINDOW
"""As the model reads the clock in the transaction; whoever reads it up to a window sooner keeps them one more."""
ROWS_KEPT = 2 * WINDOW
"""In worlds with retention: rows and dead letters that were received longer ago go."""
ARCHIVE_KEPT = ROWS_KEPT + 1440
TOO_SHORT = ROWS_KEPT - 4 * 1440
"""For the archive, where nothing keeps it from going before its rows."""
LATE = 60
"""A record whose not_before lies further back is archived apart."""

Ident = tuple[str, str]
Process = Generator[None, None, None]
Table = Literal["events", "mirror", "dead_letters", "corrections"]
Op = Literal["insert", "upsert", "delete"]


@dataclass(frozen=True, slots=True)
class Record:
    """A stamped record. `origin` is the truth that only the explorer knows: copies have the same."""

    table: Table
    source: str
    id: str
    received_at: int
    not_before: int
    origin: str
    op: Op = "insert"
    key: str = ""
    version: int = 0
    value: int | str = 1
    bad: bool = False
    about: Ident = ("", "")
    """Of a correction: the dead letter it settles."""

    @property
    def ident(self) -> Ident:
        """Unique within its source."""
        return self.source, self.id


@dataclass(frozen=True, slots=True)
class Plain:
    """A record as a stranger sent it: the loader stamps it. `malformed` bytes become a dead letter."""

    origin: str
    id: str | None = None
    value: int | str = 1
    malformed: bool = False


@dataclass(eq=False, slots=True)
class Message:
    """Identity and time of enqueueing are the same at each redelivery. `reader` holds the lease."""

    identity: str
    enqueued_at: int
    content: tuple[Record | Plain, ...]
    reader: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One file of the archive: whole or absent."""

    records: tuple[Record, ...]
    incoming: bool = True
    newest: bool = False
    """What expiry kept of a mirrored table."""

    def of(self, table: str) -> tuple[Record, ...]:
        """Its batch of one table."""
        return tuple(record for record in self.records if record.table == table)


Batch = tuple[str, Table]
"""What the ledger knows: a file's name and a table."""


@dataclass(slots=True)
class Warehouse:
    """All that one transaction may change together."""

    rows: list[Record] = field(default_factory=list)
    early: set[tuple[Ident, int]] = field(default_factory=set)
    keyed: dict[str, Record] = field(default_factory=dict)
    tombstones: dict[str, tuple[int, str]] = field(default_factory=dict)
    dead: list[Record] = field(default_factory=list)
    settled: dict[Ident, str] = field(default_factory=dict)
    ledger: set[Batch] = field(default_factory=set)
    text: dict[str, bool] = field(default_factory=dict)
    """Whether a table's one column has been widened from int to text."""

    def open_letters(self) -> list[Record]:
        """Dead letters that nobody has settled, in order."""
        return sorted((x for x in self.dead if x.ident not in self.settled), key=lambda x: x.ident)

    def copy(self) -> Warehouse:
        """As of now."""
        return Warehouse(
            list(self.rows),
            set(self.early),
            dict(self.keyed),
            dict(self.tombstones),
            list(self.dead),
            dict(self.settled),
            set(self.ledger),
            dict(self.text),
        )


@dataclass(slots=True)
class Truth:
    """What the explorer knows and no process does."""

    durable: dict[str, Record] = field(default_factory=dict)
    """Origin → a record as it was made durable; of unstamped ones only table, value and bad are to be trusted."""
    mended: set[str] = field(default_factory=set)
    """Origins whose mended record is durable in the queue."""
    corrected: dict[Ident, str] = field(default_factory=dict)
    """Dead letters whose correction the archive has."""
    shown: set[Ident] = field(default_factory=set)
    """Dead letters that a user has seen settled."""
    received: dict[str, list[int]] = field(default_factory=dict)
    """Origin → when each of its copies was received."""

    def made_durable(self, record: Record) -> None:
        """One more copy of it is."""
        self.durable.setdefault(record.origin, record)
        self.received.setdefault(record.origin, []).append(record.received_at)


class World:
    """Everything durable, the clock, and the trace. `on` holds the protections and kinder worlds in force."""

    def __init__(self, seed: int, on: Collection[str]) -> None:
        self.rng = random.Random(seed)
        self.on = frozenset(on)
        self.now = START
        self.trace: list[str] = []
        self.retains = seed % 4 > 1
        self.file_per_table = self.rng.random() < 0.5
        self.clocks = [0, self.rng.choice([-2, 2]), 2 if "good clocks" in self.on else self.rng.choice([0, -30])]
        self.queues: list[list[Message]] = [[] for _ in self.clocks]
        self.asleep: set[int] = set()
        """Queue files of dead publishers, drained late."""
        self.archive: dict[str, File] = {}
        self.removed: set[str] = set()
        self.warehouse = Warehouse()
        self.backup = Warehouse()
        self.down = False
        self.locks: dict[str, str] = {}
        self.truth = Truth()
        self._serial = 0

    def name(self, kind: str) -> str:
        """A name that never recurs."""
        self._serial += 1
        return f"{kind}{self._serial}"

    def say(self, *words: object) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.now - START:>6} min  " + " ".join(map(str, words)))

    def put(self, name: str, file: File) -> None:
        """Into the archive, whole or not at all; the same name again is the same file again."""
        self.archive[name] = file
        for record in file.of("corrections"):
            self.truth.corrected[record.about] = str(record.value)

    def remove(self, name: str) -> None:
        """Out of the archive; twice is fine."""
        if self.archive.pop(name, None):
            self.removed.add(name)

    def batches(self, names: Iterable[str]) -> list[Batch]:
        """The batches of those files that are there."""
        return [
            (name, table)
            for name in names
            if name in self.archive
            for table in sorted({record.table for record in self.archive[name].records})
        ]

    def loaded(self, name: str) -> bool:
        """Whether the ledger has every batch of the file."""
        return all(batch in self.warehouse.ledger for batch in self.batches([name]))

    @property
    def rows_from(self) -> int:
        """Rows and dead letters received before that are to go, but for those of mirrors and corrections."""
        return self.now - ROWS_KEPT if self.retains else 0

    @property
    def archive_from(self) -> int:
        """Archive files of which nothing was received since then are to go."""
        return self.now - (ARCHIVE_KEPT if "archive outlives rows" in self.on else TOO_SHORT) if self.retains else 0

    def unlock(self, who: str) -> None:
        """Locks end with their transaction or its process."""
        self.locks = {table: owner for table, owner in self.locks.items() if owner != who}
