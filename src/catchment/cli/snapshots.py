"""Tables' columns as files of a project: written, committed, and compared with what the warehouse has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from catchment.errors import UsageError
from catchment.load.tables import table_names
from catchment.warehouses import Warehouse
from catchment.warehouses.shape import Column, ColumnType

FOLDER = "schema"


class ColumnSnapshot(msgspec.Struct, frozen=True):
    """One column."""

    name: str
    type: ColumnType
    field: str
    """As the records name it."""


class TableSnapshot(msgspec.Struct, frozen=True):
    """One table: a file of the folder, named as the table is. Columns are in order of name, so that the same table is
    the same file, whichever record came first."""

    table: str
    columns: Sequence[ColumnSnapshot]
    key: Sequence[str] = ()


def of_warehouse(warehouse: Warehouse) -> dict[str, TableSnapshot]:
    """Every loaded table by name."""
    return {table: _snapshot(warehouse, table) for table in table_names(warehouse)}


def _snapshot(warehouse: Warehouse, table: str) -> TableSnapshot:
    shape = warehouse.shape(table)
    columns = sorted(shape.columns, key=lambda column: column.name)
    return TableSnapshot(table, [_column(column) for column in columns], shape.key)


def _column(column: Column) -> ColumnSnapshot:
    return ColumnSnapshot(column.name, column.type, column.field)


def of_folder(folder: Path) -> dict[str, TableSnapshot]:
    """Every table that has a file. Raises `UsageError` for a file that is none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            snapshot = msgspec.json.decode(path.read_bytes(), type=TableSnapshot)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {error}", "catchment schema snapshot writes it again") from None
        found[snapshot.table] = snapshot
    return found


def write(folder: Path, tables: Mapping[str, TableSnapshot]) -> None:
    """Make the folder's files say what these tables have; files of others go. Raises `UsageError`."""
    try:
        folder.mkdir(exist_ok=True)
        wanted = {f"{name}.json": table for name, table in tables.items()}
        for path in folder.glob("*.json"):
            if path.name not in wanted:
                path.unlink()
        for name, table in wanted.items():
            text = msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n"
            if not (folder / name).exists() or (folder / name).read_bytes() != text:
                (folder / name).write_bytes(text)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", "a folder that this user may write"
        ) from None


def differences(before: Mapping[str, TableSnapshot], after: Mapping[str, TableSnapshot]) -> Iterator[str]:
    """What `after` has (+), lacks (-) and has otherwise (~), a line each."""
    for table in sorted({*before, *after}):
        old, new = before.get(table), after.get(table)
        if old is None:
            yield f"+ {table}"
        elif new is None:
            yield f"- {table}"
        else:
            yield from _of_table(old, new)


def _of_table(old: TableSnapshot, new: TableSnapshot) -> Iterator[str]:
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if was is None and now is not None:
            yield f"+ {new.table}.{name} {now.type}"
        elif now is None and was is not None:
            yield f"- {new.table}.{name} {was.type}"
        elif was is not None and now is not None:
            what = f"{was.type} -> {now.type}" if was.type != now.type else f"of {was.field!r} -> of {now.field!r}"
            yield f"~ {new.table}.{name} {what}"
    if tuple(old.key) != tuple(new.key):
        yield f"~ {new.table} key {', '.join(old.key) or 'none'} -> {', '.join(new.key) or 'none'}"
