"""Which columns a fill is for: those that are not there are added, and told of like any change of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from catchment.errors import CannotWiden, UsageError
from catchment.load.contracts import Contract
from catchment.load.loader import Loader
from catchment.load.patience import patiently
from catchment.log import get_log
from catchment.warehouses import SchemaChange, without_rows
from catchment.warehouses.columns import column_name
from catchment.warehouses.shape import METADATA, AddColumn, Change, Column, ColumnType, Shape, Widen

_log = get_log("load")

Elect = Callable[[Sequence[str]], Mapping[str, ColumnType | None]]
"""The types that fields want, by what the archive has of them."""


@dataclass(frozen=True, slots=True)
class FillColumns:
    """The columns of one table that a user named, by their own names or their fields'."""

    loader: Loader
    table: str
    names: Sequence[str]

    @property
    def contract(self) -> Contract:
        """What the project says of the table."""
        return self.loader.contracts.of(self.table)

    def check(self) -> Sequence[str]:
        """The fields. Raises `UsageError` where the table is not there or has halted, or one can't be filled."""
        self.loader.halts.refresh()
        if self.loader.halts.holds(self.table):
            raise UsageError(f"loading of {self.table} has halted", f"catchment dead-letters resume {self.table}")
        shape = self.loader.warehouse.shape(self.table)
        if shape.version == 0:
            raise UsageError(f"there is no table {self.table}", "catchment schema, for those there are")
        return list(dict.fromkeys(self._field(name, shape) for name in self.names))

    def made(self, elect: Elect) -> tuple[Column, ...]:
        """The columns, all of them there now. Raises as `check`, and `SchemaChanged`."""
        fields = self.check()
        shape = self.loader.warehouse.shape(self.table)
        known = {column.field: column for column in shape.columns}
        added = self._additions([name for name in fields if name not in known], shape, elect)
        for change in [*self._widenings(fields, known), *added]:
            shape = self._change(shape, change)
        return tuple(column for column in shape.columns if column.field in fields)

    def _field(self, name: str, shape: Shape) -> str:
        if name in METADATA:
            raise UsageError(f"{name} is a column of Catchment's own", "name a field of the records")
        names = {column.name: column.field for column in shape.columns}
        renamed = {declared.rename: field for field, declared in self.contract.columns.items() if declared.rename}
        field = names.get(name) or renamed.get(name) or name
        if field in self.contract.dropped:
            raise UsageError(
                f"the project drops {field!r} of {self.table}",
                f"take it out of `drop` in [load.tables.{self.table!r}]",
            )
        return field

    def _widenings(self, fields: Sequence[str], known: Mapping[str, Column]) -> list[Change]:
        """Those that the project has declared to be of a wider type than they are."""
        columns = [known[name] for name in fields if name in known]
        return [
            Widen(column.name)
            for column in columns
            if column.type == "bigint" and self.contract.declared_type(column.field) == "double"
        ]

    def _additions(self, missing: Sequence[str], shape: Shape, elect: Elect) -> list[Change]:
        undeclared = [name for name in missing if self.contract.declared_type(name) is None]
        elected = elect(undeclared) if undeclared else {}
        taken = {column.name for column in shape.columns}
        changes: list[Change] = []
        for name in missing:
            kind = self.contract.declared_type(name) or elected[name]
            if kind is None:
                raise UsageError(
                    f"the archive has no value of {name!r} in {self.table} that a column would take",
                    f'look at its spelling, or declare it: [load.tables."{self.table}".columns]',
                )
            declared = self.contract.columns.get(name)
            column = Column(name, column_name(declared.rename if declared and declared.rename else name, taken), kind)
            taken.add(column.name)
            changes.append(AddColumn(column))
        return changes

    def _change(self, shape: Shape, change: Change) -> Shape:
        """Make the change by a batch without rows: written down and told like any other."""
        noted = [_noted(shape, change)]
        batch = without_rows(shape, [change], noted)
        try:
            patiently(lambda: self.loader.warehouse.load([batch]))
        except CannotWiden as error:
            _log.warning(
                "a column stays as it is: integers beyond 2^53 stand in it", table=error.table, column=error.column
            )
            return shape
        self.loader.changes.told(noted)
        self.loader.views.refresh(self.table)
        return self.loader.warehouse.shape(self.table)


def _noted(shape: Shape, change: Change) -> SchemaChange:
    match change:
        case AddColumn(column):
            return SchemaChange("column added", shape.table, column.field, column.name, "", column.type)
        case Widen(name, wider):
            (column,) = (each for each in shape.columns if each.name == name)
            return SchemaChange("widened", shape.table, column.field, name, column.type, wider)
    raise AssertionError(f"no change of a fill: {change}")
