"""Dashboards that users have marked."""

from __future__ import annotations

from catchment.state import Transaction


class Favourites:
    """The table of marks. A dashboard is named by its path below `dashboards/`; it may be gone."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def mark(self, user_id: str, dashboard: str) -> None:
        """Twice is once."""
        self._transaction.run(
            "INSERT INTO favourites (user_id, dashboard) VALUES (?, ?) ON CONFLICT (user_id, dashboard) DO NOTHING",
            (user_id, dashboard),
        )

    def unmark(self, user_id: str, dashboard: str) -> None:
        """None is none."""
        self._transaction.run("DELETE FROM favourites WHERE user_id = ? AND dashboard = ?", (user_id, dashboard))

    def of_user(self, user_id: str) -> frozenset[str]:
        """What the user has marked."""
        rows = self._transaction.rows("SELECT dashboard FROM favourites WHERE user_id = ?", (user_id,))
        return frozenset(dashboard for (dashboard,) in rows)
