"""The ledger within one transaction, for adapters: which batches it has, and what is to be added."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from catchment.warehouses import Batch, Loaded
from catchment.warehouses.shape import batch_id

Entry = tuple[str, str, str, int, int, int, int, datetime, datetime]
"""File, its id, table; records, inserted, duplicates, dead; first and last `received_at`."""


class Ledger:
    """What the ledger has of some batches' files, under the locks of their tables, and `entries`, to be written."""

    def __init__(self, known: set[tuple[str, str]]) -> None:
        """`known` are (file, table) of the batches that it has of these files."""
        self._known = known
        self.entries: list[Entry] = []

    def has_all(self, table: str, names: Sequence[str]) -> bool:
        """Whether it has this table's batch of every one of these files."""
        return all((name, table) in self._known for name in names)

    def has(self, batch: Batch) -> bool:
        """Whether it has all that the batch accounts for; of one that accounts for nothing it has not."""
        entered = [(name, batch.table) for name in batch.names] + [(each.name, each.table) for each in batch.entries]
        return bool(entered) and all(each in self._known for each in entered)

    def add(self, batch: Batch, loaded: Loaded) -> None:
        """Enter the files of a batch that it lacks: of several loaded together it may have some. The counts stand
        with the first, the others were loaded with it."""
        span = (batch.first_received_at, batch.last_received_at)
        own = [name for name in batch.names if (name, batch.table) not in self._known]
        others = [each for each in batch.entries if (each.name, each.table) not in self._known]
        lacking = [(name, batch.table, 0 if place else batch.record_count, *span) for place, name in enumerate(own)]
        lacking += [(e.name, e.table, e.record_count, e.first_received_at, e.last_received_at) for e in others]
        counts = (loaded.inserted, loaded.duplicates, loaded.dead)
        for name, table, records, first, last in lacking:
            self.entries.append((name, batch_id(name), table, records, *counts, first, last))
            self._known.add((name, table))
            counts = (0, 0, 0)
