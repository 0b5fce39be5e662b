"""Views over loaded tables that another part of the project wants, made again whenever a table's columns change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from catchment.errors import CatchmentError
from catchment.log import get_log
from catchment.warehouses import LatestView, Warehouse

_log = get_log("load")


@dataclass(slots=True)
class Views:
    """Keeps them up with their tables. What fails here fails no load, and is tried again with the next one."""

    warehouse: Warehouse
    wanted: Sequence[LatestView] = ()
    _made: dict[str, int] = field(default_factory=dict)
    """View → the version of its table's shape that it was made of."""
    _said: set[str] = field(default_factory=set)

    def refresh(self, table: str | None = None) -> None:
        """Those of one table, or all, as far as its columns have changed since."""
        for view in self.wanted:
            if table is None or view.table == table:
                try:
                    self._refresh(view)
                except CatchmentError as error:
                    _log.warning("a view could not be made", view=view.view, exc=error)

    def _refresh(self, view: LatestView) -> None:
        version = self.warehouse.shape(view.table).version
        if version == 0 or self._made.get(view.view) == version:
            return
        is_made = self.warehouse.latest_view(view)
        self._made[view.view] = version
        if not is_made and view.view not in self._said:
            self._said.add(view.view)
            _log.warning("a table has the name of a view, which is not made", view=view.view, of=view.table)
