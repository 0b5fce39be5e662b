"""Fields that no longer come: a thousand records of a day had one, and none of the next thousand, over an hour or
more, does. A producer may have dropped it, or renamed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from catchment.load.changes import Changes
from catchment.record import OWN_SCHEMA
from catchment.service import Stop
from catchment.warehouses import SchemaChange, Warehouse, without_rows
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.rows import rows_of
from catchment.warehouses.shape import Column, Shape

ENOUGH = 1_000
"""Records that had the field, and as many after them without it."""
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
_MARGIN = timedelta(minutes=5)
"""By which clocks may differ, and a load be under way."""
_LOOKED_BACK = timedelta(days=3)
"""A field is noticed while its last values are as young as this."""

_LOADED_SINCE = f"""
SELECT DISTINCT table_name FROM catchment.ledger
WHERE loaded_at > $1 AND table_name NOT LIKE '{OWN_SCHEMA}.%' ORDER BY table_name
"""
_TOLD = """
SELECT max(changed_at) FROM catchment.schema_change WHERE table_name = $1 AND field = $2 AND kind = 'vanished'
"""


@dataclass(slots=True)
class Vanishing:
    """Looks for them. A table that has not changed since is not looked at again."""

    warehouse: Warehouse
    changes: Changes
    _looked_at: datetime = field(default_factory=lambda: datetime.now(UTC) - DAY)

    def look(self, stop: Stop, now: datetime | None = None) -> None:
        """Tell of the fields that have vanished, each once until it has come again.

        Raises `Retry` where the warehouse cannot be asked.
        """
        now = now or datetime.now(UTC)
        began = datetime.now(UTC)
        for (table,) in self._ask(_LOADED_SINCE, [self._looked_at]):
            if stop.draining:
                return
            self._tell(self.warehouse.shape(table), now)
        self._looked_at = began - _MARGIN

    def _tell(self, shape: Shape, now: datetime) -> None:
        if shape.version == 0 or shape.key:  # rows of a mirrored table are replaced: they tell nothing
            return
        for column, last_at in self._missing(shape, now):
            told_at = self._ask(_TOLD, [shape.table, column.field])[0][0]
            if told_at is not None and told_at >= last_at:
                continue
            change = SchemaChange("vanished", shape.table, column.field, column.name, before=column.type)
            self.warehouse.load([without_rows(shape, noted=[change])])
            self.changes.told([change])

    def _missing(self, shape: Shape, now: datetime) -> Iterator[tuple[Column, datetime]]:
        """The columns that have vanished, and when their last values came."""
        lasts = ", ".join(
            f"max(_received_at) FILTER (WHERE {name(column.name)} IS NOT NULL)" for column in shape.columns
        )
        if not lasts:
            return
        rows = table_name(shape.table)
        [(newest_at, *last_ats)] = self._ask(
            f"SELECT max(_received_at), {lasts} FROM {rows} WHERE _received_at > $1", [now - _LOOKED_BACK]
        )
        for column, last_at in zip(shape.columns, last_ats, strict=True):
            if last_at is None or newest_at - last_at < HOUR:
                continue
            [(without, had)] = self._ask(
                "SELECT count(*) FILTER (WHERE _received_at > $1), "
                f"count({name(column.name)}) FILTER (WHERE _received_at > $2) "
                f"FROM {rows} WHERE _received_at > $2",
                [last_at, last_at - DAY],
            )
            if without >= ENOUGH and had >= ENOUGH:
                yield column, last_at

    def _ask(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return rows_of(self.warehouse, sql, params)
