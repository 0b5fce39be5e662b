"""Queries shared by a link: as they were when the link was made, whatever becomes of the tab."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from catchment.state import Transaction, one
from catchment.state.moments import moment, stamp


@dataclass(frozen=True, slots=True)
class SharedQuery:
    """What a link leads to; `owner` is the name of who made it."""

    id: str
    owner: str
    title: str
    sql: str
    created_at: datetime


class SharedQueries:
    """The table of shared queries. Who has the link still has to sign in, and to be allowed to write SQL."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, user_id: str, title: str, sql: str, now: datetime) -> str:
        """A new one, or the user's same one again; its id, which is short and cannot be guessed."""
        known = self._transaction.rows(
            "SELECT id FROM shared_queries WHERE user_id = ? AND title = ? AND sql = ?", (user_id, title, sql)
        )
        if known:
            return str(known[0][0])
        query_id = secrets.token_urlsafe(12)
        self._transaction.run(
            "INSERT INTO shared_queries (id, user_id, title, sql, created_at) VALUES (?, ?, ?, ?, ?)",
            (query_id, user_id, title, sql, stamp(now)),
        )
        return query_id

    def get(self, query_id: str) -> SharedQuery | None:
        """By its id."""
        row = one(
            self._transaction.rows(
                "SELECT shared_queries.id, users.name, title, sql, shared_queries.created_at FROM shared_queries"
                " JOIN users ON users.id = shared_queries.user_id WHERE shared_queries.id = ?",
                (query_id,),
            )
        )
        if row is None:
            return None
        found_id, owner, title, sql, created_at = row
        return SharedQuery(found_id, owner, title, sql, moment(created_at))

    def drop(self, user_id: str, query_id: str) -> bool:
        """One of the user's; whether there was one."""
        return bool(
            self._transaction.run("DELETE FROM shared_queries WHERE user_id = ? AND id = ?", (user_id, query_id))
        )
