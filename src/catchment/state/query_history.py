"""What a user has run in the editor: the user's own to see and to clear, unlike the audit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from catchment.state import Row, Transaction
from catchment.state.moments import moment, stamp

KEPT: Final = 500
"""Of each user, the last."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `outcome` is as in the audit; `error` is what was said of one that failed."""

    id: int
    at: datetime
    sql: str
    outcome: str
    ms: int
    rows: int | None
    error: str


class QueryHistory:
    """The table of runs, as one user sees it."""

    def __init__(self, transaction: Transaction, user_id: str) -> None:
        self._transaction = transaction
        self._user_id = user_id

    def add(self, at: datetime, sql: str, outcome: str, ms: int, rows: int | None = None, error: str = "") -> None:
        """The latest; the same text run again takes the place of the run before it."""
        run = self._transaction.run
        last = self.latest(1)
        if last and last[0].sql == sql:
            run("DELETE FROM query_history WHERE user_id = ? AND id = ?", (self._user_id, last[0].id))
        run(
            "INSERT INTO query_history (user_id, id, at, sql, outcome, ms, rows_count, error) VALUES (?,"
            " (SELECT coalesce(max(id), 0) + 1 FROM query_history WHERE user_id = ?), ?, ?, ?, ?, ?, ?)",
            (self._user_id, self._user_id, stamp(at), sql, outcome, ms, rows, error),
        )
        run(
            "DELETE FROM query_history WHERE user_id = ? AND id <="
            " (SELECT max(id) FROM query_history WHERE user_id = ?) - ?",
            (self._user_id, self._user_id, KEPT),
        )

    def latest(self, limit: int, containing: str = "") -> list[Run]:
        """The last ones whose text has these letters, of any case, the newest first."""
        rows = self._transaction.rows(
            "SELECT id, at, sql, outcome, ms, rows_count, error FROM query_history"
            " WHERE user_id = ? AND lower(sql) LIKE ? ESCAPE '!' ORDER BY id DESC LIMIT ?",
            (self._user_id, f"%{_escaped(containing.lower())}%", limit),
        )
        return list(map(_run, rows))

    def clear(self) -> None:
        """Forget all of the user's."""
        self._transaction.run("DELETE FROM query_history WHERE user_id = ?", (self._user_id,))


def _run(row: Row) -> Run:
    run_id, at, sql, outcome, ms, rows, error = row
    return Run(run_id, moment(at), sql, outcome, ms, rows, error)


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
