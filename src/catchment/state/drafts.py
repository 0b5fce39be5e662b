"""Texts of files that somebody has begun to change in the browser and not saved yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from catchment.state import Row, Transaction, one
from catchment.state.moments import moment, stamp


@dataclass(frozen=True, slots=True)
class Draft:
    """One user's text of one file, such as `dashboards/chat-queue.md`. `base` names the content on which it was begun
    (a hash, say), so that saving can tell whether the file has moved on; empty for a file that is new."""

    path: str
    text: str
    base: str
    changed_at: datetime


class Drafts:
    """The table of drafts: each user has at most one of a file."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def keep(self, user_id: str, path: str, text: str, base: str, now: datetime) -> None:
        """In place of the user's earlier one."""
        self._transaction.run(
            "INSERT INTO drafts (user_id, path, content, base, changed_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (user_id, path) DO UPDATE SET"
            " content = excluded.content, base = excluded.base, changed_at = excluded.changed_at",
            (user_id, path, text, base, stamp(now)),
        )

    def get(self, user_id: str, path: str) -> Draft | None:
        """The user's of a file."""
        found = one(
            self._transaction.rows(
                "SELECT path, content, base, changed_at FROM drafts WHERE user_id = ? AND path = ?", (user_id, path)
            )
        )
        return None if found is None else _draft(found)

    def of_user(self, user_id: str) -> list[Draft]:
        """All of the user's, the last changed first."""
        rows = self._transaction.rows(
            "SELECT path, content, base, changed_at FROM drafts WHERE user_id = ? ORDER BY changed_at DESC, path",
            (user_id,),
        )
        return list(map(_draft, rows))

    def drop(self, user_id: str, path: str) -> bool:
        """Saved, or given up; whether there was one."""
        return bool(self._transaction.run("DELETE FROM drafts WHERE user_id = ? AND path = ?", (user_id, path)))


def _draft(row: Row) -> Draft:
    path, text, base, changed_at = row
    return Draft(path, text, base, moment(changed_at))
