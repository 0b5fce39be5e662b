"""Queries that users keep by name, for themselves or for all who may write SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from catchment.record import uuid7
from catchment.state import Row, Transaction, one
from catchment.state.moments import moment, stamp

_COLUMNS = (
    "saved_queries.id, saved_queries.user_id, users.name, saved_queries.title, saved_queries.sql,"
    " saved_queries.is_shared, saved_queries.created_at, saved_queries.changed_at"
)
_FROM = "FROM saved_queries JOIN users ON users.id = saved_queries.user_id"


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """One of them. `owner` is the name of whose it is; others see it if it is shared, and nobody else changes it."""

    id: str
    user_id: str
    owner: str
    title: str
    sql: str
    is_shared: bool
    created_at: datetime
    changed_at: datetime


class SavedQueries:
    """The table of saved queries, as one user sees it."""

    def __init__(self, transaction: Transaction, user_id: str) -> None:
        self._transaction = transaction
        self._user_id = user_id

    def add(self, title: str, sql: str, now: datetime, *, is_shared: bool = False) -> str:
        """A new one; its id."""
        query_id = uuid7()
        self._transaction.run(
            "INSERT INTO saved_queries (id, user_id, title, sql, is_shared, created_at, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (query_id, self._user_id, title, sql, int(is_shared), stamp(now), stamp(now)),
        )
        return query_id

    def get(self, query_id: str) -> SavedQuery | None:
        """The user's own, or one that is shared."""
        found = one(
            self._transaction.rows(
                f"SELECT {_COLUMNS} {_FROM} WHERE saved_queries.id = ? AND (user_id = ? OR is_shared = 1)",
                (query_id, self._user_id),
            )
        )
        return None if found is None else _query(found)

    def all(self) -> list[SavedQuery]:
        """The user's own and those that are shared, the last changed first."""
        rows = self._transaction.rows(
            f"SELECT {_COLUMNS} {_FROM} WHERE user_id = ? OR is_shared = 1 ORDER BY changed_at DESC, saved_queries.id",
            (self._user_id,),
        )
        return list(map(_query, rows))

    def change(self, query_id: str, title: str, sql: str, now: datetime, *, is_shared: bool) -> bool:
        """One of the user's own; whether there was one."""
        return bool(
            self._transaction.run(
                "UPDATE saved_queries SET title = ?, sql = ?, is_shared = ?, changed_at = ?"
                " WHERE id = ? AND user_id = ?",
                (title, sql, int(is_shared), stamp(now), query_id, self._user_id),
            )
        )

    def drop(self, query_id: str) -> bool:
        """One of the user's own; whether there was one."""
        return bool(
            self._transaction.run("DELETE FROM saved_queries WHERE id = ? AND user_id = ?", (query_id, self._user_id))
        )


def _query(row: Row) -> SavedQuery:
    query_id, user_id, owner, title, sql, is_shared, created_at, changed_at = row
    return SavedQuery(query_id, user_id, owner, title, sql, bool(is_shared), moment(created_at), moment(changed_at))
