"""The state: what Catchment must remember that is no data of the company's: accounts, sessions, audit, drafts, …

A state is a small relational store. What is kept in it is the business of one repository class each
(`users.py`, `sessions.py`, …), which is made for a transaction and speaks the SQL that SQLite and PostgreSQL share,
with `?` where a value goes. Times are whole microseconds since 1970, UTC: see `moments.py`. What belongs together is
done in one transaction:

    with state.writing() as transaction:
        Users(transaction).revoke(user, now)
        Sessions(transaction).end_all(user)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class Transaction(Protocol):
    """One transaction of one thread. It sees what was committed before it began, and its own writes."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """What a query finds, or what a write RETURNs."""

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Write, and say how many rows that concerned."""


class State(Protocol):
    """A store that processes and threads share; all calls may come from any thread.

    Raises `Retry` where others kept it locked, or it could not be reached, for long; `StorageError` where it is
    damaged, full, not ours to write, or was written by a newer Catchment.
    """

    is_local: bool
    """Whether reading is from a file of this machine, and takes microseconds."""

    def reading(self) -> AbstractContextManager[Transaction]:
        """A transaction that only reads; it waits for no writer."""

    def writing(self) -> AbstractContextManager[Transaction]:
        """A transaction that no other writer overlaps: what it has read holds until it ends. It is durable when the
        block ends, and undone when the block raises."""

    def close(self) -> None:
        """Close all connections. Twice does nothing."""


def one(rows: Sequence[Row]) -> Row | None:
    """The only row, or None."""
    return rows[0] if rows else None
