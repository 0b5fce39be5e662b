"""Which colour a value has, kept for all processes and for good."""

from __future__ import annotations

import msgspec

from catchment.state import State, Transaction, one

_FACT = "colours"
Colours = dict[str, dict[str, int]]


def known(state: State) -> dict[tuple[str, str], int]:
    """Column and value → which of the series' colours."""
    with state.reading() as transaction:
        found = _read(transaction)
    return {(column, value): color for column, values in found.items() for value, color in values.items()}


def keep(state: State, column: str, value: str, color: int) -> None:
    """One more. Where another process was quicker, the pages of this one differ until its next start."""
    with state.writing() as transaction:
        found = _read(transaction)
        found.setdefault(column, {}).setdefault(value, color)
        transaction.run(
            "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_FACT, msgspec.json.encode(found).decode()),
        )


def _read(transaction: Transaction) -> Colours:
    row = one(transaction.rows("SELECT value FROM facts WHERE name = ?", (_FACT,)))
    return {} if row is None else msgspec.json.decode(row[0], type=Colours)
