"""The editor's tabs: they are there again after a restart, on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from catchment.state import Transaction
from catchment.state.moments import stamp


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab. `id` is the browser's own to choose."""

    id: str
    title: str
    sql: str


class EditorTabs:
    """The table of tabs, as one user sees it."""

    def __init__(self, transaction: Transaction, user_id: str) -> None:
        self._transaction = transaction
        self._user_id = user_id

    def all(self) -> list[Tab]:
        """In their order."""
        rows = self._transaction.rows(
            "SELECT id, title, sql FROM editor_tabs WHERE user_id = ? ORDER BY place, id", (self._user_id,)
        )
        return [Tab(*row) for row in rows]

    def keep(self, tab: Tab, place: int, now: datetime) -> None:
        """In place of the one with this id, or a new one."""
        self._transaction.run(
            "INSERT INTO editor_tabs (user_id, id, title, sql, place, changed_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (user_id, id) DO UPDATE SET title = excluded.title, sql = excluded.sql,"
            " place = excluded.place, changed_at = excluded.changed_at",
            (self._user_id, tab.id, tab.title, tab.sql, place, stamp(now)),
        )

    def drop(self, tab_id: str) -> bool:
        """Closed; whether there was one."""
        return bool(
            self._transaction.run("DELETE FROM editor_tabs WHERE user_id = ? AND id = ?", (self._user_id, tab_id))
        )
