"""A file's columns beside those of the table that it is for: what each will be called there, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from catchment.naming import snake_case
from catchment.send.look import Found, Written
from catchment.serve.uploads.filing import ContractMode, Takes
from catchment.warehouses.columns import column_name
from catchment.warehouses.shape import METADATA, MOST_COLUMNS, Column, ColumnType, Shape

State = Literal["fits", "new", "widens", "as text", "no values", "rescued", "refused", "own"]

_SAID = {
    "fits": "",
    "new": "new column",
    "widens": "becomes double, which holds all whole numbers up to 2^53",
    "as text": "written as text, as the column is",
    "no values": "no values: the column is made with the first one",
    "rescued": "kept in _rescued, null in the column",
    "refused": "rows with a value there become dead letters",
    "own": "Catchment's own of the rows that were downloaded: left out",
}
_OF_A_DOWNLOAD = frozenset({"_id", "_source", "_received_at"})
"""Of a file that has all of these Catchment's own columns are left out; one alone may be another system's."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One column of the file. `field` is its name there, `key` what it is filed under, `column` what the warehouse
    calls it; `before` is the type that the table's column has, `type` what it will have."""

    field: str
    key: str
    column: str
    type: str
    state: State
    before: str = ""
    kind: str = ""
    """The type that the file's values have."""

    @property
    def is_lost(self) -> bool:
        """Whether the column does not take the file's values."""
        return self.state in {"rescued", "refused"}

    @property
    def said(self) -> str:
        """The state in words; empty where all is well."""
        if not self.is_lost:
            return _SAID[self.state]
        why = f"is {_word(self.before)}, the file has {_word(self.kind)}" if self.before else "gets no column"
        return f"{why}: {_SAID[self.state]}"


@dataclass(frozen=True, slots=True)
class Fitted:
    """The file in the table. `missing` are columns of the table that the file lacks."""

    columns: tuple[Fit, ...]
    missing: tuple[str, ...]
    key: tuple[str, ...]
    """The table's, as it is filed; empty where rows are only ever added, or there is no table yet."""
    key_columns: tuple[str, ...]
    """The same as the warehouse calls them."""
    is_new: bool

    @property
    def written(self) -> Written:
        """How the file's columns go out."""
        return Written(
            tuple(None if fit.state == "own" else fit.key for fit in self.columns),
            tuple(at for at, fit in enumerate(self.columns) if fit.state == "as text"),
        )

    def key_of(self, fields: Sequence[str]) -> tuple[str, ...]:
        """The same columns of the file, as they are filed."""
        return tuple(fit.key for fit in self.columns if fit.field in fields and fit.state != "own")


ANYTHING = Takes()


def fit(found: Found, shape: Shape, takes: Takes = ANYTHING, *, is_keyed: bool = False) -> Fitted:
    """The file's columns in the table that is there, or in one that is to be made (a shape of version 0).

    A column of the file is the table's if it has the name of its field, or would have the name of its column: so that
    what was downloaded from the warehouse can go back there, without Catchment's own columns.
    """
    own = frozenset(METADATA) if set(found.columns) >= _OF_A_DOWNLOAD else frozenset[str]()
    places = _places([name for name in found.columns if name not in own], shape.columns)
    taken = {column.name for column in shape.columns}
    contract = takes.mode
    made = contract == "evolve" or shape.version == 0
    most = MOST_COLUMNS if is_keyed or shape.key else takes.max_columns
    count = len(shape.columns)
    fits = []
    for name, kind, is_empty in zip(found.columns, found.types, found.is_empty, strict=True):
        if name in own:
            fits.append(Fit(name, name, name, kind, "own", kind=kind))
            continue
        column = places.get(name)
        if column is not None:
            state = "fits" if is_empty else _state(kind, column.type, contract)
            after = "double" if state == "widens" else column.type
            fits.append(Fit(name, column.field, column.name, after, state, column.type, kind))
            continue
        called = column_name(name, taken)
        taken.add(called)
        # Under a name of its own from the start, where the usual one is taken: nothing depends on what comes first.
        key = name if called == snake_case(name) else called
        count += not is_empty
        state = "no values" if is_empty else "refused" if contract == "reject" and not made else "rescued"
        if not is_empty and made and count <= most:
            state = "new"
        fits.append(Fit(name, key, called, kind, state, kind=kind))
    matched = {column.name for column in places.values()}
    missing = tuple(column.name for column in shape.columns if column.name not in matched)
    names = {column.field: column.name for column in shape.columns}
    key_columns = tuple(names.get(field, field) for field in shape.key)
    return Fitted(tuple(fits), missing, shape.key, key_columns, is_new=shape.version == 0)


def _places(fields: Sequence[str], columns: Sequence[Column]) -> dict[str, Column]:
    """The file's columns that the table has: by field first, then by the column's name; each once."""
    by_field = {column.field: column for column in columns}
    found = {field: by_field[field] for field in fields if field in by_field}
    left = {column.name: column for column in columns if column.field not in found}
    for field in fields:
        if field in found:
            continue
        plain = snake_case(field)
        for called in (column_name(field, ()), column_name(field, (plain,))):
            if called in left:
                found[field] = left.pop(called)
                break
    return found


def _state(kind: str, there: ColumnType, contract: ContractMode) -> State:
    """What becomes of a column's values of this kind in a column that is there."""
    no_place: State = "refused" if contract == "reject" else "rescued"
    match (kind, there):
        case (same, other) if other in {same, "json"}:
            return "fits"
        case ("bigint", "double") | ("timestamptz", "varchar"):
            return "fits"
        case ("double", "bigint"):
            return "widens" if contract == "evolve" else no_place
        case ("boolean" | "bigint" | "double", "varchar"):
            return "as text"
    return no_place


def _word(kind: str) -> str:
    return "text" if kind == "varchar" else kind
