"""What a table takes: whether it may change by itself, and what the project says of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from catchment.load.config import ColumnConfig, LoadConfig
from catchment.record import CORRECTIONS, DEAD_LETTERS
from catchment.warehouses.shape import ColumnType

Mode = Literal["evolve", "freeze", "reject"]


@dataclass(frozen=True)
class Contract:
    """What happens to what a table has no place for: it gets one, the value is kept in `_rescued`, or the record is
    a dead letter. Columns that the project names are made in any case."""

    mode: Mode = "evolve"
    columns: Mapping[str, ColumnConfig] = field(default_factory=dict)
    """By field."""
    dropped: frozenset[str] = frozenset()
    """Fields that never reach the warehouse."""
    required: frozenset[str] = frozenset()
    """Fields without which a record is a dead letter."""
    max_columns: int = 300

    def declared_type(self, name: str) -> ColumnType | None:
        """The type that the project wants of a field's column, if it says one."""
        declared = self.columns.get(name)
        return declared.type if declared is not None else None

    def may_get(self, name: str, *, is_new_table: bool) -> bool:
        """Whether a field may become a column. A new table without any declared one begins as its first batch is."""
        return name in self.columns or self.mode == "evolve" or (is_new_table and not self.columns)


@dataclass(slots=True)
class Contracts:
    """The contract of every table."""

    config: LoadConfig
    _made: dict[str, Contract] = field(default_factory=dict)

    def of(self, table: str) -> Contract:
        """That of a table, by its own settings, those of its schema, and the general ones."""
        made = self._made.get(table)
        if made is None:
            made = self._make(table)
            if self.config.says_of(table):  # those alone: names may be without end
                self._made[table] = made
        return made

    def _make(self, table: str) -> Contract:
        if table in _OUR_OWN:
            return _OURS
        settings = self.config.for_table(table)
        columns = settings.columns
        return Contract(
            settings.contract,
            columns,
            frozenset(settings.drop),
            frozenset(name for name, column in columns.items() if column.not_null),
            settings.max_columns,
        )


_OUR_OWN = frozenset({DEAD_LETTERS, CORRECTIONS})
_OURS = Contract("freeze")
"""Their columns are there from the start."""
