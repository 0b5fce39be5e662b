"""Loading of a table halts, loudly, when too much of it is rejected: a producer's bad deploy should wake somebody
rather than fill the dead letters. What was archived waits there until `dead-letters resume`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from catchment.load.config import LoadConfig
from catchment.load.files import Incoming, parse
from catchment.log import get_log
from catchment.warehouses import Batch, Halt, Loaded, Warehouse

_log = get_log("load")

_FORGET_AFTER_RECORDS = 100_000


@dataclass(slots=True)
class Halts:
    """Which tables are halted, and how much of each was rejected lately. Safe for several threads."""

    warehouse: Warehouse
    config: LoadConfig
    _halts: dict[str, Halt] = field(default_factory=dict)
    _lately: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self) -> None:
        """Read the warehouse's word: another process may have halted or resumed a table."""
        halts = {halt.table: halt for halt in self.warehouse.halts()}
        with self._lock:
            for table, halt in halts.items():
                if halt.resumed_at is not None and table in self._halts and self._halts[table].resumed_at is None:
                    self._lately.pop(table, None)
            self._halts = halts

    def holds(self, table: str) -> bool:
        """Whether what the archive has of a table has to wait."""
        halt = self._halts.get(table)
        return halt is not None and halt.resumed_at is None

    def allow(self, batch: Batch) -> bool:
        """Whether a batch may load, given what it rejects; halts its table if not."""
        if not batch.dead or self._is_pardoned(batch.table, batch.files):
            return True
        records, dead = self._lately.get(batch.table, (0, 0))
        records, dead = records + batch.record_count, dead + len(batch.dead)
        limits = self.config.for_table(batch.table)
        if dead < self.config.min_rejected or dead <= limits.max_rejected_share * records:
            return True
        example = batch.dead[0]
        reason = f"{dead:,} of its last {records:,} records were rejected, such as: {example.reason}, {example.detail}"
        self.warehouse.halt(batch.table, reason)
        self.refresh()
        _log.error(
            "loading of a table has halted; see `catchment dead-letters` and resume it there",
            table=batch.table,
            reason=reason,
        )
        return False

    def note(self, loaded: Loaded) -> None:
        """Remember what a batch rejected, unless somebody has seen it and let it pass."""
        if self._is_pardoned(loaded.table, loaded.names):
            return
        with self._lock:
            records, dead = self._lately.get(loaded.table, (0, 0))
            if records > _FORGET_AFTER_RECORDS:
                records, dead = records // 2, dead // 2
            count = loaded.inserted + loaded.duplicates + loaded.dead
            self._lately[loaded.table] = (records + count, dead + loaded.dead)

    def halted(self) -> list[Halt]:
        """The tables halted now."""
        return [halt for halt in self._halts.values() if halt.resumed_at is None]

    def _is_pardoned(self, table: str, names: Sequence[str]) -> bool:
        """Whether these files pass whatever is rejected: archived before the table was resumed, or rewritten, and
        so loaded in full once."""
        halt = self._halts.get(table)
        resumed_at = halt.resumed_at if halt is not None else None
        files = [parse(name) for name in names]
        return all(
            not isinstance(file, Incoming) or (resumed_at is not None and file.archived_at <= resumed_at)
            for file in files
        )
