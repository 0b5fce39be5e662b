"""How often dashboards were looked at: a number for each and day, of nobody in particular."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from catchment.state import Transaction

KEPT_DAYS: Final = 400


class Views:
    """The table of views. A dashboard is named by its path below `dashboards/`; it may be gone."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, counts: Mapping[str, int], day: date) -> None:
        """So many more of each on that day; what is too old to be kept goes."""
        for dashboard, count in counts.items():
            self._transaction.run(
                "INSERT INTO views (dashboard, day, views) VALUES (?, ?, ?)"
                " ON CONFLICT (dashboard, day) DO UPDATE SET views = views.views + excluded.views",
                (dashboard, day.toordinal(), count),
            )
        self._transaction.run("DELETE FROM views WHERE day < ?", ((day - timedelta(days=KEPT_DAYS)).toordinal(),))

    def since(self, day: date) -> dict[str, int]:
        """How many each has had from that day on; those without any are left out."""
        rows = self._transaction.rows(
            "SELECT dashboard, CAST(sum(views) AS BIGINT) FROM views WHERE day >= ? GROUP BY dashboard",
            (day.toordinal(),),
        )
        return {dashboard: int(count) for dashboard, count in rows}
