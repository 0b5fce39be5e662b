"""What is told of a table: how it has changed, and which values found no place in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from catchment.load.contracts import Contract
from catchment.load.stamped import Origin, Stamped
from catchment.warehouses import ChangeKind, SchemaChange
from catchment.warehouses.shape import Column

_JSON_TYPES = {b'"': "string", b"{": "object", b"[": "array", b"t": "boolean", b"f": "boolean"}


def note(
    kind: ChangeKind,
    line: tuple[Origin, Stamped],
    column: Column | None = None,
    *,
    name: str = "",
    before: str = "",
    after: str = "",
) -> SchemaChange:
    """One change, with the record that brought it."""
    origin, record = line
    return SchemaChange(
        kind,
        record.table,
        column.field if column is not None else name,
        column.name if column is not None else "",
        before,
        after,
        record.source,
        record.id,
        origin.file,
    )


@dataclass(slots=True)
class Notes:
    """Gathers what is told of a batch: of each field and kind of value that is rescued, the first."""

    contract: Contract
    no_room: frozenset[str]
    found: list[SchemaChange]
    _said: set[tuple[str, str]] = field(default_factory=set)

    def rescued(self, line: tuple[Origin, Stamped], name: str, text: bytes, column: Column | None) -> None:
        """A value was rescued: since its column does not take it, or there is none for its field."""
        after = _JSON_TYPES.get(text[:1], "number")
        if (name, after) in self._said:
            return
        self._said.add((name, after))
        kind: ChangeKind = "rescued"
        if column is None and name in self.no_room:
            kind = "no room"
        elif column is None and self.contract.mode == "freeze":
            kind = "frozen out"
        before = column.type if column is not None else ""
        self.found.append(note(kind, line, column, name=name, before=before, after=after))
