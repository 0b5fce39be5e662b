"""Changes of tables told once: written with the rows that brought them, and handed to whoever wants to hear."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from catchment.log import get_log
from catchment.warehouses import SchemaChange, Warehouse
from catchment.warehouses.rows import rows_of

_log = get_log("load")

Tell = Callable[[SchemaChange], object]
"""Hears of a change once it is in the warehouse: the one place where notifiers come in. It must not fail, nor wait."""

_ONCE = frozenset({"rescued", "frozen out", "no room"})
"""What comes again with each record, and is told of the first."""
_MAX_TABLES = 10_000


def say(change: SchemaChange) -> None:
    """A change in the log: a column more is news, a value without a place may be a mistake of its producer."""
    words = _log.warning if change.kind in _ONCE or change.kind == "vanished" else _log.info
    words(
        "a table has changed" if change.kind not in _ONCE else "values find no place in a table",
        table=change.table,
        change=change.kind,
        field=change.field or None,
        before=change.before or None,
        after=change.after or None,
        record_id=change.record_id or None,
    )


@dataclass(slots=True)
class Changes:
    """What was told of each table. Safe for several threads."""

    warehouse: Warehouse
    tell: Tell = say
    _known: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new(self, table: str, noted: Iterable[SchemaChange]) -> tuple[SchemaChange, ...]:
        """Of these, the ones that were not told yet."""
        return tuple(each for each in noted if each.kind not in _ONCE or _key(each) not in self._of(table))

    def told(self, noted: Sequence[SchemaChange]) -> None:
        """These are in the warehouse now."""
        for each in noted:
            # Read again they would be known already, and nobody told.
            with self._lock:
                known = self._known.get(each.table, set())
                if each.kind in _ONCE and _key(each) in known:
                    continue
                known.add(_key(each))
            self.tell(each)

    def _of(self, table: str) -> set[tuple[str, str, str]]:
        with self._lock:
            known = self._known.get(table)
            if known is None:
                if len(self._known) >= _MAX_TABLES:
                    self._known.clear()
                known = self._known[table] = self._read(table)
            return known

    def _read(self, table: str) -> set[tuple[str, str, str]]:
        sql = "SELECT kind, field, type_after FROM catchment.schema_change WHERE table_name = $1"
        return {(kind, name, after) for kind, name, after in rows_of(self.warehouse, sql, [table])}


def _key(change: SchemaChange) -> tuple[str, str, str]:
    return change.kind, change.field, change.after
